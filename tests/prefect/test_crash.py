"""What becomes of a remote job when its flow run's process is killed, shut down, interrupted or cancelled."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment
from prefect.states import Cancelling, Pending

from stackgraft.artifacts import open_store
from stackgraft.testing import ScriptedLauncher
from stackgraft_prefect import stop_remote_jobs

pytestmark = pytest.mark.engine
FOREVER, SOON = 0, 30
ENDED = {"Completed", "Failed", "Crashed", "Cancelled"}


@pytest.fixture
def jobs(tmp_path: Path) -> ScriptedLauncher:
    return ScriptedLauncher(folder=tmp_path)


@pytest.fixture
def interrupted(server: Any, jobs: ScriptedLauncher) -> Callable[..., FlowRun]:
    """Run a flow until its job is polled, send its process a signal, and wait for the process to end."""

    def interrupt(flow: str, how: signal.Signals, polls: int = FOREVER, count: int = 1) -> FlowRun:
        run: FlowRun = server.new_run(f"scripted.py:{flow}", folder=str(jobs.folder), polls=polls)
        with server.engine(f"scripted.py:{flow}", run) as engine:
            server.eventually(lambda: len(set(jobs.calls("polled"))) == count and len(jobs.calls("polled")) > 3, "the jobs are polled")
            engine.send_signal(how)
            engine.wait(timeout=30)
        return run

    return interrupt


def execute_again(server: Any, flow: str, run: FlowRun) -> str:
    with server.client() as client:
        client.set_flow_run_state(run.id, Pending(), force=True)
    with server.engine(f"scripted.py:{flow}", run) as engine:
        engine.wait(timeout=90)
    state: str = server.state(run.id)
    return state


@pytest.mark.parametrize("flow", ["direct", "submitted", "awaited"])
def test_a_flow_run_that_was_killed_finds_its_job_when_it_is_executed_again(
    server: Any, jobs: ScriptedLauncher, interrupted: Callable[..., FlowRun], flow: str
) -> None:
    run = interrupted(flow, signal.SIGKILL, SOON)
    assert execute_again(server, flow, run) == "Completed"
    assert len(jobs.calls("started")) == 1
    assert jobs.calls("found") == jobs.calls("started")
    assert server.journals(run) == []


def test_a_function_that_was_called_twice_before_the_kill_finds_both_its_jobs(
    server: Any, jobs: ScriptedLauncher, interrupted: Callable[..., FlowRun]
) -> None:
    run = interrupted("mapped", signal.SIGKILL, 2 * SOON, count=2)
    store = open_store({"flavor": "local", "path": f"{jobs.folder}/artifacts", "cache": f"{jobs.folder}/cache"})
    for job in jobs.calls("started"):
        store.tag(store.save("double", job), job)  # what the function would have done
    assert execute_again(server, "mapped", run) == "Completed"
    assert len(jobs.calls("started")) == 2
    assert sorted(jobs.calls("found")) == sorted(jobs.calls("started"))


@pytest.mark.parametrize("flow", ["direct", "awaited"])
def test_a_shutdown_leaves_the_job_running_for_the_next_try(
    server: Any, jobs: ScriptedLauncher, interrupted: Callable[..., FlowRun], flow: str
) -> None:
    run = interrupted(flow, signal.SIGTERM)
    assert jobs.calls("cancelled") == []
    assert [journal["job"] for journal in server.journals(run)] == jobs.calls("started")


def test_ctrl_c_stops_the_job_of_a_flow_that_no_runner_serves(
    server: Any, jobs: ScriptedLauncher, interrupted: Callable[..., FlowRun]
) -> None:
    run = interrupted("direct", signal.SIGINT)
    assert jobs.calls("cancelled") == jobs.calls("started")
    assert server.journals(run) == []


def test_the_cancellation_hook_stops_a_job_whose_process_is_gone(
    server: Any, jobs: ScriptedLauncher, interrupted: Callable[..., FlowRun]
) -> None:
    run = interrupted("direct", signal.SIGKILL)
    stop_remote_jobs(flow=None, flow_run=run, state=Cancelling())
    assert jobs.calls("cancelled") == jobs.calls("started")
    assert server.journals(run) == []


@pytest.fixture(scope="module")
def runner(server: Any) -> Iterator[subprocess.Popen[bytes]]:
    with server.process(str(Path(__file__).parent / "flows" / "scripted.py"), log="runner.log") as started:
        yield started


def test_cancelling_served_flow_runs_stops_their_jobs_however_the_task_was_called(
    server: Any, tmp_path: Path, runner: subprocess.Popen[bytes]
) -> None:
    flows = ("direct", "submitted", "awaited")
    jobs = {flow: ScriptedLauncher(folder=tmp_path / flow) for flow in flows}
    server.eventually(lambda: deployed(server) >= set(flows), "the flows are served")
    runs = {
        flow: run_deployment(f"{flow}/{flow}", parameters={"folder": str(jobs[flow].folder), "polls": FOREVER}, timeout=0) for flow in flows
    }
    for flow in flows:
        server.eventually(lambda flow=flow: len(jobs[flow].calls("polled")) > 3, f"the job of {flow} is polled")
    with server.client() as client:
        for run in runs.values():
            client.set_flow_run_state(run.id, Cancelling())
    server.eventually(lambda: {server.state(run.id) for run in runs.values()} <= ENDED, "the flow runs end")
    assert {flow: jobs[flow].calls("cancelled") for flow in flows} == {flow: jobs[flow].calls("started") for flow in flows}
    assert {flow: server.state(run.id) for flow, run in runs.items()} == dict.fromkeys(flows, "Cancelled")
    assert [server.journals(run) for run in runs.values()] == [[], [], []]
    assert runner.poll() is None


def deployed(server: Any) -> set[str]:
    with server.client() as client:
        return {one["name"] for one in client.request("POST", "/deployments/filter", json={}).json()}
