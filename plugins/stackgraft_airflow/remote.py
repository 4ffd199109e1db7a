"""A task's job on the component that runs it, and what its errors mean to Airflow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from stackgraft import lifecycle
from stackgraft.errors import JobError, StackError, retryable
from stackgraft.job import Ticket
from stackgraft.joblog import JobLog
from stackgraft_airflow.compat import AirflowFailException, AirflowTaskTimeout
from stackgraft_airflow.journal import StoreJournal, open_journal

if TYPE_CHECKING:
    from stackgraft.components import LauncherComponent
    from stackgraft.specs import Spec

STILL_WANTED = frozenset({"scheduled", "queued", "running", "deferred", "up_for_retry", "up_for_reschedule"})
"""States in which a killed try leaves its job alone: it was shut down, or another try has taken over."""


@dataclass
class RemoteJob:
    """A job as its task sees it.

    Attributes:
        launcher: The component that runs it.
        ticket: The claim on it.
        journal: Where its name is kept.
        log: What it prints goes to the task's log.
    """

    launcher: LauncherComponent
    ticket: Ticket
    journal: StoreJournal
    log: JobLog

    @classmethod
    def start(cls, launcher: LauncherComponent, spec: Spec, context: Any, logger: Any) -> RemoteJob:
        """Start the task's job, or find it if an earlier try has started it."""
        journal = open_journal(context)
        try:
            ticket = lifecycle.start(launcher, spec, journal)
            journal.keep(ticket)
        except AirflowTaskTimeout:
            if (name := journal.load()) is not None:  # the job may have been started: its name finds it
                launcher.cancel(launcher.submit(spec, name=name))
                journal.clear()
            raise
        logger.info("%s %r runs %s as job %s.", ticket.role, ticket.flavor, spec.label, ticket.handle)
        return cls(launcher, ticket, journal, JobLog(launcher, ticket.handle, logger.info))

    @classmethod
    def resumed(cls, event: Mapping[str, Any], context: Any, logger: Any) -> RemoteJob:
        """Return the job that a deferred task was waiting for, which may be another than the event's.

        On SQLite a new trigger gets the id of one that was deleted: if that one still runs, its event comes to the wrong try.
        """
        journal, ticket, cursor = open_journal(context), Ticket.from_json(event["ticket"]), event["kept"]["cursor"]
        if (mine := journal.kept()) is not None and mine != ticket:
            ticket, cursor = mine, None
        launcher = lifecycle.launcher_of(ticket)
        return cls(launcher, ticket, journal, JobLog(launcher, ticket.handle, logger.info, cursor))

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Forget a job that did not succeed and show the end of its log; stop it when the task's time is up."""
        try:
            yield
        except JobError as error:
            self.journal.clear()
            self.log.explain(error)
            raise
        except AirflowTaskTimeout:
            self.launcher.cancel(self.ticket.handle)
            self.journal.clear()
            raise


@contextmanager
def retries_spared() -> Iterator[None]:
    """Fail the task at once where a retry cannot help: wrong input stays wrong, and a stopped job was stopped on purpose."""
    try:
        yield
    except StackError as error:
        if retryable(error):
            raise
        raise AirflowFailException(str(error)) from error


def pace_within(pace: lifecycle.Pace, limit: timedelta | None) -> lifecycle.Pace:
    """Return the pace with a deadline no later than the task's own."""
    deadlines = (pace.deadline, limit.total_seconds() if limit else None)
    return replace(pace, deadline=min((seconds for seconds in deadlines if seconds is not None), default=None))


def state_of(ti: Any) -> str | None:
    """Return the state that the scheduler has for a task instance now; None where it was cleared or is gone."""
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance  # noqa: PLC0415 - heavy, and for kills alone

    where = {"dag_id": ti.dag_id, "task_ids": [ti.task_id], "run_ids": [ti.run_id], "map_index": ti.map_index}
    found = RuntimeTaskInstance.get_task_states(**where).get(ti.run_id, {})
    return next(iter(found.values()), None)


def stop_unless_wanted(ti: Any, starting: Future[RemoteJob]) -> None:
    """Stop a killed try's job, once it is known, if a user has ended the task."""
    if state_of(ti) not in STILL_WANTED:
        job = starting.result()
        job.launcher.cancel(job.ticket.handle)
        job.log.emit(f"Stopped job {job.ticket.handle}, because its task was ended.")
