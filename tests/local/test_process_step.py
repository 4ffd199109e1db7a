"""The process step operator, on real processes."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest

from stackgraft import lifecycle
from stackgraft.errors import BackendError, SpecError
from stackgraft.job import JobState
from stackgraft.local import detached
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
    request = operator._request(python(image, "pass"), "unstarted")
    (operator.state / "jobs" / "unstarted" / "request.json").write_text(json.dumps(request))
    assert lifecycle.wait(operator, operator.ticket("unstarted"), QUICK).state is JobState.SUCCEEDED


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


def shell(image: str, line: str, **settings: object) -> StepSpec:
    return StepSpec.model_validate({"step": "test", "image": image, "command": ("sh", "-c", line), **settings})


def killed(operator: ProcessStepOperator, pids: Path, spec: StepSpec) -> tuple[str, list[int]]:
    """Start a step that writes its supervisor's id and others, kill the supervisor, and return the handle and the others."""
    handle = operator.submit(spec, name="orphaned")
    assert eventually(lambda: pids.exists() and pids.read_text().endswith("\n"))
    supervisor, *others = map(int, pids.read_text().split())
    os.kill(supervisor, signal.SIGKILL)
    assert eventually(lambda: not detached.alive(operator.state / "jobs" / handle))
    return handle, others


def test_what_a_step_had_started_ends_before_the_job_of_a_killed_supervisor_is_given_up(
    operator: ProcessStepOperator, image: str, tmp_path: Path
) -> None:
    line = f"sleep 60 & echo $PPID $! > {tmp_path / 'pids'}; wait; true"
    handle, (started,) = killed(operator, tmp_path / "pids", shell(image, line))
    assert running(started)
    assert operator.poll(handle).state is JobState.FAILED
    assert eventually(lambda: not running(started))
    assert not (operator.state / "jobs" / handle / "root").exists()


def test_a_group_whose_id_was_given_to_others_is_left_alone(operator: ProcessStepOperator, image: str, tmp_path: Path) -> None:
    handle, _ = killed(operator, tmp_path / "pids", shell(image, f"echo $PPID > {tmp_path / 'pids'}; exec sleep 60"))
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as stranger:
        try:
            (operator.state / "jobs" / handle / "group").write_text(str(stranger.pid))
            assert operator.poll(handle).state is JobState.FAILED
            assert stranger.poll() is None
        finally:
            stranger.kill()


def test_a_supervisor_starts_though_somebody_is_just_looking_for_one(operator: ProcessStepOperator, image: str) -> None:
    job = operator.state / "jobs" / "looked-at"
    operator.submit(python(image, "pass"), name="first")
    job.mkdir()
    with (job / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)  # as `alive` does
        threading.Timer(0.2, lambda: fcntl.flock(lock, fcntl.LOCK_UN)).start()
        operator.submit(python(image, "pass"), name=job.name)
    assert (job / "started").exists() or detached.alive(job)
    assert lifecycle.wait(operator, operator.ticket(job.name), QUICK).state is JobState.SUCCEEDED


def test_a_supervisor_that_cannot_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="No module named no_such_module") as refused:
        detached.supervise("no_such_module", tmp_path)
    assert "supervisor.log" in str(refused.value)


def test_two_steps_of_an_image_do_not_see_each_others_files(operator: ProcessStepOperator, image: str) -> None:
    code = "print(open('here.txt').read().strip()); open('here.txt', 'a').write('and more'); open('left.txt', 'x')"
    for name in ("first", "second"):
        assert lifecycle.wait(operator, operator.ticket(operator.submit(python(image, code), name=name)), QUICK).state is JobState.SUCCEEDED
        assert log_text(operator, name) == "here"
        assert not (operator.state / "jobs" / name / "root").exists()


def test_the_images_paths_name_the_steps_own_files(operator: ProcessStepOperator, image: str) -> None:
    command = ("sh", "-c", 'echo more >> here.txt; cat "$0" "$FILE"', "/app/here.txt")
    spec = StepSpec(step="test", image=image, command=command, env={"FILE": "/app/here.txt"}, workdir=PurePosixPath("/app"))
    operator.submit(spec, name="own")
    assert lifecycle.wait(operator, operator.ticket("own"), QUICK).state is JobState.SUCCEEDED
    assert log_text(operator, "own").split() == ["here", "more"] * 2


def test_what_a_step_leaves_behind_ends_with_it(operator: ProcessStepOperator, image: str, tmp_path: Path) -> None:
    left = tmp_path / "left"
    code = f"import subprocess; open({str(left)!r}, 'w').write(str(subprocess.Popen(['sleep', '60']).pid))"
    assert run(operator, python(image, code)).state is JobState.SUCCEEDED
    assert eventually(lambda: not running(int(left.read_text())))


def test_a_folder_that_the_image_does_not_have_is_not_this_machines(operator: ProcessStepOperator, image: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no such folder") as refused:
        operator.submit(python(image, "pass", workdir=str(tmp_path)), name="elsewhere")
    assert str(tmp_path) in str(refused.value)
    assert not (operator.state / "jobs").exists()


def test_the_environment_is_for_its_owners_eyes(operator: ProcessStepOperator, image: str) -> None:
    operator.submit(python(image, "pass", env={"TOKEN": "made up"}), name="secretive")
    assert (operator.state / "jobs" / "secretive" / "request.json").stat().st_mode & 0o777 == 0o600


def test_a_command_that_no_system_takes_fails_and_says_so(operator: ProcessStepOperator, image: str) -> None:
    status = run(operator, python(image, "pass\0"))
    assert status.state is JobState.FAILED
    assert "null byte" in status.reason


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
