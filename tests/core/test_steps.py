"""Functions as steps: what travels, what is refused before anything starts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stackgraft import steps
from stackgraft.artifacts import ArtifactRef, open_store
from stackgraft.components import ArtifactStore
from stackgraft.errors import ArtifactError, SpecError

IMAGE = "app@sha256:" + "0" * 64
OUTSIDE = 3


def add(left: int, right: int = 2) -> int:
    """Add."""
    return left + right


def describe(text: str, settings: dict[str, list[int]]) -> dict[str, object]:
    import string  # noqa: PLC0415 - a step imports inside

    return {"capitals": string.capwords(text), "sum": sum(settings["numbers"])}


def leans_on_a_global() -> int:
    return OUTSIDE


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return open_store({"flavor": "local", "path": str(tmp_path / "store"), "cache": str(tmp_path / "cache")})


def run_like_an_operator(command: tuple[str, ...], job: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"STACKGRAFT_JOB": job}
    return subprocess.run([sys.executable, *command[1:]], env=environment, capture_output=True, text=True, check=False)


def test_a_function_runs_elsewhere_and_its_result_is_an_artifact(store: ArtifactStore) -> None:
    spec = steps.function_step(add, [40], {}, store=store, artifact="sum", image=IMAGE)
    done = run_like_an_operator(spec.command, "job-1")
    assert done.returncode == 0, done.stderr
    reference = steps.result(store, "sum", "job-1")
    assert (reference.name, store.load(reference)) == ("sum", 42)


def test_references_arrive_as_values_however_deep_they_lie(store: ArtifactStore) -> None:
    text, number = store.save("text", "hej på dig"), store.save("number", 5)
    spec = steps.function_step(describe, [text], {"settings": {"numbers": [1, number.to_json()]}}, store=store, artifact="out", image=IMAGE)
    assert run_like_an_operator(spec.command, "job-2").returncode == 0
    assert store.load(steps.result(store, "out", "job-2")) == {"capitals": "Hej På Dig", "sum": 6}


def test_a_call_that_is_made_again_after_others_is_the_same_command(store: ArtifactStore) -> None:
    def command(raw: bytes) -> tuple[str, ...]:
        return steps.function_step(describe, ["x", {"numbers": raw}], {}, store=store, artifact="out", image=IMAGE).command

    first, second = command(b"one"), command(b"two")
    assert (command(b"one"), command(b"two")) == (first, second)
    assert first != second


def test_a_value_that_is_not_json_becomes_an_artifact_of_its_own(store: ArtifactStore) -> None:
    packed = steps.pack({"raw": b"bytes"}, store, "call")
    assert ArtifactRef.from_json(packed["raw"]).name == "call.raw"
    assert steps.unpack(packed, store) == {"raw": b"bytes"}


def test_a_function_that_leans_on_a_global_is_refused_by_its_name() -> None:
    with pytest.raises(SpecError, match="names outside of its body") as refused:
        steps.portable_source(leans_on_a_global)
    assert "OUTSIDE" in str(refused.value)


def test_defaults_travel_with_the_function_and_may_lean_on_nothing_either(store: ArtifactStore) -> None:
    rate = 4

    def by_global(left: int, right: int = OUTSIDE) -> int:
        return left * right

    def by_closure(left: int, *, right: int = rate) -> int:
        return left * right

    def by_lambda(left: int, right: Callable[[], int] = lambda: OUTSIDE) -> int:
        return left * right()

    def alone(numbers: list[int], *, key: Callable[[int], int] = lambda number: -number, least: int = max(1, 2)) -> list[int]:
        return sorted((number for number in numbers if number >= least), key=key)

    for function, name in ((by_global, "OUTSIDE"), (by_closure, "rate"), (by_lambda, "OUTSIDE")):
        with pytest.raises(SpecError, match=f"names outside of its body\n.*{name}"):
            steps.check_function(function)
    spec = steps.function_step(alone, [[1, 2, 3]], {}, store=store, artifact="sorted", image=IMAGE)
    assert run_like_an_operator(spec.command, "job-4").returncode == 0
    assert store.load(steps.result(store, "sorted", "job-4")) == [3, 2]


def test_an_inner_import_of_a_name_that_the_file_has_too_is_fine() -> None:
    def reads() -> bool:
        from pathlib import Path  # noqa: PLC0415 - the point of the test

        return Path("/").exists()

    assert "Path" in steps.portable_source(reads)


def test_a_global_in_an_inner_function_is_found() -> None:
    def outer() -> list[int]:
        return [value + OUTSIDE for value in range(3)]

    with pytest.raises(SpecError, match="OUTSIDE"):
        steps.portable_source(outer)


def test_a_return_annotation_without_a_serializer_is_refused() -> None:
    def makes_a_set() -> set[int]:
        return {1}

    with pytest.raises(ArtifactError, match="type set"):
        steps.check_function(makes_a_set)


def test_annotations_that_only_the_image_knows_are_let_through() -> None:
    def trains() -> torch.Tensor:  # type: ignore[name-defined]  # noqa: F821 - the point of the test
        import torch  # noqa: PLC0415

        return torch.zeros(1)

    steps.check_function(trains)


def test_a_closure_is_refused_too() -> None:
    captured = 1

    def inner() -> int:
        return captured

    with pytest.raises(SpecError, match="captured"):
        steps.portable_source(inner)


def test_a_function_without_source_is_refused() -> None:
    namespace: dict[str, object] = {}
    exec("def unseen(): return 1", namespace)  # noqa: S102 - made on purpose
    with pytest.raises(SpecError, match="cannot be read"):
        steps.portable_source(namespace["unseen"])  # type: ignore[arg-type]


def test_decorators_and_annotations_do_not_travel() -> None:
    def passes_through(function: object) -> object:
        return function

    @passes_through
    def decorated(value: UnknownAtRunTime) -> None:  # type: ignore[name-defined]  # noqa: F821 - only the annotation names it
        del value

    source = steps.portable_source(decorated)  # type: ignore[arg-type]
    assert "passes_through" not in source
    exec(source, {})  # noqa: S102 - the point of the test


def test_a_failing_function_leaves_its_traceback_and_no_result(store: ArtifactStore) -> None:
    def fail() -> None:
        raise ValueError("no prices for 2013")

    spec = steps.function_step(fail, [], {}, store=store, artifact="out", image=IMAGE)
    failed = run_like_an_operator(spec.command, "job-3")
    assert failed.returncode == 1
    assert "no prices for 2013" in failed.stderr
