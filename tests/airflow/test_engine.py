"""A real scheduler, triggerer, DAG processor and API server: workers die, users intervene, one job runs."""

from __future__ import annotations

import json
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx
import psutil
import pytest

from stackgraft.testing import ScriptedLauncher

pytestmark = pytest.mark.engine
LONG = ("RUNNING",) * 300 + ("SUCCEEDED",)
PARTS = ("api-server", "scheduler", "triggerer", "dag-processor")


def eventually(look: Callable[[], Any], what: str, *, seconds: float = 60) -> Any:
    """Return the first answer that is true."""
    end = time.monotonic() + seconds
    while not (answer := look()):
        assert time.monotonic() < end, f"within {seconds} seconds: {what}"
        time.sleep(0.2)
    return answer


@dataclass(frozen=True)
class Engine:
    """A running Airflow.

    Attributes:
        api: A client of its REST API.
        parts: Its processes.
    """

    api: httpx.Client
    parts: Parts

    def trigger(self, dag: str, stack: str) -> str:
        """Start a DAG run and return its path in the API."""
        body = {"logical_date": None, "conf": {"stack": stack}}
        run = self.api.post(f"/dags/{dag}/dagRuns", json=body).raise_for_status().json()
        return f"/dags/{dag}/dagRuns/{run['dag_run_id']}"

    def task(self, run: str) -> dict[str, Any]:
        """Return the run's task instance."""
        found: dict[str, Any] = self.api.get(f"{run}/taskInstances/work").raise_for_status().json()
        return found

    def until(self, run: str, *states: str, tries: int = 1, seconds: float = 60) -> dict[str, Any]:
        """Wait until the task has a state, in a try of that number or a later one."""

        def reached() -> dict[str, Any] | None:
            task = self.task(run)
            return task if task["state"] in states and task["try_number"] >= tries else None

        return eventually(reached, f"{run} is {states} in try {tries}", seconds=seconds)

    def mark(self, run: str, state: str) -> None:
        """Set the task's state, as a user does."""
        self.api.patch(f"{run}/taskInstances/work", json={"new_state": state}).raise_for_status()

    def clear(self, run: str) -> None:
        """Clear the task, as a user does."""
        dag, run_id = run.split("/")[2], run.split("/")[4]
        body = {"dry_run": False, "dag_run_id": run_id, "task_ids": ["work"], "only_failed": False, "reset_dag_runs": True}
        self.api.post(f"/dags/{dag}/clearTaskInstances", json=body).raise_for_status()


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def engine_env(folder: Path, env: dict[str, str]) -> dict[str, str]:
    """Return an environment in which all parts find each other on ports of their own."""
    api, workers, triggers = free_ports(3)
    return {
        **env,
        "AIRFLOW_HOME": str(folder),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder}/airflow.db?timeout=60",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__CORE__FERNET_KEY": "",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{api}/execution/",
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{api}",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(api),
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__SECRET_KEY": "not-secret-in-a-test",
        "AIRFLOW__API_AUTH__JWT_SECRET": "not-secret-in-a-test-either-and-long-enough-for-any-signature-algorithm",
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(workers),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(triggers),
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "10",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.3",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "600",
    }


def number_triggers_for_good(database: Path) -> None:
    """Let SQLite give no trigger the id of a deleted one, as no server does.

    Else the event of a trigger that still runs comes to a task's next try, at a moment at which Airflow's scheduler
    takes that try for dead; what the task makes of such an event has a test of its own.
    """
    with closing(sqlite3.connect(database)) as connection, connection:
        [(table,)] = connection.execute("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = 'trigger'")
        numbered = re.sub(r"CONSTRAINT \w+ PRIMARY KEY \(id\),", "", table)
        numbered = numbered.replace("id INTEGER NOT NULL", "id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL")
        connection.execute('DROP TABLE "trigger"')
        connection.execute(numbered)


@dataclass
class Parts:
    """The processes of a running Airflow.

    Attributes:
        env: Their environment.
        folder: Where their logs go.
        processes: The processes by name.
    """

    env: dict[str, str]
    folder: Path
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str) -> None:
        """Start a part in a session of its own."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", "airflow", name], env=self.env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def stop(self, *names: str) -> None:
        """Stop parts, gently at first, and all that they have started."""
        parts = [psutil.Process(self.processes[name].pid) for name in names]
        family = [member for part in parts for member in (part, *part.children(recursive=True))]
        for part in parts:
            part.terminate()
        psutil.wait_procs(parts, timeout=10)
        for member in family:
            if member.is_running():
                member.kill()
        psutil.wait_procs(family, timeout=10)

    def __enter__(self) -> Self:
        for name in PARTS:
            self.start(name)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(*self.processes)


def healthy(client: httpx.Client) -> bool:
    """Tell whether all parts have reported."""
    try:
        health = client.get("/monitor/health").json()
    except (httpx.HTTPError, json.JSONDecodeError):
        return False
    return all(health[name]["status"] == "healthy" for name in ("metadatabase", "scheduler", "triggerer", "dag_processor"))


@pytest.fixture(scope="module")
def engine(home: Any) -> Iterator[Engine]:
    folder = home.folder / "engine"
    folder.mkdir()
    shutil.copy(home.folder / "untouched.db", folder / "airflow.db")
    number_triggers_for_good(folder / "airflow.db")
    env = engine_env(folder, dict(home.env))
    base = env["AIRFLOW__API__BASE_URL"]
    with Parts(env, folder) as parts, httpx.Client(base_url=f"{base}/api/v2", timeout=30, trust_env=False) as client:
        eventually(lambda: healthy(client), f"all parts are healthy; logs in {folder}", seconds=180)
        client.headers["Authorization"] = f"Bearer {client.get(f'{base}/auth/token').raise_for_status().json()['access_token']}"
        eventually(lambda: client.get("/dags/engine_deferred").is_success, "the DAGs are parsed", seconds=60)
        yield Engine(client, parts)


def polled(jobs: ScriptedLauncher, *, by: str = "") -> str:
    """Wait until the newest job is being polled, and return it."""
    eventually(lambda: jobs.calls("started") and jobs.calls("polled").count(jobs.calls("started")[-1]) > 3, f"the job is polled {by}")
    return jobs.calls("started")[-1]


def finish(jobs: ScriptedLauncher, job: str) -> None:
    """Let a job's script come to its end."""
    with (jobs.folder / "jobs" / job / "polls").open("a") as polls:
        polls.write("." * len(LONG))


