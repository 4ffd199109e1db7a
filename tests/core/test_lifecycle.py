"""The lifecycle, on scripted jobs and on the bare generator."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from stackgraft import lifecycle
from stackgraft.errors import BackendError, JobCancelledError, JobFailedError, JobTimedOutError
from stackgraft.job import JobState, JobStatus, Ticket
from stackgraft.lifecycle import Pace, watch
from stackgraft.specs import StepSpec
from stackgraft.testing import QUICK, MemoryJournal, ScriptedLauncher

SPEC = StepSpec(step="Train the model", image="app@sha256:" + "0" * 64, command=("train",))
PENDING, DONE = JobStatus(state=JobState.PENDING), JobStatus(state=JobState.SUCCEEDED)
TRANSIENT = BackendError("throttled", transient=True)


@pytest.fixture
def scripted(tmp_path: Path) -> Callable[..., ScriptedLauncher]:
    return lambda *script, **fields: ScriptedLauncher(folder=tmp_path, script=script, **fields)


def test_the_name_is_journalled_before_the_job_exists(scripted: Callable[..., ScriptedLauncher]) -> None:
    launcher = scripted("RUNNING")

    class Crash(MemoryJournal):
        def save(self, name: str) -> None:
            super().save(name)
            assert launcher.calls("started") == []
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lifecycle.start(launcher, SPEC, Crash())


def test_a_retry_finds_the_job_that_its_journal_names(scripted: Callable[..., ScriptedLauncher]) -> None:
    launcher, journal = scripted("RUNNING", "RUNNING", "SUCCEEDED"), MemoryJournal()
    tickets = [lifecycle.start(launcher, SPEC, journal) for _ in range(2)]
    assert tickets[0] == tickets[1]
    assert len(launcher.calls("started")) == 1


def test_a_crash_between_journal_and_submit_starts_the_journalled_name(scripted: Callable[..., ScriptedLauncher]) -> None:
    launcher = scripted("RUNNING")
    assert lifecycle.start(launcher, SPEC, MemoryJournal("named-before")).handle == "named-before"
    assert launcher.calls("started") == ["named-before"]


@pytest.mark.parametrize("end", ["FAILED", "CANCELLED"])
def test_a_recalled_job_that_failed_is_replaced_under_a_new_name(scripted: Callable[..., ScriptedLauncher], end: str) -> None:
    launcher, journal = scripted(end), MemoryJournal("old")
    ticket = lifecycle.start(launcher, SPEC, journal)
    assert ticket.handle == journal.name != "old"
    assert launcher.calls("started") == ["old", ticket.handle]


def test_a_recalled_job_that_cannot_be_asked_about_is_kept(scripted: Callable[..., ScriptedLauncher]) -> None:
    launcher = scripted("ERROR", "RUNNING", "SUCCEEDED")
    assert lifecycle.start(launcher, SPEC, MemoryJournal("old")).handle == "old"
    assert launcher.calls("started") == ["old"]


def test_a_recalled_job_that_succeeded_is_not_run_again(scripted: Callable[..., ScriptedLauncher]) -> None:
    launcher, journal = scripted("SUCCEEDED"), MemoryJournal()
    first = lifecycle.start(launcher, SPEC, journal)
    lifecycle.settle(lifecycle.wait(launcher, first, QUICK), first, journal)
    assert lifecycle.start(launcher, SPEC, journal) == first
    assert len(launcher.calls("started")) == 1


def test_a_failure_clears_the_journal_and_says_why(scripted: Callable[..., ScriptedLauncher]) -> None:
    launcher, journal = scripted("RUNNING", "FAILED", reason="exit code 3"), MemoryJournal()
    ticket = lifecycle.start(launcher, SPEC, journal)
    with pytest.raises(JobFailedError, match="exit code 3") as failed:
        lifecycle.settle(lifecycle.wait(launcher, ticket, QUICK), ticket, journal)
    assert journal.name is None
    assert failed.value.ticket == ticket


def test_a_job_past_its_deadline_is_stopped(scripted: Callable[..., ScriptedLauncher]) -> None:
    launcher = scripted("RUNNING")
    ticket = lifecycle.start(launcher, SPEC, MemoryJournal())
    with pytest.raises(JobTimedOutError, match=r"within 0\.1 seconds") as late:
        lifecycle.wait(launcher, ticket, Pace(first=0.01, deadline=0.1))
    assert late.value.ticket == ticket
    assert launcher.calls("cancelled") == [ticket.handle]


def test_a_script_runs_a_job_to_its_end_without_an_engine(scripted: Callable[..., ScriptedLauncher]) -> None:
    launcher, journal = scripted("RUNNING", "SUCCEEDED", output="done"), MemoryJournal()
    assert lifecycle.run(launcher, SPEC, journal=journal).unwrap() == "done"
    assert launcher.calls("started") == [journal.name]
    with pytest.raises(JobTimedOutError):
        lifecycle.run(scripted("RUNNING"), SPEC, pace=Pace(first=0.01, deadline=0.1))


async def test_the_async_driver_obeys_the_same_policy(scripted: Callable[..., ScriptedLauncher]) -> None:
    launcher = scripted("PENDING", "ERROR", "RUNNING", "SUCCEEDED")
    ticket = lifecycle.start(launcher, SPEC, MemoryJournal())
    seen: list[int] = []
    status = await lifecycle.wait_async(launcher, ticket, QUICK, observe=lambda: seen.append(1))
    assert status.state is JobState.SUCCEEDED
    assert len(seen) == 4


async def test_the_async_driver_stops_a_late_job_too(scripted: Callable[..., ScriptedLauncher]) -> None:
    launcher = scripted("RUNNING")
    ticket = lifecycle.start(launcher, SPEC, MemoryJournal())
    with pytest.raises(JobTimedOutError):
        await lifecycle.wait_async(launcher, ticket, Pace(first=0.01, deadline=0.1))
    assert launcher.calls("cancelled") == [ticket.handle]


def test_the_first_question_is_asked_at_once_and_delays_grow_to_their_limit() -> None:
    watching = watch(Pace(first=1, factor=2, longest=5, jitter=0))
    delays = [next(watching)] + [watching.send(PENDING) for _ in range(5)]
    assert delays == [0, 1, 2, 4, 5, 5]


def test_jitter_spreads_delays_within_its_share() -> None:
    delays = {next(Pace(first=10, jitter=0.2).delays()) for _ in range(100)}
    assert len(delays) > 50
    assert 8 <= min(delays) <= max(delays) <= 12


def test_transient_errors_in_a_row_are_borne_up_to_the_tolerance() -> None:
    watching = watch(Pace(tolerance=2))
    next(watching)
    for answer in (TRANSIENT, TRANSIENT, PENDING, TRANSIENT, TRANSIENT):
        watching.send(answer)
    with pytest.raises(BackendError, match="throttled"):
        watching.send(TRANSIENT)


def test_a_refusal_is_not_borne_at_all() -> None:
    watching = watch(Pace())
    next(watching)
    with pytest.raises(BackendError, match="denied"):
        watching.send(BackendError("access denied"))


def test_the_last_delay_ends_at_the_deadline() -> None:
    clock = iter([0.0, 7.0])
    watching = watch(Pace(first=60, jitter=0, deadline=10), now=lambda: next(clock))
    next(watching)
    assert watching.send(PENDING) == 3


def test_a_final_status_ends_the_watch_and_is_its_result() -> None:
    watching = watch(Pace())
    next(watching)
    with pytest.raises(StopIteration) as ended:
        watching.send(DONE)
    assert ended.value.value is DONE


def test_job_names_are_short_lower_case_and_never_repeat() -> None:
    names = {lifecycle.fresh_name(SPEC) for _ in range(100)}
    assert len(names) == 100
    assert all(name.startswith("train-the-model-") and len(name) <= 63 for name in names)


def test_a_ticket_names_its_component_in_any_process(scripted: Callable[..., ScriptedLauncher]) -> None:
    launcher = scripted("SUCCEEDED")
    ticket = Ticket.from_json(lifecycle.start(launcher, SPEC, MemoryJournal()).to_json())
    assert lifecycle.launcher_of(ticket) == launcher


def test_statuses_unwrap_to_their_output_or_their_error() -> None:
    assert JobStatus(state=JobState.SUCCEEDED, output={"a": 1}).unwrap() == {"a": 1}
    with pytest.raises(JobCancelledError):
        JobStatus(state=JobState.CANCELLED).unwrap()
    with pytest.raises(ValueError, match="RUNNING"):
        JobStatus(state=JobState.RUNNING).unwrap()


def test_statuses_survive_json() -> None:
    status = JobStatus(state=JobState.FAILED, reason="why", url="http://x", output=None)
    assert JobStatus.from_json(status.to_json()) == status
