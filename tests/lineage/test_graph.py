"""The graph, edge by edge, on records that are loose, compacted, or both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from stackgraft.artifacts.store import ObjectArtifactStore
from stackgraft.errors import ArtifactError, ArtifactNotFoundError
from stackgraft.lineage import LineageRecord, log_of
from stackgraft.lineage.graph import Graph
from stackgraft.lineage.log import BORNE, LineageLog
from stackgraft.lineage.nodes import Kind, Lineage, Node, artifact_node, image_node
from stackgraft.lineage.records import Loose, Records
from stackgraft.lineage.subject import Subjects
from stackgraft.local.filesystem_store import FilesystemArtifactStore

from .conftest import CountedObjects, record, ref
from .pipeline import IMAGES, TRAINER, builder, run


def loose(records: Sequence[LineageRecord]) -> Records:
    return Records([Loose({f"{one.id}.json": one.to_bytes() for one in records})])


@pytest.fixture(params=["loose", "compacted", "both"])
def graph(request: pytest.FixtureRequest, local_log: LineageLog) -> Graph:
    """Return the graph of two runs and what built their trainer."""
    for one in [*run(1), builder()]:
        local_log.write(one)
    if request.param != "loose":
        local_log.compact()
    for one in run(2):
        local_log.write(one)
    if request.param == "compacted":
        local_log.compact()
    return Graph(local_log.read())


def edges(found: Lineage) -> set[tuple[str, str, str]]:
    """Return the edges by their nodes' labels."""
    labels = {node.id: node.label for node in found.nodes}
    assert len(labels) == len(found.nodes)
    assert len(set(found.edges)) == len(found.edges)
    return {(labels[edge.source], edge.kind, labels[edge.target]) for edge in found.edges}


def node(graph: Graph, name: str) -> Node:
    found = graph.artifact(name)
    assert found is not None
    return found


APP = {number: image_node(image).label for number, image in IMAGES.items()}
IMAGE = image_node(TRAINER).label


def backward_of(number: int) -> set[tuple[str, str, str]]:
    """Return the edges that led to ``best@number``."""
    retried = {0: "signals.train[0]", 1: "signals.train[1] (try 2)", 2: "signals.train[2]"}
    each = {
        edge
        for index, task in retried.items()
        for edge in (
            (f"features@{number}", "input", task),
            (IMAGE, "ran in", task),
            (task, "output", f"model-{index}@{number}"),
            (f"model-{index}@{number}", "input", "signals.choose"),
        )
    }
    first = {("raw@1", "input", "signals.prepare"), ("signals.prepare", "output", f"features@{number}"), ("images.build", "built", IMAGE)}
    return each | first | {("signals.choose", "output", f"best@{number}")}


@pytest.mark.parametrize("number", [1, 2])
def test_backward_from_an_artifact_finds_exactly_what_made_it(graph: Graph, number: int) -> None:
    found = graph.around(node(graph, f"best@{number}"), forward=False)
    assert edges(found) == backward_of(number)
    assert not found.truncated
    assert found.nodes[0].id == found.root == f"artifact:best@{number}"


def test_forward_from_an_artifact_finds_exactly_what_it_led_to(graph: Graph) -> None:
    found = graph.around(node(graph, "model-1@2"), backward=False)
    assert edges(found) == {
        ("model-1@2", "input", "signals.choose"),
        ("signals.choose", "output", "best@2"),
        ("signals.choose", "output", "report@2"),
        ("best@2", "input", "signals.deploy"),
        ("signals.deploy", "serves", "app"),
    }


def test_forward_from_the_data_reaches_both_runs_and_the_try_that_failed(graph: Graph) -> None:
    found = graph.around(node(graph, "raw@1"), backward=False)
    tasks = [one for one in found.nodes if one.kind is Kind.TASK]
    assert len(tasks) == 2 * (1 + 4 + 1 + 1)
    assert sorted(one.details["reason"] for one in tasks if one.details["outcome"] == "failed") == ["out of memory"] * 2
    assert ("signals.deploy", "served", "app") in edges(found)
    assert ("signals.deploy", "serves", "app") in edges(found)


def test_both_ways_is_what_led_to_it_and_what_it_led_to(graph: Graph) -> None:
    both = edges(graph.around(node(graph, "best@1")))
    assert both == backward_of(1) | {("best@1", "input", "signals.deploy"), ("signals.deploy", "served", "app")}


