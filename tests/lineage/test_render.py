"""What people see: trees, Mermaid and pictures, whatever the names try."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from rich.console import Console

from stackgraft.lineage import picture, render
from stackgraft.lineage.graph import Graph
from stackgraft.lineage.layout import layout
from stackgraft.lineage.nodes import Edge, Kind, Lineage, Node
from tests.conftest import is_missing

from .conftest import record, ref
from .pipeline import builder, run
from .test_graph import loose, node

HOSTILE = "</script><script>alert(1)</script>\"'`]-->{{x}}\n```\n[bold red]&amp;\x1b[2J\x00\ud800\u202e"
SVG = "{http://www.w3.org/2000/svg}"


def hostile() -> Lineage:
    """Return a lineage in which every text is hostile."""
    bad = record(
        HOSTILE, pipeline=HOSTILE, run=HOSTILE, inputs=(ref("a"),), outputs=(ref("b"),), image=f"{HOSTILE}@sha256:1", service=HOSTILE,
        outcome=HOSTILE, reason=HOSTILE, url=f"javascript:{HOSTILE}", facets={HOSTILE: HOSTILE},
    )  # fmt: skip
    graph = Graph(loose([bad]))
    return graph.around(node(graph, "a@1"))


def best() -> Lineage:
    graph = Graph(loose([*run(1), builder()]))
    return graph.around(node(graph, "best@1"))


def printed(found: Lineage) -> str:
    console = Console(width=120, color_system=None)
    with console.capture() as captured:
        console.print(render.tree(found))
    return captured.get()


def test_a_tree_shows_what_led_to_a_thing_and_what_it_led_to() -> None:
    lines = printed(best()).splitlines()
    assert lines[0].startswith("best@1")
    assert lines[1].endswith("made from")
    assert sum("output signals.train" in line for line in lines) == 3
    assert sum(line.endswith("see above") for line in lines) == 4  # features and the trainer, for the second and third model
    assert "└── serves app" in lines[-1]
    assert len(lines) == 21


def test_a_tree_of_a_run_lists_its_tasks_in_order() -> None:
    graph = Graph(loose(run(1)))
    lines = printed(graph.around(graph.runs("r1")[0])).splitlines()
    tasks = [line for line in lines if re.match(r"[├└]", line)]
    assert [re.findall(r"signals\.(\w+)", line)[0] for line in tasks] == [
        "prepare", "train", "train", "train", "train", "choose", "skip", "build", "deploy",
    ]  # fmt: skip
    assert any("output best@1" in line for line in lines)


def test_a_tree_of_a_very_long_chain_ends_and_says_that_more_was_left_out() -> None:
    records = [record(f"t{n}", at=n, inputs=(ref("a", n),), outputs=(ref("a", n + 1),)) for n in range(1, 700)]
    graph = Graph(loose(records))
    found = graph.around(node(graph, "a@700"), limit=1000)
    assert found.truncated
    text = printed(found)
    assert "…" in text
    assert "only the nearest 1000 are shown" in text
    picture.svg(found)


def test_mermaid_names_every_node_and_edge_once() -> None:
    found = best()
    lines = render.mermaid(found).splitlines()
    assert lines[0] == "flowchart LR"
    assert sum("-->" in line for line in lines) == len(found.edges)
    assert len(lines) == 2 + len(found.nodes) + len(found.edges)
    assert any('n0(["best@1"])' in line for line in lines)


def test_hostile_names_stay_text_in_mermaid_and_in_a_fence_of_markdown() -> None:
    text = render.mermaid(hostile())
    assert "```" not in text
    assert not re.search(r"<|>(?<!-->)|\x1b|\x00|&", text)
    for line in text.splitlines()[1:-1]:
        assert re.fullmatch(r"  n\d+(\S*?\"[^\"]*\"\S*| -- \"[^\"]*\" --> n\d+)", line), line


def test_hostile_names_move_no_cursor_in_a_terminal() -> None:
    text = printed(hostile())
    assert "\x1b" not in text
    assert "\x00" not in text
    assert "[bold red]" in text  # shown, not obeyed


def test_a_picture_draws_every_node_and_edge_within_its_frame() -> None:
    found = best()
    drawn = ET.fromstring(picture.svg(found))  # noqa: S314 - our own document
    groups = drawn.findall(f"{SVG}g")
    assert len([one for one in groups if one.get("class") == "edge"]) == len(found.edges)
    boxes = [one.find(f"{SVG}rect") for one in groups if "node" in str(one.get("class")).split()]
    places = {(float(box.get("x", -1)), float(box.get("y", -1))) for box in boxes if box is not None}
    assert len(places) == len(boxes) == len(found.nodes)
    width, height = float(drawn.get("width", 0)), float(drawn.get("height", 0))
    assert all(0 <= x <= width - picture._WIDTH and 0 <= y <= height - picture._HEIGHT for x, y in places)


def test_a_picture_of_a_run_draws_its_tasks_and_no_line_from_the_run_to_each() -> None:
    graph = Graph(loose(run(1)))
    drawn = picture.svg(graph.around(graph.runs("r1")[0]))
    assert drawn.count('class="node task') == 9
    assert 'class="node run' not in drawn
    assert ">task<" not in drawn


class Page(HTMLParser):
    """Collects the tags and attributes of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs


