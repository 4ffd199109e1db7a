"""What made this, and what did it make: the records as a graph of artifacts, tasks, images, services and runs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from stackgraft.lineage.nodes import Edge, Kind, Lineage, Node, artifact_node, image_node, task_node
from stackgraft.lineage.record import LineageRecord
from stackgraft.lineage.records import Records, digest_of

LIMIT = 1000


Step = Callable[[Node], Iterator[tuple[Node, str]]]


class Graph:
    """The graph of all records of a log; only what is asked for is read.

    Args:
        records: The records.
    """

    def __init__(self, records: Records) -> None:
        self.records = records
        self._rollouts: dict[str, list[LineageRecord]] = {}

    def artifact(self, name_at_version: str) -> Node | None:
        """Return the node of an artifact's version, or None where no record names it."""
        for column in ("outputs", "inputs"):
            for record in self.records.find(column, name_at_version):
                return artifact_node(next(ref for ref in (*record.outputs, *record.inputs) if str(ref) == name_at_version))
        return None

    def image(self, digest: str) -> Node | None:
        """Return the node of an image, or None where no record names it."""
        for column in ("built", "image"):
            for record in self.records.find(column, digest):
                return image_node(next(image for image in (record.built, record.image) if digest in digest_of(image)))
        return None

    def service(self, name: str) -> Node | None:
        """Return the node of a service, with what it serves now, or None where no record names it."""
        rollouts = self.rollouts(name)
        now = _current(rollouts)
        details = {"image": now.image, "url": now.url, "since": now.ended} if now and now.image else {}
        return Node(Kind.SERVICE, name, name, details) if rollouts else None

    def runs(self, run: str) -> list[Node]:
        """Return the nodes of the runs that have this name, or are ``PIPELINE/RUN``; several pipelines may have one each."""
        named = {f"{record.pipeline}/{run}" for record in self.records.find("run", run)} | {run for _ in self._tasks(run)}
        return [Node(Kind.RUN, key, key) for key in sorted(named)]

    def rollouts(self, service: str) -> list[LineageRecord]:
        """Return the tries to deploy or remove a service, newest first."""
        if service not in self._rollouts:
            found = self.records.find("service", service)
            self._rollouts[service] = sorted(found, key=lambda record: (record.ended, record.id), reverse=True)
        return self._rollouts[service]

    def tasks(self, run: str) -> list[LineageRecord]:
        """Return the tries of the tasks of ``PIPELINE/RUN``, in the order in which they started."""
        found = {record.id: record for record in self._tasks(run)}
        return sorted(found.values(), key=lambda record: (record.started, record.ended, record.id))

    def around(self, root: Node, *, backward: bool = True, forward: bool = True, limit: int = LIMIT) -> Lineage:
        """Return what led to a node and what it led to; for a run, its tasks and what they used and made.

        Args:
            root: The node.
            backward: Whether to follow what made it.
            forward: Whether to follow what it made.
            limit: How many nodes at most; the nearest are kept.
        """
        walk = _Walk(root, limit)
        if root.kind is Kind.RUN:
            for record in self.tasks(root.key):
                walk.add(root, task_node(record), "task")
            for node in list(walk.nodes.values())[1:]:
                walk.nearest(node, self._before, backward=True)
                walk.nearest(node, self._after, backward=False)
            return walk.lineage()
        if backward:
            walk.all(self._before, backward=True)
        if forward:
            walk.all(self._after, backward=False)
        return walk.lineage()

    def _before(self, node: Node) -> Iterator[tuple[Node, str]]:
        if node.kind is Kind.ARTIFACT:
            yield from ((task_node(record), "output") for record in self.records.find("outputs", node.key))
        elif node.kind is Kind.IMAGE:
            yield from ((task_node(record), "built") for record in self.records.find("built", node.key))
        elif node.kind is Kind.SERVICE:
            rollouts = self.rollouts(node.key)
            yield from ((task_node(record), _served(record, rollouts)) for record in rollouts)
        elif node.kind is Kind.TASK:
            for record in self.records.find("id", node.key):
                yield from ((artifact_node(ref), "input") for ref in record.inputs)
                if record.image:
                    yield image_node(record.image), "deployed" if record.service else "ran in"

    def _after(self, node: Node) -> Iterator[tuple[Node, str]]:
        if node.kind is Kind.ARTIFACT:
            yield from ((task_node(record), "input") for record in self.records.find("inputs", node.key))
        elif node.kind is Kind.IMAGE:
            for record in self.records.find("image", node.key):
                yield task_node(record), "deployed" if record.service else "ran in"
        elif node.kind is Kind.TASK:
            for record in self.records.find("id", node.key):
                yield from ((artifact_node(ref), "output") for ref in record.outputs)
                if record.built:
                    yield image_node(record.built), "built"
                if service := record.service and self.service(record.service):
                    yield service, _served(record, self.rollouts(record.service))

    def _tasks(self, run: str) -> Iterator[LineageRecord]:
        pipeline, _, name = run.partition("/")
        while name:  # a pipeline's name may hold slashes too
            yield from (record for record in self.records.find("run", name) if record.pipeline == pipeline)
            more, _, name = name.partition("/")
            pipeline = f"{pipeline}/{more}"


class _Walk:
    """What was met on the way from a node, breadth first, until there are too many."""

    def __init__(self, root: Node, limit: int) -> None:
        self.root, self.limit, self.truncated = root, limit, False
        self.nodes = {root.id: root}
        self.edges: dict[Edge, None] = {}

    def all(self, step: Step, *, backward: bool) -> None:
        """Follow a step from the root and from all that it meets, even where the other direction met it before."""
        waiting, seen = deque([self.root]), {self.root.id}
        while waiting:
            fresh = {node.id: node for node in self.nearest(waiting.popleft(), step, backward=backward) if node.id not in seen}
            seen |= fresh.keys()
            waiting.extend(fresh.values())

    def nearest(self, node: Node, step: Step, *, backward: bool) -> list[Node]:
        """Take one step from a node; return what it met."""
        met = []
        for other, kind in step(node):
            if not self.add(*((other, node) if backward else (node, other)), kind):
                break
            met.append(other)
        return met

    def add(self, source: Node, target: Node, kind: str) -> bool:
        """Add an edge and the node at its other end, unless there are too many."""
        fresh = [node for node in (source, target) if node.id not in self.nodes]
        if len(self.nodes) + len(fresh) > self.limit:
            self.truncated = True
            return False
        self.nodes |= {node.id: node for node in fresh}
        self.edges[Edge(source.id, target.id, kind)] = None
        return True

    def lineage(self) -> Lineage:
        """Return what was met."""
        return Lineage(self.root.id, tuple(self.nodes.values()), tuple(self.edges), self.truncated)


def _current(rollouts: list[LineageRecord]) -> LineageRecord | None:
    return next((record for record in rollouts if record.outcome == "success"), None)


def _served(record: LineageRecord, rollouts: list[LineageRecord]) -> str:
    """Tell what the edge from a rollout to its service is."""
    if record.outcome != "success":
        return record.outcome
    if not record.image:
        return "removed"
    current = _current(rollouts)
    return "serves" if current and record.id == current.id else "served"
