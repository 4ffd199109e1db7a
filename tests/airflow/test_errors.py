"""What errors mean to Airflow: which of them burn retries, and how they come back from the triggerer."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

import pytest
from airflow.sdk.exceptions import AirflowFailException

from stackgraft.errors import (
    ArtifactError,
    ArtifactNotFoundError,
    BackendError,
    ConfigError,
    StackError,
    UnknownFlavorError,
    UntrustedArtifactError,
)
from stackgraft.lifecycle import Pace
from stackgraft_airflow.remote import retries_spared
from stackgraft_airflow.triggers import JobTrigger, status_in


@pytest.mark.parametrize("error", [ConfigError("x"), UntrustedArtifactError("x"), ArtifactError("no serializer")])
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
