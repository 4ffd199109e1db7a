"""What comes back from a job that succeeded: the typed form of `JobStatus.output`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

if TYPE_CHECKING:
    from stackgraft.specs import Spec


class Outcome(BaseModel):
    """The output of a job that succeeded, as it travels in `JobStatus.output`."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    event: ClassVar[str]
    """What has happened, such as ``image.built``."""

    def to_json(self) -> dict[str, Any]:
        """Return the outcome as a JSON object."""
        return self.model_dump(mode="json")

    def facts(self) -> dict[str, Any]:
        """Return what it tells of a `stackgraft.lineage.LineageRecord`."""
        raise NotImplementedError


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

    event: ClassVar[str] = "image.built"
    reference: str
    digest: str
    key: str
    reused: bool
    why: tuple[str, ...] = ()
    seconds: float = 0.0

    def facts(self) -> dict[str, Any]:
        """Return the image, and the time that building took."""
        return {"built": self.reference, "billable": {"build_seconds": self.seconds}}


class FinishedStep(Outcome):
    """What a step gives.

    Attributes:
        job: The job's name, under which a function's result is found.
        image: The image that it ran in, by digest.
        exit_code: 0.
        seconds: How long it ran.
    """

    event: ClassVar[str] = "step.finished"
    job: str
    image: str = ""
    exit_code: int = 0
    seconds: float = 0.0

    def facts(self) -> dict[str, Any]:
        """Return the job, its image and its time."""
        return {"job": self.job, "image": self.image, "billable": {"step_seconds": self.seconds}}


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

    event: ClassVar[str] = "service.deployed"
    service: str
    url: str
    image: str
    reused: bool = False
    why: tuple[str, ...] = ()
    previous: str | None = None
    seconds: float = 0.0

    def facts(self) -> dict[str, Any]:
        """Return the service, where it answers, and its image."""
        return {"service": self.service, "url": self.url, "image": self.image}


class RemovedService(Outcome):
    """What a removal gives.

    Attributes:
        service: The service's name.
        removed: False where there was none.
        leftovers: What still exists and may cost money, one item a line.
    """

    event: ClassVar[str] = "service.removed"
    service: str
    removed: bool
    leftovers: tuple[str, ...] = ()

    def facts(self) -> dict[str, Any]:
        """Return the service, which has no image any more."""
        return {"service": self.service}


_ANY: TypeAdapter[Outcome] = TypeAdapter(BuiltImage | FinishedStep | DeployedService | RemovedService)


def facts_of_spec(spec: Spec) -> dict[str, str]:
    """Return what is known of a job's lineage record before it ends, however it will."""
    return {field: str(value) for field in ("image", "service") if (value := getattr(spec, field, None))}


def facts_of(output: object) -> dict[str, Any]:
    """Return what a job's output tells of a lineage record; nothing where a flavor gives an output of its own."""
    try:
        return _ANY.validate_python(output).facts()
    except ValidationError:
        return {}
