"""The contract of image builders and container registries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stackgraft.components import Component, ContainerRegistry
from stackgraft.errors import BackendError
from stackgraft.oci import MANIFEST_TYPE, canonical_json, digest_of
from stackgraft.outcomes import BuiltImage
from stackgraft.specs import BuildSpec
from stackgraft.testing.component import ComponentContract
from stackgraft.testing.scripted import run


class ImageBuilderContract(ComponentContract):
    """What an image builder does. Fixtures: `builder`, and `build`, a spec of a project that the test may change."""

    @pytest.fixture
    def component(self, builder: Component) -> Component:
        return builder

    def test_a_build_is_pinned_and_found_under_its_content_key(self, builder: Any, build: BuildSpec) -> None:
        image = BuiltImage.model_validate(run(builder, build).unwrap())
        registry = builder.container_registry()
        repository, digest = registry.locate(image.reference)
        assert digest == image.digest == digest_of(registry.read_manifest(repository, digest))
        assert registry.resolve(repository, image.key) == digest
        assert image.key == builder.content_key(build)
        assert not image.reused

    def test_an_unchanged_project_is_not_built_again(self, builder: Any, build: BuildSpec) -> None:
        first, second = (BuiltImage.model_validate(run(builder, build).unwrap()) for _ in range(2))
        assert second.reused
        assert second.why
        assert second.reference == first.reference

    def test_a_changed_file_is_built_and_named_as_the_reason(self, builder: Any, build: BuildSpec) -> None:
        first = BuiltImage.model_validate(run(builder, build).unwrap())
        (build.context / "added.txt").write_text("new")
        second = BuiltImage.model_validate(run(builder, build).unwrap())
        assert not second.reused
        assert second.digest != first.digest
        assert "added.txt" in " ".join(second.why)

    def test_tags_never_change_what_is_built(self, builder: Any, build: BuildSpec) -> None:
        tagged = build.model_copy(update={"tags": {"stackgraft:run": "another"}})
        assert builder.content_key(tagged) == builder.content_key(build)

    def test_an_ignored_file_never_changes_the_key(self, builder: Any, build: BuildSpec) -> None:
        (build.context / ".dockerignore").write_text("*.tmp\n")
        before = builder.content_key(build)
        (build.context / "scratch.tmp").write_text("ignored")
        assert builder.content_key(build) == before


class ContainerRegistryContract(ComponentContract):
    """What a container registry does. Fixture: `registry`, empty."""

    @pytest.fixture
    def component(self, registry: Component) -> Component:
        return registry

    def image(self, registry: ContainerRegistry, repository: str, text: str, **options: Any) -> str:
        """Store the smallest image that holds a text; return its digest."""
        config, layer = canonical_json({"architecture": "amd64", "os": "linux", "text": text}), text.encode()
        for blob in (config, layer):
            registry.write_blob(repository, digest_of(blob), blob)
        manifest = canonical_json(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST_TYPE,
                "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest_of(config), "size": len(config)},
                "layers": [{"mediaType": "application/octet-stream", "digest": digest_of(layer), "size": len(layer)}],
            }
        )
        return registry.write_manifest(repository, manifest, **options)

    def test_a_manifest_is_named_by_its_digest_and_found_by_its_tag(self, registry: ContainerRegistry) -> None:
        digest = self.image(registry, "team/app", "a", tag="v1")
        assert registry.resolve("team/app", "v1") == digest
        assert digest_of(registry.read_manifest("team/app", digest)) == digest
        assert registry.resolve("team/app", "v2") is None
        assert registry.resolve("team/other", "v1") is None

    def test_references_go_both_ways(self, registry: ContainerRegistry) -> None:
        digest = self.image(registry, "team/app", "a")
        assert registry.locate(registry.reference("team/app", digest)) == ("team/app", digest)

    def test_a_tag_moves_and_many_tags_share_a_digest(self, registry: ContainerRegistry) -> None:
        first, second = (self.image(registry, "app", text) for text in ("a", "b"))
        registry.tag("app", first, "stable")
        registry.tag("app", first, "v1")
        registry.tag("app", second, "stable")
        assert registry.tags("app") == ["stable", "v1"]
        assert (registry.resolve("app", "stable"), registry.resolve("app", "v1")) == (second, first)

    def test_blobs_come_back_as_they_went_in(self, registry: ContainerRegistry, tmp_path: Path) -> None:
        content = bytes(range(256)) * 1000
        (tmp_path / "blob").write_bytes(content)
        assert not registry.has_blob("app", digest_of(content))
        registry.write_blob("app", digest_of(content), tmp_path / "blob")
        registry.write_blob("app", digest_of(content), content)
        with registry.open_blob("app", digest_of(content)) as blob:
            assert blob.read() == content

    def test_content_that_does_not_match_its_digest_is_refused(self, registry: ContainerRegistry) -> None:
        with pytest.raises(BackendError):
            registry.write_blob("app", digest_of(b"promised"), b"delivered")
        assert not registry.has_blob("app", digest_of(b"promised"))

    def test_a_manifest_whose_blobs_are_missing_is_never_tagged(self, registry: ContainerRegistry) -> None:
        absent = {"mediaType": "application/octet-stream", "digest": digest_of(b"absent"), "size": 6}
        manifest = canonical_json({"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": absent, "layers": []})
        with pytest.raises(BackendError):
            registry.write_manifest("app", manifest, tag="broken")
        assert registry.resolve("app", "broken") is None

    def test_deleting_takes_the_tags_along_and_may_be_repeated(self, registry: ContainerRegistry) -> None:
        digest = self.image(registry, "app", "a", tag="v1")
        registry.delete("app", digest)
        registry.delete("app", digest)
        assert registry.tags("app") == []
        with pytest.raises(BackendError):
            registry.read_manifest("app", digest)
