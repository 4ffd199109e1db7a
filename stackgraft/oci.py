"""Facts of the OCI image specification that every registry, builder and runner shares."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from stackgraft.errors import BackendError

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
INDEX_TYPES = (INDEX_TYPE, "application/vnd.docker.distribution.manifest.list.v2+json")

PYTHON_LABEL = "org.stackgraft.python"
"""The label that says which Python minor version an image's packages are for."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def digest_of(content: bytes) -> str:
    """Return ``sha256:…`` of the content."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def verified(content: bytes, digest: str, where: str) -> bytes:
    """Return the content, which was read from there, if it matches its digest.

    Raises:
        BackendError: It does not.
    """
    if (found := digest_of(content)) != digest:
        raise BackendError("A blob does not match its digest and was refused", where=f"{where} {digest}", why=f"it has {found}")
    return content


def is_digest(text: str) -> bool:
    """Tell whether the text is a whole ``sha256:…`` digest."""
    return _DIGEST.fullmatch(text) is not None


def canonical_json(document: Any) -> bytes:
    """Return the one JSON form of a document, so that equal documents have equal digests."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def descriptor(media_type: str, digest: str, size: int, **more: Any) -> dict[str, Any]:
    """Return a content descriptor: what a blob is, its digest, its size in bytes."""
    return {"mediaType": media_type, "digest": digest, "size": size, **more}


def manifest(config: dict[str, Any], layers: list[dict[str, Any]], **more: Any) -> bytes:
    """Return an image manifest from the descriptors of its config and layers."""
    return canonical_json({"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": config, "layers": layers, **more})


def blobs_of(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the descriptors of all that a manifest or an index names."""
    config = [document["config"]] if "config" in document else []
    return [*config, *document.get("layers", []), *document.get("manifests", [])]


def is_index(document: dict[str, Any]) -> bool:
    """Tell whether a document is an index of manifests, one for each platform; its media type may be left out."""
    return "manifests" in document


def for_platform(index: dict[str, Any], platform: str) -> str | None:
    """Return the digest of the manifest that an index holds for a platform such as ``linux/amd64``, or None."""
    system, _, architecture = platform.partition("/")
    for entry in index["manifests"]:
        has = entry.get("platform", {})
        if (has.get("os"), has.get("architecture")) == (system, architecture):
            return str(entry["digest"])
    return None
