"""The oci builder: its contract, what lies in its layers, and why it builds."""

from __future__ import annotations

import io
import marshal
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from stackgraft.errors import IncompatibleStackError
from stackgraft.local.oci_builder import OciImageBuilder
from stackgraft.oci import digest_of
from stackgraft.specs import BuildSpec, host_python
from stackgraft.testing import ImageBuilderContract, log_text, run


class TestOciImageBuilder(ImageBuilderContract):
    @pytest.fixture
    def builder(self, oci: Any) -> OciImageBuilder:
        builder: OciImageBuilder = oci.builder
        return builder

    @pytest.fixture
    def build(self, oci: Any) -> BuildSpec:
        spec: BuildSpec = oci.spec()
        return spec


def test_entries_show_neither_time_nor_owner_nor_umask(oci: Any) -> None:
    (oci.project / "run.sh").write_text("#!/bin/sh\n")
    (oci.project / "run.sh").chmod(0o700)
    (oci.project / "app.py").chmod(0o600)
    entries = oci.files(oci.build())
    assert {(entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname) for entry in entries.values()} == {(0, 0, 0, "", "")}
    assert (entries["app/run.sh"].mode, entries["app/app.py"].mode) == (0o755, 0o644)


def test_names_with_spaces_and_letters_of_any_language_and_links_survive(oci: Any) -> None:
    names = ("two words.txt", "blåbär/日本.txt", "deep/" * 30 + "file with spaces.txt")
    for name in names:
        (oci.project / name).parent.mkdir(parents=True, exist_ok=True)
        (oci.project / name).write_text(name)
    for link, target in (("link.txt", "two words.txt"), ("linked folder", "blåbär"), ("broken", "no/such/file")):
        (oci.project / link).symlink_to(target)
    entries = oci.files(oci.build())
    assert {f"app/{name}" for name in names} <= set(entries)
    links = {name: entry.linkname for name, entry in entries.items() if entry.issym()}
    assert links == {"app/link.txt": "two words.txt", "app/linked folder": "blåbär", "app/broken": "no/such/file"}


@pytest.mark.parametrize(("compression", "suffix"), [("gzip", "+gzip"), ("none", "")])
def test_layers_are_what_the_manifest_and_the_config_promise(oci: Any, compression: str, suffix: str) -> None:
    oci.builder = oci.builder.model_copy(update={"compression": compression})
    image = oci.build()
    assert [layer["mediaType"] for layer in oci.manifest(image)["layers"]] == [f"application/vnd.oci.image.layer.v1.tar{suffix}"]
    assert oci.config(image)["rootfs"]["diff_ids"] == [digest_of(layer) for layer in oci.layers(image)]


def test_code_is_compiled_as_it_will_lie_in_the_image(oci: Any) -> None:
    compiled = f"app/__pycache__/app.{sys.implementation.cache_tag}.pyc"
    with tarfile.open(fileobj=io.BytesIO(oci.layers(oci.build())[0])) as tar:
        content = tar.extractfile(compiled)
        assert content is not None
        unchecked_hash, code = content.read(16)[4:8], marshal.loads(content.read())  # noqa: S302 - what was just compiled
    assert unchecked_hash == b"\x01\0\0\0"
    assert code.co_filename == "/app/app.py"


def test_an_image_for_another_python_is_not_compiled(oci: Any) -> None:
    assert not any("__pycache__" in name for name in oci.files(oci.build(python="3.99")))


def test_an_image_that_is_compiled_has_another_key_than_one_that_is_not(oci: Any) -> None:
    ingredients = [oci.builder._plan(oci.spec(python=python)).ingredients["byte code"] for python in (host_python(), "3.99")]
    assert ingredients == [sys.implementation.cache_tag, ""]


def test_what_a_symlink_points_to_is_never_compiled(oci: Any, tmp_path: Path) -> None:
    (tmp_path / "outside.py").write_text("secret = 'from outside of the context'\n")
    (oci.project / "link.py").symlink_to(tmp_path / "outside.py")
    (oci.project / "linked").symlink_to(tmp_path, target_is_directory=True)
    image = oci.build()
    assert oci.files(image)["app/link.py"].issym()
    assert {name for name in oci.files(image) if name.endswith(".pyc")} == {f"app/__pycache__/app.{sys.implementation.cache_tag}.pyc"}
    assert not [layer for layer in oci.layers(image) if b"from outside" in layer]


def test_a_file_that_does_not_compile_is_taken_as_it_is(oci: Any) -> None:
    (oci.project / "template.py").write_text("{{ not python }}")
    assert "app/template.py" in oci.files(oci.build())


def test_an_image_has_its_base_below_it(oci: Any, tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "tool.txt").write_text("from the base")
    base = oci.build(context=tmp_path / "base", repository="base", workdir="/usr/share", env={"FROM_BASE": "1"})
    image = oci.build(base=base.reference)
    assert {"usr/share/tool.txt", "app/app.py"} <= set(oci.files(image))
    assert "FROM_BASE=1" in oci.config(image)["config"]["Env"]


def test_a_build_says_in_its_log_what_changed(oci: Any) -> None:
    for name in ("stays.txt", "goes.txt"):
        (oci.project / name).touch()
    assert oci.build().why == ("first build in this repository",)
    (oci.project / "goes.txt").unlink()
    (oci.project / "app.py").write_text("print('changed')\n")
    outcome = run(oci.builder, oci.spec(env={"A": "1"}))
    handle = oci.builder.submit(oci.spec(env={"A": "1"}), name="again")
    assert outcome.unwrap()["why"] == ["setting env changed", "file app.py changed", "file goes.txt removed"]
    assert log_text(oci.builder, handle).startswith("reused app@sha256:")


def test_a_build_is_compared_with_the_one_before_even_where_that_was_reused(oci: Any) -> None:
    oci.build(env={"A": "1"})
    oci.build(env={"B": "2"})
    assert oci.build(env={"A": "1"}).reused
    assert oci.build(env={"A": "1"}, workdir="/srv").why == ("setting workdir changed",)


def test_many_changes_are_summed_up(oci: Any) -> None:
    oci.build()
    for index in range(30):
        (oci.project / f"new{index:02}.txt").touch()
    (oci.project / "app.py").unlink()
    why = oci.build().why
    assert (why[0], why[-1], len(why)) == ("file new00.txt added", "and 21 more", 11)


def test_moving_head_builds_nothing_while_the_files_stay(oci: Any) -> None:
    first = oci.build()
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "first"]):
        subprocess.run(["git", "-C", str(oci.project), *words], check=True, capture_output=True)
    again = oci.build()
    assert again.reused
    assert again.digest == first.digest
    assert "org.opencontainers.image.revision" in oci.config(oci.build(env={"A": "1"}))["config"]["Labels"]


@pytest.mark.parametrize(
    "change",
    [
        {"python": "3.99"},
        {"platform": "linux/arm64"},
        {"command": ("x",)},
        {"entrypoint": ("x",)},
        {"env": {"A": "1"}},
        {"workdir": "/srv"},
        {"labels": {"a": "b"}},
        {"step_runtime": True},
        {"requirements": "app.py"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_setting_changes_the_key(oci: Any, change: dict[str, Any]) -> None:
    assert oci.builder.content_key(oci.spec(**change)) != oci.builder.content_key(oci.spec())


def test_a_builder_without_a_registry_says_what_is_missing(oci: Any, tmp_path: Path) -> None:
    with pytest.raises(IncompatibleStackError, match="needs a container registry"):
        OciImageBuilder(cache=tmp_path).submit(oci.spec(), name="x")
