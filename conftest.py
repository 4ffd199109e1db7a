"""The README's code blocks are tests: Python runs in an interpreter of its own, TOML must load as stacks."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser

from stackgraft.stack import Stack


def run_python(example: Example) -> None:
    """Run a block as a script, with an own home, so that what an engine writes goes nowhere else."""
    with tempfile.TemporaryDirectory() as home:
        script = Path(home, "block.py")  # a file, since steps travel by their source
        script.write_text(str(example.parsed))
        env = {**os.environ, "HOME": home, "AIRFLOW_HOME": f"{home}/airflow", "PREFECT_HOME": f"{home}/prefect"}
        done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False, env=env, cwd=home)
    assert done.returncode == 0, done.stderr


def load_stacks(example: Example) -> None:
    """Load the default stack of a block."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "stacks.toml")
        path.write_text(str(example.parsed))
        Stack.load(path=path)


pytest_collect_file = Sybil(
    parsers=[CodeBlockParser("python", run_python), CodeBlockParser("toml", load_stacks)],
    patterns=["README.md"],
).pytest()
