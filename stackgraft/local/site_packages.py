"""The packages of an image, resolved by uv for the image's Python and platform on this machine."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import distribution
from pathlib import Path

from uv import find_uv_bin

from stackgraft.errors import SpecError

_PLATFORMS = {"linux/amd64": "x86_64-manylinux_2_28", "linux/arm64": "aarch64-manylinux_2_28"}
_UNREPRODUCIBLE = (
    "bin",
    ".lock",
    *(f"*.dist-info/{name}" for name in ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_*.json")),
)
"""Scripts name this machine's interpreter, and records name the scripts, paths and times of this machine: programs
start with ``python -m`` instead."""
_UV_SETTINGS = ("pyproject.toml", "uv.toml")
_RUNTIME_LEFT_OUT = {"testing", "rehearsal", "planner", "__pycache__"}
_RUNTIME_GROUPS = ("stackgraft.artifact_store", "stackgraft.serializer")


def install(target: Path, context: Path, requirements: Path | None, extra: Sequence[str], *, python: str, platform: str) -> None:
    """Install requirements into a folder, as wheels for the given Python and platform.

    Indexes and their credentials come from uv's own environment variables and files, never from us.

    Args:
        target: The folder, which is empty.
        context: Where uv runs: relative paths of wheels start here.
        requirements: Requirements or lock file, relative to the context; None installs only what is extra.
        extra: More requirements.
        python: Minor version, such as ``3.11``.
        platform: Such as ``linux/amd64``.

    Raises:
        SpecError: They cannot be resolved; the resolver's words are the reason.
    """
    if platform not in _PLATFORMS:
        raise SpecError("No wheels are resolved for that platform", where=platform, next_step=f"use {' or '.join(_PLATFORMS)}")
    named = ["--requirement", str(requirements)] if requirements else []
    wheels = ["--python-version", python, "--python-platform", _PLATFORMS[platform], "--only-binary", ":all:"]
    # Copies, since symlinks would lead into this machine's cache; uv makes hard links of them where it can.
    options = ["--quiet", "--no-compile-bytecode", "--link-mode", "hardlink", "--python", sys.executable]
    command = [find_uv_bin(), "pip", "install", *options, *wheels, "--target", str(target), *named, *extra]
    done = subprocess.run(command, cwd=context, capture_output=True, text=True, check=False, env={**os.environ, "NO_COLOR": "1"})
    if done.returncode:
        raise SpecError(
            "The requirements cannot be resolved",
            where=str(context / requirements) if requirements else ", ".join(extra),
            why=done.stderr.strip(),
            next_step=f"correct the requirements for Python {python} on {platform}",
        )
    for pattern in _UNREPRODUCIBLE:
        for path in target.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def requirements_hash(context: Path, requirements: Path | None) -> str:
    """Return a hash of all files that decide what is installed, or an empty text where nothing is.

    They are the requirements file, the requirements, constraints and wheels that it names, and the context's uv settings.
    """
    if requirements is None:
        return ""
    settings = [context / name for name in _UV_SETTINGS if (context / name).is_file()]
    hashes = [file_hash(file) for file in [*_named_files(context, context / requirements), *settings]]
    return hashlib.sha256(" ".join(hashes).encode()).hexdigest()


def _named_files(context: Path, requirements: Path) -> list[Path]:
    """Return a requirements file and all files whose names stand in it, followed through."""
    found = [requirements.resolve()]
    for file in found:
        words = re.split(r"[\s=]+", file.read_text(encoding="utf-8")) if file.suffix != ".whl" else []
        names = [re.sub(r"^(-[rc]|file://)", "", word) for word in words]
        files = [folder / name for folder in (file.parent, context) for name in filter(None, names)]
        found += dict.fromkeys(path.resolve() for path in files if os.path.isfile(path) and path.resolve() not in found)  # noqa: PTH113 - Path.is_file raises for a word longer than a name may be
    return found


def runtime_requirements() -> list[str]:
    """Return what stackgraft's core needs at run time, as requirements."""
    wanted = distribution("stackgraft").requires or []
    return sorted(requirement for requirement in wanted if "extra ==" not in requirement)


def runtime_hash() -> str:
    """Return a hash of all that `write_runtime` writes and of what it needs."""
    sources = (f"{name} {file_hash(path)}" for name, path in _runtime_sources())
    parts: Iterable[str] = [*sources, *_runtime_metadata().values(), *runtime_requirements()]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def write_runtime(target: Path) -> None:
    """Write stackgraft's core and its metadata, through which flavors are found, below a folder."""
    for name, source in _runtime_sources():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target / name)
    info = target / f"stackgraft-{distribution('stackgraft').version}.dist-info"
    info.mkdir()
    for name, text in _runtime_metadata().items():
        (info / name).write_text(text, encoding="utf-8")


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _runtime_sources() -> list[tuple[str, Path]]:
    """Return the files of stackgraft's core that run steps in an image, by their path there."""
    package = Path(__file__).parent.parent
    names = sorted(path.relative_to(package) for path in package.rglob("*") if path.suffix in {".py", ".typed"})
    return [(f"stackgraft/{name.as_posix()}", package / name) for name in names if name.parts[0] not in _RUNTIME_LEFT_OUT]


def _runtime_metadata() -> dict[str, str]:
    """Return the files of the core's ``.dist-info`` folder: its version, and the entry points that steps need."""
    ours = distribution("stackgraft")
    entries = sorted((entry.group, entry.name, re.sub(r"\s*\[.*\]", "", entry.value)) for entry in ours.entry_points)
    lines = []
    for group in _RUNTIME_GROUPS:
        lines += [f"[{group}]", *(f"{name} = {value}" for owner, name, value in entries if owner == group)]
    metadata = f"Metadata-Version: 2.1\nName: stackgraft\nVersion: {ours.version}\n"
    return {"METADATA": metadata, "entry_points.txt": "\n".join(lines) + "\n"}
