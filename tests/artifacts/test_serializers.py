"""Serializers by themselves: what goes in comes back, from memory and from a file, and what cannot is refused when it is written."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from stackgraft.artifacts import serializers
from stackgraft.artifacts.serializers import check_annotation, for_value, named
from stackgraft.errors import ArtifactError, UntrustedArtifactError

Trip = Callable[..., Any]

SHAPES = """
from __future__ import annotations
import dataclasses
import datetime as dt
from pathlib import Path
from pydantic import BaseModel, Field, computed_field

class Point(BaseModel, extra="forbid"):
    x: int = Field(alias="the-x")
    weight: float = 0.0
    where: Path = Path("/a")

    @computed_field
    def double(self) -> int:
        return self.x * 2

class Outer:
    class Inner(BaseModel):
        by_number: dict[int, str]

@dataclasses.dataclass(frozen=True)
class Leg:
    day: dt.date
    file: Path
    data: bytes = b""

@dataclasses.dataclass
class Trade:
    legs: list[Leg]
    at: dt.datetime
    tags: tuple[str, ...] = ()

@dataclasses.dataclass
class Holder:
    thing: object()

def local():
    class Local(BaseModel):
        x: int = 1
    return Local()
"""


class Point(BaseModel):
    x: int


@pytest.fixture(params=["memory", "file"])
def trip(request: pytest.FixtureRequest, tmp_path: Path) -> Trip:
    """Return what writes a value and reads it back, from memory or from a file."""

    def travel(value: object, name: str | None = None) -> Any:
        buffers, meta = for_value(value, name).dump(value)
        reader, content = named(for_value(value, name).name), b"".join(buffers)
        meta = json.loads(json.dumps(meta))
        if request.param == "memory":
            return reader.load(memoryview(content), meta)
        (tmp_path / "value").write_bytes(content)
        return reader.load_file(tmp_path / "value", meta)

    return travel


@pytest.fixture
def library() -> Callable[[str], Any]:
    """Return what imports an optional library, or skips: the one place to make a missing one a failure."""
    return pytest.importorskip


@pytest.fixture
def shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return a module with classes that any process with its folder on the path could import."""
    (tmp_path / "made_up_shapes.py").write_text(SHAPES)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield pytest.importorskip("made_up_shapes")
    del sys.modules["made_up_shapes"]


