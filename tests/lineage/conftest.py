"""Records, logs that count their requests, and the stores of the artifact tests."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from stackgraft.artifacts.objects import Objects
from stackgraft.artifacts.ref import ArtifactRef
from stackgraft.artifacts.store import ObjectArtifactStore
from stackgraft.lineage import LineageRecord
from stackgraft.lineage.log import LineageLog

DAY = 86_400


def ref(name: str, version: int = 1) -> ArtifactRef:
    return ArtifactRef(name=name, version=version, digest=f"sha256:{version:064x}", type="json", size=10 * version)


def record(task: str = "train", *, at: float = 0, **fields: Any) -> LineageRecord:
    """Return a record of a task that started at a second of 2026 and took one."""
    start = 1_767_225_600 + at
    known = {
        "engine": "airflow",
        "pipeline": "signals",
        "run": "r1",
        "task": task,
        "started": start,
        "ended": start + 1,
        "outcome": "success",
    }
    return LineageRecord(**{**known, **fields})


@dataclass(frozen=True, slots=True)
class CountedObjects(Objects):
    """Objects that count requests, as S3 would see them: one for a put, a get, a page of a listing or of deletions."""

    requests: list[str] = field(default_factory=list, compare=False)
    lock: Any = field(default_factory=threading.Lock, compare=False)

    @classmethod
    def of(cls, objects: Objects) -> CountedObjects:
        return cls(objects.storage, objects.place, objects.workers, ordered=objects.ordered, compress=objects.compress)

    def count(self, what: str) -> None:
        with self.lock:
            self.requests.append(what)

    def read(self, key: str) -> memoryview:
        self.count(f"GET {key}")
        return Objects.read(self, key)

    def create(self, key: str, content: Any) -> bool:
        self.count(f"PUT {key}")
        return Objects.create(self, key, content)

    def delete(self, keys: Sequence[str]) -> None:
        self.count(f"DELETE {len(keys)}")
        Objects.delete(self, keys)

    def folders(self, prefix: str) -> list[str]:
        self.count(f"LIST {prefix}")
        return Objects.folders(self, prefix)

    def first(self, prefix: str) -> Any:
        self.count(f"LIST {prefix}")
        return Objects.first(self, prefix)

    def walk(self, prefix: str) -> Iterator[Any]:
        self.count(f"LIST {prefix}")
        for number, found in enumerate(Objects.walk(self, prefix), 1):
            if number % 1000 == 0:
                self.count(f"LIST {prefix}, page {number // 1000 + 1}")
            yield found


@pytest.fixture
def log(store: ObjectArtifactStore) -> LineageLog:
    """Return an empty log in a store of each kind."""
    return LineageLog(store.objects)


@pytest.fixture
def local_log(tmp_path: Path) -> LineageLog:
    """Return an empty log in a folder."""
    from stackgraft.local.filesystem_store import FilesystemArtifactStore  # noqa: PLC0415 - one store of several

    return LineageLog(FilesystemArtifactStore(path=tmp_path / "store", cache=tmp_path / "cache").objects)
