"""Plain TaskFlow: nothing here knows stackgraft."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
from airflow.sdk import dag, get_current_context, task


@dag(schedule=None)
def plain_taskflow() -> None:
    @task
    def prices():
        return np.arange(300_000, dtype="f8")

    @task(multiple_outputs=True)
    def split(values):
        return {"train": values[:200_000], "rest": values[200_000:], "count": len(values)}

    @task
    def parts():
        return ["a", "b", "c"]

    @task
    def scaled(part, values):
        return values * (ord(part) - ord("a") + 1)

    @task
    def joined(arrays):
        return float(sum(array.sum() for array in arrays))

    @task.branch
    def choose(total):
        return "large" if total > 0 else "small"

    @task
    def large(values):
        return {"size": values.nbytes, "first": values[:2]}

    @task
    def small(values):
        return values

    @task(retries=1, retry_delay=timedelta(0))
    def flaky(values):
        if get_current_context()["ti"].try_number == 1:
            raise ValueError("not yet")
        return values[::2].copy()

    values = prices()
    pieces = split(values)
    total = joined(scaled.partial(values=pieces["train"]).expand(part=parts()))
    choose(total) >> [large(pieces["rest"]), small(pieces["rest"])]
    flaky(pieces["train"])


plain_taskflow()
