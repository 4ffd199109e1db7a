"""Remote work as three verbs on a handle, and the small values that cross a process: status, ticket, log line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Protocol, TypeVar

from stackgraft.errors import JobCancelledError, JobFailedError

JsonValue = Any
"""Whatever ``json.dumps`` takes: None, bool, int, float, str, and lists and string-keyed mappings of those."""

Spec_contra = TypeVar("Spec_contra", contravariant=True)


class JobState(StrEnum):
    """The five states of a job; backends map theirs onto these."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def final(self) -> bool:
        """True where the job will never change again."""
        return self not in {JobState.PENDING, JobState.RUNNING}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus:
    """What a poll saw.

    Attributes:
        state: One of the five states.
        reason: Why it is so, in the backend's words; never empty for FAILED.
        url: A page or service that a person may open.
        output: The job's result, as JSON; set when it SUCCEEDED.
    """

    state: JobState
    reason: str = ""
    url: str | None = None
    output: JsonValue = None

    def unwrap(self, ticket: Ticket | None = None) -> JsonValue:
        """Return the output of a job that succeeded.

        Raises:
            JobFailedError, JobCancelledError: as the state says.
            ValueError: The job has not ended yet.
        """
        if self.state is JobState.SUCCEEDED:
            return self.output
        if self.state is JobState.FAILED:
            raise JobFailedError("The job failed", status=self, ticket=ticket)
        if self.state is JobState.CANCELLED:
            raise JobCancelledError("The job was cancelled", status=self, ticket=ticket)
        raise ValueError(f"the job is {self.state}: only a job that has ended has an output")

    def to_json(self) -> dict[str, JsonValue]:
        """Return the status as a JSON object."""
        return {**asdict(self), "state": str(self.state)}

    @classmethod
    def from_json(cls, document: Mapping[str, JsonValue]) -> JobStatus:
        """Read what `to_json` made."""
        return cls(**{**document, "state": JobState(document["state"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """The claim on a job: enough for any process that has the flavor installed to poll, read or cancel it.

    Attributes:
        role: The component's role, such as ``step_operator``.
        flavor: The flavor's registered name, such as ``process``.
        config: The component's configuration, as JSON, without secrets.
        handle: What the flavor's `submit` returned.
    """

    role: str
    flavor: str
    config: Mapping[str, JsonValue]
    handle: str

    def to_json(self) -> dict[str, JsonValue]:
        """Return the ticket as a JSON object."""
        return {"role": self.role, "flavor": self.flavor, "config": dict(self.config), "handle": self.handle}

    @classmethod
    def from_json(cls, document: Mapping[str, JsonValue]) -> Ticket:
        """Read what `to_json` made."""
        return cls(**document)


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line that a job printed.

    Attributes:
        text: The line without its end.
        time: Seconds since the epoch, or None where the backend keeps no time.
    """

    text: str
    time: float | None = None


class Launcher(Protocol[Spec_contra]):
    """A component that starts jobs from specs: an image builder, a step operator or a deployer."""

    def submit(self, spec: Spec_contra, *, name: str) -> str:
        """Start the job of that name, or find it if it was started before; return its handle.

        Raises:
            SpecError: The spec cannot work; nothing was started.
            BackendError: The service refused or was out of reach.
        """

    def poll(self, handle: str) -> JobStatus:
        """Return the job's status now.

        Raises:
            BackendError: It could not be asked; ``transient`` says whether asking again may help.
        """

    def poll_many(self, handles: Sequence[str]) -> Mapping[str, JobStatus]:
        """Return the status of each job, in one call where the service has one."""

    def cancel(self, handle: str) -> None:
        """Ask the job to stop. Twice is fine, and a job that has ended stays as it is."""

    def logs(self, handle: str, cursor: str | None = None) -> tuple[Sequence[LogLine], str | None]:
        """Return the lines printed since the cursor, and the next cursor; None as cursor means from the start."""


class Journal(Protocol):
    """Where a job's name survives the crash of the process that started it."""

    def load(self) -> str | None:
        """Return the saved name, or None."""

    def save(self, name: str) -> None:
        """Keep the name durably before returning."""

    def clear(self) -> None:
        """Forget the name; nothing happens where none is saved."""


@dataclass
class MemoryJournal:
    """A journal for scripts and tests: the name lives in this object.

    Attributes:
        name: The saved name, or None.
    """

    name: str | None = None

    def load(self) -> str | None:
        """Return the saved name."""
        return self.name

    def save(self, name: str) -> None:
        """Keep the name."""
        self.name = name

    def clear(self) -> None:
        """Forget the name."""
        self.name = None
