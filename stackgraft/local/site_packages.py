"""The packages of an image, resolved by uv for the image's Python and platform on this machine."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterable, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from uv import find_uv_bin

from stackgraft.errors import BackendError, SpecError, StackError

_PLATFORMS = {"linux/amd64": "x86_64-manylinux_2_28", "linux/arm64": "aarch64-manylinux_2_28"}
_UNREPRODUCIBLE = (
    "bin",
    ".lock",
    *(f"*.dist-info/{name}" for name in ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_*.json")),
)
"""Scripts name this machine's interpreter, and records name the scripts, paths and times of this machine: programs
start with ``python -m`` instead."""
_UV_SETTINGS = ("pyproject.toml", "uv.toml")
_OUT_OF_REACH = re.compile(
    r"error sending request|HTTP status server error|429 Too Many Requests|timed out|connection (?:closed|reset)", re.IGNORECASE
)
"""What uv says of an index that did not answer, as opposed to one that does not have the package."""
_NO_NAME = re.compile(r"(?:^|(?<=\s))(?:#.*|--hash=\S+)", re.MULTILINE)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_RUNTIME_LEFT_OUT = {"testing", "rehearsal", "planner", "__pycache__"}
_RUNTIME_GROUPS = ("stackgraft.artifact_store", "stackgraft.serializer")


def install(
    target: Path,
    context: Path,
    requirements: Path | None,
    extra: Sequence[str] = (),
    pins: Sequence[str] = (),
    *,
    python: str,
    platform: str,
) -> None:
    """Install requirements into a folder, as wheels for the given Python and platform.

    Indexes and their credentials come from uv's own environment variables and files, never from us.

    Args:
        target: The folder, which is empty.
        context: Where uv runs: relative paths of wheels start here.
        requirements: Requirements or lock file, relative to the context; None installs only what is extra.
        extra: More requirements.
        pins: Versions of what may be installed, such as ``pydantic==2.12.0``.
        python: Minor version, such as ``3.11``.
        platform: Such as ``linux/amd64``.

    Raises:
        SpecError: They cannot be resolved; the resolver's words are the reason.
        BackendError: A package index is out of reach.
    """
    if platform not in _PLATFORMS:
        raise SpecError("No wheels are resolved for that platform", where=platform, next_step=f"use {' or '.join(_PLATFORMS)}")
    named = ["--requirement", str(requirements)] if requirements else []
    wheels = ["--python-version", python, "--python-platform", _PLATFORMS[platform], "--only-binary", ":all:"]
    # Copies, since symlinks would lead into this machine's cache; uv makes hard links of them where it can.
    options = ["--quiet", "--no-compile-bytecode", "--link-mode", "hardlink", "--python", sys.executable]
    with tempfile.NamedTemporaryFile("w", prefix="stackgraft-pins-", suffix=".txt") as constraints:
        constraints.write("\n".join(pins))
        constraints.flush()
        limits = ["--constraint", constraints.name]
        command = [find_uv_bin(), "pip", "install", *options, *wheels, *limits, "--target", str(target), *named, *extra]
        done = subprocess.run(command, cwd=context, capture_output=True, text=True, check=False, env={**os.environ, "NO_COLOR": "1"})
    if done.returncode:
        where = ", ".join([*([str(context / requirements)] if requirements else []), *extra, *pins])
        raise _refusal(done.stderr.strip(), where, f"correct the requirements for Python {python} on {platform}")
    for pattern in _UNREPRODUCIBLE:
        for path in target.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _refusal(why: str, where: str, advice: str) -> StackError:
    if _OUT_OF_REACH.search(why):
        return BackendError("The package index is out of reach", transient=True, where=where, why=why, next_step="try again later")
    return SpecError("The requirements cannot be resolved", where=where, why=why, next_step=advice)


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
        names = [re.sub(r"^(-[rc]|file://)", "", word) for word in re.split(r"[\s=]+", _text(file))]
        files = [folder / name for folder in (file.parent, context) for name in filter(None, names)]
        found += dict.fromkeys(path.resolve() for path in files if os.path.isfile(path) and path.resolve() not in found)  # noqa: PTH113 - Path.is_file raises for a word longer than a name may be
    return found


def _text(file: Path) -> str:
    """Return a requirements file's text without comments and hashes; a wheel, or whatever else is no text, has none."""
    try:
        return "" if file.suffix == ".whl" else _NO_NAME.sub("", file.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        return ""
    except OSError as unreadable:
        raise SpecError("The requirements cannot be read", where=str(file), why=unreadable.strerror or "") from unreadable


def runtime_requirements() -> list[str]:
    """Return what stackgraft's core needs at run time, as requirements."""
    return sorted(_needs("stackgraft"))


def runtime_pins(context: Path, requirements: Path | None) -> list[str]:
    """Return this machine's versions of what stackgraft's core needs, but for what the project's requirements name.

    They make what is installed a function of the key; a project that names a package decides about it, and about what
    that one needs.
    """
    named = _named_packages(context, context / requirements) if requirements else set()
    return sorted(_installed((_normalized(need) for need in runtime_requirements()), named).values())


def _named_packages(context: Path, requirements: Path) -> set[str]:
    files = _named_files(context, requirements)
    words = (word for file in files for word in (file.name, *_NAME.findall(_text(file))))
    return {_normalized(word.partition("-")[0] if word.endswith(".whl") else word) for word in words}


def _installed(names: Iterable[str], without: Collection[str]) -> dict[str, str]:
    """Return pins of the packages and of all that they need, by name; what is not installed here is not pinned."""
    pins: dict[str, str] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        try:
            if name not in pins and name not in without:
                pins[name] = f"{name}=={distribution(name).version}"
                waiting += map(_normalized, _needs(name))
        except PackageNotFoundError:
            """One that another Python or system needs."""
    return pins


def _needs(package: str) -> list[str]:
    return [need for need in distribution(package).requires or [] if "extra ==" not in need]


def _normalized(requirement: str) -> str:
    """Return the package's name as indexes have it."""
    return re.sub(r"[._-]+", "-", re.split(r"[^\w.-]", requirement, maxsplit=1)[0]).lower()


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
