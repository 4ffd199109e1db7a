"""Manifests and plans: any tree comes back, and every byte of it lies in exactly one chunk."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from stackgraft.artifacts.content import CHUNK_SIZE, PACKED_BELOW, Chunk, Entry, Manifest, is_inner, plan
from stackgraft.errors import ArtifactCorruptedError

SEGMENT = some.text(some.characters(blacklist_characters="/\0", blacklist_categories=("Cs",)), min_size=1, max_size=8).filter(is_inner)
SIZES = some.one_of(some.integers(0, 300), some.integers(PACKED_BELOW - 2, PACKED_BELOW + 2), some.integers(0, 3 * CHUNK_SIZE))


@some.composite
def trees(draw: some.DrawFn) -> list[Entry]:
    """Draw the entries of a folder, with one level of folders below."""
    folders = draw(some.lists(SEGMENT, unique=True, max_size=3))
    entries = [Entry(folder) for folder in folders]
    for name in draw(some.lists(SEGMENT, unique=True, max_size=12)):
        parent = draw(some.sampled_from(["", *folders]))
        if not parent and name in folders:
            continue
        path = f"{parent}/{name}" if parent else name
        link = draw(some.booleans())
        entries.append(Entry(path, target="elsewhere") if link else Entry(path, size=draw(SIZES), executable=draw(some.booleans())))
    return sorted(entries, key=lambda entry: entry.path)


@settings(max_examples=200, deadline=None)
@given(trees())
def test_every_byte_lies_in_exactly_one_chunk_of_bounded_size(entries: list[Entry]) -> None:
    seen: dict[int, list[tuple[int, int]]] = {}
    for block in plan(entries):
        assert 0 < sum(length for _, _, length in block) <= CHUNK_SIZE
        for index, offset, length in block:
            seen.setdefault(index, []).append((offset, length))
    for index, entry in enumerate(entries):
        position = 0
        for offset, length in sorted(seen.get(index, [])):
            assert offset == position
            position += length
        assert position == (entry.size or 0)


@settings(max_examples=200, deadline=None)
@given(trees())
def test_any_manifest_comes_back_from_its_one_form(entries: list[Entry]) -> None:
    manifest = Manifest("directory", entries, [Chunk(f"{place:064x}", block) for place, block in enumerate(plan(entries))], {"note": "ä"})
    again = Manifest.from_bytes(manifest.to_bytes())
    assert again == manifest
    assert again.to_bytes() == manifest.to_bytes()


@settings(max_examples=200)
@given(some.recursive(some.none() | some.integers() | some.text(), lambda inner: some.lists(inner) | some.dictionaries(some.text(), inner)))
def test_any_other_json_is_refused_as_damage(document: object) -> None:
    with pytest.raises(ArtifactCorruptedError):
        Manifest.from_bytes(json.dumps(document).encode())


@given(some.text(some.sampled_from("ab./\0"), max_size=12))
def test_a_path_that_leads_elsewhere_is_not_inner(path: str) -> None:
    assert is_inner(path) == (path != "" and "\0" not in path and all(part not in {"", ".", ".."} for part in path.split("/")))
