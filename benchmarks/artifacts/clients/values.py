"""The values that are saved and loaded: the same in every environment, from one seed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

ROW_BYTES = 8 * 6
FEW_BYTES = ROW_BYTES * 10
"""Enough to make a client import what it imports on first use."""
STRIDE = 512
"""One value of so many is read after a load, so that a mapped one pays for its pages."""


def made(request: Mapping[str, Any]) -> Any:
    """Return the value of that kind and about that many bytes."""
    return {"array": _array, "frame": _frame}[request["kind"]](request["bytes"])


def checked(request: Mapping[str, Any], value: Any, stored: int = 0) -> int:
    """Read some of a loaded value, so that lazy loads pay; compare all of it where that is asked for; return `stored`."""
    sample = value[::STRIDE].sum() if request["kind"] == "array" else value["price"].iloc[::STRIDE].sum()
    if not np.isfinite(sample):
        raise AssertionError("the loaded value is not what was saved")
    if request.get("compare"):
        _compare(request, value)
    return stored


def _compare(request: Mapping[str, Any], value: Any) -> None:
    expected = made(request)
    same = np.array_equal(value, expected) if request["kind"] == "array" else value.equals(expected)
    if not same:
        raise AssertionError("the loaded value is not what was saved")


def _array(size: int) -> Any:
    return np.random.default_rng(7).standard_normal(size // 8)


def _frame(size: int) -> Any:
    import pandas as pd  # noqa: PLC0415 - not in every environment

    rows, random = size // ROW_BYTES, np.random.default_rng(7)
    columns = {
        "time": pd.date_range("2026-01-01", periods=rows, freq="s"),
        "price": random.standard_normal(rows).round(3),
        "volume": random.integers(0, 10_000, rows),
        "signal": random.standard_normal(rows),
        "account": random.integers(0, 1_000, rows),
        "weight": random.random(rows).round(2),
    }
    return pd.DataFrame(columns)
