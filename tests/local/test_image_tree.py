"""Layers from strangers: whatever they hold, nothing is written or deleted outside of the image."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from stackgraft.errors import BackendError
from stackgraft.local.image_tree import extract, merge

FILE, HARD, SOFT, FOLDER = tarfile.REGTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE
Entry = tuple[str, bytes, str]


def unpack(root: Path, *entries: Entry) -> Path:
    """Extract a layer of entries (name, type, content or link) below a root, which it returns."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, kind, text in entries:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, text if kind in {HARD, SOFT} else ""
            entry.size = len(text) if kind == FILE else 0
            tar.addfile(entry, io.BytesIO(text.encode()))
    stream.seek(0)
    root.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=stream) as tar:
        extract(tar, root)
    return root


def tree(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): path.read_text() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "kept").write_text("kept")
    return tmp_path / "outside"


OUT = "OUTSIDE"
"""Stands for the absolute path of a folder outside of the image."""
ESCAPES: dict[str, list[Entry]] = {
    "the root itself as a symlink, then a file through it": [(".", SOFT, OUT), ("a", FILE, "x")],
    "the root itself as a file": [("./", FILE, "x")],
    "the root itself as a hard link": [("a", FILE, "x"), (".", HARD, "a")],
    "a symlink, then a file through it": [("a", SOFT, OUT), ("a/b", FILE, "x")],
    "a relative symlink, then a file through it": [("a", SOFT, "../outside"), ("a/b", FILE, "x")],
    "a symlink, then a folder through it": [("a", SOFT, OUT), ("a/b/c", FOLDER, "")],
    "an absolute name": [(f"{OUT}/a", FILE, "x")],
    "an absolute name with two slashes": [(f"/{OUT}/a", FILE, "x")],
    "dots": [("../outside/a", FILE, "x")],
    "dots behind a folder": [("a", FOLDER, ""), ("a/../../outside/a", FILE, "x")],
    "dots behind a dot": [("./../outside/a", FILE, "x")],
    "a hard link out by dots": [("a", HARD, "../outside/kept")],
    "a hard link out by an absolute name": [("a", HARD, f"{OUT}/kept")],
    "a hard link out through a symlink": [("a", SOFT, OUT), ("b", HARD, "a/kept")],
    "a hard link to the root": [("a", HARD, ".")],
    "a hard link to a folder": [("a", FOLDER, ""), ("b", HARD, "a")],
    "a hard link to nothing": [("a", HARD, "absent")],
    "a character device": [("a", tarfile.CHRTYPE, "")],
    "a block device": [("a", tarfile.BLKTYPE, "")],
    "a pipe": [("a", tarfile.FIFOTYPE, "")],
}


@pytest.mark.parametrize("entries", ESCAPES.values(), ids=list(ESCAPES))
def test_a_layer_that_leads_out_is_refused_and_writes_nothing_outside(tmp_path: Path, outside: Path, entries: list[Entry]) -> None:
    aimed = [(name.replace(OUT, str(outside)), kind, text.replace(OUT, str(outside))) for name, kind, text in entries]
    with pytest.raises(BackendError, match="layer"):
        unpack(tmp_path / "image", *aimed)
    assert tree(outside) == {"kept": "kept"}
    assert not (tmp_path / "image").is_symlink()
    assert (outside / "kept").stat().st_nlink == 1


def test_an_absolute_name_behind_a_dot_stays_inside(tmp_path: Path, outside: Path) -> None:
    root = unpack(tmp_path / "image", (f"./{outside}/kept", FILE, "x"))
    assert tree(root) == {str(outside / "kept").lstrip("/"): "x"}
    assert tree(outside) == {"kept": "kept"}


def test_the_root_may_be_named_as_the_folder_that_it_is(tmp_path: Path) -> None:
    assert tree(unpack(tmp_path / "image", ("./", FOLDER, ""), (".", FOLDER, ""), ("./a", FILE, "x"))) == {"a": "x"}


def test_a_later_entry_of_a_layer_replaces_an_earlier_one_of_another_kind(tmp_path: Path, outside: Path) -> None:
    root = unpack(
        tmp_path / "image", ("a", SOFT, str(outside)), ("a", FOLDER, ""), ("a/b", FILE, "x"), ("c/d", FILE, "x"), ("c", FILE, "y")
    )
    assert tree(root) == {"a/b": "x", "c": "y"}
    assert tree(outside) == {"kept": "kept"}


def layered(tmp_path: Path, *layers: list[Entry]) -> Path:
    root = tmp_path / "image"
    root.mkdir()
    for number, entries in enumerate(layers):
        merge(unpack(tmp_path / f"layer-{number}", *entries), root)
    return root


@pytest.mark.parametrize("name", [".wh.", ".wh..", ".wh..."])
@pytest.mark.parametrize("folder", ["", "a/"])
def test_a_whiteout_of_its_own_folder_or_of_what_is_above_is_refused(tmp_path: Path, outside: Path, folder: str, name: str) -> None:
    with pytest.raises(BackendError, match="deletes more than it may"):
        layered(tmp_path, [("a/b", FILE, "x"), ("c", FILE, "y")], [(folder + name, FILE, "")])
    assert tree(tmp_path / "image") == {"a/b": "x", "c": "y"}
    assert tree(outside) == {"kept": "kept"}


@pytest.mark.parametrize("through", ["a/b", "a/kept", "a/.wh.kept", "a/.wh..wh..opq", "a/d/e"])
@pytest.mark.parametrize("link", [OUT, "../outside", "back/../../outside"])
def test_a_layer_reaches_nothing_through_a_link_that_leads_out(tmp_path: Path, outside: Path, link: str, through: str) -> None:
    with pytest.raises(BackendError, match="leads out of the image"):
        layered(tmp_path, [("back", FOLDER, ""), ("a", SOFT, link.replace(OUT, str(outside)))], [(through, FILE, "x")])
    assert tree(outside) == {"kept": "kept"}


def test_a_link_to_itself_is_replaced(tmp_path: Path) -> None:
    assert tree(layered(tmp_path, [("a", SOFT, "a")], [("a/b", FILE, "x")])) == {"a/b": "x"}


def test_whiteouts_delete_what_lower_layers_hold(tmp_path: Path) -> None:
    lower: list[Entry] = [("a/b", FILE, "x"), ("a/c", FILE, "x"), ("d/e", FILE, "x"), ("f", FILE, "x")]
    assert tree(layered(tmp_path, lower, [("a/.wh.b", FILE, ""), (".wh.d", FILE, ""), (".wh.absent", FILE, "")])) == {"a/c": "x", "f": "x"}


@pytest.mark.parametrize(("folder", "left"), [("a/", {"a/new": "y", "c": "x"}), ("", {"new": "y"})])
def test_an_opaque_folder_hides_all_below_it_and_the_root_itself_stays(tmp_path: Path, folder: str, left: dict[str, str]) -> None:
    (tmp_path / "image").mkdir()
    root, before = tmp_path / "image", (tmp_path / "image").stat().st_ino
    for number, entries in enumerate(
        ([("a/b", FILE, "x"), ("c", FILE, "x")], [(f"{folder}.wh..wh..opq", FILE, ""), (f"{folder}new", FILE, "y")])
    ):
        merge(unpack(tmp_path / f"layer-{number}", *entries), root)
    assert tree(root) == left
    assert root.stat().st_ino == before
