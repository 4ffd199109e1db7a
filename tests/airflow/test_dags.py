"""Operators, decorator and trigger in DAGs that run to their end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stackgraft.errors import SpecError
from stackgraft.stack import Stack
from stackgraft.testing import ScriptedLauncher
from stackgraft_airflow.links import ServiceLink

pytestmark = pytest.mark.engine
Scripted = Callable[..., ScriptedLauncher]
RunDag = Callable[..., Any]
ROOT = Path(__file__).parent
IMAGE = f"app@sha256:{'0' * 64}"
SERVICE = """
import http.server, os

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(os.environ.get("MODEL", "").encode())

http.server.HTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""


def stack_table(folder: Path) -> str:
    """Return a whole local stack as TOML."""
    return f"""
image_builder = {{ flavor = "oci", cache = "{folder}/layers" }}
container_registry = {{ flavor = "oci-layout", path = "{folder}/registry" }}
deployer = {{ flavor = "process", state = "{folder}/process" }}
artifact_store = {{ flavor = "local", path = "{folder}/artifacts", cache = "{folder}/cache" }}
step_operator = {{ flavor = "process", state = "{folder}/process" }}
"""


@pytest.mark.parametrize("dag", ["direct", "deferred"])
def test_a_job_runs_to_its_end_and_its_outcome_is_the_xcom(dag: str, scripted: Scripted, run_dag: RunDag) -> None:
    jobs = scripted(script=("PENDING", "RUNNING", "ERROR", "RUNNING", "SUCCEEDED"))
    run = run_dag(dag, stack=jobs.folder.name)
    assert run.state == "success"
    assert run.xcom() == {"job": jobs.calls("started")[0], "image": "", "exit_code": 0, "seconds": 0.0}
    assert len(jobs.calls("started")) == 1
    assert f"poll 5 of {jobs.calls('started')[0]}" in run.log


@pytest.mark.parametrize("dag", ["direct", "deferred"])
def test_a_job_that_has_ended_at_once_is_asked_about_once(dag: str, scripted: Scripted, run_dag: RunDag) -> None:
    jobs = scripted(script=("SUCCEEDED",))
    assert run_dag(dag, stack=jobs.folder.name).state == "success"
    assert len(jobs.calls("polled")) == 1


@pytest.mark.parametrize("dag", ["retried", "retried_deferred"])
def test_a_retry_after_a_lost_poll_finds_the_job(dag: str, scripted: Scripted, run_dag: RunDag) -> None:
    jobs = scripted(script=("RUNNING", "REFUSED", "RUNNING", "SUCCEEDED"))
    run = run_dag(dag, stack=jobs.folder.name)
    assert (run.state, run.tries) == ("success", {"work[-1]": 2})
    assert jobs.calls("found") == jobs.calls("started")


@pytest.mark.parametrize("dag", ["retried", "retried_deferred"])
def test_a_retry_after_a_failure_starts_anew_and_the_reason_and_the_end_of_the_log_are_shown(
    dag: str, scripted: Scripted, run_dag: RunDag
) -> None:
    jobs = scripted(script=("RUNNING", "FAILED"), reason="out of memory")
    run = run_dag(dag, stack=jobs.folder.name)
    assert (run.state, run.tries) == ("failed", {"work[-1]": 3})
    assert len(set(jobs.calls("started"))) == 3
    assert jobs.calls("found") == []
    assert "out of memory" in run.log
    assert "The last lines of the job's log" in run.log


@pytest.mark.parametrize("dag", ["limited", "limited_deferred"])
def test_a_task_whose_time_is_up_stops_its_job(dag: str, scripted: Scripted, run_dag: RunDag) -> None:
    jobs = scripted(script=("RUNNING",))
    run = run_dag(dag, stack=jobs.folder.name)
    assert run.state == "failed"
    assert jobs.calls("cancelled") == jobs.calls("started")
    if dag == "limited_deferred":
        assert "The job did not end within 2 seconds" in run.log


def test_mapped_tasks_have_a_job_each(scripted: Scripted, run_dag: RunDag) -> None:
    jobs = scripted()
    run = run_dag("mapped", stack=jobs.folder.name)
    assert run.state == "success"
    assert sorted(run.xcom(map_index=index)["job"] for index in range(3)) == sorted(set(jobs.calls("started")))


def test_what_cannot_work_fails_at_once_without_a_retry(run_dag: RunDag) -> None:
    run = run_dag("retried", stack="absent")
    assert (run.state, run.tries) == ("failed", {"work[-1]": 1})
    assert "There is no such stack" in run.log


@pytest.mark.parametrize("dag", ["retried", "retried_deferred"])
def test_a_job_that_was_stopped_on_purpose_is_not_started_again(dag: str, scripted: Scripted, run_dag: RunDag) -> None:
    jobs = scripted(script=("RUNNING", "CANCELLED"))
    run = run_dag(dag, stack=jobs.folder.name)
    assert (run.state, run.tries) == ("failed", {"work[-1]": 1})
    assert len(jobs.calls("started")) == 1


def test_a_function_that_leans_on_names_outside_is_refused_when_the_dag_is_parsed() -> None:
    from airflow.sdk import DAG, task  # noqa: PLC0415 - reads its configuration, which other tests have set by now

    def leaning() -> str:
        return str(ROOT)

    with DAG("leaning", schedule=None), pytest.raises(SpecError, match="leans on names outside"):
        task.stack_step(image=IMAGE)(leaning)()


def test_a_stack_may_come_from_a_connection(home: Any, run_dag: RunDag) -> None:
    run = run_dag("connected")
    assert run.state == "success"
    assert '"stackgraft:stack": "in-a-connection"' in (home.folder / "jobs" / "connected" / "calls.jsonl").read_text()


def test_a_pipeline_builds_trains_serves_and_removes_on_the_local_stack_while_deferred(home: Any, run_dag: RunDag, tmp_path: Path) -> None:
    (tmp_path / "serve.py").write_text(SERVICE)
    local = stack_table(home.folder / "local")
    with (home.folder / "stacks.toml").open("a") as file:
        file.write(f"[stacks.local]\n{local}")
    run = run_dag("pipeline", stack="local", context=str(tmp_path))
    assert run.state == "success", run.log
    assert run.xcom() == "model@1"
    [deployed] = [value for task, _, key, value in run.xcoms if (task, key) == ("deploy", "return_value")]
    assert ["deploy", -1, ServiceLink.xcom_key, deployed["url"]] in run.xcoms
    store = Stack.load("local", path=home.folder / "stacks.toml").artifact_store
    assert store.load("model@1") == {"weight": 30}


def test_everything_that_a_job_creates_is_tagged(scripted: Scripted, run_dag: RunDag) -> None:
    jobs = scripted()
    run = run_dag("direct", stack=jobs.folder.name)
    [record] = [line for line in (jobs.folder / "calls.jsonl").read_text().splitlines() if '"started"' in line]
    for tag in (f'"stackgraft:run": "{run.run_id}"', '"stackgraft:step": "work"', '"stackgraft:owner": "team-a"'):
        assert tag in record
