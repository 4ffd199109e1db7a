"""Arrays and scalars of NumPy, without a store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stackgraft.artifacts.serializers import for_value, named
from stackgraft.errors import ArtifactError

Trip = Callable[..., Any]
ContentOf = Callable[[object], bytes]


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
def test_what_is_written_for_an_array_is_a_valid_npy_file(content_of: ContentOf, tmp_path: Path, name: str) -> None:
    (tmp_path / "array.npy").write_bytes(content_of(ARRAYS[name]))
    np.testing.assert_array_equal(np.load(tmp_path / "array.npy", max_header_size=10**6), ARRAYS[name], strict=True)


@pytest.mark.parametrize("array", [np.zeros((30, 20)), np.zeros((30, 20), order="F"), np.zeros(9, "datetime64[s]")])
def test_an_array_is_written_from_its_own_memory(array: np.ndarray) -> None:
    _, memory = for_value(array).dump(array)[0]
    assert np.shares_memory(np.frombuffer(memory, "u1"), array)
    assert len(memory) == array.nbytes


def test_an_array_in_a_file_is_mapped_rather_than_read(content_of: ContentOf, tmp_path: Path) -> None:
    (tmp_path / "array").write_bytes(content_of(np.arange(3)))
    assert isinstance(named("numpy").load_file(tmp_path / "array", {}), np.memmap)
    assert named("numpy").mapped


def test_an_array_in_memory_is_read_without_a_copy(content_of: ContentOf) -> None:
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


def test_bytes_that_claim_to_be_objects_are_never_taken_for_pointers(content_of: ContentOf, tmp_path: Path) -> None:
    forged = content_of(np.zeros(2)).replace(b"'<f8'", b"'|O8'")
    with pytest.raises(ArtifactError, match="objects"):
        named("numpy").load(memoryview(forged), {})
    (tmp_path / "forged").write_bytes(forged)
    with pytest.raises(ValueError, match="objects"):
        named("numpy").load_file(tmp_path / "forged", {})
