"""The blocks: their forms, their way to the server and back, and what they cost."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from prefect.blocks.core import Block
from prefect.testing.standard_test_suites import BlockStandardTestSuite

import stackgraft_prefect
from stackgraft import flavors
from stackgraft.errors import IncompatibleStackError, SpecError
from stackgraft_prefect.blocks import COMPONENT_BLOCKS, FLAVORS, ComponentBlock, StackBlock, component_block

OciImageBuilder, OciLayoutRegistry = COMPONENT_BLOCKS["OciImageBuilder"], COMPONENT_BLOCKS["OciLayoutRegistry"]
ProcessDeployer, ProcessStepOperator = COMPONENT_BLOCKS["ProcessDeployer"], COMPONENT_BLOCKS["ProcessStepOperator"]
LocalArtifactStore, Stack = COMPONENT_BLOCKS["LocalArtifactStore"], stackgraft_prefect.Stack
ALL = [*COMPONENT_BLOCKS.values(), Stack]


@pytest.mark.parametrize("block", ALL)
class TestEveryBlockMeetsPrefectsStandard(BlockStandardTestSuite):
    @pytest.fixture
    def block(self, request: pytest.FixtureRequest) -> type[Block]:
        return request.param

    def test_has_a_valid_image(self, block: type[Block]) -> None:
        """Replaces the suite's test, which downloads the logo."""
        assert str(block._logo_url).startswith("https://")
        assert str(block._logo_url).endswith(".png")


@pytest.mark.parametrize("block", ALL)
def test_a_block_type_is_named_for_people_and_for_good(block: type[Block]) -> None:
    assert block.get_block_type_slug().startswith("stackgraft-")
    assert [one.get_block_type_slug() for one in ALL].count(block.get_block_type_slug()) == 1
    assert "title" not in block.model_config


@pytest.mark.parametrize("name", FLAVORS)
def test_a_component_block_has_the_flavors_own_fields(name: str) -> None:
    block = COMPONENT_BLOCKS[name]
    assert set(block.model_fields) == set(block.component.model_fields) - {"registry"}
    assert block.component is flavors.load(*FLAVORS[name])


def test_a_misspelt_field_is_refused_and_the_nearest_is_named() -> None:
    with pytest.raises(SpecError, match="did you mean 'state'"):
        ProcessDeployer(stat="/srv")


def test_a_flavor_that_is_registered_elsewhere_gets_its_block_in_one_line() -> None:
    block = component_block("step_operator", "scripted", "ScriptedSteps")
    assert issubclass(block, ComponentBlock)
    assert block(folder="/srv/jobs").to_claim() == {"flavor": "scripted", "folder": "/srv/jobs"}


def full_stack(folder: Path) -> StackBlock:
    return Stack(
        image_builder=OciImageBuilder(cache=folder / "layers"),
        container_registry=OciLayoutRegistry(path=folder / "registry"),
        deployer=ProcessDeployer(state=folder / "process", owner="serving"),
        artifact_store=LocalArtifactStore(path=folder / "artifacts"),
        step_operator=ProcessStepOperator(state=folder / "process", grace_seconds=3),
        owner="research",
    )


def test_a_stack_block_gives_the_stack_with_its_components_linked(tmp_path: Path) -> None:
    stack = full_stack(tmp_path).to_stack()
    assert stack.components["deployer"].owner == "serving"
    assert stack.components["step_operator"].owner == "research"
    assert stack.components["step_operator"].container_registry() == stack.container_registry


def test_a_stack_block_may_leave_roles_empty(tmp_path: Path) -> None:
    stack = Stack(container_registry=OciLayoutRegistry(path=tmp_path)).to_stack()
    with pytest.raises(IncompatibleStackError, match="has no deployer"):
        stack.component("deployer")


@pytest.mark.engine
def test_a_saved_stack_block_comes_back_as_the_same_stack(server: Any, tmp_path: Path) -> None:
    saved = full_stack(tmp_path)
    saved.save("local", overwrite=True, _sync=True)
    loaded = Stack.load("local", _sync=True)
    assert loaded.to_stack().components == saved.to_stack().components
    assert loaded.to_stack().name == "local"
    assert server.folder.is_dir()


@pytest.mark.engine
def test_saving_a_stack_block_costs_little(server: Any, tmp_path: Path) -> None:
    saved = full_stack(tmp_path)
    before = time.process_time()
    saved.save("thrifty", overwrite=True, _sync=True)
    assert time.process_time() - before < 2, "Prefect's own way takes 10 s; ours less than 1 s"
    assert server.folder.is_dir()


@pytest.mark.engine
def test_the_command_line_registers_every_block(server: Any) -> None:
    with server.process("-m", "prefect", "block", "register", "-m", "stackgraft_prefect") as register:
        assert register.wait(timeout=90) == 0
    with server.client() as client:
        registered = {one["slug"] for one in client.request("POST", "/block_types/filter", json={}).json()}
    assert {block.get_block_type_slug() for block in ALL} <= registered


def test_importing_the_package_loads_no_cloud_sdk_and_no_test_runner() -> None:
    heavy = "boto3 botocore docker pytest"  # Prefect itself loads pandas, and so numpy, wherever it is installed
    code = f"import sys, stackgraft_prefect; print(*[name for name in '{heavy}'.split() if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split() == []


def test_importing_the_package_leaves_out_the_blocks_of_flavors_that_are_not_installed() -> None:
    code = """
import sys
sys.modules["stackgraft.local.process_deployer"] = None
import stackgraft_prefect
print("ProcessDeployer" in dir(stackgraft_prefect), "OciImageBuilder" in dir(stackgraft_prefect), "deployer" in stackgraft_prefect.Stack.model_fields)
"""
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split() == [
        "False",
        "True",
        "True",
    ]
