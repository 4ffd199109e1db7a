"""A back-test on the days that the model has never seen, beside buying everything and holding it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from investor_signals.features import HORIZON, TARGET
from investor_signals.model import scores_of, signal

COST_BPS = 10.0
"""What a trade costs, in basis points of what is traded."""
WEEKS_A_YEAR = 252 / HORIZON
WEIGHTS = {"buy": 1.0, "hold": 0.5, "sell": 0.0}


def write_report(features: np.ndarray, model: dict[str, Any], folder: Path) -> Path:
    """Write ``metrics.json``, ``report.md`` and ``backtest.png`` into a folder, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    days, strategy, hold = backtest(features, model)
    metrics = {"strategy": metrics_of(strategy), "buy_and_hold": metrics_of(hold), "cost_bps": COST_BPS, "weeks": len(days)}
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2, sort_keys=True) + "\n")
    (folder / "report.md").write_text(_markdown(model, metrics, days))
    _plot(days, strategy, hold, folder / "backtest.png")
    return folder


def backtest(features: np.ndarray, model: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Trade once a week on the days after training.

    Returns:
        The days of trading, and the return of each following week by the signals (after costs) and by holding all
        tickers with equal weight; each of shape ``(weeks,)``.
    """
    known = features[(features["date"] > np.datetime64(model["trained_until"])) & np.isfinite(features[TARGET])]
    days = np.unique(known["date"])[::HORIZON]
    before: dict[str, float] = {}
    strategy, hold = [], []
    for day in days:
        rows = known[known["date"] == day]
        weights = np.array([WEIGHTS[signal(model, score)] for score in scores_of(model, rows)]) / len(rows)
        held = dict(zip(rows["ticker"].tolist(), weights.tolist(), strict=True))
        traded = sum(abs(held.get(ticker, 0.0) - before.get(ticker, 0.0)) for ticker in {*held, *before})
        strategy.append(float(weights @ rows[TARGET]) - traded * COST_BPS / 10_000)
        hold.append(float(rows[TARGET].mean()))
        before = held
    return days, np.array(strategy), np.array(hold)


def metrics_of(weekly: np.ndarray) -> dict[str, float]:
    """Return yearly return and volatility, their ratio, and the deepest fall from a peak, all as fractions."""
    wealth = np.cumprod(1 + weekly)
    yearly = float(wealth[-1] ** (WEEKS_A_YEAR / len(weekly)) - 1)
    volatility = float(weekly.std() * np.sqrt(WEEKS_A_YEAR))
    fall = float((wealth / np.maximum.accumulate(wealth) - 1).min())
    return {"yearly_return": yearly, "volatility": volatility, "return_over_volatility": yearly / volatility, "deepest_fall": fall}


def _markdown(model: dict[str, Any], metrics: dict[str, Any], days: np.ndarray) -> str:
    names = ("yearly_return", "volatility", "return_over_volatility", "deepest_fall")
    rows = [f"| {name.replace('_', ' ')} | {metrics['strategy'][name]:.3f} | {metrics['buy_and_hold'][name]:.3f} |" for name in names]
    verdict = "beat" if metrics["strategy"]["yearly_return"] > metrics["buy_and_hold"]["yearly_return"] else "did not beat"
    text = [
        f"# Back-test, {days[0]} to {days[-1]}",
        "",
        f"Trained until {model['trained_until']}; traded once a week at {COST_BPS:g} basis points a trade. The signals {verdict} holding.",
        "",
        "| | signals | buy and hold |",
        "| --- | --- | --- |",
        *rows,
    ]
    return "\n".join(text) + "\n"


def _plot(days: np.ndarray, strategy: np.ndarray, hold: np.ndarray, path: Path) -> None:
    import matplotlib as mpl  # noqa: PLC0415 - heavy, and only needed here

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - after the backend is chosen

    figure, axes = plt.subplots(figsize=(9, 4.5), layout="constrained")
    for weekly, label, color in ((hold, "buy and hold, equal weight", "#8a8f98"), (strategy, "signals, after costs", "#0b6e99")):
        axes.plot(days, 100 * np.cumprod(1 + weekly), label=label, color=color, linewidth=1.8)
    axes.set(title="What 100 US dollars became on held-out weeks", ylabel="US dollars", xlabel="week of trading")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left")
    figure.savefig(path, dpi=120, metadata={"Software": None})
    plt.close(figure)