def processes_of(task: dict[str, Any]) -> list[psutil.Process]:
    """Return the process that executes a task's try; its parent is the executor's worker, whose title has the id too."""
    title = f"airflow worker -- {task['id']}"
    return [one for one in psutil.process_iter(["cmdline"]) if " ".join(one.info["cmdline"] or ()).strip() == title]


def test_a_deferred_task_succeeds_through_the_triggerer(engine: Engine, scripted: Any) -> None:
    jobs = scripted()
    run = engine.trigger("engine_deferred", jobs.folder.name)
    assert engine.until(run, "success", "failed")["state"] == "success"
    assert len(jobs.calls("started")) == 1


@pytest.mark.parametrize("victims", ["the task", "the task and its supervisor"])
def test_a_task_whose_worker_was_killed_finds_its_job_on_the_retry(engine: Engine, scripted: Any, victims: str) -> None:
    jobs = scripted(script=LONG)
    run = engine.trigger("engine_sync", jobs.folder.name)
    job = polled(jobs)
    [process] = processes_of(engine.task(run))
    if victims == "the task and its supervisor":
        process.parent().kill()
    process.kill()
    engine.until(run, "running", tries=2)
    eventually(lambda: jobs.calls("found") == [job], "the retry finds the job")
    finish(jobs, job)
    assert engine.until(run, "success", "failed")["try_number"] == 2
    assert jobs.calls("started") == [job]
    assert jobs.calls("cancelled") == []


def test_a_worker_that_is_shut_down_leaves_the_job_running(engine: Engine, scripted: Any) -> None:
    jobs = scripted(script=LONG)
    run = engine.trigger("engine_sync", jobs.folder.name)
    job = polled(jobs)
    processes_of(engine.task(run))[0].terminate()
    seen = len(jobs.calls("polled"))
    eventually(lambda: len(jobs.calls("polled")) > seen + 10, "the task goes on")
    finish(jobs, job)
    engine.until(run, "success")
    assert jobs.calls("cancelled") == []


@pytest.mark.parametrize("dag", ["engine_sync", "engine_deferred"])
@pytest.mark.parametrize("state", ["failed", "success"])
def test_marking_a_waiting_task_stops_its_job(engine: Engine, scripted: Any, dag: str, state: str) -> None:
    jobs = scripted(script=LONG)
    run = engine.trigger(dag, jobs.folder.name)
    job = polled(jobs)
    engine.until(run, "deferred" if dag == "engine_deferred" else "running")
    engine.mark(run, state)
    eventually(lambda: jobs.calls("cancelled") == [job], "the job is cancelled")
    assert engine.task(run)["state"] == state


@pytest.mark.parametrize("dag", ["engine_sync", "engine_deferred"])
def test_clearing_a_waiting_task_stops_its_job_and_starts_another(engine: Engine, scripted: Any, dag: str) -> None:
    jobs = scripted(script=LONG)
    run = engine.trigger(dag, jobs.folder.name)
    first = polled(jobs)
    engine.until(run, "deferred" if dag == "engine_deferred" else "running")
    engine.clear(run)
    eventually(lambda: len(jobs.calls("started")) == 2, "another job is started")
    finish(jobs, polled(jobs))
    assert engine.until(run, "success", "failed", tries=2)["state"] == "success"
    assert len(jobs.calls("started")) == 2
    assert set(jobs.calls("cancelled")) == {first}


@pytest.mark.parametrize("dag", ["engine_sync", "engine_deferred"])
def test_clearing_a_task_that_has_succeeded_starts_another_job(engine: Engine, scripted: Any, dag: str) -> None:
    jobs = scripted()
    run = engine.trigger(dag, jobs.folder.name)
    succeeded = engine.until(run, "success")
    eventually(
        lambda: not processes_of(succeeded), "its process has written its links: with SQLite, a clear meanwhile can hang the API server"
    )
    eventually(
        lambda: engine.api.get(run).raise_for_status().json()["state"] == "success",
        "the scheduler has closed the run: it would close a run that is cleared at that moment, too, and never schedule the task",
    )
    engine.clear(run)
    assert engine.until(run, "success", "failed", tries=2)["state"] == "success"
    assert len(set(jobs.calls("started"))) == 2


def test_a_restarted_triggerer_goes_on_waiting_for_the_same_job(engine: Engine, scripted: Any) -> None:
    jobs = scripted(script=LONG)
    run = engine.trigger("engine_deferred", jobs.folder.name)
    engine.until(run, "deferred")
    job = polled(jobs)
    engine.parts.stop("triggerer")
    engine.parts.start("triggerer")
    finish(jobs, job)
    engine.until(run, "success", seconds=120)
    assert jobs.calls("cancelled") == []
    assert jobs.calls("started") == [job]
