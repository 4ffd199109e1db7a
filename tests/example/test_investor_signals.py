"""The example's own functions, on its real prices."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from investor_signals.features import NAMES, TARGET, build_features
from investor_signals.model import scores_of, signal, train
from investor_signals.prices import load_prices, validate
from investor_signals.report import backtest, write_report
from investor_signals.service import create_app


@pytest.fixture(scope="module")
def prices() -> np.ndarray:
    return load_prices()


@pytest.fixture(scope="module")
def features(prices: np.ndarray) -> np.ndarray:
    return build_features(prices)


@pytest.fixture(scope="module")
def model(features: np.ndarray) -> dict[str, Any]:
    return train(features, resamples=20)


def test_the_data_is_what_its_source_note_says(prices: np.ndarray) -> None:
    validate(prices)
    assert len(prices) == 12_154
    assert set(prices["ticker"]) == {"AAPL", "FB", "GOOG", "IBM", "MSFT"}
    assert (str(prices["date"].min()), str(prices["date"].max())) == ("2000-03-01", "2013-03-01")


@pytest.mark.parametrize(
    ("field", "value", "says"), [("close", 0.0, "price is not positive"), ("close", np.nan, "price"), ("volume", -1, "volume")]
)
def test_impossible_prices_are_refused_by_ticker_and_day(prices: np.ndarray, field: str, value: float, says: str) -> None:
    broken = prices.copy()
    broken[field][10] = value
    with pytest.raises(ValueError, match=says) as refused:
        validate(broken)
    assert str(broken["date"][10]) in str(refused.value)


def test_a_day_that_is_there_twice_is_refused(prices: np.ndarray) -> None:
    with pytest.raises(ValueError, match="twice"):
        validate(np.concatenate([prices[:1], prices]))
    with pytest.raises(ValueError, match="no prices"):
        validate(prices[:0])


def test_no_feature_knows_the_future(prices: np.ndarray, features: np.ndarray) -> None:
    day = np.datetime64("2008-06-02")
    changed = prices.copy()
    changed["close"][changed["date"] > day] *= 3
    changed["volume"][changed["date"] > day] *= 7
    before, after = (table[table["date"] <= day] for table in (features, build_features(changed)))
    for name in NAMES:
        assert np.array_equal(before[name], after[name])
    assert not np.array_equal(before[TARGET], after[TARGET])


def test_every_feature_is_known_on_every_row(features: np.ndarray) -> None:
    assert all(np.isfinite(features[name]).all() for name in NAMES)
    assert np.isnan(features[TARGET]).sum() == 5 * 5


def test_training_twice_gives_the_same_model_to_the_last_bit(features: np.ndarray, model: dict[str, Any]) -> None:
    assert json.dumps(train(features, resamples=20)) == json.dumps(model)


def test_the_days_after_training_decide_nothing(features: np.ndarray, model: dict[str, Any]) -> None:
    changed = features.copy()
    changed[TARGET][changed["date"] > np.datetime64(model["trained_until"])] += 1
    again = train(changed, resamples=20)
    assert {key: value for key, value in again.items() if key != "held_out"} == {
        key: value for key, value in model.items() if key != "held_out"
    }


def test_too_few_days_are_refused(features: np.ndarray) -> None:
    with pytest.raises(ValueError, match="too few"):
        train(features, train_until="2000-06-01")


def test_signals_follow_the_models_thresholds() -> None:
    model = {"sell_below": -0.1, "buy_above": 0.1}
    assert [signal(model, score) for score in (-0.2, 0.0, 0.2)] == ["sell", "hold", "buy"]


def test_the_backtest_trades_only_on_days_after_training(features: np.ndarray, model: dict[str, Any]) -> None:
    days, strategy, hold = backtest(features, model)
    assert days.min() > np.datetime64(model["trained_until"])
    assert len(days) == len(strategy) == len(hold) > 150


def test_the_report_is_the_same_twice_and_its_picture_is_a_png(features: np.ndarray, model: dict[str, Any], tmp_path: Path) -> None:
    one, two = (write_report(features, model, tmp_path / name) for name in ("one", "two"))
    assert {path.name: path.read_bytes() for path in one.iterdir()} == {path.name: path.read_bytes() for path in two.iterdir()}
    assert (one / "backtest.png").read_bytes().startswith(b"\x89PNG")
    metrics = json.loads((one / "metrics.json").read_text())
    claim = "did not beat" if metrics["strategy"]["yearly_return"] <= metrics["buy_and_hold"]["yearly_return"] else "signals beat"
    assert claim in (one / "report.md").read_text()


def test_the_service_answers_with_the_artifact_that_it_serves(features: np.ndarray, model: dict[str, Any]) -> None:
    client = TestClient(create_app(model, features, model_artifact="investor-model@3"))
    assert client.get("/health").json() == {"status": "ok", "model": "investor-model@3"}
    answer = client.get("/signals/aapl").json()
    row = features[features["ticker"] == "AAPL"][-1:]
    assert answer["ticker"] == "AAPL"
    assert answer["model"]["artifact"] == "investor-model@3"
    assert answer["signal"] == signal(model, scores_of(model, row)[0])


def test_an_unknown_ticker_is_not_found_and_the_known_are_named(features: np.ndarray, model: dict[str, Any]) -> None:
    answer = TestClient(create_app(model, features, model_artifact="m@1")).get("/signals/TSLA")
    assert answer.status_code == 404
    assert "AAPL" in answer.json()["detail"]
