"""What every client script does with its one operation: prepare it, time it, print the sample. Standard library alone.

Imports, sessions and pools are made before the clock starts, for every client alike; memory is the parent's to measure.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

Operation = Callable[[], Any]
Preparation = Callable[[Mapping[str, Any]], Operation]


def answer(preparations: Mapping[str, Preparation]) -> None:
    """Run the operation that the first argument asks for, and print its wall and CPU seconds and its result as JSON."""
    request = json.loads(sys.argv[1])
    operation = preparations[request["operation"]](request)
    cpu, started = _cpu_seconds(), time.perf_counter()
    result = operation()
    wall = time.perf_counter() - started
    sys.stdout.write(json.dumps({"wall_s": wall, "cpu_s": _cpu_seconds() - cpu, "result": result}) + "\n")


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)
