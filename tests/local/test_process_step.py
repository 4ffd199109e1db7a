"""The process step operator, on real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stackgraft import lifecycle
from stackgraft.job import JobState
from stackgraft.local.oci_layout import OciLayoutRegistry
from stackgraft.local.process_step import ProcessStepOperator
from stackgraft.specs import StepSpec
from stackgraft.testing import QUICK, MemoryJournal, StepOperatorContract, log_text, run


@pytest.fixture
def operator(tmp_path: Path, registry: OciLayoutRegistry) -> ProcessStepOperator:
    return ProcessStepOperator(state=tmp_path / "state", registry=registry.claim(), grace_seconds=0.5)


def python(image: str, code: str, **settings: object) -> StepSpec:
    return StepSpec.model_validate({"step": "test", "image": image, "command": ("python", "-c", code), **settings})


def eventually(holds: Callable[[], bool], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.05)
    return holds()


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class TestProcessStepOperator(StepOperatorContract):
    @pytest.fixture
    def operator(self, tmp_path: Path, registry: OciLayoutRegistry) -> ProcessStepOperator:
        return ProcessStepOperator(state=tmp_path / "state", registry=registry.claim(), grace_seconds=0.5)


def test_a_step_that_ignores_term_is_killed_after_its_grace(operator: ProcessStepOperator, image: str) -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    status = run(operator, python(image, code, timeout_seconds=1))
    assert status.state is JobState.FAILED
    assert status.reason.startswith("timed out after 1 s")


def test_a_step_outlives_the_process_that_submitted_it_and_is_found_again(
    operator: ProcessStepOperator, image: str, tmp_path: Path
) -> None:
    spec = python(image, f"import time; open({str(tmp_path / 'ran')!r}, 'a').write('x'); time.sleep(1); print('done')")
    code = f"""
import os, signal
from stackgraft.local.process_step import ProcessStepOperator
from stackgraft.specs import StepSpec
operator = ProcessStepOperator.model_validate({operator.model_dump(mode="json")!r})
operator.submit(StepSpec.model_validate({spec.model_dump(mode="json")!r}), name="orphan")
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    ticket = lifecycle.start(operator, spec, MemoryJournal("orphan"))
    assert lifecycle.wait(operator, ticket, QUICK).state is JobState.SUCCEEDED
    assert (tmp_path / "ran").read_text() == "x"


def test_a_request_whose_submitter_died_before_starting_it_is_started_by_the_next_poll(operator: ProcessStepOperator, image: str) -> None:
    operator.submit(python(image, "pass"), name="first")
    first, second = (operator.state / "jobs" / name for name in ("first", "second"))
    second.mkdir()
    (second / "request.json").write_text((first / "request.json").read_text())
    assert lifecycle.wait(operator, operator.ticket("second"), QUICK).state is JobState.SUCCEEDED


def test_a_killed_supervisor_takes_its_step_along_and_the_job_has_failed(operator: ProcessStepOperator, image: str, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    code = f"import os, time; open({str(pids)!r}, 'w').write(f'{{os.getppid()}} {{os.getpid()}}'); time.sleep(60)"
    handle = operator.submit(python(image, code), name="orphaned")
    assert eventually(lambda: pids.exists() and len(pids.read_text().split()) == 2)
    supervisor, step = map(int, pids.read_text().split())
    os.kill(supervisor, signal.SIGKILL)
    assert eventually(lambda: not running(step))
    status = operator.poll(handle)
    assert status.state is JobState.FAILED
    assert "killed" in status.reason


def test_what_a_step_leaves_behind_ends_with_it(operator: ProcessStepOperator, image: str, tmp_path: Path) -> None:
    left = tmp_path / "left"
    code = f"import subprocess; open({str(left)!r}, 'w').write(str(subprocess.Popen(['sleep', '60']).pid))"
    assert run(operator, python(image, code)).state is JobState.SUCCEEDED
    assert eventually(lambda: not running(int(left.read_text())))


def test_a_program_that_does_not_exist_fails_and_is_named(operator: ProcessStepOperator, image: str) -> None:
    status = run(operator, StepSpec(step="absent", image=image, command=("no-such-program",)))
    assert status.state is JobState.FAILED
    assert "no-such-program" in status.reason


def test_this_environments_packages_are_not_the_images(operator: ProcessStepOperator, image: str) -> None:
    ticket = lifecycle.start(operator, python(image, "import pydantic"), MemoryJournal())
    assert lifecycle.wait(operator, ticket, QUICK).state is JobState.FAILED
    assert "No module named 'pydantic'" in log_text(operator, ticket.handle)


def test_the_environment_is_the_images_not_the_workers(operator: ProcessStepOperator, image: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKER_SECRET", "made up")
    ticket = lifecycle.start(operator, python(image, "import os; print(sorted(os.environ), os.getcwd())"), MemoryJournal())
    assert lifecycle.wait(operator, ticket, QUICK).state is JobState.SUCCEEDED
    assert "WORKER_SECRET" not in log_text(operator, ticket.handle)
    assert log_text(operator, ticket.handle).endswith("/app")
