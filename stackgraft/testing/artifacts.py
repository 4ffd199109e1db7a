"""The contract of artifact stores."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from stackgraft.artifacts import ArtifactRef
from stackgraft.components import ArtifactStore, Component
from stackgraft.errors import ArtifactError, ArtifactNotFoundError
from stackgraft.testing.component import ComponentContract


class ArtifactStoreContract(ComponentContract):
    """What an artifact store does. Fixture: `store`, empty."""

    @pytest.fixture
    def component(self, store: Component) -> Component:
        return store

    VALUES: ClassVar[Mapping[str, Any]] = {
        "none": None,
        "int": 7,
        "float": 0.1,
        "text": "hej då",
        "bytes": b"\0\1",
        "json": {"a": [1, None]},
    }

    @pytest.mark.parametrize("kind", VALUES)
    def test_a_value_comes_back_as_it_went_in(self, store: ArtifactStore, kind: str) -> None:
        reference = store.save(f"values/{kind}", self.VALUES[kind])
        assert store.load(reference) == self.VALUES[kind]
        assert store.load(str(reference)) == self.VALUES[kind]

    def test_files_and_folders_come_back_with_their_names(self, store: ArtifactStore, tmp_path: Path) -> None:
        folder = tmp_path / "report"
        (folder / "empty").mkdir(parents=True)
        (folder / "a file.txt").write_text("a")
        (folder / "blå.bin").write_bytes(b"\0" * 3_000_000)
        loaded = store.load(store.save("report", folder))
        assert (loaded / "a file.txt").read_text() == "a"
        assert (loaded / "blå.bin").read_bytes() == b"\0" * 3_000_000
        assert (loaded / "empty").is_dir()
        assert store.load(store.save("file", folder / "a file.txt")).read_text() == "a"

    def test_versions_count_up_and_equal_content_is_one_version(self, store: ArtifactStore) -> None:
        first, again, second = store.save("n", 1), store.save("n", 1), store.save("n", 2)
        assert (first.version, again, second.version) == (1, first, 2)
        assert list(store.versions("n")) == [1, 2]
        assert store.resolve("n") == second
        assert store.resolve("n@1") == first

    def test_equal_content_has_one_digest_under_any_name(self, store: ArtifactStore) -> None:
        assert store.save("a", {"x": 1, "y": 2}).digest == store.save("b", {"y": 2, "x": 1}).digest

    def test_a_tag_moves(self, store: ArtifactStore) -> None:
        first, second = store.save("n", 1), store.save("n", 2)
        store.tag(first, "stable")
        assert store.resolve("n@stable") == first
        store.tag(second, "stable")
        assert store.resolve("n@stable") == second

    @pytest.mark.parametrize("reference", ["absent", "n@2", "n@stabel"])
    def test_what_is_absent_is_not_found(self, store: ArtifactStore, reference: str) -> None:
        store.tag(store.save("n", 1), "stable")
        with pytest.raises(ArtifactNotFoundError):
            store.resolve(reference)

    @pytest.mark.parametrize("name", ["", "../up", "a//b", "-a", "a b", "x" * 300])
    def test_a_name_that_no_store_can_hold_is_refused(self, store: ArtifactStore, name: str) -> None:
        with pytest.raises(ArtifactError, match="name"):
            store.save(name, 1)

    def test_a_value_without_a_serializer_is_refused_by_its_type(self, store: ArtifactStore) -> None:
        with pytest.raises(ArtifactError, match="object"):
            store.save("thing", object())
        assert list(store.versions("thing")) == []

    def test_references_survive_json(self, store: ArtifactStore) -> None:
        reference = store.save("n", 1)
        assert ArtifactRef.from_json(json.loads(json.dumps(reference.to_json()))) == reference
