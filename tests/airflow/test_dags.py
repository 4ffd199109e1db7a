"""Operators, decorator and trigger in DAGs that run to their end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from stackgraft.testing import ScriptedLauncher

pytestmark = pytest.mark.engine
Scripted = Callable[..., ScriptedLauncher]
RunDag = Callable[..., Any]


@pytest.mark.parametrize("dag", ["direct", "deferred"])
def test_a_job_runs_to_its_end_and_its_outcome_is_the_xcom(dag: str, scripted: Scripted, run_dag: RunDag) -> None:
    jobs = scripted(script=("PENDING", "RUNNING", "ERROR", "RUNNING", "SUCCEEDED"))
    run = run_dag(dag, stack=jobs.folder.name)
    assert run.state == "success"
    assert run.xcom() == {"job": jobs.calls("started")[0], "exit_code": 0, "seconds": 0.0}
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


@pytest.mark.parametrize(("dag", "words"), [("leaning", "leans on names outside"), ("retried", "There is no such stack")])
def test_what_cannot_work_fails_at_once_without_a_retry(dag: str, words: str, scripted: Scripted, run_dag: RunDag) -> None:
    jobs = scripted()
    run = run_dag(dag, stack=jobs.folder.name if dag == "leaning" else "absent")
    assert (run.state, run.tries) == ("failed", {"work[-1]": 1})
    assert words in run.log
    assert jobs.calls("started") == []


def test_a_stack_may_come_from_a_connection(run_dag: RunDag) -> None:
    run = run_dag("connected")
    assert run.state == "success"
    assert "'stackgraft:stack': 'in-a-connection'" in str(run.log) or run.xcom()["job"].startswith("work-")


def test_everything_that_a_job_creates_is_tagged(scripted: Scripted, run_dag: RunDag) -> None:
    jobs = scripted()
    run = run_dag("direct", stack=jobs.folder.name)
    [record] = [line for line in (jobs.folder / "calls.jsonl").read_text().splitlines() if '"started"' in line]
    for tag in (f'"stackgraft:run": "{run.run_id}"', '"stackgraft:step": "work"', '"stackgraft:owner": "team-a"'):
        assert tag in record
