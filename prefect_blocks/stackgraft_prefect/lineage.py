"""What a task run used and made: one record for each try, and Prefect's own asset events.

The tasks of this package record themselves; plain tasks do once ``artifact`` is their result serializer.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

import prefect
from prefect.artifacts import create_markdown_artifact
from prefect.assets import Asset
from prefect.client.schemas.objects import TaskRunResult
from prefect.context import AssetContext, FlowRunContext, TaskRunContext
from prefect.exceptions import CancelledRun, TerminationSignal
from prefect.logging import get_logger

from stackgraft.artifacts import ArtifactRef
from stackgraft.errors import JobCancelledError, StackError
from stackgraft.lineage import Trace, log_of, refs_in, revision
from stackgraft.lineage.graph import Graph
from stackgraft.lineage.render import mermaid
from stackgraft_prefect.cards import artifact_key

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.schemas.objects import FlowRun

    from stackgraft.components import Component
    from stackgraft.lineage.record import LineageRecord
    from stackgraft.stack import Stack

_open: ContextVar[Trace | None] = ContextVar("stackgraft_trace", default=None)
_stacks: dict[UUID | None, Stack] = {}  # neither grows for long: Prefect runs each flow run in a process of its own
_outputs: dict[UUID, tuple[int, Sequence[ArtifactRef]]] = {}
"""What each task run made, and in which of its tries."""
logger = get_logger("stackgraft")


@contextmanager
def recorded(stack: Stack, role: str = "artifact_store") -> Iterator[Trace]:
    """Write the record of the task run's try when the block ends, however it ends; blocks within it add to the same.

    Args:
        stack: The stack that the task uses.
        role: Who answers and pays for this component, does so for the task.
    """
    run, outer = TaskRunContext.get(), _open.get()
    if run is None or outer is not None:  # outside of a run there is nothing to record
        yield outer or Trace(engine="prefect", pipeline="", run="", task="")
        return
    trace = _new_trace(run, stack, stack.components.get(role))
    token = _open.set(trace)
    try:
        yield trace
    except BaseException as error:
        cancelled = isinstance(error, (CancelledRun, TerminationSignal, asyncio.CancelledError, JobCancelledError))
        _write(run, stack, trace.finished("cancelled" if cancelled else "failed", str(error)))
        raise
    else:
        _write(run, stack, trace.finished("success"))
    finally:
        _open.reset(token)


def made(kept: Any, stack: Stack, failure: str | None = None) -> None:
    """Record a plain task by the result that it has come to, which may be its failure; our own tasks record themselves.

    Where Prefect enters a new context to keep a result, the record begins there. Inside of a ``transaction()`` it keeps results once their
    task runs are over: those are stored, but not recorded.
    """
    run = TaskRunContext.get()
    if run is None or _outputs.get(run.task_run.id, (0, ()))[0] == run.task_run.run_count:
        return
    trace = _new_trace(run, stack, stack.components.get("artifact_store"))
    trace.made(kept)
    _write(run, stack, trace.finished("success" if failure is None else "failed", failure or ""))


def found(kept: Any) -> None:
    """Note what a cached result names: the tasks that take it read that."""
    if (run := TaskRunContext.get()) is not None:
        _outputs[run.task_run.id] = (0, list(refs_in(kept)))


def publish_lineage(flow: object, flow_run: FlowRun, state: object) -> None:  # noqa: ARG001 - Prefect passes these by keyword
    """Show what a flow run's tasks used and made, as a diagram among Prefect's artifacts: ``@flow(on_completion=[publish_lineage])``."""
    stack = _stacks.get(flow_run.id)
    if stack is None:
        return  # no task of the run has met an artifact or run a job
    graph = Graph(log_of(stack.artifact_store).read())
    for run in graph.runs(str(flow_run.id)):
        diagram = f"```mermaid\n{mermaid(graph.around(run))}\n```"
        create_markdown_artifact(diagram, key=artifact_key("lineage", run.key.partition("/")[0]), description=run.label, _sync=True)  # type: ignore[call-arg] # async_dispatch


def _new_trace(run: TaskRunContext, stack: Stack, component: Component | None) -> Trace:
    flow, task, names = FlowRunContext.get(), run.task_run, {"pipeline": "", "revision": ""}
    if flow and flow.flow:
        code = Path(flow.flow.fn.__code__.co_filename)  # works for scripts and modules, wherever they are run from
        names = {"pipeline": flow.flow.name, "revision": revision(code.parent) if code.exists() else ""}
    names |= {"run": str(task.flow_run_id or task.id), "task": f"{run.task.name}-{str(task.id)[-8:]}"}
    facets = {"task_run": str(task.id), "task_name": run.task.name, "engine_version": prefect.__version__}
    known: dict[str, Any] = {
        "stack": stack.name,
        "try_number": task.run_count or 1,
        "facets": facets,
        **(component.payer() if component else {}),
    }
    trace = Trace(engine="prefect", **names, **known)
    trace.used([run.parameters, _upstream(run)])
    return trace


def _upstream(run: TaskRunContext) -> Sequence[ArtifactRef]:
    """Return what those task runs made whose values this one takes, as far as this process has seen them."""
    sources = [source for inputs in run.task_run.task_inputs.values() for source in inputs if isinstance(source, TaskRunResult)]
    return [ref for source in sources for ref in _outputs.get(source.id, (0, ()))[1]]


def _write(run: TaskRunContext, stack: Stack, record: LineageRecord) -> None:
    if "artifact_store" not in stack.components:
        return
    _outputs[run.task_run.id] = (run.task_run.run_count, record.outputs)
    _stacks[run.task_run.flow_run_id] = stack
    _announce(record)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        _store(stack, record)
    else:
        threading.Thread(target=_store, args=(stack, record)).start()  # the loop is not blocked; the process waits for the thread


def _store(stack: Stack, record: LineageRecord) -> None:
    try:
        log_of(stack.artifact_store).write(record)
    except StackError as error:  # a record out of reach must not undo what the task did
        logger.warning("The lineage of %s is not recorded: %s", record.task, error)


def _announce(record: LineageRecord) -> None:
    """Let Prefect emit what `@materialize` would: the outputs as assets, with their versions, made from the inputs."""
    assets = AssetContext.get()
    if assets is None:
        return
    assets.upstream_assets |= {_asset(ref) for ref in record.inputs}
    assets.downstream_assets |= {_asset(ref) for ref in record.outputs}
    assets.materialization_metadata |= {_asset(ref).key: ref.facts() for ref in record.outputs}
    assets.update_tracked_assets()


def _asset(ref: ArtifactRef) -> Asset:
    return Asset(key=f"stackgraft://artifacts/{ref.name}")
