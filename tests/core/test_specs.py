"""Specs refuse bad input when they are made, and errors keep one shape."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from stackgraft.errors import BackendError, JobFailedError, SpecError, StackError
from stackgraft.job import JobState, JobStatus, Ticket
from stackgraft.outcomes import BuiltImage
from stackgraft.specs import BuildSpec, ServiceSpec, StepSpec, host_platform, host_python

IMAGE = "app@sha256:" + "0" * 64


@pytest.mark.parametrize("image", ["app", "app:latest", "app@sha256:123", "@sha256:" + "0" * 64, "a b@sha256:" + "0" * 64])
def test_an_image_without_a_digest_is_refused(image: str) -> None:
    with pytest.raises(SpecError, match="named by its digest"):
        StepSpec(step="s", image=image, command=("x",))


@pytest.mark.parametrize("as_json", [True, False])
def test_a_built_image_is_taken_by_its_reference(as_json: bool) -> None:
    built = BuiltImage(reference=IMAGE, digest="sha256:" + "0" * 64, key="sg-1-0", reused=False)
    image: Any = built.to_json() if as_json else built
    assert StepSpec(step="s", image=image, command=("x",)).image == IMAGE


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"service": "Web"}, "service"),
        ({"service": "web", "health_path": "health"}, "health_path"),
        ({"service": "web", "health_path": "/hälsa"}, "health_path.*\n.*ASCII"),
        ({"service": "web", "health_path": "/a b"}, "health_path"),
        ({"service": "web", "health_path": "/a\n"}, "health_path"),
        ({"service": "web", "env": {"A=B": "x"}}, "env.*\n.*'A=B'"),
        ({"service": "web", "env": {"": "x"}}, "env"),
        ({"service": "web", "env": {"A\0": "x"}}, "env"),
        ({"service": "web", "env": {"TOKEN": "secret\0"}}, "env.*\n.*'TOKEN'.*NUL"),
        ({"service": "web-app", "start_timeout_seconds": 0}, "start_timeout_seconds"),
        ({"service": "web-app", "helth_path": "/x"}, "did you mean 'health_path'"),
        ({}, "it is required"),
    ],
)
def test_a_wrong_field_is_named_before_anything_starts(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(SpecError, match=says):
        ServiceSpec(image=IMAGE, **fields)


@pytest.mark.parametrize("workdir", ["app", "/app/../etc", ""])
def test_a_step_starts_in_an_absolute_folder(workdir: str) -> None:
    with pytest.raises(SpecError, match="absolute"):
        StepSpec(step="s", image=IMAGE, command=("x",), workdir=workdir)  # type: ignore[arg-type]


def test_a_value_that_no_environment_takes_is_not_shown() -> None:
    with pytest.raises(SpecError) as refused:
        StepSpec(step="s", image=IMAGE, command=("x",), env={"TOKEN": "secret\0"})
    assert "secret" not in str(refused.value)


def test_a_build_needs_a_folder_and_its_requirements(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="context does not exist"):
        BuildSpec(repository="app", context=tmp_path / "absent")
    with pytest.raises(SpecError, match="requirements file does not exist"):
        BuildSpec(repository="app", context=tmp_path, requirements=Path("requirements.txt"))


@pytest.mark.parametrize("repository", ["App", "a//b", "-a", "a b", ""])
def test_a_repository_name_follows_the_distribution_spec(tmp_path: Path, repository: str) -> None:
    with pytest.raises(SpecError, match="repository"):
        BuildSpec(repository=repository, context=tmp_path)


def test_a_build_is_for_this_machine_unless_told_otherwise(tmp_path: Path) -> None:
    spec = BuildSpec(repository="team/app", context=tmp_path)
    assert (spec.python, spec.platform) == (host_python(), host_platform())
    assert host_platform() in {"linux/amd64", "linux/arm64"}


def test_a_message_says_what_where_why_and_next() -> None:
    error = StackError("It broke", where="here", why="because", next_step="mend it")
    assert str(error) == "It broke\n  where: here\n  why: because\n  next: mend it"


def test_errors_survive_pickling_with_what_they_carry() -> None:
    ticket = Ticket(role="deployer", flavor="process", config={}, handle="h")
    failed = JobFailedError("It failed", status=JobStatus(state=JobState.FAILED, reason="exit code 1"), ticket=ticket)
    for error in (failed, BackendError("throttled", transient=True)):
        copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
        assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))
