"""One spec on its way through the lifecycle, inside of a Prefect task run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, TypeVar

from anyio import CancelScope
from prefect.context import FlowRunContext, TaskRunContext
from prefect.exceptions import CancelledRun
from prefect.logging import get_logger, get_run_logger

from stackgraft import lifecycle
from stackgraft.errors import ConfigError, JobError, retryable
from stackgraft.joblog import JobLog
from stackgraft.outcomes import facts_of_spec
from stackgraft.stack import Stack
from stackgraft_prefect.blocks import StackBlock
from stackgraft_prefect.cancel import CancelGuard
from stackgraft_prefect.cards import publish
from stackgraft_prefect.journal import open_journal
from stackgraft_prefect.lineage import recorded

if TYPE_CHECKING:
    from stackgraft.job import JobStatus, Ticket
    from stackgraft.lineage import Trace
    from stackgraft.outcomes import Outcome
    from stackgraft.specs import Spec

T = TypeVar("T")
OutcomeT = TypeVar("OutcomeT", bound="Outcome")
StackLike = Stack | StackBlock | str | None
"""A stack, a `Stack` block, a name in ``stacks.toml``, or None for the active one."""


def run(spec: Spec, stack: StackLike, outcome: type[OutcomeT]) -> OutcomeT:
    """Start the spec's job or find it, wait for its end, show its log and its outcome, and return the outcome.

    Raises:
        ConfigError: Nothing was started.
        JobFailedError, JobCancelledError, JobTimedOutError: Its notes have the last lines of the job's log.
        BackendError: The service refused or was out of reach; the next try finds the job.
    """
    job = RemoteJob(spec, stack)
    with recorded(job.stack, spec.role) as job.trace, job.guarded():
        ticket = job.start()
        status = lifecycle.wait(job.launcher, ticket, job.launcher.pace, observe=job.log.follow, sleep=job.guard.sleep)
        return job.finish(status, outcome)


async def run_async(spec: Spec, stack: StackLike, outcome: type[OutcomeT]) -> OutcomeT:
    """Do what `run` does without blocking the event loop."""
    job = await asyncio.to_thread(RemoteJob, spec, stack)
    with recorded(job.stack, spec.role) as job.trace, job.guarded():
        ticket = await _to_its_end(job.start)
        status = await lifecycle.wait_async(job.launcher, ticket, job.launcher.pace, observe=job.log.follow, sleep=job.guard.sleep_async)
        return await asyncio.to_thread(job.finish, status, outcome)


def resolve(stack: StackLike) -> Stack:
    """Return the stack that is meant.

    Raises:
        ConfigError: It cannot be found, or is wrong.
    """
    if isinstance(stack, StackBlock):
        return stack.to_stack()
    return stack if isinstance(stack, Stack) else Stack.load(stack)


def worth_retrying(_task: object, _task_run: object, state: Any) -> bool:
    """Spare the retries where a retry cannot help: wrong input stays wrong, and a stopped job was stopped on purpose."""
    return not isinstance(state.data, CancelledRun) and retryable(state.data)


class RemoteJob:
    """A job as its task run sees it: started or found, followed, and then finished or left."""

    ticket: Ticket
    log: JobLog
    trace: Trace

    def __init__(self, spec: Spec, stack: StackLike) -> None:
        self.stack = resolve(stack)
        self.launcher = self.stack.launcher(spec)
        self.spec = self.stack.prepared(spec, **_where())
        self.journal = open_journal(self.launcher, self.spec)
        self.guard = CancelGuard()
        self._logger = get_run_logger() if TaskRunContext.get() else get_logger("stackgraft")

    def start(self) -> Ticket:
        """Start the job, or find it."""
        self.ticket = lifecycle.start(self.launcher, self.spec, self.journal)
        self.journal.keep(self.ticket)
        self.trace.note(**facts_of_spec(self.spec), job=self.journal.job or "")
        self.log = JobLog(self.launcher, self.ticket.handle, self._logger.info)
        self._logger.info("%s %r: %s is job %s.", self.ticket.role, self.ticket.flavor, self.spec.label, self.journal.job)
        return self.ticket

    def finish(self, status: JobStatus, outcome: type[OutcomeT]) -> OutcomeT:
        """Return the outcome of a job that succeeded, and show it."""
        result = outcome.model_validate(lifecycle.settle(status, self.ticket, self.journal))
        self.trace.note(**result.facts())
        publish(self.spec.label, result)
        return result

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Decide what becomes of the job and its journal when the task does not end in success."""
        try:
            yield
        except ConfigError:
            self.journal.clear()  # nothing was started
            raise
        except JobError as error:
            self.journal.clear()
            self.log.explain(error)
            raise
        except BaseException as error:
            if self.journal.job is not None and self.guard.wants_stop(error):
                self._stop(self.journal.job)
            self.journal.close()
            raise

    def _stop(self, name: str) -> None:
        """Stop the job; one whose start was cut short is found by its name."""
        self._logger.warning("Stopping job %s, because the run was stopped.", name)
        self.launcher.cancel(self.ticket.handle if hasattr(self, "ticket") else self.launcher.submit(self.spec, name=name))
        self.journal.clear()


async def _to_its_end(call: Callable[[], T]) -> T:
    """Run a call in a thread, which no cancellation stops: it is raised once the call has ended, and known what it started."""
    with CancelScope(shield=True):
        running = asyncio.get_running_loop().run_in_executor(None, copy_context().run, call)
        try:
            await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait([running])
            raise
    return running.result()


def _where() -> dict[str, str]:
    """Return the flow run and the task that ask, empty outside of a run."""
    flow, run = FlowRunContext.get(), TaskRunContext.get()
    return {"run": str(flow.flow_run.id) if flow and flow.flow_run else "", "step": run.task.name if run else ""}
