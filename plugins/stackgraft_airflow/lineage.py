"""What a task uses and makes: collected while it runs, and written as one record when it ends.

Airflow calls the hooks below in the process that runs the task; each such process runs one task at a time. Tasks that meet no
artifact and run no job leave no record.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import airflow
from airflow.sdk import Asset, AssetAlias

from stackgraft.artifacts import ArtifactRef
from stackgraft.errors import StackError
from stackgraft.lineage import Trace, log_of, refs_in, revision
from stackgraft_airflow.compat import get_hook_lineage_collector, hookimpl
from stackgraft_airflow.hook import default_stack

if TYPE_CHECKING:
    from stackgraft.lineage.record import Outcome
    from stackgraft.stack import Stack

ALIAS = "stackgraft"
"""The asset alias under which artifacts become asset events; schedule on ``Asset("stackgraft://artifacts/NAME")``."""
ASSET_PREFIX = "stackgraft://artifacts/"
log = logging.getLogger(__name__)


@dataclass
class Try:
    """A task's try, as far as it is known.

    Attributes:
        trace: What it has met; it is named when it ends, since arguments are rendered before Airflow tells of the task.
        ti: Its task instance, once it runs.
        stack: The stack that it uses.
    """

    trace: Trace = field(default_factory=lambda: Trace(engine="airflow", pipeline="", run="", task=""))
    ti: Any = None
    stack: Stack | None = None


_open: list[Try] = []


def current() -> Try:
    """Return the try that this process runs."""
    if not _open:
        _open.append(Try())
    return _open[0]


def used(value: Any) -> None:
    """Note the artifacts that a value names as inputs, for OpenLineage too."""
    current().trace.used(value)
    for ref in refs_in(value):
        _collect("input", ref)


def made(value: Any, **facts: Any) -> None:
    """Note the artifacts that a value names as outputs, which become asset events, and other facts of the record."""
    trace = current().trace
    before = set(trace.outputs)
    trace.made(value)
    trace.note(**facts)
    for ref in [ref for ref in trace.outputs if ref not in before]:
        _collect("output", ref)
        _announce(ref, current().ti)


def uses(stack: Stack, role: str, **facts: Any) -> None:
    """Note the stack that the task uses, who answers and pays for the component that it uses most, and what is known already."""
    current().stack = stack
    current().trace.note(**stack.component(role).payer(), **facts)


@hookimpl
def on_task_instance_running(previous_state: object, task_instance: Any) -> None:  # noqa: ARG001 - Airflow passes these by keyword
    """Note what the task's arguments name; they are rendered by now."""
    if _is_worker(task_instance):
        current().ti = task_instance
        for name in task_instance.task.template_fields:
            used(getattr(task_instance.task, name, None))


@hookimpl
def on_task_instance_success(previous_state: object, task_instance: Any) -> None:  # noqa: ARG001 - as above
    """Write the record."""
    _write(task_instance, "success")


@hookimpl
def on_task_instance_skipped(previous_state: object, task_instance: Any) -> None:  # noqa: ARG001 - as above
    """Write the record."""
    _write(task_instance, "skipped")


@hookimpl
def on_task_instance_failed(previous_state: object, task_instance: Any, error: object) -> None:  # noqa: ARG001 - as above
    """Write the record of a try that failed, be it retried or not."""
    _write(task_instance, "failed", str(error or ""))


def _write(ti: Any, outcome: Outcome, reason: str = "") -> None:
    if not _is_worker(ti):
        return  # a user has set the state: nothing ran
    ended = current()
    _open.clear()
    if not (ended.trace.inputs or ended.trace.outputs or ended.stack):
        return
    folder = Path(str(ti.task.dag.fileloc)).parent
    names = {"pipeline": ti.dag_id, "run": ti.run_id, "task": ti.task_id, "map_index": ti.map_index, "try_number": ti.try_number}
    try:
        stack = ended.stack or default_stack()
        payer = stack.component("artifact_store").payer()
        ended.trace.fields = payer | ended.trace.fields | names | {"stack": stack.name, "revision": revision(folder)}
        ended.trace.note(facets={"engine_version": airflow.__version__})
        log_of(stack.artifact_store).write(ended.trace.finished(outcome, reason))
    except StackError as error:  # a record out of reach must not undo what the task did
        log.warning("The lineage of %s is not recorded: %s", ti.task_id, error)


def _is_worker(ti: Any) -> bool:
    return type(ti).__name__ == "RuntimeTaskInstance"


def _announce(ref: ArtifactRef, ti: Any) -> None:
    """Make an asset event of an artifact: an alias needs no declaration in the DAG."""
    if ti is None:
        return
    if not any(isinstance(outlet, AssetAlias) and outlet.name == ALIAS for outlet in ti.task.outlets):
        ti.task.outlets.append(AssetAlias(ALIAS))
    ti.get_template_context()["outlet_events"][AssetAlias(ALIAS)].add(Asset(_uri(ref)), extra=ref.facts())


def _collect(direction: str, ref: ArtifactRef) -> None:
    """Hand the artifact to Airflow's own collector, from which OpenLineage reads."""
    add = getattr(get_hook_lineage_collector(), f"add_{direction}_asset")
    add(context=current().ti, uri=_uri(ref), asset_extra=ref.facts())


def _uri(ref: ArtifactRef) -> str:
    return ASSET_PREFIX + ref.name
