"""The ``process`` deployer: a service is a host process behind a stable loopback URL. Nothing isolates it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from stackgraft.components import LauncherComponent
from stackgraft.errors import BackendError, SpecError
from stackgraft.job import JobState, JobStatus, JsonValue, LogLine
from stackgraft.lifecycle import Pace
from stackgraft.local import detached, service_host
from stackgraft.local.process_image import Program, unpack
from stackgraft.model import AnchoredPath
from stackgraft.specs import RemovalSpec, ServiceSpec

_HOST = service_host.__name__  # imported, so that a package which it misses is missed when the flavor is loaded
_JOB = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


class ProcessDeployer(LauncherComponent):
    """Serves images as host processes, blue/green behind one URL for each service.

    A version that does not become healthy is stopped while the one before keeps serving. Services outlive the process that
    deployed them; one supervisor for each service carries out its rollouts.

    Attributes:
        state: Where unpacked images and services are kept.
        port: The port of a new service's URL; 0 takes a free one, which the service then keeps.
    """

    role: ClassVar[str] = "deployer"
    flavor: ClassVar[str] = "process"
    pace: ClassVar[Pace] = Pace(first=0.05, longest=1.0)
    state: AnchoredPath = Field(default=Path(".stackgraft/process"), validate_default=True, description="Folder of images and services.")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(default=0, description="Port of a new service's URL; 0 takes a free one.")

    def submit(self, spec: ServiceSpec | RemovalSpec, *, name: str) -> str:
        """Start the rollout or removal of that name, or find it."""
        if not _JOB.fullmatch(name):
            raise SpecError("A job cannot have that name", where=repr(name))
        folder, rollout = self._service(spec.service), self._rollout(spec.service, name)
        if isinstance(spec, RemovalSpec):
            self._ask_for_removal(folder, rollout, name)
        elif not (rollout / "request.json").exists():
            image = unpack(self.container_registry(), spec.image, self.state, rollout / "root")
            request = self._request(spec, image.program(spec.command, spec.env))
            self._claim_port(folder)
            image.lay_out()
            detached.write_json(rollout / "request.json", request, mode=0o600)  # it has the environment
        self._supervise(folder)
        return f"{spec.service}/{name}"

    def poll(self, handle: str) -> JobStatus:
        """Return the rollout's status now."""
        service, _, name = handle.partition("/")
        rollout = self._rollout(service, name)
        status = detached.read_json(self._answer(name)) or detached.read_json(rollout / "status.json")
        if status is None and not (rollout / "request.json").exists():
            raise BackendError(
                "There is no such rollout", where=f"{handle} in {self.state}", why="the service was removed, or never deployed"
            )
        seen = JobStatus.from_json(status) if status else JobStatus(state=JobState.RUNNING)
        if not seen.state.final:
            if self._answer(name).exists():
                self._ask_for_removal(self._service(service), rollout, name)  # who began with it may have been killed
            self._supervise(self._service(service))  # its host may have been killed, or have ended just before the request
        return seen

    def cancel(self, handle: str) -> None:
        """Stop a rollout that is under way; the version before it keeps serving."""
        service, _, name = handle.partition("/")
        rollout = self._rollout(service, name)
        if rollout.is_dir() and not (rollout / "status.json").exists():
            (rollout / "cancel").touch()

    def logs(self, handle: str, cursor: str | None = None) -> tuple[Sequence[LogLine], str | None]:
        """Return the lines that the version printed since the cursor, after its rollout too."""
        service, _, name = handle.partition("/")
        lines, following = detached.read_lines(self._rollout(service, name) / "log", cursor, ended=False)
        return [LogLine(line) for line in lines], following

    def find(self, service: str) -> JsonValue:
        """Return what serves under that name now, as a `DeployedService` in JSON, or None."""
        folder = self._service(service)
        current = detached.read_json(folder / "current.json")
        if current is None or not detached.alive(folder):
            return None
        return {"service": service, "url": f"http://127.0.0.1:{detached.read_json(folder / 'port.json')}", "image": current["image"]}

    def _request(self, spec: ServiceSpec, program: Program) -> dict[str, Any]:
        what = [spec.image, list(spec.command), dict(spec.env), spec.health_path]
        return {
            "kind": "rollout",
            "image": spec.image,
            "argv": program.argv,
            "env": program.env,
            "cwd": program.cwd,
            "fingerprint": hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest(),
            "tags": dict(spec.tags),
            **spec.model_dump(include={"health_path", "start_timeout_seconds", "drain_seconds"}),
        }

    def _ask_for_removal(self, folder: Path, rollout: Path, name: str) -> None:
        """Leave the request, and the answer's place outside of the folder, which the removal takes away."""
        answer = self._answer(name)
        known = detached.read_json(answer)
        if known is not None and known["state"] != "RUNNING":
            return
        answer.parent.mkdir(parents=True, exist_ok=True)
        if not folder.is_dir():
            nothing = {"service": folder.name, "removed": known is not None, "leftovers": []}
            detached.write_json(answer, {"state": "SUCCEEDED", "output": nothing})
        elif not (rollout / "request.json").exists():
            detached.write_json(answer, {"state": "RUNNING"})
            rollout.mkdir(parents=True, exist_ok=True)
            detached.write_json(rollout / "request.json", {"kind": "removal", "answer": str(answer)})

    def _claim_port(self, folder: Path) -> None:
        """Choose the service's port once, and refuse one that somebody else listens on.

        Raises:
            BackendError: The port is in use.
        """
        chosen = detached.read_json(folder / "port.json")
        if detached.alive(folder):
            return
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", chosen or self.port))
            except OSError as taken:
                where = f"127.0.0.1:{chosen or self.port}, for service {folder.name}"
                raise BackendError(
                    "The service's port is in use",
                    where=where,
                    why=str(taken.strerror),
                    next_step="stop what listens there, or set another port",
                ) from taken
            folder.mkdir(parents=True, exist_ok=True)
            detached.write_json(folder / "port.json", chosen or probe.getsockname()[1])

    def _supervise(self, folder: Path) -> None:
        if folder.is_dir() and not detached.alive(folder):
            with contextlib.suppress(FileNotFoundError):  # it has just been removed
                detached.supervise(_HOST, folder)

    def _answer(self, name: str) -> Path:
        return self.state / "removed" / f"{name}.json"

    def _service(self, service: str) -> Path:
        return self.state / "services" / service

    def _rollout(self, service: str, name: str) -> Path:
        return self._service(service) / "rollouts" / name
