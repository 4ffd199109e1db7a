"""The log: nothing lost and nothing doubled, whoever writes, reads, compacts or dies at the same time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from stackgraft.artifacts.objects import Objects
from stackgraft.errors import ArtifactCorruptedError, BackendError, ConfigError
from stackgraft.lineage import LineageRecord
from stackgraft.lineage.log import BORNE, Compaction, LineageLog
from stackgraft.lineage.segment import Segment

from .conftest import CountedObjects, record, ref


def written(log: LineageLog, count: int, *, first: int = 0) -> set[str]:
    records = [record(f"t{number}", at=number, outputs=(ref(f"a{number}"),)) for number in range(first, first + count)]
    assert all(log.objects.each(log.write, records))
    return {written.id for written in records}


def ids(log: LineageLog) -> list[str]:
    return sorted(found.id for found in log.read())


def lying(log: LineageLog, folder: str) -> list[str]:
    return sorted(found["path"].rpartition("/")[2] for found in log.objects.walk(f"lineage/{folder}"))


def test_records_are_read_back_loose_and_compacted(log: LineageLog) -> None:
    assert len(log.read()) == 0
    first = record("one", at=1, inputs=(ref("a"),), outputs=(ref("b", 2),), billable={"seconds": 1.5}, facets={"x": [1]})
    second = record("two", at=2, outcome="failed", reason="no\x00 'quotes'\n")
    assert log.write(second)
    assert log.write(first)
    assert list(log.read()) == [first, second]
    assert log.compact() == Compaction(records=2, loose=2, segments=0)
    assert lying(log, "records") == []
    assert list(log.read()) == [first, second]
    assert log.compact() == Compaction(records=0, loose=0, segments=0)


def test_a_record_that_is_written_again_counts_once_and_the_first_stays(log: LineageLog) -> None:
    first = record(reason="first")
    assert log.write(first)
    assert not log.write(record(reason="second"))
    assert list(log.read()) == [first]
    log.compact()
    assert log.write(record(reason="third"))
    assert list(log.read()) == [first]
    assert list(log.read().find("run", "r1")) == [first]
    log.compact()
    assert list(log.read()) == [first]


def test_writing_is_one_request_and_reading_is_few_after_a_compaction(log: LineageLog) -> None:
    counted = CountedObjects.of(log.objects)
    LineageLog(counted).write(record())
    assert counted.requests == [f"PUT lineage/records/{record().id}.json"]
    written(log, 30)
    log.compact()
    written(log, BORNE, first=100)
    counted.requests.clear()
    assert len(LineageLog(counted).read()) == 36
    assert Counter(request.split()[0] for request in counted.requests) == {"LIST": 3, "GET": BORNE + 1}


def test_few_segments_remain_and_each_record_moves_few_times(local_log: LineageLog) -> None:
    expected: set[str] = set()
    moved = 0
    for turn in range(60):
        expected |= written(local_log, 7, first=turn * 7)
        moved += local_log.compact().records
        assert len(lying(local_log, "segments")) <= BORNE
    assert ids(local_log) == sorted(expected)
    assert moved <= len(expected) * 8  # about the logarithm of the number of compactions


def test_what_a_newer_stackgraft_wrote_into_a_record_survives_compactions(local_log: LineageLog) -> None:
    newer = {**json.loads(record().to_bytes()), "outcome": "postponed", "carbon": 3}
    local_log.objects.create(f"lineage/records/{record().id}.json", json.dumps(newer).encode())
    for turn in range(3):
        written(local_log, 3, first=turn * 3)
        local_log.compact()
    [found] = [json.loads(content) for content in local_log.read().contents() if b"carbon" in content]
    assert found == newer


# --- dying ---


class KilledError(BaseException):
    """Stands for a kill: nothing may catch it."""


@dataclass(frozen=True, slots=True)
class Dying(Objects):
    """Objects whose process dies before the request of a number."""

    left: list[int] = field(default_factory=lambda: [0], compare=False)
    real: bool = False

    def step(self) -> None:
        self.left[0] -= 1
        if self.left[0] < 0:
            if self.real:
                os.kill(os.getpid(), signal.SIGKILL)
            raise KilledError

    def create(self, key: str, content: Any) -> bool:
        self.step()
        return Objects.create(self, key, content)

    def read(self, key: str) -> memoryview:
        self.step()
        return Objects.read(self, key)

    def delete(self, keys: Sequence[str]) -> None:
        for key in keys:  # as a server that dies in the middle of a page
            self.step()
            Objects.delete(self, [key])


def dying(objects: Objects, steps: int, *, real: bool = False) -> Dying:
    return Dying(objects.storage, objects.place, objects.workers, ordered=objects.ordered, left=[steps], real=real)


def prepared(log: LineageLog) -> set[str]:
    """Write three segments of unequal age and some loose records, so that a compaction reads, merges and deletes."""
    expected = written(log, 6)
    log.compact()
    expected |= written(log, 2, first=10)
    log.compact()
    return expected | written(log, 3, first=20)


@pytest.mark.parametrize("store", ["local", "seaweed"], indirect=True)
def test_a_compactor_that_dies_before_any_of_its_requests_loses_and_doubles_nothing(log: LineageLog) -> None:
    expected = sorted(prepared(log))
    for steps in range(100):
        try:
            LineageLog(dying(log.objects, steps)).compact()
        except KilledError:
            found = log.read()
            assert sorted(one.id for one in found) == expected
            assert len(found) == len(expected)
            assert [[one.id for one in found.find("id", name)] for name in expected] == [[name] for name in expected]
            continue
        break
    assert steps > 5
    assert ids(log) == expected
    log.compact()
    assert lying(log, "records") == []
    assert ids(log) == expected


def test_a_compactor_that_is_killed_for_real_loses_and_doubles_nothing(tmp_path: Path, local_log: LineageLog) -> None:
    expected = sorted(prepared(local_log))
    program = f"""
