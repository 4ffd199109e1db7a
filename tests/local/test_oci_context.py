"""Which files of a project go into its image, and what is refused."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from stackgraft.errors import BackendError, SpecError
from stackgraft.local.build_context import context_files

FILES = ("a.txt", "b.md", "sub/a.txt", "sub/deep/a.txt", "temp1", "sub/temp2", ".git/HEAD", "__pycache__/x.pyc", "sub/.git")


@pytest.mark.parametrize(
    ("rules", "kept"),
    [
        ("", {"a.txt", "b.md", "sub/a.txt", "sub/deep/a.txt", "temp1", "sub/temp2"}),
        ("# comment\n\n  *.txt  ", {"b.md", "sub/a.txt", "sub/deep/a.txt", "temp1", "sub/temp2"}),
        ("**/*.txt", {"b.md", "temp1", "sub/temp2"}),
        ("*/temp*", {"a.txt", "b.md", "sub/a.txt", "sub/deep/a.txt", "temp1"}),
        ("temp?", {"a.txt", "b.md", "sub/a.txt", "sub/deep/a.txt", "sub/temp2"}),
        ("*.t[a-x]t", {"b.md", "sub/a.txt", "sub/deep/a.txt", "temp1", "sub/temp2"}),
        ("sub/", {"a.txt", "b.md", "temp1"}),
        ("/sub", {"a.txt", "b.md", "temp1"}),
        ("sub/*", {"a.txt", "b.md", "temp1"}),
        ("sub\n!sub/a.txt", {"a.txt", "b.md", "temp1", "sub/a.txt"}),
        ("sub\n!sub/deep", {"a.txt", "b.md", "temp1", "sub/deep/a.txt"}),
        ("*\n!b.md", {"b.md"}),
        ("**\n!b.md", {"b.md"}),
        ("!b.md\n*.md", {"a.txt", "sub/a.txt", "sub/deep/a.txt", "temp1", "sub/temp2"}),
        ("./sub/../a.txt", {"b.md", "sub/a.txt", "sub/deep/a.txt", "temp1", "sub/temp2"}),
        ("*/*/a.txt", {"a.txt", "b.md", "sub/a.txt", "temp1", "sub/temp2"}),
        ("\ufeffb.md", {"a.txt", "sub/a.txt", "sub/deep/a.txt", "temp1", "sub/temp2"}),
        ("*\n!.git\n!__pycache__", set()),
    ],
)
def test_dockerignore_means_what_docker_says(tmp_path: Path, rules: str, kept: set[str]) -> None:
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / ".dockerignore").write_text(rules, encoding="utf-8")
    assert {file.path for file in context_files(tmp_path)} == kept


@pytest.mark.parametrize(("rules", "says"), [(b"a\\", r"/a\\"), (b"[z-a]", "bad character range z-a"), (b"caf\xe9", "codec can't decode")])
def test_a_dockerignore_that_makes_no_sense_is_refused_by_its_pattern(tmp_path: Path, rules: bytes, says: str) -> None:
    (tmp_path / ".dockerignore").write_bytes(rules)
    with pytest.raises(SpecError, match=r"cannot be understood[\s\S]*\.dockerignore") as refused:
        context_files(tmp_path)
    assert says in str(refused.value)


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Be a user who may not read everything."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_a_folder_that_cannot_be_read_is_never_left_out_silently(tmp_path: Path) -> None:
    (tmp_path / "private").mkdir()
    (tmp_path / "private").chmod(0)
    tmp_path.chmod(0o755)
    # From inside, since nobody may enter the folders above.
    with contextlib.chdir(tmp_path), as_nobody(), pytest.raises(SpecError, match=r"context cannot be read[\s\S]*private"):
        context_files(Path())


def test_a_fingerprint_tells_content_executable_bit_and_target_apart(tmp_path: Path) -> None:
    seen = []
    for content, mode in (("one", 0o644), ("two", 0o644), ("two", 0o755), ("two", 0o755)):
        (tmp_path / "file").write_text(content)
        (tmp_path / "file").chmod(mode)
        seen += [file.fingerprint for file in context_files(tmp_path)]
    (tmp_path / "file").unlink()
    (tmp_path / "file").symlink_to("two")
    seen += [file.fingerprint for file in context_files(tmp_path)]
    assert seen[2] == seen[3]
    assert len(set(seen)) == 4


def test_a_file_that_changes_while_the_image_is_built_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "app.py").write_text("as it was planned")
    [file] = context_files(tmp_path / "project")
    file.source.write_text("as it is now")
    with pytest.raises(BackendError, match=r"changed while the image was built[\s\S]*app\.py") as noticed:
        file.copy_below(tmp_path / "copy")
    assert noticed.value.transient


def test_a_socket_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the name of a socket may not be long
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("s.sock")
        with pytest.raises(SpecError, match=r"no image can[\s\S]*s\.sock"):
            context_files(tmp_path)
    (tmp_path / ".dockerignore").write_text("*.sock")
    assert context_files(tmp_path) == []


def test_a_name_that_is_not_utf_8_is_refused_until_it_is_ignored(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.txt")).touch()
    with pytest.raises(SpecError, match="not UTF-8"):
        context_files(tmp_path)
    (tmp_path / ".dockerignore").write_text("caf*")
    assert context_files(tmp_path) == []
