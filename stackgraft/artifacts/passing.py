"""What an engine passes between tasks: small JSON as it is, everything else as the artifact that it became.

Unlike a reference that a task returns on purpose, what is kept here comes back as the value. Errors are kept by type and words.
"""

from __future__ import annotations

import builtins
import hashlib
import json
from collections.abc import Callable
from typing import Any

from stackgraft.artifacts.ref import LONGEST_NAME, ArtifactRef, is_ref
from stackgraft.errors import UnserializableError

INLINE_BYTES = 16 << 10
"""JSON of at most this many bytes stays with the engine."""
_MARK = "$value"
_ERROR = "$error"
Save = Callable[[str, object], ArtifactRef]
Load = Callable[[ArtifactRef], Any]


def keep(value: Any, name: str, save: Save, *, inline_bytes: int = INLINE_BYTES) -> Any:
    """Return what the engine keeps of a value; of a container that is not JSON, its items one by one.

    Args:
        value: What a task returned.
        name: The artifact that it becomes; items add their place.
        save: Stores a value under a name.
        inline_bytes: JSON up to this size stays as it is.

    Returns:
        JSON, but for what no serializer takes: that stays, for the engine to judge.
    """
    if isinstance(value, ArtifactRef | BaseException):
        return _told(value)
    size = _json_size(value)
    if size is not None and size <= inline_bytes:
        return value
    if size is None and type(value) is dict and all(isinstance(key, str) for key in value):
        return {key: keep(item, f"{name}.{_segment(key)}", save, inline_bytes=inline_bytes) for key, item in value.items()}
    if size is None and type(value) in {list, tuple}:
        return type(value)(keep(item, f"{name}.{index}", save, inline_bytes=inline_bytes) for index, item in enumerate(value))
    return _saved(value, name, save, plain=size is not None)


def _saved(value: Any, name: str, save: Save, *, plain: bool) -> Any:
    if isinstance(value, dict | list | tuple) and not plain:
        return value  # of a type of its own, or with keys that are no text: it would come back as another
    try:
        return _mark(save(_short(name), value))
    except UnserializableError:
        return value


def restore(kept: Any, load: Load) -> Any:
    """Return the value of which `keep` made this.

    Raises:
        ArtifactNotFoundError, ArtifactCorruptedError, UntrustedArtifactError: It cannot be had.
    """
    if isinstance(kept, dict):
        if kept.keys() == {_MARK} and is_ref(kept[_MARK]):
            return load(ArtifactRef.from_json(kept[_MARK]))
        if kept.keys() == {_ERROR}:
            return _error(*kept[_ERROR])
        return {key: restore(item, load) for key, item in kept.items()}
    if type(kept) in {list, tuple}:
        return type(kept)(restore(item, load) for item in kept)
    return kept


def artifact_name(*parts: str) -> str:
    """Return the name of an artifact from names of pipelines and tasks, which may have any letters.

    >>> artifact_name("my flow", "train.model")
    'my-flow/train-model'
    """
    return "/".join(_segment(part) for part in parts)


def _segment(part: str) -> str:
    plain = "".join(letter if letter.isascii() and (letter.isalnum() or letter == "_") else "-" for letter in part)
    return plain.strip("-_")[:60] or "x"


def _told(value: ArtifactRef | BaseException) -> dict[str, Any]:
    if isinstance(value, ArtifactRef):
        return value.to_json()
    return {_ERROR: [f"{type(value).__module__}.{type(value).__qualname__}", str(value)]}


def _error(kind: str, message: str) -> Exception:
    """Return an error of the same built-in type; of any other only the words are known, since nothing is unpickled."""
    found: Any = getattr(builtins, kind.removeprefix("builtins."), None)
    plain = isinstance(found, type) and issubclass(found, Exception) and not issubclass(found, UnicodeError)
    made: Exception = found(message) if plain else RuntimeError(f"{kind}: {message}")
    return made


def _short(name: str) -> str:
    """Return a name that stores take: the end of a long one becomes a hash."""
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[: LONGEST_NAME - 20].rstrip('./-_')}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def _mark(ref: ArtifactRef) -> dict[str, Any]:
    return {_MARK: ref.to_json()}


def _json_size(value: Any) -> int | None:
    """Return the size of plain JSON; None for anything else. Tuples are none: they would come back as lists."""
    if not _is_json(value):
        return None
    return len(json.dumps(value))


def _is_json(value: Any) -> bool:
    if type(value) is dict:
        return all(isinstance(key, str) and _is_json(item) for key, item in value.items())
    if type(value) is list:
        return all(map(_is_json, value))
    return value is None or type(value) in {bool, int, float, str}
