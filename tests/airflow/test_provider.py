"""What Airflow finds of this package by itself: provider, plugin, connection type, decorator and links."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import airflow
import jsonschema
import pytest

from stackgraft.testing import ScriptedLauncher
from stackgraft_airflow.links import JobLink, ServiceLink
from stackgraft_airflow.provider_info import get_provider_info

PLUGINS = Path(__file__).parents[2] / "plugins"
LINKS = ["stackgraft_airflow.links.JobLink", "stackgraft_airflow.links.ServiceLink"]
PROVIDERS = """
from airflow.providers_manager import ProvidersManager

manager = ProvidersManager()
[connection] = [one for one in manager.iter_connection_type_hook_ui_metadata() if one.connection_type == "stackgraft"]
fields = list(manager._connection_form_widgets_from_metadata)
imported = "stackgraft_airflow.hook" in sys.modules
answer = {
    "hook": connection.hook_class_name,
    "hidden": connection.field_behaviour["hidden_fields"],
    "fields": sorted(name for name in fields if name.startswith("extra__stackgraft__")),
    "imported for its form": imported,
    "hook's own type": manager.hooks["stackgraft"].connection_type,
    "decorator": manager.taskflow_decorators["stack_step"].__module__,
    "links": manager.extra_links_class_names,
}
"""
LOADED_PLUGINS = """
from airflow import plugins_manager

plugins, errors = plugins_manager._get_plugins()
answer = {
    "plugins": [str(one.source) for one in plugins if one.name == "stackgraft"],
    "errors": errors,
    "links": [f"{type(link).__module__}.{type(link).__name__}" for link in plugins_manager.get_operator_extra_links()],
    "bare": sorted({"compat", "journal", "operators", "remote"} & set(sys.modules)),
}
"""
FOUND_DAGS = """
from airflow.dag_processing.dagbag import DagBag

bag = DagBag(sys.argv[1])
answer = {"files": [stat.file for stat in bag.dagbag_stats], "errors": list(bag.import_errors), "dags": list(bag.dags)}
"""
IMPORTED = """
opened = []
sys.addaudithook(lambda event, _: opened.append(event) if event.startswith("socket.") else None)
import stackgraft_airflow.operators
answer = {"sockets": opened, "heavy": [name for name in ("boto3", "botocore", "docker", "obstore") if name in sys.modules]}
"""


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Any]]:
    """Run code in an interpreter of its own, whose Airflow is untouched, and return what it calls ``answer``."""

    fresh = str(tmp_path_factory.mktemp("fresh"))

    def run(code: str, *arguments: str) -> dict[str, Any]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "STACKGRAFT"))}
        env = {
            **clean,
            "AIRFLOW_HOME": fresh,
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(PLUGINS),
        }
        script = f"import json, sys\n{code}\nprint('ANSWER' + json.dumps(answer))"
        done = subprocess.run([sys.executable, "-c", script, *arguments], env=env, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.rpartition("ANSWER")[2])

    return run


def test_the_providers_info_is_what_airflows_schema_asks_for() -> None:
    schema = json.loads((Path(airflow.__file__).parent / "provider_info.schema.json").read_text())
    jsonschema.validate(get_provider_info(), schema)


@pytest.fixture(scope="module")
def found(ask: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    return ask(PROVIDERS)


def test_airflow_finds_the_connection_type_the_decorator_and_the_links(found: dict[str, Any]) -> None:
    assert found["hook"] == "stackgraft_airflow.hook.StackHook"
    assert found["hook's own type"] == "stackgraft"
    assert found["decorator"] == "stackgraft_airflow.decorators"
    assert set(LINKS) <= set(found["links"])


def test_the_connections_form_has_our_fields_and_hides_the_others_without_importing_the_hook(found: dict[str, Any]) -> None:
    assert found["fields"] == [f"extra__stackgraft__{name}" for name in ("components", "config", "stack")]
    assert {"host", "login", "password", "extra"} <= set(found["hidden"])
    assert not found["imported for its form"]


def test_airflow_loads_the_plugin_once_by_its_entry_point_and_no_file_of_ours_by_its_bare_name(ask: Callable[..., Any]) -> None:
    loaded = ask(LOADED_PLUGINS)
    [source] = loaded["plugins"]
    assert "stackgraft_airflow.plugin:StackgraftPlugin" in source
    assert loaded["errors"] == {}
    assert set(LINKS) <= set(loaded["links"])
    assert loaded["bare"] == []


def test_a_folder_of_dags_that_holds_ours_imports_nothing_of_it(ask: Callable[..., Any], tmp_path: Path) -> None:
    assert ask(FOUND_DAGS, str(PLUGINS)) == {"files": [], "errors": [], "dags": []}
    bare = shutil.copytree(PLUGINS, tmp_path / "bare", ignore=shutil.ignore_patterns(".airflowignore", "__pycache__"))
    assert ask(FOUND_DAGS, str(bare))["files"], "without .airflowignore it would"


def test_importing_the_operators_opens_no_socket_and_loads_no_cloud_sdk(ask: Callable[..., Any]) -> None:
    assert ask(IMPORTED) == {"sockets": [], "heavy": []}


def test_every_entry_point_for_airflow_leads_somewhere() -> None:
    for group in ("apache_airflow_provider", "airflow.plugins"):
        [ours] = [entry for entry in entry_points(group=group) if entry.value.startswith("stackgraft_airflow")]
        assert callable(ours.load())


@pytest.mark.engine
@pytest.mark.parametrize("dag", ["direct", "deferred"])
def test_a_tasks_page_links_to_its_job(dag: str, scripted: Callable[..., ScriptedLauncher], run_dag: Callable[..., Any]) -> None:
    jobs = scripted(url="https://console.example/job")
    run = run_dag(dag, stack=jobs.folder.name)
    assert run.xcom(JobLink.xcom_key) == "https://console.example/job"


def test_the_two_links_keep_their_answers_apart() -> None:
    assert len({JobLink.xcom_key, ServiceLink.xcom_key}) == 2
    assert len({JobLink.name, ServiceLink.name}) == 2
