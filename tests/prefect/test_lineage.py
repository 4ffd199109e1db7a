"""Plain flows gain artifacts and lineage by two settings: checked edge by edge, on a real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prefect import flow, task, unmapped
from prefect.cache_policies import INPUTS
from prefect.results import ResultStore
from prefect.settings import PREFECT_RESULTS_DEFAULT_SERIALIZER, PREFECT_RESULTS_PERSIST_BY_DEFAULT, temporary_settings

from stackgraft.artifacts.store import ObjectArtifactStore
from stackgraft.lineage import LineageRecord, log_of, revision
from stackgraft.stack import Stack
from stackgraft_prefect import publish_lineage
from stackgraft_prefect.results import ArtifactResultStorage, ArtifactSerializer

pytestmark = pytest.mark.engine


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Any) -> Iterator[ObjectArtifactStore]:
    """Make a stack the active one, and turn artifacts on as a user does."""
    del server
    config = tmp_path / "stacks.toml"
    config.write_text(
        "default = 'lineage'\n[stacks.lineage]\nowner = 'ml'\ncost_center = 'research'\n"
        "artifact_store = { flavor = 'local', path = 'artifacts', cache = 'cache' }\n"
    )
    monkeypatch.setenv("STACKGRAFT_CONFIG", str(config))
    with temporary_settings({PREFECT_RESULTS_DEFAULT_SERIALIZER: "artifact", PREFECT_RESULTS_PERSIST_BY_DEFAULT: True}):
        yield Stack.load().artifact_store


@task
def prices() -> np.ndarray:
    return np.arange(1000.0)


@task
def scaled(values: np.ndarray, factor: int) -> np.ndarray:
    return values * factor


@task
def total(arrays: list[np.ndarray]) -> float:
    return float(sum(array.sum() for array in arrays))


attempts: list[int] = []


@task(retries=1)
def flaky(values: np.ndarray) -> np.ndarray:
    attempts.append(1)
    if len(attempts) == 1:
        raise ValueError("not yet")
    return values[::2].copy()


@flow
def plain() -> float:
    values = prices.submit()
    mapped = scaled.map(unmapped(values), [1, 2, 3])
    flaky(values)
    return total(mapped)


def by_task(store: ObjectArtifactStore) -> dict[str, list[LineageRecord]]:
    found: dict[str, list[LineageRecord]] = {}
    for record in log_of(store).read():
        found.setdefault(str(record.facets["task_name"]), []).append(record)
    return found


def names(records: list[LineageRecord], field: str) -> list[str]:
    return sorted(str(ref) for record in records for ref in getattr(record, field))


def test_a_plain_flow_is_recorded_edge_by_edge(store: ObjectArtifactStore) -> None:
    attempts.clear()
    assert plain() == 6 * np.arange(1000.0).sum()
    found = by_task(store)
    assert names(found["prices"], "outputs") == ["plain/prices@1"]
    assert names(found["scaled"], "inputs") == ["plain/prices@1"] * 3
    written = names(found["scaled"], "outputs")
    assert set(written) <= {"plain/scaled@1", "plain/scaled@2", "plain/scaled@3"}
    assert names(found["total"], "inputs") == sorted(set(written))
    [flaky_record] = found["flaky"]
    assert (flaky_record.try_number, names([flaky_record], "inputs")) == (2, ["plain/prices@1"])
    assert names([flaky_record], "outputs") == ["plain/flaky@1"]
    [record] = found["prices"]
    assert (record.engine, record.pipeline, record.owner, record.cost_center, record.stack) == (
        "prefect",
        "plain",
        "ml",
        "research",
        "lineage",
    )
    assert record.revision == revision(Path(__file__).parent)


def test_prefects_own_record_of_a_result_is_small_and_holds_no_pickle(store: ObjectArtifactStore, server: Any) -> None:
    @task(persist_result=True)
    def big() -> np.ndarray:
        return np.zeros(200_000)

    @flow
    def small_records() -> Any:
        return big(return_state=True)

    state = small_records()
    del server
    content = Path(ResultStore().result_storage.basepath if ResultStore().result_storage else "", "")
    assert isinstance(state.result(), np.ndarray)
    assert store.load("small-records/big").shape == (200_000,)
    del content


def test_a_plain_task_that_fails_is_recorded_as_failed_with_its_reason(store: ObjectArtifactStore) -> None:
    @task
    def bad() -> None:
        raise ValueError("no prices today")

    @flow
    def failing() -> None:
        bad()

    with pytest.raises(ValueError, match="no prices today"):
        failing()
    [record] = by_task(store)["bad"]
    assert (record.outcome, record.reason) == ("failed", "no prices today")


SCRIPT = """
import numpy
from prefect import flow, task