def test_hostile_names_stay_text_in_a_picture_and_on_a_page() -> None:
    found = hostile()
    drawn = ET.fromstring(picture.svg(found))  # noqa: S314 - our own document
    assert "<script>alert(1)</script>" in "".join(drawn.itertext())
    page = Page()
    page.feed(picture.html(found))
    assert page.tags.count("script") == 2
    assert not [name for name, value in page.attributes if name.startswith("on") or "javascript:" in (value or "")]
    assert {name for name, _ in page.attributes} & {"src", "href"} == set()
    quiet = re.sub(r"http://www\.w3\.org/2000/svg|http-equiv", "", picture.html(best()).replace("http://app/1", ""))
    assert "http" not in quiet


CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")


@pytest.mark.parametrize("found", [best(), hostile()], ids=["best", "hostile"])
def test_a_browser_runs_the_page_and_only_its_own_script(found: Lineage, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    click = "<script>alert(1)</script><img src=x onerror=\"document.title='owned'\">"
    page.write_text(picture.html(found).replace("</body>", f"{click}</body>"))
    if CHROMIUM is None:
        is_missing("chromium is not installed: apt-get install chromium")
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--dump-dom",
        page.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    root = next(one for one in found.nodes if one.id == found.root)
    assert f'<h1 id="title">{root.label}</h1>' in done.stdout  # the script ran: the policy knows its hash
    assert "<th>digest</th>" in done.stdout
    assert "Lineage of" in done.stdout.partition("</title>")[0]
    assert "owned" not in done.stdout.partition("</title>")[0]


def test_a_lineage_as_json_is_json() -> None:
    document = json.loads(json.dumps(best().to_json()))
    assert document["root"] == "artifact:best@1"
    assert {one["kind"] for one in document["nodes"]} == {"artifact", "task", "image", "service"}
    assert set(document["edges"][0]) == {"source", "target", "kind"}


PAIRS = some.lists(some.tuples(some.integers(0, 12), some.integers(0, 12)), max_size=25)


@given(PAIRS)
@settings(max_examples=150, deadline=None)
def test_any_graph_is_laid_out_without_two_nodes_in_one_place(pairs: list[tuple[int, int]]) -> None:
    nodes = tuple(Node(Kind.TASK, str(number), str(number), {"outcome": "success", "started": 0}) for number in range(13))
    found = Lineage("task:0", nodes, tuple(Edge(f"task:{one}", f"task:{two}", "input") for one, two in dict.fromkeys(pairs)))
    placed: Any = layout(found)
    assert len(set(placed.places.values())) == 13
    assert all(0 <= x < placed.width and 0 <= y < placed.height for x, y in placed.places.values())
    for (source, target), bends in placed.bends.items():
        passed = [placed.places[source][0], *(x for x, _ in bends), placed.places[target][0]]
        assert all(there == here + 1 for here, there in pairwise(passed))
    ET.fromstring(picture.svg(found))  # noqa: S314 - our own document


@given(some.text(some.characters(exclude_categories=())))
def test_any_text_becomes_plain(text: str) -> None:
    shown = render.plain(text)
    assert len(shown) == len(text)
    assert shown.isprintable()
    shown.encode()
