"""Lay a layer's files in a folder without ever writing outside of it, and layers over one another."""

from __future__ import annotations

import os
import shutil
import tarfile
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
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_symlink() or (target.exists() and not (entry.isdir() and target.is_dir())):
            target.unlink() if not target.is_dir() or target.is_symlink() else shutil.rmtree(target)
        if entry.isdir():
            target.mkdir(exist_ok=True)
        elif entry.issym():
            target.symlink_to(entry.linkname)
        elif entry.islnk():
            os.link(_inside(root, entry.linkname, entry.name), target, follow_symlinks=False)
        elif entry.isreg():
            _write(tar, entry, target)
        else:
            raise BackendError("A layer holds a device or a pipe and was refused", where=entry.name)


def _write(tar: tarfile.TarFile, entry: tarfile.TarInfo, target: Path) -> None:
    content = tar.extractfile(entry)
    assert content is not None  # noqa: S101 - a regular file has content
    with target.open("wb") as file:
        shutil.copyfileobj(content, file, 1 << 20)
    target.chmod(0o555 if entry.mode & 0o111 else 0o444)


def _inside(root: Path, name: str, entry: str) -> Path:
    """Return the path of a name below the root, unless the name or a symlink on its way leads out."""
    parts = PurePosixPath(name.removeprefix("./")).parts
    path = root.joinpath(*parts)
    if (
        ".." in parts
        or name.startswith("/")
        or any(parent.is_symlink() for parent in path.parents if parent.is_relative_to(root) and parent != root)
    ):
        raise BackendError("A layer's entry leads out of the image and was refused", where=entry, why=f"the path is {name!r}")
    return path


def merge(layer: Path, root: Path) -> None:
    """Lay a layer's folder over what the root holds: files by hard links, whiteouts applied.

    Raises:
        BackendError: The layer writes through a symlink that leads out of the root.
    """
    for folder, folders, files in os.walk(layer):
        relative = Path(folder).relative_to(layer)
        target = root / relative
        if not target.resolve().is_relative_to(root.resolve()):
            raise BackendError("A layer writes through a link that leads out of the image", where=str(relative))
        if _OPAQUE in files:
            _remove(target)
        if target.is_file() or (target.is_symlink() and not target.is_dir()):
            target.unlink()
        target.mkdir(parents=True, exist_ok=True)
        for name in files:
            if name.startswith(_WHITEOUT):
                _remove(target / name.removeprefix(_WHITEOUT))
        for name in (*files, *(name for name in folders if Path(folder, name).is_symlink())):
            if not name.startswith(_WHITEOUT):
                _place(Path(folder, name), target / name)


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
