"""A lineage as a tree for the terminal, and as Mermaid for Markdown."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from stackgraft.lineage.nodes import Edge, Kind, Lineage, Node

if TYPE_CHECKING:
    from rich.text import Text
    from rich.tree import Tree

_STYLES = {Kind.ARTIFACT: "cyan", Kind.TASK: "default", Kind.IMAGE: "magenta", Kind.SERVICE: "green", Kind.RUN: "bold"}
_SHAPES = {Kind.ARTIFACT: '(["{}"])', Kind.TASK: '["{}"]', Kind.IMAGE: '[["{}"]]', Kind.SERVICE: '{{{{"{}"}}}}', Kind.RUN: '("{}")'}
_DEEPEST = 200


def plain(text: str) -> str:
    """Return the text without what a terminal or a parser of XML would obey rather than show."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def moment(seconds: float) -> str:
    """Return a time for people, in UTC."""
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"
    except (OverflowError, ValueError, OSError):
        return str(seconds)  # a clock that was wrong


def remark(node: Node) -> str:
    """Return what is worth saying beside a node's label."""
    known = node.details
    if node.kind is Kind.TASK:
        parts = [
            str(known["outcome"]) if known["outcome"] != "success" else "",
            moment(known["started"]),
            str(known.get("revision", ""))[:12],
        ]
    elif node.kind is Kind.ARTIFACT:
        parts = [str(known["type"]), f"{known['size']:,} bytes"]
    else:
        parts = [str(known.get("url", ""))]
    return "  ".join(part for part in parts if part)


def tree(lineage: Lineage) -> Tree:
    """Return the lineage as a tree: what led to the root, and what it led to; what was shown before is only named."""
    from rich.tree import Tree  # noqa: PLC0415 - an extra

    nodes = {node.id: node for node in lineage.nodes}
    root = nodes[lineage.root]
    shown = Tree(_label(root), guide_style="dim")
    before, after = _neighbors(lineage.edges, backward=True), _neighbors(lineage.edges, backward=False)
    if root.kind is Kind.RUN:
        for task, _ in after.get(root.id, ()):
            branch = shown.add(_label(nodes[task]))
            for there, kind in [near for near in before[task] if near[0] != root.id] + after.get(task, []):
                branch.add(_label(nodes[there], kind))
    else:
        for title, neighbors in (("made from", before), ("led to", after)):
            if root.id in neighbors:
                _grow(shown.add(title, style="dim"), root.id, neighbors, nodes)
    if lineage.truncated:
        shown.add(f"… only the nearest {len(nodes)} are shown", style="dim")
    return shown


def _neighbors(edges: Sequence[Edge], *, backward: bool) -> Mapping[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    for edge in edges:
        here, there = (edge.target, edge.source) if backward else (edge.source, edge.target)
        found.setdefault(here, []).append((there, edge.kind))
    return found


def _grow(trunk: Tree, root: str, neighbors: Mapping[str, list[tuple[str, str]]], nodes: Mapping[str, Node]) -> None:
    seen = {root}
    waiting = [(trunk, near, 0) for near in reversed(neighbors[root])]
    while waiting:
        branch, (here, kind), depth = waiting.pop()
        further = neighbors.get(here, [])
        again = here in seen and bool(further)
        leaf = branch.add(_label(nodes[here], kind, again=again), style="default")
        if not again and depth >= _DEEPEST and further:
            leaf.add("…")
        elif not again:
            waiting.extend((leaf, near, depth + 1) for near in reversed(further))
        seen.add(here)


def _label(node: Node, edge: str = "", *, again: bool = False) -> Text:
    from rich.text import Text  # noqa: PLC0415 - an extra

    label = Text(no_wrap=True, overflow="ellipsis")
    label.append(f"{plain(edge)} " if edge else "", "dim")
    label.append(plain(node.label), _STYLES[node.kind])
    label.append("  " + ("see above" if again else plain(remark(node))), "dim")
    label.rstrip()
    return label


def mermaid(lineage: Lineage) -> str:
    """Return the lineage as a Mermaid flowchart, safe within a fenced block of Markdown."""
    names = {node.id: f"n{number}" for number, node in enumerate(lineage.nodes)}
    lines = [f"  {names[node.id]}{_SHAPES[node.kind].format(_entities(node.label))}" for node in lineage.nodes]
    lines += [f'  {names[edge.source]} -- "{_entities(edge.kind)}" --> {names[edge.target]}' for edge in lineage.edges]
    return "\n".join(["flowchart LR", *lines, f"  style {names[lineage.root]} stroke-width:3px"]) + "\n"


def _entities(text: str) -> str:
    """Return the text with all that Mermaid or Markdown could take for syntax as Mermaid's entities."""
    return re.sub(r"[^\w @.,/:+=()\[\]-]", lambda found: f"#{ord(found[0])};", plain(text))
