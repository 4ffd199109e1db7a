"""Pydantic models and dataclasses: JSON beside the import path of their class.

What a field's type does not tell comes back as pydantic's JSON has it: under ``Any``, a tuple as a list and NaN as None. A set
is written in the order in which it happens to lie.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from stackgraft.artifacts.serializers.plain import canonical
from stackgraft.artifacts.serializers.protocol import Buffer, Serializer, refused
from stackgraft.errors import ArtifactError, UntrustedArtifactError


class PydanticSerializer(Serializer):
    """Pydantic models by their field names, whatever aliases they have."""

    name = "pydantic"

    def accepts(self, kind: type) -> bool:
        """Tell whether the type is a pydantic model."""
        return issubclass(kind, BaseModel)

    def dump(self, value: Any) -> tuple[Sequence[Buffer], Mapping[str, Any]]:
        """Return the value's JSON, once it is known that the value can be read from it."""
        kind = type(value)
        path = _path_of(kind)
        with _explained("The value cannot be written as JSON and read back", path, "convert the field, or ask for pickle by name"):
            adapter = TypeAdapter(kind)
            document = canonical(adapter.dump_python(value, mode="json", by_alias=False, round_trip=True, warnings="error"))
            adapter.validate_json(document, by_alias=False, by_name=True)
        return [document], {"class": path}

    def load(self, content: memoryview, meta: Mapping[str, Any]) -> Any:
        """Return the value, if its class can be imported."""
        path = meta["class"]
        kind = _imported(path)
        if not (isinstance(kind, type) and self.accepts(kind)):
            raise UntrustedArtifactError(f"The artifact names something that is not of the kind {self.name}", where=path)
        with _explained("The artifact does not fit its class, which has changed", path, "read it with the code that wrote it"):
            return TypeAdapter(kind).validate_json(bytes(content), by_alias=False, by_name=True)


class DataclassSerializer(PydanticSerializer):
    """Dataclasses of the standard library, with fields of any type that pydantic can write as JSON and read back."""

    name = "dataclass"

    def accepts(self, kind: type) -> bool:
        """Tell whether the type is a dataclass."""
        return dataclasses.is_dataclass(kind)


def _path_of(kind: type) -> str:
    path = f"{kind.__module__}:{kind.__qualname__}"
    if kind.__module__ == "__main__" or "<locals>" in path:
        raise _unreachable(path, "no other process could import it")
    try:
        if _imported(path) is kind:
            return path
    except ArtifactError as absent:
        raise _unreachable(path, absent.why) from absent
    raise _unreachable(path, "that path leads to something else")


def _unreachable(path: str, why: str) -> ArtifactError:
    next_step = "move the class to the top level of a module that readers can import, or return its fields as a dict"
    return refused("a value whose class cannot be imported", where=path, why=why, next_step=next_step)


def _imported(path: str) -> Any:
    module, _, name = path.partition(":")
    try:
        return functools.reduce(getattr, name.split("."), importlib.import_module(module))
    except (ImportError, AttributeError) as absent:
        next_step = "install the package that has it, in the version that wrote the artifact"
        raise ArtifactError("The artifact's class cannot be imported", where=path, why=str(absent), next_step=next_step) from absent


@contextmanager
def _explained(what: str, where: str, next_step: str) -> Iterator[None]:
    try:
        yield
    except ValidationError as wrong:
        first = wrong.errors(include_url=False, include_input=False)[0]  # the input may be a secret
        where = ".".join([where, *map(str, first["loc"])])
        raise ArtifactError(what, where=where, why=first["msg"], next_step=next_step) from None
    except (PydanticUserError, ValueError, TypeError) as wrong:
        raise ArtifactError(what, where=where, why=str(wrong).splitlines()[0], next_step=next_step) from wrong
