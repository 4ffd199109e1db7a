"""The packages of an image, resolved by uv for the image's Python and platform on this machine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from importlib.metadata import distribution
from pathlib import Path

from uv import find_uv_bin

from stackgraft.errors import SpecError

_PLATFORMS = {"linux/amd64": "x86_64-manylinux_2_28", "linux/arm64": "aarch64-manylinux_2_28"}
_UNREPRODUCIBLE = ("bin", ".lock", "*.dist-info/RECORD", "*.dist-info/INSTALLER", "*.dist-info/REQUESTED", "*.dist-info/direct_url.json")
"""Scripts name this machine's interpreter, and records name the scripts: programs start with ``python -m`` instead."""
_RUNTIME_LEFT_OUT = {"testing", "rehearsal", "planner", "__pycache__"}
_RUNTIME_GROUPS = ("stackgraft.artifact_store", "stackgraft.serializer")


def install(target: Path, requirements: Path | None, extra: Sequence[str], *, python: str, platform: str) -> None:
    """Install requirements into a folder, as wheels for the given Python and platform.

    Indexes and their credentials come from uv's own environment variables and files, never from us.

    Raises:
        SpecError: They cannot be resolved; the resolver's words are the reason.
    """
    if platform not in _PLATFORMS:
        raise SpecError("No wheels are resolved for that platform", where=platform, next_step=f"use {' or '.join(_PLATFORMS)}")
    named = ["--requirement", str(requirements)] if requirements else []
    options = ["--python-version", python, "--python-platform", _PLATFORMS[platform], "--only-binary", ":all:", "--no-compile-bytecode"]
    command = [find_uv_bin(), "pip", "install", "--quiet", "--target", str(target), *options, *named, *extra]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "NO_COLOR": "1"})
    if done.returncode:
        raise SpecError(
            "The requirements cannot be resolved",
            where=str(requirements or ", ".join(extra)),
            why=done.stderr.strip(),
            next_step=f"correct the requirements for Python {python} on {platform}",
        )
    for pattern in _UNREPRODUCIBLE:
        for path in target.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def runtime_requirements() -> list[str]:
    """Return what stackgraft's core needs at run time, as requirements."""
    wanted = distribution("stackgraft").requires or []
    return sorted(requirement for requirement in wanted if "extra ==" not in requirement)


def runtime_sources() -> list[tuple[str, Path]]:
    """Return the files of stackgraft's core that run steps in an image, by their path there."""
    package = Path(__file__).parent.parent
    names = sorted(path.relative_to(package) for path in package.rglob("*") if path.suffix in {".py", ".typed"})
    return [(f"stackgraft/{name.as_posix()}", package / name) for name in names if name.parts[0] not in _RUNTIME_LEFT_OUT]


def write_runtime(target: Path) -> None:
    """Write stackgraft's core and its metadata, through which flavors are found, below a folder."""
    for name, source in runtime_sources():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target / name)
    ours = distribution("stackgraft")
    info = target / f"stackgraft-{ours.version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: stackgraft\nVersion: {ours.version}\n")
    (info / "entry_points.txt").write_text(entry_points_text())


def entry_points_text() -> str:
    """Return the entry points that steps need, in the format of ``entry_points.txt``."""
    entries = sorted((entry.group, entry.name, re.sub(r"\s*\[.*\]", "", entry.value)) for entry in distribution("stackgraft").entry_points)
    lines = []
    for group in _RUNTIME_GROUPS:
        lines += [f"[{group}]", *(f"{name} = {value}" for owner, name, value in entries if owner == group)]
    return "\n".join(lines) + "\n"
