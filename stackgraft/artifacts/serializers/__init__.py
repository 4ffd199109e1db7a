"""How a value becomes bytes and comes back: chosen by type when it is written, recorded, and never guessed on reading.

Third parties register a `Serializer` under the entry point group ``stackgraft.serializer``; ours come first. Heavy
libraries are imported only once a value of theirs is met.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, get_args, get_origin

from stackgraft.artifacts.serializers.arrays import NumpySerializer
from stackgraft.artifacts.serializers.frames import ArrowSerializer
from stackgraft.artifacts.serializers.models import DataclassSerializer, PydanticSerializer
from stackgraft.artifacts.serializers.pictures import PngSerializer
from stackgraft.artifacts.serializers.plain import PICKLE, BytesSerializer, JsonSerializer, PickleSerializer, TextSerializer
from stackgraft.artifacts.serializers.protocol import GROUP, Buffer, Serializer, refused
from stackgraft.errors import ArtifactError, nearest

__all__ = ["GROUP", "PICKLE", "Buffer", "Serializer", "check_annotation", "for_value", "named", "registered"]

_OURS: tuple[Serializer, ...] = (
    NumpySerializer(),  # first, since numpy.float64 is a float and numpy.str_ a str
    ArrowSerializer(),
    PngSerializer(),
    PydanticSerializer(),
    DataclassSerializer(),
    BytesSerializer(),
    TextSerializer(),
    JsonSerializer(),
    PickleSerializer(),
)
_TAKEN = (
    "text, bytes, JSON, pydantic models, dataclasses, arrays (pip install numpy), tables of pandas, polars and pyarrow "
    "(pip install 'stackgraft[frames]'), figures and images (pip install pillow), and pathlib.Path for files and folders"
)


def registered() -> dict[str, Serializer]:
    """Return the serializers by name: ours first, then those of other packages that can be loaded."""
    theirs = {name: found for name, found in _discovered().items() if not isinstance(found, ArtifactError)}
    return {serializer.name: serializer for serializer in _OURS} | theirs


def named(name: str) -> Serializer:
    """Return the serializer of that name.

    Raises:
        ArtifactError: No installed package registers it, or the one that does cannot be loaded.
    """
    if isinstance(broken := _discovered().get(name), ArtifactError):
        raise broken.with_traceback(None)  # it is raised anew each time
    known = registered()
    if name not in known:
        next_step = f"{nearest(name, known)}; or install the package that registers it as an entry point under {GROUP}"
        raise ArtifactError("There is no such serializer", where=f"serializer {name!r}", next_step=next_step)
    return known[name]


def for_value(value: object, name: str | None = None) -> Serializer:
    """Return the serializer of that name, or else the first that takes the value's type.

    Raises:
        ArtifactError: There is none.
    """
    if name is None:
        return _accepting(type(value))
    chosen = named(name)
    if chosen in _OURS and name != PICKLE and not chosen.accepts(type(value)):
        raise refused(f"a value of type {type(value).__qualname__} under the name {name!r}", next_step="leave the name out")
    return chosen


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
    if told and not issubclass(kind, Path):
        _accepting(kind)


def _accepting(kind: type) -> Serializer:
    for serializer in registered().values():
        if serializer.accepts(kind):
            return serializer
    broken = "; ".join(str(found.where) for found in _discovered().values() if isinstance(found, ArtifactError))
    raise refused(
        f"a value of type {kind.__qualname__}",
        why=f"taken: {_TAKEN}" + (f"; cannot be loaded: {broken}" if broken else ""),
        next_step=f"return one of those, install a package that registers a serializer under {GROUP}, or ask for pickle by name",
    )


@cache
def _discovered() -> Mapping[str, Serializer | ArtifactError]:
    """Return other packages' serializers, or why one cannot be had: that is told once it is asked for by name."""
    entries: dict[str, set[EntryPoint]] = {}
    for entry in entry_points(group=GROUP):
        entries.setdefault(entry.name, set()).add(entry)
    ours = {serializer.name for serializer in _OURS}
    return {name: _loaded(name, claims) for name, claims in entries.items() if name not in ours}


def _loaded(name: str, claims: set[EntryPoint]) -> Serializer | ArtifactError:
    entry, *others = sorted(claims)
    where = f"serializer {name!r} of {entry.value}"
    if others:
        why = f"registered: {', '.join(claim.value for claim in (entry, *others))}"
        return ArtifactError("Two packages claim one serializer", where=where, why=why, next_step="uninstall one of them")
    try:
        serializer: Serializer = entry.load()()
        serializer.name = name
    except Exception as broken:  # noqa: BLE001 - whatever is wrong with one package, values of others can be written
        extras = f"[{','.join(entry.extras)}]" if entry.extras else ""
        package = entry.dist.name if entry.dist else entry.module
        return ArtifactError(
            "The serializer cannot be loaded",
            where=where,
            why=f"{type(broken).__name__}: {broken}",
            next_step=f"pip install '{package}{extras}'",
        )
    return serializer
