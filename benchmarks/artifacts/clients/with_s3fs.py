"""s3fs at its defaults; lists of files go through its own batches."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import s3fs
from timing import Operation, answer


def _filesystem(request: Mapping[str, Any]) -> Any:
    return s3fs.S3FileSystem(endpoint_url=request["endpoint"], client_kwargs={"region_name": "us-east-1"}, skip_instance_cache=True)


def put(request: Mapping[str, Any]) -> Operation:
    """Send one file."""
    filesystem = _filesystem(request)
    return lambda: filesystem.put(request["source"], f"{request['bucket']}/{request['key']}")


def get(request: Mapping[str, Any]) -> Operation:
    """Fetch one file."""
    filesystem = _filesystem(request)
    return lambda: filesystem.get(f"{request['bucket']}/{request['key']}", request["target"])


def put_many(request: Mapping[str, Any]) -> Operation:
    """Send each file of a folder."""
    filesystem, names = _filesystem(request), sorted(os.listdir(request["source"]))  # noqa: PTH208 - names are what is needed
    return lambda: filesystem.put(*_paths(request, names, request["source"]))


def get_many(request: Mapping[str, Any]) -> Operation:
    """Fetch each file that `put_many` sent."""
    filesystem, names = _filesystem(request), sorted(os.listdir(request["source"]))  # noqa: PTH208 - as above
    Path(request["target"]).mkdir()
    return lambda: _nothing(filesystem.get(*reversed(_paths(request, names, request["target"]))))


def _paths(request: Mapping[str, Any], names: list[str], folder: str) -> tuple[list[str], list[str]]:
    return [f"{folder}/{name}" for name in names], [f"{request['bucket']}/{request['key']}/{name}" for name in names]


def _nothing(_: object) -> None:
    """Drop what is not JSON."""


if __name__ == "__main__":
    answer({"put": put, "get": get, "put_many": put_many, "get_many": get_many})