import sys
sys.path[:0] = {[str(Path(__file__).parents[2])]!r}
from pathlib import Path
from stackgraft.lineage.log import LineageLog
from stackgraft.local.filesystem_store import FilesystemArtifactStore
from tests.lineage.test_log import dying
store = FilesystemArtifactStore(path=Path({str(tmp_path / "store")!r}), cache=Path({str(tmp_path / "cache")!r}))
LineageLog(dying(store.objects, int(sys.argv[1]), real=True)).compact()
"""
    ends = []
    for steps in (5, 6, 7, 8):  # around the put of the segment and the first deletions
        ends.append(subprocess.run([sys.executable, "-c", program, str(steps)], check=False, timeout=120).returncode)
        assert ids(local_log) == expected
    assert ends[0] == -signal.SIGKILL
    local_log.compact()
    assert ids(local_log) == expected
    assert lying(local_log, "records") == []


def test_a_segment_that_a_dead_compactor_left_behind_is_not_read_and_removed_by_the_next(local_log: LineageLog) -> None:
    expected = written(local_log, 4)
    local_log.compact()
    [old] = lying(local_log, "segments")
    content = bytes(local_log.objects.read(f"lineage/segments/{old}"))
    expected |= written(local_log, 4, first=10)
    local_log.compact()
    local_log.objects.create(f"lineage/segments/{old}", content)  # as if it had not been deleted
    found = local_log.read()
    assert (list(found.stale), len(found.segments), len(found)) == ([old], 1, 8)
    assert local_log.compact(found) == Compaction(records=0, loose=0, segments=1)
    assert len(lying(local_log, "segments")) == 1
    assert ids(local_log) == sorted(expected)


def test_two_compactors_that_saw_the_same_leave_one_segment(local_log: LineageLog) -> None:
    expected = written(local_log, 20)
    first, second = local_log.read(), local_log.read()
    assert local_log.compact(first) == local_log.compact(second)
    assert len(lying(local_log, "segments")) == 1
    assert ids(local_log) == sorted(expected)


def test_compactors_that_saw_different_things_double_nothing(local_log: LineageLog) -> None:
    expected = written(local_log, 20)
    early = local_log.read()
    expected |= written(local_log, 5, first=50)
    local_log.compact()
    local_log.compact(early)  # holds what is compacted already
    assert len(lying(local_log, "segments")) == 2
    assert len(local_log.read()) == 25
    assert ids(local_log) == sorted(expected)
    assert len(list(local_log.read().find("run", "r1"))) == 25
    written(local_log, 30, first=100)
    assert local_log.compact().records == 55
    assert len(local_log.read()) == 55


# --- racing ---


@pytest.mark.parametrize("kind", ["local", "seaweed"])
def test_racing_writers_readers_and_compactors_lose_and_double_nothing(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    opened = request.getfixturevalue(kind)
    log = LineageLog((opened if kind == "local" else opened.store(tmp_path)).objects)
    confirmed: set[str] = set()
    done = threading.Event()

    def write(writer: int) -> None:
        for number in range(40):
            new = record(f"w{writer}-{number}", at=number)
            assert log.write(new)
            confirmed.add(new.id)

    def compact() -> int:
        turns = 0
        while not done.is_set() or turns == 0:
            log.compact()
            turns += 1
        return turns

    def read() -> int:
        turns = 0
        while not done.is_set() or turns == 0:
            before = set(confirmed)
            found = [seen.id for seen in log.read()]
            assert len(found) == len(set(found))
            assert before <= set(found)
            turns += 1
        return turns

    with ThreadPoolExecutor(16) as pool:
        others = [pool.submit(compact) for _ in range(3)] + [pool.submit(read) for _ in range(2)]
        writers = [pool.submit(write, number) for number in range(8)]
        for writer in writers:
            writer.result(timeout=200)
        done.set()
        assert all(other.result(timeout=100) for other in others)
    assert ids(log) == sorted(confirmed)
    assert len(confirmed) == 320
    for _ in range(3):
        log.compact()
    assert lying(log, "records") == []
    assert ids(log) == sorted(confirmed)
    assert len(lying(log, "segments")) <= BORNE


@dataclass(frozen=True, slots=True)
class Interrupted(Objects):
    """Objects between whose requests something else happens."""

    meanwhile: list[Any] = field(default_factory=list, compare=False)

    def walk(self, prefix: str) -> Iterator[Any]:
        found = list(Objects.walk(self, prefix))
        if self.meanwhile:
            self.meanwhile.pop(0)()
        return iter(found)


@given(
    some.lists(some.sampled_from(["write", "compact", "early"]), max_size=6),
    some.lists(some.sampled_from(["write", "compact", "none"]), max_size=6),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_reader_sees_all_that_was_there_whatever_happens_between_its_requests(
    tmp_path_factory: pytest.TempPathFactory, before: list[str], meanwhile: list[str]
) -> None:
    from stackgraft.local.filesystem_store import FilesystemArtifactStore  # noqa: PLC0415 - a store for each example

    log = LineageLog(FilesystemArtifactStore(path=tmp_path_factory.mktemp("store")).objects)
    numbers = iter(range(1000))
    early = log.read()

    def act(what: str) -> None:
        nonlocal early
        if what == "write":
            written(log, 2, first=2 * next(numbers))
        elif what == "compact":
            log.compact()
        elif what == "early":
            log.compact(early)
            early = log.read()

    for what in before:
        act(what)
    expected = set(ids(log))
    objects = log.objects
    interrupted = Interrupted(
        objects.storage, objects.place, objects.workers, meanwhile=[lambda what=what: act(what) for what in meanwhile]
    )
    found = ids(LineageLog(interrupted))
    assert len(found) == len(set(found))
    assert expected <= set(found)


# --- bad input ---


def test_a_record_that_cannot_be_read_is_reported_and_hides_no_other(local_log: LineageLog) -> None:
    expected = written(local_log, 7)
    local_log.objects.create("lineage/records/broken.json", b"{")
    local_log.objects.create("lineage/records/other.json", record("renamed").to_bytes())
    assert ids(local_log) == sorted(expected)
    damaged = sorted(local_log.read().damaged)
    assert "cannot be read: broken.json" in damaged[0]
    assert "does not match its name: other.json" in damaged[1]
    local_log.compact()
    assert lying(local_log, "records") == ["broken.json", "other.json"]  # kept for whoever can mend them
    assert ids(local_log) == sorted(expected)


def test_a_flipped_bit_anywhere_in_a_segment_is_refused(local_log: LineageLog) -> None:
    written(local_log, 7)
    local_log.compact()
    [name] = lying(local_log, "segments")
    content = bytearray(local_log.objects.read(f"lineage/segments/{name}"))
    for place in range(0, len(content), 97):
        content[place] ^= 4
        with pytest.raises(ArtifactCorruptedError, match="does not match its digest"):
            Segment(name, bytes(content))
        content[place] ^= 4
    assert len(Segment(name, bytes(content))) == 7
    with pytest.raises(ArtifactCorruptedError, match="does not match its digest"):
        Segment("foreign.parquet", bytes(content))


@dataclass(frozen=True, slots=True)
class ReadOnly(Objects):
    """Objects that a reader may not change."""

    def create(self, key: str, content: Any) -> bool:  # noqa: ARG002 - the signature is the point
        raise BackendError("The artifact store refused", where=key, why="AccessDenied")


def test_who_may_not_write_reads_on_and_who_may_tidies_up_when_there_is_much(local_log: LineageLog) -> None:
    expected = written(local_log, BORNE)
    local_log.tidy(local_log.read())
    assert len(lying(local_log, "records")) == BORNE
    expected |= written(local_log, 1, first=100)
    objects = local_log.objects
    reader = LineageLog(ReadOnly(objects.storage, objects.place, objects.workers))
    reader.tidy(reader.read())
    assert len(lying(local_log, "records")) == BORNE + 1
    local_log.tidy(local_log.read())
    assert lying(local_log, "records") == []
    assert ids(local_log) == sorted(expected)


def test_without_pyarrow_loose_records_are_read_and_segments_say_what_to_install(
    local_log: LineageLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(local_log, BORNE + 1)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for name in ("pyarrow.compute", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, name, None)
    found = local_log.read()
    assert len(found) == BORNE + 1
    local_log.tidy(found)
    assert len(local_log.read()) == BORNE + 1
    monkeypatch.undo()
    local_log.compact()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for name in ("pyarrow.compute", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=r"pip install 'stackgraft\[lineage\]'"):
        local_log.read()


def test_reading_what_was_read_before_gives_the_same_record(local_log: LineageLog) -> None:
    written(local_log, 3)
    found = local_log.read()
    [one], [two] = list(found.find("outputs", "a1@1")), list(found.find("outputs", "a1@1"))
    assert one is two
    assert isinstance(one, LineageRecord)
    assert found.values("outputs") == {"a0@1", "a1@1", "a2@1"}
