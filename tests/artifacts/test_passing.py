"""What engines keep of a value, and what comes back."""

from __future__ import annotations

from collections import OrderedDict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from stackgraft.artifacts.passing import artifact_name, keep, restore
from stackgraft.artifacts.ref import check_name, is_ref
from stackgraft.local.filesystem_store import FilesystemArtifactStore


@pytest.mark.parametrize("value", [None, True, 7, 0.5, "text", [], {}, {"a": [1, {"b": None}]}, (1, "two"), {"t": (1, 2)}], ids=repr)
def test_small_values_stay_as_they_are(local: FilesystemArtifactStore, value: Any) -> None:
    kept = keep(value, "n", local.save)
    assert kept == value
    assert restore(kept, local.load) == value
    assert local.names() == []


@pytest.mark.parametrize(
    "value", ["x" * 20_000, list(range(10_000)), {"a": "x" * 20_000}, b"bytes"], ids=lambda value: type(value).__name__
)
def test_large_and_typed_values_become_artifacts(local: FilesystemArtifactStore, value: Any) -> None:
    kept = keep(value, "flow/task", local.save)
    assert local.names() == ["flow/task"]
    assert len(str(kept)) < 300
    assert restore(kept, local.load) == value


def test_the_arrays_of_a_container_are_kept_one_by_one_and_come_back_in_it(local: FilesystemArtifactStore) -> None:
    value = {"x": np.arange(3), "more": [np.ones(2), "text"], "pair": (np.zeros(1), 5)}
    kept = keep(value, "flow/split", local.save)
    assert local.names() == ["flow/split.more.0", "flow/split.pair.0", "flow/split.x"]
    back = restore(kept, local.load)
    assert np.array_equal(back["x"], value["x"])
    assert np.array_equal(back["more"][0], value["more"][0])
    assert isinstance(back["pair"], tuple)


def test_a_reference_that_a_task_returns_stays_a_reference(local: FilesystemArtifactStore) -> None:
    ref = local.save("model", 1)
    kept = keep({"model": ref}, "n", local.save)
    assert is_ref(kept["model"])
    assert restore(kept, local.load) == {"model": ref.to_json()}


def test_what_no_serializer_takes_is_left_to_the_engine(local: FilesystemArtifactStore) -> None:
    when = datetime(2026, 1, 1, tzinfo=UTC)
    assert keep([when, 1], "n", local.save) == [when, 1]


class Pair(NamedTuple):
    one: int
    two: int


@pytest.mark.parametrize(
    "value",
    [{1: "a"}, {"a": {1: "b"}}, OrderedDict(when=datetime(2026, 1, 1, tzinfo=UTC)), Pair(1, 2), Path("absent"), {"$value": 3}],
    ids=repr,
)
def test_what_would_come_back_as_another_type_is_left_to_the_engine(local: FilesystemArtifactStore, value: Any) -> None:
    kept = keep(value, "n", local.save) if not isinstance(value, Path) else value
    assert kept == value
    assert type(kept) is type(value)
    assert restore(kept, local.load) == value
    assert local.names() == []


def test_files_and_folders_become_artifacts_and_come_back_as_paths(local: FilesystemArtifactStore, tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "page.txt").write_text("page")
    back = restore(keep({"report": tmp_path / "report"}, "flow/report", local.save), local.load)
    assert (back["report"] / "page.txt").read_text() == "page"


def test_a_long_name_is_shortened_without_meeting_another(local: FilesystemArtifactStore) -> None:
    names = ["x" * 60 + "/" + "y" * 60 + "".join(f".{key * 20}" for key in ("a" * 2, "b" * 2, last)) for last in ("c" * 3, "d" * 3)]
    kept = [keep(np.ones(2), name, local.save) for name in names]
    assert len(local.names()) == len({str(each) for each in kept}) == 2


def test_an_error_is_kept_by_its_type_and_words(local: FilesystemArtifactStore) -> None:
    class OwnError(Exception):
        pass

    back = [restore(keep(error, "n", local.save), local.load) for error in (ValueError("not yet"), OwnError("mine"))]
    assert [type(error) for error in back] == [ValueError, RuntimeError]
    assert str(back[0]) == "not yet"
    assert "OwnError: mine" in str(back[1])
    assert local.names() == []


@pytest.mark.parametrize("parts", [("dag", "group.task"), ("my flow", "träna"), ("__dag__", "..")])
def test_any_names_make_a_name_that_stores_take(parts: tuple[str, ...]) -> None:
    assert check_name(artifact_name(*parts))