def test_an_image_knows_what_built_it_what_it_produced_and_what_it_serves_wherever_it_lies(graph: Graph) -> None:
    trainer, app = graph.image(f"sha256:{9:064x}"), graph.image(f"sha256:{2:064x}")
    assert trainer
    assert app
    found = edges(graph.around(trainer))
    assert ("images.build", "built", IMAGE) in found
    assert {target for source, kind, target in found if kind == "output"} >= {f"model-{index}@{n}" for index in range(3) for n in (1, 2)}
    assert {edge for edge in edges(graph.around(app)) if edge[1] != "x"} == {
        ("signals.build", "built", APP[2]),
        (APP[2], "deployed", "signals.deploy"),
        ("signals.deploy", "serves", "app"),
    }
    assert graph.image("sha256:0") is None


def test_a_service_knows_what_it_serves_now_and_before(graph: Graph) -> None:
    service = graph.service("app")
    assert service
    assert service.details["image"] == IMAGES[2]
    assert service.details["url"] == "http://app/2"
    found = edges(graph.around(service))
    assert {(APP[1], "deployed", "signals.deploy"), (APP[2], "deployed", "signals.deploy")} < found
    assert {("best@1", "input", "signals.deploy"), ("best@2", "input", "signals.deploy")} < found
    assert backward_of(1) | backward_of(2) < found


def test_a_rollout_that_failed_and_a_removal_are_told_apart() -> None:
    deploys = [record("deploy", at=at, run=f"r{at}", image=IMAGES[1], service="app") for at in (1, 2)]
    failed = record("deploy", at=3, run="r3", image=IMAGES[2], service="app", outcome="failed")
    known = Graph(loose([*deploys, failed]))
    service = known.service("app")
    assert service
    assert service.details["image"] == IMAGES[1]
    kinds = [edge.kind for edge in known.around(service).edges if edge.target == "service:app"]
    assert kinds == ["failed", "serves", "served"]
    removed = Graph(loose([*deploys, record("remove", at=9, service="app")])).service("app")
    assert removed
    assert removed.details == {}
    assert Graph(loose([failed])).service("app")
    assert Graph(loose([failed])).service("other") is None


def test_a_run_shows_its_tasks_in_order_and_what_they_used_and_made(graph: Graph) -> None:
    tasks = [one.task for one in graph.tasks("signals/r1")]
    assert tasks == ["prepare", "train", "train", "train", "train", "choose", "skip", "build", "deploy"]
    [found] = graph.runs("signals/r1")
    shown = graph.around(found)
    assert {one.label for one in shown.nodes if one.kind is Kind.ARTIFACT} == {
        "raw@1", "features@1", "model-0@1", "model-1@1", "model-2@1", "best@1", "report@1",
    }  # fmt: skip
    assert len([edge for edge in shown.edges if edge.kind == "task"]) == 9
    assert ("images.build", "built", IMAGE) not in edges(shown)  # another run's
    assert [one.key for one in graph.runs("r1")] == ["images/r1", "signals/r1"]
    assert graph.runs("r3") == []


def test_a_pipeline_and_a_run_may_hold_slashes() -> None:
    known = Graph(loose([record(pipeline="team/flow", run="a/b")]))
    [found] = known.runs("a/b")
    assert found.key == "team/flow/a/b"
    assert known.runs("team/flow/a/b") == [found]
    assert len(known.tasks(found.key)) == 1


def test_too_many_nodes_are_cut_and_said_to_be(graph: Graph) -> None:
    found = graph.around(node(graph, "best@1"), limit=4)
    assert found.truncated
    assert len(found.nodes) == 4
    assert {end for edge in found.edges for end in (edge.source, edge.target)} <= {one.id for one in found.nodes}


def test_an_artifact_that_a_task_reads_and_leaves_unchanged_is_no_endless_circle() -> None:
    known = Graph(loose([record(inputs=(ref("a"),), outputs=(ref("a"),))]))
    assert edges(known.around(node(known, "a@1"))) == {("a@1", "input", "signals.train"), ("signals.train", "output", "a@1")}


TASKS = some.lists(
    some.tuples(some.frozensets(some.integers(0, 9), max_size=3), some.frozensets(some.integers(0, 9), max_size=2)), min_size=1, max_size=12
)


@given(TASKS, some.integers(0, 12))
@settings(max_examples=150, deadline=None)
def test_any_graph_is_walked_as_a_fixed_point_of_its_edges(tasks: list[tuple[frozenset[int], frozenset[int]]], split: int) -> None:
    records = [
        record(f"t{n}", at=n, inputs=tuple(ref(f"a{i}") for i in sorted(ins)), outputs=tuple(ref(f"a{i}") for i in sorted(outs)))
        for n, (ins, outs) in enumerate(tasks)
    ]
    steps = {(f"artifact:{used}", f"task:{one.id}") for one in records for used in one.inputs}
    steps |= {(f"task:{one.id}", f"artifact:{made}") for one in records for made in one.outputs}
    before, after = closed({(target, source) for source, target in steps}), closed(steps)
    parts = [Loose({f"{one.id}.json": one.to_bytes() for one in some_records}) for some_records in (records[split:], records[: split + 1])]
    found = Graph(Records(parts)).around(artifact_node(ref("a0")))
    assert {one.id for one in found.nodes} == before | after
    expected = {(source, target) for source, target in steps if target in before or source in after}
    assert {(edge.source, edge.target) for edge in found.edges} == expected


