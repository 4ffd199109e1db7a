"""Pydantic models and dataclasses, without a store."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stackgraft.artifacts.serializers import for_value, named
from stackgraft.errors import ArtifactError, UntrustedArtifactError

Trip = Callable[..., Any]
ContentOf = Callable[[object], bytes]


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


@pytest.fixture
def shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return a module with classes that any process with its folder on the path could import."""
    (tmp_path / "made_up_shapes.py").write_text(SHAPES)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield pytest.importorskip("made_up_shapes")
    del sys.modules["made_up_shapes"]


def test_a_model_comes_back_by_its_class_whatever_its_aliases(trip: Trip, shapes: Any) -> None:
    point = shapes.Point(**{"the-x": 3})
    assert for_value(point).name == "pydantic"
    assert trip(point) == point


def test_a_number_in_a_model_may_be_no_number(trip: Trip, shapes: Any) -> None:
    assert math.isnan(trip(shapes.Point(**{"the-x": 3, "weight": math.nan})).weight)


def test_a_class_inside_of_a_class_is_found(trip: Trip, shapes: Any) -> None:
    inner = shapes.Outer.Inner(by_number={1: "a"})
    assert trip(inner) == inner


def test_a_dataclass_comes_back_with_its_dates_paths_and_dataclasses(content_of: ContentOf, trip: Trip, shapes: Any) -> None:
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
