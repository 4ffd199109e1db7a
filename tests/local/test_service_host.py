"""A service's host, when what it hosts, or whoever asks it, goes wrong."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit

import pytest

from stackgraft import lifecycle
from stackgraft.job import JobState
from stackgraft.local import detached
from stackgraft.local.process_deployer import ProcessDeployer
from stackgraft.outcomes import RemovedService
from stackgraft.specs import RemovalSpec
from stackgraft.testing import QUICK, log_text, run
from tests.local.conftest import SERVICE
from tests.local.test_process_deployer import answers, deployed, get, processes_of, web
from tests.local.test_process_step import eventually


@pytest.mark.parametrize("bad", [{"health_path": "/hälsa"}, {"env": {"A=B": "x"}}, {"env": {"A": "\0"}}], ids=["path", "name", "value"])
def test_whatever_is_wrong_with_a_rollout_the_version_that_serves_goes_on(
    deployer: ProcessDeployer, images: Sequence[str], bad: dict[str, object]
) -> None:
    url = deployed(deployer, web(images[0])).url
    before = set(processes_of(deployer))
    status = run(deployer, web(images[1]).model_copy(update=bad))  # as if the spec had not refused it
    assert status.state is JobState.FAILED
    assert f"still serving {images[0]}" in status.reason
    assert get(url + "/") == "one"
    assert eventually(lambda: set(processes_of(deployer)) == before)


def test_a_service_is_removed_though_its_port_was_taken_since(deployer: ProcessDeployer, images: Sequence[str]) -> None:
    url = deployed(deployer, web(images[0])).url
    for pid in processes_of(deployer):
        os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: not processes_of(deployer))
    with socket.create_server(("127.0.0.1", urlsplit(url).port or 0)):
        removed = RemovedService.model_validate(run(deployer, RemovalSpec(service="web")).unwrap())
    assert removed.removed
    assert not (deployer.state / "services" / "web").exists()


def test_a_removal_whose_host_was_killed_at_its_very_end_has_succeeded(deployer: ProcessDeployer) -> None:
    (deployer.state / "removed").mkdir(parents=True)
    (deployer.state / "removed" / "ended.json").write_text('{"state": "RUNNING"}')
    status = lifecycle.wait(deployer, deployer.ticket("web/ended"), QUICK)
    assert RemovedService.model_validate(status.unwrap()).removed


def test_a_removal_whose_submitter_was_killed_before_it_asked_is_carried_out(deployer: ProcessDeployer, images: Sequence[str]) -> None:
    deployed(deployer, web(images[0]))
    (deployer.state / "removed").mkdir(parents=True)
    (deployer.state / "removed" / "begun.json").write_text('{"state": "RUNNING"}')
    assert lifecycle.wait(deployer, deployer.ticket("web/begun"), QUICK).state is JobState.SUCCEEDED
    assert deployer.find("web") is None


def test_a_version_that_is_healthy_no_more_is_not_reused(deployer: ProcessDeployer, make_image: Callable[..., str]) -> None:
    sick = SERVICE.replace("{answer!r}", "'one'").replace("self.send_response(200)", "self.send_response(500 if sick else 200)")
    sick = sick.replace("def do_GET(self):", "def do_GET(self):\n        global sick\n        sick = sick or self.path == '/fall-ill'")
    image = make_image({"serve.py": sick.replace("class Handler", "sick = False\n\nclass Handler")}, command=("python", "serve.py"))
    url = deployed(deployer, web(image)).url
    assert deployed(deployer, web(image)).reused
    with pytest.raises(HTTPError):
        get(url + "/fall-ill")
    assert not deployed(deployer, web(image)).reused
    assert get(url + "/") == "one"


def test_a_version_whose_process_has_ended_is_not_healthy_whoever_answers(
    deployer: ProcessDeployer, make_image: Callable[..., str]
) -> None:
    serve = SERVICE.replace("{answer!r}", "'one'").replace(
        "def do_GET(self):", "def do_GET(self):\n        os.kill(os.getppid(), 9)\n        time.sleep(0.2)"
    )
    image = make_image({"serve.py": serve}, command=("sh", "-c", "python3 serve.py; true"))
    status = run(deployer, web(image))
    assert status.state is JobState.FAILED
    assert "killed by SIGKILL" in status.reason
    assert eventually(lambda: not processes_of(deployer))


@pytest.fixture
def wrapped_image(make_image: Callable[..., str]) -> str:
    """Return an image whose service is not the process that the host starts, but one that this starts."""
    return make_image({"serve.py": SERVICE.replace("{answer!r}", "'one'")}, command=("sh", "-c", "python3 serve.py; true"))


def test_what_a_killed_hosts_version_had_started_ends_with_the_service(deployer: ProcessDeployer, wrapped_image: str) -> None:
    deployed(deployer, web(wrapped_image))
    (host,) = [pid for pid in processes_of(deployer) if b"service_host" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(host, signal.SIGKILL)
    assert eventually(lambda: not detached.alive(deployer.state / "services" / "web"))
    assert processes_of(deployer) != []
    run(deployer, RemovalSpec(service="web"))
    assert eventually(lambda: not processes_of(deployer))


def test_a_version_started_again_prints_to_its_rollouts_log_and_leaves_nothing_of_before(
    deployer: ProcessDeployer, wrapped_image: str
) -> None:
    url = deployed(deployer, web(wrapped_image)).url
    (rollout,) = (deployer.state / "services" / "web" / "rollouts").iterdir()
    before = (rollout / "group").read_text()
    os.kill(int(before), signal.SIGKILL)
    assert eventually(lambda: (rollout / "group").exists() and (rollout / "group").read_text() not in {"", before})
    assert eventually(lambda: answers(url + "/again?"))
    assert eventually(lambda: "/again?" in log_text(deployer, f"web/{rollout.name}"))
    assert eventually(lambda: len(processes_of(deployer)) == 3)  # the host, the shell and the service


def test_versions_of_an_image_do_not_see_each_others_files(deployer: ProcessDeployer, make_image: Callable[..., str]) -> None:
    serve = "open('written', 'x')\n" + SERVICE.replace("{answer!r}", "'one'")
    image = make_image({"serve.py": serve}, command=("python", "serve.py"))
    for version in ("1", "2"):
        assert get(deployed(deployer, web(image, env={"VERSION": version})).url + "/") == "one"
    assert deployed(deployer, web(image, env={"VERSION": "2"})).reused
    assert eventually(lambda: len(list(deployer.state.glob("services/web/rollouts/*/root"))) == 1)


def test_the_environment_is_for_its_owners_eyes(deployer: ProcessDeployer, images: Sequence[str]) -> None:
    deployed(deployer, web(images[0], env={"TOKEN": "made up"}))
    holding = [path for path in deployer.state.glob("services/web/**/*.json") if "made up" in path.read_text()]
    assert sorted(path.name for path in holding) == ["current.json", "request.json"]
    assert {path.stat().st_mode & 0o777 for path in holding} == {0o600}
