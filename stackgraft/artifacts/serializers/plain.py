"""Bytes, text, JSON and pickle: what needs no library."""

from __future__ import annotations

import json
import mmap
import pickle
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from stackgraft.artifacts.serializers.protocol import Buffer, Serializer, refused
from stackgraft.errors import ArtifactError

PICKLE = "pickle"
_ATOMS = (type(None), bool, int, float, str)
_ALIGNMENT = 64  # bytes: what vector instructions like, and what Arrow uses


class BytesSerializer(Serializer):
    """Bytes as they are; a bytearray or memoryview comes back as bytes."""

    name = "bytes"

    def accepts(self, kind: type) -> bool:
        """Tell whether the type is bytes."""
        return issubclass(kind, (bytes, bytearray, memoryview))

    def dump(self, value: Any) -> tuple[Sequence[Buffer], Mapping[str, Any]]:
        """Return the bytes."""
        return [_flat(value) if isinstance(value, memoryview) else value], {}

    def load(self, content: memoryview, meta: Mapping[str, Any]) -> Any:
        """Return the bytes."""
        del meta
        return bytes(content)


class TextSerializer(Serializer):
    """Text as UTF-8."""

    name = "text"

    def accepts(self, kind: type) -> bool:
        """Tell whether the type is text."""
        return issubclass(kind, str)

    def dump(self, value: Any) -> tuple[Sequence[Buffer], Mapping[str, Any]]:
        """Return the text's UTF-8."""
        if lone := _lone_surrogate(value):
            raise _no_utf8(lone, "value")
        return [value.encode()], {}

    def load(self, content: memoryview, meta: Mapping[str, Any]) -> Any:
        """Return the text."""
        del meta
        return str(content, "utf-8")


class JsonSerializer(Serializer):
    """None, booleans, numbers, and lists and string-keyed dicts of those and of text.

    A tuple comes back as a list, and a dict with its keys sorted: equal dicts are equal bytes. NaN and the infinities are
    written as Python's JSON writes them, since a metric that diverged is a result too.
    """

    name = "json"

    def accepts(self, kind: type) -> bool:
        """Tell whether values of the type are JSON."""
        return issubclass(kind, (*_ATOMS, list, tuple, dict))

    def dump(self, value: Any) -> tuple[Sequence[Buffer], Mapping[str, Any]]:
        """Return the value's canonical JSON."""
        try:
            if _is_json(value):
                return [canonical(value)], {}
        except UnicodeEncodeError:
            pass  # the walk below says where
        except (RecursionError, ValueError) as unwritable:  # it contains itself, or an integer of thousands of digits
            raise ArtifactError(
                "The value cannot be written as JSON", why=str(unwritable), next_step="ask for pickle by name"
            ) from unwritable
        raise next(_not_json(value, "value"))

    def load(self, content: memoryview, meta: Mapping[str, Any]) -> Any:
        """Return the value."""
        del meta
        return json.loads(bytes(content))


class PickleSerializer(Serializer):
    """Any Python object, where the writer asked for it by name and the reader's stack trusts the store.

    Large buffers, such as arrays, lie beside the pickle rather than in it, each at a multiple of 64 bytes. Objects come back
    writable, as they went in: a mapped file is private to the process, so that writing copies the page that is written.
    """

    name = PICKLE
    mapped = True

    def accepts(self, kind: type) -> bool:
        """Take nothing unasked."""
        del kind
        return False

    def dump(self, value: Any) -> tuple[Sequence[Buffer], Mapping[str, Any]]:
        """Return the pickle and the buffers that belong to it, each padded."""
        beside: list[pickle.PickleBuffer] = []
        try:
            head = pickle.dumps(value, protocol=5, buffer_callback=beside.append)
        except (pickle.PicklingError, TypeError, AttributeError, RecursionError) as unwritable:
            kind = type(value).__qualname__
            raise ArtifactError("The value cannot be pickled", where=f"a value of type {kind}", why=str(unwritable)) from unwritable
        parts: list[Buffer] = [head, *(buffer.raw() for buffer in beside)]
        padded = [each for part in parts for each in (part, bytes(-len(part) % _ALIGNMENT)) if each]
        return padded, {"lengths": [len(part) for part in parts], "python": f"{sys.version_info.major}.{sys.version_info.minor}"}

    def load(self, content: memoryview, meta: Mapping[str, Any]) -> Any:
        """Return the object; the store has checked that it is trusted."""
        view = memoryview(bytearray(content)) if content.readonly else content
        starts = accumulate((length + -length % _ALIGNMENT for length in meta["lengths"]), initial=0)
        head, *beside = [view[start : start + length] for start, length in zip(starts, meta["lengths"], strict=False)]
        return pickle.loads(head, buffers=beside)  # noqa: S301 - asked for by name, and refused from stores that are not trusted

    def load_file(self, path: Path, meta: Mapping[str, Any]) -> Any:
        """Return the object over a private mapping of the file."""
        with path.open("rb") as file:
            return self.load(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)), meta)


def canonical(value: object) -> bytes:
    """Return the JSON of a value; equal values of equal types give equal bytes."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def _flat(view: memoryview) -> Buffer:
    try:
        return view.cast("B")
    except TypeError:  # strided, or of a format that Python does not know
        return view.tobytes()


def _is_json(value: object) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) for key in value) and all(map(_is_json, value.values()))
    return all(map(_is_json, value)) if isinstance(value, list | tuple) else isinstance(value, _ATOMS)


def _not_json(value: object, where: str) -> Iterator[ArtifactError]:
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                yield _no_json(f"a key of type {type(key).__name__}", f"{where}[{key!r}]")
            yield from _not_json(key, f"{where}[{key!r}]")
            yield from _not_json(item, f"{where}[{key!r}]")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _not_json(item, f"{where}[{index}]")
    elif not isinstance(value, _ATOMS):
        yield _no_json(f"a value of type {type(value).__qualname__}", where)
    elif isinstance(value, str) and (lone := _lone_surrogate(value)):
        yield _no_utf8(lone, where)


def _no_json(kind: str, where: str) -> ArtifactError:
    why = "lists and dicts are written as JSON: None, booleans, numbers, text, lists, and dicts with keys of text"
    return refused(f"{kind} inside of a list or dict", where=where, why=why, next_step="convert it, or ask for pickle by name")


def _lone_surrogate(text: str) -> UnicodeEncodeError | None:
    try:
        text.encode()
    except UnicodeEncodeError as lone:
        return lone
    return None


def _no_utf8(lone: UnicodeEncodeError, where: str) -> ArtifactError:
    next_step = "save text.encode('utf-8', 'surrogateescape') if it came from bytes that are not UTF-8"
    return ArtifactError("The text has no UTF-8", where=f"{where}[{lone.start}]", why=str(lone), next_step=next_step)
