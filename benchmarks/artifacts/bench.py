"""Interleaved rounds of operations, and what became of each: samples, or the reason why there are none."""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from artifacts.environments import Peer
from artifacts.measured import FailedError, Sample, run
from artifacts.servers import CREDENTIALS

OURS = "stackgraft"
ROOT = Path(__file__).parent.parent.parent
Key = tuple[str, str, str]
"""A row's case, operation and label."""


@dataclass(frozen=True, slots=True)
class Client:
    """One way to do an operation.

    Attributes:
        label: What rows call it.
        name: The peer, or ours.
        settings: What its requests hold beside the case's.
    """

    label: str
    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Bench:
    """What the families of rows share.

    Attributes:
        scratch: A folder for files, servers and caches.
        scale: What sizes and counts are multiplied with.
        peers: The peers by name.
        samples: One sample for each round, or None where it failed.
        failures: Why a row has no samples, or fewer.
        stored: By client, what lay in the store after a folder was saved twice, as a multiple of the folder.
    """

    scratch: Path
    scale: float
    peers: Mapping[str, Peer]
    samples: dict[Key, list[Sample | None]] = field(default_factory=dict)
    failures: dict[Key, str] = field(default_factory=dict)
    stored: dict[str, list[float]] = field(default_factory=dict)

    def scaled(self, full: int, least: int = 1) -> int:
        """Return a size or count at the scale."""
        return max(least, int(full * self.scale))

    def rounds(self, count: int, clients: Sequence[Client]) -> Iterator[tuple[int, Sequence[Client]]]:
        """Yield the rounds, each with the clients that can run in another order."""
        able = [client for client in clients if self._python(client.name)]
        for number in range(count):
            turn = number % len(able)
            sys.stderr.write(f"  round {number + 1} of {count}\n")
            yield number, [*able[turn:], *able[:turn]]

    def measure(self, case: str, operation: str, client: Client, request: Mapping[str, Any]) -> Sample | None:
        """Run an operation and keep its sample; None where it failed."""
        key = (case, operation, client.label)
        sample = self.run(key, client, request)
        self.samples.setdefault(key, []).append(sample)
        return sample

    def run(self, key: Key, client: Client, request: Mapping[str, Any]) -> Sample | None:
        """Run an operation without counting it; a failure is kept all the same."""
        python = self._python(client.name)
        if python is None:
            return None
        try:
            return run(python, client.name, {**request, **client.settings}, self._environment(client.name))
        except FailedError as failed:
            self.failures[key] = str(failed)
            return None

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each case, operation and client."""
        return [_row(key, [sample for sample in found if sample], self.failures.get(key, "")) for key, found in self.samples.items()]

    def values(self, key: Key, of: Callable[[Sample], float]) -> list[float | None]:
        """Return a row's values, one for each round."""
        return [of(sample) if sample else None for sample in self.samples.get(key, [])]

    def _python(self, name: str) -> Path | None:
        return Path(sys.executable) if name == OURS else self.peers[name].python

    def _environment(self, name: str) -> dict[str, str]:
        """Return an environment in which clients keep nothing in the user's home and call nobody."""
        home = self.scratch / "home"
        home.mkdir(exist_ok=True)
        quiet = {"ZENML_ANALYTICS_OPT_IN": "false", "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "METAFLOW_USER": "bench", "USER": "bench"}
        imports = {"PYTHONPATH": os.fspath(ROOT)} if name == OURS else {}
        return {"PATH": os.environ["PATH"], "HOME": os.fspath(home), "LANG": "C.UTF-8", **quiet, **CREDENTIALS, **imports}


def _row(key: Key, samples: Sequence[Sample], failure: str) -> dict[str, Any]:
    case, operation, label = key
    row: dict[str, Any] = {"case": case, "operation": operation, "client": label, "rounds": len(samples)}
    if samples:
        row["wall_s"] = statistics.median(sample.wall_s for sample in samples)
        row["cpu_s"] = statistics.median(sample.cpu_s for sample in samples)
        row["peak_mib"] = max(sample.peak_mib for sample in samples)
        row["walls_s"] = [sample.wall_s for sample in samples]
    return {**row, "failure": failure} if failure else row


@contextmanager
def scratch(needed: int) -> Iterator[Path]:
    """Make a folder that is removed at the end: in memory where that has room for so many bytes, else among temporary files."""
    memory = Path("/dev/shm")  # noqa: S108 - a folder of our own in it
    room = min(shutil.disk_usage(memory).free, _available()) if memory.is_dir() else 0
    parent = memory if room > needed + (2 << 30) else None
    with tempfile.TemporaryDirectory(prefix="stackgraft-bench-", dir=parent) as folder:
        yield Path(folder)


def _available() -> int:
    facts = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    return int(facts["MemAvailable"].split()[0]) << 10
