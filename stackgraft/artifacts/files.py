"""Files and folders on their way into chunks and back: bounded memory, several chunks at once, no path that escapes."""

from __future__ import annotations

import mmap
import os
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from stackgraft.artifacts.content import CHUNK_SIZE, PACKED_BELOW, Block, Chunk, Entry, Manifest
from stackgraft.artifacts.objects import Objects
from stackgraft.errors import ArtifactCorruptedError, ArtifactError


@dataclass(frozen=True, slots=True)
class Tree:
    """A file, or a folder with all below it, as it lies on the disk.

    Attributes:
        root: The folder that the entries' paths start from.
        entries: Its files, folders and symlinks, sorted by path.
        stats: What the disk said about each, in the same order.
    """

    root: Path
    entries: Sequence[Entry]
    stats: Sequence[os.stat_result]

    @classmethod
    def at(cls, path: Path) -> Tree:
        """List a file or a folder.

        Raises:
            ArtifactError: Something in it is neither file, folder nor symlink, or a symlink leads out of it.
        """
        root, found = (path, sorted(_below(path, ""))) if path.is_dir() else (path.parent, [(path.name, path.stat())])
        return cls(root, [_entry(root, name, info) for name, info in found], [info for _, info in found])


def _below(folder: Path, prefix: str) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(folder) as found:
        for item in found:
            yield prefix + item.name, item.stat(follow_symlinks=False)
            if item.is_dir(follow_symlinks=False):
                yield from _below(Path(item.path), f"{prefix}{item.name}/")


def _entry(root: Path, path: str, info: os.stat_result) -> Entry:
    if not path.isprintable() and _unencodable(path):
        raise ArtifactError("A file's name is not UTF-8", where=ascii(os.path.join(root, path)), next_step="rename it")  # noqa: PTH118 - a name, not a path
    if stat.S_ISREG(info.st_mode):
        return Entry(path, size=info.st_size, executable=bool(info.st_mode & stat.S_IXUSR))
    if stat.S_ISDIR(info.st_mode):
        return Entry(path)
    if stat.S_ISLNK(info.st_mode) and _stays(root / path, root):
        return Entry(path, target=os.fspath((root / path).readlink()))
    raise ArtifactError(
        "A folder holds something that cannot be stored", where=f"{root / path}", why="it is a device, a socket, or a link that leads out"
    )


def _unencodable(path: str) -> bool:
    return any("\ud800" <= letter <= "\udfff" for letter in path)


def _stays(link: Path, root: Path) -> bool:
    return not link.readlink().is_absolute() and link.resolve().is_relative_to(root.resolve())


@dataclass(frozen=True, slots=True)
class BlockReader:
    """Reads blocks of a tree into buffers that are used again: one for each thread.

    Packs are read in turn: threads that open thousands of files at once spend twice the time on handing over the interpreter.

    Attributes:
        tree: The files.
    """

    tree: Tree
    _buffers: threading.local = field(default_factory=threading.local)
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def read(self, block: Block) -> memoryview:
        """Return a block's bytes, valid until the same thread reads the next.

        Raises:
            ArtifactError: A file changed while it was read.
        """
        buffer, position = self._buffer(), 0
        with self._turn if len(block) > 1 else nullcontext():
            for index, offset, length in block:
                self._fill(buffer[position : position + length], index, offset)
                position += length
        return buffer[:position]

    def _buffer(self) -> memoryview:
        if not hasattr(self._buffers, "whole"):
            self._buffers.whole = memoryview(mmap.mmap(-1, CHUNK_SIZE))  # the allocator would keep the memory once it is freed
        whole: memoryview = self._buffers.whole
        return whole

    def _fill(self, view: memoryview, index: int, offset: int) -> None:
        path, listed = f"{self.tree.root}/{self.tree.entries[index].path}", self.tree.stats[index]
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            read = os.preadv(file, [view], offset)
            now = os.fstat(file)
            if read != len(view) or (now.st_size, now.st_mtime_ns, now.st_ino) != (listed.st_size, listed.st_mtime_ns, listed.st_ino):
                raise ArtifactError("A file changed while it was saved", where=path, next_step="save it once nothing writes to it")
        finally:
            os.close(file)


def read_value(manifest: Manifest, objects: Objects) -> memoryview:
    """Return a value's bytes, verified."""
    if len(manifest.chunks) == 1:
        [chunk] = manifest.chunks
        return objects.get_chunk(chunk.digest, chunk.size)
    content = memoryview(bytearray(manifest.size))

    def read(chunk: Chunk) -> None:
        for view, (_, offset, length) in parts_of(chunk, objects):
            content[offset : offset + length] = view

    objects.each(read, manifest.chunks)
    return content


def lay(manifest: Manifest, folder: Path, objects: Objects) -> None:
    """Lay an artifact's files into an empty folder, read-only.

    Raises:
        ArtifactCorruptedError: A chunk is damaged, or a symlink leads out of the folder.
        OSError: The disk refused.
    """
    files = [entry for entry in manifest.entries if entry.size is not None]
    links = [entry for entry in manifest.entries if entry.target is not None]
    for entry in manifest.entries:
        if entry.size is None and entry.target is None:
            (folder / entry.path).mkdir(parents=True)
    for entry in files:
        if not entry.size:
            (folder / entry.path).touch()
    objects.each(_writer(manifest, folder, objects), manifest.chunks)
    for entry in files:
        if not entry.size or entry.size >= PACKED_BELOW:  # others were made so
            os.chmod(f"{folder}/{entry.path}", _mode(entry))  # noqa: PTH101 - a string, as above
    for entry in links:
        _link(folder, entry)


def _writer(manifest: Manifest, folder: Path, objects: Objects) -> Callable[[Chunk], None]:
    turn = threading.Lock()  # as packs are read in turn

    def write_pack(chunk: Chunk) -> None:
        parts = list(parts_of(chunk, objects))  # fetched and verified before it is this one's turn
        with turn:
            for view, (index, offset, _) in parts:
                entry = manifest.entries[index]
                _write(f"{folder}/{entry.path}", view, offset, _made_mode(entry))

    def write_slice(chunk: Chunk) -> None:
        [(index, offset, _)] = chunk.block
        entry = manifest.entries[index]
        for piece in objects.pieces(chunk.digest, chunk.size):
            _write(f"{folder}/{entry.path}", piece, offset, _made_mode(entry))
            offset += len(piece)

    return lambda chunk: write_slice(chunk) if len(chunk.block) == 1 else write_pack(chunk)


def parts_of(chunk: Chunk, objects: Objects) -> Iterator[tuple[memoryview, tuple[int, int, int]]]:
    """Yield each part of a chunk with its bytes, verified."""
    content, position = objects.get_chunk(chunk.digest, chunk.size), 0
    for part in chunk.block:
        yield content[position : position + part[2]], part
        position += part[2]


def _mode(entry: Entry) -> int:
    return 0o555 if entry.executable else 0o444


def _made_mode(entry: Entry) -> int:
    """Return the mode that a file is made with: a small one is written at once, so that it need not be changed later."""
    return _mode(entry) if (entry.size or 0) < PACKED_BELOW else 0o644


def _write(path: str, view: memoryview, offset: int, mode: int) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        while view:
            written = os.pwrite(file, view, offset)
            view, offset = view[written:], offset + written
    finally:
        os.close(file)


def _link(folder: Path, entry: Entry) -> None:
    link = folder / entry.path
    link.symlink_to(entry.target or "")
    if not _stays(link, folder):
        raise ArtifactCorruptedError("A manifest holds a link that leads out of its folder", where=entry.path)
