"""Where the nodes of a lineage are drawn: in layers from left to right, with few crossings."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stackgraft.lineage.nodes import Lineage

_PASSES = 6
Point = tuple[float, float]
Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Layout:
    """Places in a grid of layers (x) and rows (y).

    Attributes:
        places: The place of each node.
        bends: For each edge that crosses layers, where it passes between.
        width: How many layers.
        height: How many rows.
    """

    places: Mapping[str, Point]
    bends: Mapping[Pair, Sequence[Point]]
    width: int
    height: float


def layout(lineage: Lineage) -> Layout:
    """Return where each node and edge is drawn; an edge against the flow, of a cycle, is drawn backward."""
    pairs = _acyclic(
        [node.id for node in lineage.nodes], [(edge.source, edge.target) for edge in lineage.edges if edge.source != edge.target]
    )
    layer = _layers([node.id for node in lineage.nodes], pairs)
    chains = {pair: [pair[0], *(f"{pair}{step}" for step in range(layer[pair[0]] + 1, layer[pair[1]])), pair[1]] for pair in pairs}
    columns: list[list[str]] = [[] for _ in range(max(layer.values()) + 1)]
    for node in lineage.nodes:
        columns[layer[node.id]].append(node.id)
    for (source, _), chain in chains.items():
        for step, name in enumerate(chain[1:-1], layer[source] + 1):
            columns[step].append(name)
    steps = [pair for chain in chains.values() for pair in itertools.pairwise(chain)]
    rows = _rows(columns, steps)
    places = {name: (float(number), rows[name]) for number, column in enumerate(columns) for name in column}
    bends = {pair: [places[name] for name in chain[1:-1]] for pair, chain in chains.items()}
    return Layout({node.id: places[node.id] for node in lineage.nodes}, bends, len(columns), max(rows.values()) + 1)


def _acyclic(nodes: Sequence[str], pairs: Sequence[Pair]) -> list[Pair]:
    """Return the pairs with those turned around that close a cycle."""
    targets: dict[str, list[str]] = {}
    for source, target in dict.fromkeys(pairs):
        targets.setdefault(source, []).append(target)
    state: dict[str, int] = {}  # 1 while a node's descendants are visited, 2 afterwards
    found: dict[Pair, None] = {}
    for start in nodes:
        waiting = [(start, iter(targets.get(start, [])))] if start not in state else []
        state.setdefault(start, 1)
        while waiting:
            here, rest = waiting[-1]
            there = next(rest, None)
            if there is None:
                state[here] = 2
                waiting.pop()
                continue
            found[(there, here) if state.get(there) == 1 else (here, there)] = None
            if there not in state:
                state[there] = 1
                waiting.append((there, iter(targets.get(there, []))))
    return list(found)


def _layers(nodes: Sequence[str], pairs: Sequence[Pair]) -> dict[str, int]:
    """Return each node's layer: behind all that leads to it, and as near as can be to what it leads to."""
    sources: dict[str, list[str]] = {node: [] for node in nodes}
    targets: dict[str, list[str]] = {node: [] for node in nodes}
    for source, target in pairs:
        sources[target].append(source)
        targets[source].append(target)
    missing = {node: len(sources[node]) for node in nodes}
    order = [node for node in nodes if not missing[node]]
    for node in order:  # grows while it is read
        for target in targets[node]:
            missing[target] -= 1
            if not missing[target]:
                order.append(target)
    layer: dict[str, int] = {}
    for node in order:
        layer[node] = 1 + max((layer[source] for source in sources[node]), default=-1)
    for node in reversed(order):
        if targets[node]:
            layer[node] = min(layer[target] for target in targets[node]) - 1
    return layer


def _rows(columns: list[list[str]], steps: Sequence[Pair]) -> dict[str, float]:
    """Return each name's row: in every layer sorted by where its neighbors are, back and forth, then centered."""
    before: dict[str, list[str]] = {}
    after: dict[str, list[str]] = {}
    for source, target in steps:
        before.setdefault(target, []).append(source)
        after.setdefault(source, []).append(target)
    rows = {name: float(row) for column in columns for row, name in enumerate(column)}
    for turn in range(_PASSES):
        neighbors = (before, after)[turn % 2]
        for column in columns if turn % 2 == 0 else reversed(columns):
            column.sort(key=lambda name: _mean([rows[other] for other in neighbors.get(name, [])], rows[name]))
            rows.update({name: float(row) for row, name in enumerate(column)})
    tallest = max(map(len, columns))
    return {name: row + (tallest - len(column)) / 2 for column in columns for row, name in enumerate(column)}


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise
