"""A ridge regression of the next week's return, with its penalty chosen on later folds and intervals from a bootstrap."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from investor_signals.features import NAMES, TARGET

PENALTIES = np.logspace(-2, 5, 29)
FOLDS = 5
BLOCK = 20
"""Days in a bootstrap block: neighboring days share most of their features and targets."""


def train(features: np.ndarray, *, train_until: str = "2009-12-31", resamples: int = 2000, seed: int = 7) -> dict[str, Any]:
    """Return a model fitted on the days up to `train_until`; the days after it are held out.

    Args:
        features: As `build_features` returns them.
        train_until: The last day of training, as an ISO date.
        resamples: How many bootstrap samples give the intervals of the coefficients.
        seed: Of the bootstrap.

    Returns:
        The model as JSON; equal input gives an equal model.

    Raises:
        ValueError: There are no days to train on.
    """
    known = features[np.isfinite(features[TARGET])]
    known = known[np.argsort(known["date"], kind="stable")]
    past, later = (known[mask] for mask in (known["date"] <= np.datetime64(train_until), known["date"] > np.datetime64(train_until)))
    if len(past) < FOLDS * BLOCK:
        raise ValueError(f"{len(past)} days up to {train_until} are too few to train on")
    mean, scale = _matrix(past).mean(axis=0), _matrix(past).std(axis=0)
    x, y = (_matrix(past) - mean) / scale, past[TARGET]
    penalty = _chosen_penalty(x, y)
    coefficients = _fit(x, y, penalty)
    model = {
        "features": list(NAMES),
        "mean": mean.tolist(),
        "scale": scale.tolist(),
        "intercept": float(y.mean()),
        "coefficients": coefficients.tolist(),
        "intervals_95": _intervals(x, y, penalty, resamples, np.random.default_rng(seed)),
        "penalty": float(penalty),
        "trained_until": train_until,
    }
    scores = scores_of(model, past)
    low, high = np.quantile(scores, [0.3, 0.7])
    held_out = _quality(scores_of(model, later), later[TARGET]) if len(later) else None
    return {**model, "sell_below": float(low), "buy_above": float(high), "train": _quality(scores, y), "held_out": held_out}


def scores_of(model: dict[str, Any], features: np.ndarray) -> np.ndarray:
    """Return the expected return over the next 5 days for each row: shape ``(rows,)``."""
    x = (_matrix(features) - np.array(model["mean"])) / np.array(model["scale"])
    return x @ np.array(model["coefficients"]) + model["intercept"]


def signal(model: dict[str, Any], score: float) -> str:
    """Return ``buy``, ``hold`` or ``sell`` by the model's thresholds."""
    if score > model["buy_above"]:
        return "buy"
    return "sell" if score < model["sell_below"] else "hold"


def _matrix(features: np.ndarray) -> np.ndarray:
    return np.column_stack([features[name] for name in NAMES])


def _fit(x: np.ndarray, y: np.ndarray, penalty: float) -> np.ndarray:
    return np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ (y - y.mean()))


def _chosen_penalty(x: np.ndarray, y: np.ndarray) -> float:
    """Return the penalty with the least error on folds that each lie after what they were fitted on."""
    edges = np.linspace(0, len(y), FOLDS + 2, dtype=int)
    errors = np.zeros(len(PENALTIES))
    for end, until in pairwise(edges[1:]):
        for index, penalty in enumerate(PENALTIES):
            predicted = x[end:until] @ _fit(x[:end], y[:end], penalty) + y[:end].mean()
            errors[index] += np.mean((y[end:until] - predicted) ** 2)
    return float(PENALTIES[errors.argmin()])


def _intervals(x: np.ndarray, y: np.ndarray, penalty: float, resamples: int, random: np.random.Generator) -> list[list[float]]:
    starts = np.arange(0, len(y) - BLOCK + 1)
    drawn = []
    for _ in range(resamples):
        rows = (random.choice(starts, len(y) // BLOCK)[:, None] + np.arange(BLOCK)).ravel()
        drawn.append(_fit(x[rows], y[rows], penalty))
    return np.quantile(drawn, [0.025, 0.975], axis=0).T.tolist() if drawn else []


def _quality(scores: np.ndarray, target: np.ndarray) -> dict[str, float]:
    """Return how scores and what came after them agree: correlation, and the share of days with the right sign."""
    return {
        "days": len(target),
        "correlation": float(np.corrcoef(scores, target)[0, 1]),
        "right_sign": float(np.mean(np.sign(scores) == np.sign(target))),
    }
