"""An object storage with stackgraft's errors, and chunks that are verified on every read."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, GenericError

from stackgraft.artifacts import compression
from stackgraft.errors import ArtifactCorruptedError, BackendError

if TYPE_CHECKING:
    from collections.abc import Buffer  # type: ignore[attr-defined,unused-ignore]  # Python 3.12; a type alone

    from obstore import ObjectMeta
    from obstore.store import ObjectStore

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")
SPARED = timedelta(days=1)
"""How long `gc` spares what nothing names, since a writer may be about to name it."""
CLOCK_KEY = "clock"
PIECE_SIZE = 1 << 20
"""Bytes of a piece at least, which is no less than what a small file has."""
_PASSING = re.compile(r"timed out|error sending request|connection (?:reset|closed)|status: (?:429|5\d\d)|SlowDown", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Objects:
    """The objects of an artifact store.

    Attributes:
        storage: Where they are.
        place: What errors call it, such as ``s3://bucket/prefix``.
        workers: How many requests run at once.
        ordered: Whether listings come sorted by key.
        streamed: Whether large chunks are read piece by piece, which a folder does slower than whole.
        compress: Whether chunks for which a probe says that it pays are stored as zstd frames.
    """

    storage: ObjectStore
    place: str
    workers: int
    ordered: bool = False
    streamed: bool = False
    compress: bool = False

    def read(self, key: str) -> memoryview:
        """Return an object's content.

        Raises:
            FileNotFoundError: There is none.
            BackendError: The storage refused or was out of reach.
        """
        with self._translated(key, absent_is_known=True):
            return memoryview(obstore.get(self.storage, key).bytes())

    def modified(self, key: str) -> datetime | None:
        """Return when an object was stored, without reading it; None where there is none."""
        try:
            with self._translated(key, absent_is_known=True):
                return obstore.head(self.storage, key)["last_modified"]
        except FileNotFoundError:
            return None

    def create(self, key: str, content: Buffer) -> bool:
        """Store an object unless it is there; tell whether it was stored."""
        try:
            with self._translated(key):
                obstore.put(self.storage, key, content, mode="create")
        except AlreadyExistsError:
            return False
        return True

    def replace(self, key: str, content: Buffer) -> None:
        """Store an object, atomically in place of what is there."""
        with self._translated(key):
            obstore.put(self.storage, key, content, mode="overwrite", use_multipart=False)

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects."""
        with self._translated(f"{len(keys)} objects"):
            obstore.delete(self.storage, keys)

    def folders(self, prefix: str) -> list[str]:
        """Return the names of the folders directly below a prefix, sorted."""
        with self._translated(prefix):
            listing = obstore.list_with_delimiter(self.storage, prefix)
        return sorted(path.rpartition("/")[2] for path in listing["common_prefixes"])

    def first(self, prefix: str) -> ObjectMeta | None:
        """Return the object whose key is the first below a prefix, where only objects lie there; None where none does."""
        with self._translated(prefix):
            pages = obstore.list(self.storage, prefix, chunk_size=1000)
            found = next(iter(pages), []) if self.ordered else [item for page in pages for item in page]
        return min(found, key=lambda item: item["path"], default=None)

    def walk(self, prefix: str) -> Iterator[ObjectMeta]:
        """Yield all objects below a prefix."""
        with self._translated(prefix):
            for found in obstore.list(self.storage, prefix):
                yield from found

    def put_chunk(self, digest: str, content: Buffer, *, plain: bool = False) -> None:
        """Store a chunk under its hex digest, or find it; plain keeps it from being compressed.

        One that was there for half as long as `gc` spares is stored again, which renews it: nothing may name it yet.
        """
        key, stored = chunk_key(digest), content if plain or not self.compress else compression.packed(content)
        if not self.create(key, stored) and self._age(key) > SPARED / 2:
            self.replace(key, stored)

    def get_chunk(self, digest: str, size: int | None = None) -> memoryview:
        """Return a chunk's bytes, verified.

        Args:
            digest: Its hex digest.
            size: Its length in bytes; what is stored shorter is a zstd frame. None where it was stored plain.

        Raises:
            ArtifactCorruptedError: It is missing, or does not match its digest.
        """
        with self._chunk(digest) as key:
            content = self.read(key)
        return self._plain(content, digest, size)

    def pieces(self, digest: str, size: int) -> Iterator[memoryview]:
        """Yield a chunk's bytes, where the storage streams in pieces, so that few of them are in memory at once.

        The last one is followed by the verdict: whoever has written them throws them away if that is an error.

        Raises:
            ArtifactCorruptedError: As for `get_chunk`.
        """
        if not self.streamed:
            yield self.get_chunk(digest, size)
            return
        hasher = hashlib.sha256()
        with self._chunk(digest) as key, self._translated(key, absent_is_known=True):
            found = obstore.get(self.storage, key)
            if found.meta["size"] != size:  # a frame, which is unpacked whole
                yield self._plain(memoryview(found.bytes()), digest, size)
                return
            for piece in found.stream(min_chunk_size=PIECE_SIZE):
                hasher.update(piece)
                yield memoryview(piece)
        self.check(digest, hasher.hexdigest())

    def check(self, digest: str, found: str) -> None:
        """Refuse a chunk whose bytes have another digest than its name says."""
        if found != digest:
            raise self._damaged("A chunk does not match its digest and was refused", digest)

    def now(self) -> datetime:
        """Return the storage's own time, which the times of its objects are compared with."""
        self.replace(CLOCK_KEY, b"")
        with self._translated(CLOCK_KEY):
            return obstore.head(self.storage, CLOCK_KEY)["last_modified"]

    def honors_conditions(self) -> bool:
        """Tell whether the storage refuses to create what is there already; many ignore the condition."""
        key = f"probes/{secrets.token_hex(8)}"
        try:
            return self.create(key, b"1") and not self.create(key, b"2")
        finally:
            self.delete([key])

    def each(self, function: Callable[[ItemT], ResultT], items: Iterable[ItemT]) -> list[ResultT]:
        """Return the function's results in order, with as many calls at once as there are workers."""
        known = list(items)
        if len(known) <= 1:
            return [function(item) for item in known]
        with ThreadPoolExecutor(min(self.workers, len(known)), thread_name_prefix="stackgraft-objects") as pool:
            return list(pool.map(function, known))

    def _plain(self, content: memoryview, digest: str, size: int | None) -> memoryview:
        if size is not None and len(content) < size:
            content = compression.unpacked(content, size)
        if size not in {None, len(content)}:
            raise self._damaged("A chunk does not have its size and was refused", digest)
        self.check(digest, hashlib.sha256(content).hexdigest())
        return content

    @contextmanager
    def _chunk(self, digest: str) -> Iterator[str]:
        try:
            yield chunk_key(digest)
        except FileNotFoundError:
            raise self._damaged("A chunk is missing", digest) from None

    def _damaged(self, what: str, digest: str) -> ArtifactCorruptedError:
        return ArtifactCorruptedError(what, where=f"chunk sha256:{digest} in {self.place}")

    def _age(self, key: str) -> timedelta:
        modified = self.modified(key)
        return datetime.now(UTC) - modified if modified else timedelta.max  # it was collected since it was found

    @contextmanager
    def _translated(self, key: str, *, absent_is_known: bool = False) -> Iterator[None]:
        """Translate the library's errors in one place; what callers decide about passes through."""
        try:
            yield
        except AlreadyExistsError:
            raise
        except (BaseError, OSError) as refused:
            if isinstance(refused, FileNotFoundError) and absent_is_known:
                raise
            why = str(refused).splitlines()[0]
            transient = isinstance(refused, GenericError) and _PASSING.search(why) is not None
            raise BackendError("The artifact store refused", transient=transient, where=f"{key} in {self.place}", why=why) from refused


def chunk_key(digest: str) -> str:
    """Return where the chunk of a hex digest lies."""
    return f"cas/sha256/{digest[:2]}/{digest}"
