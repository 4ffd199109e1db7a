"""Where a job's name survives a crash on Prefect: a variable on the server, so that the next try finds it from any machine.

Prefect gives a task run a new id whenever its flow run is executed again, so a variable is named by what stays: the
flow run, and what is asked of which component. Equal jobs that run side by side take a slot each.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import threading
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import VariableCreate, VariableUpdate
from prefect.context import FlowRunContext, SyncClientContext, TaskRunContext
from prefect.exceptions import ObjectNotFound
from prefect.types import MAX_VARIABLE_VALUE_LENGTH

from stackgraft.job import Ticket

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.schemas.objects import State, TaskRun

    from stackgraft.components import LauncherComponent
    from stackgraft.specs import Spec

_open: dict[str, tuple[UUID, int]] = {}
"""The task run that holds a variable, and the number of its try."""
_opening = threading.Lock()


@dataclass
class MemoryJournal:
    """A journal for calls outside of a run, which nobody tries again."""

    job: str | None = None

    def load(self) -> str | None:
        """Return the saved name."""
        return self.job

    def save(self, name: str) -> None:
        """Keep the name."""
        self.job = name

    def keep(self, ticket: Ticket) -> None:
        """Add the ticket to the name."""

    def clear(self) -> None:
        """Forget the name."""
        self.job = None

    def close(self) -> None:
        """Leave the name to the next try."""


@dataclass
class VariableJournal(MemoryJournal):
    """A journal in the Prefect variable of that name: ``{"job": NAME, "ticket": {…}}``."""

    variable: str = ""

    def load(self) -> str | None:
        """Return the name that the server has."""
        with SyncClientContext.get_or_create() as context:
            found = context.client.read_variable_by_name(self.variable)
        self.job = cast("dict[str, Any]", found.value)["job"] if found else None
        return self.job

    def save(self, name: str) -> None:
        """Keep the name on the server before returning."""
        value = {"job": name}
        with SyncClientContext.get_or_create() as context:
            if self.job is None:
                context.client.create_variable(VariableCreate(name=self.variable, value=value, tags=["stackgraft"]))
            else:
                context.client.update_variable(VariableUpdate(name=self.variable, value=value))
        self.job = name

    def keep(self, ticket: Ticket) -> None:
        """Add the ticket, by which `stop_remote_jobs` finds the job; one that no variable can hold is left out."""
        value = {"job": self.job, "ticket": ticket.to_json()}
        if len(json.dumps(value)) <= MAX_VARIABLE_VALUE_LENGTH:
            with SyncClientContext.get_or_create() as context:
                context.client.update_variable(VariableUpdate(name=self.variable, value=value))

    def clear(self) -> None:
        """Delete the variable; nothing happens where there is none."""
        self.job = None
        with get_client(sync_client=True, httpx_settings={}) as client, suppress(ObjectNotFound):  # the run's own client may close
            client.delete_variable_by_name(self.variable)
        self.close()

    def close(self) -> None:
        """Free the slot, for the next try to take."""
        _open.pop(self.variable, None)


def open_journal(launcher: LauncherComponent, spec: Spec) -> MemoryJournal:
    """Return the journal of a job in this task run; it is cleared once Prefect holds the run's result."""
    run = TaskRunContext.get()
    if run is None:
        return MemoryJournal()
    if let_go not in run.task.on_completion_hooks:
        run.task.on_completion(let_go)
        run.task.on_failure(let_go)
    stem, mine = _stem(run.task_run, launcher, spec), (run.task_run.id, run.task_run.run_count)
    with _opening:
        variable = next(name for slot in itertools.count() if _free(name := f"{stem}-{slot}", mine))
        _open[variable] = mine
    return VariableJournal(variable=variable)


def let_go(_task: object, task_run: TaskRun, state: State) -> None:
    """Clear a task run's journals once Prefect has stored its result; leave those of a failed one to the flow's next try.

    It does not wait, because a server on SQLite may take seconds; should the process die before, the next try finds a
    job that has succeeded.
    """
    for variable in [variable for variable, (owner, _) in list(_open.items()) if owner == task_run.id]:
        journal = VariableJournal(variable=variable)
        if state.is_completed():
            threading.Thread(target=copy_context().run, args=(journal.clear,)).start()
        else:
            journal.close()


def left_behind(flow_run_id: UUID) -> dict[str, Ticket | None]:
    """Return the variables that a flow run's tries have left, with their tickets; None where the start was interrupted."""
    body = {"variables": {"name": {"like_": f"stackgraft-{flow_run_id}-%"}}}
    with SyncClientContext.get_or_create() as context:
        found = context.client.request("POST", "/variables/filter", json=body).json()
    tickets = {variable["name"]: variable["value"].get("ticket") for variable in found}
    return {name: Ticket.from_json(ticket) if ticket else None for name, ticket in tickets.items()}


def _free(variable: str, mine: tuple[UUID, int]) -> bool:
    """Tell whether nobody holds a variable, or an earlier try of the same task run, which is over."""
    owner, number = _open.get(variable, (mine[0], 0))
    return owner == mine[0] and number < mine[1]


def _stem(task_run: TaskRun, launcher: LauncherComponent, spec: Spec) -> str:
    asked = [launcher.claim(), type(spec).__name__, spec.model_dump(mode="json", exclude={"tags"})]
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:12]
    flow = FlowRunContext.get()
    elsewhere = f"-{task_run.id}" if flow and flow.detached else ""  # slots are known only inside of the flow's own process
    return f"stackgraft-{task_run.flow_run_id or task_run.id}{elsewhere}-{digest}"
