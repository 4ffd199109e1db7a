"""The content-addressed store on a folder."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stackgraft.artifacts.content import CHUNK_SIZE
from stackgraft.artifacts.ref import ArtifactRef, check_name
from stackgraft.artifacts.store import ObjectArtifactStore
from stackgraft.errors import ArtifactCorruptedError, ArtifactError, ArtifactNotFoundError, BackendError, UntrustedArtifactError
from stackgraft.local.filesystem_store import FilesystemArtifactStore
from tests.conftest import age


def test_pickle_is_written_only_when_asked_for_and_read_only_when_trusted(store: ObjectArtifactStore) -> None:
    ref = store.save("thing", {1, 2}, serializer="pickle")
    with pytest.raises(UntrustedArtifactError, match="trust_pickle"):
        store.load(ref)
    assert store.model_copy(update={"trust_pickle": True}).load(ref) == {1, 2}


def objects_in(store: ObjectArtifactStore) -> dict[str, bytes]:
    """Return the chunks and manifests by key."""
    return {found["path"]: bytes(store.objects.read(found["path"])) for found in store.objects.walk("cas")}


@pytest.mark.parametrize("flipped", [0, -1])
def test_a_flipped_bit_in_any_object_is_refused_by_its_digest(store: ObjectArtifactStore, flipped: int) -> None:
    ref = store.save("blob", os.urandom(CHUNK_SIZE + 1000))
    for key, content in objects_in(store).items():
        damaged = bytearray(content)
        damaged[flipped] ^= 1
        store.objects.replace(key, damaged)
        with pytest.raises(ArtifactCorruptedError, match=key.rpartition("/")[2]):
            store.load(ref)
        store.objects.replace(key, content)
    assert len(store.load(ref)) == CHUNK_SIZE + 1000


def test_a_missing_chunk_is_named(store: ObjectArtifactStore) -> None:
    ref = store.save("n", b"content")
    [key] = [key for key in objects_in(store) if not key.endswith(ref.digest.partition(":")[2])]
    store.objects.delete([key])
    with pytest.raises(ArtifactCorruptedError, match=key.rpartition("/")[2]):
        store.load(ref)


def test_an_artifact_of_a_newer_version_says_so(store: ObjectArtifactStore) -> None:
    ref = store.save("n", 1)
    newer = json.dumps({"format": 99, "type": "json", "entries": [], "chunks": [], "meta": {}}).encode()
    digest = hashlib.sha256(newer).hexdigest()
    store.objects.put_chunk(digest, newer, plain=True)
    with pytest.raises(ArtifactError, match="newer stackgraft"):
        store.load(replace(ref, digest=f"sha256:{digest}"))
    assert store.load(ref) == 1


@pytest.mark.parametrize(
    "entries",
    [
        [{"path": "../evil", "size": 1}],
        [{"path": "/evil", "size": 1}],
        [{"path": "a/../../evil", "size": 1}],
        [{"path": "", "size": 1}],
        [{"path": "a"}, {"path": "a", "size": 1}],
        [{"path": "a", "target": "/victim"}, {"path": "a/evil", "size": 1}],
        [{"path": "a", "target": "../victim"}],
        [{"path": "a", "target": "b"}, {"path": "b", "target": ".."}],
        [{"path": "b"}, {"path": "b/up", "target": ".."}, {"path": "c", "target": "b/up/.."}],
    ],
    ids=str,
)
def test_a_manifest_cannot_lead_out_of_the_cache(local: FilesystemArtifactStore, entries: list[dict[str, object]]) -> None:
    content = b"x"
    local.objects.put_chunk(hashlib.sha256(content).hexdigest(), content)
    files = [index for index, entry in enumerate(entries) if "size" in entry]
    chunks = [[hashlib.sha256(content).hexdigest(), [[index, 0, 1]]] for index in files]
    document = {"format": 1, "type": "directory", "entries": entries, "chunks": chunks, "meta": {}}
    manifest = json.dumps(document).encode()
    digest = hashlib.sha256(manifest).hexdigest()
    local.objects.put_chunk(digest, manifest, plain=True)
    with pytest.raises(ArtifactCorruptedError):
        local.load(ArtifactRef(name="n", version=1, digest=f"sha256:{digest}", type="directory", size=1))
    assert not list(local.cache.glob("**/evil"))
    assert {path.name for path in local.cache.parent.iterdir()} <= {"store", "cache"}


def test_small_files_share_packs(store: ObjectArtifactStore, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for index in range(500):
        (folder / f"{index}.txt").write_text(str(index))
    loaded = store.load(store.save("many", folder))
    assert len(objects_in(store)) == 2
    assert all((loaded / f"{index}.txt").read_text() == str(index) for index in range(500))


def test_links_and_modes_survive_and_a_link_that_leads_out_is_refused(store: ObjectArtifactStore, tmp_path: Path) -> None:
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


@pytest.mark.parametrize("writers", [8, 32])
def test_racing_writers_share_versions_without_gaps_or_doubles(raced_store: ObjectArtifactStore, writers: int) -> None:
    with ThreadPoolExecutor(writers) as pool:
        refs = list(pool.map(lambda index: raced_store.save("raced", index), range(writers)))
    assert sorted(ref.version for ref in refs) == list(range(1, writers + 1)) == list(raced_store.versions("raced"))
    assert sorted(raced_store.load(ref) for ref in refs) == list(range(writers))


def test_racing_writers_of_equal_content_agree_on_few_versions_that_all_load(raced_store: ObjectArtifactStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        refs = set(pool.map(lambda _: raced_store.save("same", "content"), range(8)))
    assert list(raced_store.versions("same")) == list(range(1, len(raced_store.versions("same")) + 1))
    assert {raced_store.load(ref) for ref in refs} == {"content"}


DYING_WRITER = """
import os, signal, sys, obstore
from pathlib import Path
from stackgraft.artifacts import open_store
import stackgraft.artifacts.objects as module
left = int(sys.argv[3])
class Dying:
    def __getattr__(self, name): return getattr(obstore, name)
    def put(self, *args, **options):
        global left
        left -= 1
        if left < 0: os.kill(os.getpid(), signal.SIGKILL)
        return obstore.put(*args, **options)