@pytest.fixture
def distribute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Install a made-up distribution that registers a serializer."""

    def install(name: str, entry: str, module: str) -> None:
        info = tmp_path / name / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{serializers.GROUP}]\n{entry}\n")
        (tmp_path / name / f"{name}.py").write_text(module)
        monkeypatch.syspath_prepend(str(tmp_path / name))
        monkeypatch.delitem(sys.modules, name, raising=False)
        serializers._discovered.cache_clear()

    yield install
    monkeypatch.undo()
    serializers._discovered.cache_clear()


def content_of(value: object, name: str | None = None) -> bytes:
    return b"".join(for_value(value, name).dump(value)[0])


# Bytes, text and JSON


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (b"\0\xff", "bytes"),
        (b"", "bytes"),
        ("hej då \0 😀", "text"),
        ("", "text"),
        (None, "json"),
        (True, "json"),
        (10**30, "json"),
        (-0.0, "json"),
        ({"a": [1, None, {"b": "å"}]}, "json"),
    ],
)
def test_a_plain_value_comes_back_under_its_own_name(trip: Trip, value: object, name: str) -> None:
    assert for_value(value).name == name
    assert trip(value) == value
    assert type(trip(value)) is type(value)


@pytest.mark.parametrize(
    "value", [bytearray(b"abcd"), memoryview(b"abcd"), memoryview(b"a.b.c.d.")[::2], np.frombuffer(b"abcd", "u2").data]
)
def test_anything_of_bytes_comes_back_as_bytes(trip: Trip, value: object) -> None:
    assert trip(value) == b"abcd"


def test_bytes_are_written_from_where_they_lie() -> None:
    value = b"content"
    assert for_value(value).dump(value)[0][0] is value


@pytest.mark.parametrize(("value", "where"), [("ab\udc80", "value[2]"), ([{"k": "\ud800"}], "value[0]['k'][0]"), ({"\ud800": 1}, "value")])
def test_text_without_utf8_is_refused_by_its_place(value: object, where: str) -> None:
    with pytest.raises(ArtifactError, match="no UTF-8") as refused:
        for_value(value).dump(value)
    assert refused.value.where.startswith(where)
    assert "surrogateescape" in refused.value.next_step


def test_equal_json_has_equal_bytes() -> None:
    assert content_of({"b": (1, 2), "a": "å"}) == content_of({"a": "å", "b": [1, 2]}) == '{"a":"å","b":[1,2]}'.encode()


def test_a_metric_that_diverged_comes_back(trip: Trip) -> None:
    loss = trip({"loss": math.nan, "bound": -math.inf})
    assert math.isnan(loss["loss"])
    assert loss["bound"] == -math.inf


@pytest.mark.parametrize(
    ("value", "what", "where"),
    [
        ({"a": [1, {2}]}, "set", "value['a'][1]"),
        ({"a": {3: 1}}, "a key of type int", "value['a'][3]"),
        ([np.int64(1)], "int64", "value[0]"),
    ],
)
def test_a_value_inside_of_json_is_refused_by_its_place(value: object, what: str, where: str) -> None:
    with pytest.raises(ArtifactError, match=what) as refused:
        for_value(value).dump(value)
    assert refused.value.where == where


def test_json_that_contains_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(ArtifactError, match="cannot be written as JSON"):
        for_value(endless).dump(endless)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=200)
@given(value=JSON)
def test_any_json_or_text_comes_back(value: object) -> None:
    assert for_value(value).load(memoryview(content_of(value)), {}) == value


# Arrays

ARRAYS = {
    "c": np.arange(12.0).reshape(3, 4),
    "fortran": np.asfortranarray(np.arange(12).reshape(3, 4)),
    "strided": np.arange(24).reshape(4, 6)[::2, ::3],
    "reversed": np.arange(5)[::-1],
    "structured": np.array([("AAPL", "2000-03-01", 1.5)], dtype=[("ticker", "U5"), ("date", "datetime64[D]"), ("close", "f8")]),
    "padded": np.zeros(3, np.dtype([("a", "i1"), ("b", "f8")], align=True)),
    "nested": np.zeros(2, [("a", [("b", "i4", (2, 2))])]),
    "times": np.array(["2000-01-01", "NaT"], "datetime64[ns]"),
    "spans": np.array([1, 2], "timedelta64[s]"),
    "empty": np.zeros((0, 3)),
    "scalar-shaped": np.array(1.5),
    "big-endian": np.arange(3, dtype=">i4"),
    "complex": np.array([1j]),
    "text": np.array(["a", "bå"]),
    "no-bytes": np.zeros(2, "V0"),
    "non-latin": np.ones(2, [("日本", "f8")]),
    "thousands-of-fields": np.ones(2, [(f"field_{index}", "f4") for index in range(4000)]),
}


@pytest.mark.filterwarnings("ignore:Stored array in format:UserWarning")
@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_comes_back_equal_and_read_only(trip: Trip, name: str) -> None:
    loaded = trip(ARRAYS[name])
    assert isinstance(loaded, np.ndarray)
    assert loaded.dtype == ARRAYS[name].dtype
    np.testing.assert_array_equal(loaded, ARRAYS[name], strict=True)
    assert not loaded.flags.writeable


@pytest.mark.filterwarnings("ignore:Stored array in format:UserWarning")
@pytest.mark.parametrize("name", ARRAYS)
def test_what_is_written_for_an_array_is_a_valid_npy_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "array.npy").write_bytes(content_of(ARRAYS[name]))
    np.testing.assert_array_equal(np.load(tmp_path / "array.npy", max_header_size=10**6), ARRAYS[name], strict=True)


@pytest.mark.parametrize("array", [np.zeros((30, 20)), np.zeros((30, 20), order="F"), np.zeros(9, "datetime64[s]")])
def test_an_array_is_written_from_its_own_memory(array: np.ndarray) -> None:
    _, memory = for_value(array).dump(array)[0]
    assert np.shares_memory(np.frombuffer(memory, "u1"), array)
    assert len(memory) == array.nbytes


def test_an_array_in_a_file_is_mapped_rather_than_read(tmp_path: Path) -> None:
    (tmp_path / "array").write_bytes(content_of(np.arange(3)))
    assert isinstance(named("numpy").load_file(tmp_path / "array", {}), np.memmap)
    assert named("numpy").mapped


def test_an_array_in_memory_is_read_without_a_copy() -> None:
    content = memoryview(content_of(np.arange(3.0)))
    assert np.shares_memory(named("numpy").load(content, {}), np.frombuffer(content, "u1"))


def test_a_mapped_array_can_be_written_again(trip: Trip) -> None:
    assert trip(trip(np.arange(3))).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "scalar", [np.float64(1.5), np.int8(-1), np.bool_(True), np.datetime64("2000-01-01", "D"), np.str_("å"), np.bytes_(b"a")]
)
def test_a_numpy_scalar_comes_back_as_one(trip: Trip, scalar: np.generic) -> None:
    loaded = trip(scalar)
    assert type(loaded) is type(scalar)
    assert loaded == scalar


@pytest.mark.parametrize(
    ("array", "where"),
    [
        (np.array([object()]), "value"),
        (np.zeros(2, [("price", "f8"), ("note", "O")]), "value['note']"),
        (np.zeros(2, [("a", [("b", "O")])]), "value['a']['b']"),
        (np.array(["a"], np.dtypes.StringDType()), "value"),
    ],
)
def test_arrays_of_objects_are_refused_by_place_rather_than_pickled(array: np.ndarray, where: str) -> None:
    with pytest.raises(ArtifactError, match="array of Python objects") as refused:
        for_value(array).dump(array)
    assert refused.value.where == where


def test_a_dtype_that_would_come_back_as_another_is_refused() -> None:
    selection = np.zeros(2, [("a", "i4"), ("b", "f8")])[["b", "a"]]
    with pytest.raises(ArtifactError, match="repack_fields"):
        for_value(selection).dump(selection)


def test_a_subclass_of_array_is_refused_rather_than_robbed_of_its_mask() -> None:
    with pytest.raises(ArtifactError, match="MaskedArray"):
        for_value(np.ma.masked_array([1, 2], mask=[True, False]))


def test_bytes_that_claim_to_be_objects_are_never_taken_for_pointers(tmp_path: Path) -> None:
    forged = content_of(np.zeros(2)).replace(b"'<f8'", b"'|O8'")
    with pytest.raises(ArtifactError, match="objects"):
        named("numpy").load(memoryview(forged), {})
    (tmp_path / "forged").write_bytes(forged)
    with pytest.raises(ValueError, match="objects"):
        named("numpy").load_file(tmp_path / "forged", {})


# Pickle


def test_pickle_is_never_chosen_unasked() -> None:
    with pytest.raises(ArtifactError, match="set"):
        for_value({1, 2})
    assert for_value({1, 2}, "pickle").name == serializers.PICKLE


def test_a_pickled_value_comes_back_writable(trip: Trip) -> None:
    value = {"set": {1}, "odd": np.arange(3, dtype="i1"), "even": np.zeros((2, 3), order="F"), "empty": np.zeros(0)}
    loaded = trip(value, "pickle")
    assert loaded["set"] == {1}
    assert loaded["odd"].tolist() == [0, 1, 2]
    loaded["even"][0, 0] = 1
    assert loaded["even"].sum() == 1


def test_writing_to_a_pickled_value_leaves_its_file_alone(tmp_path: Path) -> None:
    buffers, meta = named("pickle").dump(np.zeros(1000))
    (tmp_path / "value").write_bytes(before := b"".join(buffers))
    named("pickle").load_file(tmp_path / "value", meta)[:] = 1
    assert (tmp_path / "value").read_bytes() == before


def test_the_arrays_of_a_pickle_are_written_from_their_own_memory_and_aligned() -> None:
    array = np.zeros(1001, "i1")
    buffers, meta = named("pickle").dump([array, np.ones(1000)])
    assert any(np.shares_memory(np.frombuffer(each, "u1"), array) for each in buffers)
    first, second = named("pickle").load(memoryview(bytearray(b"".join(buffers))), meta)
    assert (second.ctypes.data - first.ctypes.data) % 64 == 0


def test_what_cannot_be_pickled_says_so() -> None:
    with pytest.raises(ArtifactError, match="cannot be pickled"):
        named("pickle").dump(lambda: None)


# Models and dataclasses


def test_a_model_comes_back_by_its_class_whatever_its_aliases(trip: Trip, shapes: Any) -> None:
    point = shapes.Point(**{"the-x": 3})
    assert for_value(point).name == "pydantic"
    assert trip(point) == point


def test_a_number_in_a_model_may_be_no_number(trip: Trip, shapes: Any) -> None:
    assert math.isnan(trip(shapes.Point(**{"the-x": 3, "weight": math.nan})).weight)


def test_a_class_inside_of_a_class_is_found(trip: Trip, shapes: Any) -> None:
    inner = shapes.Outer.Inner(by_number={1: "a"})
    assert trip(inner) == inner


def test_a_dataclass_comes_back_with_its_dates_paths_and_dataclasses(trip: Trip, shapes: Any) -> None:
    leg = shapes.Leg(shapes.dt.date(2000, 3, 1), Path("/a"), b"x")
    trade = shapes.Trade([leg], shapes.dt.datetime(2000, 3, 1, tzinfo=shapes.dt.UTC), ("a", "b"))
    assert for_value(trade).name == "dataclass"
    assert trip(trade) == trade
    assert content_of(trade) == content_of(shapes.Trade([leg], trade.at, ("a", "b")))


def test_a_model_of_a_main_program_or_of_a_function_is_refused(shapes: Any) -> None:
    with pytest.raises(ArtifactError, match="move the class to the top level") as refused:
        named("pydantic").dump(shapes.local())
    assert "<locals>" in refused.value.where
    code = """
