"""The artifact store over any object storage that obstore speaks to: flavors say only how to open it.

Layout, all objects create-only but the empty ones::

    cas/sha256/ab/HEX             a chunk, or a manifest, named by the SHA-256 of its plain bytes
    refs/NAME/9999999998          a version, counted down: one create-only put is the publication
    tags/NAME/TAG/9999999998      where a tag points, moved by taking the next number
    deleted/HEX.TOKEN             a manifest whose version was deleted less than a day ago

Readers see nothing before the ref. A crash leaves at most chunks that nothing names, which `gc` collects.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from obstore.exceptions import BaseError
from pydantic import Field

from stackgraft.artifacts import serializers
from stackgraft.artifacts.cache import ReadCache
from stackgraft.artifacts.catalog import Catalog
from stackgraft.artifacts.content import PACKED_BELOW, Block, Chunk, Manifest, plan
from stackgraft.artifacts.files import read_value
from stackgraft.artifacts.objects import Objects
from stackgraft.artifacts.ref import ArtifactRef, check_name
from stackgraft.artifacts.source import VALUE, PathSource, Source, ValueSource
from stackgraft.artifacts.stat_index import StatIndex
from stackgraft.artifacts.upkeep import GcReport, VerifyReport, collect, verify
from stackgraft.components import Component
from stackgraft.errors import ArtifactCorruptedError, BackendError, ConfigError, UntrustedArtifactError
from stackgraft.model import AnchoredPath

if TYPE_CHECKING:
    from obstore.store import ObjectStore


class ObjectArtifactStore(Component):
    """Versioned, content-addressed artifacts in an object storage.

    Attributes:
        cache: Where files, folders and large values are laid for reading, by digest, and what was saved is remembered.
        trust_pickle: Whether pickled artifacts of this store may be read, which runs their code.
        compression: Whether chunks become zstd frames where a probe says that it pays.
        unchecked_writes: Write even to a storage that ignores ``If-None-Match``, where racing writers lose versions.
    """

    role: ClassVar[str] = "artifact_store"
    ordered: ClassVar[bool] = True
    streamed: ClassVar[bool] = True
    cache: AnchoredPath = Field(
        default=Path("~/.cache/stackgraft/artifacts"), validate_default=True, description="Folder of the read cache."
    )
    trust_pickle: bool = Field(default=False, description="Whether pickled artifacts may be read.")
    compression: Literal["auto", "none"] = Field(default="none", description="Whether chunks are compressed where it pays.")
    unchecked_writes: bool = Field(default=False, description="Whether to write where racing writers may lose versions.")

    def open(self) -> ObjectStore:
        """Return the object storage."""
        raise NotImplementedError

    @property
    def workers(self) -> int:
        """Requests at once."""
        return 4

    @property
    def place(self) -> str:
        """What errors call the storage, such as ``s3://bucket/prefix``."""
        raise NotImplementedError

    def save(self, name: str, value: object, *, serializer: str | None = None) -> ArtifactRef:
        """Store a value as the artifact's next version; content equal to the newest version is that version."""
        check_name(name)
        source = self._source(value, serializer)
        _check_conditions(self)
        manifest = Manifest(source.type, source.entries, self._stored(name, source), source.meta)
        content = manifest.to_bytes()
        digest = hashlib.sha256(content).hexdigest()
        self.objects.put_chunk(digest, content, plain=True)
        saved = self.catalog.publish(name, f"sha256:{digest}", manifest)
        source.saved(str(saved), saved.digest, list(manifest.chunks))
        return saved

    def load(self, reference: ArtifactRef | str) -> Any:
        """Return the value, with every byte verified; a file, folder or large array lies in the read-only cache."""
        found = self.resolve(reference) if isinstance(reference, str) else reference
        if found.type == serializers.PICKLE and not self.trust_pickle:
            raise UntrustedArtifactError(
                "Reading a pickled artifact would run its code",
                where=str(found),
                next_step="set trust_pickle = true on the store if you trust all who write to it",
            )
        manifest = self.manifest(found)
        if found.type in {"file", "directory"}:
            folder = self._laid(found, manifest)
            return folder if found.type == "directory" else folder / manifest.entries[0].path
        reader = serializers.named(found.type)
        if reader.mapped and manifest.size >= PACKED_BELOW:
            return reader.load_file(self._laid(found, manifest) / VALUE, manifest.meta)
        return reader.load(read_value(manifest, self.objects), manifest.meta)

    def resolve(self, reference: str) -> ArtifactRef:
        """Return the artifact that ``name``, ``name@VERSION`` or ``name@TAG`` means now."""
        return self.catalog.resolve(reference)

    def versions(self, name: str) -> Sequence[int]:
        """Return the versions, oldest first."""
        return self.catalog.versions(check_name(name))

    def names(self) -> Sequence[str]:
        """Return the names of all artifacts, sorted."""
        return self.catalog.names()

    def tag(self, reference: ArtifactRef, tag: str, *, instead_of: int | None = None) -> None:
        """Let ``name@TAG`` mean that version from now on.

        Args:
            reference: The version.
            tag: The tag.
            instead_of: Move it only from this version; 0 means that it must be new. None moves it from wherever it is.

        Raises:
            ArtifactError: The tag looks like a version, or it points elsewhere.
        """
        self.catalog.tag(reference, tag, instead_of=instead_of)

    def delete(self, reference: ArtifactRef) -> None:
        """Let a version be no more; its number is never given again, and `gc` collects its bytes after a day."""
        self.catalog.delete(reference)

    def manifest(self, reference: ArtifactRef) -> Manifest:
        """Return what the artifact is made of."""
        return Manifest.from_bytes(bytes(self.objects.get_chunk(_hex(reference))))

    def gc(self, *, dry_run: bool = False) -> GcReport:
        """Delete the chunks that no version names, but for what is younger than a day.

        Raises:
            BackendError: The storage's clock cannot be trusted; nothing was deleted.
        """
        return collect(self.objects, dry_run=dry_run)

    def verify(self) -> VerifyReport:
        """Read and check every byte of every version."""
        return verify(self.objects)

    @property
    def objects(self) -> Objects:
        """The objects of the store."""
        return _opened(self)

    @property
    def catalog(self) -> Catalog:
        """The names, versions and tags."""
        return Catalog(self.objects)

    def _source(self, value: object, serializer: str | None) -> Source:
        if isinstance(value, Path) and serializer is None:
            return PathSource(value, self.cache / "index", self.place)
        return ValueSource.of(value, serializers.for_value(value, serializer))

    def _stored(self, name: str, source: Source) -> list[Chunk]:
        """Store what the newest version, and the version that the index speaks of, do not have."""
        blocks = plan(source.entries)
        present = self._present(name) if blocks else frozenset()
        indexed = isinstance(source, PathSource) and self._alive(source.index)

        def stored(block: Block) -> Chunk:
            digest = source.known(block) if indexed else None
            if digest is None:
                content = source.read(block)
                digest = hashlib.sha256(content).hexdigest()
                if digest not in present:
                    self.objects.put_chunk(digest, content)
            return Chunk(digest, block)

        return self.objects.each(stored, blocks)

    def _present(self, name: str) -> frozenset[str]:
        newest = self.catalog.newest(name)
        try:
            return frozenset(chunk.digest for chunk in self.manifest(newest).chunks) if newest else frozenset()
        except ArtifactCorruptedError:
            return frozenset()  # a damaged version is no reason not to write a sound one

    def _alive(self, index: StatIndex) -> bool:
        name, _, version = index.artifact.rpartition("@")
        found = self.catalog.find(name, int(version)) if name else None
        return found is not None and found.digest == index.manifest

    def _laid(self, ref: ArtifactRef, manifest: Manifest) -> Path:
        return ReadCache(self.cache).laid(_hex(ref), manifest, self.objects)


def _hex(reference: ArtifactRef) -> str:
    return reference.digest.partition(":")[2]


@lru_cache(maxsize=16)
def _opened(store: ObjectArtifactStore) -> Objects:
    try:
        storage = store.open()
    except BaseError as refused:
        why = str(refused).splitlines()[0]
        raise ConfigError("The artifact store cannot be opened", where=store.place, why=why, next_step="correct its fields") from refused
    compress = store.compression == "auto"
    return Objects(storage, store.place, store.workers, ordered=store.ordered, streamed=store.streamed, compress=compress)


@lru_cache(maxsize=16)
def _check_conditions(store: ObjectArtifactStore) -> None:
    """Ask the storage once whether it honors conditions.

    Raises:
        BackendError: It does not, and the user has not accepted that.
    """
    if not store.unchecked_writes and not store.objects.honors_conditions():
        raise BackendError(
            "The storage cannot be shared by writers",
            where=store.place,
            why="it ignores If-None-Match, so that one of two racing writers would lose its version without a word",
            next_step="use a storage that honors it, or set unchecked_writes = true where only one writer works at a time",
        )
