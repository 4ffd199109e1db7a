"""What to build, run, serve or remove.

A spec is a frozen value that is checked when it is made, so that bad input fails before anything is started.
"""

from __future__ import annotations

import platform as machine
import re
import sys
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from stackgraft.artifacts.ref import ArtifactRef, is_ref
from stackgraft.errors import ConfigError, SpecError
from stackgraft.model import AnchoredPath, StrictModel

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*")
_PINNED = re.compile(r"(?P<repository>[^@\s]+)@(?P<digest>sha256:[0-9a-f]{64})")


def host_platform() -> str:
    """Return this machine's image platform, such as ``linux/amd64``."""
    return f"linux/{_ARCHITECTURES.get(machine.machine(), machine.machine())}"


def host_python() -> str:
    """Return the running interpreter's minor version, such as ``3.11``."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def split_reference(reference: str) -> tuple[str, str]:
    """Split ``repository@sha256:…`` into repository and digest.

    Raises:
        SpecError: The reference is not pinned to a digest.
    """
    match = _PINNED.fullmatch(reference)
    if match is None:
        raise SpecError(
            "An image must be named by its digest",
            where=f"image {reference!r}",
            why="a tag can move between the check and the rollout",
            next_step="pass the reference that the build returned, REPOSITORY@sha256:…",
        )
    return match["repository"], match["digest"]


def _pinned(image: object) -> object:
    reference = image.get("reference") if isinstance(image, Mapping) else getattr(image, "reference", image)
    if isinstance(reference, str):
        split_reference(reference)
    return reference


def check_repository(name: str) -> str:
    """Return the repository's name if registries take it.

    Raises:
        SpecError: They do not.
    """
    if not _REPOSITORY.fullmatch(name):
        hint = "use lower-case letters and digits, joined by . _ - or /"
        raise SpecError("No registry takes a repository of that name", where=f"repository {name!r}", next_step=hint)
    return name


def _environment(variables: object) -> object:
    if not isinstance(variables, Mapping):
        return variables
    return {name: str(ArtifactRef.from_json(value)) if is_ref(value) else _text(value) for name, value in variables.items()}


def _text(value: object) -> object:
    return str(value) if isinstance(value, ArtifactRef) else value


def _settable(variables: Mapping[str, str]) -> Mapping[str, str]:
    for name, value in variables.items():
        if not re.fullmatch(r"[^=\0]+", name) or "\0" in value:
            raise ValueError(f"{name!r} cannot be set: a variable's name is not empty and has no = or NUL, its value has no NUL")
    return variables


def _url_path(path: str) -> str:
    if not re.fullmatch(r"/[!-~]*", path):
        raise ValueError("a path of a URL begins with / and is ASCII without spaces; write other characters as %XX")
    return path


def _absolute(path: PurePosixPath) -> PurePosixPath:
    if not path.is_absolute() or ".." in path.parts:
        raise ValueError("a folder in an image is absolute, such as /app")
    return path


PinnedImage = Annotated[str, BeforeValidator(_pinned)]
"""An image by digest; a `BuiltImage`, or its JSON, is taken by its reference."""
Environment = Annotated[Mapping[str, str], BeforeValidator(_environment), AfterValidator(_settable)]
"""Environment variables; an artifact's reference is given as ``name@version``."""
ImageFolder = Annotated[PurePosixPath, AfterValidator(_absolute)]
Repository = Annotated[str, AfterValidator(check_repository)]
ServiceName = Annotated[str, Field(pattern=r"^[a-z](?:[a-z0-9-]{0,38}[a-z0-9])?$")]
PythonMinor = Annotated[str, Field(pattern=r"^3\.\d+$")]


class Spec(StrictModel):
    """What every spec carries.

    Attributes:
        tags: Travel to everything that the job creates, such as ``stackgraft:run``; they never change what is built.
    """

    error: ClassVar[type[ConfigError]] = SpecError
    role: ClassVar[str]
    tags: Mapping[str, str] = Field(default_factory=dict)

    @property
    def label(self) -> str:
        """A short name for people, from which the job's name is made."""
        raise NotImplementedError


