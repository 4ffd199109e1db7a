"""Wait for many jobs on one event loop: questions about jobs of one component go out as one call.

The policy is still `lifecycle.watch`; only the asking is shared.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, cast

from stackgraft import lifecycle
from stackgraft.errors import BackendError, JobTimedOutError
from stackgraft.job import JobStatus, Ticket

if TYPE_CHECKING:
    from stackgraft.components import LauncherComponent

Answer = JobStatus | BackendError
PATIENCE = 0.5
"""The share of a delay that a question may wait for others to go along with."""


async def wait_together(launcher: LauncherComponent, ticket: Ticket, pace: lifecycle.Pace, *, elapsed: float = 0.0) -> JobStatus:
    """Do what `lifecycle.wait_async` does, sharing each question with all who wait for jobs of an equal component.

    Args:
        launcher: The component that the ticket names.
        ticket: The claim on the job.
        pace: How often to ask, and for how long.
        elapsed: Seconds that an earlier process has spent on the same wait.

    Raises:
        BackendError, JobTimedOutError: As `lifecycle.watch` says.
    """
    watching = lifecycle.watch(pace, ticket, elapsed=elapsed)
    try:
        delay = next(watching)
        while True:
            await asyncio.sleep(delay * (1 - PATIENCE))
            delay = watching.send(await Batch.ask(launcher, ticket.handle, delay * PATIENCE))
    except StopIteration as ended:
        return cast("JobStatus", ended.value)
    except JobTimedOutError:
        await asyncio.to_thread(launcher.cancel, ticket.handle)
        raise


class Batch:
    """Questions that go out as one call, once the least patient of them has waited long enough."""

    _open: ClassVar[dict[tuple[asyncio.AbstractEventLoop, str], Batch]] = {}

    def __init__(self, launcher: LauncherComponent, key: tuple[asyncio.AbstractEventLoop, str]) -> None:
        self.launcher, self.key = launcher, key
        self.handles: set[str] = set()
        self.due = asyncio.Event()
        self.answers = asyncio.create_task(self._send())

    @classmethod
    async def ask(cls, launcher: LauncherComponent, handle: str, patience: float) -> Answer:
        """Return the status of a job, or the backend's error.

        Args:
            launcher: The component that runs it.
            handle: The job.
            patience: Seconds that the question may wait for others.
        """
        loop = asyncio.get_running_loop()
        key = loop, json.dumps(launcher.claim(), sort_keys=True)
        if key not in cls._open:
            cls._open[key] = cls(launcher, key)
        batch = cls._open[key]
        batch.handles.add(handle)
        loop.call_later(patience, batch.due.set)
        return (await asyncio.shield(batch.answers))[handle]

    async def _send(self) -> Mapping[str, Answer]:
        try:
            await self.due.wait()
        finally:
            del self._open[self.key]
        return await asyncio.to_thread(ask_many, self.launcher, sorted(self.handles))


def ask_many(launcher: LauncherComponent, handles: Sequence[str]) -> Mapping[str, Answer]:
    """Poll many jobs; where the service answers but refuses, ask about each, so that one bad handle fails alone."""
    try:
        return launcher.poll_many(handles)
    except BackendError as error:
        if error.transient or len(handles) == 1:
            return dict.fromkeys(handles, error)
        return {handle: lifecycle.ask(launcher, handle) for handle in handles}
