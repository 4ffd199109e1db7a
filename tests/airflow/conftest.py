"""Airflow in homes of its own: a process that runs DAGs with `dag.test()`, and stacks whose jobs are scripted."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("airflow", reason="Airflow is not installed")

from stackgraft.testing import ScriptedLauncher

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Home:
    """A migrated Airflow home.

    Attributes:
        folder: Where it is.
        env: What a process needs to use it.
    """

    folder: Path
    env: Mapping[str, str]

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a program that uses this home."""
        return subprocess.run(
            [sys.executable, "-m", *command], env=dict(self.env), capture_output=True, text=True, timeout=240, check=False
        )

    def scripted(self, name: str, **fields: Any) -> ScriptedLauncher:
        """Add a stack whose step operator plays a script."""
        launcher = ScriptedLauncher(folder=self.folder / "jobs" / name, **fields)
        launcher.folder.mkdir(parents=True)
        claim = ", ".join(f"{key} = {json.dumps(value)}" for key, value in launcher.claim().items())
        with (self.folder / "stacks.toml").open("a") as file:
            file.write(f"[stacks.{name}]\nowner = 'team-a'\nstep_operator = {{ {claim} }}\n")
            file.write("artifact_store = { flavor = 'local', path = 'artifacts', cache = 'cache' }\n")
        return launcher


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Make a home with a migrated SQLite database."""
    folder = tmp_path_factory.mktemp("airflow")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "STACKGRAFT"))}
    env = {
        **clean,
        "AIRFLOW_HOME": str(folder),
        "AIRFLOW__CORE__DAGS_FOLDER": str(HERE / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder}/airflow.db?timeout=60",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO",
        "STACKGRAFT_CONFIG": str(folder / "stacks.toml"),
        "PYTHONUNBUFFERED": "1",
    }
    migrated = Home(folder, env)
    done = migrated.run("airflow", "db", "migrate")
    assert done.returncode == 0, done.stdout + done.stderr
    shutil.copy(folder / "airflow.db", folder / "untouched.db")  # before a runner fills it with paused DAGs
    return migrated


@dataclass(frozen=True)
class Run:
    """What became of a DAG run.

    Attributes:
        state: The run's state.
        run_id: Its id.
        xcoms: Task, map index, key and value.
        tries: How often each task was tried.
        log: All that was printed.
    """

    state: str
    run_id: str
    xcoms: list[tuple[str, int, str, Any]]
    tries: dict[str, int]
    log: str

    def xcom(self, key: str = "return_value", map_index: int = -1) -> Any:
        """Return an XCom of the task ``work``."""
        return next((value for task, index, name, value in self.xcoms if (task, index, name) == ("work", map_index, key)), None)


@dataclass
class Runner:
    """A process that runs DAGs.

    Attributes:
        process: It.
        logs: Where its logs go.
        count: How many DAGs it ran.
    """

    process: subprocess.Popen[str]
    logs: Path
    count: int = field(default=0)

    def __call__(self, dag: str, **conf: Any) -> Run:
        """Run a DAG to its end."""
        self.count += 1
        log = self.logs / f"{self.count}-{dag}.log"
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"dag": dag, "conf": conf, "log": str(log)}) + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("{"):
                return Run(**json.loads(line), log=log.read_text())
        raise AssertionError(f"the runner ended: {log.read_text() if log.exists() else ''}")


@pytest.fixture(scope="session")
def run_dag(home: Home) -> Iterator[Runner]:
    """Start the process that runs DAGs."""
    logs = home.folder / "runs"
    logs.mkdir()
    env = {**home.env, "AIRFLOW_CONN_SCRIPTED_STACK": connection(home)}
    with (home.folder / "runner.log").open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, str(HERE / "run_dags.py")], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    try:
        yield Runner(process, logs)
    finally:
        process.kill()
        process.communicate()


def connection(home: Home) -> str:
    """Return a connection that holds a whole stack."""
    launcher = home.scripted("connected")
    extra = {"stack": "in-a-connection", "components": json.dumps({"step_operator": launcher.claim()})}
    return json.dumps({"conn_type": "stackgraft", "extra": extra})


@pytest.fixture
def scripted(home: Home, request: pytest.FixtureRequest) -> Callable[..., ScriptedLauncher]:
    """Make a stack for one test; it is named after it."""
    names = iter(range(100))

    def make(**fields: Any) -> ScriptedLauncher:
        name = f"t{abs(hash(request.node.name)) % 10**8}-{next(names)}"
        return home.scripted(name, **fields)

    return make
