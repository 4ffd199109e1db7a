"""What of a project's folder goes into its image: the files that ``.dockerignore`` lets through, and their hashes."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from pathspec import PathSpec

from stackgraft.errors import SpecError

IGNORE_FILE = ".dockerignore"
_NEVER = ("/.git", "/.dockerignore", "**/__pycache__", "**/*.pyc")  # history and caches are not content


@dataclass(frozen=True, slots=True)
class ContextFile:
    """One file or symlink of the context.

    Attributes:
        path: Its path below the context, with forward slashes.
        source: Where it lies.
        executable: Whether its owner may run it.
        target: Where it points, for a symlink.
    """

    path: str
    source: Path
    executable: bool = False
    target: str | None = None

    @property
    def fingerprint(self) -> str:
        """What decides it: its kind, and its content's hash or its target."""
        if self.target is not None:
            return f"link {self.target}"
        return f"{'x' if self.executable else '-'} {hashlib.sha256(self.source.read_bytes()).hexdigest()}"


def context_files(context: Path) -> list[ContextFile]:
    """Return the files of the context that ``.dockerignore`` lets through, sorted by path.

    Raises:
        SpecError: One is neither a file nor a symlink.
    """
    ignored = ignore_rules(context)
    return [_described(path, context) for path in sorted(_walk(context)) if not ignored.match_file(path)]


def ignore_rules(context: Path) -> PathSpec[Any]:
    """Return the rules of the context's ``.dockerignore``.

    Docker anchors every pattern at the context's root, takes what it matches with all below, and lets the last matching
    line decide; so each becomes two git patterns with a leading slash.
    """
    file = context / IGNORE_FILE
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return PathSpec.from_lines("gitignore", [*chain.from_iterable(map(_anchored, lines)), *_NEVER])


def _anchored(line: str) -> tuple[str, ...]:
    pattern = line.strip()
    if not pattern or pattern.startswith("#"):
        return ()
    negation = "!" if pattern.startswith("!") else ""
    path = os.path.normpath(pattern.removeprefix("!").strip().lstrip("/"))
    return f"{negation}/{path}", f"{negation}/{path}/**"


def _walk(context: Path) -> Iterator[str]:
    for folder, folders, files in os.walk(context):
        folders[:] = [name for name in folders if name not in {".git", "__pycache__"}]
        linked = [name for name in folders if Path(folder, name).is_symlink()]
        yield from (Path(folder, name).relative_to(context).as_posix() for name in (*files, *linked))


def _described(path: str, context: Path) -> ContextFile:
    source = context / path
    mode = source.lstat().st_mode
    if stat.S_ISLNK(mode):
        return ContextFile(path, source, target=os.fspath(source.readlink()))
    if stat.S_ISREG(mode):
        return ContextFile(path, source, executable=bool(mode & stat.S_IXUSR))
    raise SpecError(
        "The context holds something that no image can",
        where=str(source),
        why="it is a device or a socket",
        next_step=f"name it in {IGNORE_FILE}",
    )
