"""The goals: ratios within a round, then the median over the rounds. A goal that cannot be measured is missed, not left out.

``x`` is a peer's seconds divided by ours, so more is better; everything else is ours alone, and less is better.
"""

from __future__ import annotations

import operator
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from artifacts.bench import OURS, Bench
from artifacts.measured import Sample

_SINK, _SERVER = "2 GiB, sink", "512 MiB, SeaweedFS"
_LITTLE, _SMALL, _AGAIN = "10,000 x 4 KiB, sink", "1,000 x 64 KiB, SeaweedFS", "1,000 x 1 MiB, SeaweedFS"
_ARRAY, _FRAME = "500 MB array", "187 MB frame"
_PLACES = 2
"""Decimal places of the goals; what was measured is compared as precisely as the goal is stated."""


@dataclass(frozen=True, slots=True)
class Goal:
    """One goal.

    Attributes:
        case: The family of rows that it is about.
        name: What is measured.
        bound: The value to reach.
        least: Whether the bound is the least that is wanted, rather than the most.
        measured: Returns the value from the samples, or None.
    """

    case: str
    name: str
    bound: float
    least: bool
    measured: Callable[[Bench], float | None]

    def outcome(self, bench: Bench) -> dict[str, Any]:
        """Return the goal with what was measured."""
        measured, sign = self.measured(bench), ">=" if self.least else "<="
        reached = operator.ge if self.least else operator.le
        met = measured is not None and reached(round(measured, _PLACES), self.bound)
        return {"name": f"{self.case}: {self.name}", "goal": f"{sign} {self.bound:g}", "measured": measured, "met": met}


def outcomes(bench: Bench, cases: frozenset[str]) -> list[dict[str, Any]]:
    """Return the outcome of each goal of those cases."""
    return [goal.outcome(bench) for goal in _goals() if goal.case in cases]


def _goals() -> Iterator[Goal]:
    yield from (_faster(_SINK, "put", "boto3", 2.1), _faster(_SINK, "put", "s3fs", 4.9), _faster(_SINK, "get", "boto3", 1.8))
    yield _faster(_SERVER, "get", "boto3", 1.8)
    yield Goal(_SINK, "put, CPU as a share of boto3's", 0.5, least=False, measured=_cpu_share)
    yield from (Goal(_SINK, f"{way}, peak MiB", 110, least=False, measured=_peak(way)) for way in ("put", "get"))
    yield from (_faster(_LITTLE, way, "s3fs", 80) for way in ("put", "get"))
    yield from (_faster(_SMALL, "put", "boto3", 6), _faster(_SMALL, "get", "boto3", 25))
    yield Goal(_AGAIN, "stored after one file in a hundred changed, of the folder", 1.01, least=False, measured=_stored)
    yield _faster(_AGAIN, "again", "boto3", 15)
    yield _seconds(_AGAIN, "again, with the index", 0.1)
    yield from (_faster(_ARRAY, "save", "prefect", 30), _faster(_ARRAY, "save", "metaflow", 60), _seconds(_ARRAY, "load again", 0.06))
    yield from (_save_and_load("load"), _save_and_load("load again"))


def _faster(case: str, operation: str, peer: str, times: float) -> Goal:
    def measured(bench: Bench) -> float | None:
        return _ratio(bench.values((case, operation, peer), _wall), bench.values((case, operation, OURS), _wall))

    return Goal(case, f"{operation}, x {peer}", times, least=True, measured=measured)


def _seconds(case: str, operation: str, most: float) -> Goal:
    def measured(bench: Bench) -> float | None:
        return _median(bench.values((case, operation, OURS), _wall))

    return Goal(case, f"{operation}, seconds", most, least=False, measured=measured)


def _save_and_load(load: str) -> Goal:
    peer = "zenml, snappy"

    def both(bench: Bench, client: str) -> list[float | None]:
        pairs = zip(bench.values((_FRAME, "save", client), _wall), bench.values((_FRAME, load, client), _wall), strict=False)
        return [save + back if save and back else None for save, back in pairs]

    return Goal(_FRAME, f"save and {load}, x {peer}", 4, least=True, measured=lambda bench: _ratio(both(bench, peer), both(bench, OURS)))


def _peak(operation: str) -> Callable[[Bench], float | None]:
    return lambda bench: max(filter(None, bench.values((_SINK, operation, OURS), lambda sample: sample.peak_mib)), default=None)


def _cpu_share(bench: Bench) -> float | None:
    ours, peer = (bench.values((_SINK, "put", client), lambda sample: sample.cpu_s) for client in (OURS, "boto3"))
    return _ratio(ours, peer)


def _stored(bench: Bench) -> float | None:
    return max(bench.stored.get(OURS, []), default=None)


def _ratio(over: list[float | None], under: list[float | None]) -> float | None:
    """Return the median over the rounds that have both."""
    return _median([one / other if one and other else None for one, other in zip(over, under, strict=False)])


def _median(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _wall(sample: Sample) -> float:
    return sample.wall_s
