"""Content as immutable chunks named by SHA-256, and the manifest that says which bytes make which file.

A file is a list of pieces, each a slice of a chunk. Large files have chunks of their own; small ones share a pack, so
that ten thousand little files are a handful of objects.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stackgraft.errors import ArtifactCorruptedError, ArtifactError
from stackgraft.oci import canonical_json

CHUNK_SIZE = 8 << 20
"""Bytes in a chunk: larger ones cost more memory and time than they save requests."""
PACKED_BELOW = 1 << 20
"""Files below this many bytes share packs."""
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Entry:
    """One file, folder or symlink of a tree.

    Attributes:
        path: Its path below the root, with forward slashes; empty for a single value or file.
        kind: ``file``, ``folder`` or ``link``.
        size: Bytes.
        executable: Whether it may be run.
        target: Where a symlink points.
        pieces: ``(chunk's hex digest, offset, length)`` in order.
    """

    path: str
    kind: str = "file"
    size: int = 0
    executable: bool = False
    target: str = ""
    pieces: Sequence[tuple[str, int, int]] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the entry without what is at its default, so that the manifest stays small."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return {name: value for name, value in fields.items() if value not in ("", 0, False, ()) and (name, value) != ("kind", "file")}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Entry:
        """Read what `to_json` made."""
        pieces = tuple((digest, offset, length) for digest, offset, length in document.get("pieces", ()))
        return cls(**{"path": "", **document, "pieces": pieces})


@dataclass(slots=True)
class ChunkWriter:
    """Cuts content into chunks, stores each once, and returns the pieces.

    Attributes:
        put: Stores a chunk under its hex digest; called again for a chunk that is there, it does nothing.
    """

    put: Callable[[str, bytes], None]
    _pack: bytearray = field(default_factory=bytearray)
    _waiting: list[tuple[int, int, int]] = field(default_factory=list)
    _pieces: dict[int, list[tuple[str, int, int]]] = field(default_factory=dict)

    def add(self, key: int, blocks: Iterable[bytes], size: int) -> None:
        """Take the content of one file; its pieces are known after `finish`."""
        self._pieces[key] = []
        for block in blocks:
            if size < PACKED_BELOW:
                self._packed(key, block)
            else:
                self._pieces[key].append((self._stored(block), 0, len(block)))

    def finish(self) -> dict[int, list[tuple[str, int, int]]]:
        """Store what waits in the pack and return the pieces by key."""
        self._flush()
        return self._pieces

    def _packed(self, key: int, block: bytes) -> None:
        if len(self._pack) + len(block) > CHUNK_SIZE:
            self._flush()
        self._waiting.append((key, len(self._pack), len(block)))
        self._pack += block

    def _flush(self) -> None:
        digest = self._stored(bytes(self._pack)) if self._pack else ""
        for key, offset, length in self._waiting:
            self._pieces[key].append((digest, offset, length))
        self._pack.clear()
        self._waiting.clear()

    def _stored(self, block: bytes) -> str:
        digest = hashlib.sha256(block).hexdigest()
        self.put(digest, block)
        return digest


def blocks_of(path: Path) -> Iterator[bytes]:
    """Yield a file's content in blocks of a chunk's size."""
    with path.open("rb") as file:
        while block := file.read(CHUNK_SIZE):
            yield block


def write_bytes(content: bytes, put: Callable[[str, bytes], None]) -> list[Entry]:
    """Store a value's bytes; return its one entry."""
    writer = ChunkWriter(put)
    writer.add(0, (content[start : start + CHUNK_SIZE] for start in range(0, len(content), CHUNK_SIZE)), len(content))
    return [Entry("", size=len(content), pieces=tuple(writer.finish()[0]))]


def write_tree(root: Path, put: Callable[[str, bytes], None]) -> list[Entry]:
    """Store a file, or a folder with all below it; return its entries, sorted by path.

    Raises:
        ArtifactError: Something in it is neither file, folder nor symlink, or a symlink leads out of it.
    """
    writer, entries = ChunkWriter(put), [_described(root, path) for path in _walk(root)]
    for index, entry in enumerate(entries):
        if entry.kind == "file":
            writer.add(index, blocks_of(root / entry.path), entry.size)
    pieces = writer.finish()
    return [_with_pieces(entry, pieces.get(index, ())) for index, entry in enumerate(entries)]


def _with_pieces(entry: Entry, pieces: Sequence[tuple[str, int, int]]) -> Entry:
    size = sum(length for _, _, length in pieces)  # what was read, even if the file grew since it was listed
    return Entry(entry.path, entry.kind, size, entry.executable, entry.target, tuple(pieces))


def _walk(root: Path) -> list[str]:
    if not root.is_dir():
        return [""]
    found = [Path(folder, name).relative_to(root).as_posix() for folder, folders, files in os.walk(root) for name in (*folders, *files)]
    return sorted(found)


def _described(root: Path, relative: str) -> Entry:
    path = root / relative
    info = path.lstat() if relative else path.stat()
    if stat.S_ISREG(info.st_mode):
        return Entry(relative, size=info.st_size, executable=bool(info.st_mode & stat.S_IXUSR))
    if stat.S_ISDIR(info.st_mode):
        return Entry(relative, kind="folder")
    if stat.S_ISLNK(info.st_mode) and path.resolve().is_relative_to(root.resolve()) and not path.readlink().is_absolute():
        return Entry(relative, kind="link", target=os.fspath(path.readlink()))
    raise ArtifactError(
        "A folder holds something that cannot be stored", where=str(path), why="it is a device, a socket, or a link that leads out"
    )


def manifest_of(kind: str, entries: Sequence[Entry], meta: dict[str, Any]) -> bytes:
    """Return the manifest: the same bytes for the same content, whatever the machine, path or day."""
    return canonical_json({"format": FORMAT, "type": kind, "entries": [entry.to_json() for entry in entries], "meta": meta})


def read_pieces(entry: Entry, get: Callable[[str], bytes]) -> Iterator[bytes]:
    """Yield a file's content; `get` returns a chunk by its hex digest, verified."""
    for digest, offset, length in entry.pieces:
        block = get(digest)[offset : offset + length]
        if len(block) != length:
            raise ArtifactCorruptedError("A chunk is shorter than its manifest says", where=f"chunk sha256:{digest}")
        yield block


def read_tree(entries: Sequence[Entry], root: Path, get: Callable[[str], bytes]) -> None:
    """Lay a file or folder at `root`, read-only, from its entries.

    Raises:
        ArtifactCorruptedError: A path leads out of the root.
    """
    for entry in entries:
        path = root / entry.path if entry.path else root
        if ".." in Path(entry.path).parts or Path(entry.path).is_absolute():
            raise ArtifactCorruptedError("A manifest names a path outside of its folder", where=entry.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if entry.kind == "folder":
            path.mkdir(parents=True, exist_ok=True)
        elif entry.kind == "link":
            path.symlink_to(entry.target)
        else:
            with path.open("wb") as file:
                file.writelines(read_pieces(entry, get))
            path.chmod(0o555 if entry.executable else 0o444)
