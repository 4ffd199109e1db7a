"""All records of a log as columns: found by what they name, and parsed only when asked for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from stackgraft.errors import ArtifactCorruptedError
from stackgraft.lineage.record import LineageRecord, record_id

COLUMNS = ("id", "run", "image", "built", "service", "inputs", "outputs")
"""What records are found by. Images are named by their digest alone, artifacts by ``name@version``."""


class Part(Protocol):
    """Some of a log's records."""

    def __len__(self) -> int:
        """Return how many there are."""

    def find(self, column: str, value: str) -> Sequence[int]:
        """Return the rows that hold the value."""

    def values(self, column: str) -> Iterable[str]:
        """Return what a column holds, each value at least once."""

    def content(self, row: int) -> bytes:
        """Return a row's record as it was written."""

    def holding(self, ids: Iterable[str]) -> Sequence[tuple[int, str]]:
        """Return the rows whose ids are among these, with the ids."""


def columns_of(record: Mapping[str, Any]) -> dict[str, Sequence[str]]:
    """Return what a record is found by, from its JSON: parsing all to models would take a compaction ten times as long."""
    service = record.get("service", "")
    return {
        "id": [record_id(record)],
        "run": [record["run"]],
        "image": digest_of(record.get("image", "")),
        "built": digest_of(record.get("built", "")),
        "service": [service] if service else [],
        "inputs": [ref["$artifact"] for ref in record.get("inputs", ())],
        "outputs": [ref["$artifact"] for ref in record.get("outputs", ())],
    }


def digest_of(reference: str) -> list[str]:
    """Return what names an image wherever it lies: its digest, or nothing where there is no image."""
    return [reference.rpartition("@")[2]] if reference else []


@dataclass(frozen=True)
class Loose:
    """Records that each lie in an object of their own.

    Attributes:
        contents: The records as they were written, by key.
        damaged: What could not be read, a line each.
    """

    contents: Mapping[str, bytes]
    damaged: list[str] = field(default_factory=list)

    @cached_property
    def parsed(self) -> Mapping[str, LineageRecord]:
        """The records by key, oldest first, without those that cannot be read."""
        records = {}
        for key, content in self.contents.items():
            try:
                records[key] = self._checked(key, content)
            except ArtifactCorruptedError as error:
                self.damaged.append(f"{error.what}: {error.where}: {error.why}")
        return dict(sorted(records.items(), key=lambda item: item[1].started))

    def _checked(self, key: str, content: bytes) -> LineageRecord:
        record = LineageRecord.from_bytes(content, where=key)
        if key != f"{record.id}.json":
            raise ArtifactCorruptedError("A lineage record does not match its name", where=key, why=f"it is {record.id}")
        return record

    @cached_property
    def _index(self) -> Mapping[tuple[str, str], list[int]]:
        index: dict[tuple[str, str], list[int]] = {}
        for row, key in enumerate(self.parsed):
            for column, values in columns_of(json.loads(self.contents[key])).items():
                for value in values:
                    index.setdefault((column, value), []).append(row)
        return index

    @cached_property
    def _keys(self) -> Sequence[str]:
        return list(self.parsed)

    def __len__(self) -> int:
        return len(self.parsed)

    def find(self, column: str, value: str) -> Sequence[int]:
        """Return the rows that hold the value."""
        return self._index.get((column, value), [])

    def values(self, column: str) -> Iterable[str]:
        """Return what a column holds."""
        return (value for known, value in self._index if known == column)

    def content(self, row: int) -> bytes:
        """Return a row's record as it was written."""
        return self.contents[self._keys[row]]

    def holding(self, ids: Iterable[str]) -> Sequence[tuple[int, str]]:
        """Return the rows whose ids are among these."""
        return [(row, known) for known in ids for row in self.find("id", known)]


class Records:
    """The records of several parts, each once: of equal ids, the one in the earlier part counts.

    Args:
        parts: The parts; what was stored first comes first.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = parts
        self._parsed: dict[tuple[int, int], LineageRecord] = {}

    @cached_property
    def doubled(self) -> frozenset[tuple[int, int]]:
        """The part's place and the row of what an earlier part holds too."""
        found: set[tuple[int, int]] = set()
        for place, part in enumerate(self.parts):
            for earlier in self.parts[:place]:
                shared = {known for _, known in earlier.holding(part.values("id"))}
                found |= {(place, row) for row, _ in part.holding(shared)} if shared else set()
        return frozenset(found)

    def __len__(self) -> int:
        return sum(map(len, self.parts)) - len(self.doubled)

    def __iter__(self) -> Iterator[LineageRecord]:
        return (LineageRecord.from_bytes(content) for content in self.contents())

    def contents(self) -> Iterator[bytes]:
        """Yield each record as it was written."""
        for place, part in enumerate(self.parts):
            yield from (part.content(row) for row in range(len(part)) if (place, row) not in self.doubled)

    def find(self, column: str, value: str) -> Iterator[LineageRecord]:
        """Yield the records that hold a value in a column, the newest of each part first; each is parsed when it is asked for."""
        for place in reversed(range(len(self.parts))):
            for row in reversed(self.parts[place].find(column, value)):
                if (place, row) not in self.doubled:
                    yield self._record(place, row)

    def values(self, column: str) -> frozenset[str]:
        """Return what a column holds."""
        return frozenset(value for part in self.parts for value in part.values(column))

    def _record(self, place: int, row: int) -> LineageRecord:
        if (place, row) not in self._parsed:
            self._parsed[place, row] = LineageRecord.from_bytes(self.parts[place].content(row))
        return self._parsed[place, row]
