"""What an image starts from: a folder of an OCI layout, an image of the stack's registry, or nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from stackgraft import flavors
from stackgraft.components import ContainerRegistry
from stackgraft.errors import SpecError
from stackgraft.oci import INDEX_TYPES, for_platform


@dataclass(frozen=True, slots=True)
class Base:
    """What an image starts from.

    Attributes:
        digest: Its manifest's digest, or empty for an image from nothing.
        layers: Its layers' descriptors.
        config: Its configuration document.
        registry: Where its blobs are, and under which repository.
    """

    digest: str = ""
    layers: Sequence[dict[str, Any]] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    registry: tuple[ContainerRegistry, str] | None = None

    def copy_to(self, registry: ContainerRegistry, repository: str) -> None:
        """Copy the layers that the registry does not have yet."""
        if self.registry is None:
            return
        source, name = self.registry
        for layer in self.layers:
            if not registry.has_blob(repository, layer["digest"]):
                with source.open_blob(name, layer["digest"]) as blob:
                    registry.write_blob(repository, layer["digest"], blob.read())


def find_base(reference: str | None, platform: str, registry: Callable[[], ContainerRegistry]) -> Base:
    """Return the base image of that reference for a platform.

    Args:
        reference: ``FOLDER[:TAG]``, ``REPOSITORY:TAG`` or ``REPOSITORY@sha256:…``; None starts from nothing.
        platform: Such as ``linux/amd64``.
        registry: Gives the stack's registry, where the reference is not a folder.

    Raises:
        SpecError: There is no such image, or it does not have the platform.
    """
    if reference is None:
        return Base()
    source, repository, digest = _found(reference, registry)
    document = json.loads(source.read_manifest(repository, digest))
    if document.get("mediaType") in INDEX_TYPES:
        chosen = for_platform(document, platform)
        if chosen is None:
            raise SpecError(
                "The base image does not have the platform", where=f"{reference}, {platform}", next_step="choose another base or platform"
            )
        digest, document = chosen, json.loads(source.read_manifest(repository, chosen))
    with source.open_blob(repository, document["config"]["digest"]) as config:
        return Base(digest, document["layers"], json.load(config), (source, repository))


def _found(reference: str, registry: Callable[[], ContainerRegistry]) -> tuple[ContainerRegistry, str, str]:
    name, label = _split(reference)
    folder = Path(name).expanduser()
    if (folder / "index.json").is_file():
        claim = {"flavor": "oci-layout", "path": str(folder.absolute().parent)}
        source, name = cast("ContainerRegistry", flavors.create("container_registry", claim)), folder.name
    else:
        source = registry()
    digest = label if label.startswith("sha256:") else source.resolve(name, label)
    if digest is None:
        hint = "pass the folder of an OCI image layout, or an image of the stack's registry"
        raise SpecError("The base image does not exist", where=reference, next_step=hint)
    return source, name, digest


def _split(reference: str) -> tuple[str, str]:
    if "@" in reference:
        name, _, digest = reference.partition("@")
        return name, digest
    name, _, tag = reference.rpartition(":")
    return (name, tag) if name and "/" not in tag else (reference, "latest")