def closed(steps: set[tuple[str, str]]) -> set[str]:
    """Return all that steps lead to from ``a0``, by the plainest means."""
    reached = {"artifact:a0@1"}
    while more := {target for source, target in steps if source in reached} - reached:
        reached |= more
    return reached


# --- what a word means ---


@pytest.fixture
def subjects(local: FilesystemArtifactStore) -> Subjects:
    """Return a store with a few versions, whose log knows them and a service and two runs."""
    saved = [local.save("model", {"v": number}) for number in range(3)]
    local.tag(saved[1], "live")
    log = log_of(local)
    for one in [*run(1), builder(), record("save", run="scheduled__2026-01-01T00:00:00+00:00", outputs=tuple(saved[:2]))]:
        log.write(one)
    return Subjects(Graph(log.read()), local)


@pytest.mark.parametrize(
    ("subject", "node"),
    [
        ("model", "artifact:model@3"),
        ("model@1", "artifact:model@1"),
        ("model@live", "artifact:model@2"),
        ("artifact:model@live", "artifact:model@2"),
        ("best@1", "artifact:best@1"),
        (f"sha256:{1:064x}", f"image:sha256:{1:064x}"),
        (f"any/repo@sha256:{1:064x}", f"image:sha256:{1:064x}"),
        (f"image:x@sha256:{9:064x}", f"image:sha256:{9:064x}"),
        ("app", "service:app"),
        ("service:app", "service:app"),
        ("scheduled__2026-01-01T00:00:00+00:00", "run:signals/scheduled__2026-01-01T00:00:00+00:00"),
        ("signals/r1", "run:signals/r1"),
        ("run:images/r1", "run:images/r1"),
    ],
)
def test_a_word_means_what_users_expect(subjects: Subjects, subject: str, node: str) -> None:
    assert subjects.find(subject).id == node


@pytest.mark.parametrize(
    ("subject", "said"),
    [
        ("modle", "did you mean 'model'"),
        ("model@9", r"no such version[^$]*the nearest is model@3"),
        ("model@lvie", "no such tag[^$]*did you mean 'live'"),
        ("ap", "did you mean 'app'"),
        ("service:r1", "no service of that name"),
        (f"sha256:{3:064x}", "no image of that name[^$]*did you mean 'sha256:0"),
        ("", "no artifact, service, run"),
        ("x" * 5000, "no artifact, service, run"),
        ("../../etc", "no artifact, service, run"),
    ],
)
def test_an_unknown_word_names_the_nearest(subjects: Subjects, subject: str, said: str) -> None:
    with pytest.raises(ArtifactNotFoundError, match=said):
        subjects.find(subject)


def test_a_run_of_several_pipelines_asks_which(subjects: Subjects) -> None:
    with pytest.raises(ArtifactError, match=r"run:images/r1, run:signals/r1"):
        subjects.find("r1")


def test_a_question_takes_at_most_twenty_requests(store: ObjectArtifactStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.save("model", {"v": 1})
    log = log_of(store)
    for number in range(40):
        log.write(record(f"t{number}", at=number, service="app", image=IMAGES[1], inputs=(ref("model", number),)))
        if number % 8 == 7:
            log.compact()
    for number in range(BORNE):
        log.write(record(f"u{number}"))
    counted = CountedObjects.of(store.objects)
    monkeypatch.setattr(type(store), "objects", property(lambda _: counted))
    for subject in ("model", "model@1", "model@7", "app", f"sha256:{1:064x}", "r1"):
        counted.requests.clear()
        graph = Graph(log_of(store).read())
        graph.around(Subjects(graph, store).find(subject))
        assert len(counted.requests) <= 20, counted.requests


def test_a_scattered_log_takes_twenty_requests_after_the_first_question(local_log: LineageLog, tmp_path: Path) -> None:
    assert tmp_path
    for number in range(60):
        local_log.write(record(f"t{number}", at=number))
    counted = CountedObjects.of(local_log.objects)
    log = LineageLog(counted)
    log.tidy(log.read())
    assert len(counted.requests) > 60
    counted.requests.clear()
    assert len(log.read()) == 60
    assert len(counted.requests) <= 20
