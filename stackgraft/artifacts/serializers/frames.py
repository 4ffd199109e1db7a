"""Tables of pandas, polars and pyarrow as an uncompressed Arrow IPC file, which a reader can map."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stackgraft.artifacts.serializers.protocol import Buffer, Serializer, is_kind, needed, refused

_KINDS = ("pandas.DataFrame", "pandas.Series", "polars.DataFrame", "polars.Series", "pyarrow.Table", "pyarrow.RecordBatch")
_SMALL = 2**16  # bytes: buffers below this are joined, since each one costs its reader a call


class ArrowSerializer(Serializer):
    """Tables and columns; each comes back as the library and class that wrote it.

    Columns of pyarrow lie in the mapped file itself. Those of pandas are copied out of it once, since pandas refuses to assign to
    mapped ones; polars reads with its own code, which maps or copies as its release sees fit. Subclasses are not taken, since
    what they add would be lost.
    """

    name = "arrow"
    mapped = True

    def accepts(self, kind: type) -> bool:
        """Tell whether the type is a table or a column of one."""
        return is_kind(kind, *_KINDS)

    def dump(self, value: Any) -> tuple[Sequence[Buffer], Mapping[str, Any]]:
        """Return the file's parts; columns that already lie as Arrow wants them are not copied."""
        path = next(path for path in _KINDS if is_kind(type(value), path))
        library, _, kind = path.partition(".")
        meta: dict[str, Any] = {"library": library, "kind": kind}
        if kind == "Series":
            meta |= {"named": value.name is not None}
            value = value.to_frame()
        sink = _Gathered()
        _WRITERS[library](value, sink)
        return sink.buffers, meta

    def load(self, content: memoryview, meta: Mapping[str, Any]) -> Any:
        """Return the table over these very bytes."""
        if meta["library"] == "polars":
            return _column_of(needed("polars").read_ipc(io.BytesIO(content)), meta)
        return _from_arrow(_pyarrow().py_buffer(content), meta)

    def load_file(self, path: Path, meta: Mapping[str, Any]) -> Any:
        """Return the table over a mapping of the file."""
        if meta["library"] == "polars":
            return _column_of(needed("polars").read_ipc(path), meta)
        return _from_arrow(_pyarrow().memory_map(str(path)), meta)


class _Gathered(io.RawIOBase):
    """A file that keeps what is written to it in pieces, which pyarrow hands over without a copy."""

    def __init__(self) -> None:
        self.buffers: list[Buffer] = []

    def writable(self) -> bool:
        return True

    def write(self, piece: Any) -> int:
        view = memoryview(piece)
        if len(view) >= _SMALL:
            self.buffers.append(view.cast("B"))  # pyarrow's bytes are signed
        elif self.buffers and isinstance(last := self.buffers[-1], bytearray):
            last += view
        else:
            self.buffers.append(bytearray(view))
        return len(view)


def _pyarrow() -> Any:
    needed("pyarrow.ipc", "'stackgraft[frames]'")
    return needed("pyarrow", "'stackgraft[frames]'")


def _write_pandas(frame: Any, sink: _Gathered) -> None:
    arrow = _pyarrow()
    with _explained(frame.items(), arrow.array, (arrow.ArrowException, ValueError, TypeError)):
        table = arrow.Table.from_pandas(frame)
        empty = table.slice(0, 0).to_pandas()
        if not (empty.columns.equals(frame.columns) and empty.attrs == frame.attrs):
            raise ValueError("the names of its columns are of mixed types, or its attrs are not JSON")
    _write_pyarrow(table, sink)


def _write_pyarrow(table: Any, sink: _Gathered) -> None:
    arrow = _pyarrow()
    with arrow.ipc.new_file(sink, table.schema) as file:
        if isinstance(table, arrow.Table):
            file.write_table(table.unify_dictionaries())  # a file holds one dictionary for each column
        else:
            file.write_batch(table)


def _write_polars(frame: Any, sink: _Gathered) -> None:
    polars = needed("polars")
    columns = zip(frame.columns, frame.iter_columns(), strict=True)
    with _explained(columns, lambda column: column.to_frame().write_ipc(io.BytesIO()), (polars.exceptions.PolarsError,)):
        frame.write_ipc(sink)


_WRITERS: Mapping[str, Callable[[Any, _Gathered], None]] = {
    "pandas": _write_pandas,
    "polars": _write_polars,
    "pyarrow": _write_pyarrow,
}


@contextmanager
def _explained(columns: Iterable[tuple[Any, Any]], attempt: Callable[[Any], object], errors: tuple[type[Exception], ...]) -> Iterator[None]:
    try:
        yield
    except errors as failed:
        where = next((f"column {name!r}" for name in _failing(columns, attempt, errors)), "its names, index or attrs")
        why = ": ".join(map(str, failed.args))
        next_step = "give the column one type, as astype(str) does, or ask for pickle by name"
        raise refused("a table that Arrow cannot hold", where=where, why=why, next_step=next_step) from failed


def _failing(columns: Iterable[tuple[Any, Any]], attempt: Callable[[Any], object], errors: tuple[type[Exception], ...]) -> Iterator[Any]:
    for name, column in columns:
        try:
            attempt(column)
        except errors:
            yield name


def _from_arrow(source: Any, meta: Mapping[str, Any]) -> Any:
    reader = _pyarrow().ipc.open_file(source)
    if meta["kind"] == "RecordBatch":
        return reader.get_batch(0)
    table = reader.read_all()
    if meta["library"] == "pyarrow":
        return table
    needed("pandas")
    return _column_of(table.to_pandas(), meta)


def _column_of(frame: Any, meta: Mapping[str, Any]) -> Any:
    if meta["kind"] != "Series":
        return frame
    column = frame[frame.columns[0]]
    return column if meta["named"] else column.rename(None)
