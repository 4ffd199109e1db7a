"""What an artifact is made of: its manifest, and the plan by which its bytes become chunks.

A chunk is an immutable object named by SHA-256. Large files have chunks of their own; small ones share packs, so that
ten thousand little files are a handful of objects. The plan depends on paths and sizes alone, and the manifest on
content alone, so the same content has the same digest on every machine.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stackgraft.errors import ArtifactCorruptedError, ArtifactError
from stackgraft.oci import canonical_json

CHUNK_SIZE = 8 << 20
"""Bytes in a chunk: larger ones cost more memory and time than they save requests."""
PACKED_BELOW = 1 << 20
"""Files below this many bytes share packs."""
FORMAT = 1
"""The manifest's version; a reader refuses newer ones."""

Part = tuple[int, int, int]
"""A slice of a file: the entry's index, the offset in it, the length; the last two in bytes."""
Block = tuple[Part, ...]
"""What one chunk holds, in order."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file, folder or symlink: a file has a size, a symlink a target, a folder neither.

    Attributes:
        path: Its path below the root, with forward slashes.
        size: Bytes of a file.
        target: Where a symlink points.
        executable: Whether a file may be run.
    """

    path: str
    size: int | None = None
    target: str | None = None
    executable: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the entry without what is at its default, so that the manifest stays small."""
        document: dict[str, Any] = {"path": self.path}
        if self.size is not None:
            document["size"] = self.size
        if self.target is not None:
            document["target"] = self.target
        if self.executable:
            document["executable"] = True
        return document


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk of an artifact.

    Attributes:
        digest: Its hex SHA-256.
        block: What it holds.
    """

    digest: str
    block: Block

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(length for _, _, length in self.block)


@dataclass(frozen=True, slots=True)
class Manifest:
    """All that an artifact is, by content.

    Attributes:
        type: What reads it: a serializer's name, ``file`` or ``directory``.
        entries: Its files, folders and symlinks, sorted by path; one for a value.
        chunks: Where their bytes are.
        meta: What the serializer needs beside the bytes.
    """

    type: str
    entries: Sequence[Entry]
    chunks: Sequence[Chunk]
    meta: Mapping[str, Any]

    @property
    def size(self) -> int:
        """Bytes of content."""
        return sum(entry.size or 0 for entry in self.entries)

    def to_bytes(self) -> bytes:
        """Return the one form of the manifest in bytes, whose digest names the artifact."""
        chunks = [[chunk.digest, chunk.block] for chunk in self.chunks]
        entries = [entry.to_json() for entry in self.entries]
        return canonical_json({"format": FORMAT, "type": self.type, "entries": entries, "chunks": chunks, "meta": self.meta})

    @classmethod
    def from_bytes(cls, content: bytes) -> Manifest:
        """Read what `to_bytes` made.

        Raises:
            ArtifactError: A newer stackgraft wrote it.
            ArtifactCorruptedError: It is no manifest, or names a path outside of its folder.
        """
        try:
            document = json.loads(content)
            if document["format"] > FORMAT:
                raise ArtifactError("The artifact was written by a newer stackgraft", next_step="pip install --upgrade stackgraft")
            manifest = cls(document["type"], [Entry(**entry) for entry in document["entries"]], _chunks(document), document["meta"])
        except (KeyError, TypeError, ValueError) as broken:
            why = f"{type(broken).__name__}: {broken}"
            raise ArtifactCorruptedError("A manifest cannot be read", where=f"chunk {_digest(content)}", why=why) from broken
        manifest._check()
        return manifest

    def _check(self) -> None:
        """Refuse what would lead out of the folder that the artifact is laid into; links are checked once they lie there."""
        paths = {entry.path for entry in self.entries}
        folders = {"", *(entry.path for entry in self.entries if entry.size is None and entry.target is None)}
        inside = all(is_inner(path) and path.rpartition("/")[0] in folders for path in paths)
        if len(paths) < len(self.entries) or not inside:
            raise ArtifactCorruptedError("A manifest names a path twice, or one that is not in a folder of its own")


def _chunks(document: Mapping[str, Any]) -> list[Chunk]:
    return [Chunk(digest, tuple((index, offset, length) for index, offset, length in block)) for digest, block in document["chunks"]]


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def is_inner(path: str) -> bool:
    """Tell whether a relative path with forward slashes stays below its root, without a detour."""
    return not {"", ".", ".."} & set(path.split("/")) and "\0" not in path


def plan(entries: Sequence[Entry]) -> list[Block]:
    """Return what each chunk will hold: a slice of a large file, or a run of small ones."""
    blocks: list[Block] = []
    pack: list[Part] = []
    packed = 0
    for index, entry in enumerate(entries):
        size = entry.size or 0
        if size >= PACKED_BELOW:
            blocks += [((index, start, length),) for start, length in cuts(size)]
            continue
        if packed + size > CHUNK_SIZE:
            blocks.append(tuple(pack))
            pack, packed = [], 0
        if size:
            pack.append((index, 0, size))
            packed += size
    return [*blocks, tuple(pack)] if pack else blocks


def cuts(size: int) -> Iterator[tuple[int, int]]:
    """Yield the offset and length of each chunk of that many bytes."""
    for start in range(0, size, CHUNK_SIZE):
        yield start, min(CHUNK_SIZE, size - start)
