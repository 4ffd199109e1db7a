"""What a running task has met so far, and which revision of the code it is."""

from __future__ import annotations

import os
import subprocess
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

from stackgraft.artifacts.ref import ArtifactRef
from stackgraft.lineage.record import LineageRecord, Outcome, refs_in

LONGEST_REASON = 4000
_GIT_SECONDS = 10


class Trace:
    """Collects what a task uses and makes, and becomes its record at the end.

    An engine's half makes one for each try, hands it the task's arguments and results, and writes what `finished` returns.

    Args:
        engine: ``airflow``, ``prefect``, or another.
        pipeline: The DAG or flow.
        run: The engine's name of the run.
        task: The task.
        known: Other fields of `LineageRecord` that are known already.
    """

    def __init__(self, *, engine: str, pipeline: str, run: str, task: str, **known: Any) -> None:
        self.fields: dict[str, Any] = {"started": time.time(), "engine": engine, "pipeline": pipeline, "run": run, "task": task, **known}
        self.inputs: dict[ArtifactRef, None] = {}
        self.outputs: dict[ArtifactRef, None] = {}

    def used(self, value: Any) -> None:
        """Note every artifact that a value names as an input."""
        self.inputs.update(dict.fromkeys(refs_in(value)))

    def made(self, value: Any) -> None:
        """Note every artifact that a value names as an output, but for inputs that are only handed on."""
        self.outputs.update(dict.fromkeys(ref for ref in refs_in(value) if ref not in self.inputs))

    def saved(self, ref: ArtifactRef) -> None:
        """Note an artifact that the task saved, be it equal to an input."""
        self.outputs[ref] = None

    def note(self, **fields: Any) -> None:
        """Note fields of the record, such as ``image`` or ``job``; numbers in ``billable`` add up, facets join."""
        billable = dict(self.fields.get("billable", {}))
        for unit, amount in fields.pop("billable", {}).items():
            billable[unit] = billable.get(unit, 0.0) + amount
        facets = {**self.fields.get("facets", {}), **fields.pop("facets", {})}
        self.fields |= fields | {"billable": billable, "facets": facets}

    def finished(self, outcome: Outcome, reason: str = "") -> LineageRecord:
        """Return the record of the try, which ends now."""
        fields: dict[str, Any] = {"ended": time.time(), "outcome": outcome, "reason": reason[:LONGEST_REASON], **self.fields}
        return LineageRecord(inputs=tuple(self.inputs), outputs=tuple(self.outputs), **fields)


@lru_cache(maxsize=64)
def revision(folder: Path) -> str:
    """Return the commit that a folder is at, with ``-dirty`` where tracked files differ from it; empty outside of git.

    Git is asked once in a process: code that runs does not change. Files that git does not know say nothing, since
    engines write theirs beside the code.
    """
    question = ["describe", "--always", "--dirty", "--abbrev=64", "--exclude=*"]
    settings = ["--no-optional-locks", "-c", "core.fsmonitor=false"]  # a repository's settings start no program
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-C", str(folder), *settings, *question]
    try:
        done = subprocess.run(command, capture_output=True, check=False, env=environment, timeout=_GIT_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("ascii", "replace").strip() if done.returncode == 0 else ""
