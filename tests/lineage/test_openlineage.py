"""OpenLineage events, against the client's own classes, its serializer, and its transport."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from openlineage.client import OpenLineageClient, event_v2, facet_v2
from openlineage.client.serde import Serde
from openlineage.client.transport.http import HttpConfig, HttpTransport

from stackgraft.lineage import LineageRecord
from stackgraft.lineage.openlineage import events, parent_id, producer, run_id

from .conftest import record, ref

PLACE = "s3://bucket/prefix"
RECORD = record(
    inputs=(ref("raw", 3),), outputs=(ref("model", 7), ref("report")), owner="ml", stack="aws", cost_center="research", revision="abc-dirty",
    image="app@sha256:1", job="job-1", map_index=2, billable={"seconds": 12.5},
    facets={"engine_version": "3.1", "repository": "https://example.org/code", "nominal_start": "2026-01-01T00:00:00Z", "nominal_end": "2026-01-02T00:00:00Z"},
)  # fmt: skip


def tags(kind: Any, fields: Any, **known: str) -> Any:
    return kind(tags=[fields(key=key, value=value, source="STACKGRAFT") for key, value in known.items()])


def dataset(kind: Any, name: str, version: int, **facets: Any) -> Any:
    digest = f"sha256:{version:064x}"
    known = {
        "version": facet_v2.dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion=str(version)),
        "tags": tags(facet_v2.tags_dataset.TagsDatasetFacet, facet_v2.tags_dataset.TagsDatasetFacetFields, digest=digest, type="json"),
    }
    return kind(namespace=PLACE, name=name, facets=known, **facets)


def by_the_client(one: LineageRecord, state: event_v2.RunState, time: str, *, outputs: bool) -> dict[str, Any]:
    """Return the event as the client's classes write it."""
    facets: dict[str, Any] = {
        "parent": facet_v2.parent_run.ParentRunFacet(
            run=facet_v2.parent_run.Run(runId=parent_id(one)), job=facet_v2.parent_run.Job(namespace="airflow", name="signals", facets=None)
        ),
        "processing_engine": facet_v2.processing_engine_run.ProcessingEngineRunFacet(
            version="3.1", name="airflow", openlineageAdapterVersion="0.1.0"
        ),
        "nominalTime": facet_v2.nominal_time_run.NominalTimeRunFacet(
            nominalStartTime="2026-01-01T00:00:00Z", nominalEndTime="2026-01-02T00:00:00Z"
        ),
        "tags": tags(
            facet_v2.tags_run.TagsRunFacet, facet_v2.tags_run.TagsRunFacetFields, run="r1", map_index="2", try_number="1", stack="aws",
            cost_center="research", revision="abc-dirty", image="app@sha256:1", job="job-1", outcome=one.outcome, **{"billable.seconds": "12.5"},
        ),
    }  # fmt: skip
    if state is event_v2.RunState.FAIL:
        facets["errorMessage"] = facet_v2.error_message_run.ErrorMessageRunFacet(message="out of memory", programmingLanguage="PYTHON")
    code = {"type": "git", "url": "https://example.org/code", "repoUrl": "https://example.org/code", "version": "abc"}
    job = {
        "jobType": facet_v2.job_type_job.JobTypeJobFacet(processingType="BATCH", integration="AIRFLOW", jobType="TASK"),
        "ownership": facet_v2.ownership_job.OwnershipJobFacet(owners=[facet_v2.ownership_job.Owner(name="ml", type="OWNER")]),
        "sourceCodeLocation": facet_v2.source_code_location_job.SourceCodeLocationJobFacet(**code),
    }
    read = facet_v2.input_statistics_input_dataset.InputStatisticsInputDatasetFacet(size=30)
    wrote = facet_v2.output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet
    made = {"model": 7, "report": 1} if outputs else {}
    event = event_v2.RunEvent(
        eventTime=time,
        eventType=state,
        run=event_v2.Run(runId=run_id(one), facets=facets),
        job=event_v2.Job(namespace="airflow", name="signals.train", facets=job),
        inputs=[dataset(event_v2.InputDataset, "raw", 3, inputFacets={"inputStatistics": read})],
        outputs=[
            dataset(event_v2.OutputDataset, name, version, outputFacets={"outputStatistics": wrote(size=10 * version)})
            for name, version in made.items()
        ],
    )
    known: dict[str, Any] = json.loads(Serde.to_json(event))
    assert known["run"]["facets"]["parent"]["run"].pop("facets") == {}  # the client writes even that there are none
    return known


