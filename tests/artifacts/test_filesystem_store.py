"""The content-addressed store on a folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stackgraft.artifacts.content import CHUNK_SIZE
from stackgraft.artifacts.ref import ArtifactRef, check_name
from stackgraft.errors import ArtifactCorruptedError, ArtifactError, BackendError, UntrustedArtifactError
from stackgraft.local.filesystem_store import FilesystemArtifactStore
from stackgraft.testing import ArtifactStoreContract


@pytest.fixture
def store(tmp_path: Path) -> FilesystemArtifactStore:
    return FilesystemArtifactStore(path=tmp_path / "store", cache=tmp_path / "cache")


class TestFilesystemArtifactStore(ArtifactStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> FilesystemArtifactStore:
        return FilesystemArtifactStore(path=tmp_path / "store", cache=tmp_path / "cache")


def test_pickle_is_written_only_when_asked_for_and_read_only_when_trusted(store: FilesystemArtifactStore) -> None:
    ref = store.save("thing", {1, 2}, serializer="pickle")
    with pytest.raises(UntrustedArtifactError, match="trust_pickle"):
        store.load(ref)
    assert store.model_copy(update={"trust_pickle": True}).load(ref) == {1, 2}


@pytest.mark.parametrize("flipped", [0, -1])
def test_a_flipped_bit_in_any_object_is_refused_by_its_digest(store: FilesystemArtifactStore, flipped: int) -> None:
    ref = store.save("blob", os.urandom(CHUNK_SIZE + 1000))
    for chunk in sorted(store.path.glob("cas/sha256/*/*")):
        content = bytearray(chunk.read_bytes())
        content[flipped] ^= 1
        chunk.write_bytes(content)
        with pytest.raises(ArtifactCorruptedError, match=chunk.name):
            store.load(ref)
        content[flipped] ^= 1
        chunk.write_bytes(content)
    assert len(store.load(ref)) == CHUNK_SIZE + 1000


def test_a_missing_chunk_is_named(store: FilesystemArtifactStore) -> None:
    ref = store.save("n", b"content")
    for chunk in store.path.glob("cas/sha256/*/*"):
        if ref.digest.endswith(chunk.name):
            continue
        chunk.unlink()
        with pytest.raises(ArtifactCorruptedError, match=chunk.name):
            store.load(ref)


def test_an_artifact_of_a_newer_version_says_so(store: FilesystemArtifactStore) -> None:
    ref = store.save("n", 1)
    newer = json.dumps({"format": 99, "type": "json", "entries": [], "meta": {}}).encode()
    import hashlib  # noqa: PLC0415

    store._put(hashlib.sha256(newer).hexdigest(), newer)
    future = ArtifactRef(name="n", version=1, digest=f"sha256:{hashlib.sha256(newer).hexdigest()}", type="json", size=0)
    with pytest.raises(ArtifactError, match="newer stackgraft"):
        store.load(future)
    assert store.load(ref) == 1


def test_small_files_share_packs(store: FilesystemArtifactStore, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for index in range(500):
        (folder / f"{index}.txt").write_text(str(index))
    loaded = store.load(store.save("many", folder))
    assert len(list(store.path.glob("cas/sha256/*/*"))) == 2
    assert all((loaded / f"{index}.txt").read_text() == str(index) for index in range(500))


def test_links_and_modes_survive_and_a_link_that_leads_out_is_refused(store: FilesystemArtifactStore, tmp_path: Path) -> None:
    folder = tmp_path / "linked"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "tool").write_text("#!/bin/sh\n")
    (folder / "bin" / "tool").chmod(0o755)
    (folder / "latest").symlink_to("bin/tool")
    loaded = store.load(store.save("linked", folder))
    assert os.access(loaded / "bin" / "tool", os.X_OK)
    assert (loaded / "latest").readlink() == Path("bin/tool")
    (folder / "out").symlink_to("/etc")
    with pytest.raises(ArtifactError, match="leads out"):
        store.save("linked", folder)


def test_a_manifest_depends_on_content_alone(tmp_path: Path) -> None:
    digests = set()
    for name, stamp in (("one", 1_000), ("two", 2_000_000)):
        folder = tmp_path / name / "report"
        folder.mkdir(parents=True)
        for file in ("b.txt", "a.txt") if stamp == 1_000 else ("a.txt", "b.txt"):
            (folder / file).write_text(file)
            os.utime(folder / file, (stamp, stamp))
        store = FilesystemArtifactStore(path=tmp_path / name / "store", cache=tmp_path / "cache")
        digests.add(store.save("report", folder).digest)
    assert len(digests) == 1


def test_racing_writers_share_versions_without_gaps_or_doubles(store: FilesystemArtifactStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        refs = list(pool.map(lambda index: store.save("raced", index), range(40)))
    assert sorted(ref.version for ref in refs) == list(range(1, 41)) == list(store.versions("raced"))
    assert sorted(store.load(ref) for ref in refs) == list(range(40))


def test_a_writer_killed_at_any_step_leaves_the_previous_version_readable(store: FilesystemArtifactStore) -> None:
    first = store.save("n", b"first" * 1000)
    code = """
import os, signal, sys, obstore
from stackgraft.artifacts import open_store
import stackgraft.artifacts.store as module
left = int(sys.argv[3])
class Dying:
    def __getattr__(self, name): return getattr(obstore, name)
    def put(self, *args, **options):
        global left
        left -= 1
        if left < 0: os.kill(os.getpid(), signal.SIGKILL)
        return obstore.put(*args, **options)
module.obstore = Dying()
open_store({"flavor": "local", "path": sys.argv[1], "cache": sys.argv[2]}).save("n", b"second" * 1000)
"""
    for puts in range(3):
        command = [sys.executable, "-c", code, str(store.path), str(store.cache), str(puts)]
        assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
        assert store.resolve("n") == first
        assert store.load("n") == b"first" * 1000
    assert store.save("n", b"second" * 1000).version == 2


def test_a_store_that_cannot_be_written_says_where(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BackendError, match="store"):
        FilesystemArtifactStore(path=tmp_path / "file" / "store", cache=tmp_path / "cache").save("n", 1)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=JSON)
def test_any_json_comes_back(store: FilesystemArtifactStore, value: object) -> None:
    assert store.load(store.save("any", value)) == value


@settings(max_examples=200)
@given(name=st.text(max_size=30))
def test_a_name_either_is_refused_or_is_a_safe_path(name: str) -> None:
    try:
        check_name(name)
    except ArtifactError:
        return
    assert name
    assert not name.startswith(("/", "."))
    assert ".." not in name.split("/")
