"""Every error that stackgraft raises on purpose.

::

    StackError
    ├── ConfigError          UnknownFlavorError · FlavorUnavailableError · IncompatibleStackError · SpecError
    ├── BackendError         the service refused or was out of reach; .transient says which
    ├── ArtifactError        ArtifactNotFoundError · ArtifactCorruptedError · UntrustedArtifactError · UnserializableError
    └── JobError             .ticket, .status
        └── JobFailedError · JobCancelledError · JobTimedOutError

`retryable` tells engines which of them a retry may mend. A message has one shape: what happened, where, why, and what to do next. Log tails ride as notes (PEP 678).
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stackgraft.job import JobStatus, Ticket


class StackError(Exception):
    """The root: catch it to catch all that stackgraft raises on purpose.

    Args:
        what: What happened, in one sentence without a final period.
        where: The file, field, reference or job that it happened to.
        why: The cause, often the backend's own words.
        next_step: What the reader should do now.

    Attributes:
        lasting: True where the same call fails again, however often it is tried.
    """

    lasting: ClassVar[bool] = False

    def __init__(self, what: str, *, where: str = "", why: str = "", next_step: str = "") -> None:
        self.what, self.where, self.why, self.next_step = what, where, why, next_step
        labelled = (("where", where), ("why", why), ("next", next_step))
        super().__init__("\n".join([what, *(f"  {label}: {text}" for label, text in labelled if text)]))

    def __reduce__(self) -> tuple[Any, ...]:
        """Survive pickling, which engines do to errors that cross a process."""
        return _rebuild, (type(self), self.args, dict(self.__dict__))


def _rebuild(kind: type[StackError], args: tuple[Any, ...], state: dict[str, Any]) -> StackError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


class ConfigError(StackError):
    """What the user wrote cannot work; nothing was started."""

    lasting = True


class UnknownFlavorError(ConfigError):
    """No installed package registers a flavor of that name."""


class FlavorUnavailableError(ConfigError):
    """The flavor is known, but a package that it needs is not installed."""


class IncompatibleStackError(ConfigError):
    """Each component is valid, but they do not fit together, or a needed role is empty."""


class SpecError(ConfigError):
    """What should be built, run or served is described wrongly."""


class BackendError(StackError):
    """The service behind a component refused, or was out of reach.

    Attributes:
        transient: True where the same call may succeed later; a poll that fails so is borne.
    """

    def __init__(self, what: str, *, transient: bool = False, where: str = "", why: str = "", next_step: str = "") -> None:
        super().__init__(what, where=where, why=why, next_step=next_step)
        self.transient = transient


class ArtifactError(StackError):
    """An artifact could not be written or read."""


class ArtifactNotFoundError(ArtifactError):
    """No such artifact, or no such version of it."""


class ArtifactCorruptedError(ArtifactError):
    """Stored bytes do not match their digest; they were refused."""


class UntrustedArtifactError(ArtifactError):
    """Reading the artifact would run code from a store that the stack does not trust."""

    lasting = True


class UnserializableError(ArtifactError):
    """No serializer takes a value of that type."""

    lasting = True


class JobError(StackError):
    """A job did not end in success.

    Attributes:
        ticket: The claim on the job, or None where it was not known.
        status: The last status that was seen.
    """

    def __init__(self, what: str, *, status: JobStatus, ticket: Ticket | None = None, next_step: str = "") -> None:
        where = f"{ticket.role} {ticket.flavor}, job {ticket.handle}" if ticket else ""
        super().__init__(what, where=where, why=status.reason, next_step=next_step)
        self.status, self.ticket = status, ticket


class JobFailedError(JobError):
    """The job ran and failed."""


class JobCancelledError(JobError):
    """The job was stopped on purpose."""

    lasting = True


class JobTimedOutError(JobError):
    """The job's deadline passed before it ended; it was asked to stop."""


def retryable(error: BaseException) -> bool:
    """Tell whether a retry may help: not where the input is wrong, nor where a job was stopped on purpose.

    A service that refused counts as retryable, even where `BackendError` is not transient: somebody may mend it meanwhile.
    """
    return not (isinstance(error, StackError) and error.lasting)


def nearest(word: str, known: Iterable[str]) -> str:
    """Return a hint that names the closest known word, or lists what is known.

    >>> nearest("proces", ["process", "docker"])
    "did you mean 'process'?"
    """
    choices = sorted(known)
    close = difflib.get_close_matches(word, choices, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known: {', '.join(choices) or 'none'}"
