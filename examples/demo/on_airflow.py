"""Run the DAG with ``airflow dags test`` and print what each task did, as one line of JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

DAG = "investor_signals"


def facts() -> dict[str, Any]:
    """Return the newest run's state and tasks, read from Airflow's own tables."""
    from airflow.models.dagrun import DagRun
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        run = session.scalars(select(DagRun).where(DagRun.dag_id == DAG).order_by(DagRun.id.desc()).limit(1)).one()
        outputs = select(XComModel).where(XComModel.run_id == run.run_id, XComModel.key == "return_value")
        output = {row.task_id: XComModel.deserialize_value(row) for row in session.scalars(outputs)}
        tasks = sorted(run.get_task_instances(session=session), key=lambda task: task.start_date or run.queued_at)
        steps = [{"step": t.task_id, "state": str(t.state), "seconds": t.duration, "output": output.get(t.task_id)} for t in tasks]
        return {"state": str(run.state), "steps": steps}


if __name__ == "__main__":
    subprocess.run(["airflow", "db", "migrate"], check=True, stdout=sys.stderr)
    subprocess.run(["airflow", "dags", "test", DAG], check=False, stdout=sys.stderr)
    sys.stdout.write(json.dumps(facts()) + "\n")
