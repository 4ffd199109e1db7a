"""Run an image's own layers as host processes: unpack them once, and translate the image's paths.

Nothing isolates such a process: it sees this machine's files, network and users. It is for developing and testing.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import shutil
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import IO, Any

from stackgraft.components import ContainerRegistry
from stackgraft.errors import BackendError, SpecError
from stackgraft.local.image_tree import extract, merge
from stackgraft.oci import PYTHON_LABEL, for_platform, is_index, verified
from stackgraft.specs import host_platform, host_python

_FROM_HOST = ("HOME", "LANG", "LC_ALL", "PATH", "SSL_CERT_DIR", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "TMPDIR", "TZ", "USER")
_DAMAGED = (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, ValueError, FileExistsError, NotADirectoryError)
"""What a damaged layer raises: its archive, its compression, a name with a NUL, a file below a file."""
_PYTHON = re.compile(r"(?:.*/)?python(?:3(?:\.\d+)?)?")


@dataclass(frozen=True, slots=True)
class Program:
    """A host process, ready to start.

    Attributes:
        argv: The program and its arguments.
        env: Its whole environment.
        cwd: Where it starts.
    """

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: str


@dataclass(frozen=True, slots=True)
class UnpackedImage:
    """An image whose files lie in a folder.

    Attributes:
        files: The folder, which all jobs share.
        root: Where a job sees the files, once they are laid out for it.
        config: The ``config`` part of the image's configuration.
        workdir: Where a job starts.
    """

    files: Path
    root: Path
    config: Mapping[str, Any]
    workdir: PurePosixPath

    def starting_in(self, workdir: PurePosixPath) -> UnpackedImage:
        """Return the image with another folder where a job starts.

        Raises:
            SpecError: The image has no such folder.
        """
        inner = os.path.normpath(workdir).lstrip("/")
        folder = Path(os.path.realpath(self.files / inner))
        if not folder.is_dir() or not folder.is_relative_to(self.files.resolve()):
            raise SpecError("The image has no such folder to start in", where=f"workdir {workdir}", next_step="pass another workdir")
        return replace(self, workdir=PurePosixPath("/", inner))

    def lay_out(self) -> None:
        """Give a job files of its own: a copy of the folder where it starts, and links to all else.

        What a job writes where it starts is then seen by no other job of the image.
        """
        _once(self.root, lambda draft: _lay_out(self.files, draft, self.workdir.parts[1:]))

    def program(self, command: Sequence[str], env: Mapping[str, str], python: str | None = None) -> Program:
        """Return the process that runs a command of the image; without a command, the image's own.

        ``python`` is this machine's interpreter without its packages, since the image's would miss its libraries here.

        Raises:
            SpecError: The image, or the command, needs another Python than this machine has.
        """
        self._check_python(python)
        argv = list(command) or [*(self.config.get("Entrypoint") or []), *(self.config.get("Cmd") or [])]
        if not argv:
            raise SpecError("There is nothing to run", why="neither the image nor the spec has a command", next_step="pass a command")
        own = dict(variable.split("=", 1) for variable in self.config.get("Env") or [])
        inherited = {name: os.environ[name] for name in _FROM_HOST if name in os.environ}
        # A value that the image sets wins over the host's, but for PATH, which names the host's programs.
        merged = {**inherited, **{name: self._paths(value) for name, value in own.items() if name != "PATH"}}
        merged |= {"PYTHONNOUSERSITE": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}
        merged |= {name: self._paths(value) for name, value in env.items()}
        return Program(self._argv(argv), merged, self._path(str(self.workdir)))

    def _check_python(self, wanted: str | None) -> None:
        has = (self.config.get("Labels") or {}).get(PYTHON_LABEL)
        for need, who in ((has, "the image"), (wanted, "the step")):
            other = host_python() if who == "the image" else has or host_python()
            if need is not None and need != other:
                raise SpecError(
                    f"The Python versions do not fit: {who} is for {need}",
                    where=f"this machine runs {host_python()}, the image is for {has or 'any'}",
                    next_step=f"build the image with python={wanted or host_python()!r}, or run this under Python {need}",
                )

    def _argv(self, argv: Sequence[str]) -> list[str]:
        program, *arguments = argv
        start = [_base_python(), "-s", "-S"] if _PYTHON.fullmatch(program) else [self._path(program)]
        return [*start, *map(self._path, arguments)]

    def _paths(self, value: str) -> str:
        return ":".join(map(self._path, value.split(":"))) if "/" in value and "://" not in value else value

    def _path(self, text: str) -> str:
        inner = text.lstrip("/")
        return str(self.root / inner) if text.startswith("/") and (self.files / inner).exists() else text


def unpack(registry: ContainerRegistry, reference: str, state: Path, root: Path) -> UnpackedImage:
    """Unpack an image, each layer once, and return where its files lie.

    Args:
        registry: Where the image is.
        reference: The image, by digest.
        state: The folder that keeps unpacked layers and images.
        root: Where a job will see the files.

    Raises:
        BackendError: The image is absent or damaged.
        SpecError: It is not for this platform.
    """
    repository, digest = registry.locate(reference)
    document = json.loads(registry.read_manifest(repository, digest))
    if is_index(document):
        chosen = for_platform(document, host_platform())
        if chosen is None:
            raise SpecError("The image is not for this machine", where=reference, why=f"it has no {host_platform()}")
        document = json.loads(registry.read_manifest(repository, chosen))
    with registry.open_blob(repository, document["config"]["digest"]) as blob:
        config = json.loads(verified(blob.read(), document["config"]["digest"], repository))
    layers = zip(document["layers"], config["rootfs"]["diff_ids"], strict=True)
    folders = [_once(state / "layers" / diff_id[7:], _unpacker(registry, repository, layer, diff_id)) for layer, diff_id in layers]

    def compose(draft: Path) -> None:
        for folder in folders:
            merge(folder, draft)

    settings = config.get("config") or {}
    image = UnpackedImage(_once(state / "images" / digest[7:], compose), root, settings, PurePosixPath("/"))
    return image.starting_in(PurePosixPath("/", settings.get("WorkingDir") or ""))


def _lay_out(files: Path, root: Path, own: Sequence[str]) -> None:
    if not own:
        shutil.copytree(files, root, symlinks=True, copy_function=_copy_writable, dirs_exist_ok=True)
        return
    for entry in files.iterdir():
        if entry.name != own[0]:
            (root / entry.name).symlink_to(entry)
    (root / own[0]).mkdir()
    _lay_out(files / own[0], root / own[0], own[1:])


def _copy_writable(source: str, target: str) -> None:
    """Copy a file, and not by a link: a job may write in place."""
    shutil.copyfile(source, target)
    Path(target).chmod(Path(source).stat().st_mode | 0o200)


def _unpacker(registry: ContainerRegistry, repository: str, layer: dict[str, Any], diff_id: str) -> Callable[[Path], None]:
    def unpack_layer(draft: Path) -> None:
        with registry.open_blob(repository, layer["digest"]) as blob:
            blob_hash = _HashingReader(blob)
            content: Any = gzip.GzipFile(fileobj=blob_hash, mode="rb") if layer["mediaType"].endswith("gzip") else blob_hash  # type: ignore[call-overload]
            content_hash = _HashingReader(content)
            try:
                with tarfile.open(fileobj=content_hash, mode="r|") as tar:  # type: ignore[call-overload]
                    extract(tar, draft)
                for part in (content_hash, blob_hash):
                    while part.read(1 << 20):
                        """Read on to the end, which the archive's reader leaves: the hash is of the whole."""
            except _DAMAGED as damaged:
                raise BackendError("A layer is damaged", where=f"{repository} {layer['digest']}", why=str(damaged)) from damaged
        for promised, found in ((layer["digest"], blob_hash.digest), (diff_id, content_hash.digest)):
            if promised != found:
                raise BackendError(
                    "A layer does not match its digest and was refused", where=f"{repository} {promised}", why=f"it has {found}"
                )

    return unpack_layer


class _HashingReader:
    """A reader that hashes what passes."""

    def __init__(self, below: IO[bytes]) -> None:
        self.below, self.hash = below, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self.below.read(size)
        self.hash.update(data)
        return data

    @property
    def digest(self) -> str:
        return f"sha256:{self.hash.hexdigest()}"


def _once(folder: Path, fill: Callable[[Path], None]) -> Path:
    """Fill a folder in a draft and rename it into place, so that it is there whole or not at all."""
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".draft-"))
    try:
        fill(draft)
        draft.chmod(0o755)
        draft.rename(folder)
    except OSError:
        if not folder.exists():
            raise  # not another process that was faster
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def _base_python() -> str:
    """Return the interpreter below this environment, so that the environment's packages do not leak into the image's."""
    return str(getattr(sys, "_base_executable", sys.executable))
