"""The process deployer, on real processes and real requests."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from stackgraft.errors import BackendError
from stackgraft.job import JobState
from stackgraft.local.oci_layout import OciLayoutRegistry
from stackgraft.local.process_deployer import ProcessDeployer
from stackgraft.outcomes import DeployedService
from stackgraft.specs import RemovalSpec, ServiceSpec
from stackgraft.testing import DeployerContract, log_text, run
from tests.local.test_process_step import eventually, running


def web(image: str, **settings: object) -> ServiceSpec:
    return ServiceSpec.model_validate({"service": "web", "image": image, "start_timeout_seconds": 20, **settings})


def deployed(deployer: ProcessDeployer, spec: ServiceSpec) -> DeployedService:
    return DeployedService.model_validate(run(deployer, spec).unwrap())


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - the deployer's own URL
        return str(answer.read().decode())


def answers(url: str) -> bool:
    try:
        return get(url + "/") == "one"
    except OSError:
        return False


def processes_of(deployer: ProcessDeployer) -> list[int]:
    """Return the processes whose command line names the deployer's state."""
    lines = {int(path.name): (path / "cmdline") for path in Path("/proc").iterdir() if path.name.isdecimal()}
    found = []
    for pid, line in lines.items():
        try:
            text = line.read_bytes().decode(errors="replace") + os.fspath((line.parent / "cwd").readlink())
        except OSError:
            continue
        if str(deployer.state) in text and running(pid):
            found.append(pid)
    return found


class TestProcessDeployer(DeployerContract):
    @pytest.fixture
    def deployer(self, tmp_path: Path, registry: OciLayoutRegistry) -> ProcessDeployer:
        return ProcessDeployer(state=tmp_path / "state", registry=registry.claim())


def test_a_switch_between_versions_loses_no_request(deployer: ProcessDeployer, images: Sequence[str]) -> None:
    url = deployed(deployer, web(images[0])).url
    answers: list[str] = []
    failures: list[str] = []
    switched = threading.Event()

    def ask(*, keep: bool) -> None:
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
        for _ in range(2000):
            try:
                connection.request("GET", "/")
                answers.append(connection.getresponse().read().decode())
                if not keep:
                    connection.close()
            except (OSError, http.client.HTTPException) as failed:
                failures.append(repr(failed))
                connection.close()
            if switched.is_set():
                break
        connection.close()

    askers = [threading.Thread(target=ask, kwargs={"keep": keep}) for keep in (True, False)]
    for asker in askers:
        asker.start()
    assert deployed(deployer, web(images[1])).previous == images[0]
    after = [get(url + "/") for _ in range(5)]
    switched.set()
    for asker in askers:
        asker.join()
    assert failures == []
    assert set(answers) <= {"one", "two"}
    assert after == ["two"] * 5


def test_a_slow_request_ends_on_the_version_that_took_it(deployer: ProcessDeployer, images: Sequence[str]) -> None:
    url = deployed(deployer, web(images[0])).url
    slow: list[str] = []
    asker = threading.Thread(target=lambda: slow.append(get(url + "/slow")))
    asker.start()
    assert eventually(lambda: "/slow" in "".join(path.read_text() for path in deployer.state.glob("services/web/rollouts/*/log")))
    deployed(deployer, web(images[1]))
    asker.join()
    assert slow == ["one"]


