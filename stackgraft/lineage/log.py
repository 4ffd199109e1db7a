"""The log of lineage records: one create-only put writes a record, and Parquet segments keep reading cheap.

Layout::

    lineage/records/ID.json                                 a record that no segment holds yet, or whose segment is very young
    lineage/segments/GENERATION-ROWS-DIGEST.parquet         many records

Nothing is deleted before an object that holds all of it lies there, so that a crash, a second compactor or a reader at any
moment finds each record at least once; ids tell which are the same. Readers read the loose records before they list segments:
what was gone from the first listing is in the second.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from stackgraft.artifacts.objects import Objects
from stackgraft.errors import BackendError, StackError
from stackgraft.lineage.record import LineageRecord
from stackgraft.lineage.records import Loose, Records
from stackgraft.lineage.segment import Segment, generation

_LOG = logging.getLogger(__name__)
_RECORDS = "lineage/records"
_SEGMENTS = "lineage/segments"
BORNE = 5
"""So many loose records, and so many segments, are read before a query compacts: that keeps it within 20 requests."""
_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Compaction:
    """What a compaction did.

    Attributes:
        records: How many records the new segment holds; 0 where none was needed.
        loose: How many loose records were moved into it.
        segments: How many segments it replaces.
    """

    records: int
    loose: int
    segments: int


class Snapshot(Records):
    """All records at one moment, and the objects that hold them.

    Args:
        segments: The segments that no other replaces.
        stale: The names of those that another replaces, left behind by a crash.
        loose: The loose records.
    """

    def __init__(self, segments: Sequence[Segment], stale: Sequence[str], loose: Loose) -> None:
        super().__init__([*segments, loose] if len(loose) else list(segments))
        self.segments, self.stale, self.loose = segments, stale, loose

    @property
    def damaged(self) -> Sequence[str]:
        """What could not be read, a line each."""
        return self.loose.damaged

    @property
    def scattered(self) -> bool:
        """Whether reading it took more requests than it should."""
        return len(self.loose) > BORNE or len(self.segments) + len(self.stale) > BORNE


@dataclass(frozen=True, slots=True)
class LineageLog:
    """The records of a store.

    Attributes:
        objects: Where they lie.
    """

    objects: Objects

    def write(self, record: LineageRecord) -> bool:
        """Write a record with one request; tell whether it is the first of its id among the loose ones."""
        return self.objects.create(f"{_RECORDS}/{record.id}.json", record.to_bytes())

    def read(self) -> Snapshot:
        """Return all records.

        Raises:
            ArtifactCorruptedError: A segment is damaged.
            ConfigError: There are segments, and pyarrow is not installed.
        """
        loose = self._loose()
        found = self._segments()
        replaced = frozenset(name for segment in found for name in segment.replaces)
        live = sorted((segment for segment in found if segment.name not in replaced), key=len, reverse=True)
        return Snapshot(live, [segment.name for segment in found if segment.name in replaced], loose)

    def compact(self, found: Snapshot | None = None) -> Compaction:
        """Move loose records into a segment, and merge small segments; what a crash left behind is removed.

        Args:
            found: What was just read; None reads it.
        """
        found = found or self.read()
        merged = _merged(found)
        if not len(found.loose) and len(merged) <= 1:
            self._remove(_SEGMENTS, found.stale)
            return Compaction(0, 0, len(found.stale))
        gone = [*(segment.name for segment in merged), *found.stale]
        age = 1 + max(map(generation, [segment.name for segment in found.segments] + list(found.stale)), default=0)
        contents = list(Records([*reversed(merged), found.loose]).contents())
        name, content = Segment.packed(age, contents, gone)
        self.objects.create(f"{_SEGMENTS}/{name}", content)  # where it is there, another compactor was as far as this one
        self._remove(_RECORDS, list(found.loose.parsed))
        self._remove(_SEGMENTS, gone)
        return Compaction(len(contents), len(found.loose), len(gone))

    def tidy(self, found: Snapshot) -> None:
        """Compact what was just read if that makes the next reading cheaper; who may not write, reads on as it is."""
        if found.scattered:
            try:
                self.compact(found)
            except StackError as refused:
                _LOG.info("The lineage log was not compacted: %s", refused)

    def _loose(self) -> Loose:
        keys = sorted(self._listed(_RECORDS))
        contents = self.objects.each(lambda key: self._read(f"{_RECORDS}/{key}"), keys)
        return Loose({key: bytes(content) for key, content in zip(keys, contents, strict=True) if content is not None})

    def _segments(self) -> Sequence[Segment]:
        """Return all segments, and with them all records that lay in one when this began.

        One may be replaced between the listing and its reading, so that it ends with a second listing, or a later one, that
        brings nothing new. What replaces others sorts behind them, so that a listing in order meets one or the other.
        """
        known: dict[str, Segment | None] = {}
        listings = 0
        while (new := self._listed(_SEGMENTS) - known.keys()) or listings == 0:
            listings += 1
            known |= zip(new, self.objects.each(self._segment, new), strict=True)
        return [segment for segment in known.values() if segment is not None]

    def _listed(self, folder: str) -> set[str]:
        return {found["path"].rpartition("/")[2] for found in self.objects.walk(folder)}

    def _segment(self, name: str) -> Segment | None:
        content = self._read(f"{_SEGMENTS}/{name}")
        return None if content is None else Segment(name, content)

    def _read(self, key: str) -> memoryview | None:
        try:
            return self.objects.read(key)
        except FileNotFoundError:
            return None  # a compactor was faster: it lies in a segment

    def _remove(self, folder: str, names: Sequence[str]) -> None:
        for start in range(0, len(names), _PAGE):
            try:
                self.objects.delete([f"{folder}/{name}" for name in names[start : start + _PAGE]])
            except BackendError as refused:
                if not isinstance(refused.__cause__, FileNotFoundError):  # another compactor was faster
                    raise


def _merged(found: Snapshot) -> list[Segment]:
    """Return the segments to merge: those that are not much larger than what they join, and more where too many would stay.

    So sizes stay in steps of at least two, each record moves few times, and few segments remain.
    """
    merged: list[Segment] = []
    rows, waiting = len(found.loose), sorted(found.segments, key=len)
    while waiting and (len(waiting) >= BORNE or len(waiting[0]) <= 2 * rows):
        merged.append(waiting.pop(0))
        rows += len(merged[-1])
    return merged
