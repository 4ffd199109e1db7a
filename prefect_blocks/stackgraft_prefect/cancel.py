"""Tell a user's cancel from a crash or a shutdown: only the first stops the remote job; after the others the next try finds it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
from prefect.context import FlowRunContext, SyncClientContext, TaskRunContext
from prefect.exceptions import CancelledRun, ObjectNotFound, TerminationSignal
from prefect.logging import get_logger

from stackgraft import lifecycle
from stackgraft.errors import StackError
from stackgraft_prefect.journal import VariableJournal, left_behind

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

NAP_SECONDS = 0.5
CHECK_SECONDS = 10.0
logger = get_logger("stackgraft")


class CancelGuard:
    """Sleeps for a task that waits, and ends the wait once the flow run is cancelled.

    Prefect interrupts a task that was called directly, but not one that was submitted to a thread: for that one it sets
    an event on the task runner. Other task runners set none, so the flow run's state is read now and then, too.
    """

    def __init__(self) -> None:
        flow, run = FlowRunContext.get(), TaskRunContext.get()
        events = getattr(getattr(flow, "task_runner", None), "_cancel_events", {})
        self._event = events.get(run.task_run.id) if run else None
        self._flow_run: Any = flow.flow_run if flow else None
        self._deadline = run.start_time + timedelta(seconds=run.task.timeout_seconds) if run and run.task.timeout_seconds else None
        self._due = time.monotonic() + CHECK_SECONDS

    def sleep(self, seconds: float) -> None:
        """Sleep, in naps.

        Raises:
            CancelledRun: The flow run was cancelled meanwhile.
        """
        for nap in self._naps(seconds):
            time.sleep(nap)

    async def sleep_async(self, seconds: float) -> None:
        """Do what `sleep` does without blocking the event loop."""
        for nap in self._naps(seconds):
            await asyncio.sleep(nap)

    def wants_stop(self, error: BaseException) -> bool:
        """Tell whether what interrupted the task means that its job should be stopped.

        True after a user's cancel, the task's own ``timeout_seconds``, and Ctrl-C on a flow that no runner serves: the
        next run of such a script is another flow run, which would not find the job.
        """
        if isinstance(error, KeyboardInterrupt):
            return self._flow_run is None or self._flow_run.deployment_id is None
        if isinstance(error, asyncio.CancelledError) and self._deadline is not None and datetime.now(UTC) >= self._deadline:
            return True
        cancelled = isinstance(error, (TerminationSignal, asyncio.CancelledError)) and self._cancelled()
        return cancelled or isinstance(error, (CancelledRun, TimeoutError))

    def _naps(self, seconds: float) -> Iterator[float]:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            yield min(left, NAP_SECONDS)
            self._check()

    def _check(self) -> None:
        signalled = self._event is not None and self._event.is_set()
        if signalled:
            self._event = None  # it is also set when a flow ends, or is shut down: asked once, not after each nap
        if signalled or time.monotonic() >= self._due:
            self._due = time.monotonic() + CHECK_SECONDS
            if self._cancelled():
                raise CancelledRun("The flow run was cancelled.")

    def _cancelled(self) -> bool:
        if self._flow_run is None:
            return False
        try:
            with SyncClientContext.get_or_create() as context:
                state = context.client.read_flow_run(self._flow_run.id).state
        except (httpx.HTTPError, ObjectNotFound) as unknown:
            logger.warning("The flow run's state cannot be read, so its job is left running: %s", unknown)
            return False
        return state is not None and (state.is_cancelling() or state.is_cancelled())


def stop_remote_jobs(flow: object, flow_run: FlowRun, state: object) -> None:  # noqa: ARG001 - Prefect passes these by keyword
    """Stop the jobs that a flow run left behind: ``@flow(on_cancellation=[stop_remote_jobs])``.

    A task stops its own job when its flow run is cancelled. This hook is for the case that the task's process is gone
    already; it runs wherever Prefect runs hooks, and needs the stack's flavors to be installed there.
    """
    for variable, ticket in left_behind(flow_run.id).items():
        if ticket is None:
            logger.warning("The job of %s has no ticket: if it was started, it is left running.", variable)
            continue
        try:
            lifecycle.launcher_of(ticket).cancel(ticket.handle)
        except StackError as error:
            logger.error("The %s job %s could not be stopped: %s", ticket.role, ticket.handle, error)  # noqa: TRY400 - it says all
            continue
        VariableJournal(variable=variable).clear()
        logger.info("Stopped the %s job %s.", ticket.role, ticket.handle)
