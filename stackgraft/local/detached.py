"""Supervisors that outlive whoever started them: one for each folder, found again by its lock.

A supervisor is ``python -m MODULE FOLDER``. It holds the folder's lock for as long as it lives, so that any process can tell
a living one from one that was killed, whatever became of its process id. Little is imported here: a supervisor starts in a
moment.
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

from stackgraft.errors import BackendError

_LOCK, _GROUP = "lock", "group"
_MARK = "STACKGRAFT_SUPERVISED"
"""The variable that says which folder's process a process is, or comes from."""
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


class StartError(Exception):
    """A process cannot be started."""


def supervise(module: str, folder: Path) -> None:
    """Make sure that a supervisor lives for the folder; once this returns it holds the lock, or has already ended.

    Raises:
        BackendError: It cannot start.
    """
    path = folder / "supervisor.log"
    with path.open("ab") as log:
        command = [sys.executable, "-m", module, str(folder)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", check=False, start_new_session=True)
    if done.returncode and folder.is_dir():  # else it has just been removed
        raise BackendError("A supervisor cannot start", where=str(path), why=f"{ending(done.returncode)}: {last_line(path)}")


def detach(folder: Path) -> IO[str] | None:
    """Become the folder's supervisor in a process of its own; None where there is one already.

    The lock is taken before the fork, and shared by it: the starter returns only when the folder is held.
    """
    lock = (folder / _LOCK).open("w")
    if not _taken(lock):
        return None
    if os.fork():
        os._exit(0)
    return lock


def _taken(lock: IO[str]) -> bool:
    """Take the lock; who only looks whether a supervisor lives holds it for a moment, which is waited out."""
    for _ in range(50):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.01)
        else:
            return True
    return False


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


def write_json(path: Path, document: Any, *, mode: int = 0o644) -> None:
    """Write a document in one step: readers see the old one or the new one."""
    draft = path.with_name(f".{path.name}-{os.getpid()}")
    draft.touch(mode)
    draft.write_text(json.dumps(document))
    draft.replace(path)


def read_json(path: Path) -> Any:
    """Return a document, or None where there is none."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None


def spawn(argv: Sequence[str], env: Mapping[str, str], cwd: str, log: Path) -> subprocess.Popen[bytes]:
    """Start a process in a group of its own, which is noted beside the log.

    The kernel kills the process when the *thread* that started it ends: only a supervisor's main thread may call this.

    Raises:
        StartError: There is no such program or folder, or they cannot be used.
    """
    group, marked = os.fspath(log.with_name(_GROUP)), {**env, _MARK: str(log.parent)}
    try:
        with log.open("ab") as output:
            options: dict[str, Any] = {
                "stdin": subprocess.DEVNULL,
                "stdout": output,
                "stderr": subprocess.STDOUT,
                "start_new_session": True,
            }
            # What runs before the program takes no lock, so that a fork beside the host's other threads cannot hang it.
            return subprocess.Popen(argv, env=marked, cwd=cwd, preexec_fn=lambda: _enter(group), **options)  # noqa: PLW1509
    except (OSError, ValueError, subprocess.SubprocessError) as refused:
        raise StartError(f"{argv[0]} cannot be started: {getattr(refused, 'strerror', None) or refused}") from refused


def _enter(group: str) -> None:
    """Bind the process to its supervisor's life, and note its group before it can start others."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    file = os.open(group, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.write(file, str(os.getpid()).encode())
    os.close(file)


def sweep(folder: Path) -> None:
    """Kill what is left of the folder's last group, for example after its supervisor was killed.

    The kernel kills only the process that the supervisor had started, not what that one started. The group's id may have
    been given to others since: it is ours only while it has a process that carries the folder's mark.
    """
    noted = folder / _GROUP
    group = noted.read_text() if noted.exists() else ""
    if group and any(_marked(process, int(group), folder) for process in Path("/proc").iterdir() if process.name.isdecimal()):
        _kill(int(group), signal.SIGKILL)
    noted.unlink(missing_ok=True)


def _marked(process: Path, group: int, folder: Path) -> bool:
    try:
        return os.getpgid(int(process.name)) == group and os.fsencode(f"{_MARK}={folder}") in (process / "environ").read_bytes().split(
            b"\0"
        )
    except OSError:
        return False  # it has ended, or is somebody else's


def stop(process: subprocess.Popen[bytes], grace: float) -> None:
    """End a process and its group: TERM, and KILL for what is left after `grace` seconds."""
    _kill(process.pid, signal.SIGTERM)
    try:
        process.wait(grace)
    except subprocess.TimeoutExpired:
        """It gets no more time."""
    _kill(process.pid, signal.SIGKILL)
    process.wait()


def _kill(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
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
