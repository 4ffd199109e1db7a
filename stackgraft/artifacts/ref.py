"""The reference to one version of an artifact, small enough to cross tasks as JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from stackgraft.errors import ArtifactError

_MARK = "$artifact"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(?:[./][A-Za-z0-9][A-Za-z0-9_-]*)*")
LONGEST_NAME = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactRef:
    """One version of an artifact.

    Attributes:
        name: The artifact's name, such as ``investor-model`` or ``team/model``.
        version: 1, 2, 3 and so on.
        digest: ``sha256:…`` of the manifest, which names every byte.
        type: What the value is, such as ``json``, ``numpy``, ``file`` or ``directory``: the serializer that wrote it.
        size: Bytes of content.
    """

    name: str
    version: int
    digest: str
    type: str
    size: int

    def __str__(self) -> str:
        """Return ``name@version``, which every store resolves."""
        return f"{self.name}@{self.version}"

    def to_json(self) -> dict[str, Any]:
        """Return the reference as a JSON object that `is_ref` recognizes."""
        return {_MARK: str(self), "digest": self.digest, "type": self.type, "size": self.size}

    def facts(self) -> dict[str, Any]:
        """Return what says which version it is, beside its name."""
        return {"version": self.version, "digest": self.digest, "type": self.type, "size": self.size}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> ArtifactRef:
        """Read what `to_json` made."""
        name, _, version = document[_MARK].rpartition("@")
        return cls(name=name, version=int(version), digest=document["digest"], type=document["type"], size=document["size"])


def is_ref(value: object) -> TypeGuard[Mapping[str, Any]]:
    """Tell whether a JSON value is an artifact's reference."""
    return isinstance(value, Mapping) and isinstance(value.get(_MARK), str)


def check_name(name: str) -> str:
    """Return the name if every store can hold it.

    Raises:
        ArtifactError: It cannot.
    """
    if not _NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        raise ArtifactError(
            "No store can hold an artifact of that name",
            where=f"name {name!r}",
            why=f"a name is at most {LONGEST_NAME} letters and digits, joined by single . / or any _ -",
            next_step="rename the artifact",
        )
    return name
