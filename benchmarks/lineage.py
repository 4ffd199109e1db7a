"""How long questions about lineage take over 100,000 records in a folder, and how many requests they make.

``python benchmarks/lineage.py [--json] [--records N]``. The records form many runs of a pipeline with mapped tasks, and one chain
of model versions, each trained from the one before.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stackgraft.artifacts.objects import Objects
from stackgraft.artifacts.ref import ArtifactRef
from stackgraft.lineage import LineageRecord
from stackgraft.lineage.graph import Graph
from stackgraft.lineage.log import LineageLog
from stackgraft.lineage.nodes import Node
from stackgraft.lineage.segment import Segment
from stackgraft.local.filesystem_store import FilesystemArtifactStore

GOAL_SECONDS = 1.0
GOAL_REQUESTS = 20
WRITES = 200
TASKS = 10
"""Tasks of a run: one prepares, eight train, one chooses and deploys."""


class Counted(Objects):
    """Objects that count their requests."""

    requests = 0

    def read(self, key: str) -> memoryview:
        """Count and read."""
        Counted.requests += 1
        return Objects.read(self, key)

    def walk(self, prefix: str) -> Any:
        """Count a page of a thousand, and list."""
        Counted.requests += 1
        for number, found in enumerate(Objects.walk(self, prefix), 1):
            Counted.requests += number % 1000 == 0
            yield found


def records(count: int) -> list[LineageRecord]:
    """Return that many records of runs; each run's model is trained from the one before."""
    chance = random.Random(0)  # noqa: S311 - nothing is secret
    image = f"registry/app@sha256:{chance.randbytes(32).hex()}"

    def ref(name: str, version: int) -> ArtifactRef:
        digest = f"sha256:{chance.randbytes(32).hex()}"
        return ArtifactRef(name=name, version=version, digest=digest, type="arrow", size=version)

    found: list[LineageRecord] = []
    best = ref("best", 1)
    for run in range(count // TASKS):
        shared = {"engine": "airflow", "pipeline": "signals", "run": f"scheduled__{run:07}", "outcome": "success", "revision": "a" * 40}
        times = {"started": 1.7e9 + run, "ended": 1.7e9 + run + 0.5}
        features = ref("features", run + 1)
        found.append(LineageRecord(task="prepare", inputs=(ref("raw", run + 1),), outputs=(features,), **shared, **times))
        models = [ref(f"model-{index}", run + 1) for index in range(TASKS - 2)]
        for index, model in enumerate(models):
            made = {"inputs": (features, best), "outputs": (model,), "image": image, "map_index": index}
            found.append(LineageRecord(task="train", billable={"seconds": 12.5}, **made, **shared, **times))
        best = ref("best", run + 2)
        served = {"service": "app", "image": image, "url": "http://app"} if run % 1000 == 0 else {}
        found.append(LineageRecord(task="choose", inputs=tuple(models), outputs=(best,), **served, **shared, **times))
    return found


def timed(action: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds that the action takes, and what it returns."""
    started = time.perf_counter()
    result = action()
    return time.perf_counter() - started, result


def measure(count: int) -> list[dict[str, Any]]:
    """Return one row for each thing that was done: its seconds, and its requests where they are counted."""
    with tempfile.TemporaryDirectory() as scratch:
        store = FilesystemArtifactStore(path=Path(scratch, "store"), cache=Path(scratch, "cache"))
        objects = store.objects
        log = LineageLog(objects)
        known = records(count)
        packing, (name, content) = timed(lambda: Segment.packed(1, [one.to_bytes() for one in known], []))
        objects.create(f"lineage/segments/{name}", content)
        newest = [one.model_copy(update={"run": f"manual__{number}"}) for number, one in enumerate(known[:WRITES])]
        writing, _ = timed(lambda: [log.write(one) for one in newest])
        compacting, _ = timed(log.compact)
        rows = [
            {"what": "pack all into one segment", "seconds": packing, "bytes": len(content)},
            {"what": "write a record", "seconds": writing / WRITES},
            {"what": f"compact {WRITES} loose records", "seconds": compacting},
        ]
        last = count // TASKS + 1
        asked: dict[str, Callable[[Graph], Node | None]] = {
            "backward from the last of a chain": lambda graph: graph.artifact(f"best@{last}"),
            "forward from the first": lambda graph: graph.artifact("raw@1"),
            "an image that made all": lambda graph: graph.image(known[1].image.partition("@")[2]),
            "a service": lambda graph: graph.service("app"),
            "a run": lambda graph: graph.runs(f"scheduled__{last // 2:07}")[0],
        }
        counted = LineageLog(Counted(objects.storage, objects.place, objects.workers))
        return rows + [asking(what, find, counted) for what, find in asked.items()] + commanded(Path(scratch), f"best@{last}")


def asking(what: str, find: Callable[[Graph], Node | None], log: LineageLog) -> dict[str, Any]:
    """Return the row of a question that is asked three times, each time from nothing."""

    def ask() -> int:
        graph = Graph(log.read())
        root = find(graph)
        if root is None:
            raise LookupError(what)
        return len(graph.around(root).nodes)

    before = Counted.requests
    samples = [timed(ask) for _ in range(3)]
    seconds = [sample for sample, _ in samples]
    requests = (Counted.requests - before) // len(samples)
    return {"what": what, "seconds": sorted(seconds)[1], "worst": max(seconds), "nodes": samples[0][1], "requests": requests}


def commanded(home: Path, subject: str) -> list[dict[str, Any]]:
    """Return the row of the command line, from start to end."""
    (home / "stacks.toml").write_text('default = "local"\n[stacks.local]\nartifact_store = { flavor = "local", path = "store" }\n')
    command = [sys.executable, "-m", "stackgraft", "lineage", subject]
    env = {**os.environ, "STACKGRAFT_CONFIG": str(home / "stacks.toml")}
    samples = [timed(lambda: subprocess.run(command, check=True, capture_output=True, env=env))[0] for _ in range(3)]
    return [{"what": "the command line, with its start", "seconds": sorted(samples)[1], "worst": max(samples)}]


def main() -> None:
    """Measure, and print a table or JSON."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--json", action="store_true")
    options.add_argument("--records", type=int, default=100_000)
    chosen = options.parse_args()
    rows = measure(chosen.records)
    questions = [row for row in rows if "requests" in row]
    slowest, most = max(row["seconds"] for row in questions), max(row["requests"] for row in questions)
    goals = [
        {"name": "slowest question, seconds", "goal": GOAL_SECONDS, "measured": slowest, "met": slowest < GOAL_SECONDS},
        {"name": "requests of a question", "goal": GOAL_REQUESTS, "measured": most, "met": most <= GOAL_REQUESTS},
    ]
    machine = {"python": platform.python_version(), "machine": platform.machine(), "cores": os.cpu_count(), "records": chosen.records}
    if chosen.json:
        sys.stdout.write(json.dumps({"goals": goals, "rows": rows, "machine": machine}) + "\n")
        return
    for row in rows:
        more = "".join(f"   {name} {row[name]:,}" for name in ("nodes", "requests", "bytes") if name in row)
        sys.stdout.write(f"{row['what']:<36} {row['seconds']:8.4f} s{more}\n")
    for goal in goals:
        sys.stdout.write(f"goal: {goal['name']} <= {goal['goal']}: {goal['measured']:.3f} ({'met' if goal['met'] else 'missed'})\n")


if __name__ == "__main__":
    main()
