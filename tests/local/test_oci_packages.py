"""The packages of an image, the same digest everywhere, and stackgraft's core as it runs from an image's layers."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from stackgraft.errors import BackendError, SpecError
from stackgraft.local.site_packages import runtime_pins

BUILD = """
import sys
from pathlib import Path
from stackgraft.local.oci_builder import OciImageBuilder
from stackgraft.local.oci_layout import OciLayoutRegistry
from stackgraft.specs import BuildSpec
home = Path(sys.argv[1])
builder = OciImageBuilder(registry=OciLayoutRegistry(path=home / "registry").claim(), cache=home / "cache")
print(builder.submit(BuildSpec(repository="app", context=home / "project", requirements="requirements.txt"), name="x"))
"""
SOURCE = "import re\nWORDS = {'a', 'b', 'c'}\ndef f(x):\n    return x in {'sets', 'have', 'no', 'order'} or re.match('x', x)\n"
ELSEWHERE = [
    {"home": "one", "seed": "0", "umask": 0o022, "time": 1_000, "locale": "C", "names": ["a.py", "å.py", "z.py"]},
    {"home": "another/place", "seed": "77", "umask": 0o077, "time": 1_700_000_000, "locale": "C.UTF-8", "names": ["z.py", "å.py", "a.py"]},
]


def built_elsewhere(root: Path, wheels: Path, place: dict[str, Any]) -> dict[str, Any]:
    """Build the same content in another process, under another path, at another time, with other settings of the machine."""
    home = root / place["home"]
    shutil.copytree(wheels, home / "wheels")
    (home / "project").mkdir()
    for name in place["names"]:
        (home / "project" / name).write_text(SOURCE)
    (home / "project" / "requirements.txt").write_text("tiny==1.0\n")
    for path in home.rglob("*.*"):
        os.utime(path, (place["time"], place["time"]))
    env = {**os.environ, "PYTHONHASHSEED": place["seed"], "LC_ALL": place["locale"], "UV_FIND_LINKS": str(home / "wheels")}
    command = [sys.executable, "-c", BUILD, str(home)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=env, umask=place["umask"])
    return dict(json.loads(done.stdout))


def test_the_same_content_gives_the_same_digest_elsewhere(tmp_path: Path, wheels: Path) -> None:
    one, another = (built_elsewhere(tmp_path, wheels, place) for place in ELSEWHERE)
    assert (one["key"], one["digest"]) == (another["key"], another["digest"])


def test_packages_lie_beside_the_code_and_name_nothing_of_this_machine(oci: Any, wheels: Path) -> None:
    (oci.project / "requirements.txt").write_text("tiny==1.0\n")
    image = oci.build(requirements="requirements.txt")
    installed = {name.removeprefix("opt/site-packages/") for name, entry in oci.files(image).items() if entry.isreg()} - {"app/app.py"}
    ours = {name for name in installed if name.startswith("tiny") and "__pycache__" not in name}
    assert ours == {"tiny/__init__.py", *(f"tiny-1.0.dist-info/{name}" for name in ("METADATA", "WHEEL", "entry_points.txt"))}
    assert f"tiny/__pycache__/__init__.{sys.implementation.cache_tag}.pyc" in installed
    assert not [layer for layer in oci.layers(image) if str(wheels.parent).encode() in layer]


def test_a_change_of_code_installs_nothing_again(oci: Any, wheels: Path) -> None:
    (oci.project / "requirements.txt").write_text("tiny==1.0\n")
    first = oci.build(requirements="requirements.txt")
    shutil.rmtree(wheels)  # from now on nothing can be installed
    (oci.project / "app.py").write_text("print('changed')\n")
    second = oci.build(requirements="requirements.txt")
    assert second.why == ("file app.py changed",)
    assert oci.manifest(second)["layers"][0] == oci.manifest(first)["layers"][0]


def test_a_changed_file_that_the_requirements_name_installs_again(oci: Any, wheels: Path) -> None:
    (oci.project / "requirements").mkdir()
    prod, base = (oci.project / "requirements" / name for name in ("prod.txt", "base.txt"))
    prod.write_text("-r base.txt\n")
    base.write_text("# nothing yet\n")
    assert not any("tiny" in name for name in oci.files(oci.build(requirements="requirements/prod.txt")))
    base.write_text(f"--requirement=prod.txt  # round and round\n{next(wheels.iterdir())}\n")
    image = oci.build(requirements="requirements/prod.txt")
    assert any("tiny" in name for name in oci.files(image))
    assert image.why == ("requirements changed", "file requirements/base.txt changed")


def test_a_wheel_of_the_project_is_installed_and_decides_the_key(oci: Any, wheels: Path) -> None:
    shutil.move(next(wheels.iterdir()), oci.project)
    (oci.project / ".dockerignore").write_text("*.whl")
    (oci.project / "requirements.txt").write_text("./tiny-1.0-py3-none-any.whl\n")
    spec = oci.spec(requirements="requirements.txt")
    assert any("tiny/" in name for name in oci.files(oci.build(requirements="requirements.txt")))
    key = oci.builder.content_key(spec)
    (oci.project / "tiny-1.0-py3-none-any.whl").write_bytes(b"another")
    assert oci.builder.content_key(spec) != key


def test_a_damaged_layer_in_the_cache_is_made_again(oci: Any, wheels: Path) -> None:
    assert wheels.is_dir()
    (oci.project / "requirements.txt").write_text("tiny==1.0\n")
    first = oci.build(requirements="requirements.txt")
    [kept] = oci.builder.cache.glob("*.tar")
    kept.write_bytes(kept.read_bytes()[:100])
    shutil.rmtree(oci.registry.path)
    assert oci.build(requirements="requirements.txt").digest == first.digest


def test_requirements_that_cannot_be_resolved_show_the_resolvers_words_and_tag_nothing(oci: Any, wheels: Path) -> None:
    assert wheels.is_dir()
    (oci.project / "requirements.txt").write_text("no-such-package-anywhere==9\n")
    with pytest.raises(SpecError, match=r"cannot be resolved[\s\S]*no-such-package-anywhere was not found"):
        oci.build(requirements="requirements.txt")
    assert oci.registry.tags("app") == []


def test_an_index_that_is_out_of_reach_is_worth_another_try(oci: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # nobody listens
        monkeypatch.setenv("UV_DEFAULT_INDEX", f"http://127.0.0.1:{closed.getsockname()[1]}/simple")
        monkeypatch.setenv("UV_HTTP_RETRIES", "0")
        (oci.project / "requirements.txt").write_text("no-such-package-anywhere==9\n")
        with pytest.raises(BackendError, match=r"out of reach[\s\S]*requirements\.txt[\s\S]*127\.0\.0\.1") as unreachable:
            oci.build(requirements="requirements.txt")
    assert unreachable.value.transient


def test_a_binary_file_is_read_for_no_names_and_a_comment_names_nothing(oci: Any, wheels: Path) -> None:
    assert wheels.is_dir()
    (oci.project / "logo.png").write_bytes(b"\x89PNG\xff\xfe")
    (oci.project / ".dockerignore").write_text("*.png")
    (oci.project / "requirements.txt").write_text("# drawn by logo.png\ntiny==1.0  # see logo.png\n")
    spec = oci.spec(requirements="requirements.txt")
    key = oci.builder.content_key(spec)
    (oci.project / "logo.png").write_bytes(b"\x89PNG, drawn again")
    assert oci.builder.content_key(spec) == key
    (oci.project / "requirements.txt").write_text("logo.png\n")
    (oci.project / "logo.png").write_bytes(b"\x89PNG\xff\xfe")
    assert oci.builder.content_key(spec) != key


def test_what_the_step_runtime_installs_is_pinned_to_this_machines_versions(tmp_path: Path) -> None:
    pins = runtime_pins(tmp_path, None)
    assert {f"{name}=={version(name)}" for name in ("obstore", "pydantic", "pydantic-core")} <= set(pins)
    assert pins == sorted(pins)


@pytest.mark.parametrize(
    ("requirements", "pinned"),
    [
        ("", {"obstore", "pydantic", "pydantic-core"}),
        ("# pydantic, some day\n", {"obstore", "pydantic", "pydantic-core"}),
        ("Pydantic_Core==2.0\n", {"obstore", "pydantic"}),
        ("pydantic>=2.7 --hash=sha256:00\n", {"obstore"}),
        ("-r more.txt\n", {"pydantic", "pydantic-core"}),
        ("https://example.org/obstore-0.8.0-cp311-abi3-linux_x86_64.whl\n", {"pydantic", "pydantic-core"}),
    ],
)
def test_a_package_that_the_project_names_is_not_pinned_nor_what_it_needs(tmp_path: Path, requirements: str, pinned: set[str]) -> None:
    (tmp_path / "requirements.txt").write_text(requirements)
    (tmp_path / "more.txt").write_text("obstore==0.8.0\n")
    names = {re.split("==", pin)[0] for pin in runtime_pins(tmp_path, Path("requirements.txt"))}
    assert names & {"obstore", "pydantic", "pydantic-core"} == pinned


def test_the_pins_decide_the_key_of_an_image_that_runs_steps(oci: Any) -> None:
    keys = set()
    for text in ("", "obstore\n"):
        (oci.project / "requirements.txt").write_text(text)
        ingredients = oci.builder._plan(oci.spec(requirements="requirements.txt", step_runtime=True)).ingredients
        keys.add(ingredients["the core's packages"])
    assert len(keys) == 2


def test_a_platform_without_wheels_is_refused(oci: Any, wheels: Path) -> None:
    assert wheels.is_dir()
    (oci.project / "requirements.txt").write_text("tiny==1.0\n")
    with pytest.raises(SpecError, match=r"No wheels[\s\S]*linux/riscv64"):
        oci.build(requirements="requirements.txt", platform="linux/riscv64")


def test_the_step_runtime_runs_from_the_image_and_finds_its_flavors(oci: Any, tmp_path: Path) -> None:
    """The one test that asks the package index: for what stackgraft's core needs."""
    image = oci.build(step_runtime=True)
    for layer in oci.layers(image):
        with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
            tar.extractall(tmp_path / "root", filter="data")
    env = dict(variable.split("=", 1) for variable in oci.config(image)["config"]["Env"])
    path = ":".join(f"{tmp_path / 'root'}{folder}" for folder in env["PYTHONPATH"].split(":"))
    code = "import stackgraft.steps as s; from stackgraft.flavors import load; print(s.__file__, load('artifact_store', 'local').flavor)"
    done = subprocess.run(
        [sys.executable, "-S", "-s", "-P", "-c", code], check=True, capture_output=True, text=True, env={"PYTHONPATH": path}
    )
    assert done.stdout.split() == [str(tmp_path / "root" / "opt/stackgraft/stackgraft/steps.py"), "local"]
    assert not any("stackgraft/testing" in name for name in oci.files(image))
    assert any(f"pydantic-{version('pydantic')}.dist-info" in name for name in oci.files(image))
