"""What comes back from a job that succeeded: the typed form of `JobStatus.output`."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class Outcome(BaseModel):
    """The output of a job that succeeded, as it travels in `JobStatus.output`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    def to_json(self) -> dict[str, Any]:
        """Return the outcome as a JSON object."""
        return self.model_dump(mode="json")


class BuiltImage(Outcome):
    """What a build gives.

    Attributes:
        reference: The image by digest, which deployers and step operators take.
        digest: ``sha256:…`` of the image's manifest.
        key: The content key: the tag made from everything that decides the image.
        reused: True where the registry already had it and nothing was built.
        why: One reason a line for building or reusing.
        seconds: How long it took.
    """

    reference: str
    digest: str
    key: str
    reused: bool
    why: tuple[str, ...] = ()
    seconds: float = 0.0


class FinishedStep(Outcome):
    """What a step gives.

    Attributes:
        job: The job's name, under which a function's result is found.
        exit_code: 0.
        seconds: How long it ran.
    """

    job: str
    exit_code: int = 0
    seconds: float = 0.0


class DeployedService(Outcome):
    """What a deployment gives.

    Attributes:
        service: The service's name.
        url: Where it answers, with scheme.
        image: The image that serves now, by digest.
        reused: True where it served exactly this before and nothing was started.
        why: One reason a line.
        previous: The image that served before, or None.
        seconds: How long the rollout took.
    """

    service: str
    url: str
    image: str
    reused: bool = False
    why: tuple[str, ...] = ()
    previous: str | None = None
    seconds: float = 0.0


class RemovedService(Outcome):
    """What a removal gives.

    Attributes:
        service: The service's name.
        removed: False where there was none.
        leftovers: What still exists and may cost money, one item a line.
    """

    service: str
    removed: bool
    leftovers: tuple[str, ...] = ()
