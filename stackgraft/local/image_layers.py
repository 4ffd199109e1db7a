"""Layers whose bytes depend on their content alone: no time, user, order, umask or hash seed shows in them."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal

from stackgraft.oci import LAYER_TYPE, descriptor
from stackgraft.specs import host_python

Compression = Literal["gzip", "none"]
GZIP_LEVEL = 1
"""On the example's 204 MB of packages, level 6 takes 2.7 times as long and saves 11 % of the bytes."""

_COMPILER = """
import compileall, os, py_compile, sys
root, prefix = sys.argv[1:]
for folder, _, files in os.walk(root):
    for path in (os.path.join(folder, name) for name in files):
        if not os.path.islink(path):
            compileall.compile_file(path, quiet=2, stripdir=root, prependdir=prefix,
                                    invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
"""
"""A symlink is left alone: what it points to here may lie outside of the context, and need not be what the image has there."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer in a file.

    Attributes:
        path: The blob.
        digest: ``sha256:…`` of the blob.
        diff_id: ``sha256:…`` of the tar stream before compression.
        size: Bytes of the blob.
        media_type: The blob's media type.
    """

    path: Path
    digest: str
    diff_id: str
    size: int
    media_type: str

    @property
    def descriptor(self) -> dict[str, Any]:
        """The layer's descriptor, for a manifest."""
        return descriptor(self.media_type, self.digest, self.size)


class _Hashing:
    """A writer that hashes what passes."""

    def __init__(self, below: IO[bytes]) -> None:
        self.below, self.hash, self.size = below, hashlib.sha256(), 0

    def write(self, data: bytes) -> int:
        self.hash.update(data)
        self.size += len(data)
        return self.below.write(data)

    def flush(self) -> None:
        self.below.flush()

    @property
    def digest(self) -> str:
        return f"sha256:{self.hash.hexdigest()}"


def pack(root: Path, prefix: PurePosixPath, blob: Path, compression: Compression) -> Layer:
    """Write the folder's content as a layer below `prefix`.

    Args:
        root: The folder; its modes decide only whether a file is executable.
        prefix: The absolute folder in the image, such as ``/app``.
        blob: The file to write.
        compression: ``gzip`` or ``none``.
    """
    with ExitStack() as stack:
        outer = _Hashing(stack.enter_context(blob.open("wb")))
        # The file name in a gzip header is the blob's: left out, as is the time.
        below: Any = stack.enter_context(gzip.GzipFile("", "wb", GZIP_LEVEL, outer, mtime=0)) if compression == "gzip" else outer
        inner = _Hashing(below)
        with tarfile.open(fileobj=inner, mode="w|", format=tarfile.PAX_FORMAT) as tar:  # type: ignore[call-overload]
            for parent in [*reversed(prefix.parents), prefix][1:]:
                tar.addfile(_entry(f"{parent}/".strip("/"), tarfile.DIRTYPE, 0o755))
            for path in sorted(
                Path(folder, name) for folder, folders, files in os.walk(root, onerror=_fail) for name in (*folders, *files)
            ):
                _add(tar, path, str(prefix / path.relative_to(root).as_posix()).strip("/"))
    suffix = "+gzip" if compression == "gzip" else ""
    return Layer(blob, outer.digest, inner.digest, outer.size, f"{LAYER_TYPE}{suffix}")


def _fail(unreadable: OSError) -> None:
    raise unreadable


def _add(tar: tarfile.TarFile, path: Path, name: str) -> None:
    if path.is_symlink():
        link = _entry(name, tarfile.SYMTYPE, 0o777)
        link.linkname = os.fspath(path.readlink())
        tar.addfile(link)
    elif path.is_dir():
        tar.addfile(_entry(name, tarfile.DIRTYPE, 0o755))
    else:
        entry = _entry(name, tarfile.REGTYPE, 0o755 if path.stat().st_mode & 0o100 else 0o644)
        entry.size = path.stat().st_size
        with path.open("rb") as content:
            tar.addfile(entry, content)


def _entry(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = kind, mode
    return entry


def byte_code(python: str) -> str:
    """Return the kind of byte code that `byte_compile` gives an image for that Python, such as ``cpython-311``; empty for none."""
    return str(sys.implementation.cache_tag) if python == host_python() else ""


def byte_compile(root: Path, prefix: PurePosixPath, python: str) -> None:
    """Compile a folder's Python files beside them, as they will lie below `prefix`, so that programs start fast.

    An own interpreter, isolated from the user's settings, does it: what a longer-lived one has loaded shows in the bytes,
    while the hash seed does not since Python 3.11. An image for another Python than this one goes without, and so does a
    file with a syntax error.
    """
    if byte_code(python):
        command = [sys.executable, "-I", "-S", "-c", _COMPILER, str(root), str(prefix)]
        subprocess.run(command, check=False, capture_output=True)


def cached(folder: Path, key: str, make: Callable[[Path], Layer]) -> Layer:
    """Return the layer of that key from the cache, or make it.

    Args:
        folder: The cache. Nothing is ever removed from it; it may be deleted at any time.
        key: Of everything that decides the layer.
        make: Writes the layer to the path that it is given, beside which it may leave drafts.
    """
    record = folder / f"{key}.json"
    if record.is_file():
        layer = Layer(**{**(kept := json.loads(record.read_text())), "path": folder / kept["path"]})
        if layer.path.is_file() and layer.path.stat().st_size == layer.size:
            return layer
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".making-") as draft:
        made = make(Path(draft, "blob"))
        # Named by its content, so that two builders that resolved differently do not mix record and blob.
        blob = made.path.replace(folder / f"{made.digest.partition(':')[2]}.tar")
        Path(draft, "record").write_text(json.dumps({**asdict(made), "path": blob.name}))
        Path(draft, "record").replace(record)
    return replace(made, path=blob)


def key_of(parts: Iterable[str]) -> str:
    """Return a cache key made from all the parts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
