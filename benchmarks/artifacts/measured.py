"""One operation in a process of its own: its wall and CPU seconds by its own clock, its memory as seen from outside."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CLIENTS = Path(__file__).parent / "clients"
LIMIT_SECONDS = 900
INTERVAL_SECONDS = 0.03
_ERROR = re.compile(r"[\w.]*(?:Error|Exception|Interrupt)\b")


class FailedError(Exception):
    """An operation ended with an error, or took too long."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What one operation took.

    Attributes:
        wall_s: Seconds of the operation, without the process's start and imports.
        cpu_s: Seconds of user and system time of the process and its children, likewise.
        peak_mib: The most memory (PSS of the whole tree of processes, interpreter and imports included) that was seen.
        result: What the operation returned, as JSON.
    """

    wall_s: float
    cpu_s: float
    peak_mib: float
    result: Any


def run(python: Path, client: str, request: Mapping[str, Any], environment: Mapping[str, str]) -> Sample:
    """Run a client's operation.

    Raises:
        FailedError: It failed; the last line that it said.
    """
    command = [python, CLIENTS / f"with_{client}.py", json.dumps(request)]
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdout=output, stderr=errors, env=environment, start_new_session=True)
        peak = _watched(process)
        said, complaint = _text(output), _text(errors)
    if process.returncode:
        raise FailedError(_gist(complaint) or f"exit code {process.returncode}")
    answer = json.loads(said.splitlines()[-1])
    return Sample(answer["wall_s"], answer["cpu_s"], peak / 2**20, answer["result"])


def _watched(process: subprocess.Popen[bytes]) -> int:
    """Return the peak of the tree's memory in bytes, once the process has ended; end it if it takes too long."""
    peak, end = 0, time.monotonic() + LIMIT_SECONDS
    try:
        while process.poll() is None:
            peak = max(peak, sum(map(_pss, _tree(process.pid))))
            if time.monotonic() > end:
                raise FailedError(f"took more than {LIMIT_SECONDS} s")
            time.sleep(INTERVAL_SECONDS)
    finally:
        with contextlib.suppress(ProcessLookupError):  # nothing of its session is left, as should be
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return peak


def _tree(pid: int) -> Iterator[int]:
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # the thread has ended
            for child in children.read_text().split():
                yield from _tree(int(child))


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0  # the process has ended
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))


def _gist(complaint: str) -> str:
    """Return the line that names the error: what follows it is advice, what precedes it the traceback."""
    lines = [line for line in complaint.splitlines() if _ERROR.match(line)] or complaint.splitlines()
    return lines[-1] if lines else ""


def _text(file: Any) -> str:
    file.seek(0)
    return str(file.read().decode(errors="replace"))
