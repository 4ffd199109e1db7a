"""The service: the newest signal of each ticker, and the model artifact that it comes from."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI, HTTPException

from investor_signals.model import scores_of, signal

_NEEDED = ("MODEL_ARTIFACT", "FEATURES_ARTIFACT", "STACKGRAFT_ARTIFACT_STORE")


def create_app(model: dict[str, Any], features: np.ndarray, *, model_artifact: str) -> FastAPI:
    """Return the application.

    Args:
        model: As `train` returns it.
        features: As `build_features` returns them; each ticker's last row is served.
        model_artifact: The model's artifact, ``name@version``, which every answer names.
    """
    app = FastAPI(title="Investor signals")
    latest = {str(ticker): features[features["ticker"] == ticker][-1:] for ticker in np.unique(features["ticker"])}

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok", "model": model_artifact}

    @app.get("/signals/{ticker}")
    def signals(ticker: str) -> dict[str, Any]:
        row = latest.get(ticker.upper())
        if row is None:
            raise HTTPException(404, f"no ticker {ticker.upper()!r}; known: {', '.join(sorted(latest))}")
        score = float(scores_of(model, row)[0])
        return {
            "ticker": ticker.upper(),
            "as_of": str(row["date"][0]),
            "signal": signal(model, score),
            "score": round(score, 6),
            "features": {name: round(float(row[name][0]), 6) for name in model["features"]},
            "model": {"artifact": model_artifact, "trained_until": model["trained_until"]},
        }

    return app


def main() -> None:
    """Load model and features from the artifact store, and serve on ``HOST`` and ``PORT``.

    Raises:
        SystemExit: A needed variable is not set.
    """
    if missing := [name for name in _NEEDED if not os.environ.get(name)]:
        sys.exit(f"set {', '.join(missing)}: the service reads its model and features from the artifact store")
    from stackgraft.artifacts import open_store  # noqa: PLC0415 - the application itself does not need it

    store = open_store(json.loads(os.environ["STACKGRAFT_ARTIFACT_STORE"]))
    artifact = os.environ["MODEL_ARTIFACT"]
    app = create_app(store.load(artifact), store.load(os.environ["FEATURES_ARTIFACT"]), model_artifact=artifact)
    uvicorn.run(app, host=os.environ.get("HOST", "127.0.0.1"), port=int(os.environ.get("PORT", "8000")), log_level="warning")


if __name__ == "__main__":
    main()
