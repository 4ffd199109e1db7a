"""Run the DAG with ``airflow dags test`` and print what each task did, as one line of JSON."""

from __future__ import annotations

import json
import subprocess
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


if __name__ == "__main__":
    subprocess.run(["airflow", "db", "migrate"], check=True, stdout=sys.stderr)
    before = newest()
    subprocess.run(["airflow", "dags", "test", DAG], check=False, stdout=sys.stderr)  # how it ended stands in the tables
    sys.stdout.write(json.dumps(facts(before)) + "\n")