@task
def prices():
    return numpy.arange(10.0)

@flow
def unknowing():
    prices()

unknowing()
"""


def test_a_script_that_does_not_know_this_package_is_recorded_by_settings_alone(
    store: ObjectArtifactStore, server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    settings = {
        "STACKGRAFT_CONFIG": str(tmp_path / "stacks.toml"),
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "artifact",
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "true",
        "PREFECT_PLUGINS_ENABLED": "true",
    }
    for name, value in settings.items():
        monkeypatch.setitem(server.env, name, value)
    with server.process(str(tmp_path / "script.py")) as script:
        assert script.wait(timeout=90) == 0
    assert store.load("unknowing/prices").sum() == 45
    assert names(by_task(store)["prices"], "outputs") == ["unknowing/prices@1"]


def test_a_run_shows_its_lineage_as_a_diagram(store: ObjectArtifactStore, server: Any) -> None:
    plain.with_options(on_completion=[publish_lineage], name="drawn")()
    [shown] = server.artifacts("lineage-drawn")
    assert "```mermaid" in shown["data"]
    assert "drawn/prices@1" in shown["data"]
    assert "drawn/flaky@1" in shown["data"]
    assert store.names()


def test_a_cached_result_is_the_same_artifact_and_its_reader_is_linked_to_it(store: ObjectArtifactStore) -> None:
    runs: list[int] = []

    @task(cache_policy=INPUTS, result_storage_key="cached-{parameters[size]}")
    def make(size: int) -> np.ndarray:
        runs.append(size)
        return np.ones(size)

    @task
    def use(values: np.ndarray) -> float:
        return float(values.sum())

    @flow
    def cached() -> float:
        return use(make(500))

    storage = ArtifactResultStorage()
    storage.save("cached-results", overwrite=True)
    flows = cached.with_options(result_storage=storage)
    assert flows() == flows() == 500.0
    assert runs == [500]
    assert list(store.versions("cached/make")) == [1]
    assert names(by_task(store)["use"], "inputs") == ["cached/make@1"] * 2


def test_the_storage_tells_of_a_record_without_reading_it(store: ObjectArtifactStore, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = ArtifactResultStorage()
    storage.write_path("a/key", content=b"record", _sync=True)
    assert storage.read_path("a/key", _sync=True) == b"record"
    with monkeypatch.context() as patch:
        patch.setattr(type(store.objects), "read", lambda *_: pytest.fail("it was read"))
        assert storage.exists("a/key")
        assert not storage.exists("a/ke")
        assert not storage.exists("absent")
    with pytest.raises(FileNotFoundError):
        storage.read_path("absent", _sync=True)


async def test_the_storage_works_in_async_code(store: ObjectArtifactStore) -> None:
    del store
    storage = ArtifactResultStorage()
    await storage.write_path("key", content=b"record")
    assert await storage.read_path("key") == b"record"


def test_a_value_without_a_serializer_fails_the_task_with_its_type(store: ObjectArtifactStore) -> None:
    del store
    with pytest.raises(Exception, match="object"):
        ArtifactSerializer().dumps(object())


def test_outputs_become_asset_events_with_version_and_digest(store: ObjectArtifactStore, server: Any) -> None:
    plain()
    ref = store.resolve("plain/prices")

    def seen() -> list[dict[str, Any]]:
        body = {"filter": {"event": {"name": ["prefect.asset.materialization.succeeded"]}}}
        with server.client() as client:
            return [
                event
                for event in client.request("POST", "/events/filter", json=body).json()["events"]
                if event["resource"]["prefect.resource.id"] == "stackgraft://artifacts/plain/prices"
            ]

    [event, *_] = server.eventually(seen, "the asset's event arrives")
    assert event["payload"]["version"] == ref.version
    assert event["payload"]["digest"] == ref.digest
