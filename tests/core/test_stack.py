"""Stacks: where they are found, what they may hold, and what bad input says."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from stackgraft.components import Component
from stackgraft.errors import ConfigError, IncompatibleStackError, UnknownFlavorError
from stackgraft.stack import Stack
from stackgraft.testing import ScriptedLauncher

TWO = """
default = "small"

[stacks.small]
owner = "platform"
cost_center = "research"
image_builder = "oci"
container_registry = {flavor = "oci-layout", path = "registry", owner = "security"}

[stacks.other]
step_operator = {flavor = "scripted", folder = "jobs"}
"""


@pytest.fixture(autouse=True)
def _no_outside_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("STACKGRAFT_CONFIG", "STACKGRAFT_STACK", "AIRFLOW_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def stack_file(tmp_path: Path) -> Path:
    path = tmp_path / "stacks.toml"
    path.write_text(TWO)
    return path


def test_the_default_stack_is_found_from_a_folder_below(stack_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    below = stack_file.parent / "dags" / "team"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert Stack.load().name == "small"


def test_the_environment_names_file_and_stack(stack_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    monkeypatch.setenv("STACKGRAFT_CONFIG", str(stack_file))
    monkeypatch.setenv("STACKGRAFT_STACK", "other")
    assert Stack.load().name == "other"


def test_airflow_home_is_the_last_place_looked_at(stack_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    monkeypatch.setenv("AIRFLOW_HOME", str(stack_file.parent))
    assert Stack.load("other").name == "other"


def test_relative_paths_start_at_the_file(stack_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    operator = Stack.load("other", path=stack_file).component("step_operator")
    assert isinstance(operator, ScriptedLauncher)
    assert operator.folder == stack_file.parent / "jobs"


def test_owner_and_cost_center_come_from_the_stack_unless_a_component_has_its_own(stack_file: Path) -> None:
    stack = Stack.load(path=stack_file)
    assert (stack.component("image_builder").owner, stack.component("image_builder").cost_center) == ("platform", "research")
    assert stack.component("container_registry").owner == "security"


def test_builder_and_registry_alone_are_a_stack_and_a_missing_role_says_where_to_add_it(stack_file: Path) -> None:
    stack = Stack.load(path=stack_file)
    assert stack.image_builder.container_registry() == stack.container_registry  # type: ignore[attr-defined]
    with pytest.raises(IncompatibleStackError, match="has no deployer") as missing:
        _ = stack.deployer
    assert str(stack_file) in str(missing.value)
    assert "[stacks.small]" in str(missing.value)
    assert "process" in str(missing.value)


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("stacks = [", ConfigError, "not TOML"),
        ('defalt = "x"', ConfigError, "did you mean 'default'"),
        ("[stacks.x]\nimage_bilder = 'oci'", ConfigError, "did you mean 'image_builder'"),
        ("[stacks.x]\nimage_builder = 'ocy'", UnknownFlavorError, "did you mean 'oci'"),
        ("[stacks.x]\nimage_builder = {flavour = 'oci'}", ConfigError, "needs a flavor"),
        ("[stacks.x]\nstep_operator = {flavor = 'scripted', foldr = '.'}", ConfigError, "did you mean 'folder'"),
        ("[stacks.x]\nstep_operator = {flavor = 'scripted', folder = 3}", ConfigError, "field 'folder'"),
        ("[stacks.xx]", ConfigError, "did you mean 'xx'"),
        ("stacks = 3", ConfigError, r"'stacks' is of the wrong type[\s\S]*it is 3[\s\S]*\[stacks\.local\]"),
        ("[stacks]\nx = 1", ConfigError, r"'x' is not a table of roles[\s\S]*it is 1"),
        ("[[stacks.x]]", ConfigError, "'x' is not a table of roles"),
        ("[stacks.x]\nimage_builder = 3", ConfigError, r"neither a flavor's name nor[\s\S]*image_builder[\s\S]*it is 3"),
        ("[stacks.x]\nimage_builder = ['oci']", ConfigError, r"neither a flavor's name nor"),
        ("default = 5", ConfigError, r"'default' is of the wrong type[\s\S]*it is 5"),
        ("[stacks.x]\nimage_builder = 'oci'\nowner = 3", ConfigError, "field 'owner'"),
        ("", ConfigError, "no such stack"),
    ],
)
def test_a_broken_file_says_what_where_and_what_is_near(tmp_path: Path, text: str, error: type[ConfigError], says: str) -> None:
    path = tmp_path / "broken.toml"
    path.write_text(text)
    with pytest.raises(error, match=says) as broken:
        Stack.load("x", path=path)
    assert str(path) in "\n".join([str(broken.value), *getattr(broken.value, "__notes__", [])])


def test_an_absent_file_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no stacks\.toml") as absent:
        Stack.load()
    assert str(tmp_path) in str(absent.value)
    with pytest.raises(ConfigError, match="does not exist"):
        Stack.load(path=tmp_path / "other.toml")


def test_a_folder_in_place_of_the_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STACKGRAFT_CONFIG", str(tmp_path))
    with pytest.raises(ConfigError, match=r"cannot be read[\s\S]*Is a directory[\s\S]*STACKGRAFT_CONFIG") as refused:
        Stack.load()
    assert str(tmp_path) in str(refused.value)


def test_no_active_stack_is_an_error_with_both_ways_out(tmp_path: Path) -> None:
    (tmp_path / "stacks.toml").write_text("[stacks.x]")
    with pytest.raises(ConfigError, match="STACKGRAFT_STACK"):
        Stack.load()


def test_components_that_do_not_fit_are_refused_together() -> None:
    class Folder(Component):
        role: ClassVar[str] = "container_registry"
        flavor: ClassVar[str] = "folder"
        provides: ClassVar[frozenset[str]] = frozenset({"folder"})

    class Cloud(Component):
        role: ClassVar[str] = "step_operator"
        flavor: ClassVar[str] = "cloud"
        requires: ClassVar[dict[str, str]] = {"container_registry": "network"}

    stack = Stack("mixed", {"container_registry": Folder(), "step_operator": Cloud()}, "stacks.toml")
    with pytest.raises(IncompatibleStackError, match="needs a container_registry with 'network'"):
        stack.check()
