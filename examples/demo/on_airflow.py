"""Run the DAG with ``airflow dags test`` and print what each task did, as one line of JSON."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Any

DAG = "investor_signals"


def newest() -> int:
    """Return the number of the DAG's newest run, or 0."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import func, select

    with create_session() as session:
        return session.scalar(select(func.max(DagRun.id)).where(DagRun.dag_id == DAG)) or 0


def facts(after: int) -> dict[str, Any]:
    """Return the state and the tasks of the run that came after another, read from Airflow's own tables.

    Raises:
        SystemExit: None came.
    """
    from airflow.models.dagrun import DagRun
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        run = session.scalars(select(DagRun).where(DagRun.dag_id == DAG, DagRun.id > after).order_by(DagRun.id).limit(1)).one_or_none()
        if run is None:
            raise SystemExit(f"Airflow started no run of {DAG}; why is above")
        outputs = select(XComModel).where(XComModel.run_id == run.run_id, XComModel.key == "return_value")
        output = {row.task_id: XComModel.deserialize_value(row) for row in session.scalars(outputs)}
        tasks = sorted(run.get_task_instances(session=session), key=lambda task: task.start_date or run.queued_at)
        steps = [{"step": t.task_id, "state": str(t.state), "seconds": t.duration, "output": output.get(t.task_id)} for t in tasks]
        return {"state": str(run.state), "steps": steps}


def airflow(*command: str) -> None:
    """Run a command of Airflow's in this process, since loading Airflow takes longer than most of them."""
    from airflow.cli.cli_parser import get_parser

    arguments = get_parser().parse_args(command)
    with contextlib.redirect_stdout(sys.stderr), contextlib.suppress(SystemExit):  # how a run ended stands in the tables
        arguments.func(arguments)


if __name__ == "__main__":
    airflow("db", "migrate")
    before = newest()
    sys.stdin.read()  # until it is this engine's turn
    airflow("dags", "test", DAG)
    sys.stdout.write(json.dumps(facts(before)) + "\n")
