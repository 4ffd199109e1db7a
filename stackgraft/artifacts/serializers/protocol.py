"""What a serializer is, and what all of ours lean on."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from stackgraft.errors import ArtifactError, UnserializableError

GROUP = "stackgraft.serializer"
Buffer = bytes | bytearray | memoryview
"""Flat, contiguous bytes; often the value's own memory, so they are to be written before the value is changed."""


class Serializer(Protocol):
    """Turns values of some type into bytes and back. Subclass it to inherit the defaults.

    Attributes:
        name: What is recorded beside the bytes.
        mapped: Whether `load_file` uses the file in place, so that large values are best laid as files.
    """

    name: str
    mapped: bool = False

    def accepts(self, kind: type) -> bool:
        """Tell whether values of the type are taken, without importing a library for it."""

    def dump(self, value: Any) -> tuple[Sequence[Buffer], Mapping[str, Any]]:
        """Return the value's bytes as buffers in order, and JSON that reading needs beside them."""

    def load(self, content: memoryview, meta: Mapping[str, Any]) -> Any:
        """Return the value from all of its bytes, which it may keep: they must stay as they are."""

    def load_file(self, path: Path, meta: Mapping[str, Any]) -> Any:
        """Return the value from a file that holds its bytes."""
        return self.load(memoryview(path.read_bytes()), meta)


def is_kind(kind: type, *paths: str) -> bool:
    """Tell whether a type is one of those classes; a library that was never imported has no values.

    >>> is_kind(int, "pandas.DataFrame")
    False
    """
    return any(kind is loaded_class(path) for path in paths)


def loaded_class(path: str) -> Any:
    """Return the class of that dotted path, or None where nobody has imported its library."""
    module, _, name = path.rpartition(".")
    return getattr(sys.modules.get(module), name, None)


def needed(module: str, install: str = "") -> Any:
    """Return a library that only some values need.

    Raises:
        ArtifactError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as absent:
        raise ArtifactError(
            f"The artifact needs {module}, which is not installed", why=str(absent), next_step=f"pip install {install or module}"
        ) from absent


def refused(kind: str, *, where: str = "", why: str = "", next_step: str = "") -> UnserializableError:
    """Return the error for a value, or a part of one, that cannot be written."""
    return UnserializableError(f"No serializer takes {kind}", where=where, why=why, next_step=next_step or "ask for pickle by name")
