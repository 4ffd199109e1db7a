"""A launcher that plays a script, and a quick way to run one job to its end."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from stackgraft import lifecycle
from stackgraft.components import LauncherComponent
from stackgraft.errors import BackendError
from stackgraft.job import JobState, JobStatus, JsonValue, LogLine, MemoryJournal
from stackgraft.model import AnchoredPath
from stackgraft.outcomes import FinishedStep
from stackgraft.specs import Spec

QUICK = lifecycle.Pace(first=0.02, longest=0.2, deadline=60)


class ScriptedLauncher(LauncherComponent):
    """A step operator that plays a script instead of running anything; any process that has the folder can poll it.

    Attributes:
        folder: Where its jobs and the calls that it saw are kept.
        script: What each poll answers: a state, ``ERROR`` (transient) or ``REFUSED`` (fatal); the last one stays.
        output: The output of a job that succeeds; None gives a `FinishedStep`.
        reason: The reason of a job that fails.
        url: The page of each job, as a cloud's console has one.
    """

    role: ClassVar[str] = "step_operator"
    flavor: ClassVar[str] = "scripted"
    pace: ClassVar[lifecycle.Pace] = QUICK
    folder: AnchoredPath = Field(description="Folder of the scripted jobs.")
    script: tuple[str, ...] = Field(default=("PENDING", "RUNNING", "SUCCEEDED"), description="What each poll answers.")
    output: JsonValue = Field(default=None, description="Output of a job that succeeds.")
    reason: str = Field(default="the script says so", description="Reason of a job that fails.")
    url: str | None = Field(default=None, description="Page of each job.")

    def submit(self, spec: Spec, *, name: str) -> str:
        """Start the job of that name, or find it."""
        job = self._job(name)
        try:
            job.mkdir(parents=True)
        except FileExistsError:
            self._record("found", name)
        else:
            self._record("started", name, spec=spec.model_dump(mode="json"))
        return name

    def poll(self, handle: str) -> JobStatus:
        """Answer with the script's next line."""
        self._record("polled", handle)
        job = self._job(handle)
        if not job.is_dir():
            raise BackendError("There is no such job", where=handle)
        if (job / "cancelled").exists():
            return JobStatus(state=JobState.CANCELLED, reason="cancelled")
        with (job / "polls").open("a+") as polls:
            polls.write(".")
            line = self.script[min(polls.tell(), len(self.script)) - 1]
        return self._answer(line, handle)

    def cancel(self, handle: str) -> None:
        """Stop the job, unless its script has ended."""
        self._record("cancelled", handle)
        polls = self._job(handle) / "polls"
        played = polls.stat().st_size if polls.exists() else 0
        if played < len(self.script) or self.script[-1] not in {"SUCCEEDED", "FAILED"}:
            (self._job(handle) / "cancelled").touch()

    def logs(self, handle: str, cursor: str | None = None) -> tuple[Sequence[LogLine], str | None]:
        """Return one line for each poll that was answered."""
        polls = self._job(handle) / "polls"
        seen, now = int(cursor or 0), polls.stat().st_size if polls.exists() else 0
        return [LogLine(f"poll {index + 1} of {handle}") for index in range(seen, now)], str(now)

    def calls(self, verb: str) -> list[str]:
        """Return the names of the jobs for which the verb was called: started, found, polled or cancelled."""
        record = self.folder / "calls.jsonl"
        lines = record.read_text().splitlines() if record.exists() else []
        return [call["name"] for call in map(json.loads, lines) if call["verb"] == verb]

    def _answer(self, line: str, handle: str) -> JobStatus:
        if line in {"ERROR", "REFUSED"}:
            raise BackendError("The script raises an error here", transient=line == "ERROR", where=handle)
        state = JobState(line)
        output = (self.output or FinishedStep(job=handle).to_json()) if state is JobState.SUCCEEDED else None
        return JobStatus(state=state, reason=self.reason if state is JobState.FAILED else "", url=self.url, output=output)

    def _job(self, name: str) -> Path:
        return self.folder / "jobs" / name

    def _record(self, verb: str, name: str, **more: JsonValue) -> None:
        with (self.folder / "calls.jsonl").open("a") as calls:
            calls.write(json.dumps({"verb": verb, "name": name, **more}) + "\n")


def run(launcher: LauncherComponent, spec: Spec, *, name: str | None = None) -> JobStatus:
    """Start a job, wait for its end at a test's pace and return its final status."""
    return lifecycle.run(launcher, spec, journal=MemoryJournal(name), pace=QUICK)


def log_text(launcher: LauncherComponent, handle: str) -> str:
    """Return all that a job printed."""
    return "\n".join(line.text for line in launcher.logs(handle, None)[0])
