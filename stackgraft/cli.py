"""The command ``stackgraft``: lineage and artifacts of a stack's store.

Exit codes: 0 all is well; 1 nothing was found, or something is damaged; 2 wrong use or configuration; 3 a service refused or was
out of reach. Errors go to stderr and say what happened, where, why, and what to do next.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stackgraft.artifacts.ref import ArtifactRef
from stackgraft.artifacts.store import ObjectArtifactStore
from stackgraft.errors import BackendError, ConfigError, IncompatibleStackError, StackError
from stackgraft.lineage import log_of, openlineage, picture, render
from stackgraft.lineage.graph import Graph
from stackgraft.lineage.nodes import Kind, Lineage
from stackgraft.lineage.subject import Subjects
from stackgraft.stack import Stack

_CODES = "Exit codes: 0 all is well; 1 nothing was found, or something is damaged; 2 wrong use or configuration; 3 a service refused."
app = typer.Typer(
    help="The stack model for the Airflow or Prefect you already run.", epilog=_CODES, no_args_is_help=True, add_completion=False
)
artifacts = typer.Typer(help="Look at a stack's artifacts, and keep its store.", epilog=_CODES, no_args_is_help=True)
app.add_typer(artifacts, name="artifacts")

_SHOWN = 200
StackOption = Annotated[str | None, typer.Option("--stack", help="The stack in stacks.toml; the active one by default.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class Format(StrEnum):
    """How a lineage is shown."""

    TREE = "tree"
    JSON = "json"
    SVG = "svg"
    HTML = "html"
    MERMAID = "mermaid"
    OPENLINEAGE = "openlineage"


def run() -> None:
    """Run the command line, and turn errors into messages and exit codes."""
    try:
        app()
    except StackError as error:
        lines = [*str(error).splitlines(), *(f"  {note}" for note in getattr(error, "__notes__", ()))]
        sys.stderr.write("".join(f"{render.plain(line)}\n" for line in lines))
        sys.exit(2 if isinstance(error, ConfigError) else 3 if isinstance(error, BackendError) else 1)


@app.command(epilog=_CODES)
def lineage(
    subject: Annotated[str, typer.Argument(help="An artifact (name, name@VERSION, name@TAG), image digest, service, or run.")],
    *,
    forward: Annotated[bool, typer.Option("--forward", help="Only what it led to.")] = False,
    backward: Annotated[bool, typer.Option("--backward", help="Only what it was made from.")] = False,
    both: Annotated[bool, typer.Option("--both", help="Both, which is the default.")] = False,
    form: Annotated[Format, typer.Option("--format", help="How it is shown.")] = Format.TREE,
    as_json: JsonOption = False,
    output: Annotated[Path | None, typer.Option(help="The file to write; stdout by default.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Nodes at most; the nearest are shown.")] = _SHOWN,
    stack: StackOption = None,
) -> None:
    """Show what made an artifact, image or service, what it led to, or what a run did."""
    store = _store(stack)
    log = log_of(store)
    found = log.read()
    graph = Graph(found)
    root = Subjects(graph, store).find(subject)
    everything = both or forward == backward
    known = graph.around(root, backward=everything or backward, forward=everything or forward, limit=limit)
    _write(_shown(known, Format.JSON if as_json else form, graph, store.place), output)
    _warn(found.damaged)
    log.tidy(found)


@app.command("lineage-compact", epilog=_CODES)
def lineage_compact(*, as_json: JsonOption = False, stack: StackOption = None) -> None:
    """Gather lineage records into few objects, which queries do by themselves once there are many."""
    log = log_of(_store(stack))
    found = log.read()
    done = log.compact(found)
    text = f"{done.loose} loose records and {done.segments} segments became one segment of {done.records} records"
    _print(json.dumps(asdict(done)) if as_json else text if done.records else "nothing to compact")
    _fail_over(found.damaged)


@artifacts.command("list", epilog=_CODES)
def list_artifacts(*, as_json: JsonOption = False, stack: StackOption = None) -> None:
    """List the artifacts and their newest versions."""
    store = _store(stack)
    refs = store.objects.each(store.resolve, [name for name in store.names() if store.versions(name)])
    if as_json:
        _print(json.dumps([_described(ref) for ref in refs]))
        return
    table = Table("artifact", "version", "type", "bytes", box=None, header_style="dim")
    for ref in refs:
        table.add_row(Text(ref.name), str(ref.version), Text(render.plain(ref.type)), f"{ref.size:,}")
    _console().print(table if refs else Text(f"There are no artifacts in {store.place}"))


@artifacts.command("show", epilog=_CODES)
def show_artifact(
    reference: Annotated[str, typer.Argument(help="name, name@VERSION or name@TAG")],
    *,
    as_json: JsonOption = False,
    stack: StackOption = None,
) -> None:
    """Show one version of an artifact."""
    store = _store(stack)
    ref = store.resolve(reference)
    manifest = store.manifest(ref)
    facts = {**_described(ref), "files": len(manifest.entries), "chunks": len(manifest.chunks), "versions": list(store.versions(ref.name))}
    _print(json.dumps(facts) if as_json else "\n".join(f"{name:<10}{render.plain(str(value))}" for name, value in facts.items()))


@artifacts.command("gc", epilog=_CODES)
def collect_garbage(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
    as_json: JsonOption = False,
    stack: StackOption = None,
) -> None:
    """Delete what no version names and is older than a day."""
    report = _store(stack).gc(dry_run=dry_run)
    verb = "would be deleted" if dry_run else "were deleted"
    text = f"{report.deleted} objects of {report.bytes:,} bytes {verb}, {report.kept} kept"
    _print(json.dumps({**asdict(report), "dry_run": dry_run}) if as_json else text)


@artifacts.command("verify", epilog=_CODES)
def verify_store(*, as_json: JsonOption = False, stack: StackOption = None) -> None:
    """Read every byte of every version, and compare it with its digest."""
    report = _store(stack).verify()
    _print(
        json.dumps(asdict(report)) if as_json else f"{report.versions} versions in {report.chunks} objects, {len(report.damaged)} damaged"
    )
    _fail_over(report.damaged)


def _store(stack: str | None) -> ObjectArtifactStore:
    store = Stack.load(stack).component("artifact_store")
    if not isinstance(store, ObjectArtifactStore):
        raise IncompatibleStackError("The artifact store is not one of stackgraft's", where=type(store).__name__)
    return store


def _shown(known: Lineage, form: Format, graph: Graph, place: str) -> str:
    if form is Format.TREE:
        return _as_text(render.tree(known))
    if form is Format.OPENLINEAGE:
        tasks = [node.key for node in known.nodes if node.kind is Kind.TASK]
        records = sorted((record for key in tasks for record in graph.records.find("id", key)), key=lambda record: record.started)
        return "".join(f"{json.dumps(event)}\n" for record in records for event in openlineage.events(record, place=place))
    if form is Format.JSON:
        return json.dumps(known.to_json(), indent=2) + "\n"
    return {Format.SVG: picture.svg, Format.HTML: picture.html, Format.MERMAID: render.mermaid}[form](known)


def _as_text(shown: Any) -> str:
    console = _console()
    with console.capture() as captured:
        console.print(shown)
    return captured.get()


def _write(text: str, output: Path | None) -> None:
    if output is None:
        sys.stdout.write(text)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as refused:
        raise ConfigError("The file cannot be written", where=str(output), why=refused.strerror or str(refused)) from refused


def _console() -> Console:
    """Return what draws on stdout: as wide as the terminal, or as needed where there is none."""
    return Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 200)


def _described(ref: ArtifactRef) -> dict[str, Any]:
    return {"name": ref.name, "version": ref.version, "digest": ref.digest, "type": ref.type, "size": ref.size}


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _warn(damaged: Iterable[str]) -> None:
    sys.stderr.write("".join(f"damaged: {render.plain(line)}\n" for line in damaged))


def _fail_over(damaged: Sequence[str]) -> None:
    _warn(damaged)
    if damaged:
        raise typer.Exit(1)
