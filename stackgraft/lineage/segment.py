"""A segment: many records in one Parquet object, whose name tells its age, its rows and the digest of its bytes."""

from __future__ import annotations

import hashlib
import io
import json
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from stackgraft.errors import ArtifactCorruptedError, ConfigError
from stackgraft.lineage.records import COLUMNS, columns_of

if TYPE_CHECKING:
    from collections.abc import Buffer  # type: ignore[attr-defined,unused-ignore]  # Python 3.12; a type alone

    import pyarrow as pa

_NAME = re.compile(r"(?P<generation>\d{10})-(?P<rows>\d+)-(?P<digest>[0-9a-f]{32})\.parquet")
_REPLACES = b"stackgraft.replaces"
_GROUP = 8192
"""Rows whose records are read together."""


def arrow() -> Any:
    """Return pyarrow, which only segments need.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        import pyarrow.compute
        import pyarrow.parquet
    except ImportError as missing:
        raise ConfigError(
            "The lineage log needs a package that is not installed",
            where="segments of lineage records",
            why=str(missing),
            next_step="pip install 'stackgraft[lineage]'",
        ) from missing
    return pyarrow


def generation(name: str) -> int:
    """Return a segment's age, from its name: what replaces others is younger than they are."""
    match = _NAME.fullmatch(name)
    return int(match["generation"]) if match else 0


class Segment:
    """The records of one Parquet object.

    Args:
        name: The object's name.
        content: Its bytes.

    Raises:
        ArtifactCorruptedError: They do not match the digest in the name, or are no Parquet.
        ConfigError: pyarrow is not installed.
    """

    def __init__(self, name: str, content: Buffer) -> None:
        self.name = name
        pyarrow = arrow()
        match = _NAME.fullmatch(name)
        if match is None or hashlib.sha256(content).hexdigest()[:32] != match["digest"]:
            raise ArtifactCorruptedError("A lineage segment does not match its digest and was refused", where=name)
        self._file = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(pyarrow.py_buffer(content)))
        self._groups: dict[int, Any] = {}
        self._sorted: dict[str, tuple[Any, Any]] = {}

    @classmethod
    def packed(cls, generation: int, records: Iterable[bytes], replaces: Sequence[str]) -> tuple[str, bytes]:
        """Return the name and bytes of a segment of these records, which lie in it by their start.

        Args:
            generation: Its age, above that of all that it replaces.
            records: Records as they were written, of which even what this stackgraft does not know is kept.
            replaces: The segments whose records are all in this one, or in others that are there.
        """
        pyarrow = arrow()
        table = _table(records).replace_schema_metadata({_REPLACES: json.dumps(sorted(replaces))})
        sink = io.BytesIO()
        pyarrow.parquet.write_table(table, sink, compression="zstd", row_group_size=_GROUP)
        content = sink.getvalue()
        return f"{generation:010}-{len(table)}-{hashlib.sha256(content).hexdigest()[:32]}.parquet", content

    @property
    def replaces(self) -> frozenset[str]:
        """The segments whose records are all here, or in others that are there."""
        return frozenset(json.loads((self._file.schema_arrow.metadata or {}).get(_REPLACES, "[]")))

    @cached_property
    def _rows(self) -> int:
        return int(self._file.metadata.num_rows)

    def __len__(self) -> int:
        return self._rows

    def find(self, column: str, value: str) -> Sequence[int]:
        """Return the rows that hold the value."""
        as_text = arrow().StringScalar.as_py
        values, rows = self._column(column)
        start = bisect_left(values, value, key=as_text)
        return list(rows[start : bisect_right(values, value, start, key=as_text)].to_pylist())

    def values(self, column: str) -> Iterable[str]:
        """Return what a column holds."""
        return list(self._flat(column)[0].to_pylist())

    def content(self, row: int) -> bytes:
        """Return a row's record as it was written."""
        group = row // _GROUP
        if group not in self._groups:
            self._groups[group] = self._file.read_row_group(group, columns=["record"]).column(0)
        return bytes(self._groups[group][row % _GROUP].as_py())

    def holding(self, ids: Iterable[str]) -> Sequence[tuple[int, str]]:
        """Return the rows whose ids are among these."""
        pyarrow = arrow()
        known, rows = self._flat("id")
        mask = pyarrow.compute.is_in(known, value_set=pyarrow.array(list(ids), pyarrow.string()))
        return list(zip(rows.filter(mask).to_pylist(), known.filter(mask).to_pylist(), strict=True))

    def _flat(self, name: str) -> tuple[pa.Array, pa.Array]:
        """Return a column's values and the row of each."""
        compute = arrow().compute
        lists = self._file.read(columns=[name]).column(0).combine_chunks()
        return compute.list_flatten(lists), compute.list_parent_indices(lists)

    def _column(self, name: str) -> tuple[pa.Array, pa.Array]:
        """Return what `_flat` does, sorted by value: that costs a fifth of a Python dictionary."""
        if name not in self._sorted:
            values, rows = self._flat(name)
            order = arrow().compute.sort_indices(values)
            self._sorted[name] = values.take(order), rows.take(order)
        return self._sorted[name]


def _table(records: Iterable[bytes]) -> pa.Table:
    """Return the records as a table; flat lists, since the garbage collector would look through a hundred thousand short ones."""
    pyarrow = arrow()
    contents, started = [], []
    values: dict[str, list[str]] = {name: [] for name in COLUMNS}
    ends: dict[str, list[int]] = {name: [0] for name in COLUMNS}
    for content in records:
        record = json.loads(content)
        contents.append(content)
        started.append(float(record["started"]))
        for name, found in columns_of(record).items():
            values[name] += found
            ends[name].append(len(values[name]))
    text = {name: pyarrow.array(values[name], pyarrow.string()) for name in COLUMNS}
    columns = {name: pyarrow.ListArray.from_arrays(pyarrow.array(ends[name], pyarrow.int32()), text[name]) for name in COLUMNS}
    age = pyarrow.table({"started": pyarrow.array(started, pyarrow.float64()), "id": text["id"]})
    order = pyarrow.compute.sort_indices(age, [("started", "ascending"), ("id", "ascending")])
    return pyarrow.table({**columns, "record": pyarrow.array(contents, pyarrow.binary())}).take(order)
