"""Lay a layer's files in a folder without ever writing outside of it, and layers over one another."""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from stackgraft.errors import BackendError

_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"


def extract(tar: tarfile.TarFile, root: Path) -> None:
    """Extract a layer below `root`; files become read-only, owners and set-id bits are dropped.

    Symlinks are kept as they are and never followed.

    Raises:
        BackendError: A name leads out of the root, or an entry is a device or a pipe.
    """
    for entry in tar:
        target = _inside(root, entry.name, entry.name)
        if target == root:
            _check_folder(entry)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if not (entry.isdir() and target.is_dir() and not target.is_symlink()):
            _remove(target)
        if entry.isdir():
            target.mkdir(exist_ok=True)
        elif entry.issym():
            target.symlink_to(entry.linkname)
        elif entry.islnk():
            _link(root, entry, target)
        elif entry.isreg():
            _write(tar, entry, target)
        else:
            raise BackendError("A layer holds a device or a pipe and was refused", where=entry.name)


def _check_folder(entry: tarfile.TarInfo) -> None:
    if not entry.isdir():
        raise BackendError("A layer replaces the image's root and was refused", where=repr(entry.name), why="the entry is no folder")


def _link(root: Path, entry: tarfile.TarInfo, target: Path) -> None:
    source = _inside(root, entry.linkname, entry.name)
    if not (source.is_symlink() or source.is_file()):
        raise BackendError("A layer links to a file that it does not hold", where=entry.name, why=f"the link is to {entry.linkname!r}")
    os.link(source, target, follow_symlinks=False)


def _write(tar: tarfile.TarFile, entry: tarfile.TarInfo, target: Path) -> None:
    content = tar.extractfile(entry)
    assert content is not None  # noqa: S101 - a regular file has content
    with target.open("wb") as file:
        shutil.copyfileobj(content, file, 1 << 20)
    target.chmod(0o555 if entry.mode & 0o111 else 0o444)


def _inside(root: Path, name: str, entry: str) -> Path:
    """Return the path of a name below the root, unless the name or a symlink on its way leads out."""
    inner = PurePosixPath(name)
    path = root / inner
    if (
        ".." in inner.parts
        or inner.is_absolute()
        or any(parent.is_symlink() for parent in path.parents if parent.is_relative_to(root) and parent != root)
    ):
        raise BackendError("A layer's entry leads out of the image and was refused", where=entry, why=f"the path is {name!r}")
    return path


def merge(layer: Path, root: Path) -> None:
    """Lay a layer's folder over what the root holds: files by hard links, whiteouts applied.

    Raises:
        BackendError: The layer writes through a symlink that leads out of the root, or deletes its own folder.
    """
    for folder, folders, files in os.walk(layer):
        relative = Path(folder).relative_to(layer)
        target = root / relative
        if not Path(os.path.realpath(target)).is_relative_to(os.path.realpath(root)):
            raise BackendError("A layer writes through a link that leads out of the image", where=str(relative))
        if target.is_file() or (target.is_symlink() and not target.is_dir()):
            target.unlink()
        target.mkdir(parents=True, exist_ok=True)
        for path in _deleted(target, files):
            _remove(path)
        for name in (*files, *(name for name in folders if Path(folder, name).is_symlink())):
            if not name.startswith(_WHITEOUT):
                _place(Path(folder, name), target / name)


def _deleted(target: Path, files: Sequence[str]) -> list[Path]:
    """Return what a layer's whiteouts delete in a folder: names in it, never the folder itself or what is above."""
    names = [name.removeprefix(_WHITEOUT) for name in files if name.startswith(_WHITEOUT) and name != _OPAQUE]
    if refused := {"", ".", ".."}.intersection(names):
        raise BackendError("A layer deletes more than it may and was refused", where=f"{_WHITEOUT}{refused.pop()} in {target}")
    return list(target.iterdir()) if _OPAQUE in files else [target / name for name in names]


def _place(source: Path, target: Path) -> None:
    _remove(target)
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)  # another device, or too many links


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
