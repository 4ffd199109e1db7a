"""Where an image's code comes from, as ``org.opencontainers.image.*`` labels read from git."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

_PREFIX = "org.opencontainers.image"


def git_labels(context: Path) -> dict[str, str]:
    """Return revision, source and creation time of the last commit that touched the context; nothing outside of git.

    The last commit *that touched the context*, so that a commit elsewhere in the repository changes no image. A
    revision ends in ``-dirty`` where files of the context differ from it.
    """
    commit = _git(context, "log", "-1", "--format=%H %cI", "--", ".")
    if not commit:
        return {}
    revision, created = commit.split()
    dirty = "-dirty" if _git(context, "status", "--porcelain", "--", ".") else ""
    labels = {f"{_PREFIX}.revision": revision + dirty, f"{_PREFIX}.created": created}
    if remote := _git(context, "config", "--get", "remote.origin.url"):
        labels[f"{_PREFIX}.source"] = re.sub(r"(?<=://)[^/@]*@", "", remote)  # credentials stay here
    return labels


def _git(context: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(context), *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
