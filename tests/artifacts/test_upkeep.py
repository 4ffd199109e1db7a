"""Garbage, damage, clocks, storages that ignore conditions, and files that did not change."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stackgraft.artifacts import objects as objects_module
from stackgraft.artifacts import upkeep
from stackgraft.artifacts.objects import Objects
from stackgraft.artifacts.store import ObjectArtifactStore
from stackgraft.aws.s3 import S3ArtifactStore
from stackgraft.errors import ArtifactCorruptedError, BackendError, ConfigError
from stackgraft.local.filesystem_store import FilesystemArtifactStore
from tests.conftest import S3Server, age


def test_gc_keeps_what_versions_name_and_what_is_young(local: FilesystemArtifactStore) -> None:
    kept, dropped = local.save("kept", b"kept"), local.save("dropped", b"dropped")
    age(local)
    local.delete(dropped)
    assert local.gc().deleted == 0  # deleted less than a day ago
    age(local)
    assert local.gc(dry_run=True).deleted == 2
    report = local.gc()
    assert (report.deleted, report.kept) == (2, 2)
    assert report.bytes > len(b"dropped")
    assert local.load(kept) == b"kept"
    assert local.verify().damaged == ()


def test_gc_keeps_a_chunk_that_a_living_version_shares_with_a_deleted_one(local: FilesystemArtifactStore) -> None:
    first = local.save("one", b"shared")
    second = local.save("two", b"shared")
    local.delete(first)
    age(local)
    local.gc()
    assert local.load(second) == b"shared"


def test_a_chunk_that_is_found_old_and_unnamed_is_renewed_before_it_is_named(local: FilesystemArtifactStore) -> None:
    local.delete(local.save("n", b"content"))
    age(local)
    again = local.save("m", b"content")  # as a writer does just before the collection sweeps
    assert all(time.time() - path.stat().st_mtime < 3600 for path in local.path.glob("cas/sha256/*/*"))
    local.gc()
    assert local.load(again) == b"content"


def test_a_store_whose_clock_is_behind_its_own_objects_is_not_collected(local: FilesystemArtifactStore) -> None:
    local.delete(local.save("n", b"content"))
    age(local, hours=-2)
    with pytest.raises(BackendError, match="clock cannot be trusted"):
        local.gc()
    assert len(list(local.path.glob("cas/sha256/*/*"))) == 2


def test_verify_names_what_is_damaged_and_who_needs_it(store: ObjectArtifactStore) -> None:
    good, bad = store.save("good", b"good"), store.save("bad", b"bad")
    [chunk] = store.manifest(bad).chunks
    store.objects.replace(f"cas/sha256/{chunk.digest[:2]}/{chunk.digest}", b"bat")
    store.objects.delete([f"cas/sha256/{good.digest[7:9]}/{good.digest[7:]}"])
    [damaged, absent] = sorted(store.verify().damaged)
    assert "missing" in absent
    assert good.digest[7:] in absent
    assert chunk.digest in damaged
    assert "needed by bad@1" in damaged


def test_a_storage_that_ignores_conditions_is_refused_unless_the_user_insists(
    local: FilesystemArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects_module, "obstore", Careless(objects_module.obstore))
    with pytest.raises(BackendError, match="ignores If-None-Match"):
        local.save("n", 1)
    assert list(local.versions("n")) == []
    insisting = local.model_copy(update={"unchecked_writes": True})
    assert insisting.load(insisting.save("n", 1)) == 1


class Careless:
    """obstore over a server that treats each conditional put as a plain one, as four of seven S3 servers do."""

    def __init__(self, real: Any) -> None:
        self.real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def put(self, storage: Any, key: str, content: Any, **options: Any) -> Any:
        return self.real.put(storage, key, content, **{**options, "mode": "overwrite"})


def settled(folder: Path) -> None:
    """Let a folder's files have changed a minute ago; only then does the index trust what the disk says."""
    then = time.time() - 60
    for path in [*folder.glob("**/*")]:
        os.utime(path, (then, then), follow_symlinks=False)


@pytest.fixture
def calm_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a minute pass between a change of a file and its reading: nobody can set a ctime."""
    from stackgraft.artifacts import stat_index  # noqa: PLC0415

    monkeypatch.setattr(stat_index, "_RACY_SECONDS", -60.0)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record the files that are read."""
    from stackgraft.artifacts.files import BlockReader  # noqa: PLC0415

    seen: list[str] = []
    real = BlockReader._fill

    def fill(self: BlockReader, view: memoryview, index: int, offset: int) -> None:
        seen.append(self.tree.entries[index].path)
        real(self, view, index, offset)

    monkeypatch.setattr(BlockReader, "_fill", fill)
    return seen


