"""A lineage as a picture: SVG, and an HTML page whose nodes can be clicked. Both stand alone and load nothing."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from html import escape

from stackgraft.lineage.layout import Layout, Point, layout
from stackgraft.lineage.nodes import Edge, Kind, Lineage, Node
from stackgraft.lineage.render import moment, plain, remark

_WIDTH, _HEIGHT = 230, 46
_GAP_X, _GAP_Y = 90, 22
_MARGIN = 24
_LONGEST = 28
_MOMENTS = {"started", "ended", "since"}
_STYLE = """
svg{font:13px system-ui,sans-serif;background:#fff}
.node rect{fill:#fff;stroke:#64748b;stroke-width:1.2}
.node text{fill:#0f172a}.node .remark{fill:#475569;font-size:11px}
.artifact rect{fill:#ecfeff;stroke:#0891b2}.image rect{fill:#faf5ff;stroke:#9333ea}
.service rect{fill:#f0fdf4;stroke:#16a34a}.run rect{fill:#fefce8;stroke:#ca8a04}
.bad rect{fill:#fef2f2;stroke:#dc2626}
.root rect{stroke-width:3}
.edge path{fill:none;stroke:#94a3b8;stroke-width:1.3}.edge text{fill:#64748b;font-size:10px;text-anchor:middle;paint-order:stroke;stroke:#fff;stroke-width:3px}
"""
_PAGE_STYLE = """
body{margin:0;display:flex;height:100vh;font:14px system-ui,sans-serif;color:#0f172a}
main{flex:1;overflow:auto}aside{width:26rem;overflow:auto;border-left:1px solid #cbd5e1;padding:1rem;box-sizing:border-box}
h1{font-size:1rem;overflow-wrap:anywhere}table{border-collapse:collapse}
th{text-align:left;vertical-align:top;padding:.2rem .8rem .2rem 0;font-weight:500;color:#475569;white-space:nowrap}
td{padding:.2rem 0;overflow-wrap:anywhere;white-space:pre-wrap}
.node{cursor:pointer}.node:focus{outline:none}.chosen rect{stroke-width:3;stroke:#0f172a}.edge.near path{stroke:#0f172a;stroke-width:2}
"""
_SCRIPT = """
const known = JSON.parse(document.getElementById('details').textContent);
const nodes = document.querySelectorAll('.node'), edges = document.querySelectorAll('.edge');
function show(node) {
  nodes.forEach(other => other.classList.toggle('chosen', other === node));
  edges.forEach(edge => edge.classList.toggle('near', [edge.dataset.source, edge.dataset.target].includes(node.dataset.node)));
  const chosen = known[node.dataset.node], table = document.getElementById('facts');
  document.getElementById('title').textContent = chosen.label;
  table.replaceChildren(...chosen.facts.map(([name, value]) => {
    const row = document.createElement('tr');
    ['th', 'td'].forEach((tag, place) => row.appendChild(document.createElement(tag)).textContent = [name, value][place]);
    return row;
  }));
}
nodes.forEach(node => {
  node.addEventListener('click', () => show(node));
  node.addEventListener('keydown', event => { if (event.key === 'Enter' || event.key === ' ') { event.preventDefault(); show(node); } });
});
const first = document.querySelector('.root') || nodes[0];
show(first);
first.scrollIntoView({block: 'center', inline: 'center'});
"""


def svg(lineage: Lineage) -> str:
    """Return the lineage as an SVG document."""
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{_svg(_drawn(lineage), _STYLE)}\n'


def html(lineage: Lineage) -> str:
    """Return the lineage as a page: a click or Enter on a node shows all that is known of it.

    The page's policy lets only its own script and style in, by their hashes, so that no name in it can become code.
    """
    lineage = _drawn(lineage)
    details = [{"label": plain(node.label), "facts": [[plain(key), plain(value)] for key, value in _facts(node)]} for node in lineage.nodes]
    data = json.dumps(details).replace("<", "\\u003c")
    style = _STYLE + _PAGE_STYLE
    policy = f"default-src 'none'; script-src '{_hash(_SCRIPT)}'; style-src '{_hash(style)}'"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}">'
        f"<title>Lineage of {escape(plain(lineage.root))}</title><style>{style}</style></head>\n<body><main>{_svg(lineage, '')}</main>"
        f'<aside><h1 id="title"></h1><table id="facts"></table></aside>\n'
        f'<script type="application/json" id="details">{data}</script><script>{_SCRIPT}</script></body></html>\n'
    )


def _drawn(lineage: Lineage) -> Lineage:
    """Return what is drawn: of a run its tasks alone, since lines from the run to all of them would hide those between them."""
    nodes = tuple(node for node in lineage.nodes if node.kind is not Kind.RUN)
    return replace(lineage, nodes=nodes, edges=tuple(edge for edge in lineage.edges if edge.kind != "task")) if nodes else lineage


def _svg(lineage: Lineage, style: str) -> str:
    placed = layout(lineage)
    width = 2 * _MARGIN + placed.width * (_WIDTH + _GAP_X) - _GAP_X
    height = 2 * _MARGIN + placed.height * (_HEIGHT + _GAP_Y) - _GAP_Y
    numbers = {node.id: number for number, node in enumerate(lineage.nodes)}
    parts = [f"<style>{style}</style>"] if style else []
    parts += [_edge(edge, placed, numbers[edge.source], numbers[edge.target]) for edge in lineage.edges]
    parts += [_node(node, placed.places[node.id], numbers[node.id], root=node.id == lineage.root) for node in lineage.nodes]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" viewBox="0 0 {width:g} {height:g}" '
        f'role="img" aria-label="Lineage of {escape(plain(lineage.root))}">\n<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" '
        'markerWidth="8" markerHeight="8" orient="auto"><path d="M0 0L8 4L0 8z" fill="#94a3b8"/></marker></defs>\n'
        + "\n".join(parts)
        + "\n</svg>"
    )


def _node(node: Node, place: Point, number: int, *, root: bool) -> str:
    x, y = _corner(place)
    bad = node.details.get("outcome") in {"failed", "cancelled"}
    classes = " ".join(name for name, holds in (("node", True), (node.kind, True), ("bad", bad), ("root", root)) if holds)
    radius = {"artifact": 23, "task": 4}.get(node.kind, 10)
    return (
        f'<g class="{classes}" data-node="{number}" tabindex="0" role="button"><title>{escape(plain(node.label))}</title>'
        f'<rect x="{x:g}" y="{y:g}" width="{_WIDTH}" height="{_HEIGHT}" rx="{radius}"/>'
        f'<text x="{x + 14:g}" y="{y + 20:g}">{_short(node.label, _LONGEST)}</text>'
        f'<text class="remark" x="{x + 14:g}" y="{y + 36:g}">{_short(remark(node) or node.kind, _LONGEST + 4)}</text></g>'
    )


def _edge(edge: Edge, placed: Layout, source: int, target: int) -> str:
    points = _points(edge, placed)
    middle = (points[0][0] + points[1][0]) / 2, (points[0][1] + points[1][1]) / 2 - 4
    return (
        f'<g class="edge" data-source="{source}" data-target="{target}"><path d="{"".join(_curve(points))}" marker-end="url(#tip)"/>'
        f'<text x="{middle[0]:g}" y="{middle[1]:g}">{escape(plain(edge.kind))}</text></g>'
    )


def _points(edge: Edge, placed: Layout) -> Sequence[Point]:
    """Return what an edge passes: from the right of its source to the left of its target, or the other way in a cycle."""
    forward = (edge.source, edge.target) in placed.bends
    pair = (edge.source, edge.target) if forward else (edge.target, edge.source)
    left, right = (_corner(placed.places[name]) for name in pair)
    points = [(left[0] + _WIDTH, left[1] + _HEIGHT / 2)]
    for bend in placed.bends.get(pair, ()):
        x, y = _corner(bend)
        points += [(x, y + _HEIGHT / 2), (x + _WIDTH, y + _HEIGHT / 2)]
    points.append((right[0], right[1] + _HEIGHT / 2))
    return points if forward else points[::-1]


def _curve(points: Sequence[Point]) -> Iterator[str]:
    yield f"M{points[0][0]:g} {points[0][1]:g}"
    for (x, y), (to_x, to_y) in itertools.pairwise(points):
        half = (x + to_x) / 2
        yield f"C{half:g} {y:g} {half:g} {to_y:g} {to_x:g} {to_y:g}"


def _corner(place: Point) -> Point:
    return _MARGIN + place[0] * (_WIDTH + _GAP_X), _MARGIN + place[1] * (_HEIGHT + _GAP_Y)


def _short(text: str, longest: int) -> str:
    shown = plain(text)
    return escape(shown if len(shown) <= longest else f"{shown[: longest - 1]}…")


def _facts(node: Node) -> Iterator[tuple[str, str]]:
    yield "kind", str(node.kind)
    for name, value in node.details.items():
        if name in _MOMENTS:
            yield name, f"{moment(value)} UTC"
        else:
            yield name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
