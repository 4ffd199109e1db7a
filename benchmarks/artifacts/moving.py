"""Families that move files: one large file and many small ones, on the sink and on SeaweedFS, and a folder that is saved again."""

from __future__ import annotations

import filecmp
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from artifacts.bench import OURS, Bench, Client
from artifacts.servers import Server, seaweed, sink

STACKGRAFT, S3FS = Client(OURS, OURS), Client("s3fs", "s3fs")
BOTO3, BOTO3_LOOP = Client("boto3", "boto3", {"threads": 16}), Client("boto3, a plain loop", "boto3", {"threads": 1})
ROUNDS = 3
LARGE, LARGE_ON_SERVER = 2 << 30, 512 << 20
SMALL_FILES, SMALL_FILES_ON_SERVER = (10_000, 4 << 10), (1_000, 64 << 10)
AGAIN_FILES = (1_000, 1 << 20)
AGAIN = "1,000 x 1 MiB, SeaweedFS"
CHANGED = 0.01
SETTLED_SECONDS = 2.1
"""The index distrusts files that are younger than two seconds."""
PIECE = 8 << 20


def large_on_sink(bench: Bench) -> None:
    """Send and fetch 2 GiB: what the clients themselves cost."""
    with _file(bench, LARGE) as source, sink(bench.scratch) as server:
        _there_and_back(bench, "2 GiB, sink", ("put", "get"), source, server, BOTO3, S3FS, STACKGRAFT)


def large_on_server(bench: Bench) -> None:
    """Send and fetch 512 MiB on a real server, where every client verifies what it verifies by default."""
    with _file(bench, LARGE_ON_SERVER) as source, seaweed(bench.scratch) as server:
        _there_and_back(bench, "512 MiB, SeaweedFS", ("put", "get"), source, server, BOTO3, STACKGRAFT)


def small_on_sink(bench: Bench) -> None:
    """Send and fetch 10,000 files of 4 KiB."""
    with _folder(bench, *SMALL_FILES) as source, sink(bench.scratch) as server:
        _there_and_back(bench, "10,000 x 4 KiB, sink", ("put_many", "get_many"), source, server, S3FS, STACKGRAFT)


def small_on_server(bench: Bench) -> None:
    """Send and fetch 1,000 files of 64 KiB."""
    with _folder(bench, *SMALL_FILES_ON_SERVER) as source, seaweed(bench.scratch) as server:
        _there_and_back(bench, "1,000 x 64 KiB, SeaweedFS", ("put_many", "get_many"), source, server, BOTO3, BOTO3_LOOP, STACKGRAFT)


def again(bench: Bench) -> None:
    """Save a folder of 1,000 x 1 MiB, and once more with one file in a hundred changed: without an index, and with it."""
    for number, clients in bench.rounds(ROUNDS, (BOTO3, STACKGRAFT)):
        with _folder(bench, *AGAIN_FILES) as source, seaweed(bench.scratch) as server:
            time.sleep(SETTLED_SECONDS)
            for client in clients:
                request = {**_request(bench, server, source, client, number), "operation": "put_many"}
                _save_again(bench, client, request, server)
                _removed(request)


def _save_again(bench: Bench, client: Client, request: Mapping[str, Any], server: Server) -> None:
    """Save, save again without an index (the peer beside what it has, or the old version would be gone), and with it."""
    beside = {"key": f"{request['key']}-again"} if client is BOTO3 else {}
    bench.measure(AGAIN, "first", client, request)
    _change(Path(request["source"]))
    shutil.rmtree(Path(request["cache"], "index"), ignore_errors=True)
    bench.measure(AGAIN, "again", client, {**request, **beside})
    folder = sum(path.stat().st_size for path in Path(request["source"]).iterdir())
    bench.stored.setdefault(client.label, []).append(server.stored(str(request["key"])) / folder)
    if client is STACKGRAFT:
        _change(Path(request["source"]))
        bench.measure(AGAIN, "again, with the index", client, request)


def _there_and_back(bench: Bench, case: str, operations: Sequence[str], source: Path, server: Server, *clients: Client) -> None:
    put, get = operations
    for number, turn in bench.rounds(ROUNDS, clients):
        for client in turn:
            request = _request(bench, server, source, client, number)
            sent = bench.measure(case, "put", client, {**request, "operation": put})
            if sent:
                fetched = bench.measure(case, "get", client, {**request, "operation": get, "saved": sent.result})
                if fetched and not server.sink and not number:
                    _compare(source, Path(fetched.result or request["target"]))
            _removed(request)


def _request(bench: Bench, server: Server, source: Path, client: Client, number: int) -> Mapping[str, Any]:
    key, target = f"{client.label.replace(', ', '-').replace(' ', '-')}-{number}", bench.scratch / "target"
    return {**server.request(key), "source": str(source), "target": str(target), "cache": str(bench.scratch / "cache")}


def _removed(request: Mapping[str, Any]) -> None:
    target = Path(request["target"])
    shutil.rmtree(request["cache"], ignore_errors=True)
    shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)


def _compare(source: Path, target: Path) -> None:
    """Stop the benchmark where what came back is not what was sent.

    Raises:
        AssertionError: It is not.
    """
    names = sorted(path.name for path in source.iterdir()) if source.is_dir() else []
    pairs = [(source / name, target / name) for name in names] or [(source, target)]
    wrong = [str(sent) for sent, back in pairs if not filecmp.cmp(sent, back, shallow=False)]
    if wrong:
        raise AssertionError(f"what came back is not what was sent: {json.dumps(wrong[:3])}")


@contextmanager
def _file(bench: Bench, size: int) -> Iterator[Path]:
    path = bench.scratch / "source.bin"
    left = bench.scaled(size)
    with path.open("wb") as file:
        while left:
            left -= file.write(os.urandom(min(left, PIECE)))
    yield path
    path.unlink()


@contextmanager
def _folder(bench: Bench, count: int, size: int) -> Iterator[Path]:
    folder = bench.scratch / "source"
    folder.mkdir()
    for number in range(bench.scaled(count, least=10)):
        (folder / f"{number:05}").write_bytes(os.urandom(size))
    yield folder
    shutil.rmtree(folder)


def _change(folder: Path) -> None:
    names = sorted(path.name for path in folder.iterdir())
    for name in names[:: int(1 / CHANGED)]:
        with (folder / name).open("r+b") as file:
            file.write(os.urandom(64))
