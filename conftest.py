"""The README's code blocks are tests: Python runs in an interpreter of its own, the DAG and the flow whole, TOML loads as stacks.

The DAG and the flow run on the README's own stack, in a home that is thrown away, against a project that is written here.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import tomllib
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser

from stackgraft import lifecycle
from stackgraft.specs import RemovalSpec
from stackgraft.stack import Stack

PROJECT = "/srv/churn"
"""Where the README says that its project lies."""
FIT = """
def fit():
    return {"weeks": 3}
"""
SERVICE = """
import http.server, os

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(os.environ["MODEL"].encode())

http.server.ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""
SCRIPT = ("block.py",)
DAG = (
    "-c",
    """
import sys
from airflow.dag_processing.dagbag import DagBag
from airflow.utils.db import initdb
initdb()
run = DagBag().dags["churn"].test()
sys.exit(0 if run.state == "success" else f"the run ended in {run.state}")
""",
)
SETTINGS = {
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
    "DO_NOT_TRACK": "1",
}


@contextmanager
def new_home(example: Example) -> Iterator[Path]:
    """Give a folder with the block, the README's stack file and the project."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        toml = re.search(r"```toml\n(.*?)```", example.document.text, re.DOTALL)
        (home / "stacks.toml").write_text(toml[1] if toml else "")
        package = home / "project" / "churn"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(FIT)
        (package / "__main__.py").write_text(SERVICE)
        (home / "block.py").write_text(str(example.parsed).replace(PROJECT, str(package.parent)))
        yield home


def run_python(example: Example) -> None:
    """Run a block as a script, or as a DAG; a service that it deploys must answer, and is removed."""
    block = str(example.parsed)
    with new_home(example) as home:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PREFECT", "STACKGRAFT"))}
        homes = {
            "HOME": str(home),
            "AIRFLOW_HOME": f"{home}/airflow",
            "AIRFLOW__CORE__DAGS_FOLDER": str(home),
            "PREFECT_HOME": f"{home}/prefect",
        }
        command = [sys.executable, *(DAG if "@dag" in block else SCRIPT)]
        stack = Stack.load(path=home / "stacks.toml")
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, env=inherited | SETTINGS | homes, cwd=home, timeout=240
            )
            assert done.returncode == 0, done.stdout + done.stderr
            if PROJECT in block:
                assert answer(stack) == "train@1"
        finally:
            removal = RemovalSpec(service="churn")
            lifecycle.run(stack.launcher(removal), removal)


def answer(stack: Stack) -> str:
    """Return what the deployed service says."""
    with urllib.request.urlopen(stack.deployer.find("churn")["url"], timeout=5) as reply:  # noqa: S310 - the deployer's own URL
        return str(reply.read().decode())


def load_stacks(example: Example) -> None:
    """Load every stack of a block."""
    with new_home(example) as home:
        for name, mapping in tomllib.loads(str(example.parsed))["stacks"].items():
            Stack.from_config(name, mapping, root=home)


pytest_collect_file = Sybil(
    parsers=[CodeBlockParser("python", run_python), CodeBlockParser("toml", load_stacks)],
    patterns=["README.md"],
).pytest()
