"""What people see of an outcome: a versioned table and a link among Prefect's artifacts, and an event."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.context import TaskRunContext
from prefect.events import emit_event

from stackgraft.outcomes import DeployedService, Outcome

if TYPE_CHECKING:
    from stackgraft.artifacts import ArtifactRef


def publish(label: str, outcome: Outcome) -> None:
    """Show the outcome for a repository, step or service, and tell the event stream: ``stackgraft.image.built`` and the like."""
    if TaskRunContext.get() is None:
        return
    event, facts = outcome.event, outcome.to_json()
    kind = event.partition(".")[0]
    table(kind, label, facts)
    if isinstance(outcome, DeployedService):
        create_link_artifact(outcome.url, link_text=label, key=artifact_key("url", label), description=outcome.image, _sync=True)  # type: ignore[call-arg] # async_dispatch
    emit_event(f"stackgraft.{event}", resource={"prefect.resource.id": f"stackgraft.{kind}.{label}"}, payload=facts)


def publish_artifact(artifact: ArtifactRef, job: str) -> None:
    """Show the artifact that a function's step made."""
    if TaskRunContext.get() is not None:
        facts = {"artifact": str(artifact), "digest": artifact.digest, "type": artifact.type, "bytes": artifact.size, "job": job}
        table("artifact", artifact.name, facts)


def table(kind: str, label: str, facts: Mapping[str, Any]) -> None:
    """Make the next version of Prefect's artifact ``KIND-LABEL``: a table of the facts that say something."""
    rows = [f"| {name} | {_cell(value)} |" for name, value in facts.items() if value not in (None, "", [])]
    markdown = "\n".join([f"### {kind}: {label}", "", "| | |", "| --- | --- |", *rows])
    create_markdown_artifact(markdown, key=artifact_key(kind, label), description=f"{kind} {label}", _sync=True)  # type: ignore[call-arg] # async_dispatch


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return "; ".join(_cell(item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = f"{value:.1f}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


def artifact_key(kind: str, label: str) -> str:
    """Return a key that Prefect takes."""
    return re.sub(r"[^a-z0-9]+", "-", f"{kind}-{label}".lower()).strip("-")
