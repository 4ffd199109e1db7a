"""The read cache: artifacts laid as read-only files, by digest, verified as they are laid."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from stackgraft.artifacts.content import Manifest
from stackgraft.artifacts.files import lay
from stackgraft.artifacts.objects import Objects
from stackgraft.errors import BackendError


@dataclass(frozen=True, slots=True)
class ReadCache:
    """A folder of laid artifacts that any number of processes share.

    Attributes:
        folder: Where they lie.
    """

    folder: Path

    def laid(self, digest: str, manifest: Manifest, objects: Objects) -> Path:
        """Return the folder with an artifact's files, laying them where they are not yet.

        Raises:
            ArtifactCorruptedError: Stored bytes do not match their digest.
            BackendError: The disk refused.
        """
        folder = self.folder / digest
        if not folder.exists():
            try:
                self._lay(folder, manifest, objects)
            except OSError as refused:
                raise BackendError(
                    "The artifact cannot be laid into the read cache",
                    where=str(self.folder),
                    why=str(refused.strerror),
                    next_step="make room there, or set the store's cache to another folder",
                ) from refused
        return folder

    def _lay(self, folder: Path, manifest: Manifest, objects: Objects) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=self.folder, prefix=".laying-"))
        try:
            laid = draft / "laid"
            laid.mkdir()
            lay(manifest, laid, objects)
            _renamed(laid, folder)
        finally:
            shutil.rmtree(draft)


def _renamed(draft: Path, folder: Path) -> None:
    try:
        draft.rename(folder)
    except OSError:
        if not folder.exists():
            raise  # not another reader that was faster
