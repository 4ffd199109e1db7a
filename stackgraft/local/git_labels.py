"""Where an image's code comes from, as ``org.opencontainers.image.*`` labels read from git.

They never enter the content key: the same files are the same image, wherever HEAD is. An image that is reused keeps the
labels of its first build, and the same files outside of git, or not yet committed, give an image of another digest
under the same key. So does a shallow clone: it knows no commit older than its own, and names that one.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

_PREFIX = "org.opencontainers.image"
_REMOTE = re.compile(
    r"(?:(?P<scheme>https?|(?:git\+)?ssh|git)://(?:[^/]*@)?(?P<host>[^/:@]+)(?P<port>:\d+)?/"
    r"|(?:[\w.-]+@)?(?P<scp>[\w.-]+):(?!//))(?P<path>.+)"
)
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
    if source := _web_address(_git(context, "config", "--get", "remote.origin.url")):
        labels[f"{_PREFIX}.source"] = source
    return labels


def _web_address(remote: str) -> str | None:
    """Return one address for all the ways to clone a repository, without credentials; None for a folder."""
    match = _REMOTE.fullmatch(remote)
    if match is None:
        return None
    web = (match["scheme"] or "").startswith("http")
    scheme, port = (match["scheme"], match["port"] or "") if web else ("https", "")  # the port is of SSH
    path = match["path"].strip("/").removesuffix(".git")
    return f"{scheme}://{match['host'] or match['scp']}{port}/{path}"


def _uncommitted(context: Path) -> list[str]:
    changed = _git(context, "diff", "--name-only", "--relative", "-z", "HEAD", "--", ".")
    unknown = _git(context, "ls-files", "--others", "--exclude-standard", "-z")
    return [path for path in f"{changed}\0{unknown}".split("\0") if path]


def _git(context: Path, *arguments: str) -> str:
    # Hooks of git run with variables that name *their* repository; settings, such as a safe folder, are kept.
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_") or name.startswith("GIT_CONFIG")}
    try:
        done = subprocess.run(["git", "-C", str(context), *arguments], capture_output=True, check=False, env=env)
    except FileNotFoundError:
        return ""
    return done.stdout.decode(errors="surrogateescape").strip() if done.returncode == 0 else ""
