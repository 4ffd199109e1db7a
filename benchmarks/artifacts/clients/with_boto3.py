"""boto3 at its defaults: one file by its transfer manager, many files by 16 threads or a plain loop."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
from timing import Operation, answer

THREADS = 16


def _client(request: Mapping[str, Any]) -> Any:
    return boto3.client("s3", endpoint_url=request["endpoint"], region_name="us-east-1")


def put(request: Mapping[str, Any]) -> Operation:
    """Send one file."""
    client = _client(request)
    return lambda: client.upload_file(request["source"], request["bucket"], request["key"])


def get(request: Mapping[str, Any]) -> Operation:
    """Fetch one file."""
    client = _client(request)
    return lambda: client.download_file(request["bucket"], request["key"], request["target"])


def put_many(request: Mapping[str, Any]) -> Operation:
    """Send each file of a folder."""
    client, names = _client(request), sorted(os.listdir(request["source"]))  # noqa: PTH208 - names are what is needed

    def send(name: str) -> None:
        client.put_object(Bucket=request["bucket"], Key=f"{request['key']}/{name}", Body=Path(request["source"], name).read_bytes())

    return lambda: _each(send, names, request["threads"])


def get_many(request: Mapping[str, Any]) -> Operation:
    """Fetch each file that `put_many` sent."""
    client, names = _client(request), sorted(os.listdir(request["source"]))  # noqa: PTH208 - as above
    Path(request["target"]).mkdir()

    def fetch(name: str) -> None:
        body = client.get_object(Bucket=request["bucket"], Key=f"{request['key']}/{name}")["Body"]
        Path(request["target"], name).write_bytes(body.read())

    return lambda: _each(fetch, names, request["threads"])


def _each(function: Callable[[str], None], names: list[str], threads: int) -> None:
    if threads == 1:
        for name in names:
            function(name)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(function, names))


if __name__ == "__main__":
    answer({"put": put, "get": get, "put_many": put_many, "get_many": get_many})
