"""Where an image's code comes from, as ``org.opencontainers.image.*`` labels read from git.

They never enter the content key: the same files are the same image, wherever HEAD is. An image that is reused keeps the
labels of its first build, and the same files outside of git, or not yet committed, give an image of another digest
under the same key.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

_PREFIX = "org.opencontainers.image"
_REMOTE = re.compile(r"(?!file:)[\w.+-]+(@[\w.-]+)?:")
"""A URL, or ``user@host:path``: a folder of this machine says nothing elsewhere."""


def git_labels(context: Path, in_image: Callable[[str], bool]) -> dict[str, str]:
    """Return revision, source and creation time of the last commit that touched the context; nothing outside of git.

    The last commit *that touched the context*, so that a commit elsewhere in the repository changes no image. A
    revision ends in ``-dirty`` where files that go into the image differ from it.

    Args:
        context: The project's folder.
        in_image: Tells whether a path below the context goes into the image.
    """
    commit = _git(context, "log", "-1", "--format=%H %cI", "--", ".")
    if not commit:
        return {}
    revision, created = commit.split()
    dirty = "-dirty" if any(map(in_image, _uncommitted(context))) else ""
    labels = {f"{_PREFIX}.revision": revision + dirty, f"{_PREFIX}.created": created}
    remote = _git(context, "config", "--get", "remote.origin.url")
    if _REMOTE.match(remote):
        labels[f"{_PREFIX}.source"] = re.sub(r"(?<=://)[^/]*@", "", remote)  # credentials stay here
    return labels


def _uncommitted(context: Path) -> list[str]:
    changed = _git(context, "diff", "--name-only", "--relative", "-z", "HEAD", "--", ".")
    unknown = _git(context, "ls-files", "--others", "--exclude-standard", "-z")
    return [path for path in f"{changed}\0{unknown}".split("\0") if path]


def _git(context: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(context), *arguments], capture_output=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.decode(errors="surrogateescape").strip() if done.returncode == 0 else ""
