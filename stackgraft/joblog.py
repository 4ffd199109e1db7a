"""Follow what a job prints: new lines go to whoever listens, the last ones explain its failure."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stackgraft.errors import BackendError, JobError

if TYPE_CHECKING:
    from stackgraft.components import LauncherComponent

TAIL_LINES = 20
logger = logging.getLogger(__name__)


@dataclass
class JobLog:
    """A job's log, as far as it was read.

    Attributes:
        launcher: The component that runs the job.
        handle: The job.
        emit: Takes each new line.
        cursor: How far the log was read.
        tail: The last lines.
    """

    launcher: LauncherComponent
    handle: str
    emit: Callable[[str], object]
    cursor: str | None = None
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL_LINES))

    def follow(self) -> None:
        """Emit what is new; a log out of reach is no reason to fail."""
        try:
            lines, self.cursor = self.launcher.logs(self.handle, self.cursor)
        except BackendError as error:
            logger.debug("The log of job %s cannot be read now: %s", self.handle, error)
            return
        for line in lines:
            self.tail.append(line.text)
            self.emit(line.text)

    def explain(self, error: JobError) -> None:
        """Add the last lines to an error, as a note."""
        if self.tail:
            error.add_note("\n".join([f"The last lines of the job's log ({len(self.tail)}):", *self.tail]))
