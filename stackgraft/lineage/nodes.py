"""What a lineage is made of: nodes, the edges between them, and how records and references become nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from stackgraft.artifacts.ref import ArtifactRef
from stackgraft.lineage.record import LineageRecord


class Kind(StrEnum):
    """What a node is."""

    ARTIFACT = "artifact"
    TASK = "task"
    IMAGE = "image"
    SERVICE = "service"
    RUN = "run"


@dataclass(frozen=True, slots=True)
class Node:
    """A node of a lineage.

    Attributes:
        kind: What it is.
        key: Its name among its kind: ``name@version``, a record's id, an image's digest, a service's name, or ``PIPELINE/RUN``.
        label: What people call it.
        details: What else is known, as JSON.
    """

    kind: Kind
    key: str
    label: str
    details: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def id(self) -> str:
        """The node's name among all."""
        return f"{self.kind}:{self.key}"


@dataclass(frozen=True, slots=True)
class Edge:
    """An edge, in the direction in which data flows.

    Attributes:
        source: The id of the node that it leaves.
        target: The id of the node that it enters.
        kind: ``input``, ``output``, ``ran in``, ``deployed``, ``built`` or ``task``; from a task to its service ``serves``,
            ``served`` (before), ``removed``, or the outcome of a try that failed.
    """

    source: str
    target: str
    kind: str


@dataclass(frozen=True, slots=True)
class Lineage:
    """The part of the graph around a node.

    Attributes:
        root: The id of the node.
        nodes: The nodes, those nearest to the root first.
        edges: The edges between them.
        truncated: Whether more was left out.
    """

    root: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    truncated: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the lineage as a JSON object."""
        nodes = [{"id": node.id, "kind": node.kind, "label": node.label, "details": dict(node.details)} for node in self.nodes]
        edges = [{"source": edge.source, "target": edge.target, "kind": edge.kind} for edge in self.edges]
        return {"root": self.root, "nodes": nodes, "edges": edges, "truncated": self.truncated}


def artifact_node(ref: ArtifactRef) -> Node:
    """Return the node of an artifact."""
    details = {"name": ref.name, "version": ref.version, "digest": ref.digest, "type": ref.type, "size": ref.size}
    return Node(Kind.ARTIFACT, str(ref), str(ref), details)


def image_node(reference: str) -> Node:
    """Return the node of an image, which is one wherever it lies."""
    repository, _, digest = reference.rpartition("@")
    name = repository.rpartition("/")[2]
    algorithm, _, value = digest.partition(":")
    short = f"{algorithm}:{value[:12]}" if value else digest
    return Node(Kind.IMAGE, digest, f"{name}@{short}" if name else short, {"reference": reference})


def task_node(record: LineageRecord) -> Node:
    """Return the node of a task's try."""
    mapped = f"[{record.map_index}]" if record.map_index >= 0 else ""
    again = f" (try {record.try_number})" if record.try_number > 1 else ""
    details = record.model_dump(mode="json", exclude_defaults=True, exclude={"inputs", "outputs"})
    return Node(Kind.TASK, record.id, f"{record.pipeline}.{record.task}{mapped}{again}", details)
