"""The errors: one shape, and which of them a retry may mend."""

from __future__ import annotations

import pickle

import pytest

from stackgraft.errors import (
    ArtifactCorruptedError,
    ArtifactNotFoundError,
    BackendError,
    ConfigError,
    IncompatibleStackError,
    JobCancelledError,
    JobFailedError,
    JobTimedOutError,
    SpecError,
    UnserializableError,
    UntrustedArtifactError,
    retryable,
)
from stackgraft.job import JobState, JobStatus

STATUS = JobStatus(state=JobState.FAILED, reason="exit code 3")


@pytest.mark.parametrize(
    "error",
    [
        ConfigError("wrong"),
        SpecError("wrong"),
        IncompatibleStackError("wrong"),
        UntrustedArtifactError("pickled"),
        UnserializableError("a set"),
        JobCancelledError("stopped", status=STATUS),
    ],
)
def test_a_retry_is_spared_where_it_cannot_help(error: Exception) -> None:
    assert not retryable(error)
    assert not retryable(pickle.loads(pickle.dumps(error)))  # noqa: S301 - as it comes out of another process


@pytest.mark.parametrize(
    "error",
    [
        BackendError("throttled", transient=True),
        BackendError("refused"),
        ArtifactNotFoundError("absent"),
        ArtifactCorruptedError("damaged"),
        JobFailedError("failed", status=STATUS),
        JobTimedOutError("late", status=STATUS),
        OSError("not ours"),
        KeyboardInterrupt(),
    ],
)
def test_a_retry_may_help_with_all_else(error: BaseException) -> None:
    assert retryable(error)
