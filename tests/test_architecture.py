"""The house, held by tests: who may import whom, and what importing costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORE = ROOT / "stackgraft"
ENGINES = {"airflow", "prefect"}
CLOUDS = {"boto3", "botocore", "docker", "moto"}
FLAVOR_FOLDERS = ("local", "docker", "aws", "gcp", "azure")


def imports(path: Path) -> Iterator[str]:
    """Yield the dotted names that a file imports, at its top or anywhere below."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def tops(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)}


@pytest.mark.parametrize("path", files(CORE), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_core_knows_no_engine_and_no_half(path: Path) -> None:
    assert not tops(path) & (ENGINES | {"stackgraft_airflow", "stackgraft_prefect"})


@pytest.mark.parametrize("path", files(CORE), ids=lambda path: str(path.relative_to(ROOT)))
def test_only_its_own_folder_knows_a_platform(path: Path) -> None:
    folder = path.relative_to(CORE).parts[0]
    allowed = {"aws": {"boto3", "botocore"}, "docker": {"docker"}, "rehearsal": CLOUDS}.get(folder, set())
    assert not tops(path) & (CLOUDS - allowed)
    if folder not in FLAVOR_FOLDERS and folder != "rehearsal":
        assert not [name for name in imports(path) if name.startswith(tuple(f"stackgraft.{flavor}" for flavor in FLAVOR_FOLDERS))]


@pytest.mark.parametrize("folder", FLAVOR_FOLDERS)
def test_a_flavor_never_imports_another_platforms_flavors(folder: str) -> None:
    others = tuple(f"stackgraft.{other}." for other in FLAVOR_FOLDERS if other != folder)
    assert [name for path in files(CORE / folder) for name in imports(path) if name.startswith(others)] == []


@pytest.mark.parametrize(
    ("half", "other"),
    [
        ("plugins/stackgraft_airflow", {"prefect", "stackgraft_prefect"}),
        ("prefect_blocks/stackgraft_prefect", {"airflow", "stackgraft_airflow"}),
    ],
)
def test_the_two_halves_never_meet(half: str, other: set[str]) -> None:
    assert {top for path in files(ROOT / half) for top in tops(path)} & other == set()


def test_nothing_but_its_command_imports_the_rehearsal() -> None:
    outside = [
        path for folder in ("stackgraft", "plugins", "prefect_blocks") for path in files(ROOT / folder) if "rehearsal" not in path.parts
    ]
    assert [path for path in outside for name in imports(path) if name.startswith("stackgraft.rehearsal")] == []


def loaded_by(statement: str) -> set[str]:
    """Return the top-level packages that a fresh interpreter has loaded after the statement."""
    code = f"import sys\n{statement}\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_importing_the_core_loads_no_engine_and_no_cloud() -> None:
    modules = "components, errors, flavors, job, lifecycle, model, oci, specs, stack, steps, artifacts"
    assert loaded_by(f"from stackgraft import {modules}") & (ENGINES | CLOUDS | {"numpy", "pytest"}) == set()


PARSE = """
import sys
def refuse(event, arguments):
    if event in {"socket.connect", "socket.sendto", "socket.getaddrinfo"}:
        raise SystemExit(f"{event} {arguments}")
sys.addaudithook(refuse)
import stackgraft_airflow.operators
"""


@pytest.mark.engine
def test_parsing_a_dag_loads_no_cloud_and_opens_no_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("airflow", reason="Airflow is not installed")
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    assert loaded_by(PARSE) & (CLOUDS | {"prefect", "pytest"}) == set()


def test_what_users_run_needs_no_pytest() -> None:
    paths = [path for folder in ("examples", "dags", "flows", "benchmarks") for path in files(ROOT / folder)]
    assert [path for path in paths for name in imports(path) if name.split(".")[0] == "pytest" or name == "stackgraft.testing"] == []
    assert "stackgraft.testing import" not in (ROOT / "README.md").read_text()


def lines_of_code(path: Path) -> int:
    """Count the lines that are neither blank nor comments nor docstrings, which the style asks for."""
    text = path.read_text()
    told = {
        line
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(node)
        for line in range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1)
    }
    return sum(
        bool(line.strip()) and not line.strip().startswith("#") for number, line in enumerate(text.splitlines(), 1) if number not in told
    )


@pytest.mark.parametrize("half", ["plugins/stackgraft_airflow", "prefect_blocks/stackgraft_prefect"])
def test_each_half_stays_within_seven_hundred_lines_of_code(half: str) -> None:
    assert sum(map(lines_of_code, files(ROOT / half))) <= 700
