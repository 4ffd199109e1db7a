"""Versioned, content-addressed values: what crosses tasks instead of the bytes themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from stackgraft import flavors
from stackgraft.artifacts.ref import ArtifactRef

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stackgraft.components import ArtifactStore

__all__ = ["ArtifactRef", "open_store"]


def open_store(claim: Mapping[str, Any]) -> ArtifactStore:
    """Open an artifact store from its claim, such as ``{"flavor": "local", "path": "/data/artifacts"}``.

    Raises:
        ConfigError: The flavor is unknown, or a field is wrong.
    """
    return cast("ArtifactStore", flavors.create("artifact_store", claim))
