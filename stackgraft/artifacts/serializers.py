"""How a value becomes bytes and comes back: chosen by type when it is written, recorded, and never guessed on reading.

Third parties register a `Serializer` under the entry point group ``stackgraft.serializer``; ours come first. Heavy
libraries are imported only once a value of theirs is met.
"""

from __future__ import annotations

import importlib
import io
import json
import pickle
import sys
import types
import typing
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol, get_args, get_origin

from pydantic import BaseModel

from stackgraft.errors import ArtifactError, UntrustedArtifactError

_ATOMS = (type(None), bool, int, float, str)
PICKLE = "pickle"


class Serializer(Protocol):
    """Turns values of some type into bytes and back.

    Attributes:
        name: What is recorded beside the bytes.
    """

    name: str

    def accepts(self, kind: type) -> bool:
        """Tell whether values of the type are taken."""

    def dump(self, value: Any) -> tuple[bytes, Mapping[str, Any]]:
        """Return the value's bytes, and JSON that `load` needs beside them."""

    def load(self, content: bytes, meta: Mapping[str, Any]) -> Any:
        """Return the value."""


class JsonSerializer:
    """None, booleans, numbers, text, and lists and string-keyed mappings of those; a tuple comes back as a list."""

    name = "json"

    def accepts(self, kind: type) -> bool:
        """Tell whether values of the type are JSON."""
        return issubclass(kind, (*_ATOMS, list, tuple, dict))

    def dump(self, value: Any) -> tuple[bytes, Mapping[str, Any]]:
        """Return the value's canonical JSON."""
        if wrong := next(_not_json(value, "value"), None):
            raise _no_serializer(wrong[1], where=wrong[0])
        return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode(), {}

    def load(self, content: bytes, meta: Mapping[str, Any]) -> Any:
        """Return the value."""
        del meta
        return json.loads(content)


class BytesSerializer:
    """Bytes as they are."""

    name = "bytes"

    def accepts(self, kind: type) -> bool:
        """Tell whether the type is bytes."""
        return issubclass(kind, (bytes, bytearray, memoryview))

    def dump(self, value: Any) -> tuple[bytes, Mapping[str, Any]]:
        """Return the bytes."""
        return bytes(value), {}

    def load(self, content: bytes, meta: Mapping[str, Any]) -> Any:
        """Return the bytes."""
        del meta
        return content


class NumpySerializer:
    """NumPy arrays in NumPy's own ``.npy`` format, never pickled; they come back read-only."""

    name = "numpy"

    def accepts(self, kind: type) -> bool:
        """Tell whether the type is an array, without importing numpy."""
        numpy = sys.modules.get("numpy")
        return numpy is not None and issubclass(kind, numpy.ndarray)

    def dump(self, value: Any) -> tuple[bytes, Mapping[str, Any]]:
        """Return the array's header and raw bytes."""
        import numpy as np  # noqa: PLC0415 - only where arrays are used

        if value.dtype.hasobject:
            raise _no_serializer(value.dtype.name, where="the array's elements")
        buffer = io.BytesIO()
        np.save(buffer, value, allow_pickle=False)
        return buffer.getvalue(), {}

    def load(self, content: bytes, meta: Mapping[str, Any]) -> Any:
        """Return the array."""
        import numpy as np  # noqa: PLC0415 - only where arrays are used

        del meta
        array = np.load(io.BytesIO(content), allow_pickle=False)
        array.flags.writeable = False
        return array


class PydanticSerializer:
    """Pydantic models as JSON beside the import path of their class."""

    name = "pydantic"

    def accepts(self, kind: type) -> bool:
        """Tell whether the type is a pydantic model."""
        return issubclass(kind, BaseModel)

    def dump(self, value: Any) -> tuple[bytes, Mapping[str, Any]]:
        """Return the model's JSON."""
        kind = type(value)
        document = json.dumps(value.model_dump(mode="json"), sort_keys=True, ensure_ascii=False)
        return document.encode(), {"class": f"{kind.__module__}:{kind.__qualname__}"}

    def load(self, content: bytes, meta: Mapping[str, Any]) -> Any:
        """Return the model, if its class can be imported."""
        module, _, name = meta["class"].partition(":")
        try:
            kind = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as absent:
            raise ArtifactError("The artifact's class cannot be imported", where=meta["class"], why=str(absent)) from absent
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            raise UntrustedArtifactError("The artifact names something that is not a pydantic model", where=meta["class"])
        return kind.model_validate_json(content)


class PickleSerializer:
    """Any Python object, where the writer asked for it by name and the reader's stack trusts the store."""

    name = PICKLE

    def accepts(self, kind: type) -> bool:
        """Take nothing unasked."""
        del kind
        return False

    def dump(self, value: Any) -> tuple[bytes, Mapping[str, Any]]:
        """Return the pickle."""
        return pickle.dumps(value, protocol=5), {"python": f"{sys.version_info.major}.{sys.version_info.minor}"}

    def load(self, content: bytes, meta: Mapping[str, Any]) -> Any:
        """Return the object; the store has checked that it is trusted."""
        del meta
        return pickle.loads(content)  # noqa: S301 - asked for by name, and refused from stores that are not trusted


@cache
def registered() -> dict[str, Serializer]:
    """Return the serializers by name: ours first, then those of other packages."""
    ours: list[Serializer] = [BytesSerializer(), NumpySerializer(), PydanticSerializer(), JsonSerializer(), PickleSerializer()]
    found = {serializer.name: serializer for serializer in ours}
    for entry in entry_points(group="stackgraft.serializer"):
        found.setdefault(entry.name, entry.load()())
    return found


def for_value(value: object, name: str | None = None) -> Serializer:
    """Return the serializer of that name, or else the first that takes the value's type.

    Raises:
        ArtifactError: There is none.
    """
    if name is not None:
        if name not in registered():
            raise ArtifactError("There is no such serializer", where=f"serializer {name!r}", next_step=f"known: {', '.join(registered())}")
        return registered()[name]
    for serializer in registered().values():
        if serializer.accepts(type(value)):
            return serializer
    raise _no_serializer(type(value).__qualname__)


def check_annotation(annotation: object) -> None:
    """Refuse a return annotation whose values no serializer takes; what cannot be told is let through.

    Raises:
        ArtifactError: No serializer takes it.
    """
    origin = get_origin(annotation)
    if origin in {typing.Union, types.UnionType}:
        for choice in get_args(annotation):
            check_annotation(choice)
        return
    kind: Any = origin or annotation
    told = isinstance(kind, type) and kind not in {object, type(None)} and kind.__module__ not in {"typing", "collections.abc"}
    if told and not issubclass(kind, Path) and not any(each.accepts(kind) for each in registered().values()):
        raise _no_serializer(kind.__qualname__)


def _not_json(value: object, where: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                yield f"{where}[{key!r}]", f"a key of type {type(key).__name__}"
            yield from _not_json(item, f"{where}[{key!r}]")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _not_json(item, f"{where}[{index}]")
    elif not isinstance(value, _ATOMS):
        yield where, type(value).__qualname__


def _no_serializer(kind: str, where: str = "") -> ArtifactError:
    return ArtifactError(
        f"No serializer takes a value of type {kind}",
        where=where,
        why=f"registered: {', '.join(registered())}, and pathlib.Path for files and folders",
        next_step="return one of those, install a package that registers one under stackgraft.serializer, or ask for pickle by name",
    )
