"""What an image may start from, and what a base that does not fit says."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from stackgraft.errors import BackendError, SpecError
from stackgraft.local.base_image import find_base
from stackgraft.local.oci_layout import OciLayoutRegistry
from stackgraft.oci import CONFIG_TYPE, INDEX_TYPE, LAYER_TYPE, MANIFEST_TYPE, canonical_json, descriptor, digest_of, manifest

HERE = "linux/amd64"


@pytest.fixture
def registry(tmp_path: Path) -> OciLayoutRegistry:
    return OciLayoutRegistry(path=tmp_path / "registry")


def put(registry: OciLayoutRegistry, tag: str | None = None, *, architecture: str = "amd64", layer_type: str = LAYER_TYPE) -> str:
    """Store a base image of one small layer."""
    layer, config = b"layer", canonical_json({"os": "linux", "architecture": architecture, "config": None})
    for blob in (layer, config):
        registry.write_blob("base", digest_of(blob), blob)
    layers = [descriptor(layer_type, digest_of(layer), len(layer))]
    return registry.write_manifest("base", manifest(descriptor(CONFIG_TYPE, digest_of(config), len(config)), layers), tag=tag)


def put_index(registry: OciLayoutRegistry, tag: str, **more: Any) -> None:
    """Store an index of two platforms."""
    entries = []
    for architecture in ("arm64", "amd64"):
        digest = put(registry, architecture=architecture)
        size = len(registry.read_manifest("base", digest))
        entries.append(descriptor(MANIFEST_TYPE, digest, size, platform={"os": "linux", "architecture": architecture}))
    registry.write_manifest("base", canonical_json({"schemaVersion": 2, "manifests": entries, **more}), tag=tag)


def test_no_base_starts_from_nothing(registry: OciLayoutRegistry) -> None:
    base = find_base(None, HERE, lambda: registry)
    base.copy_to(registry, "app")
    assert (base.digest, base.layers, base.config) == ("", (), {})


@pytest.mark.parametrize("name", ["base:v1", "base@{digest}", "{folder}:v1", "{folder}@{digest}"])
def test_a_base_is_found_by_tag_or_digest_in_the_registry_or_a_folder(registry: OciLayoutRegistry, tmp_path: Path, name: str) -> None:
    digest = put(registry, "v1")
    shutil.copytree(registry.path / "base", tmp_path / "exported")
    base = find_base(name.format(digest=digest, folder=tmp_path / "exported"), HERE, lambda: registry)
    target = OciLayoutRegistry(path=tmp_path / "target")
    base.copy_to(target, "app")
    assert base.digest == digest
    assert all(target.has_blob("app", layer["digest"]) for layer in base.layers)


@pytest.mark.parametrize("more", [{}, {"mediaType": INDEX_TYPE}])
def test_an_index_gives_the_image_of_the_platform(registry: OciLayoutRegistry, more: dict[str, str]) -> None:
    put_index(registry, "v1", **more)
    assert find_base("base:v1", "linux/arm64", lambda: registry).config["architecture"] == "arm64"
    with pytest.raises(SpecError, match="not for the platform"):
        find_base("base:v1", "linux/s390x", lambda: registry)


def test_a_base_for_another_platform_is_refused(registry: OciLayoutRegistry) -> None:
    put(registry, "v1", architecture="s390x")
    with pytest.raises(SpecError, match=r"not for the platform[\s\S]*linux/s390x"):
        find_base("base:v1", HERE, lambda: registry)


def test_layers_that_docker_named_get_the_names_of_the_oci_specification(registry: OciLayoutRegistry) -> None:
    put(registry, "v1", layer_type="application/vnd.docker.image.rootfs.diff.tar.gzip")
    assert find_base("base:v1", HERE, lambda: registry).layers[0]["mediaType"] == f"{LAYER_TYPE}+gzip"


@pytest.mark.parametrize("reference", ["base:absent", "absent", "absent:v1", "base@sha256:" + "0" * 64, "/no/such/folder", "./folder:v1"])
def test_a_base_that_does_not_exist_is_refused(registry: OciLayoutRegistry, reference: str) -> None:
    put(registry, "v1")
    with pytest.raises(SpecError, match="base image does not exist"):
        find_base(reference, HERE, lambda: registry)


def test_a_misspelt_tag_names_the_nearest(registry: OciLayoutRegistry) -> None:
    put(registry, "stable")
    with pytest.raises(SpecError, match="did you mean 'stable'"):
        find_base("base:stabel", HERE, lambda: registry)


def test_a_registry_out_of_reach_is_not_called_a_missing_base(tmp_path: Path) -> None:
    class Unreachable(OciLayoutRegistry):
        def resolve(self, repository: str, tag: str) -> str | None:
            raise BackendError("The registry is out of reach", transient=True, where=f"{repository}:{tag}")

    with pytest.raises(BackendError, match="out of reach"):
        find_base("base:v1", HERE, lambda: Unreachable(path=tmp_path))
