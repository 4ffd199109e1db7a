"""What an image starts from: a folder of an OCI layout, an image of the stack's registry, or nothing."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from stackgraft import flavors
from stackgraft.components import ContainerRegistry
from stackgraft.errors import BackendError, SpecError, nearest
from stackgraft.oci import LAYER_TYPE, for_platform, is_index, verified

_OCI_TYPES = {
    "application/vnd.docker.image.rootfs.diff.tar": LAYER_TYPE,
    "application/vnd.docker.image.rootfs.diff.tar.gzip": f"{LAYER_TYPE}+gzip",
}
"""Docker's names of the same bytes, which tools refuse in an OCI manifest."""


@dataclass(frozen=True, slots=True)
class Base:
    """What an image starts from.

    Attributes:
        digest: Its manifest's digest, or empty for an image from nothing.
        layers: Its layers' descriptors.
        config: Its configuration document.
        origin: Which registry has its blobs, and under which repository.
    """

    digest: str = ""
    layers: Sequence[dict[str, Any]] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    origin: tuple[ContainerRegistry, str] | None = None

    def copy_to(self, registry: ContainerRegistry, repository: str) -> None:
        """Copy the layers that the registry does not have yet."""
        if self.origin is None:
            return
        source, name = self.origin
        for digest in (layer["digest"] for layer in self.layers):
            if not registry.has_blob(repository, digest):
                with source.open_blob(name, digest) as blob, tempfile.NamedTemporaryFile(prefix="stackgraft-base-") as copy:
                    shutil.copyfileobj(blob, copy, 1 << 20)
                    copy.flush()
                    registry.write_blob(repository, digest, Path(copy.name))


def find_base(reference: str | None, platform: str, registry: Callable[[], ContainerRegistry]) -> Base:
    """Return the base image of that reference for a platform.

    Args:
        reference: ``FOLDER[:TAG]``, ``REPOSITORY:TAG`` or either with ``@sha256:…``; None starts from nothing.
        platform: Such as ``linux/amd64``.
        registry: Gives the stack's registry, where the reference is not a folder.

    Raises:
        SpecError: There is no such image, or it is not for the platform.
        BackendError: The registry was out of reach.
    """
    if reference is None:
        return Base()
    name, label = _split(reference)
    source, repository = _source(name, registry)
    try:
        digest = label if label.startswith("sha256:") else source.resolve(repository, label)
        if digest is None:
            raise _absent(reference, f"it has no such tag; {nearest(label, source.tags(repository))}")
        return _read(source, repository, digest, platform)
    except BackendError as refused:
        if refused.transient:
            raise
        raise _absent(reference, refused.what) from refused


def _read(source: ContainerRegistry, repository: str, digest: str, platform: str) -> Base:
    reference, document = f"{repository}@{digest}", json.loads(source.read_manifest(repository, digest))
    if is_index(document):
        chosen = for_platform(document, platform)
        if chosen is None:
            raise _unfit(reference, platform, "its index does not list it")
        digest, document = chosen, json.loads(source.read_manifest(repository, chosen))
    with source.open_blob(repository, document["config"]["digest"]) as blob:
        config = json.loads(verified(blob.read(), document["config"]["digest"], repository))
    has = f"{config.get('os')}/{config.get('architecture')}"
    if has != platform:
        raise _unfit(reference, platform, f"it is for {has}")
    layers = [{**layer, "mediaType": _OCI_TYPES.get(layer["mediaType"], layer["mediaType"])} for layer in document["layers"]]
    return Base(digest, layers, config, (source, repository))


def _source(name: str, registry: Callable[[], ContainerRegistry]) -> tuple[ContainerRegistry, str]:
    folder = Path(name).expanduser().absolute()
    if (folder / "index.json").is_file():
        claim = {"flavor": "oci-layout", "path": str(folder.parent)}
        return cast("ContainerRegistry", flavors.create("container_registry", claim)), folder.name
    if name.startswith(("/", ".", "~")):
        raise _absent(name, "the folder holds no OCI image layout")
    return registry(), name


def _split(reference: str) -> tuple[str, str]:
    if "@" in reference:
        name, _, digest = reference.partition("@")
        return name, digest
    name, _, tag = reference.rpartition(":")
    return (name, tag) if name and "/" not in tag else (reference, "latest")


def _absent(reference: str, why: str) -> SpecError:
    hint = "pass the folder of an OCI image layout, or an image of the stack's registry"
    return SpecError("The base image does not exist", where=reference, why=why, next_step=hint)


def _unfit(reference: str, platform: str, why: str) -> SpecError:
    where = f"{reference}, {platform}"
    return SpecError("The base image is not for the platform", where=where, why=why, next_step="choose another base or platform")
