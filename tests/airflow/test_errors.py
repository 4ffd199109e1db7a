"""What errors, interruptions and events of other tries mean to a task."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowTaskTimeout, TaskDeferred

from stackgraft.errors import (
    ArtifactNotFoundError,
    BackendError,
    ConfigError,
    StackError,
    UnknownFlavorError,
    UnserializableError,
    UntrustedArtifactError,
)
from stackgraft.lifecycle import Pace
from stackgraft.specs import Spec, StepSpec
from stackgraft.testing import ScriptedLauncher
from stackgraft_airflow.journal import KEY, TryStore
from stackgraft_airflow.operators import RunStepOperator
from stackgraft_airflow.remote import RemoteJob, retries_spared
from stackgraft_airflow.triggers import JobTrigger, status_in

SPEC = StepSpec(step="train", image=f"app@sha256:{'0' * 64}", command=("true",))


@pytest.mark.parametrize("error", [ConfigError("x"), UntrustedArtifactError("x"), UnserializableError("no serializer")])
def test_what_a_retry_cannot_mend_fails_the_task_at_once(error: StackError) -> None:
    with pytest.raises(AirflowFailException, match=error.what), retries_spared():
        raise error


@pytest.mark.parametrize("error", [BackendError("x"), ArtifactNotFoundError("x")])
def test_what_a_retry_may_mend_is_left_to_the_retries(error: StackError) -> None:
    with pytest.raises(type(error)), retries_spared():
        raise error


def test_an_error_in_the_triggerer_keeps_its_kind_on_its_way_to_the_task() -> None:
    ticket = {"role": "step_operator", "flavor": "absent", "config": {}, "handle": "job-1"}
    trigger = JobTrigger(ticket, asdict(Pace()), since=0.0, kept={})
    event = asyncio.run(anext(trigger.run()))
    with pytest.raises(UnknownFlavorError, match="absent"):
        status_in(event.payload)


class CutShort(ScriptedLauncher):
    """Starts a job, and is interrupted by the task's timeout before it can say so."""

    def submit(self, spec: Spec, *, name: str) -> str:
        """Start the job of that name, or find it."""
        handle = super().submit(spec, name=name)
        if not self.calls("found"):
            raise AirflowTaskTimeout
        return handle


def test_a_job_whose_start_was_cut_short_by_the_tasks_timeout_is_stopped(tmp_path: Path) -> None:
    jobs, store = CutShort(folder=tmp_path, script=("RUNNING",)), TryStore()
    context = {"ti": SimpleNamespace(max_tries=0), "task_state_store": store}
    with pytest.raises(AirflowTaskTimeout):
        RemoteJob.start(jobs, SPEC, context, logging.getLogger(__name__))
    assert jobs.calls("cancelled") == jobs.calls("started") != []
    assert store == {}


def test_an_event_of_another_trys_job_leaves_a_task_waiting_for_its_own(tmp_path: Path) -> None:
    jobs = ScriptedLauncher(folder=tmp_path, script=("RUNNING",))
    old, mine = (jobs.ticket(jobs.submit(SPEC, name=name)).to_json() for name in ("old", "mine"))
    store = TryStore({KEY: {"job": "mine", "clears": 1, "ticket": mine}})
    context: Any = {"ti": SimpleNamespace(max_tries=1), "task_state_store": store}
    event = {"status": {"state": "CANCELLED"}, "ticket": old, "kept": {"cursor": None, "job_url": None}}
    task = RunStepOperator(task_id="work", image=SPEC.image, command=["true"], deferrable=True)
    with pytest.raises(TaskDeferred) as waiting:
        task.execute_complete(context, event)
    assert waiting.value.trigger.ticket.to_json() == mine