@pytest.mark.usefixtures("calm_clock")
def test_unchanged_files_are_not_read_again_and_changed_ones_are(store: ObjectArtifactStore, tmp_path: Path, reads: list[str]) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for index in range(3):
        (folder / f"{index}.bin").write_bytes(os.urandom(1_100_000))
    first = store.save("data", folder)
    reads.clear()
    assert store.save("data", folder) == first
    assert reads == []
    (folder / "1.bin").write_bytes(os.urandom(1_100_000))
    second = store.save("data", folder)
    assert reads == ["1.bin"]
    assert (store.load(second) / "1.bin").read_bytes() == (folder / "1.bin").read_bytes()


def test_a_file_that_changed_a_moment_ago_is_read_again(local: FilesystemArtifactStore, tmp_path: Path, reads: list[str]) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(b"a" * 100)
    local.save("file", path)
    reads.clear()
    local.save("file", path)
    assert reads == ["file.bin"]


@pytest.mark.usefixtures("calm_clock")
def test_the_index_is_not_believed_once_its_version_is_deleted(local: FilesystemArtifactStore, tmp_path: Path, reads: list[str]) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(b"a" * 100)
    local.delete(local.save("file", path))
    age(local)
    local.gc()
    reads.clear()
    again = local.save("file", path)
    assert reads == ["file.bin"]
    assert local.load(again).read_bytes() == b"a" * 100


