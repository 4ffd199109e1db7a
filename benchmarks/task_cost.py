"""What artifacts and lineage add to a task that does nothing, and to one that returns a small array, on each engine.

``python benchmarks/task_cost.py [--json] [--tasks 30] [--rounds 3]``

Each run is a process of its own, with and without stackgraft in turn; the figure is the CPU of a run with it less that of
one without, for each task, as the median over the rounds. A negative figure is noise: the cost is below it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

GOAL_MS = 10.0
STACK = 'default = "cost"\n[stacks.cost]\nartifact_store = { flavor = "local", path = "artifacts", cache = "cache" }\n'
DAG = """
import os
import numpy
from airflow.sdk import DAG, task
with DAG("cost", schedule=None):
    @task
    def each(number):
        return {value}
    for number in range({count}):
        each.override(task_id=f"t{{number}}")(number)
"""
AIRFLOW = """
import os
from airflow.dag_processing.dagbag import DagBag
from airflow.utils.db import initdb
initdb()
dag = DagBag().dags["cost"]
dag.test()
before = os.times()
assert dag.test().state == "success"
after = os.times()
print(sum(after[:4]) - sum(before[:4]))
"""
PREFECT = """
import os
import numpy
from prefect import flow, task
@task(persist_result=True)
def each(number):
    return {value}
@flow
def cost(count):
    for number in range(count):
        each(number)
cost(1)
before = os.times()
cost({count})
after = os.times()
print(sum(after[:4]) - sum(before[:4]))
"""
SCRIPTS = {"airflow": AIRFLOW, "prefect": PREFECT}
ON = {
    "airflow": {"AIRFLOW__CORE__XCOM_BACKEND": "stackgraft_airflow.xcom.ArtifactXComBackend"},
    "prefect": {"PREFECT_RESULTS_DEFAULT_SERIALIZER": "artifact", "PREFECT_PLUGINS_ENABLED": "true"},
}
RETURNED = {"nothing": "1", "array": "numpy.arange(100).tolist() if os.environ.get('PLAIN') else numpy.arange(100)"}


def cpu_seconds(engine: str, returned: str, tasks: int, *, with_stackgraft: bool) -> float:
    """Return the CPU seconds of a run of many tasks, in a home of its own; without stackgraft an array is a list."""
    with tempfile.TemporaryDirectory() as home:
        Path(home, "stacks.toml").write_text(STACK)
        Path(home, "dags").mkdir()
        Path(home, "dags", "cost.py").write_text(DAG.format(value=RETURNED[returned], count=tasks))
        Path(home, "run.py").write_text(SCRIPTS[engine].format(value=RETURNED[returned], count=tasks))
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PREFECT", "STACKGRAFT"))}
        env = clean | {
            "HOME": home,
            "AIRFLOW_HOME": home,
            "PREFECT_HOME": home,
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
            "PREFECT_LOGGING_LEVEL": "ERROR",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
            "DO_NOT_TRACK": "1",
            **(ON[engine] if with_stackgraft else {"PLAIN": "1"}),
        }
        command = [sys.executable, "run.py"]
        done = subprocess.run(command, cwd=home, env=env, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode:
        raise SystemExit(f"{engine}, {returned}: {done.stderr[-2000:]}")
    return float(done.stdout.split()[-1])


def row(engine: str, returned: str, tasks: int, rounds: int) -> dict[str, Any]:
    """Measure one engine and one kind of task."""
    pairs = [[cpu_seconds(engine, returned, tasks, with_stackgraft=on) / tasks * 1000 for on in (False, True)] for _ in range(rounds)]
    without, with_it = (statistics.median(column) for column in zip(*pairs, strict=True))
    added = statistics.median(on - off for off, on in pairs)
    return {"engine": engine, "returns": returned, "without_ms": without, "with_ms": with_it, "added_ms": added}


def main() -> None:
    """Measure, and print a table or JSON."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--json", action="store_true")
    options.add_argument("--tasks", type=int, default=30)
    options.add_argument("--rounds", type=int, default=3)
    chosen = options.parse_args()
    rows = [row(engine, returned, chosen.tasks, chosen.rounds) for engine in SCRIPTS for returned in RETURNED]
    goals = [
        {
            "name": f"{each['engine']}: CPU ms added to a task that returns nothing",
            "goal": f"<= {GOAL_MS:g}",
            "measured": each["added_ms"],
            "met": each["added_ms"] <= GOAL_MS,
        }
        for each in rows
        if each["returns"] == "nothing"
    ]
    machine = {"python": platform.python_version(), "machine": platform.machine(), "cores": os.cpu_count(), "load": os.getloadavg()[0]}
    if chosen.json:
        sys.stdout.write(json.dumps({"goals": goals, "rows": rows, "machine": machine}) + "\n")
        return
    for each in rows:
        told = f"{each['without_ms']:7.1f} -> {each['with_ms']:7.1f} CPU ms a task, {each['added_ms']:+.1f}"
        sys.stdout.write(f"{each['engine']:<8} returns {each['returns']:<8} {told}\n")
    for goal in goals:
        sys.stdout.write(f"{'met   ' if goal['met'] else 'MISSED'} {goal['name']}: {goal['measured']:.1f} (goal {goal['goal']})\n")


if __name__ == "__main__":
    main()