store = open_store({"flavor": "local", "path": sys.argv[1], "cache": sys.argv[2], "unchecked_writes": True})
module.obstore = Dying()
store.save("n", b"second" * 1000)
"""


def test_a_writer_killed_at_any_step_leaves_the_previous_version_readable_and_garbage_that_gc_finds(local: FilesystemArtifactStore) -> None:
    first = local.save("n", b"first" * 1000)
    for puts in range(3):  # the chunk, the manifest, the version
        command = [sys.executable, "-c", DYING_WRITER, str(local.path), str(local.cache), str(puts)]
        assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
        assert local.resolve("n") == first
        assert local.load("n") == b"first" * 1000
    age(local)
    assert local.gc().deleted == 2
    assert local.load("n") == b"first" * 1000
    assert local.save("n", b"second" * 1000).version == 2


def test_a_name_below_another_is_not_its_version(store: ObjectArtifactStore) -> None:
    store.save("prices/2024", 1)
    assert list(store.versions("prices")) == []
    assert store.save("prices", 2).version == 1
    assert store.names() == ["prices", "prices/2024"]


def test_a_tag_moves_only_from_where_it_is_said_to_be(store: ObjectArtifactStore) -> None:
    first, second = store.save("n", 1), store.save("n", 2)
    store.tag(first, "stable", instead_of=0)
    with pytest.raises(ArtifactError, match="points to version 1, not 0"):
        store.tag(second, "stable", instead_of=0)
    store.tag(second, "stable", instead_of=1)
    assert store.resolve("n@stable") == second


def test_of_racing_moves_of_a_tag_one_wins(raced_store: ObjectArtifactStore) -> None:
    first = raced_store.save("n", 0)
    raced_store.tag(first, "stable")
    refs = [raced_store.save("n", index) for index in range(1, 9)]

    def moved(ref: ArtifactRef) -> bool:
        try:
            raced_store.tag(ref, "stable", instead_of=1)
        except ArtifactError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        wins = list(pool.map(moved, refs))
    assert wins.count(True) == 1
    assert raced_store.resolve("n@stable") == refs[wins.index(True)]


def test_a_deleted_version_is_gone_and_its_number_is_never_given_again(store: ObjectArtifactStore) -> None:
    first, second = store.save("n", 1), store.save("n", 2)
    store.delete(second)
    with pytest.raises(ArtifactNotFoundError, match="n@1"):
        store.resolve("n@2")
    assert store.resolve("n") == first
    assert list(store.versions("n")) == [1]
    assert store.save("n", 2).version == 3


def test_a_version_that_does_not_exist_names_the_nearest(store: ObjectArtifactStore) -> None:
    store.save("prices", 1)
    with pytest.raises(ArtifactNotFoundError, match="the nearest is prices@1"):
        store.resolve("prices@7")
    with pytest.raises(ArtifactNotFoundError, match="did you mean 'prices'"):
        store.resolve("price")


def test_large_arrays_are_mapped_from_the_cache_and_not_read_again(store: ObjectArtifactStore) -> None:
    array = np.arange(3 * CHUNK_SIZE // 8 + 5, dtype="f8")
    ref = store.save("array", array)
    first, again = store.load(ref), store.load(ref)
    assert np.array_equal(first, array)
    assert isinstance(again, np.memmap)
    assert not again.flags.writeable


def test_text_is_compressed_where_it_pays_and_noise_is_not(local: FilesystemArtifactStore) -> None:
    compressing = local.model_copy(update={"compression": "auto"})
    text, noise = b"the same line again\n" * 500_000, os.urandom(CHUNK_SIZE)
    refs = compressing.save("text", text), compressing.save("noise", noise)
    stored = sum(path.stat().st_size for path in local.path.glob("cas/sha256/*/*"))
    assert CHUNK_SIZE < stored < CHUNK_SIZE + len(text) / 20
    assert [bytes(local.load(ref)) == content for ref, content in zip(refs, (text, noise), strict=True)] == [True, True]
    assert local.save("text", text) == refs[0]  # equal content is one version, compressed or not


def test_a_damaged_frame_is_refused(local: FilesystemArtifactStore) -> None:
    compressing = local.model_copy(update={"compression": "auto"})
    ref = compressing.save("text", b"the same line again\n" * 5000)
    for chunk in local.path.glob("cas/sha256/*/*"):
        content = chunk.read_bytes()
        if content.startswith(b"\x28\xb5\x2f\xfd"):
            for damaged in (content[:-1], content[:20] + b"\0" + content[21:], b"\x28\xb5\x2f\xfd" + bytes(20)):
                chunk.write_bytes(damaged)
                with pytest.raises(ArtifactCorruptedError, match=chunk.name):
                    local.load(ref)
            chunk.write_bytes(content)
    assert local.load(ref) == b"the same line again\n" * 5000


def test_a_disk_that_fills_up_midway_leaves_no_version(local: FilesystemArtifactStore) -> None:
    code = """
import resource, signal, sys
from stackgraft.artifacts import open_store
from stackgraft.errors import BackendError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4_000_000, 4_000_000))
try:
    open_store({"flavor": "local", "path": sys.argv[1], "cache": sys.argv[2]}).save("big", bytes(7_000_000))
except BackendError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code, str(local.path), str(local.cache)], capture_output=True, text=True, check=True)
    assert "The artifact store refused" in done.stdout
    assert str(local.path) in done.stdout
    assert list(local.versions("big")) == []
    assert local.save("big", bytes(7_000_000)).version == 1


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
def test_any_json_comes_back(store: ObjectArtifactStore, value: object) -> None:
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
