"""The supervisor of one service: ``python -m stackgraft.local.service_host FOLDER``.

It owns the service's stable port, carries out rollouts one after another, and ends when there is nothing to serve. Others
talk to it by files: ``rollouts/JOB/request.json`` asks, ``rollouts/JOB/status.json`` answers, ``rollouts/JOB/cancel`` stops;
``rollouts/JOB/log`` has what the version prints, for as long as it lives.
"""

from __future__ import annotations

import asyncio
import http.client
import shutil
import socket
import subprocess
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stackgraft.local.detached import StartError, detach, ending, last_line, read_json, spawn, stop, sweep, write_json
from stackgraft.local.http_proxy import Backend, Proxy

_TICK = 0.05
_STOP_GRACE = 10.0
_CANCELLED = "cancelled"


@dataclass(slots=True)
class Version:
    """A running version of the service.

    Attributes:
        rollout: The folder of the rollout that brought it.
        request: The rollout's request that it was started from.
        process: Its process.
        backend: Where it takes requests.
    """

    rollout: Path
    request: dict[str, Any]
    process: subprocess.Popen[bytes]
    backend: Backend

    @property
    def running(self) -> bool:
        """Whether its process has not ended."""
        return self.process.poll() is None


class RolloutError(Exception):
    """A version did not become healthy."""


