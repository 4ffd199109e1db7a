"""The oci builder: contract, reproducibility, and what bad input says."""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stackgraft.errors import IncompatibleStackError, SpecError
from stackgraft.local.build_context import context_files
from stackgraft.local.oci_builder import OciImageBuilder
from stackgraft.local.oci_layout import OciLayoutRegistry
from stackgraft.outcomes import BuiltImage
from stackgraft.specs import BuildSpec
from stackgraft.testing import ImageBuilderContract, run


@pytest.fixture
def registry(tmp_path: Path) -> OciLayoutRegistry:
    return OciLayoutRegistry(path=tmp_path / "registry")


@pytest.fixture
def builder(tmp_path: Path, registry: OciLayoutRegistry) -> OciImageBuilder:
    return OciImageBuilder(registry=registry.claim(), cache=tmp_path / "cache")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "app.py").write_text("print('hi')\n")
    return folder


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that stands in for the package index, holding one small package."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    with zipfile.ZipFile(folder / "tiny-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny/__init__.py", "value = 42\n")
        wheel.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        wheel.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("tiny-1.0.dist-info/entry_points.txt", "[console_scripts]\ntiny = tiny:value\n")
        wheel.writestr("tiny-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("UV_FIND_LINKS", str(folder))
    monkeypatch.setenv("UV_NO_INDEX", "1")
    return folder


def build(builder: OciImageBuilder, project: Path, **settings: Any) -> BuiltImage:
    return BuiltImage.model_validate(run(builder, BuildSpec.model_validate({"repository": "app", "context": project, **settings})).unwrap())


def config_of(registry: OciLayoutRegistry, image: BuiltImage) -> dict[str, Any]:
    manifest = json.loads(registry.read_manifest("app", image.digest))
    with registry.open_blob("app", manifest["config"]["digest"]) as config:
        return dict(json.load(config))


def files_of(registry: OciLayoutRegistry, image: BuiltImage) -> dict[str, tarfile.TarInfo]:
    """Return the entries of all layers by path."""
    found = {}
    for layer in json.loads(registry.read_manifest("app", image.digest))["layers"]:
        with registry.open_blob("app", layer["digest"]) as blob, tarfile.open(fileobj=io.BytesIO(blob.read())) as tar:
            found |= {entry.name: entry for entry in tar}
    return found


class TestOciImageBuilder(ImageBuilderContract):
    @pytest.fixture
    def build(self, project: Path) -> BuildSpec:
        return BuildSpec(repository="app", context=project)


def test_entries_show_neither_time_nor_owner_nor_umask(builder: OciImageBuilder, registry: OciLayoutRegistry, project: Path) -> None:
    (project / "run.sh").write_text("#!/bin/sh\n")
    (project / "run.sh").chmod(0o700)
    (project / "app.py").chmod(0o600)
    entries = files_of(registry, build(builder, project))
    assert {(entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname) for entry in entries.values()} == {(0, 0, 0, "", "")}
    assert (entries["app/run.sh"].mode, entries["app/app.py"].mode) == (0o755, 0o644)


def test_names_with_spaces_and_letters_of_any_language_and_links_survive(
    builder: OciImageBuilder, registry: OciLayoutRegistry, project: Path
) -> None:
    long = "deep/" * 30 + "file with spaces.txt"
    for name in ("two words.txt", "blåbär/日本.txt", long):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(name)
    (project / "link.txt").symlink_to("two words.txt")
    (project / "linked folder").symlink_to("blåbär")
    entries = files_of(registry, build(builder, project))
    assert {f"app/{name}" for name in ("two words.txt", "blåbär/日本.txt", long)} <= set(entries)
    assert entries["app/link.txt"].linkname == "two words.txt"
    assert entries["app/linked folder"].linkname == "blåbär"


def test_a_socket_is_refused_by_name(builder: OciImageBuilder, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("s.sock")
        with pytest.raises(SpecError, match="device or a socket") as refused:
            build(builder, project)
    assert "s.sock" in str(refused.value)


@pytest.mark.parametrize(
    ("rules", "kept"),
    [
        ("", {"a.txt", "b.md", "sub/a.txt", "sub/deep/a.txt", "temp1", "sub/temp2"}),
        ("# comment\n\n*.txt", {"b.md", "sub/a.txt", "sub/deep/a.txt", "temp1", "sub/temp2"}),
        ("**/*.txt", {"b.md", "temp1", "sub/temp2"}),
        ("*/temp*", {"a.txt", "b.md", "sub/a.txt", "sub/deep/a.txt", "temp1"}),
        ("temp?", {"a.txt", "b.md", "sub/a.txt", "sub/deep/a.txt", "sub/temp2"}),
        ("sub/", {"a.txt", "b.md", "temp1"}),
        ("/sub", {"a.txt", "b.md", "temp1"}),
        ("sub\n!sub/a.txt", {"a.txt", "b.md", "temp1", "sub/a.txt"}),
        ("*\n!b.md", {"b.md"}),
        ("./sub/../a.txt", {"b.md", "sub/a.txt", "sub/deep/a.txt", "temp1", "sub/temp2"}),
        ("*/*/a.txt", {"a.txt", "b.md", "sub/a.txt", "temp1", "sub/temp2"}),
    ],
)
def test_dockerignore_means_what_docker_says(tmp_path: Path, rules: str, kept: set[str]) -> None:
    for name in ("a.txt", "b.md", "sub/a.txt", "sub/deep/a.txt", "temp1", "sub/temp2", ".git/HEAD", "__pycache__/x.pyc"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / ".dockerignore").write_text(rules)
    assert {file.path for file in context_files(tmp_path)} == kept


def test_the_same_content_gives_the_same_digest_elsewhere(tmp_path: Path, wheels: Path) -> None:
    code = """
import sys
from pathlib import Path
from stackgraft.local.oci_builder import OciImageBuilder
from stackgraft.local.oci_layout import OciLayoutRegistry
from stackgraft.specs import BuildSpec
home = Path(sys.argv[1])
builder = OciImageBuilder(registry=OciLayoutRegistry(path=home / "registry").claim(), cache=home / "cache")
spec = BuildSpec(repository="app", context=home / "project", requirements="requirements.txt", step_runtime=False)
print(builder.submit(spec, name="x"))
"""
    source = "import re\nWORDS = {'a', 'b', 'c'}\ndef f(x):\n    return x in {'sets', 'have', 'no', 'order'} or re.match('x', x)\n"
    seen = set()
    for home, seed, umask, stamp, language in (("one", "0", 0o022, 1_000, "C"), ("another/place", "77", 0o077, 1_700_000_000, "C.UTF-8")):
        project = tmp_path / home / "project"
        project.mkdir(parents=True)
        names = ["z.py", "a.py", "m.txt"]
        for name in names if seed == "0" else reversed(names):
            (project / name).write_text(source if name.endswith(".py") else name)
            os.utime(project / name, (stamp, stamp))
        (project / "requirements.txt").write_text("tiny==1.0\n")
        env = {**os.environ, "PYTHONHASHSEED": seed, "LC_ALL": language, "UV_FIND_LINKS": str(wheels)}
        command = [sys.executable, "-c", code, str(tmp_path / home)]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=env, umask=umask)
        outcome = json.loads(done.stdout)
        seen.add((outcome["digest"], outcome["key"]))
    assert len(seen) == 1


def test_packages_lie_beside_the_code_and_name_no_host_path(
    builder: OciImageBuilder, registry: OciLayoutRegistry, project: Path, wheels: Path
) -> None:
    (project / "requirements.txt").write_text("tiny==1.0\n")
    image = build(builder, project, requirements="requirements.txt")
    entries = files_of(registry, image)
    assert "opt/site-packages/tiny/__init__.py" in entries
    assert any(name.startswith("opt/site-packages/tiny/__pycache__/__init__.cpython-") for name in entries)
    assert not [name for name in entries if name.startswith("opt/site-packages/bin") or name.endswith(("RECORD", ".lock"))]
    assert "PYTHONPATH=/app:/opt/site-packages:/opt/stackgraft" in config_of(registry, image)["config"]["Env"]
    shutil.rmtree(wheels)
    (project / "app.py").write_text("print('changed')\n")
    assert build(builder, project, requirements="requirements.txt").why == ("file app.py changed",)


def test_requirements_that_cannot_be_resolved_show_the_resolvers_words(builder: OciImageBuilder, project: Path, wheels: Path) -> None:
    del wheels
    (project / "requirements.txt").write_text("no-such-package-anywhere==9\n")
    with pytest.raises(SpecError, match="cannot be resolved") as refused:
        build(builder, project, requirements="requirements.txt")
    assert "no-such-package-anywhere" in str(refused.value)
    assert builder.container_registry().tags("app") == []


def test_the_image_says_how_to_start_and_where_it_comes_from(builder: OciImageBuilder, registry: OciLayoutRegistry, project: Path) -> None:
    git: Callable[..., Any] = lambda *words: subprocess.run(["git", "-C", str(project), *words], check=True, capture_output=True)  # noqa: E731
    git("init", "-q")
    git("config", "remote.origin.url", "https://user:made-up@example.org/team/app.git")
    git("add", ".")
    git("-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "first", "--date", "2020-01-01T00:00:00Z")
    image = build(builder, project, entrypoint=("python",), command=("app.py",), env={"A": "1"}, workdir="/srv", labels={"team": "x"})
    config = config_of(registry, image)["config"]
    labels = config["Labels"]
    assert (config["Entrypoint"], config["Cmd"], config["WorkingDir"]) == (["python"], ["app.py"], "/srv")
    assert "A=1" in config["Env"]
    assert labels["org.opencontainers.image.source"] == "https://example.org/team/app.git"
    assert len(labels["org.opencontainers.image.revision"]) == 40
    assert labels["team"] == "x"
    (project / "app.py").write_text("print('changed')\n")
    changed = config_of(registry, build(builder, project))["config"]["Labels"]
    assert changed["org.opencontainers.image.revision"].endswith("-dirty")


def test_an_image_grows_on_a_base_by_folder_or_by_reference(
    builder: OciImageBuilder, registry: OciLayoutRegistry, project: Path, tmp_path: Path
) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "tool.txt").write_text("from the base")
    base = build(builder, tmp_path / "base", repository="base", workdir="/usr/share", env={"FROM_BASE": "1"})
    shutil.copytree(registry.path / "base", tmp_path / "exported")
    for reference in (base.reference, f"base:{base.key}", f"{tmp_path / 'exported'}:{base.key}"):
        image = build(builder, project, base=reference)
        assert {"usr/share/tool.txt", "app/app.py"} <= set(files_of(registry, image))
        assert "FROM_BASE=1" in config_of(registry, image)["config"]["Env"]


@pytest.mark.parametrize("base", ["absent:v1", "absent"])
def test_a_base_that_does_not_exist_is_refused(builder: OciImageBuilder, project: Path, base: str) -> None:
    with pytest.raises(SpecError, match="base image does not exist"):
        build(builder, project, base=base)


def test_a_builder_without_a_registry_says_what_is_missing(project: Path, tmp_path: Path) -> None:
    with pytest.raises(IncompatibleStackError, match="needs a container registry"):
        build(OciImageBuilder(cache=tmp_path), project)


def test_every_setting_changes_the_key_and_a_commit_elsewhere_does_not(builder: OciImageBuilder, project: Path) -> None:
    plain = BuildSpec(repository="app", context=project)
    others: list[dict[str, Any]] = [
        {"python": "3.12"},
        {"platform": "linux/arm64"},
        {"command": ("x",)},
        {"entrypoint": ("x",)},
        {"env": {"A": "1"}},
        {"workdir": "/srv"},
        {"labels": {"a": "b"}},
        {"step_runtime": True},
    ]
    keys = [builder.content_key(plain), *(builder.content_key(plain.model_copy(update=change)) for change in others)]
    assert len(set(keys)) == len(keys)
