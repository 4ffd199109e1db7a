"""A lineage record as OpenLineage run events, in JSON that needs no client to be made.

Facets and their schemas are those of the specification (https://openlineage.io/spec); what has no facet of its own travels as tags.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from stackgraft.artifacts.ref import ArtifactRef
from stackgraft.lineage.record import LineageRecord

Json = dict[str, Any]
_SPEC = "https://openlineage.io/spec"
_EVENT = f"{_SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent"
_ENDS = {"success": "COMPLETE", "failed": "FAIL"}
_UNKNOWN = "unknown"


def producer() -> str:
    """Return who makes the events: this stackgraft."""
    return f"https://github.com/stackgraft/stackgraft/tree/v{version('stackgraft')}"


def events(record: LineageRecord, *, place: str, namespace: str | None = None) -> list[Json]:
    """Return a START event and one that tells the end; a skipped task never ran and has none.

    An engine may say more in the record's facets: ``engine_version``, ``repository`` (the URL of the code), and
    ``nominal_start`` and ``nominal_end`` (ISO 8601).

    Args:
        record: The record.
        place: What the artifact store is called, which is the datasets' namespace.
        namespace: The jobs' namespace; None takes the engine's name.
    """
    if record.outcome == "skipped":
        return []
    jobs = namespace or record.engine
    shared: Json = {
        "run": {"runId": run_id(record), "facets": _run_facets(record, jobs)},
        "job": {"namespace": jobs, "name": f"{record.pipeline}.{record.task}", "facets": _job_facets(record)},
        "inputs": [_dataset(ref, place) | {"inputFacets": _size("InputStatistics", "1-0-0", ref)} for ref in record.inputs],
        "producer": producer(),
        "schemaURL": _EVENT,
    }
    start = shared | {"eventType": "START", "eventTime": _time(record.started), "outputs": []}
    end = shared | {
        "eventType": _ENDS.get(record.outcome, "ABORT"),
        "eventTime": _time(record.ended),
        "outputs": [_dataset(ref, place) | {"outputFacets": _size("OutputStatistics", "1-0-2", ref)} for ref in record.outputs],
    }
    if end["eventType"] == "FAIL":
        failure = _facet("ErrorMessageRunFacet", "1-0-1", message=record.reason or _UNKNOWN, programmingLanguage="PYTHON")
        end["run"] = {**end["run"], "facets": {**end["run"]["facets"], "errorMessage": failure}}
    return [start, end]


def run_id(record: LineageRecord) -> str:
    """Return the try's UUID, the same whenever it is asked for."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"stackgraft:{record.id}"))


def parent_id(record: LineageRecord) -> str:
    """Return the UUID of the pipeline's run."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(["stackgraft", record.engine, record.pipeline, record.run])))


def _run_facets(record: LineageRecord, jobs: str) -> Json:
    parent = {"run": {"runId": parent_id(record)}, "job": {"namespace": jobs, "name": record.pipeline}}
    engine = {
        "version": str(record.facets.get("engine_version", _UNKNOWN)),
        "name": record.engine,
        "openlineageAdapterVersion": version("stackgraft"),
    }
    facets = {
        "parent": _facet("ParentRunFacet", "1-2-0", **parent),
        "processing_engine": _facet("ProcessingEngineRunFacet", "1-1-1", **engine),
        "tags": _tags("TagsRunFacet", _run_tags(record)),
    }
    if "nominal_start" in record.facets:
        times = {"nominalStartTime": str(record.facets["nominal_start"])}
        times |= {"nominalEndTime": str(record.facets["nominal_end"])} if "nominal_end" in record.facets else {}
        facets["nominalTime"] = _facet("NominalTimeRunFacet", "1-0-1", **times)
    return facets


def _run_tags(record: LineageRecord) -> Mapping[str, str]:
    names = ("run", "map_index", "try_number", "stack", "cost_center", "revision", "image", "built", "job", "service", "url", "outcome")
    tags = {name: str(getattr(record, name)) for name in names}
    return {**tags, **{f"billable.{unit}": f"{amount:g}" for unit, amount in record.billable.items()}}


def _job_facets(record: LineageRecord) -> Json:
    facets = {"jobType": _facet("JobTypeJobFacet", "2-0-4", processingType="BATCH", integration=record.engine.upper(), jobType="TASK")}
    if record.owner:
        facets["ownership"] = _facet("OwnershipJobFacet", "1-0-1", owners=[{"name": record.owner, "type": "OWNER"}])
    if repository := record.facets.get("repository"):
        code = {"type": "git", "url": str(repository), "repoUrl": str(repository)}
        code |= {"version": record.revision.removesuffix("-dirty")} if record.revision else {}
        facets["sourceCodeLocation"] = _facet("SourceCodeLocationJobFacet", "1-1-0", **code)
    return facets


def _dataset(ref: ArtifactRef, place: str) -> Json:
    facets = {
        "version": _facet("DatasetVersionDatasetFacet", "1-0-1", datasetVersion=str(ref.version)),
        "tags": _tags("TagsDatasetFacet", {"digest": ref.digest, "type": ref.type}),
    }
    return {"namespace": place, "name": ref.name, "facets": facets}


def _size(kind: str, schema: str, ref: ArtifactRef) -> Json:
    name = f"{kind}{'Input' if kind.startswith('Input') else 'Output'}DatasetFacet"
    return {f"{kind[0].lower()}{kind[1:]}": _facet(name, schema, size=ref.size)}


def _tags(name: str, tags: Mapping[str, str]) -> Json:
    return _facet(name, "1-0-0", tags=[{"key": key, "value": value, "source": "STACKGRAFT"} for key, value in tags.items() if value])


def _facet(name: str, schema: str, /, **fields: object) -> Json:
    return {"_producer": producer(), "_schemaURL": f"{_SPEC}/facets/{schema}/{name}.json#/$defs/{name}", **fields}


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
