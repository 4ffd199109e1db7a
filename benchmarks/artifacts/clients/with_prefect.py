"""Prefect's result store with its default serializer, on a local folder, through its own API."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect.filesystems import LocalFileSystem
from prefect.results import ResultStore
from timing import Operation, answer
from values import checked, made


def _results(request: Mapping[str, Any]) -> ResultStore:
    return ResultStore(result_storage=LocalFileSystem(basepath=request["folder"]), cache_result_in_memory=False)


def save(request: Mapping[str, Any]) -> Operation:
    """Keep a value."""
    value, results = made(request), _results(request)
    return lambda: results.write(value, key="value")


def load(request: Mapping[str, Any]) -> Operation:
    """Return the value, and the bytes that it took."""
    results, stored = _results(request), Path(request["folder"], "value").stat().st_size
    return lambda: checked(request, results.read("value").result, stored)


if __name__ == "__main__":
    answer({"save": save, "load": load})
