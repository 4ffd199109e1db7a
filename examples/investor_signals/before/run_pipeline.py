"""The nightly script that cron runs: which prices made which model is for the reader of folder names to work out."""

import datetime
import json
import pathlib

import numpy as np
from investor_signals.features import build_features
from investor_signals.model import train
from investor_signals.prices import load_prices, validate
from investor_signals.report import write_report

folder = pathlib.Path("outputs") / datetime.date.today().isoformat()
folder.mkdir(parents=True, exist_ok=True)

prices = load_prices()
validate(prices)
features = build_features(prices)
np.save(folder / "features_v2_final.npy", features)
model = train(features)
(folder / "model.json").write_text(json.dumps(model))
write_report(features, model, folder / "report")
