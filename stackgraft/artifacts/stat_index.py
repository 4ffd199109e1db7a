"""What was saved from where: files that the disk says are unchanged are neither read nor sent again.

The disk's word is a file's size, times, inode and device. Like git, the index distrusts files that changed in the moment
before they were read, since a second change in the same tick of the clock would not show.
"""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from stackgraft.artifacts.content import Block, Chunk
from stackgraft.artifacts.files import Tree

_RACY_SECONDS = 2.0
logger = logging.getLogger(__name__)


@dataclass(slots=True)
class StatIndex:
    """The chunks of one tree as it was last saved.

    Attributes:
        path: The index's file.
        tree: The tree as it is now.
        artifact: The version that it was saved as, which keeps the chunks alive.
        manifest: The version's digest: another store may lie in the same place by now.
        known: Digest of a chunk by what the disk said of its parts.
    """

    path: Path
    tree: Tree
    artifact: str = ""
    manifest: str = ""
    known: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path, store: str, tree: Tree, source: Path) -> StatIndex:
        """Read the index of a tree in a store; a missing or broken one knows nothing."""
        name = hashlib.sha256(f"{store}\0{source.absolute()}".encode(errors="surrogateescape")).hexdigest()[:32]
        path = folder / f"{name}.json"
        try:
            document = json.loads(path.read_bytes())
            return cls(path, tree, document["artifact"], document["manifest"], document["chunks"])
        except (OSError, ValueError, KeyError, TypeError):
            return cls(path, tree)

    def digest(self, block: Block) -> str | None:
        """Return the digest of a block whose files are unchanged, or None."""
        return self.known.get(self._key(block)) if self.known else None

    def save(self, artifact: str, manifest: str, chunks: list[Chunk]) -> None:
        """Keep what was saved, for the next time; nothing where all of it is as fresh as a step's own output."""
        settled = time.time_ns() - int(_RACY_SECONDS * 1e9)
        calm = [chunk for chunk in chunks if all(self._changed(part[0]) < settled for part in chunk.block)]
        if not calm:
            return
        digests = {self._key(chunk.block): chunk.digest for chunk in calm}
        draft = self.path.with_suffix(f".{secrets.token_hex(8)}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            draft.write_text(json.dumps({"artifact": artifact, "manifest": manifest, "chunks": digests}))
            draft.replace(self.path)
        except OSError as refused:  # the version is published: the next save reads the files again, that is all
            logger.warning("What was saved cannot be remembered in %s: %s", self.path.parent, refused)

    def _changed(self, index: int) -> int:
        info = self.tree.stats[index]
        return max(info.st_mtime_ns, info.st_ctime_ns)

    def _key(self, block: Block) -> str:
        said = []
        for index, offset, length in block:
            info = self.tree.stats[index]
            said.append(
                (self.tree.entries[index].path, info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns, offset, length)
            )
        return hashlib.blake2b(repr(said).encode(), digest_size=16).hexdigest()
