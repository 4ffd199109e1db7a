"""DAGs for the real engine: the run's conf names the stack."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import dag

from stackgraft_airflow.operators import RunStepOperator

IMAGE = f"app@sha256:{'0' * 64}"


def pipeline(name: str, **settings: object) -> None:
    @dag(dag_id=name, schedule=None)
    def pipeline() -> None:
        RunStepOperator(task_id="work", image=IMAGE, command=["train"], stack="{{ dag_run.conf['stack'] }}", **settings)

    pipeline()


pipeline("engine_sync", retries=2, retry_delay=timedelta(0))
pipeline("engine_deferred", deferrable=True)
