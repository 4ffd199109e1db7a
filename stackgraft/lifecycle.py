"""One lifecycle for every job on every engine: start or find, watch, settle, stop.

The policy is `watch`, a generator without I/O; `wait` and `wait_async` drive it. A job's name is journalled before
the job exists, so a retry is the same code again: it finds the job instead of starting a second one.
"""

from __future__ import annotations

import asyncio
import random
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Generator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from stackgraft import flavors
from stackgraft.errors import BackendError, JobTimedOutError
from stackgraft.job import JobState, JobStatus, Journal, JsonValue, MemoryJournal, Ticket

if TYPE_CHECKING:
    from stackgraft.components import LauncherComponent
    from stackgraft.specs import Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often to ask, and for how long.

    Attributes:
        first: Seconds before the second question; the first is asked at once.
        factor: How much longer each next delay is.
        longest: The longest delay, in seconds.
        jitter: The share by which a delay varies, so that many watchers do not ask in step.
        deadline: Seconds after which the job is given up and stopped; None waits forever.
        tolerance: How many transient errors in a row are borne.
    """

    first: float = 0.1
    factor: float = 1.5
    longest: float = 15.0
    jitter: float = 0.1
    deadline: float | None = None
    tolerance: int = 5

    def delays(self) -> Iterator[float]:
        """Yield the seconds between questions, without end."""
        delay = self.first
        while True:
            yield delay * random.uniform(1 - self.jitter, 1 + self.jitter)  # noqa: S311 - jitter, not a secret
            delay = min(delay * self.factor, self.longest)


Watch = Generator[float, JobStatus | BackendError, JobStatus]


def watch(pace: Pace, ticket: Ticket | None = None, *, elapsed: float = 0.0, now: Callable[[], float] = time.monotonic) -> Watch:
    """Yield the seconds to sleep before each question; send the answer; return the final status.

    Args:
        pace: How often to ask, and for how long.
        ticket: The claim on the job, for error messages.
        elapsed: Seconds that an earlier watcher of the same wait has spent.
        now: The clock, in seconds.

    Raises:
        BackendError: It was not transient, or there were more in a row than the pace bears.
        JobTimedOutError: The deadline passed.
    """
    started, misses, last, delay = now() - elapsed, 0, JobStatus(state=JobState.PENDING), 0.0
    for following in pace.delays():
        answer = yield delay
        if isinstance(answer, BackendError):
            misses += 1
            if not answer.transient or misses > pace.tolerance:
                raise answer
        elif answer.state.final:
            return answer
        else:
            misses, last = 0, answer
        left = float("inf") if pace.deadline is None else started + pace.deadline - now()
        if left <= 0:
            raise JobTimedOutError(f"The job did not end within {pace.deadline:g} seconds", status=last, ticket=ticket)
        delay = min(following, left)
    raise AssertionError("delays never end")


def fresh_name(spec: Spec) -> str:
    """Return a job name that nobody has: the spec's label for people, and 40 random bits."""
    label = re.sub(r"[^a-z0-9]+", "-", spec.label.lower()).strip("-")[:40] or "job"
    return f"{label}-{secrets.token_hex(5)}"


def start(launcher: LauncherComponent, spec: Spec, journal: Journal) -> Ticket:
    """Start the job that the journal names, or find it; return the claim on it.

    The name is saved before the job exists. A recalled job that has already failed or was cancelled is replaced under
    a new name at once, so that a retry never inherits a failure.

    Raises:
        SpecError: The spec cannot work; nothing was started.
        BackendError: The service refused or was out of reach.
    """
    recalled = journal.load()
    if recalled is not None:
        handle = launcher.submit(spec, name=recalled)
        status = ask(launcher, handle)  # an error says nothing of the job: whoever waits for it will judge
        if not (isinstance(status, JobStatus) and status.state in {JobState.FAILED, JobState.CANCELLED}):
            return launcher.ticket(handle)
    name = fresh_name(spec)
    journal.save(name)
    return launcher.ticket(launcher.submit(spec, name=name))


def wait(
    launcher: LauncherComponent,
    ticket: Ticket,
    pace: Pace,
    *,
    observe: Callable[[], None] = lambda: None,
    sleep: Callable[[float], None] = time.sleep,
) -> JobStatus:
    """Ask until the job has ended; return its final status. A job past its deadline is stopped.

    Args:
        launcher: The component that the ticket names.
        ticket: The claim on the job.
        pace: How often to ask, and for how long.
        observe: Called after each question, for example to print new log lines.
        sleep: Waits that many seconds; an engine may raise from it to end the wait.

    Raises:
        BackendError, JobTimedOutError: As `watch` says.
    """
    watching = watch(pace, ticket)
    turn: float | JobStatus = next(watching)
    while not isinstance(turn, JobStatus):
        sleep(turn)
        turn = _turn(watching, launcher, ticket, observe)
    return turn


async def wait_async(
    launcher: LauncherComponent,
    ticket: Ticket,
    pace: Pace,
    *,
    observe: Callable[[], None] = lambda: None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> JobStatus:
    """Do what `wait` does without blocking the event loop: questions run in a thread."""
    watching = watch(pace, ticket)
    turn: float | JobStatus = next(watching)
    while not isinstance(turn, JobStatus):
        await sleep(turn)
        turn = await asyncio.to_thread(_turn, watching, launcher, ticket, observe)
    return turn


def _turn(watching: Watch, launcher: LauncherComponent, ticket: Ticket, observe: Callable[[], None]) -> float | JobStatus:
    """Ask once and let the policy judge: return the seconds until the next question, or the job's final status."""
    answer = ask(launcher, ticket.handle)
    observe()
    try:
        return watching.send(answer)
    except StopIteration as ended:
        return cast("JobStatus", ended.value)
    except JobTimedOutError:
        launcher.cancel(ticket.handle)
        raise


def run(launcher: LauncherComponent, spec: Spec, *, journal: Journal | None = None, pace: Pace | None = None) -> JobStatus:
    """Start a job, wait for its end and return its final status: for scripts, where no engine does.

    Args:
        launcher: The component that runs it, such as ``stack.launcher(spec)``.
        spec: What to build, run, serve or remove.
        journal: Where the job's name is kept; None keeps it in memory.
        pace: How often to ask, and for how long; None takes the launcher's.

    Raises:
        SpecError, BackendError: As `start` says.
        JobTimedOutError: As `watch` says.
    """
    ticket = start(launcher, spec, journal or MemoryJournal())
    return wait(launcher, ticket, pace or launcher.pace)


def settle(status: JobStatus, ticket: Ticket, journal: Journal) -> JsonValue:
    """Return the output of a job that succeeded; forget a job that did not, so that a retry starts fresh.

    The caller clears the journal of a success once the engine holds the output: a crash before that finds the
    finished job instead of starting another.

    Raises:
        JobFailedError, JobCancelledError: As the status says.
    """
    if status.state in {JobState.FAILED, JobState.CANCELLED}:
        journal.clear()
    return status.unwrap(ticket)


def launcher_of(ticket: Ticket) -> LauncherComponent:
    """Return the component that a ticket names, in any process that has the flavor installed."""
    return cast("LauncherComponent", flavors.create(ticket.role, {**ticket.config, "flavor": ticket.flavor}))


def ask(launcher: LauncherComponent, handle: str) -> JobStatus | BackendError:
    """Poll once; a backend's error is an answer, for `watch` to judge."""
    try:
        return launcher.poll(handle)
    except BackendError as error:
        return error
