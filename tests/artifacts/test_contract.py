"""The contract of artifact stores, on a folder and on real servers."""

from __future__ import annotations

from stackgraft.testing import ArtifactStoreContract


class TestEveryStore(ArtifactStoreContract):
    """The fixture `store` gives each kind in turn."""
