"""What a user means by a word: an artifact, an image, a service or a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from stackgraft.artifacts.store import ObjectArtifactStore
from stackgraft.errors import ArtifactCorruptedError, ArtifactError, ArtifactNotFoundError, nearest
from stackgraft.lineage.graph import Graph
from stackgraft.lineage.nodes import Kind, Node, artifact_node

_GUESSED = (Kind.ARTIFACT, Kind.SERVICE, Kind.RUN)
_COMPARED = 2000
"""Names of runs at most that a wrong one is compared with, the last ones by name."""


@dataclass(frozen=True, slots=True)
class Subjects:
    """All that a user may ask about.

    Attributes:
        graph: The records.
        store: Where ``name`` and ``name@TAG`` are resolved.
    """

    graph: Graph
    store: ObjectArtifactStore

    def find(self, subject: str) -> Node:
        """Return the node that a user means.

        Args:
            subject: ``name``, ``name@VERSION``, ``name@TAG``, ``sha256:…``, ``repository@sha256:…``, a service, a run, or
                ``PIPELINE/RUN``; ``artifact:``, ``image:``, ``service:`` or ``run:`` before it says which is meant.

        Raises:
            ArtifactNotFoundError: Nothing is called so; the error names the nearest.
            ArtifactError: Several runs are called so.
        """
        stated, _, name = subject.partition(":")
        if stated in set(Kind) - {Kind.TASK}:
            kinds: tuple[Kind, ...] = (Kind(stated),)
        else:
            kinds, name = (Kind.IMAGE,) if "sha256:" in subject else _GUESSED, subject
        for kind in kinds:
            if nodes := self._named(kind, name):
                return _one(subject, nodes)
        return self._refuse(subject, name, kinds)

    def _named(self, kind: Kind, name: str) -> list[Node]:
        if kind is Kind.RUN:
            return self.graph.runs(name)
        if kind is Kind.ARTIFACT:
            node = self._artifact(name)
        elif kind is Kind.IMAGE:
            node = self.graph.image(name.rpartition("@")[2])
        else:
            node = self.graph.service(name)
        return [node] if node else []

    def _artifact(self, reference: str) -> Node | None:
        """Return an artifact by its version from the records alone, otherwise as the store resolves it."""
        if node := self.graph.artifact(reference):
            return node
        try:
            return artifact_node(self.store.resolve(reference))
        except ArtifactCorruptedError:
            raise
        except ArtifactError:  # no name of an artifact, or of none that is there
            return None

    def _refuse(self, subject: str, name: str, kinds: tuple[Kind, ...]) -> NoReturn:
        names = set(self.store.names())
        artifact, _, label = name.partition("@")
        if Kind.ARTIFACT in kinds and label and artifact in names:
            self.store.resolve(name)  # says which versions or tags there are
        values = self.graph.records.values
        known = {
            Kind.ARTIFACT: names,
            Kind.IMAGE: values("built") | values("image") if Kind.IMAGE in kinds else set(),
            Kind.SERVICE: values("service"),
            Kind.RUN: sorted(values("run"))[-_COMPARED:] if Kind.RUN in kinds else (),
        }
        hint = nearest(name, {value for kind in kinds for value in known[kind]})
        raise ArtifactNotFoundError(
            "There is no " + ", ".join(kinds) + " of that name", where=f"{subject!r} in {self.store.place}", next_step=hint
        )


def _one(subject: str, nodes: list[Node]) -> Node:
    if len(nodes) > 1:
        known = ", ".join(f"run:{node.key}" for node in nodes)
        raise ArtifactError("Several pipelines have a run of that name", where=f"{subject!r}", next_step=f"name one of {known}")
    return nodes[0]
