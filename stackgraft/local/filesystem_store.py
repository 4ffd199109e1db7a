"""The ``local`` artifact store: a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from stackgraft.artifacts.store import ObjectArtifactStore
from stackgraft.errors import BackendError
from stackgraft.model import AnchoredPath

if TYPE_CHECKING:
    from obstore.store import ObjectStore


class FilesystemArtifactStore(ObjectArtifactStore):
    """Versioned, content-addressed artifacts in a folder, safe for concurrent writers on one machine.

    Attributes:
        path: The folder.
    """

    flavor: ClassVar[str] = "local"
    provides: ClassVar[frozenset[str]] = frozenset({"folder"})
    ordered: ClassVar[bool] = False
    streamed: ClassVar[bool] = False
    path: AnchoredPath = Field(default=Path(".stackgraft/artifacts"), validate_default=True, description="Folder of the store.")

    @property
    def place(self) -> str:
        """The folder."""
        return str(self.path)

    def open(self) -> ObjectStore:
        """Open the folder, which is made where it is absent."""
        from obstore.store import LocalStore  # noqa: PLC0415 - loads a Rust library that a DAG's parsing does not need

        try:
            return LocalStore(self.path, mkdir=True)
        except OSError as refused:
            raise BackendError("The artifact store's folder cannot be made", where=str(self.path), why=str(refused)) from refused
