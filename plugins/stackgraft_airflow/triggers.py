"""The one trigger: it waits for any job of any flavor."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict
from typing import Any, ClassVar

from airflow.triggers.base import BaseTrigger, TriggerEvent

from stackgraft import errors, lifecycle
from stackgraft.batching import wait_together
from stackgraft.errors import JobTimedOutError, StackError
from stackgraft.job import JobStatus, JsonValue, Ticket
from stackgraft_airflow.remote import state_of


class JobTrigger(BaseTrigger):
    """Fires once the job has ended or was given up; all triggers of a component ask about their jobs in one call.

    Args:
        ticket: The claim on the job, as JSON.
        pace: The fields of `stackgraft.lifecycle.Pace`.
        since: When the wait began, in seconds since the epoch: a restarted triggerer does not begin the deadline anew.
        kept: Comes back with the event: ``dags test`` hands nothing else to the resumed task.
    """

    _stopping: ClassVar[set[asyncio.Task[None]]] = set()

    def __init__(self, ticket: Mapping[str, JsonValue], pace: Mapping[str, Any], since: float, kept: Mapping[str, JsonValue]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.ticket, self.pace, self.since, self.kept = Ticket.from_json(ticket), lifecycle.Pace(**pace), since, dict(kept)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what makes an equal trigger in another process."""
        kwargs = {"ticket": self.ticket.to_json(), "pace": asdict(self.pace), "since": self.since, "kept": self.kept}
        return f"{type(self).__module__}.{type(self).__qualname__}", kwargs

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield the one event, which `status_in` reads."""
        yield TriggerEvent({**await self._outcome(), "ticket": self.ticket.to_json(), "kept": self.kept})  # type: ignore[no-untyped-call]

    async def on_kill(self) -> None:
        """Stop the job when a user ends the deferred task.

        Airflow 3.3 cancels this call soon after it begins, so the work is shielded and held elsewhere.
        """
        stopping = asyncio.create_task(self._stop())
        self._stopping.add(stopping)
        stopping.add_done_callback(self._stopping.discard)
        await asyncio.shield(stopping)

    async def _outcome(self) -> dict[str, Any]:
        try:
            launcher = await asyncio.to_thread(lifecycle.launcher_of, self.ticket)
            status = await wait_together(launcher, self.ticket, self.pace, elapsed=time.time() - self.since)
        except JobTimedOutError as late:
            return {"timed_out": late.what, "status": late.status.to_json()}
        except StackError as error:
            kind = next(base for base in type(error).__mro__ if base.__module__ == errors.__name__)
            return {"error": str(error), "kind": kind.__name__}
        return {"status": status.to_json()}

    async def _stop(self) -> None:
        if await asyncio.to_thread(state_of, self.task_instance) == "deferred":
            return  # no user ended it: the trigger has moved to another triggerer, which goes on waiting
        launcher = await asyncio.to_thread(lifecycle.launcher_of, self.ticket)
        await asyncio.to_thread(launcher.cancel, self.ticket.handle)
        self.log.info("Stopped job %s, because its task was ended.", self.ticket.handle)


def status_in(event: Mapping[str, Any]) -> JobStatus:
    """Return the final status that an event of the trigger has, or raise what ended the wait.

    Raises:
        StackError: Of the kind that the trigger met.
    """
    if "error" in event:
        raise getattr(errors, event["kind"])(event["error"])
    status = JobStatus.from_json(event["status"])
    if "timed_out" in event:
        raise JobTimedOutError(event["timed_out"], status=status, ticket=Ticket.from_json(event["ticket"]))
    return status
