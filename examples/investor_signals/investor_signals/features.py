"""Features of each trading day, from that day and the days before it only."""

from __future__ import annotations

import numpy as np

NAMES = ("ret_1d", "ret_5d", "volatility_20d", "momentum_60d", "volume_z")
"""Returns over 1 and 5 days, the deviation of daily returns over 20, the return over 60, and the volume's z-score over 20."""

TARGET = "target_5d"
"""The return over the *next* 5 days; NaN where it is not known yet."""

HORIZON = 5
_WARM_UP = 60
FEATURES = np.dtype([("ticker", "U5"), ("date", "datetime64[D]"), *((name, "f8") for name in (*NAMES, TARGET))])


def build_features(prices: np.ndarray) -> np.ndarray:
    """Return the features of all days that have enough days before them.

    Args:
        prices: As `load_prices` returns them.

    Returns:
        Shape ``(days,)`` of dtype `FEATURES`, sorted by ticker and date.
    """
    return np.concatenate([_of_ticker(prices[prices["ticker"] == ticker]) for ticker in np.unique(prices["ticker"])])


def _of_ticker(prices: np.ndarray) -> np.ndarray:
    close, volume = prices["close"], prices["volume"].astype("f8")
    table = np.full(len(prices), np.nan, dtype=FEATURES)
    table["ticker"], table["date"] = prices["ticker"], prices["date"]
    table["ret_1d"], table["ret_5d"], table["momentum_60d"] = _returns(close, 1), _returns(close, 5), _returns(close, _WARM_UP)
    table["volatility_20d"] = _rolling(table["ret_1d"], 20).std(axis=1)
    window = _rolling(volume, 20)
    spread = window.std(axis=1)
    table["volume_z"] = np.divide(volume - window.mean(axis=1), spread, out=np.zeros_like(volume), where=spread > 0)
    table[TARGET][:-HORIZON] = close[HORIZON:] / close[:-HORIZON] - 1
    return table[_WARM_UP:]


def _returns(close: np.ndarray, days: int) -> np.ndarray:
    returns = np.full(len(close), np.nan)
    returns[days:] = close[days:] / close[:-days] - 1
    return returns


def _rolling(values: np.ndarray, days: int) -> np.ndarray:
    """Return, for each day, the window that ends on it: shape ``(len(values), days)``."""
    padded = np.concatenate([np.full(days - 1, np.nan), values])
    return np.lib.stride_tricks.sliding_window_view(padded, days)
