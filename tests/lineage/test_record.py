"""Records: what names them, what they survive, and what a task's trace collects."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from stackgraft.artifacts.ref import ArtifactRef
from stackgraft.errors import ArtifactCorruptedError
from stackgraft.lineage import LineageRecord, Trace, refs_in, revision
from stackgraft.lineage.trace import LONGEST_REASON

from .conftest import record, ref

TEXT = some.text(some.characters(exclude_categories=()))
NUMBERS = some.floats(allow_nan=False, allow_infinity=False)
REFS = some.builds(ref, some.from_regex(r"[a-z]{1,8}", fullmatch=True), some.integers(1, 10**9))
JSON = some.recursive(
    some.none() | some.booleans() | some.integers(-(2**53), 2**53) | NUMBERS | TEXT,
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
RECORDS = some.builds(
    LineageRecord,
    **dict.fromkeys(("engine", "pipeline", "run", "task", "stack", "image", "built", "service", "reason", "url", "outcome"), TEXT),
    map_index=some.integers(-1, 10**6),
    try_number=some.integers(0, 100),
    started=NUMBERS,
    ended=NUMBERS,
    inputs=some.lists(REFS, max_size=3),
    outputs=some.lists(REFS, max_size=3),
    billable=some.dictionaries(TEXT, NUMBERS, max_size=3),
    facets=some.dictionaries(TEXT, JSON, max_size=3),
)


@given(RECORDS)
def test_any_record_comes_back_as_it_was_written(written: LineageRecord) -> None:
    content = written.to_bytes()
    read = LineageRecord.from_bytes(content)
    assert read == written
    assert read.id == written.id
    assert read.to_bytes() == content


@given(RECORDS)
def test_what_a_newer_stackgraft_adds_is_ignored(written: LineageRecord) -> None:
    document = json.loads(written.to_bytes())
    newer = json.dumps({**document, "carbon": {"grams": 3}}).encode()
    assert LineageRecord.from_bytes(newer) == written


def test_a_record_is_named_by_its_try_alone() -> None:
    same = {record(at=1).id, record(at=2, outcome="failed", reason="no").id}
    others = {record(engine="prefect").id, record(map_index=0).id, record(try_number=2).id, record("other").id, record(run="r2").id}
    assert len(same) == 1
    assert len(same | others) == 6
    assert record(pipeline="a", run="b/c").id != record(pipeline="a/b", run="c").id


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"engine": 3}', record(inputs=(ref("a"),)).to_bytes().replace(b'"digest"', b'"dig"'), b"\xff"]
)
def test_what_is_no_record_is_refused_with_its_name(content: bytes) -> None:
    with pytest.raises(ArtifactCorruptedError, match=r"cannot be read[^$]*where: here"):
        LineageRecord.from_bytes(content, where="here")


def test_facets_that_json_cannot_hold_are_written_as_it_can() -> None:
    odd = record(facets={"when": Path("/x"), "nan": float("nan"), "\ud800": "\udcff"})
    assert odd.facets == {"when": "/x", "nan": None, "?": "?"}


@given(some.lists(REFS, max_size=5), JSON)
def test_every_reference_in_nested_json_is_found_in_order(refs: list[ArtifactRef], other: Any) -> None:
    nested: Any = other
    for place, found in enumerate(reversed(refs)):
        nested = [found if place % 2 else found.to_json(), {"deeper": nested}]
    assert list(refs_in(nested)) == refs


def test_what_only_looks_like_a_reference_is_searched_like_any_object() -> None:
    fake = {"$artifact": "x@1", "inside": ref("real").to_json()}
    assert list(refs_in([fake, {"$artifact": "no version"}, {"$artifact": 3}])) == [ref("real")]


def test_a_value_that_holds_itself_and_one_nested_deep_are_searched_to_their_end() -> None:
    circle: list[Any] = [ref("a")]
    circle.append(circle)
    assert list(refs_in(circle)) == [ref("a")]
    deep: Any = ref("b")
    for _ in range(50_000):
        deep = [deep]
    assert list(refs_in(deep)) == [ref("b")]


def test_a_trace_collects_once_and_in_order() -> None:
    trace = Trace(engine="prefect", pipeline="flow", run="run", task="task", map_index=2, stack="local")
    trace.used([ref("a"), {"x": ref("b").to_json()}, ref("a")])
    trace.made([ref("c"), ref("a")])
    trace.saved(ref("b"))
    trace.note(image="app@sha256:1", billable={"seconds": 2.0}, facets={"one": 1})
    trace.note(job="job", billable={"seconds": 3, "requests": 1}, facets={"two": 2})
    done = trace.finished("failed", "x" * (LONGEST_REASON + 1))
    assert done.inputs == (ref("a"), ref("b"))
    assert done.outputs == (ref("c"), ref("b"))
    assert (done.image, done.job, done.map_index, done.stack, done.outcome) == ("app@sha256:1", "job", 2, "local", "failed")
    assert done.billable == {"seconds": 5.0, "requests": 1.0}
    assert done.facets == {"one": 1, "two": 2}
    assert done.started <= done.ended
    assert len(done.reason) == LONGEST_REASON


def git(folder: Path, *arguments: str) -> str:
    author = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return subprocess.run(
        ["git", "-C", str(folder), *author, *arguments], check=True, capture_output=True, text=True, env=environment
    ).stdout.strip()


def test_a_revision_names_the_commit_and_tells_whether_tracked_files_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    git(tmp_path, "init")
    code = tmp_path / "code.py"
    code.write_text("one")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    git(tmp_path, "tag", "v1")
    commit = git(tmp_path, "rev-parse", "HEAD")
    (tmp_path / "engine.log").write_text("untracked")
    ask = revision.__wrapped__
    assert ask(tmp_path) == commit
    code.write_text("two")
    assert ask(tmp_path) == f"{commit}-dirty"
    assert revision(tmp_path) == f"{commit}-dirty"
    code.write_text("one")
    assert revision(tmp_path) == f"{commit}-dirty"  # git is asked once in a process


def test_there_is_no_revision_outside_of_git_before_a_commit_or_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ask = revision.__wrapped__
    assert ask(tmp_path) == ""
    assert ask(tmp_path / "absent") == ""
    git(tmp_path, "init")
    assert ask(tmp_path) == ""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ask(tmp_path) == ""


def test_importing_lineage_loads_none_of_what_only_some_of_it_needs() -> None:
    code = "import sys; from stackgraft.lineage import LineageRecord, Trace, log_of; print(*sys.modules)"
    loaded = set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())
    assert loaded & {"pyarrow", "rich", "typer", "openlineage", "obstore"} == set()
    code = "import sys; from stackgraft.lineage import graph, log, openlineage, picture, render, subject; print(*sys.modules)"
    loaded = set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())
    assert loaded & {"pyarrow", "rich", "typer", "openlineage"} == set()
