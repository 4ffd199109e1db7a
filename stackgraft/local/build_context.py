"""What of a project's folder goes into its image: the files that ``.dockerignore`` lets through, and their hashes."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from pathspec import PathSpec

from stackgraft.errors import BackendError, SpecError

IGNORE_FILE = ".dockerignore"
_NEVER = ("**/.git", "/.dockerignore", "**/__pycache__")  # history and caches are not content

IgnoreRules = PathSpec[Any]


@dataclass(frozen=True, slots=True)
class ContextFile:
    """One file or symlink of the context.

    Attributes:
        path: Its path below the context, with forward slashes.
        source: Where it lies.
        fingerprint: What decides it: whether its owner may run it and its content's hash, or where it points.
    """

    path: str
    source: Path
    fingerprint: str

    def copy_below(self, folder: Path) -> None:
        """Copy it to its path below a folder.

        Raises:
            BackendError: It is not what it was when its fingerprint was taken.
        """
        copy = folder / self.path
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(self.source, copy, follow_symlinks=False)
        if _fingerprint(copy) != self.fingerprint:
            raise BackendError("A file changed while the image was built", transient=True, where=str(self.source), next_step="build again")


def context_files(context: Path) -> list[ContextFile]:
    """Return the files of the context that ``.dockerignore`` lets through, sorted by path.

    Empty folders are no files: git does not keep them, and an image is the same from a checkout and from a copy.

    Raises:
        SpecError: One can not be read, is neither a file nor a symlink, or has a name that is not UTF-8.
    """
    ignored = ignore_rules(context)
    return [_described(path, context) for path in sorted(_walk(context, ignored)) if not ignored.match_file(path)]


def ignore_rules(context: Path) -> IgnoreRules:
    """Return the rules of the context's ``.dockerignore``.

    Docker anchors every pattern at the context's root, takes what matches a folder to match all below it, and lets the
    last matching line decide; so each line becomes two patterns of git's that start with a slash.

    Raises:
        SpecError: The file is not UTF-8, or a line is no pattern.
    """
    file = context / IGNORE_FILE
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines() if file.is_file() else []
        return PathSpec.from_lines("gitignore", [*(pattern for line in lines for pattern in _anchored(line)), *_NEVER])
    except OSError as unreadable:
        _refuse(unreadable)
    except (ValueError, re.error) as broken:
        advice = "mend that pattern; the file is UTF-8"
        raise SpecError(f"The {IGNORE_FILE} cannot be understood", where=str(file), why=str(broken), next_step=advice) from broken


def _anchored(line: str) -> tuple[str, ...]:
    pattern = line.strip()
    if not pattern or pattern.startswith("#"):
        return ()
    negation = "!" if pattern.startswith("!") else ""
    rooted = f"{negation}/{os.path.normpath(pattern.removeprefix('!').strip().lstrip('/'))}"
    return rooted, f"{rooted}/**"


def _walk(context: Path, ignored: IgnoreRules) -> Iterator[str]:
    reincludes = any(pattern.include is False for pattern in ignored.patterns)
    skipped = PathSpec.from_lines("gitignore", _NEVER) if reincludes else ignored  # a ``!`` line may reach into an ignored folder
    for folder, folders, files in os.walk(context, onerror=_refuse):
        below = Path(folder).relative_to(context)
        linked = [name for name in folders if Path(folder, name).is_symlink()]
        folders[:] = [name for name in folders if not skipped.match_file((below / name).as_posix())]
        yield from ((below / name).as_posix() for name in (*files, *linked))


def _described(path: str, context: Path) -> ContextFile:
    source = context / path
    try:
        fingerprint = _fingerprint(source)
        f"{path}{fingerprint}".encode()
    except OSError as unreadable:
        _refuse(unreadable)
    except UnicodeEncodeError:
        raise _unfit(source, "its name, or the name that it points to, is not UTF-8") from None
    return ContextFile(path, source, fingerprint)


def _fingerprint(source: Path) -> str:
    mode = source.lstat().st_mode
    if stat.S_ISLNK(mode):
        return f"link {os.fspath(source.readlink())}"
    if not stat.S_ISREG(mode):
        raise _unfit(source, "it is a device, a pipe or a socket")
    with source.open("rb") as content:
        return f"{'x' if mode & stat.S_IXUSR else '-'} {hashlib.file_digest(content, 'sha256').hexdigest()}"


def _unfit(source: Path, why: str) -> SpecError:
    where = os.fsencode(source).decode(errors="replace")
    return SpecError("The context holds something that no image can", where=where, why=why, next_step=f"name it in {IGNORE_FILE}")


def _refuse(unreadable: OSError) -> NoReturn:
    raise SpecError(
        "The context cannot be read",
        where=str(unreadable.filename),
        why=unreadable.strerror or "",
        next_step=f"let this user read it, or name it in {IGNORE_FILE}",
    ) from unreadable