def test_what_the_newest_version_has_is_not_sent_again(local: FilesystemArtifactStore, monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.arange(3_000_000, dtype="f8")
    local.save("array", array)
    sent: list[str] = []
    real = Objects.put_chunk
    monkeypatch.setattr(
        Objects, "put_chunk", lambda self, digest, content, **plain: (sent.append(digest), real(self, digest, content, **plain))
    )
    changed = array.copy()
    changed[-1] = 0
    ref = local.save("array", changed)
    assert len(sent) == 2  # the last chunk and the manifest
    assert np.array_equal(local.load(ref), changed)


def head_of_first_chunk(server: S3Server, store: S3ArtifactStore) -> dict[str, Any]:
    """Save a value and return what the server says of its first object."""
    store.save("n", b"content")
    client = server.client()
    [first, *_] = client.list_objects_v2(Bucket=store.bucket, Prefix=f"{store.prefix}/cas")["Contents"]
    head: dict[str, Any] = client.head_object(Bucket=store.bucket, Key=first["Key"], ChecksumMode="ENABLED")
    return head


class TestS3:
    """What only S3 has."""

    def test_a_bucket_of_another_owner_is_refused_before_anything_is_read(self) -> None:
        import boto3  # noqa: PLC0415
        from botocore.stub import Stubber  # noqa: PLC0415 - checks requests and answers against the service's model

        client = boto3.client("s3", region_name="eu-north-1")
        store = S3ArtifactStore(bucket="artifacts", expected_owner="123456789012")
        with Stubber(client) as stub:
            asked = {"Bucket": "artifacts", "ExpectedBucketOwner": "123456789012"}
            stub.add_client_error("head_bucket", "403", http_status_code=403, expected_params=asked)
            with pytest.raises(BackendError, match="not the expected account"):
                store.check_owner(client)
            stub.add_response("head_bucket", {}, asked)
            store.check_owner(client)

    @pytest.mark.parametrize(
        ("fields", "word"),
        [
            ({"bucket": "UPPER"}, "bucket"),
            ({"bucket": "ok-bucket", "prefix": "/a"}, "prefix"),
            ({"bucket": "ok-bucket", "region": "north"}, "region"),
            ({"bucket": "ok-bucket", "expected_owner": "12"}, "expected_owner"),
            ({"bucket": "ok-bucket", "kms_key_id": "k"}, "server_side_encryption"),
            ({"bucket": "ok-bucket", "endpoint": "localhost:1"}, "endpoint"),
        ],
    )
    def test_a_field_that_s3_would_refuse_is_refused_here(self, fields: dict[str, Any], word: str) -> None:
        with pytest.raises(ConfigError, match=word):
            S3ArtifactStore(**fields)

    def test_encryption_and_checksums_reach_the_server(self, moto: S3Server, seaweed: S3Server, tmp_path: Path) -> None:
        assert head_of_first_chunk(moto, moto.store(tmp_path, server_side_encryption="AES256"))["ServerSideEncryption"] == "AES256"
        assert head_of_first_chunk(seaweed, seaweed.store(tmp_path))["ChecksumCRC64NVME"]
        assert head_of_first_chunk(seaweed, seaweed.store(tmp_path, checksum="sha256"))["ChecksumSHA256"]

    @pytest.mark.parametrize("checksum", ["crc64nvme", "sha256"])
    def test_the_server_refuses_a_body_that_was_damaged_on_the_way(self, seaweed: S3Server, checksum: str) -> None:
        client = seaweed.client()
        header = {"crc64nvme": "ChecksumCRC64NVME", "sha256": "ChecksumSHA256"}[checksum]
        wrong = {"crc64nvme": "AAAAAAAAAAA=", "sha256": "A" * 43 + "="}[checksum]
        with pytest.raises(client.exceptions.ClientError, match=r"BadDigest|checksum"):
            client.put_object(Bucket="artifacts", Key="damaged", Body=b"content", **{header: wrong})

    def test_a_missing_bucket_is_said_to_be_missing(self, moto: S3Server, tmp_path: Path) -> None:
        store = moto.store(tmp_path).model_copy(update={"bucket": "absent-bucket"})
        with pytest.raises(BackendError, match="s3://absent-bucket"):
            store.save("n", 1)

    def test_wrong_credentials_are_a_refusal_that_names_the_bucket(
        self, seaweed: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        with pytest.raises(BackendError, match="s3://artifacts") as refused:
            seaweed.store(tmp_path, concurrency=3).save("n", 1)
        assert not refused.value.transient

    def test_a_server_out_of_reach_is_a_passing_error(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("stackgraft.aws.s3._RETRIES", {"max_retries": 0})
        store = S3ArtifactStore(bucket="artifacts", endpoint="http://127.0.0.1:9", cache=tmp_path)
        with pytest.raises(BackendError) as refused:
            store.resolve("n")
        assert refused.value.transient

    def test_a_profile_that_does_not_exist_is_refused(self, tmp_path: Path) -> None:
        store = S3ArtifactStore(bucket="artifacts", region="eu-north-1", credentials="absent", cache=tmp_path)
        with pytest.raises(ConfigError, match="no such AWS profile"):
            store.save("n", 1)


@pytest.mark.usefixtures("calm_clock")
def test_a_corrupted_index_file_knows_nothing(local: FilesystemArtifactStore, tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(b"a" * 100)
    ref = local.save("file", path)
    for index in (local.cache / "index").iterdir():
        index.write_text("{")
    assert local.save("file", path) == ref


@pytest.mark.usefixtures("calm_clock")
def test_the_index_is_not_believed_in_another_store_in_the_same_place(local: FilesystemArtifactStore, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
    local.save("data", tmp_path / "one")
    shutil.rmtree(local.path)
    local.path.mkdir()
    local.save("data", tmp_path / "two")
    again = local.save("data", tmp_path / "one")
    assert local.verify().damaged == ()
    assert local.load(again).read_text() == "one"


def test_a_cache_that_cannot_be_written_does_not_fail_a_save(local: FilesystemArtifactStore, tmp_path: Path) -> None:
    (tmp_path / "old.bin").write_bytes(b"a")
    settled(tmp_path)
    (tmp_path / "file").write_text("in the way")
    assert local.model_copy(update={"cache": tmp_path / "file" / "cache"}).save("data", tmp_path / "old.bin").version == 1


def test_gc_spares_a_chunk_that_a_writer_renews_while_it_collects(local: FilesystemArtifactStore, monkeypatch: pytest.MonkeyPatch) -> None:
    local.delete(local.save("n", b"content"))
    age(local)
    saved = []

    def renewed_first(found: Any, objects: Objects) -> bool:
        if not saved:
            saved.append(local.save("m", b"content"))
        return real(found, objects)

    real = upkeep._renewed
    monkeypatch.setattr(upkeep, "_renewed", renewed_first)
    local.gc()
    assert local.load(saved[0]) == b"content"


def test_a_second_deletion_spares_the_content_for_another_day(local: FilesystemArtifactStore) -> None:
    local.delete(local.save("n", b"content"))
    age(local)
    local.delete(local.save("n", b"content"))
    age(local, hours=0)
    for marker in (local.path / "deleted").iterdir():
        os.utime(marker, (time.time() - 90_000,) * 2) if marker == min((local.path / "deleted").iterdir()) else None
    assert local.gc().deleted == 0


def test_a_damaged_newest_version_does_not_hinder_the_next(local: FilesystemArtifactStore) -> None:
    ref = local.save("n", b"content")
    local.objects.delete([f"cas/sha256/{ref.digest[7:9]}/{ref.digest[7:]}"])
    assert local.load(local.save("n", b"more")) == b"more"


def test_files_as_fresh_as_a_steps_own_output_leave_no_index(local: FilesystemArtifactStore, tmp_path: Path) -> None:
    (tmp_path / "fresh.bin").write_bytes(b"a")
    local.save("file", tmp_path / "fresh.bin")
    assert not (local.cache / "index").exists()


def test_a_reference_with_another_digest_is_not_believed(local: FilesystemArtifactStore) -> None:
    ref = local.save("n", 1)
    with pytest.raises(ArtifactCorruptedError):
        local.load(replace(ref, digest=f"sha256:{'0' * 64}"))
