"""What is saved: a value's bytes, or a file or folder; either way entries, and the bytes of any block of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from stackgraft.artifacts.content import Block, Chunk, Entry
from stackgraft.artifacts.files import BlockReader, Tree
from stackgraft.artifacts.serializers import Serializer
from stackgraft.artifacts.stat_index import StatIndex
from stackgraft.errors import ArtifactError

if TYPE_CHECKING:
    from collections.abc import Buffer  # type: ignore[attr-defined,unused-ignore]  # Python 3.12; a type alone

VALUE = "value"
"""The path of the one entry that a value has."""


class Source(Protocol):
    """What a store saves.

    Attributes:
        type: What will read it.
        entries: Its files, folders and symlinks.
        meta: What its reader needs beside the bytes.
    """

    @property
    def type(self) -> str: ...  # noqa: D102 - an attribute
    @property
    def entries(self) -> Sequence[Entry]: ...  # noqa: D102 - an attribute
    @property
    def meta(self) -> Mapping[str, Any]: ...  # noqa: D102 - an attribute

    def known(self, block: Block) -> str | None:
        """Return the digest of a block that need not be read, or None."""

    def read(self, block: Block) -> Buffer:
        """Return a block's bytes, valid until the same thread reads the next."""

    def saved(self, artifact: str, manifest: str, chunks: list[Chunk]) -> None:
        """Remember what was saved, for the next time."""


@dataclass(slots=True)
class ValueSource:
    """A value as its serializer's buffers, which are sent from where they lie.

    Attributes:
        type: The serializer's name.
        meta: What the serializer needs beside the bytes.
        buffers: The bytes, in order.
    """

    type: str
    meta: Mapping[str, Any]
    buffers: Sequence[memoryview]
    entries: Sequence[Entry] = field(init=False)

    def __post_init__(self) -> None:
        """Describe the one entry."""
        self.entries = [Entry(VALUE, size=sum(map(len, self.buffers)))]

    @classmethod
    def of(cls, value: object, serializer: Serializer) -> ValueSource:
        """Serialize a value."""
        buffers, meta = serializer.dump(value)
        return cls(serializer.name, meta, [memoryview(buffer).cast("B") for buffer in buffers if memoryview(buffer).nbytes])

    def known(self, block: Block) -> str | None:
        """Return None: values are always hashed."""
        del block
        return None

    def read(self, block: Block) -> memoryview:
        """Return a slice of the bytes, copied only where it spans two buffers."""
        [(_, offset, length)] = block
        slices = []
        for buffer in self.buffers:
            if length and offset < len(buffer):
                slices.append(buffer[offset : offset + length])
                length -= len(slices[-1])
            offset = max(0, offset - len(buffer))
        return slices[0] if len(slices) == 1 else memoryview(b"".join(slices))

    def saved(self, artifact: str, manifest: str, chunks: list[Chunk]) -> None:
        """Remember nothing."""


class PathSource:
    """A file or folder, whose unchanged parts the index knows."""

    def __init__(self, path: Path, index_folder: Path, store: str) -> None:
        if not path.exists():
            raise ArtifactError("There is no such file or folder", where=str(path))
        tree = Tree.at(path)
        self.type, self.entries = "directory" if path.is_dir() else "file", tree.entries
        self.meta: Mapping[str, Any] = {}
        self.index = StatIndex.load(index_folder, store, tree, path)
        self._reader = BlockReader(tree)

    def known(self, block: Block) -> str | None:
        """Return the digest of a block whose files are unchanged since they were saved."""
        return self.index.digest(block)

    def read(self, block: Block) -> memoryview:
        """Read a block from the disk."""
        return self._reader.read(block)

    def saved(self, artifact: str, manifest: str, chunks: list[Chunk]) -> None:
        """Remember the chunks by what the disk says of the files."""
        self.index.save(artifact, manifest, chunks)