@pytest.fixture(autouse=True)
def _named_as_we_are() -> Iterator[None]:
    before = event_v2.PRODUCER
    event_v2.set_producer(producer())
    yield
    event_v2.set_producer(before)


@pytest.mark.parametrize(
    ("outcome", "state"), [("success", "COMPLETE"), ("failed", "FAIL"), ("cancelled", "ABORT"), ("of a newer stackgraft", "ABORT")]
)
def test_events_are_what_the_clients_own_classes_write(outcome: str, state: str) -> None:
    one = RECORD.model_copy(update={"outcome": outcome, "reason": "out of memory"})
    start, end = events(one, place=PLACE)
    assert start == by_the_client(one, event_v2.RunState.START, "2026-01-01T00:00:00.000Z", outputs=False)
    assert end == by_the_client(one, event_v2.RunState[state], "2026-01-01T00:00:01.000Z", outputs=True)


def test_a_record_that_knows_little_says_only_that() -> None:
    start, end = events(record(), place="/data/artifacts", namespace="team")
    assert start["job"] == {"namespace": "team", "name": "signals.train", "facets": {"jobType": start["job"]["facets"]["jobType"]}}
    assert set(end["run"]["facets"]) == {"parent", "processing_engine", "tags"}
    assert (end["inputs"], end["outputs"]) == ([], [])


def test_a_try_has_one_uuid_and_a_run_one_for_all_its_tasks() -> None:
    one, other = record("one"), record("two")
    assert run_id(one) == run_id(record("one", at=5)) != run_id(other)
    assert parent_id(one) == parent_id(other) != parent_id(record(run="r2"))


def test_a_skipped_task_never_ran() -> None:
    assert events(record(outcome="skipped"), place=PLACE) == []


@contextmanager
def collector() -> Iterator[tuple[str, list[Any]]]:
    """Run a server that keeps what it is sent."""
    received: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(201)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", received
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_the_real_transport_carries_events_that_its_classes_accept() -> None:
    with collector() as (url, received):
        client = OpenLineageClient(transport=HttpTransport(HttpConfig(url=url)))
        sent = events(RECORD, place=PLACE)
        for event in sent:
            client.emit(accepted(event))
        client.close(timeout=10)
    assert [one["eventType"] for one in received] == ["START", "COMPLETE"]
    for one, event in zip(received, sent, strict=True):
        assert one["run"]["runId"] == event["run"]["runId"]
        assert one["inputs"][0]["facets"]["version"] == event["inputs"][0]["facets"]["version"]
        assert [made["name"] for made in one["outputs"]] == [made["name"] for made in event["outputs"]]


def accepted(event: dict[str, Any]) -> event_v2.RunEvent:
    """Return the client's object of our JSON, made by its checked constructors, facets too."""
    run, job = event["run"], event["job"]
    return event_v2.RunEvent(
        eventTime=event["eventTime"],
        eventType=event_v2.RunState(event["eventType"]),
        run=event_v2.Run(**{**run, "facets": facets(run["facets"])}),
        job=event_v2.Job(**{**job, "facets": facets(job["facets"])}),
        inputs=[event_v2.InputDataset(**one) for one in event["inputs"]],
        outputs=[event_v2.OutputDataset(**one) for one in event["outputs"]],
        producer=event["producer"],
    )


def facets(known: dict[str, Any]) -> dict[str, Any]:
    """Return facets as the client's classes, found by their schema's address."""
    return {name: facet(fields) for name, fields in known.items()}


def facet(fields: dict[str, Any]) -> Any:
    modules = [module for module in vars(facet_v2).values() if isinstance(module, type(facet_v2))]
    classes = {kind for module in modules for kind in vars(module).values() if hasattr(kind, "_get_schema")}
    [kind] = [kind for kind in classes if kind._get_schema() == fields["_schemaURL"] and kind.__name__.endswith("Facet")]
    parts = {"tags": facet_v2.tags_run.TagsRunFacetFields, "owners": facet_v2.ownership_job.Owner}
    known = {name: value for name, value in fields.items() if not name.startswith("_")}
    return kind(**{name: [parts[name](**one) for one in value] if name in parts else value for name, value in known.items()})
