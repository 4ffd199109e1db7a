"""The configuration document of an image, as a value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stackgraft.local.image_config import image_config
from stackgraft.specs import BuildSpec

BASE = {"Entrypoint": ["base"], "Cmd": ["run"], "Env": ["PATH=/usr/bin", "PYTHONPATH=/base", "ODD"], "User": "1000", "Labels": {"a": "1"}}


def config(inherited: dict[str, Any], **settings: Any) -> dict[str, Any]:
    spec = BuildSpec.model_validate({"repository": "app", "context": Path(__file__).parent, "python": "3.11", **settings})
    document = image_config(spec, inherited, ["sha256:0"], provenance={"git": "a1b2", "team": "git's"}, key="sg-1-0")
    assert document["rootfs"] == {"type": "layers", "diff_ids": ["sha256:0"]}
    return dict(document["config"])


def test_an_image_from_nothing_says_where_its_code_and_packages_lie() -> None:
    made = config({}, workdir="/srv")
    assert made["Env"] == ["PYTHONPATH=/srv:/opt/site-packages:/opt/stackgraft"]
    assert made["WorkingDir"] == "/srv"
    assert not {"Entrypoint", "Cmd"} & set(made)


@pytest.mark.parametrize(
    ("settings", "entrypoint", "command"),
    [
        ({}, ["base"], ["run"]),
        ({"command": ("other",)}, ["base"], ["other"]),
        ({"entrypoint": ("mine",)}, ["mine"], []),
        ({"entrypoint": ("mine",), "command": ("other",)}, ["mine"], ["other"]),
    ],
)
def test_an_entry_point_voids_the_bases_command_and_a_command_keeps_its_entry_point(
    settings: dict[str, Any], entrypoint: list[str], command: list[str]
) -> None:
    made = config(BASE, **settings)
    assert (made["Entrypoint"], made["Cmd"]) == (entrypoint, command)


def test_what_the_base_says_stays_unless_the_spec_says_otherwise() -> None:
    made = config(BASE, env={"PYTHONPATH": "/mine", "A": "b=c"})
    assert made["Env"] == ["A=b=c", "ODD=", "PATH=/usr/bin", "PYTHONPATH=/mine"]
    assert made["User"] == "1000"
    assert made["Labels"]["a"] == "1"


def test_nulls_of_a_base_mean_nothing() -> None:
    assert config(dict.fromkeys(BASE)) == config({})


def test_the_users_labels_win_over_gits_but_not_over_what_components_trust() -> None:
    labels = config({}, labels={"team": "mine", "org.stackgraft.python": "2.7"})["Labels"]
    assert labels == {"git": "a1b2", "team": "mine", "org.stackgraft.python": "3.11", "org.stackgraft.key": "sg-1-0"}
