"""How long the example's image takes to build cold, after a change of code, and unchanged.

``python benchmarks/rebuild.py [--json] [--rounds N]``. Nothing is compared here with another builder: that needs a daemon,
and comes with the Docker flavors.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stackgraft.local.oci_builder import OciImageBuilder
from stackgraft.local.oci_layout import OciLayoutRegistry
from stackgraft.specs import BuildSpec

EXAMPLE = Path(__file__).parent.parent / "examples" / "investor_signals"
GOAL_SECONDS = 0.5


def timed(action: Callable[[], Any]) -> float:
    """Return the seconds that the action takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def measure(rounds: int) -> list[dict[str, Any]]:
    """Return one row for each kind of build: its median and worst seconds."""
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        project = Path(shutil.copytree(EXAMPLE, home / "project"))
        builder = OciImageBuilder(registry=OciLayoutRegistry(path=home / "registry").claim(), cache=home / "cache")

        def build() -> None:
            spec = BuildSpec(repository="bench", context=project, requirements=Path("requirements.txt"), step_runtime=True)
            builder.submit(spec, name="bench")

        def change_and_build(number: int) -> float:
            with (project / "investor_signals" / "service.py").open("a") as code:
                code.write(f"# {number}\n")
            return timed(build)

        samples = {"cold": [timed(build)], "code only": [change_and_build(number) for number in range(rounds)]}
        samples["unchanged"] = [timed(build) for _ in range(rounds)]
    return [{"build": name, "median_s": statistics.median(seconds), "worst_s": max(seconds)} for name, seconds in samples.items()]


def main() -> None:
    """Measure, and print a table or JSON."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--json", action="store_true")
    options.add_argument("--rounds", type=int, default=10)
    chosen = options.parse_args()
    rows = measure(chosen.rounds)
    measured = next(row["median_s"] for row in rows if row["build"] == "code only")
    goals = [{"name": "code-only rebuild and store, seconds", "goal": GOAL_SECONDS, "measured": measured, "met": measured <= GOAL_SECONDS}]
    machine = {"python": platform.python_version(), "machine": platform.machine(), "cores": os.cpu_count()}
    if chosen.json:
        sys.stdout.write(json.dumps({"goals": goals, "rows": rows, "machine": machine}) + "\n")
        return
    for row in rows:
        sys.stdout.write(f"{row['build']:<10} median {row['median_s']:7.3f} s   worst {row['worst_s']:7.3f} s\n")
    for goal in goals:
        sys.stdout.write(f"goal: {goal['name']} <= {goal['goal']}: {goal['measured']:.3f} ({'met' if goal['met'] else 'missed'})\n")


if __name__ == "__main__":
    main()
