"""Prices to a served model, on Airflow: the twin of flows/investor_signals.py, line for line where the engines allow."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.request import urlopen

from airflow.sdk import dag, task

from stackgraft_airflow.operators import BuildImageOperator, DeployServiceOperator

PROJECT = Path(__file__).parent.parent / "examples" / "investor_signals"


@dag(schedule=None, catchup=False, tags=["stackgraft"])
def investor_signals():
    """Build the project's image, run its steps in it, deploy its service by digest, and ask the service."""
    image = BuildImageOperator(
        task_id="build_image",
        repository="investor-signals",
        context=str(PROJECT),
        requirements="requirements.txt",
        step_runtime=True,
        command=["python", "-m", "investor_signals.service"],
    ).output

    @task.stack_step(image=image, artifact="prices")
    def ingest():
        from investor_signals.prices import load_prices, validate

        prices = load_prices()
        validate(prices)
        return prices

    @task.stack_step(image=image, artifact="features")
    def features(prices):
        from investor_signals.features import build_features

        return build_features(prices)

    @task.stack_step(image=image, artifact="investor-model", timeout_seconds=600)
    def train(features):
        from investor_signals.model import train

        return train(features)

    @task.stack_step(image=image, artifact="backtest-report")
    def report(features, model):
        from pathlib import Path
        from tempfile import mkdtemp

        from investor_signals.report import write_report

        return write_report(features, model, Path(mkdtemp()))

    @task
    def smoke_test(service, model):
        health = json.load(urlopen(f"{service['url']}/health"))
        sample = json.load(urlopen(f"{service['url']}/signals/AAPL"))
        if sample["model"]["artifact"] != model["$artifact"]:
            raise ValueError(f"{service['url']} serves {sample['model']['artifact']}, not {model['$artifact']}")
        return {"health": health, "sample": sample}

    prices = ingest()
    table = features(prices)
    model = train(table)
    report(table, model)
    service = DeployServiceOperator(
        task_id="deploy_service",
        service="investor-signals",
        image=image,
        env={"MODEL_ARTIFACT": model, "FEATURES_ARTIFACT": table},
    ).output
    smoke_test(service, model)


investor_signals()
