"""Run DAGs with `dag.test()`, one for each line of JSON that comes in, and answer each with a line about what became of it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from airflow.dag_processing.dagbag import DagBag
from airflow.models.dagrun import DagRun
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from sqlalchemy import select


def described(run: DagRun) -> dict[str, Any]:
    """Return the run's state, tries and XComs by task."""
    with create_session() as session:
        rows = session.scalars(select(XComModel).where(XComModel.dag_id == run.dag_id, XComModel.run_id == run.run_id))
        xcoms = [(row.task_id, row.map_index, row.key, XComModel.deserialize_value(row)) for row in rows]
        tries = {f"{ti.task_id}[{ti.map_index}]": ti.try_number for ti in run.get_task_instances(session=session)}
    return {"state": str(run.state), "run_id": run.run_id, "xcoms": xcoms, "tries": tries}


@contextmanager
def printing_into(path: str) -> Iterator[None]:
    """Let all that is printed go to a file."""
    kept = [os.dup(1), os.dup(2)]
    with open(path, "ab") as log:  # noqa: PTH123 - only its number is of interest
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    try:
        yield
    finally:
        sys.stdout.flush()
        for number, copy in enumerate(kept, start=1):
            os.dup2(copy, number)
            os.close(copy)


def main() -> None:
    """Serve until the input ends."""
    bag = DagBag(os.environ["AIRFLOW__CORE__DAGS_FOLDER"])
    if bag.import_errors:
        sys.exit("\n".join(bag.import_errors.values()))
    for line in sys.stdin:
        request = json.loads(line)
        with printing_into(request["log"]):
            run = bag.dags[request["dag"]].test(run_conf=request["conf"])
            answer = described(run)
        os.write(1, json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    main()
