"""Daily prices: read and checked."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np

DATA = Path(__file__).parent.parent / "data" / "stocks.csv.gz"
PRICES = np.dtype([("ticker", "U5"), ("date", "datetime64[D]"), ("close", "f8"), ("volume", "i8")])
"""One row a ticker and trading day: the adjusted close in US dollars, and the volume in shares."""


def load_prices(path: Path = DATA) -> np.ndarray:
    """Return the prices of a gzipped CSV file, sorted by ticker and date.

    Returns:
        Shape ``(days of all tickers,)`` of dtype `PRICES`.
    """
    with gzip.open(path, "rt", newline="") as file:
        rows = [(row["Ticker"], row["Date"], float(row["Adj Close"]), int(row["Volume"])) for row in csv.DictReader(file)]
    return np.sort(np.array(rows, dtype=PRICES), order=["ticker", "date"])


def validate(prices: np.ndarray) -> None:
    """Refuse prices that no feature may be made from.

    Raises:
        ValueError: There are none, a day is there twice or out of order, or a price or volume is impossible.
    """
    if not len(prices):
        raise ValueError("there are no prices")
    same_ticker = prices["ticker"][1:] == prices["ticker"][:-1]
    problems = {
        "a day is there twice or out of order": np.flatnonzero(same_ticker & (np.diff(prices["date"]) <= np.timedelta64(0, "D"))) + 1,
        "a price is not positive": np.flatnonzero(~(prices["close"] > 0)),
        "a volume is negative": np.flatnonzero(prices["volume"] < 0),
    }
    for problem, rows in problems.items():
        if len(rows):
            first = prices[rows[0]]
            raise ValueError(f"{problem}: {first['ticker']} on {first['date']} (and {len(rows) - 1} more rows)")
