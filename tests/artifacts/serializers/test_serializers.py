"""Which serializer is chosen, found and refused, without a store."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel

from stackgraft.artifacts import serializers
from stackgraft.artifacts.serializers import check_annotation, for_value, named
from stackgraft.errors import ArtifactError

Trip = Callable[..., Any]


class Point(BaseModel):
    x: int


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
