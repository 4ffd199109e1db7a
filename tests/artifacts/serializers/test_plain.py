"""Bytes, text, JSON and pickle, without a store."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stackgraft.artifacts import serializers
from stackgraft.artifacts.serializers import for_value, named
from stackgraft.errors import ArtifactError

Trip = Callable[..., Any]
ContentOf = Callable[[object], bytes]


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


def test_equal_json_has_equal_bytes(content_of: ContentOf) -> None:
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
def test_any_json_or_text_comes_back(content_of: ContentOf, value: object) -> None:
    assert for_value(value).load(memoryview(content_of(value)), {}) == value


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
