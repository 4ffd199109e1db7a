"""The ``process`` step operator: a step is a host process that runs the image's own layers. Nothing isolates it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from stackgraft.components import LauncherComponent
from stackgraft.errors import BackendError, SpecError
from stackgraft.job import JobState, JobStatus, LogLine
from stackgraft.lifecycle import Pace
from stackgraft.local import detached
from stackgraft.local.process_image import unpack
from stackgraft.model import AnchoredPath
from stackgraft.specs import StepSpec

_RUNNER = "stackgraft.local.process_runner"
_JOB = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


class ProcessStepOperator(LauncherComponent):
    """Runs steps as host processes that outlive their worker and are found again by name.

    Attributes:
        state: Where unpacked images and jobs are kept.
        grace_seconds: How long a step may take to end after TERM, before KILL.
    """

    role: ClassVar[str] = "step_operator"
    flavor: ClassVar[str] = "process"
    pace: ClassVar[Pace] = Pace(first=0.05, longest=1.0)
    state: AnchoredPath = Field(default=Path(".stackgraft/process"), validate_default=True, description="Folder of images and jobs.")
    grace_seconds: Annotated[float, Field(ge=0)] = Field(default=10.0, description="Seconds between TERM and KILL.")

    def submit(self, spec: StepSpec, *, name: str) -> str:
        """Start the step of that name, or find it."""
        if not _JOB.fullmatch(name):
            raise SpecError("A job cannot have that name", where=repr(name))
        job = self._job(name)
        if not (job / "request.json").exists():
            detached.write_json(job / "request.json", self._request(spec, name), mode=0o600)  # it has the environment
        self._supervise(job)
        return name

    def poll(self, handle: str) -> JobStatus:
        """Return the step's status now; a step whose runner was killed has failed, and says so."""
        job = self._job(handle)
        if not (job / "request.json").exists():
            raise BackendError("There is no such step", where=f"{handle} in {self.state}")
        self._supervise(job)  # a submitter may have been killed before it came to that
        if (job / "started").exists() and not detached.alive(job) and not (job / "status.json").exists():
            detached.sweep(job)
            shutil.rmtree(job / "root", ignore_errors=True)
            return JobStatus(state=JobState.FAILED, reason="the step's supervisor was killed, and the step with it")
        status = detached.read_json(job / "status.json")
        return JobStatus.from_json(status) if status else JobStatus(state=JobState.RUNNING)

    def cancel(self, handle: str) -> None:
        """Ask the step to stop."""
        if self._job(handle).is_dir():
            (self._job(handle) / "cancel").touch()

    def logs(self, handle: str, cursor: str | None = None) -> tuple[Sequence[LogLine], str | None]:
        """Return the lines that the step printed since the cursor."""
        job = self._job(handle)
        lines, following = detached.read_lines(job / "log", cursor, ended=(job / "status.json").exists())
        return [LogLine(line) for line in lines], following

    def _request(self, spec: StepSpec, name: str) -> dict[str, Any]:
        image = unpack(self.container_registry(), spec.image, self.state, self._job(name) / "root")
        image = image.starting_in(spec.workdir) if spec.workdir else image
        program = image.program(spec.command, {**spec.env, "STACKGRAFT_JOB": name}, spec.python)
        image.lay_out()
        request = {"argv": program.argv, "env": program.env, "cwd": program.cwd, "image": spec.image, "tags": dict(spec.tags)}
        return {**request, "timeout_seconds": spec.timeout_seconds, "grace_seconds": self.grace_seconds}

    def _supervise(self, job: Path) -> None:
        if not (job / "started").exists() and not detached.alive(job):
            detached.supervise(_RUNNER, job)

    def _job(self, name: str) -> Path:
        return self.state / "jobs" / name
