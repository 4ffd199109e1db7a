"""Supervisors that outlive whoever started them: one for each folder, found again by its lock.

A supervisor is ``python -m MODULE FOLDER``. It holds the folder's lock for as long as it lives, so that any process can tell
a living one from one that was killed, whatever became of its process id. Only the standard library is imported here: a
supervisor starts in a moment.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

_LOCK = "lock"
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


def supervise(module: str, folder: Path) -> None:
    """Make sure that a supervisor lives for the folder; once this returns it holds the lock, or has already ended."""
    with (folder / "supervisor.log").open("ab") as log:
        command = [sys.executable, "-m", module, str(folder)]
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", check=True, start_new_session=True)


def detach(folder: Path) -> IO[str] | None:
    """Become the folder's supervisor in a process of its own; None where there is one already.

    The lock is taken before the fork, and shared by it: the starter returns only when the folder is held.
    """
    lock = (folder / _LOCK).open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    if os.fork():
        os._exit(0)
    return lock


def alive(folder: Path) -> bool:
    """Tell whether a supervisor lives for the folder."""
    try:
        with (folder / _LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def write_json(path: Path, document: Any) -> None:
    """Write a document in one step: readers see the old one or the new one."""
    draft = path.with_name(f".{path.name}-{os.getpid()}")
    draft.write_text(json.dumps(document))
    draft.replace(path)


def read_json(path: Path) -> Any:
    """Return a document, or None where there is none."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None


def spawn(argv: Sequence[str], env: Mapping[str, str], cwd: str, log: Path) -> subprocess.Popen[bytes]:
    """Start a process in a group of its own, which the kernel kills if its supervisor dies."""
    with log.open("ab") as output:
        options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": subprocess.STDOUT, "start_new_session": True}
        return subprocess.Popen(argv, env=env, cwd=cwd, preexec_fn=_die_with_parent, **options)  # noqa: PLW1509 - no threads here


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def stop(process: subprocess.Popen[bytes], grace: float) -> None:
    """End a process and its group: TERM, and KILL for what is left after `grace` seconds."""
    _signal(process, signal.SIGTERM)
    try:
        process.wait(grace)
    except subprocess.TimeoutExpired:
        """It gets no more time."""
    _signal(process, signal.SIGKILL)
    process.wait()


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        """The whole group has gone."""


def wait_for(process: subprocess.Popen[bytes], until: Callable[[], str | None], *, every: float = 0.05) -> str | None:
    """Wait until the process ends (None), or `until` gives a reason to stop it."""
    while process.poll() is None:
        if reason := until():
            return reason
        time.sleep(every)
    return None


def ending(returncode: int) -> str:
    """Say how a process ended."""
    return f"exit code {returncode}" if returncode >= 0 else f"killed by {signal.Signals(-returncode).name}"


def last_line(log: Path) -> str:
    """Return the last line that a process printed, for a reason."""
    lines = log.read_bytes()[-4096:].decode(errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1].strip() if lines else ""


def read_lines(log: Path, cursor: str | None, *, ended: bool) -> tuple[list[str], str]:
    """Return the whole lines since the cursor, a byte offset, and the next cursor; a last half line only once it ended."""
    offset = int(cursor or 0)
    content = b""
    if log.exists():
        with log.open("rb") as file:
            file.seek(offset)
            content = file.read()
    whole = content if ended else content[: content.rfind(b"\n") + 1]
    return whole.decode(errors="replace").splitlines(), str(offset + len(whole))
