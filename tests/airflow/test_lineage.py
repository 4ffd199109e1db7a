"""Plain DAGs gain artifacts and lineage by one line of configuration: checked edge by edge."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stackgraft.artifacts.store import ObjectArtifactStore
from stackgraft.lineage import LineageRecord, log_of, revision
from stackgraft.stack import Stack

from .conftest import Home, Runner

pytestmark = pytest.mark.engine
STACK = """
default = "lineage"

[stacks.lineage]
owner = "ml"
cost_center = "research"
artifact_store = { flavor = "local", path = "lineage/artifacts", cache = "lineage/cache" }
"""


@pytest.fixture(scope="module")
def ran(home: Home) -> Iterator[tuple[Any, ObjectArtifactStore]]:
    """Run the DAG once with the backend on; return the run and the store."""
    config = home.folder / "lineage.toml"
    config.write_text(STACK)
    env = {
        **home.env,
        "STACKGRAFT_CONFIG": str(config),
        "AIRFLOW__CORE__XCOM_BACKEND": "stackgraft_airflow.xcom.ArtifactXComBackend",
        "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps({"type": "file", "log_file_path": str(home.folder / "events.json"), "append": True}),
        "AIRFLOW__OPENLINEAGE__NAMESPACE": "tests",
    }
    with (home.folder / "lineage.log").open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("run_dags.py"))],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
    logs = home.folder / "lineage-runs"
    logs.mkdir()
    try:
        run = Runner(process, logs)("plain_taskflow")
        yield run, Stack.load("lineage", path=config).artifact_store
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # the OpenLineage provider forks children that outlive it
        process.wait()  # not for its output, which children of the OpenLineage provider hold open for a while


def records(store: ObjectArtifactStore) -> dict[tuple[str, int, int], LineageRecord]:
    return {(record.task, record.map_index, record.try_number): record for record in log_of(store).read()}


def names(refs: Any) -> set[str]:
    return {str(ref) for ref in refs}


def test_the_dag_succeeds_unchanged_and_its_large_values_are_artifacts(ran: tuple[Any, ObjectArtifactStore]) -> None:
    run, store = ran
    assert run.state == "success", run.log
    assert np.array_equal(store.load("plain_taskflow/prices"), np.arange(300_000, dtype="f8"))
    assert store.load("plain_taskflow/split/train").shape == (200_000,)
    kept = {(task, key): value for task, index, key, value in run.xcoms if index == -1}
    assert kept["split", "count"] == 300_000
    assert kept["joined", "return_value"] == pytest.approx(6 * np.arange(200_000, dtype="f8").sum())
    assert len(str(kept["prices", "return_value"])) < 300


EDGES = [
    (("prices", -1, 1), set(), {"plain_taskflow/prices@1"}),
    (
        ("split", -1, 1),
        {"plain_taskflow/prices@1"},
        {"plain_taskflow/split/train@1", "plain_taskflow/split/rest@1", "plain_taskflow/split.train@1", "plain_taskflow/split.rest@1"},
    ),
    (("scaled", 0, 1), {"plain_taskflow/split/train@1"}, None),
    (("scaled", 1, 1), {"plain_taskflow/split/train@1"}, None),
    (("scaled", 2, 1), {"plain_taskflow/split/train@1"}, None),
    (("large", -1, 1), {"plain_taskflow/split/rest@1"}, {"plain_taskflow/large.first@1"}),
    (("flaky", -1, 1), {"plain_taskflow/split/train@1"}, set()),
    (("flaky", -1, 2), {"plain_taskflow/split/train@1"}, {"plain_taskflow/flaky@1"}),
]


@pytest.mark.parametrize(
    ("task", "inputs", "outputs"), EDGES, ids=lambda value: "-".join(map(str, value)) if isinstance(value, tuple) else ""
)
def test_each_try_is_recorded_with_what_it_read_and_wrote(
    ran: tuple[Any, ObjectArtifactStore], task: tuple[str, int, int], inputs: set[str], outputs: set[str] | None
) -> None:
    found = records(ran[1])[task]
    assert names(found.inputs) == inputs
    if outputs is not None:
        assert names(found.outputs) == outputs
    assert found.outcome == ("failed" if task == ("flaky", -1, 1) else "success")


def test_mapped_tasks_write_versions_of_one_artifact_and_their_reader_has_all(ran: tuple[Any, ObjectArtifactStore]) -> None:
    _, store = ran
    found = records(store)
    written = [names(found["scaled", index, 1].outputs) for index in range(3)]
    assert sorted(name for each in written for name in each) == [f"plain_taskflow/scaled@{version}" for version in (1, 2, 3)]
    assert names(found["joined", -1, 1].inputs) == {name for each in written for name in each}


def test_a_branch_not_taken_leaves_no_record(ran: tuple[Any, ObjectArtifactStore]) -> None:
    assert not [key for key in records(ran[1]) if key[0] == "small"]


def test_a_record_says_who_paid_and_which_run_it_was(ran: tuple[Any, ObjectArtifactStore]) -> None:
    run, store = ran
    found = records(store)["prices", -1, 1]
    assert (found.engine, found.pipeline, found.run) == ("airflow", "plain_taskflow", run.run_id)
    assert (found.stack, found.owner, found.cost_center) == ("lineage", "ml", "research")
    assert 0 < found.ended - found.started < 120
    assert found.revision == revision(Path(__file__).parent)


def test_a_failed_try_says_why(ran: tuple[Any, ObjectArtifactStore]) -> None:
    assert "not yet" in records(ran[1])["flaky", -1, 1].reason


def test_openlineage_events_of_the_real_provider_name_the_artifacts_and_their_versions(
    ran: tuple[Any, ObjectArtifactStore], home: Home
) -> None:
    events = [json.loads(line) for line in (home.folder / "events.json").read_text().splitlines()]
    [done] = [event for event in events if event["eventType"] == "COMPLETE" and event["job"]["name"] == "plain_taskflow.split"]
    assert [(dataset["namespace"], dataset["name"]) for dataset in done["inputs"]] == [(ran[1].place, "plain_taskflow/prices")]
    assert done["inputs"][0]["facets"]["version"]["datasetVersion"] == "1"
    assert {dataset["name"] for dataset in done["outputs"]} >= {"plain_taskflow/split/train", "plain_taskflow/split/rest"}


def test_artifacts_become_asset_events_with_version_and_digest(ran: tuple[Any, ObjectArtifactStore], home: Home) -> None:
    _, store = ran
    code = """
import json
from airflow.models.asset import AssetEvent
from airflow.utils.session import create_session
from sqlalchemy import select
with create_session() as session:
    events = session.scalars(select(AssetEvent)).all()
    print(json.dumps([[event.asset.uri, event.extra, event.source_task_id] for event in events]))
"""
    done = subprocess.run([sys.executable, "-c", code], env=dict(home.env), capture_output=True, text=True, check=True)
    events = json.loads(done.stdout.splitlines()[-1])
    prices = store.resolve("plain_taskflow/prices")
    [event] = [event for event in events if event[0] == "stackgraft://artifacts/plain_taskflow/prices"]
    assert event[1:] == [{"version": 1, "digest": prices.digest, "size": prices.size, "type": "numpy"}, "prices"]
