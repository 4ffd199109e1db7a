"""The tasks, inside of real flow runs, over the scripted step operator."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect import Task, flow, task, unmapped
from prefect.exceptions import CancelledRun
from prefect.states import Failed

import stackgraft_prefect
from stackgraft.errors import (
    ArtifactNotFoundError,
    BackendError,
    ConfigError,
    JobCancelledError,
    JobFailedError,
    SpecError,
    UnserializableError,
    UntrustedArtifactError,
)
from stackgraft.job import JobState, JobStatus
from stackgraft.outcomes import BuiltImage, FinishedStep
from stackgraft.specs import Spec
from stackgraft.stack import Stack
from stackgraft.testing import ScriptedLauncher
from stackgraft_prefect import run_step, run_step_async

DIGEST = f"sha256:{'0' * 64}"
IMAGE = BuiltImage(reference=f"demo/app@{DIGEST}", digest=DIGEST, key="sg-1-0", reused=True)
ROLES = ("build_image", "run_step", "deploy_service", "remove_service")


@pytest.fixture
def jobs(tmp_path: Path) -> ScriptedLauncher:
    return ScriptedLauncher(folder=tmp_path)


@pytest.fixture
def scripted(tmp_path: Path) -> Callable[..., Stack]:
    def make(*script: str, **fields: Any) -> Stack:
        claim = {"flavor": "scripted", "folder": str(tmp_path), "script": script, **fields}
        return Stack.from_config("scripted", {"step_operator": claim})

    return make


@pytest.mark.parametrize("name", [*ROLES, *[f"{role}_async" for role in ROLES]])
def test_every_task_is_a_real_task(name: str) -> None:
    one = getattr(stackgraft_prefect, name)
    assert isinstance(one, Task)
    assert one.isasync == name.endswith("_async")
    assert isinstance(one.with_options(retries=2, tags=["nightly"]), Task)


def test_outside_of_a_flow_a_tasks_function_runs_like_any_other(jobs: ScriptedLauncher, scripted: Callable[..., Stack]) -> None:
    step = run_step.fn("train", IMAGE, ["true"], stack=scripted("RUNNING", "SUCCEEDED"))
    assert [step.job] == jobs.calls("started")


@pytest.mark.engine
def test_a_step_can_be_called_submitted_and_mapped(server: Any, jobs: ScriptedLauncher, scripted: Callable[..., Stack]) -> None:
    stack = scripted("PENDING", "ERROR", "ERROR", "RUNNING", "SUCCEEDED")

    @flow
    def pipeline() -> list[FinishedStep]:
        called = run_step("called", IMAGE, ["true"], stack=stack)
        submitted = run_step.with_options(name="other").submit("submitted", IMAGE.reference, ["true"], stack=stack)
        mapped = run_step.map(["one", "equal", "equal"], unmapped(IMAGE), unmapped(["true"]), stack=unmapped(stack))
        return [called, submitted.result(), *mapped.result()]

    assert sorted(step.job for step in pipeline()) == sorted(jobs.calls("started"))
    assert len(jobs.calls("started")) == 5
    assert server.eventually(lambda: server.artifacts("step-called"), "its table is kept")[0]["type"] == "markdown"


@pytest.mark.engine
def test_async_steps_run_side_by_side(server: Any, jobs: ScriptedLauncher, scripted: Callable[..., Stack]) -> None:
    stack = scripted("RUNNING", "SUCCEEDED")

    @flow
    async def pipeline() -> list[FinishedStep]:
        return await asyncio.gather(*[run_step_async(name, IMAGE, ["true"], stack=stack) for name in ("one", "two")])

    assert sorted(step.job for step in asyncio.run(pipeline())) == sorted(jobs.calls("started"))
    assert server.eventually(lambda: server.artifacts("step-two"), "its table is kept")


@pytest.mark.engine
@pytest.mark.usefixtures("server")
def test_a_failure_says_why_and_shows_the_end_of_the_jobs_log(jobs: ScriptedLauncher, scripted: Callable[..., Stack]) -> None:
    stack = scripted("RUNNING", "FAILED", reason="out of memory")

    @flow
    def pipeline() -> None:
        run_step.with_options(retries=1)("train", IMAGE, ["true"], stack=stack)

    with pytest.raises(JobFailedError, match="out of memory") as failure:
        pipeline()
    assert any(f"poll 2 of {jobs.calls('started')[-1]}" in note for note in failure.value.__notes__)
    assert len(set(jobs.calls("started"))) == 2, "a retry starts afresh"


@pytest.mark.engine
@pytest.mark.usefixtures("server")
def test_a_job_that_was_lost_from_sight_is_found_by_the_retry(jobs: ScriptedLauncher, scripted: Callable[..., Stack]) -> None:
    stack = scripted("RUNNING", *["ERROR"] * 6, "RUNNING", "SUCCEEDED")

    @flow
    def pipeline() -> FinishedStep:
        return run_step.with_options(retries=1)("train", IMAGE, ["true"], stack=stack)

    assert pipeline().job == jobs.calls("started")[0] == jobs.calls("found")[0]
    assert len(jobs.calls("started")) == 1


@pytest.mark.engine
@pytest.mark.usefixtures("server")
def test_wrong_input_burns_no_retries_and_names_the_nearest_field(jobs: ScriptedLauncher, scripted: Callable[..., Stack]) -> None:
    tries = []

    @flow
    def pipeline() -> None:
        patient = run_step.with_options(retries=3, on_running=[lambda *_: tries.append(1)])
        patient("train", IMAGE, ["true"], stack=scripted("SUCCEEDED"), timeout_second=3)

    with pytest.raises(SpecError, match="did you mean 'timeout_seconds'"):
        pipeline()
    assert len(tries) == 1
    assert jobs.calls("started") == []


@pytest.mark.engine
@pytest.mark.usefixtures("server")
def test_a_tasks_own_timeout_stops_the_job(jobs: ScriptedLauncher, scripted: Callable[..., Stack]) -> None:
    @flow
    async def pipeline() -> None:
        await run_step_async.with_options(timeout_seconds=1)("train", IMAGE, ["true"], stack=scripted("RUNNING"))

    with pytest.raises(TimeoutError):
        asyncio.run(pipeline())
    assert jobs.calls("cancelled") == jobs.calls("started")


class SlowToAnswer(ScriptedLauncher):
    """Starts a job at once, but takes seconds to say so."""

    def submit(self, spec: Spec, *, name: str) -> str:
        """Start the job of that name, or find it."""
        handle = super().submit(spec, name=name)
        if not self.calls("found"):
            time.sleep(3)
        return handle


@pytest.mark.engine
@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("step", [run_step, run_step_async])
def test_a_job_whose_start_was_cut_short_is_stopped_all_the_same(step: Task[..., Any], tmp_path: Path) -> None:
    jobs = SlowToAnswer(folder=tmp_path, script=("RUNNING",))
    started = step.with_options(timeout_seconds=1)

    @flow
    def direct() -> None:
        started("train", IMAGE, ["true"], stack=Stack("slow", {"step_operator": jobs}))

    @flow
    async def awaited() -> None:
        await started("train", IMAGE, ["true"], stack=Stack("slow", {"step_operator": jobs}))

    with pytest.raises(TimeoutError):
        asyncio.run(awaited()) if step.isasync else direct()
    assert len(jobs.calls("started")) == 1
    assert jobs.calls("cancelled") == jobs.calls("started")


@pytest.mark.engine
@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("retried", ["task", "flow"])
def test_a_task_that_fails_after_its_job_has_ended_finds_the_job_again(
    jobs: ScriptedLauncher, scripted: Callable[..., Stack], retried: str
) -> None:
    tries: list[str] = []

    @task(retries=int(retried == "task"))
    def trained() -> None:
        tries.append(run_step.fn("train", IMAGE, ["true"], stack=scripted("SUCCEEDED")).job)
        if len(tries) == 1:
            raise OSError("the network is away")

    @flow(retries=int(retried == "flow"))
    def pipeline() -> None:
        trained()

    pipeline()
    assert tries == jobs.calls("started") * 2


@pytest.mark.engine
@pytest.mark.usefixtures("server")
def test_the_jobs_log_lines_are_the_runs(jobs: ScriptedLauncher, scripted: Callable[..., Stack], caplog: pytest.LogCaptureFixture) -> None:
    @flow
    def pipeline() -> None:
        run_step("train", IMAGE, ["true"], stack=scripted("RUNNING", "SUCCEEDED"))

    with caplog.at_level(logging.INFO, logger="prefect.task_runs"):
        pipeline()
    assert f"poll 2 of {jobs.calls('started')[0]}" in [record.getMessage() for record in caplog.records]


@pytest.mark.engine
@pytest.mark.usefixtures("server")
def test_a_step_inside_of_another_task_leaves_no_journal_behind(server: Any, scripted: Callable[..., Stack]) -> None:
    runs = []

    @task
    def outer() -> FinishedStep:
        return run_step("train", IMAGE, ["true"], stack=scripted("SUCCEEDED"))

    @flow(on_completion=[lambda _flow, run, _state: runs.append(run)])
    def pipeline() -> None:
        outer()

    pipeline()
    server.eventually(lambda: server.journals(runs[0]) == [], "the journal is cleared")


STOPPED = JobCancelledError("x", status=JobStatus(state=JobState.CANCELLED))


@pytest.mark.parametrize("error", [ConfigError("x"), CancelledRun("x"), STOPPED, UntrustedArtifactError("x"), UnserializableError("x")])
def test_what_a_retry_cannot_mend_is_not_tried_again(error: Exception) -> None:
    assert stackgraft_prefect.build_image.retry_condition_fn(None, None, Failed(data=error)) is False


@pytest.mark.parametrize("error", [BackendError("x"), ArtifactNotFoundError("x"), ValueError("x")])
def test_what_a_retry_may_mend_is_tried_again(error: Exception) -> None:
    assert stackgraft_prefect.build_image.retry_condition_fn(None, None, Failed(data=error)) is True
