"""Where a job's name survives a crash on Airflow: the task's state store, which its retries share."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from typing import Any

from stackgraft import lifecycle
from stackgraft.errors import StackError
from stackgraft.job import JsonValue, Ticket

KEY = "stackgraft"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoreJournal:
    """A journal in ``context["task_state_store"]``: ``{"job": NAME, "clears": N, "ticket": {…}}``.

    The name of a success stays in place. It could go only once Airflow holds the result, and from then on nothing but
    a user's clear runs the task again: a name from before a clear is never recalled.

    Attributes:
        store: The task's state store.
        clears: Airflow's ``max_tries``, which stays the same over retries and grows with each clear.
    """

    store: Any
    clears: int

    def load(self) -> str | None:
        """Return the saved name; where the user has cleared the task since, stop that job instead."""
        record = self.store.get(KEY)
        if record is not None and record["clears"] != self.clears:
            self._abandon(record)
            return None
        return record and str(record["job"])

    def save(self, name: str) -> None:
        """Keep the name before the job exists."""
        self.store.set(KEY, {"job": name, "clears": self.clears})

    def keep(self, ticket: Ticket) -> None:
        """Add the ticket to the name: by it, the next run after a clear stops the job."""
        self.store.set(KEY, {**self.store.get(KEY), "ticket": ticket.to_json()})

    def kept(self) -> Ticket | None:
        """Return the ticket of the task's job, where there is one."""
        record = self.store.get(KEY) or {}
        return Ticket.from_json(record["ticket"]) if "ticket" in record else None

    def clear(self) -> None:
        """Forget the name."""
        self.store.delete(KEY)

    def _abandon(self, record: dict[str, JsonValue]) -> None:
        if "ticket" in record:
            ticket = Ticket.from_json(record["ticket"])
            try:
                lifecycle.launcher_of(ticket).cancel(ticket.handle)
            except StackError as error:  # an old job out of reach must not hinder the new one
                log.warning("The job %s from before the task was cleared cannot be stopped: %s", ticket.handle, error)
        self.clear()


class TryStore(dict[str, JsonValue]):
    """What stands in for the state store below Airflow 3.3: it forgets, so it begins with a name that its try always has."""

    set = dict.__setitem__

    def delete(self, key: str) -> None:
        """Drop a key."""
        self.pop(key, None)


def open_journal(context: Any) -> StoreJournal:
    """Return the journal of the running task.

    Below Airflow 3.3 there is no state store, and the job's name is made from the try's number among others: a try that
    Airflow runs again finds its job, but a retry, which is another try, starts a job of its own.
    """
    ti = context["ti"]
    store = context.get("task_state_store")
    if store is None:
        identity = "\0".join(str(part) for part in (ti.dag_id, ti.run_id, ti.task_id, ti.map_index, ti.try_number))
        name = f"airflow-{hashlib.sha256(identity.encode()).hexdigest()[:20]}"
        store = TryStore({KEY: {"job": name, "clears": ti.max_tries}})
    return StoreJournal(store, ti.max_tries)
