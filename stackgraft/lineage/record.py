"""What one try of a task used, made and cost: the record that lineage is read from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat, InstanceOf, JsonValue, PlainSerializer, ValidationError

from stackgraft.artifacts.ref import ArtifactRef, is_ref
from stackgraft.errors import ArtifactCorruptedError

Outcome = Literal["success", "failed", "cancelled", "skipped"]
_TRY = {"engine": "", "pipeline": "", "run": "", "task": "", "map_index": -1, "try_number": 1}
"""What names a try, with the fields' defaults."""


def _storable(text: object) -> object:
    return text.encode("utf-8", "replace").decode() if isinstance(text, str) else text


def _storable_json(value: object) -> object:
    """Return the value as JSON can hold it; lineage never fails a task over an odd facet."""
    text = json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", "replace")
    return json.loads(text, parse_constant=lambda _: None)


def _read_ref(value: object) -> object:
    try:
        return ArtifactRef.from_json(value) if is_ref(value) else value
    except (KeyError, TypeError) as wrong:
        raise ValueError(f"not an artifact's reference: {wrong}") from None


Text = Annotated[str, BeforeValidator(_storable)]
Ref = Annotated[InstanceOf[ArtifactRef], BeforeValidator(_read_ref), PlainSerializer(ArtifactRef.to_json)]


class LineageRecord(BaseModel):
    """One try of one task; what a newer stackgraft adds is ignored on reading.

    Attributes:
        engine: ``airflow``, ``prefect``, or another.
        pipeline: The DAG or flow.
        run: The engine's name of the run.
        task: The task.
        map_index: Which of a mapped task; -1 where it is not mapped.
        try_number: Which try, from 1.
        stack: The stack that it used.
        owner: Who answers for it.
        cost_center: Who pays for it.
        revision: The commit of its code, with ``-dirty`` where files differed from it; empty where unknown.
        image: The image that it ran in or deployed, by digest; empty where none.
        built: The image that it built, by digest; empty where none.
        job: The remote job's name.
        service: The service that it deployed; one without an image removed the service.
        url: Where people look at it.
        inputs: The artifacts that it read.
        outputs: The artifacts that it wrote.
        started: When it began, in seconds since the epoch.
        ended: When it ended, in seconds since the epoch.
        outcome: How it ended.
        reason: Why it did not succeed.
        billable: What it will be billed for, such as ``{"seconds": 12.5}``.
        facets: What an engine adds, small.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    engine: Text
    pipeline: Text
    run: Text
    task: Text
    map_index: int = -1
    try_number: int = 1
    stack: Text = ""
    owner: Text = ""
    cost_center: Text = ""
    revision: Text = ""
    image: Text = ""
    built: Text = ""
    job: Text = ""
    service: Text = ""
    url: Text = ""
    inputs: tuple[Ref, ...] = ()
    outputs: tuple[Ref, ...] = ()
    started: FiniteFloat
    ended: FiniteFloat
    outcome: Text  # a newer stackgraft may know another
    reason: Text = ""
    billable: Mapping[Text, FiniteFloat] = Field(default_factory=dict)
    facets: Annotated[Mapping[str, JsonValue], BeforeValidator(_storable_json)] = Field(default_factory=dict)

    @property
    def id(self) -> str:
        """The record's name, from what names the try: writing it twice is writing it once."""
        return record_id({name: getattr(self, name) for name in _TRY})

    def to_bytes(self) -> bytes:
        """Return the record as JSON, without what is at its default."""
        return self.model_dump_json(exclude_defaults=True).encode()

    @classmethod
    def from_bytes(cls, content: bytes, *, where: str = "") -> LineageRecord:
        """Read what `to_bytes` made, by this stackgraft or a newer one.

        Raises:
            ArtifactCorruptedError: It is none.
        """
        try:
            return cls.model_validate_json(content)
        except ValidationError as invalid:
            finding = invalid.errors(include_url=False)[0]
            why = f"{'.'.join(map(str, finding['loc']))}: {finding['msg']}".removeprefix(": ")
            raise ArtifactCorruptedError("A lineage record cannot be read", where=where, why=why) from None


def record_id(record: Mapping[str, Any]) -> str:
    """Return a record's id from its JSON, in which defaults may be left out."""
    key = [record.get(name, default) for name, default in _TRY.items()]
    return hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]


def refs_in(value: Any) -> Iterator[ArtifactRef]:
    """Yield every artifact's reference in nested JSON, in order; what only looks like one is searched like any object."""
    pending, seen = [value], set()
    while pending:
        found = pending.pop()
        ref = _ref_of(found)
        if ref is not None:
            yield ref
        elif isinstance(found, Mapping | list | tuple) and id(found) not in seen:
            seen.add(id(found))  # `value` keeps all alive, so that no id is used again
            pending.extend(reversed(list(found.values() if isinstance(found, Mapping) else found)))


def _ref_of(value: object) -> ArtifactRef | None:
    if isinstance(value, ArtifactRef):
        return value
    try:
        return ArtifactRef.from_json(value) if is_ref(value) else None
    except (KeyError, ValueError):
        return None