def test_a_service_outlives_the_process_that_deployed_it(deployer: ProcessDeployer, images: Sequence[str]) -> None:
    code = f"""
from stackgraft.local.process_deployer import ProcessDeployer
from stackgraft.specs import ServiceSpec
from stackgraft.testing import run
deployer = ProcessDeployer.model_validate({deployer.model_dump(mode="json")!r})
print(run(deployer, ServiceSpec.model_validate({web(images[0]).model_dump(mode="json")!r})).unwrap()["url"])
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert get(done.stdout.strip() + "/") == "one"
    assert DeployedService.model_validate(deployer.find("web")).image == images[0]


def test_a_killed_host_is_replaced_at_the_same_url_and_keeps_its_version_when_the_next_fails(
    deployer: ProcessDeployer, images: Sequence[str], broken_image: str
) -> None:
    first = deployed(deployer, web(images[0]))
    for pid in processes_of(deployer):
        os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: not processes_of(deployer))
    assert deployer.find("web") is None
    status = run(deployer, web(broken_image, start_timeout_seconds=5))
    assert status.state is JobState.FAILED
    assert "no model to serve" in status.reason
    assert get(first.url + "/") == "one"


def test_a_version_that_ends_by_itself_is_started_again(deployer: ProcessDeployer, images: Sequence[str]) -> None:
    url = deployed(deployer, web(images[0])).url
    (serving,) = [pid for pid in processes_of(deployer) if b"serve.py" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(serving, signal.SIGKILL)
    assert eventually(
        lambda: any(b"serve.py" in Path(f"/proc/{pid}/cmdline").read_bytes() for pid in processes_of(deployer) if pid != serving)
    )
    assert eventually(lambda: deployer.find("web") is not None and answers(url))


def test_removal_leaves_neither_process_nor_folder(deployer: ProcessDeployer, images: Sequence[str]) -> None:
    deployed(deployer, web(images[0]))
    assert len(processes_of(deployer)) == 2
    run(deployer, RemovalSpec(service="web"))
    assert eventually(lambda: not processes_of(deployer))
    assert not (deployer.state / "services" / "web").exists()


def test_a_failed_first_deployment_leaves_no_process(deployer: ProcessDeployer, broken_image: str) -> None:
    status = run(deployer, web(broken_image))
    assert "no model to serve" in status.reason
    assert "nothing is served" in status.reason
    assert eventually(lambda: not processes_of(deployer))


def test_a_cancelled_rollout_stops_its_version(deployer: ProcessDeployer, make_image: Callable[..., str]) -> None:
    never = make_image({"serve.py": "import time; time.sleep(60)"}, command=("python", "serve.py"))
    handle = deployer.submit(web(never), name="rollout")
    assert eventually(lambda: len(processes_of(deployer)) == 2)
    deployer.cancel(handle)
    assert eventually(lambda: deployer.poll(handle).state is JobState.CANCELLED)
    assert eventually(lambda: not processes_of(deployer))


def test_a_version_that_never_answers_is_stopped_at_its_deadline(deployer: ProcessDeployer, make_image: Callable[..., str]) -> None:
    never = make_image({"serve.py": "print('thinking', flush=True); import time; time.sleep(60)"}, command=("python", "serve.py"))
    status = run(deployer, web(never, start_timeout_seconds=1))
    assert status.state is JobState.FAILED
    assert "GET /health was not healthy within 1 s" in status.reason


def test_another_environment_is_another_version(deployer: ProcessDeployer, images: Sequence[str]) -> None:
    deployed(deployer, web(images[0]))
    assert not deployed(deployer, web(images[0], env={"MODEL": "n@2"})).reused


def test_a_port_in_use_is_refused_before_anything_starts(tmp_path: Path, registry: OciLayoutRegistry, images: Sequence[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        deployer = ProcessDeployer(state=tmp_path / "state", registry=registry.claim(), port=port)
        with pytest.raises(BackendError, match="port is in use") as refused:
            deployer.submit(web(images[0]), name="rollout")
        assert str(port) in str(refused.value)
        assert not (deployer.state / "services").exists()


def test_large_uploads_pass_through(deployer: ProcessDeployer, images: Sequence[str]) -> None:
    url = deployed(deployer, web(images[0])).url
    request = urllib.request.Request(url + "/upload", data=b"x" * 5_000_000)  # noqa: S310 - as above
    with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - as above
        assert answer.read() == b"5000000"


def test_the_versions_lines_are_its_rollouts_log(deployer: ProcessDeployer, images: Sequence[str]) -> None:
    url = deployed(deployer, web(images[0])).url
    get(url + "/visible")
    (rollout,) = (deployer.state / "services" / "web" / "rollouts").iterdir()
    assert eventually(lambda: "asked for /visible" in log_text(deployer, f"web/{rollout.name}"))


def test_the_flavor_is_unavailable_without_what_its_host_needs() -> None:
    code = """
import sys
sys.modules["h11"] = None  # as where it is not installed
from stackgraft import errors, flavors
try:
    flavors.load("deployer", "process")
except errors.FlavorUnavailableError as unavailable:
    print(unavailable.next_step)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "pip install 'stackgraft[local]'"