class BuildSpec(Spec):
    """An image to build from a project's folder.

    Attributes:
        repository: Where in the registry the image goes, such as ``investor-signals``.
        context: The project's folder; its ``.dockerignore`` is honored.
        base: A base image (reference, or folder of an OCI layout); None starts from nothing.
        python: The image's Python minor version, such as ``3.11``.
        platform: The image's platform, such as ``linux/amd64``.
        requirements: Requirements or lock file, relative to the context; None installs nothing.
        step_runtime: Add stackgraft's core, so that functions can run in the image as steps.
        entrypoint: The program that always runs.
        command: Its default arguments.
        env: Environment variables set in the image.
        workdir: Where the application's code lies, and where programs start.
        labels: More labels; ``org.opencontainers.image.*`` are set from git.
    """

    role: ClassVar[str] = "image_builder"
    repository: Repository
    context: AnchoredPath
    base: str | None = None
    python: PythonMinor = Field(default_factory=host_python)
    platform: Annotated[str, Field(pattern=r"^linux/[a-z0-9]+$")] = Field(default_factory=host_platform)
    requirements: Path | None = None
    step_runtime: bool = False
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: Environment = Field(default_factory=dict)
    workdir: ImageFolder = PurePosixPath("/app")
    labels: Mapping[str, str] = Field(default_factory=dict)

    @property
    def label(self) -> str:
        """The repository."""
        return self.repository

    @model_validator(mode="after")
    def _paths_exist(self) -> Self:
        if not self.context.is_dir():
            where, hint = str(self.context), "pass the project's folder as context"
            raise SpecError("The build context does not exist", where=where, why="it is not a folder", next_step=hint)
        if self.requirements and not (self.context / self.requirements).is_file():
            raise SpecError(
                "The requirements file does not exist",
                where=str(self.context / self.requirements),
                why="requirements is relative to the context",
                next_step="correct the path, or leave requirements out",
            )
        return self


class StepSpec(Spec):
    """A command to run in an image, on the stack's step operator.

    Attributes:
        step: The step's name, for people.
        image: The image, by digest.
        command: The program and its arguments.
        env: Environment variables on top of the image's.
        workdir: Where the program starts; None takes the image's.
        python: The Python minor version that the command needs; None takes any.
        timeout_seconds: After that the step gets TERM, and KILL when that does not help; None waits forever.
    """

    role: ClassVar[str] = "step_operator"
    step: str
    image: PinnedImage
    command: tuple[str, ...] = Field(min_length=1)
    env: Environment = Field(default_factory=dict)
    workdir: ImageFolder | None = None
    python: PythonMinor | None = None
    timeout_seconds: Annotated[float, Field(gt=0)] | None = None

    @property
    def label(self) -> str:
        """The step's name."""
        return self.step


class ServiceSpec(Spec):
    """An image to serve over HTTP under a stable name.

    Attributes:
        service: The service's name; the next deployment of that name replaces this one.
        image: The image, by digest.
        command: Replaces the image's entry point and command where given.
        env: Environment variables on top of the image's; ``HOST`` and ``PORT`` are set for the service to listen on.
        health_path: ``GET`` on it answers 200 to 399 once the service can take requests.
        start_timeout_seconds: A service that is not healthy by then is rolled back.
        drain_seconds: How long requests to the previous version may take to end.
    """

    role: ClassVar[str] = "deployer"
    service: ServiceName
    image: PinnedImage
    command: tuple[str, ...] = ()
    env: Environment = Field(default_factory=dict)
    health_path: Annotated[str, AfterValidator(_url_path)] = "/health"
    start_timeout_seconds: Annotated[float, Field(gt=0)] = 30.0
    drain_seconds: Annotated[float, Field(ge=0)] = 10.0

    @property
    def label(self) -> str:
        """The service's name."""
        return self.service


class RemovalSpec(Spec):
    """A service to stop and remove.

    Attributes:
        service: Its name; removing what is not there succeeds.
    """

    role: ClassVar[str] = "deployer"
    service: ServiceName

    @property
    def label(self) -> str:
        """The service's name."""
        return self.service
