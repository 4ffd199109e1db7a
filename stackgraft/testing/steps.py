"""The contract of step operators."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from stackgraft import lifecycle
from stackgraft.components import Component
from stackgraft.errors import JobFailedError, SpecError
from stackgraft.job import JobState, MemoryJournal, Ticket
from stackgraft.outcomes import FinishedStep
from stackgraft.specs import StepSpec
from stackgraft.testing.component import ComponentContract
from stackgraft.testing.scripted import QUICK, log_text, run


class StepOperatorContract(ComponentContract):
    """What a step operator does. Fixtures: `operator`, and `image`, which has a Python and the file ``/app/here.txt``."""

    @pytest.fixture
    def component(self, operator: Component) -> Component:
        return operator

    def step(self, image: str, code: str, **settings: Any) -> StepSpec:
        """Return a step that runs Python code."""
        return StepSpec(step="contract", image=image, command=("python", "-c", code), **settings)

    def test_a_step_gives_its_job_name_and_its_lines(self, operator: Any, image: str) -> None:
        ticket = lifecycle.start(operator, self.step(image, "import os; print('job', os.environ['STACKGRAFT_JOB'])"), MemoryJournal())
        finished = FinishedStep.model_validate(lifecycle.wait(operator, ticket, QUICK).unwrap())
        assert finished.exit_code == 0
        assert finished.image == image
        assert f"job {finished.job}" in log_text(operator, ticket.handle)

    def test_a_failing_step_says_its_exit_code(self, operator: Any, image: str) -> None:
        status = run(operator, self.step(image, "import sys; print('so long'); sys.exit(3)"))
        assert status.state is JobState.FAILED
        assert "3" in status.reason

    def test_one_name_is_one_job(self, operator: Any, image: str) -> None:
        spec = self.step(image, "print('ran')")
        handles = [operator.submit(spec, name="only-one") for _ in range(3)]
        assert lifecycle.wait(operator, operator.ticket(handles[0]), QUICK).state is JobState.SUCCEEDED
        handles.append(operator.submit(spec, name="only-one"))
        assert len(set(handles)) == 1
        assert log_text(operator, handles[0]).count("ran") == 1

    def test_a_cancelled_step_stops_and_may_be_cancelled_again(self, operator: Any, image: str) -> None:
        handle = operator.submit(self.step(image, "import time; time.sleep(60)"), name="stop-me")
        operator.cancel(handle)
        operator.cancel(handle)
        assert lifecycle.wait(operator, operator.ticket(handle), QUICK).state is JobState.CANCELLED

    def test_a_finished_step_stays_as_it_is_when_cancelled(self, operator: Any, image: str) -> None:
        ticket = lifecycle.start(operator, self.step(image, "pass"), MemoryJournal())
        done = lifecycle.wait(operator, ticket, QUICK)
        operator.cancel(ticket.handle)
        assert operator.poll(ticket.handle) == done

    def test_environment_and_working_directory_arrive(self, operator: Any, image: str) -> None:
        code = "import os; print(os.environ['GREETING'], open('here.txt').read().strip())"
        ticket = lifecycle.start(operator, self.step(image, code, env={"GREETING": "hej då"}, workdir="/app"), MemoryJournal())
        assert lifecycle.wait(operator, ticket, QUICK).state is JobState.SUCCEEDED
        assert "hej då here" in log_text(operator, ticket.handle)

    def test_a_step_past_its_timeout_fails_and_says_so(self, operator: Any, image: str) -> None:
        status = run(operator, self.step(image, "import time; time.sleep(60)", timeout_seconds=0.5))
        assert status.state is JobState.FAILED
        assert "timed out" in status.reason

    def test_another_process_reads_the_job_by_its_ticket(self, operator: Any, image: str) -> None:
        ticket = lifecycle.start(operator, self.step(image, "pass"), MemoryJournal())
        claimed = Ticket.from_json(json.loads(json.dumps(ticket.to_json())))
        assert lifecycle.wait(lifecycle.launcher_of(claimed), claimed, QUICK).state is JobState.SUCCEEDED

    def test_many_jobs_are_polled_at_once(self, operator: Any, image: str) -> None:
        handles = [operator.submit(self.step(image, "pass"), name=f"many-{index}") for index in range(2)]
        for handle in handles:
            lifecycle.wait(operator, operator.ticket(handle), QUICK)
        assert {status.state for status in operator.poll_many(handles).values()} == {JobState.SUCCEEDED}

    def test_a_log_read_by_cursor_neither_repeats_nor_drops_a_line(self, operator: Any, image: str) -> None:
        code = "import time\nfor i in range(20): print('line', i, flush=True); time.sleep(0.02)"
        handle = operator.submit(self.step(image, code), name="chatty")
        texts: list[str] = []
        cursor: str | None = None
        for delay in (0.1, 0.1, 0.1, 0.0):
            time.sleep(delay)
            if not delay:
                lifecycle.wait(operator, operator.ticket(handle), QUICK)
            lines, cursor = operator.logs(handle, cursor)
            texts += [line.text for line in lines]
        assert [text for text in texts if text.startswith("line")] == [f"line {index}" for index in range(20)]

    def test_a_retry_after_a_failure_is_a_new_job(self, operator: Any, image: str) -> None:
        journal, spec = MemoryJournal(), self.step(image, "import sys; sys.exit(1)")
        first = lifecycle.start(operator, spec, journal)
        with pytest.raises(JobFailedError):
            lifecycle.settle(lifecycle.wait(operator, first, QUICK), first, journal)
        assert lifecycle.start(operator, spec, journal).handle != first.handle

    def test_a_step_for_another_python_is_refused_before_it_starts(self, operator: Any, image: str) -> None:
        with pytest.raises(SpecError, match=r"3\.99"):
            operator.submit(self.step(image, "pass", python="3.99"), name="other-python")
