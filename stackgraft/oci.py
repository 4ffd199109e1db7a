"""Facts of the OCI image specification that every registry and builder shares."""

from __future__ import annotations

import hashlib
import json
from typing import Any

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"


def digest_of(content: bytes) -> str:
    """Return ``sha256:…`` of the content."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def canonical_json(document: Any) -> bytes:
    """Return the one JSON form of a document, so that equal documents have equal digests."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
