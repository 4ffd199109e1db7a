"""What git says about an image, on real repositories."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from stackgraft.local.git_labels import git_labels

Git = Callable[..., str]
REVISION, SOURCE, CREATED = (f"org.opencontainers.image.{name}" for name in ("revision", "source", "created"))


def everything(path: str) -> bool:
    return bool(path)


@pytest.fixture
def git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Git:
    """Run git in a repository with one commit of ``project/app.py``, at a fixed time."""
    for name in ("GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"):
        monkeypatch.setenv(name, "2020-01-01T00:00:00+00:00")

    def run(*words: str) -> str:
        command = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@example.org", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    run("init", "-q")
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "app.py").write_text("1\n")
    run("add", ".")
    run("commit", "-qm", "first")
    return run


def test_a_folder_outside_of_git_has_no_labels(tmp_path: Path) -> None:
    assert git_labels(tmp_path, everything) == {}


def test_revision_and_time_are_of_the_last_commit_that_touched_the_context(git: Git, tmp_path: Path) -> None:
    first = git("rev-parse", "HEAD")
    (tmp_path / "elsewhere.txt").write_text("another part of the repository")
    git("add", ".")
    git("commit", "-qm", "elsewhere")
    assert git("rev-parse", "HEAD") != first
    assert git_labels(tmp_path / "project", everything) == {REVISION: first, CREATED: "2020-01-01T00:00:00+00:00"}


@pytest.mark.parametrize(
    ("change", "dirty"),
    [
        (lambda project: (project / "app.py").write_text("2\n"), True),
        (lambda project: (project / "app.py").unlink(), True),
        (lambda project: (project / "blåbär ny.py").touch(), True),
        (lambda project: (project / "notes.ignored").touch(), False),
        (lambda project: (project.parent / "elsewhere.txt").touch(), False),
    ],
    ids=["changed", "deleted", "new", "not in the image", "outside of the context"],
)
def test_only_files_that_go_into_the_image_make_it_dirty(git: Git, tmp_path: Path, change: Callable[[Path], object], dirty: bool) -> None:
    change(tmp_path / "project")
    labels = git_labels(tmp_path / "project", lambda path: not path.endswith(".ignored"))
    assert labels[REVISION] == git("rev-parse", "HEAD") + ("-dirty" if dirty else "")


@pytest.mark.parametrize(
    ("remote", "source"),
    [
        ("https://example.org/team/app.git", "https://example.org/team/app"),
        ("https://example.org/team/app/", "https://example.org/team/app"),
        ("https://user:made-up@example.org/team/app.git", "https://example.org/team/app"),
        ("https://user:made@up@example.org/app.git", "https://example.org/app"),
        ("https://user:made/up@example.org/app.git", None),
        ("https://token@example.org:8443/app.git", "https://example.org:8443/app"),
        ("https://example.org/@team/app.git", "https://example.org/@team/app"),
        ("http://git.local:3000/team/app", "http://git.local:3000/team/app"),
        ("git@example.org:team/app.git", "https://example.org/team/app"),
        ("example.org:team/app.git", "https://example.org/team/app"),
        ("ssh://git@example.org:2222/team/app.git", "https://example.org/team/app"),
        ("git://example.org/team/app.git", "https://example.org/team/app"),
        ("/srv/git/app.git", None),
        ("../app.git", None),
        ("file:///srv/git/app.git", None),
    ],
)
def test_the_source_is_the_remote_without_credentials_and_never_a_local_folder(
    git: Git, tmp_path: Path, remote: str, source: str | None
) -> None:
    git("config", "remote.origin.url", remote)
    assert git_labels(tmp_path / "project", everything).get(SOURCE) == source


def test_a_hooks_variables_never_lead_to_another_repository(git: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    revision = git("rev-parse", "HEAD")
    other = tmp_path / "other"
    subprocess.run(["git", "init", "-q", str(other)], check=True)
    for name in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"):
        monkeypatch.setenv(name, str(other / ".git"))
    assert git_labels(tmp_path / "project", everything)[REVISION] == revision


def test_clones_of_any_depth_and_by_any_protocol_name_one_source(git: Git, tmp_path: Path) -> None:
    git("commit", "-qm", "elsewhere", "--allow-empty")
    labels = []
    for name, depth, remote in (("full", [], "git@example.org:app.git"), ("shallow", ["--depth=1"], "https://example.org/app")):
        git("clone", "-q", *depth, f"file://{tmp_path}", str(tmp_path / name))
        subprocess.run(["git", "-C", str(tmp_path / name), "config", "remote.origin.url", remote], check=True)
        labels.append(git_labels(tmp_path / name / "project", everything))
    assert [label[SOURCE] for label in labels] == ["https://example.org/app"] * 2
    assert [label[REVISION] for label in labels] == [git("rev-parse", "HEAD~"), git("rev-parse", "HEAD")]
