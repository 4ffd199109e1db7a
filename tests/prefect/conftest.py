"""One real Prefect server for the whole folder, in a home of its own, and ways to run flows in processes of their own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import httpx
import pytest

pytest.importorskip("prefect", reason="Prefect is not installed")

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.flows import load_flow_from_entrypoint
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, PREFECT_LOGGING_TO_API_ENABLED, temporary_settings
from prefect.states import Pending

FLOWS = Path(__file__).parent / "flows"
T = TypeVar("T")


def eventually(look: Callable[[], T], what: str, *, seconds: float = 90) -> T:
    """Return the first answer that is true."""
    end = time.monotonic() + seconds
    while not (answer := look()):
        assert time.monotonic() < end, f"within {seconds} seconds: {what}"
        time.sleep(0.1)
    return answer


@contextmanager
def process(arguments: list[str], env: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program in a process group of its own; kill what is left of it at the end."""
    with log.open("ab") as output:
        started = subprocess.Popen(arguments, env=dict(env), stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        yield started
    finally:
        stop(started)


def stop(started: subprocess.Popen[bytes]) -> None:
    """End a process, gently at first."""
    started.terminate()
    try:
        started.wait(timeout=10)
    except subprocess.TimeoutExpired:
        started.kill()
        started.wait(timeout=10)


@dataclass(frozen=True)
class Server:
    """A running Prefect server.

    Attributes:
        url: Its API.
        env: What a process needs to use it.
        folder: Where logs may go.
    """

    url: str
    env: Mapping[str, str]
    folder: Path

    def eventually(self, look: Callable[[], T], what: str) -> T:
        """Return the first answer that is true."""
        return eventually(look, what)

    def process(self, *arguments: str, log: str = "process.log") -> AbstractContextManager[subprocess.Popen[bytes]]:
        """Run Python in a process of its own that uses this server."""
        return process([sys.executable, *arguments], self.env, self.folder / log)

    def new_run(self, entrypoint: str, **parameters: Any) -> FlowRun:
        """Register a run of a flow in ``flows/``, for `engine` to execute."""
        flow = load_flow_from_entrypoint(f"{FLOWS / entrypoint.partition(':')[0]}:{entrypoint.partition(':')[2]}")
        with self.client() as client:
            return client.create_flow_run(flow, parameters=parameters, state=Pending())

    @contextmanager
    def engine(self, entrypoint: str, run: FlowRun) -> Iterator[subprocess.Popen[bytes]]:
        """Execute a flow run as Prefect's own runner does: in a process of its own."""
        env = {**self.env, "PREFECT__FLOW_ENTRYPOINT": f"{FLOWS}/{entrypoint}"}
        with process([sys.executable, "-m", "prefect.engine", str(run.id)], env, self.folder / "engine.log") as started:
            yield started

    def state(self, run_id: UUID) -> str:
        """Return the name of a flow run's state."""
        with self.client() as client:
            return str(client.read_flow_run(run_id).state_name)

    def client(self) -> SyncPrefectClient:
        """Return a client."""
        return get_client(sync_client=True)

    def journals(self, run: FlowRun) -> list[dict[str, Any]]:
        """Return the values of the journals that a flow run has left."""
        with self.client() as client:
            return [dict(found.value) for found in client.read_variables() if str(run.id) in found.name]

    def artifacts(self, key: str) -> list[dict[str, Any]]:
        """Return the versions of an artifact."""
        with self.client() as client:
            return client.request("POST", "/artifacts/filter", json={"artifacts": {"key": {"any_": [key]}}}).json()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Start a Prefect server on the loopback and point this process at it."""
    home = tmp_path_factory.mktemp("prefect")
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    env = {
        **clean,
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": url,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PYTHONUNBUFFERED": "1",
    }
    serve = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    here = {PREFECT_HOME: home, PREFECT_API_URL: url, PREFECT_LOGGING_TO_API_ENABLED: False}  # the server ends before this process
    with process(serve, env, home / "server.log") as started, temporary_settings(here):
        eventually(lambda: healthy(url) or started.poll() is not None, "the server answers", seconds=180)
        assert started.poll() is None, (home / "server.log").read_text()
        yield Server(url, env, home)


def healthy(url: str) -> bool:
    """Tell whether the server takes requests."""
    try:
        return httpx.get(f"{url}/health", timeout=2).is_success
    except httpx.HTTPError:
        return False


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
