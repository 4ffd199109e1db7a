"""The command line as its users meet it: what it prints, and its exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from stackgraft import cli
from stackgraft.artifacts.ref import ArtifactRef
from stackgraft.lineage import LineageRecord, log_of
from stackgraft.local.filesystem_store import FilesystemArtifactStore

IMAGE = f"registry/app@sha256:{5:064x}"


class Shell:
    """A folder with a stack, in which commands run."""

    def __init__(self, home: Path, capture: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        (home / "stacks.toml").write_text(
            'default = "local"\n[stacks.local]\nartifact_store = { flavor = "local", path = "store" }\n[stacks.bare]\n'
        )
        monkeypatch.setenv("STACKGRAFT_CONFIG", str(home / "stacks.toml"))
        monkeypatch.delenv("STACKGRAFT_STACK", raising=False)
        self.home, self.capture, self.monkeypatch = home, capture, monkeypatch
        self.store = FilesystemArtifactStore(path=home / "store", cache=home / "cache")

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Run a command; return its exit code, and what it printed to stdout and stderr."""
        self.monkeypatch.setattr(sys, "argv", ["stackgraft", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.run()
        shown = self.capture.readouterr()
        return int(ended.value.code or 0), shown.out, shown.err

    def json(self, *arguments: str) -> Any:
        code, out, err = self(*arguments, "--json")
        assert (code, err) == (0, "")
        return json.loads(out)


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    """Return a shell whose store holds two versions of a model, made from data and served."""
    shell = Shell(tmp_path, capsys, monkeypatch)
    data = shell.store.save("data", b"x" * 100)
    for number in (1, 2):
        model = shell.store.save("model", {"v": number})
        write(shell, "train", number, inputs=(data,), outputs=(model,))
        write(shell, "deploy", number, inputs=(model,), image=IMAGE, service="app", url="http://app")
    return shell


def write(shell: Shell, task: str, number: int, **fields: Any) -> None:
    times = {"started": 1.7e9 + number, "ended": 1.7e9 + number + 0.5}
    shell_record = LineageRecord(engine="prefect", pipeline="flow", run=f"r{number}", task=task, outcome="success", **times, **fields)
    log_of(shell.store).write(shell_record)


def test_lineage_is_a_tree_by_default(shell: Shell) -> None:
    code, out, err = shell("lineage", "model@1")
    assert (code, err) == (0, "")
    assert out.startswith("model@1")
    assert "output flow.train" in out
    assert "input data@1" in out
    assert "served app" in out


@pytest.mark.parametrize(
    ("flags", "nodes"),
    [
        ((), {"model@1", "flow.train", "data@1", "flow.deploy", "app"}),
        (("--both",), {"model@1", "flow.train", "data@1", "flow.deploy", "app"}),
        (("--backward",), {"model@1", "flow.train", "data@1"}),
        (("--forward",), {"model@1", "flow.deploy", "app"}),
        (("--forward", "--limit", "2"), {"model@1", "flow.deploy"}),
    ],
)
def test_lineage_goes_the_way_that_is_asked_for(shell: Shell, flags: tuple[str, ...], nodes: set[str]) -> None:
    assert {node["label"] for node in shell.json("lineage", "model@1", *flags)["nodes"]} == nodes


@pytest.mark.parametrize("subject", ["model", "model@2", "app", "r1", "flow/r1", IMAGE, IMAGE.partition("@")[2]])
def test_lineage_takes_artifacts_images_services_and_runs(shell: Shell, subject: str) -> None:
    assert len(shell.json("lineage", subject)["edges"]) > 1


def test_lineage_is_written_in_each_format(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "out"

    def written(form: str) -> str:
        assert shell("lineage", "app", "--format", form, "--output", str(path)) == (0, "", "")
        return path.read_text(encoding="utf-8")

    assert json.loads(written("json"))["root"] == "service:app"
    assert ET.fromstring(written("svg")).tag.endswith("svg")  # noqa: S314 - our own document
    assert written("html").startswith("<!doctype html>")
    assert written("mermaid").startswith("flowchart")
    assert written("tree").startswith("app")
    events = [json.loads(line) for line in written("openlineage").splitlines()]
    assert [event["eventType"] for event in events] == ["START", "COMPLETE"] * 4
    assert events[0]["inputs"][0]["namespace"] == str(shell.store.path)


def test_a_question_that_met_many_loose_records_leaves_few(shell: Shell) -> None:
    for number in range(10, 20):
        write(shell, "t", number)
    shell.json("lineage", "model")
    assert list(shell.store.path.glob("lineage/records/*")) == []
    assert len(shell.json("lineage", "r15")["nodes"]) == 2


def test_compaction_says_what_it_did(shell: Shell) -> None:
    assert shell.json("lineage-compact") == {"records": 4, "loose": 4, "segments": 0}
    assert shell("lineage-compact") == (0, "nothing to compact\n", "")
    (shell.store.path / "lineage/records").mkdir(exist_ok=True)
    (shell.store.path / "lineage/records/bad.json").write_text("{")
    code, _, err = shell("lineage-compact")
    assert code == 1
    assert "damaged: A lineage record cannot be read: bad.json" in err
    assert shell("lineage", "model")[0] == 0


def test_artifacts_are_listed_and_shown(shell: Shell) -> None:
    listed = shell.json("artifacts", "list")
    assert [(one["name"], one["version"]) for one in listed] == [("data", 1), ("model", 2)]
    code, out, _ = shell("artifacts", "list")
    assert code == 0
    assert out.splitlines()[1].split()[:3] == ["data", "1", "bytes"]
    shown = shell.json("artifacts", "show", "model@1")
    assert (shown["version"], shown["versions"]) == (1, [1, 2])
    assert ArtifactRef(**{key: shown[key] for key in ("name", "version", "digest", "type", "size")}) == shell.store.resolve("model@1")
    assert "digest    sha256:" in shell("artifacts", "show", "model")[1]


def test_an_empty_store_says_so(shell: Shell) -> None:
    (shell.home / "stacks.toml").write_text('default = "x"\n[stacks.x]\nartifact_store = { flavor = "local", path = "empty" }\n')
    assert shell("artifacts", "list") == (0, f"There are no artifacts in {shell.home / 'empty'}\n", "")
    assert shell.json("artifacts", "list") == []
    assert shell("lineage", "model")[0] == 1


def test_garbage_is_counted_and_collected(shell: Shell) -> None:
    assert shell.json("artifacts", "gc", "--dry-run")["dry_run"] is True
    code, out, _ = shell("artifacts", "gc")
    assert code == 0
    assert "0 objects of 0 bytes were deleted" in out


def test_damage_is_exit_code_one(shell: Shell) -> None:
    assert shell.json("artifacts", "verify")["damaged"] == []
    for chunk in shell.store.path.glob("cas/sha256/*/*"):
        chunk.write_bytes(b"damaged")
    code, out, err = shell("artifacts", "verify")
    assert code == 1
    assert "damaged" in out
    assert "damaged: " in err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("lineage", "modle"), 1, "did you mean 'model'?"),
        (("lineage", "model@9"), 1, "the nearest is model@2"),
        (("artifacts", "show", "no such name!"), 1, "No store can hold an artifact of that name"),
        (("lineage", "model", "--stack", "loca"), 2, "did you mean 'local'?"),
        (("lineage", "model", "--stack", "bare"), 2, "has no artifact_store"),
        (("lineage", "model", "--output", "/nowhere/at/all"), 2, "The file cannot be written"),
        (("lineage",), 2, "Missing argument"),
        (("lineage", "model", "--format", "png"), 2, "png"),
        (("artefacts",), 2, "artefacts"),
    ],
)
def test_what_is_wrong_is_said_without_a_traceback(shell: Shell, arguments: tuple[str, ...], code: int, said: str) -> None:
    found, out, err = shell(*arguments)
    assert (found, out) == (code, "")
    assert said in err
    assert "Traceback" not in err


def test_a_storage_out_of_reach_is_exit_code_three(shell: Shell) -> None:
    (shell.home / "stacks.toml").write_text(
        'default = "x"\n[stacks.x]\nartifact_store = { flavor = "local", path = "stacks.toml/store" }\n'
    )
    code, _, err = shell("lineage", "model")
    assert code == 3
    assert "The artifact store's folder cannot be made" in err


def test_every_command_documents_its_exit_codes(shell: Shell) -> None:
    for command in (("lineage",), ("lineage-compact",), *(("artifacts", name) for name in ("list", "show", "gc", "verify"))):
        code, out, _ = shell(*command, "--help")
        assert code == 0
        assert "Exit codes" in out
        assert "--json" in out


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, env=env)


def test_the_module_is_the_command(shell: Shell) -> None:
    done = python("-m", "stackgraft", "lineage", "model@1", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == shell.json("lineage", "model@1")


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_its_extra_the_command_says_what_to_install(missing: str) -> None:
    done = python("-c", f"import sys; sys.modules[{missing!r}] = None; from stackgraft.__main__ import main; main()")
    assert done.returncode == 2
    assert "pip install 'stackgraft[cli]'" in done.stderr
    assert "Traceback" not in done.stderr
