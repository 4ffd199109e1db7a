"""The demo, whole: both engines, the table, the summary, the live service, and its end."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from stackgraft.stack import Stack
from stackgraft.testing import ScriptedLauncher

ROOT = Path(__file__).parent.parent
DEMO = [sys.executable, str(ROOT / "examples" / "demo" / "run.py")]

OLD_SUCCESS = """
from datetime import UTC, datetime
from airflow.models.dagrun import DagRun
from airflow.utils.session import create_session
from airflow.utils.types import DagRunTriggeredByType, DagRunType
with create_session() as session:
    now = datetime.now(UTC)
    session.add(DagRun(dag_id="investor_signals", run_id="old", logical_date=now, run_after=now, run_type=DagRunType.MANUAL,
                       triggered_by=DagRunTriggeredByType.TEST, state="success"))
"""


def test_stopping_the_demo_gives_up_after_a_while_and_says_so(tmp_path: Path) -> None:
    stop = runpy.run_path(DEMO[1])["stop"]
    with pytest.raises(SystemExit, match=r"could not be stopped[\s\S]*within 0\.2 seconds"):
        stop(Stack("demo", {"deployer": ScriptedLauncher(folder=tmp_path, script=("RUNNING",))}), seconds=0.2)


@pytest.mark.engine
def test_an_older_run_on_airflow_is_never_taken_for_this_one(tmp_path: Path) -> None:
    (tmp_path / "dags").mkdir()  # without the DAG, so that no run is started
    env = {**runpy.run_path(DEMO[1])["environment"](), "AIRFLOW_HOME": str(tmp_path), "AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path / "dags")}
    subprocess.run(["airflow", "db", "migrate"], env=env, capture_output=True, check=True)
    subprocess.run([sys.executable, "-c", OLD_SUCCESS], env=env, capture_output=True, check=True)
    driver = str(ROOT / "examples" / "demo" / "on_airflow.py")
    stale = subprocess.run([sys.executable, driver], env=env, capture_output=True, text=True, check=False)
    assert (stale.returncode, stale.stdout) == (1, "")
    assert "Dag 'investor_signals' could not be found" in stale.stderr


@pytest.mark.engine
@pytest.mark.timeout(900)
def test_the_demo_runs_the_same_pipeline_on_both_engines_and_leaves_a_service_that_its_end_stops(tmp_path: Path) -> None:
    (tmp_path / "stacks.toml").write_text((ROOT / "stacks.toml").read_text())
    env = {**os.environ, "STACKGRAFT_CONFIG": str(tmp_path / "stacks.toml"), "DEMO_BUILD": str(tmp_path / "demo")}
    done = subprocess.run(DEMO, env=env, capture_output=True, text=True, check=False)
    try:
        assert done.returncode == 0, done.stdout + done.stderr
        summary = json.loads((tmp_path / "demo" / "summary.json").read_text())
        steps = {engine: [step["step"] for step in facts["steps"]] for engine, facts in summary["engines"].items()}
        assert sorted(steps["airflow"]) == sorted(steps["prefect"])
        assert {facts["state"] for facts in summary["engines"].values()} == {"success"}
        assert summary["image"]["reference"].endswith(summary["image"]["digest"])
        assert {item["step"] for item in summary["reused"]} >= {"build_image", "train", "deploy_service"}
        with urllib.request.urlopen(summary["service"]["url"] + "/signals/AAPL", timeout=10) as answer:  # noqa: S310 - our own service
            assert json.load(answer) == summary["service"]["sample"]
        assert summary["service"]["sample"]["model"]["artifact"] == "investor-model@1"
    finally:
        stopped = subprocess.run([*DEMO, "stop"], env=env, capture_output=True, text=True, check=False)
    assert stopped.stdout == "stopped investor-signals\n"
