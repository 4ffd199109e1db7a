"""What decided an image, kept beside it as an OCI artifact: the content key is its hash, and a rebuild's reasons its difference."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import cast

from stackgraft.components import ContainerRegistry
from stackgraft.oci import EMPTY_TYPE, MANIFEST_TYPE, canonical_json, descriptor, digest_of, manifest

SCHEME = 1
"""Changes when the same ingredients would give another image."""
RECORD_TYPE = "application/vnd.stackgraft.build-record.v1+json"
LATEST = "sg-latest"
"""The tag of the repository's newest image."""
_MOST_REASONS = 10
"""More of them explain nothing, and they travel with the build's outcome."""

Ingredients = Mapping[str, str]
"""Everything that decides an image: one short text for each thing, such as ``file app.py``."""


def content_key(ingredients: Ingredients) -> str:
    """Return the tag that names an image by its ingredients."""
    return f"sg-{SCHEME}-{hashlib.sha256(canonical_json(ingredients)).hexdigest()[:32]}"


def write_record(registry: ContainerRegistry, repository: str, image: bytes, ingredients: Ingredients) -> None:
    """Keep the ingredients beside the image whose manifest is given."""
    record, empty = canonical_json(ingredients), b"{}"
    for blob in (record, empty):
        registry.write_blob(repository, digest_of(blob), blob)
    layer, config = descriptor(RECORD_TYPE, digest_of(record), len(record)), descriptor(EMPTY_TYPE, digest_of(empty), len(empty))
    subject = descriptor(MANIFEST_TYPE, digest_of(image), len(image))
    registry.write_manifest(repository, manifest(config, [layer], artifactType=RECORD_TYPE, subject=subject), tag=_tag(digest_of(image)))


def newest_record(registry: ContainerRegistry, repository: str) -> Ingredients | None:
    """Return the ingredients of the repository's newest image, or None where there is none."""
    latest = registry.resolve(repository, LATEST)
    digest = registry.resolve(repository, _tag(latest)) if latest else None
    if digest is None:
        return None
    record = json.loads(registry.read_manifest(repository, digest))["layers"][0]["digest"]
    with registry.open_blob(repository, record) as blob:
        return cast("Ingredients", json.load(blob))


def differences(before: Ingredients | None, after: Ingredients) -> list[str]:
    """Return why an image is built: one thing a line that was added, changed or removed."""
    if before is None:
        return ["first build in this repository"]
    changed = [f"{name} {'changed' if name in before else 'added'}" for name, value in after.items() if before.get(name) != value]
    changed += [f"{name} removed" for name in before if name not in after]
    more = [f"and {len(changed) - _MOST_REASONS} more"] if len(changed) > _MOST_REASONS else []
    return changed[:_MOST_REASONS] + more


def _tag(digest: str) -> str:
    return f"sg-record-{digest.partition(':')[2][:32]}"
