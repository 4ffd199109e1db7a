"""The roles as Protocols, and the configuration that every component shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, Protocol, cast

from pydantic import Field

from stackgraft import flavors
from stackgraft.errors import IncompatibleStackError
from stackgraft.job import JobStatus, JsonValue, Launcher, LogLine, Ticket
from stackgraft.lifecycle import Pace
from stackgraft.model import StrictModel
from stackgraft.specs import BuildSpec, RemovalSpec, ServiceSpec, StepSpec

if TYPE_CHECKING:
    from stackgraft.artifacts import ArtifactRef


class Component(StrictModel):
    """A configured flavor: its fields are its configuration, its methods satisfy its role.

    Attributes:
        owner: Who answers for it; None takes the stack's.
        cost_center: Who pays for it; None takes the stack's.
        credentials: The *name* of credentials, which each engine resolves its own way; never a secret.
    """

    role: ClassVar[str]
    flavor: ClassVar[str]
    provides: ClassVar[frozenset[str]] = frozenset()
    """Traits that other components may ask for, such as ``folder`` or ``network`` of a registry."""
    requires: ClassVar[Mapping[str, str]] = {}
    """The trait that each named role must provide, where this component depends on it."""

    owner: str | None = Field(default=None, description="Who answers for the component.")
    cost_center: str | None = Field(default=None, description="Who pays for the component.")
    credentials: str | None = Field(default=None, description="Name of the credentials, resolved by the engine.")

    def payer(self) -> dict[str, str]:
        """Return who answers and who pays for it, as records keep them."""
        return {"owner": self.owner or "", "cost_center": self.cost_center or ""}

    def claim(self) -> dict[str, JsonValue]:
        """Return the component as JSON: its flavor, and the fields that differ from their defaults."""
        return {"flavor": self.flavor, **self.model_dump(mode="json", exclude_defaults=True)}


class LauncherComponent(Component):
    """A component that starts jobs and reads images.

    Attributes:
        registry: The claim of the container registry that images come from or go to; the stack fills it in.
    """

    pace: ClassVar[Pace] = Pace()
    registry: Mapping[str, JsonValue] | None = Field(default=None, description="Claim of the registry, filled in by the stack.")

    def container_registry(self) -> ContainerRegistry:
        """Return the registry that this component reads from or writes to.

        Raises:
            IncompatibleStackError: The stack has none.
        """
        if self.registry is None:
            raise IncompatibleStackError(
                f"The {self.role} {self.flavor!r} needs a container registry",
                why="none is configured",
                next_step='add container_registry = "oci-layout" to the stack',
            )
        return cast("ContainerRegistry", flavors.create("container_registry", self.registry))

    def ticket(self, handle: str) -> Ticket:
        """Return the claim on a job of this component."""
        config = {key: value for key, value in self.claim().items() if key != "flavor"}
        return Ticket(role=self.role, flavor=self.flavor, config=config, handle=handle)

    def submit(self, spec: Any, *, name: str) -> str:
        """Start the job of that name, or find it."""
        raise NotImplementedError

    def poll(self, handle: str) -> JobStatus:
        """Return the job's status now."""
        raise NotImplementedError

    def cancel(self, handle: str) -> None:
        """Ask the job to stop."""
        raise NotImplementedError

    def logs(self, handle: str, cursor: str | None = None) -> tuple[Sequence[LogLine], str | None]:
        """Return the lines printed since the cursor, and the next cursor."""
        raise NotImplementedError

    def poll_many(self, handles: Sequence[str]) -> Mapping[str, JobStatus]:
        """Return the status of each job: one call each, unless the flavor knows better."""
        return {handle: self.poll(handle) for handle in handles}


class ImageBuilder(Launcher[BuildSpec], Protocol):
    """Turns a project into an image named by its content; the job's output is a `BuiltImage`."""

    def content_key(self, spec: BuildSpec) -> str:
        """Return the tag made from everything that decides the image: ``sg-SCHEME-HASH``."""


class StepOperator(Launcher[StepSpec], Protocol):
    """Runs one step elsewhere; the job's output is a `FinishedStep`. The step finds its job's name in ``STACKGRAFT_JOB``."""


class Deployer(Launcher[ServiceSpec | RemovalSpec], Protocol):
    """Serves an image at a stable URL; the job's output is a `DeployedService` or a `RemovedService`."""

    def find(self, service: str) -> JsonValue:
        """Return what serves under that name now, as a `DeployedService` in JSON, or None."""


class ContainerRegistry(Protocol):
    """Holds images; answers with digests. A repository is a path such as ``team/app``; a digest ``sha256:…``."""

    def reference(self, repository: str, digest: str) -> str:
        """Return the pinned reference under which other components find the image."""

    def locate(self, reference: str) -> tuple[str, str]:
        """Split a pinned reference of this registry into repository and digest."""

    def resolve(self, repository: str, tag: str) -> str | None:
        """Return the digest that the tag names now, or None."""

    def tags(self, repository: str) -> Sequence[str]:
        """Return the repository's tags, sorted; none where it does not exist."""

    def tag(self, repository: str, digest: str, tag: str) -> None:
        """Let the tag name that digest from now on."""

    def delete(self, repository: str, digest: str) -> None:
        """Remove the manifest and all its tags; nothing happens where it is absent."""

    def read_manifest(self, repository: str, digest: str) -> bytes:
        """Return the manifest's bytes, checked against the digest."""

    def write_manifest(self, repository: str, manifest: bytes, *, tag: str | None = None) -> str:
        """Store a manifest whose blobs are all there, name it by the tag, and return its digest."""

    def has_blob(self, repository: str, digest: str) -> bool:
        """Tell whether the blob is there."""

    def write_blob(self, repository: str, digest: str, content: Path | bytes) -> None:
        """Store a blob, refusing content that does not match the digest; nothing happens where it is there."""

    def open_blob(self, repository: str, digest: str) -> BinaryIO:
        """Open a blob for reading."""


class ArtifactStore(Protocol):
    """Versions values, files and folders by their content."""

    def claim(self) -> dict[str, Any]:
        """Return the store as JSON, so that a step in another process opens it with `open_store`."""

    def save(self, name: str, value: object, *, serializer: str | None = None) -> ArtifactRef:
        """Store a value as the artifact's next version; content equal to the newest version is that version.

        Raises:
            ArtifactError: No serializer takes the value, or the name cannot be stored.
        """

    def load(self, reference: ArtifactRef | str) -> Any:
        """Return the value, with every byte verified. A file or folder comes back as a path into a read-only cache.

        Raises:
            ArtifactNotFoundError, ArtifactCorruptedError, UntrustedArtifactError
        """

    def resolve(self, reference: str) -> ArtifactRef:
        """Return the artifact that ``name``, ``name@VERSION`` or ``name@TAG`` means now.

        Raises:
            ArtifactNotFoundError: There is none; the error names the nearest.
        """

    def versions(self, name: str) -> Sequence[int]:
        """Return the versions, oldest first."""

    def tag(self, reference: ArtifactRef, tag: str) -> None:
        """Let ``name@TAG`` mean that version from now on."""