class ServiceHost:
    """Serves one version, and replaces it by the next without losing a request.

    Attributes:
        folder: The service's folder.
        current: The version that serves, if any.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.proxy, self.current = folder, Proxy(), None  # type: tuple[Path, Proxy, Version | None]
        self.port: int = read_json(folder / "port.json")

    async def serve(self) -> None:
        """Carry out what is asked for until the service is removed, or nothing is served any more."""
        for rollout in self._rollouts():
            sweep(rollout)  # what a killed host left
        removal = self._removal() or await self._served()  # a removal needs no port
        await self._retired(self.current)
        if removal:
            answer = Path(removal["answer"])
            gone = self.folder.rename(answer.with_suffix(".removed"))  # in one step, while others may look into it
            outcome = {"service": self.folder.name, "removed": True, "leftovers": []}
            write_json(answer, {"state": "SUCCEEDED", "output": outcome})
            shutil.rmtree(gone)

    async def _served(self) -> dict[str, Any] | None:
        """Serve at the stable port until a removal is asked for, and return it; None when nothing is served any more."""
        try:
            listener = socket.create_server(("127.0.0.1", self.port), backlog=1024)
        except OSError as taken:
            self._refuse_rollouts(f"port {self.port} is in use: {taken.strerror}")
            return None
        with listener:
            server = await self.proxy.serve(listener)
            removal = await self._until_removed()
            self.proxy.backend = None
            server.close()
        return removal

    async def _until_removed(self) -> dict[str, Any] | None:
        """Carry out rollouts until a removal is asked for, and return it; None when nothing is served or asked for."""
        while True:
            await self._keep_running()
            if waiting := self._waiting():
                request = _request(waiting[0])
                if request["kind"] == "removal":
                    return request
                write_json(waiting[0] / "status.json", await self._carried_out(waiting[0], request))
                await self._tidied()
            elif self.current is None:
                return None
            await asyncio.sleep(_TICK)

    async def _keep_running(self) -> None:
        """Start what should serve and does not: its process ended, or the previous host was killed."""
        request = read_json(self.folder / "current.json")
        if request is None or (self.current and self.current.running):
            return
        self.current = self.proxy.backend = None
        try:
            version = await self._started(self.folder / "rollouts" / request["rollout"], request)
        except Exception:  # noqa: BLE001 - as below
            traceback.print_exc()  # to the supervisor's log
            (self.folder / "current.json").unlink()  # nothing serves: the next rollout is a first one
        else:
            self.current, self.proxy.backend = version, version.backend

    async def _carried_out(self, rollout: Path, request: dict[str, Any]) -> dict[str, Any]:
        try:
            return await self._rolled_out(rollout, request)
        except RolloutError as failed:
            return self._rolled_back(str(failed))
        except Exception as unexpected:  # noqa: BLE001 - whatever is wrong with a rollout, the version that serves goes on
            traceback.print_exc()
            return self._rolled_back(f"the service's host cannot carry it out: {unexpected!r}")

    async def _rolled_out(self, rollout: Path, request: dict[str, Any]) -> dict[str, Any]:
        started, before = time.monotonic(), self.current
        outcome = {"service": self.folder.name, "url": f"http://127.0.0.1:{self.port}", "image": request["image"]}
        if before and before.request["fingerprint"] == request["fingerprint"] and (await asyncio.to_thread(_health, before)).isdecimal():
            why = "it serves this image with this environment and command already, and is healthy"
            return {"state": "SUCCEEDED", "url": outcome["url"], "output": {**outcome, "reused": True, "why": [why]}}
        version = await self._started(rollout, {**request, "rollout": rollout.name})
        self.current, self.proxy.backend = version, version.backend
        previous = await self._retired(before)
        why = f"{previous} was replaced" if previous else "first deployment of this service"
        outcome |= {"why": [why], "previous": previous, "seconds": round(time.monotonic() - started, 3)}
        return {"state": "SUCCEEDED", "url": outcome["url"], "output": outcome}

    def _rolled_back(self, reason: str) -> dict[str, Any]:
        if reason == _CANCELLED:
            return {"state": "CANCELLED", "reason": reason}
        still = f"rolled back, still serving {self.current.request['image']}" if self.current else "nothing is served"
        return {"state": "FAILED", "reason": f"{reason}; {still}"}

    async def _started(self, rollout: Path, request: dict[str, Any]) -> Version:
        """Start a version, and remember it as the one that should serve once it is healthy."""
        sweep(rollout)  # what an earlier process of the same version had started may have outlived it
        port = _free_port()
        try:
            process = spawn(request["argv"], {**request["env"], "HOST": "127.0.0.1", "PORT": str(port)}, request["cwd"], rollout / "log")
        except StartError as refused:
            raise RolloutError(str(refused)) from refused
        version = Version(rollout, request, process, Backend(port))
        try:
            await self._healthy(version)
            write_json(self.folder / "current.json", request, mode=0o600)
        except BaseException:
            await asyncio.to_thread(stop, process, _STOP_GRACE)
            raise
        return version

    async def _healthy(self, version: Version) -> None:
        path, timeout = version.request["health_path"], version.request["start_timeout_seconds"]
        deadline = time.monotonic() + timeout
        while not (answer := await asyncio.to_thread(_health, version)).isdecimal():
            if not version.running:
                said = last_line(version.rollout / "log")
                raise RolloutError(f"it ended before it was healthy: {ending(version.process.returncode)}" + (f": {said}" if said else ""))
            if (version.rollout / "cancel").exists() and not (version.rollout / "status.json").exists():
                raise RolloutError(_CANCELLED)
            if time.monotonic() > deadline:
                raise RolloutError(f"GET {path} was not healthy within {timeout:g} s: {answer}")
            await asyncio.sleep(_TICK)

    async def _retired(self, version: Version | None) -> str | None:
        """Stop the version that served before, once its requests have ended; return its image."""
        if version is None:
            return None
        deadline = time.monotonic() + version.request["drain_seconds"]
        while version.backend.in_flight and time.monotonic() < deadline:  # noqa: ASYNC110 - a count, not an event
            await asyncio.sleep(_TICK)
        await asyncio.to_thread(stop, version.process, _STOP_GRACE)
        return str(version.request["image"])

    async def _tidied(self) -> None:
        """Remove the files that ended versions had of their own."""
        for rollout in self._rollouts():
            if (rollout / "status.json").exists() and not (self.current and self.current.rollout == rollout):
                await asyncio.to_thread(shutil.rmtree, rollout / "root", ignore_errors=True)

    def _rollouts(self) -> list[Path]:
        return list((self.folder / "rollouts").iterdir())

    def _waiting(self) -> list[Path]:
        asked = [path for path in self._rollouts() if (path / "request.json").exists() and not (path / "status.json").exists()]
        return sorted(asked, key=lambda path: (path / "request.json").stat().st_mtime_ns)

    def _removal(self) -> dict[str, Any] | None:
        return next((request for request in map(_request, self._waiting()) if request["kind"] == "removal"), None)

    def _refuse_rollouts(self, reason: str) -> None:
        for rollout in self._waiting():
            if _request(rollout)["kind"] != "removal":
                write_json(rollout / "status.json", {"state": "FAILED", "reason": reason})


def _request(rollout: Path) -> dict[str, Any]:
    request: dict[str, Any] = read_json(rollout / "request.json")
    return request


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _health(version: Version) -> str:
    """Return the status of a healthy answer, or what was seen instead."""
    connection = http.client.HTTPConnection("127.0.0.1", version.backend.port, timeout=2)
    try:
        connection.request("GET", version.request["health_path"])
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as failed:
        return str(failed) or type(failed).__name__
    finally:
        connection.close()
    if not version.running:
        return "another process answers on its port"
    return str(status) if status < 400 else f"it answered {status}"  # noqa: PLR2004 - 200 to 399 is healthy


def main(folder: Path) -> None:
    """Host the folder's service, unless somebody does."""
    lock = detach(folder)
    if lock is not None:
        asyncio.run(ServiceHost(folder).serve())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
