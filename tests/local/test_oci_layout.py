"""The oci-layout registry, and an independent reader of what it writes."""

from __future__ import annotations

import json
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stackgraft.errors import BackendError, SpecError
from stackgraft.local.oci_builder import OciImageBuilder
from stackgraft.local.oci_layout import OciLayoutRegistry
from stackgraft.oci import digest_of
from stackgraft.outcomes import BuiltImage
from stackgraft.specs import BuildSpec
from stackgraft.testing import ContainerRegistryContract, run
from tests.conftest import is_missing


class TestOciLayoutRegistry(ContainerRegistryContract):
    @pytest.fixture
    def registry(self, tmp_path: Path) -> OciLayoutRegistry:
        return OciLayoutRegistry(path=tmp_path / "registry")


def test_skopeo_reads_and_copies_what_is_built(tmp_path: Path) -> None:
    if shutil.which("skopeo") is None:
        is_missing("skopeo is not installed: apt-get install skopeo")
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "app.py").write_text("print('hi')\n")
    registry = OciLayoutRegistry(path=tmp_path / "registry")
    builder = OciImageBuilder(registry=registry.claim(), cache=tmp_path / "cache")
    spec = BuildSpec(repository="team/app", context=tmp_path / "project", labels={"team": "signals"})
    image = BuiltImage.model_validate(run(builder, spec).unwrap())
    source = f"oci:{registry.path}/team/app:{image.key}"
    seen = json.loads(subprocess.run(["skopeo", "inspect", source], check=True, capture_output=True, text=True).stdout)
    assert seen["Digest"] == image.digest
    assert seen["Labels"]["team"] == "signals"
    subprocess.run(["skopeo", "copy", "--quiet", source, f"dir:{tmp_path / 'copied'}"], check=True)
    assert digest_of((tmp_path / "copied" / "manifest.json").read_bytes()) == image.digest


def test_racing_writers_lose_no_tag(tmp_path: Path) -> None:
    registry, suite = OciLayoutRegistry(path=tmp_path), TestOciLayoutRegistry()
    with ThreadPoolExecutor(8) as pool:
        digests = list(pool.map(lambda index: suite.image(registry, "app", f"image {index}", tag=f"v{index}"), range(40)))
    assert len(registry.tags("app")) == 40
    assert [registry.resolve("app", f"v{index}") for index in range(40)] == digests


def test_an_interrupted_upload_leaves_no_blob(tmp_path: Path) -> None:
    registry = OciLayoutRegistry(path=tmp_path)
    with pytest.raises(BackendError, match="does not match"):
        registry.write_blob("app", digest_of(b"whole"), b"who")
    assert list(tmp_path.rglob("*upload*")) == []


def test_a_damaged_manifest_is_refused(tmp_path: Path) -> None:
    registry = OciLayoutRegistry(path=tmp_path)
    digest = TestOciLayoutRegistry().image(registry, "app", "a")
    blob = tmp_path / "app" / "blobs" / "sha256" / digest[7:]
    blob.write_bytes(blob.read_bytes().replace(b"layers", b"lavers"))
    with pytest.raises(BackendError, match="damaged"):
        registry.read_manifest("app", digest)


@pytest.mark.parametrize("digest", ["sha256:../../../etc/passwd", "md5:0", "sha256:ABC", ""])
def test_what_is_not_a_digest_never_becomes_a_path(tmp_path: Path, digest: str) -> None:
    with pytest.raises(SpecError, match="not a digest"):
        OciLayoutRegistry(path=tmp_path).has_blob("app", digest)


def test_a_repository_never_leads_out_of_the_folder(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="repository"):
        OciLayoutRegistry(path=tmp_path).resolve("../other", "v1")


def test_a_folder_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BackendError, match="cannot be written"):
        OciLayoutRegistry(path=tmp_path / "file").write_blob("app", digest_of(b""), b"")


def test_a_file_in_place_of_the_folder_is_told_apart_from_an_empty_registry(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    registry = OciLayoutRegistry(path=tmp_path / "file")
    for ask in (lambda: registry.resolve("app", "v1"), lambda: registry.tags("app"), lambda: registry.read_manifest("app", digest_of(b""))):
        with pytest.raises(BackendError, match=r"cannot be read[\s\S]*file/app[\s\S]*registry's path"):
            ask()


@pytest.mark.parametrize(
    "index", ["", "{", "[]", "3", '{"manifests": 3}', '{"manifests": [3]}', '{"manifests": [{"digest": "../up"}]}', "{}"]
)
def test_a_broken_index_says_which_file_to_mend(tmp_path: Path, index: str) -> None:
    registry = OciLayoutRegistry(path=tmp_path)
    digest = TestOciLayoutRegistry().image(registry, "app", "a", tag="v1")
    (tmp_path / "app" / "index.json").write_text(index)
    for use in (lambda: registry.resolve("app", "v1"), lambda: registry.tag("app", digest, "v2")):
        with pytest.raises(BackendError, match=r"index is broken[\s\S]*app/index\.json"):
            use()
    assert (tmp_path / "app" / "index.json").read_text() == index


@pytest.mark.parametrize("repository", ["app/blobs", "app/index.json", "oci-layout"])
def test_a_repository_is_never_called_like_a_file_of_the_layout(tmp_path: Path, repository: str) -> None:
    with pytest.raises(SpecError, match="No repository of a layout"):
        OciLayoutRegistry(path=tmp_path).write_blob(repository, digest_of(b""), b"")


@pytest.mark.parametrize("tag", ["", "a b", "a:b", "../a", "-a", "a" * 129, "a\n"])
def test_a_tag_that_no_registry_takes_is_refused(tmp_path: Path, tag: str) -> None:
    registry = OciLayoutRegistry(path=tmp_path)
    digest = TestOciLayoutRegistry().image(registry, "app", "a")
    with pytest.raises(SpecError, match="No registry takes a tag"):
        registry.tag("app", digest, tag)
    assert registry.tags("app") == []


def test_deleting_an_image_leaves_the_others(tmp_path: Path) -> None:
    registry, suite = OciLayoutRegistry(path=tmp_path), TestOciLayoutRegistry()
    first, second = (suite.image(registry, "app", text, tag=text) for text in ("a", "b"))
    registry.delete("app", first)
    assert registry.tags("app") == ["b"]
    assert registry.has_blob("app", second)
    registry.delete("absent", first)
    assert not (tmp_path / "absent").exists()
