"""Tables of pandas, polars and pyarrow, without a store."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stackgraft.artifacts.serializers import for_value, named
from stackgraft.errors import ArtifactError

Trip = Callable[..., Any]
Library = Callable[[str], Any]
ContentOf = Callable[[object], bytes]


def test_a_pandas_table_keeps_its_index_types_and_attributes(trip: Trip, library: Library) -> None:
    pd, _ = library("pandas"), library("pyarrow")
    index = pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["letter", None])
    frame = pd.DataFrame(
        {
            "number": [1.5, None],
            "whole": pd.array([1, None], "Int64"),
            "text": ["a", None],
            "kind": pd.Categorical(["x", "y"], ordered=True),
            "at": pd.to_datetime(["2000-01-01", None]).tz_localize("Europe/Berlin"),
            "flag": [True, False],
        },
        index=index,
    )
    frame.attrs["source"] = "exchange"
    loaded = trip(frame)
    pd.testing.assert_frame_equal(loaded, frame)
    assert loaded.attrs == {"source": "exchange"}


def test_a_pandas_table_comes_back_writable(trip: Trip, library: Library) -> None:
    pd, _ = library("pandas"), library("pyarrow")
    loaded = trip(pd.DataFrame({"a": [1.0, 2.0], "b": [1, 2]}))
    loaded.loc[0, "a"] = 5
    loaded.iloc[1, 1] = 7
    assert loaded.to_dict("list") == {"a": [5.0, 2.0], "b": [1, 7]}


@pytest.mark.parametrize("name", ["close", None, 0])
def test_a_pandas_column_keeps_its_name_and_index(trip: Trip, library: Library, name: object) -> None:
    pd, _ = library("pandas"), library("pyarrow")
    column = pd.Series([1, 2], index=pd.Index(["a", "b"], name="ticker"), name=name)
    pd.testing.assert_series_equal(trip(column), column)


def test_a_column_of_mixed_objects_is_refused_by_its_name(library: Library) -> None:
    pd, _ = library("pandas"), library("pyarrow")
    for mixed in (["a", 1], [object(), object()]):
        frame = pd.DataFrame({"fine": [1, 2], "mixed": pd.Series(mixed, dtype=object)})
        with pytest.raises(ArtifactError, match="Arrow cannot hold") as refused:
            for_value(frame).dump(frame)
        assert refused.value.where == "column 'mixed'"


@pytest.mark.filterwarnings("ignore:The DataFrame has column names of mixed type", "ignore:Could not serialize pd.DataFrame.attrs")
def test_names_and_attributes_that_would_not_come_back_are_refused(library: Library) -> None:
    pd, _ = library("pandas"), library("pyarrow")
    mixed, secretive = pd.DataFrame([[1, 2]], columns=["a", 1]), pd.DataFrame({"a": [1]})
    secretive.attrs["thing"] = object()
    for frame in (mixed, secretive):
        with pytest.raises(ArtifactError, match="mixed types, or its attrs") as refused:
            for_value(frame).dump(frame)
        assert refused.value.where == "its names, index or attrs"


@pytest.mark.parametrize("kind", ["period", "interval", "numbers", "levels", "range", "none", "dates"])
def test_unusual_pandas_tables_come_back(trip: Trip, library: Library, kind: str) -> None:
    pd, _ = library("pandas"), library("pyarrow")
    frame = {
        "period": lambda: pd.DataFrame({"a": pd.period_range("2000", periods=2, freq="M")}),
        "interval": lambda: pd.DataFrame({"a": pd.interval_range(0, 2)}),
        "numbers": lambda: pd.DataFrame([[1, 2]]),
        "levels": lambda: pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["x", "y"])),
        "range": lambda: pd.DataFrame({"a": [1, 2]}, index=pd.RangeIndex(5, 9, 2, name="r")),
        "none": lambda: pd.DataFrame(index=[1, 2]),
        "dates": lambda: pd.DataFrame({"a": pd.to_datetime(["2000-01-01"]).as_unit("s")}, index=["x"]),
    }[kind]()
    pd.testing.assert_frame_equal(trip(frame), frame)


def test_two_columns_of_one_name_are_refused(library: Library) -> None:
    pd, _ = library("pandas"), library("pyarrow")
    frame = pd.DataFrame([[1, 2]], columns=["a", "a"])
    with pytest.raises(ArtifactError, match="Duplicate column names"):
        for_value(frame).dump(frame)


def test_a_subclass_of_a_table_is_refused_rather_than_robbed(library: Library) -> None:
    pandas = library("pandas")
    with pytest.raises(ArtifactError, match="Geo"):
        for_value(type("Geo", (pandas.DataFrame,), {})())


def test_arrow_tables_and_batches_come_back(trip: Trip, library: Library) -> None:
    pa = library("pyarrow")
    table = pa.table({"a": pa.chunked_array([[1], [2]]), "b": pa.array([["x"], None])}, metadata={"source": "exchange"})
    for value in (table, table.to_batches()[0], table.slice(0, 0), pa.table({})):
        loaded = trip(value)
        assert type(loaded) is type(value)
        assert loaded.equals(value, check_metadata=True)


def test_arrow_chunks_with_different_dictionaries_come_back(trip: Trip, library: Library) -> None:
    pa = library("pyarrow")
    chunks = pa.chunked_array([pa.array(["a", "b"]).dictionary_encode(), pa.array(["c"]).dictionary_encode()])
    assert trip(pa.table({"kind": chunks})).to_pydict() == {"kind": ["a", "b", "c"]}


def test_what_is_written_for_a_table_is_a_valid_arrow_file_of_its_own_memory(library: Library) -> None:
    pa = library("pyarrow")
    numbers = np.arange(100_000.0)
    buffers, _ = named("arrow").dump(pa.table({"a": numbers}))
    assert any(np.shares_memory(np.frombuffer(each, "u1"), numbers) for each in buffers)
    assert len(buffers) < 4
    assert {memoryview(each).format for each in buffers} == {"B"}
    assert pa.ipc.open_file(pa.py_buffer(b"".join(buffers))).read_all()["a"].to_numpy().tolist() == numbers.tolist()


def test_an_arrow_table_in_a_file_is_mapped_rather_than_read(content_of: ContentOf, tmp_path: Path, library: Library) -> None:
    pa = library("pyarrow")
    (tmp_path / "table").write_bytes(content_of(pa.table({"a": np.zeros(1_000_000)})))
    before = pa.total_allocated_bytes()
    loaded = named("arrow").load_file(tmp_path / "table", {"library": "pyarrow", "kind": "Table"})
    assert loaded.nbytes == 8_000_000
    assert pa.total_allocated_bytes() - before < 100_000


def test_polars_tables_and_columns_come_back_without_pyarrow(trip: Trip, library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    pl = library("polars")
    for module in [name for name in sys.modules if name.split(".")[0] == "pyarrow"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    frame = pl.DataFrame(
        {"n": [1, None], "t": ["a", "å"], "l": [[1], []], "at": pl.Series([0, 1]).cast(pl.Datetime("us", "Europe/Berlin"))}
    ).with_columns(e=pl.Series(["x", "y"], dtype=pl.Enum(["x", "y"])), c=pl.Series(["x", "y"], dtype=pl.Categorical))
    for value in (frame, frame.clear(), pl.DataFrame()):
        loaded = trip(value)
        assert loaded.schema == value.schema
        assert loaded.equals(value)
    assert trip(frame["t"]).equals(frame["t"], check_names=True)
    assert trip(pl.Series([1])).name == ""


def test_a_polars_column_of_objects_is_refused_by_its_name(library: Library) -> None:
    pl = library("polars")
    frame = pl.DataFrame({"fine": [1], "things": pl.Series([object()], dtype=pl.Object)})
    with pytest.raises(ArtifactError, match="Arrow cannot hold") as refused:
        for_value(frame).dump(frame)
    assert refused.value.where == "column 'things'"


@pytest.mark.parametrize(
    ("meta", "absent", "install"),
    [
        ({"library": "pandas", "kind": "DataFrame"}, "pyarrow", r"pip install 'stackgraft\[frames\]'"),
        ({"library": "pyarrow", "kind": "Table"}, "pyarrow", r"pip install 'stackgraft\[frames\]'"),
        ({"library": "polars", "kind": "DataFrame"}, "polars", "pip install polars"),
    ],
)
def test_a_table_says_what_to_install_where_nothing_can_read_it(
    monkeypatch: pytest.MonkeyPatch, meta: dict[str, str], absent: str, install: str
) -> None:
    for module in [name for name in sys.modules if name.split(".")[0] == absent]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, absent, None)
    with pytest.raises(ArtifactError, match=install):
        named("arrow").load(memoryview(b""), meta)
