"""Families that keep values in a local folder: an array and a data frame, with each peer's default format."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from artifacts.bench import OURS, Bench, Client

STACKGRAFT, PREFECT = Client(OURS, OURS), Client("prefect", "prefect")
METAFLOW = Client("metaflow", "metaflow")
ZENML, ZENML_SNAPPY = Client("zenml", "zenml"), Client("zenml, snappy", "zenml", {"compression": "snappy"})
ROUNDS = 3
ARRAY, FRAME = 500_000_000, 187_000_000


def array(bench: Bench) -> None:
    """Keep 500 MB of random float64."""
    _kept(bench, "500 MB array", {"kind": "array", "bytes": bench.scaled(ARRAY)}, ROUNDS, (PREFECT, METAFLOW, STACKGRAFT))


def frame(bench: Bench) -> None:
    """Keep 187 MB of pandas frame with six columns."""
    _kept(bench, "187 MB frame", {"kind": "frame", "bytes": bench.scaled(FRAME)}, ROUNDS, (ZENML, ZENML_SNAPPY, STACKGRAFT))


def _kept(bench: Bench, case: str, value: Mapping[str, Any], rounds: int, clients: Sequence[Client]) -> None:
    folder, cache = bench.scratch / "values", bench.scratch / "cache"
    for number, turn in bench.rounds(rounds, clients):
        for client in turn:
            folder.mkdir()
            request = {**value, "folder": str(folder), "cache": str(cache)}
            saved = bench.measure(case, "save", client, {**request, "operation": "save"})
            if saved:
                _load(bench, case, client, {**request, "operation": "load", "saved": saved.result}, compare=not number)
            shutil.rmtree(folder)
            shutil.rmtree(cache, ignore_errors=True)


def _load(bench: Bench, case: str, client: Client, request: Mapping[str, Any], *, compare: bool) -> None:
    """Load once from the store and once more, which maps what the first load verified where the client does that."""
    bench.measure(case, "load", client, request)
    bench.measure(case, "load again", client, request)
    if compare:
        bench.run((case, "compare", client.label), client, {**request, "compare": True})