import dataclasses
from stackgraft.artifacts.serializers import for_value
@dataclasses.dataclass
class Point:
    x: int
for_value(Point(1)).dump(Point(1))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "where: __main__:Point" in run.stderr
    assert "move the class to the top level" in run.stderr


def test_a_class_that_another_took_the_place_of_is_refused(shapes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    point = shapes.Point(**{"the-x": 1})
    monkeypatch.setattr(shapes, "Point", shapes.Leg)
    with pytest.raises(ArtifactError, match="leads to something else"):
        named("pydantic").dump(point)


def test_a_field_that_could_not_be_read_back_is_refused_when_it_is_written(shapes: Any) -> None:
    with pytest.raises(ArtifactError, match="read back") as refused:
        named("dataclass").dump(shapes.Trade([], "yesterday"))
    assert "made_up_shapes:Trade" in refused.value.where
    with pytest.raises(ArtifactError, match="read back"):
        named("dataclass").dump(shapes.Leg(shapes.dt.date(2000, 3, 1), Path("/a"), b"\xff"))
    with pytest.raises(ArtifactError, match="read back"):
        named("dataclass").dump(shapes.Holder(object()))


def test_a_model_whose_class_has_changed_says_which_field(shapes: Any) -> None:
    with pytest.raises(ArtifactError, match="has changed") as refused:
        named("pydantic").load(memoryview(b'{"y":1}'), {"class": "made_up_shapes:Point"})
    assert refused.value.where == "made_up_shapes:Point.x"
    assert shapes.Point


@pytest.mark.parametrize("path", ["no_such_module:Point", "made_up_shapes:Absent", "made_up_shapes:Outer.Absent"])
def test_a_class_that_is_gone_says_where_it_was(shapes: Any, path: str) -> None:
    assert shapes
    with pytest.raises(ArtifactError, match="cannot be imported") as refused:
        named("pydantic").load(memoryview(b"{}"), {"class": path})
    assert refused.value.where == path


@pytest.mark.parametrize(("name", "path"), [("pydantic", "subprocess:Popen"), ("pydantic", "os:system"), ("dataclass", "pathlib:Path")])
def test_a_manifest_cannot_call_what_is_not_a_model(name: str, path: str) -> None:
    with pytest.raises(UntrustedArtifactError, match=path):
        named(name).load(memoryview(b"{}"), {"class": path})


# Tables


def test_a_pandas_table_keeps_its_index_types_and_attributes(trip: Trip, library: Callable[[str], Any]) -> None:
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


def test_a_pandas_table_comes_back_writable(trip: Trip, library: Callable[[str], Any]) -> None:
    pd, _ = library("pandas"), library("pyarrow")
    loaded = trip(pd.DataFrame({"a": [1.0, 2.0], "b": [1, 2]}))
    loaded.loc[0, "a"] = 5
    loaded.iloc[1, 1] = 7
    assert loaded.to_dict("list") == {"a": [5.0, 2.0], "b": [1, 7]}


@pytest.mark.parametrize("name", ["close", None, 0])
def test_a_pandas_column_keeps_its_name_and_index(trip: Trip, library: Callable[[str], Any], name: object) -> None:
    pd, _ = library("pandas"), library("pyarrow")
    column = pd.Series([1, 2], index=pd.Index(["a", "b"], name="ticker"), name=name)
    pd.testing.assert_series_equal(trip(column), column)


def test_a_column_of_mixed_objects_is_refused_by_its_name(library: Callable[[str], Any]) -> None:
    pd, _ = library("pandas"), library("pyarrow")
    for mixed in (["a", 1], [object(), object()]):
        frame = pd.DataFrame({"fine": [1, 2], "mixed": pd.Series(mixed, dtype=object)})
        with pytest.raises(ArtifactError, match="Arrow cannot hold") as refused:
            for_value(frame).dump(frame)
        assert refused.value.where == "column 'mixed'"


@pytest.mark.filterwarnings("ignore:The DataFrame has column names of mixed type", "ignore:Could not serialize pd.DataFrame.attrs")
def test_names_and_attributes_that_would_not_come_back_are_refused(library: Callable[[str], Any]) -> None:
    pd, _ = library("pandas"), library("pyarrow")
    mixed, secretive = pd.DataFrame([[1, 2]], columns=["a", 1]), pd.DataFrame({"a": [1]})
    secretive.attrs["thing"] = object()
    for frame in (mixed, secretive):
        with pytest.raises(ArtifactError, match="mixed types, or its attrs") as refused:
            for_value(frame).dump(frame)
        assert refused.value.where == "its names, index or attrs"


@pytest.mark.parametrize("kind", ["period", "interval", "numbers", "levels", "range", "none", "dates"])
def test_unusual_pandas_tables_come_back(trip: Trip, library: Callable[[str], Any], kind: str) -> None:
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


def test_two_columns_of_one_name_are_refused(library: Callable[[str], Any]) -> None:
    pd, _ = library("pandas"), library("pyarrow")
    frame = pd.DataFrame([[1, 2]], columns=["a", "a"])
    with pytest.raises(ArtifactError, match="Duplicate column names"):
        for_value(frame).dump(frame)


def test_a_subclass_of_a_table_is_refused_rather_than_robbed(library: Callable[[str], Any]) -> None:
    pandas = library("pandas")
    with pytest.raises(ArtifactError, match="Geo"):
        for_value(type("Geo", (pandas.DataFrame,), {})())


def test_arrow_tables_and_batches_come_back(trip: Trip, library: Callable[[str], Any]) -> None:
    pa = library("pyarrow")
    table = pa.table({"a": pa.chunked_array([[1], [2]]), "b": pa.array([["x"], None])}, metadata={"source": "exchange"})
    for value in (table, table.to_batches()[0], table.slice(0, 0), pa.table({})):
        loaded = trip(value)
        assert type(loaded) is type(value)
        assert loaded.equals(value, check_metadata=True)


def test_arrow_chunks_with_different_dictionaries_come_back(trip: Trip, library: Callable[[str], Any]) -> None:
    pa = library("pyarrow")
    chunks = pa.chunked_array([pa.array(["a", "b"]).dictionary_encode(), pa.array(["c"]).dictionary_encode()])
    assert trip(pa.table({"kind": chunks})).to_pydict() == {"kind": ["a", "b", "c"]}


def test_what_is_written_for_a_table_is_a_valid_arrow_file_of_its_own_memory(library: Callable[[str], Any]) -> None:
    pa = library("pyarrow")
    numbers = np.arange(100_000.0)
    buffers, _ = named("arrow").dump(pa.table({"a": numbers}))
    assert any(np.shares_memory(np.frombuffer(each, "u1"), numbers) for each in buffers)
    assert len(buffers) < 4
    assert {memoryview(each).format for each in buffers} == {"B"}
    assert pa.ipc.open_file(pa.py_buffer(b"".join(buffers))).read_all()["a"].to_numpy().tolist() == numbers.tolist()


def test_an_arrow_table_in_a_file_is_mapped_rather_than_read(tmp_path: Path, library: Callable[[str], Any]) -> None:
    pa = library("pyarrow")
    (tmp_path / "table").write_bytes(content_of(pa.table({"a": np.zeros(1_000_000)})))
    before = pa.total_allocated_bytes()
    loaded = named("arrow").load_file(tmp_path / "table", {"library": "pyarrow", "kind": "Table"})
    assert loaded.nbytes == 8_000_000
    assert pa.total_allocated_bytes() - before < 100_000


def test_polars_tables_and_columns_come_back_without_pyarrow(
    trip: Trip, library: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_a_polars_column_of_objects_is_refused_by_its_name(library: Callable[[str], Any]) -> None:
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


# Pictures


def figure(library: Callable[[str], Any]) -> Any:
    drawn = library("matplotlib.figure").Figure(figsize=(2, 1), dpi=50)
    drawn.subplots().plot([1, 3, 2])
    return drawn


def test_a_figure_comes_back_as_a_picture_and_equal_ones_have_equal_bytes(trip: Trip, library: Callable[[str], Any]) -> None:
    image = library("PIL.Image")
    loaded = trip(figure(library))
    assert isinstance(loaded, image.Image)
    assert loaded.size == (100, 50)
    assert content_of(figure(library)) == content_of(figure(library))
    assert b"Software" not in content_of(figure(library))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_an_image_comes_back_pixel_by_pixel(trip: Trip, library: Callable[[str], Any], mode: str) -> None:
    image = library("PIL.Image").new(mode, (3, 2))
    loaded = trip(image)
    assert (loaded.mode, loaded.size, loaded.tobytes()) == (mode, (3, 2), image.tobytes())


def test_an_image_that_png_cannot_hold_is_refused(library: Callable[[str], Any], tmp_path: Path) -> None:
    image = library("PIL.Image")
    with pytest.raises(ArtifactError, match="mode CMYK"):
        named("png").dump(image.new("CMYK", (1, 1)))
    image.new("L", (1, 1)).save(tmp_path / "two.gif", save_all=True, append_images=[image.new("L", (1, 1), 255)])
    with image.open(tmp_path / "two.gif") as moving, pytest.raises(ArtifactError, match="several frames"):
        named("png").dump(moving)


def test_a_picture_without_pillow_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(ArtifactError, match="pip install pillow"):
        named("png").load(memoryview(b""), {})


# The registry

SETS = """
from stackgraft.artifacts.serializers import Serializer

class Sets(Serializer):
    name = "anything"
    def accepts(self, kind):
        return issubclass(kind, set)
    def dump(self, value):
        return [b",".join(sorted(value))], {}
    def load(self, content, meta):
        return set(bytes(content).split(b","))
"""


def test_a_third_partys_serializer_goes_by_its_entry_points_name(distribute: Callable[..., None], trip: Trip) -> None:
    distribute("thirdparty", "sets = thirdparty:Sets", SETS)
    assert for_value({b"a"}).name == "sets"
    assert not named("sets").mapped
    assert trip({b"a", b"b"}) == {b"a", b"b"}
    assert list(serializers.registered())[-1] == "sets"


def test_ours_wins_over_a_third_partys_of_the_same_name(distribute: Callable[..., None]) -> None:
    distribute("thirdparty", "json = thirdparty:Sets", SETS)
    assert named("json").accepts(dict)


def test_a_broken_third_party_is_told_only_where_it_is_needed(distribute: Callable[..., None]) -> None:
    distribute("broken", "sets = broken:Sets [fast]", "import a_package_that_nobody_has")
    assert for_value(1).name == "json"
    assert "sets" not in serializers.registered()
    for _ in range(2):
        with pytest.raises(ArtifactError, match=r"pip install 'broken\[fast\]'") as missing:
            named("sets")
        assert "a_package_that_nobody_has" in missing.value.why
    with pytest.raises(ArtifactError, match=r"cannot be loaded: serializer 'sets' of broken:Sets"):
        for_value({b"a"})


def test_two_third_parties_of_one_name_are_both_named(distribute: Callable[..., None]) -> None:
    distribute("first", "sets = first:Sets", SETS)
    distribute("second", "sets = second:Sets", SETS)
    with pytest.raises(ArtifactError, match="claim one serializer") as clash:
        named("sets")
    assert "first:Sets, second:Sets" in clash.value.why


def test_an_unknown_type_lists_what_is_taken_and_where_more_comes_from() -> None:
    with pytest.raises(ArtifactError, match="No serializer takes a value of type object") as refused:
        for_value(object())
    for hint in ("numpy", "pandas", "polars", "'stackgraft[frames]'", "pillow", serializers.GROUP, "pickle"):
        assert hint in str(refused.value)


def test_an_unknown_name_says_what_is_near_and_what_would_give_it() -> None:
    with pytest.raises(ArtifactError, match="did you mean 'json'") as unknown:
        named("jsno")
    assert serializers.GROUP in unknown.value.next_step


def test_a_value_under_the_name_of_anothers_serializer_is_refused() -> None:
    with pytest.raises(ArtifactError, match="type int under the name 'numpy'"):
        for_value(5, "numpy")
    assert for_value("text", "json").name == "json"


@pytest.mark.parametrize(
    "annotation", [int, dict[str, int], list[str] | None, bytes, Path, Point, np.ndarray, np.float64, object, "unknown"]
)
def test_an_annotation_with_a_serializer_passes(annotation: object) -> None:
    check_annotation(annotation)


@pytest.mark.parametrize("annotation", [set, set[int], complex, int | frozenset[int]])
def test_an_annotation_without_a_serializer_is_refused(annotation: object) -> None:
    with pytest.raises(ArtifactError, match="No serializer"):
        check_annotation(annotation)


def test_importing_the_serializers_loads_no_library() -> None:
    code = "import sys, stackgraft.artifacts.serializers as s; s.for_value([1]); print(*{name.split('.')[0] for name in sys.modules})"
    loaded = set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())
    assert not loaded & {"numpy", "pandas", "polars", "pyarrow", "matplotlib", "PIL"}
