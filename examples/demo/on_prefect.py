"""Run the flow on an ephemeral server and print what each task did, as one line of JSON."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import State

FLOW = Path(__file__).parents[2] / "flows" / "investor_signals.py"


def facts(state: State[dict[str, Any]]) -> dict[str, Any]:
    """Return the run's state and tasks: their times from the server, their outputs from what the flow returned."""
    outputs = state.result() if state.is_completed() else {}
    with get_client(sync_client=True) as client:
        tasks = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[state.state_details.flow_run_id])))
    steps = []
    for task in sorted(tasks, key=lambda task: task.start_time or task.expected_start_time):
        name, value = task.name.rpartition("-")[0], outputs.get(task.name.rpartition("-")[0])
        output = value.to_json() if hasattr(value, "to_json") else value
        steps.append({"step": name, "state": task.state_name.lower(), "seconds": task.total_run_time.total_seconds(), "output": output})
    return {"state": "success" if state.is_completed() else "failed", "steps": steps}


if __name__ == "__main__":
    flow = runpy.run_path(str(FLOW))["investor_signals"]
    with get_client(sync_client=True):  # starts the ephemeral server
        sys.stdin.read()  # until it is this engine's turn
    sys.stdout.write(json.dumps(facts(flow(return_state=True))) + "\n")
