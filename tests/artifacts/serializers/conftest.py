"""What the tests of serializers share."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stackgraft.artifacts.serializers import for_value, named
from tests.conftest import is_missing

Trip = Callable[..., Any]
ContentOf = Callable[[object], bytes]
Library = Callable[[str], Any]


@pytest.fixture(params=["memory", "file"])
def trip(request: pytest.FixtureRequest, tmp_path: Path) -> Trip:
    """Return what writes a value and reads it back, from memory or from a file."""

    def travel(value: object, name: str | None = None) -> Any:
        buffers, meta = for_value(value, name).dump(value)
        reader, content = named(for_value(value, name).name), b"".join(buffers)
        meta = json.loads(json.dumps(meta))
        if request.param == "memory":
            return reader.load(memoryview(content), meta)
        (tmp_path / "value").write_bytes(content)
        return reader.load_file(tmp_path / "value", meta)

    return travel


@pytest.fixture
def library() -> Library:
    """Return what imports an optional library."""

    def imported(name: str) -> Any:
        try:
            return importlib.import_module(name)
        except ImportError:
            is_missing(f"{name} is not installed")

    return imported


@pytest.fixture(scope="session")
def content_of() -> ContentOf:
    """Return what gives the bytes that are written for a value."""
    return lambda value: b"".join(for_value(value).dump(value)[0])
