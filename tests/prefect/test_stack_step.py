"""Functions as steps, and the whole pipeline on the real local flavors."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect import Task, flow

from stackgraft.artifacts import ArtifactRef
from stackgraft.errors import SpecError
from stackgraft.outcomes import DeployedService, RemovedService
from stackgraft.stack import Stack
from stackgraft_prefect import build_image, deploy_service, remove_service, stack_step

SERVICE = """
import http.server, os

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(os.environ["MODEL"].encode())

http.server.HTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""


@pytest.fixture
def local(tmp_path: Path) -> Stack:
    return Stack.from_config(
        "local",
        {
            "image_builder": {"flavor": "oci", "cache": "layers"},
            "container_registry": {"flavor": "oci-layout", "path": "registry"},
            "deployer": {"flavor": "process", "state": "process"},
            "artifact_store": {"flavor": "local", "path": "artifacts", "cache": "cache"},
            "step_operator": {"flavor": "process", "state": "process"},
        },
        root=tmp_path,
    )


def test_a_decorated_function_is_a_task_that_takes_the_image_too() -> None:
    @stack_step(image="app@sha256:0", retries=3, tags=["heavy"])
    def train(prices: list[float], *, rate: float = 0.1) -> float:
        return sum(prices) * rate

    assert isinstance(train, Task)
    assert (train.name, train.retries, train.tags) == ("train", 3, {"heavy"})
    assert list(inspect.signature(train.fn).parameters) == ["prices", "rate", "image"]


def test_a_functions_own_parameter_named_image_is_refused() -> None:
    with pytest.raises(SpecError, match="rename the parameter"):

        @stack_step()
        def train(image: str) -> str:
            return image


@pytest.mark.engine
def test_a_pipeline_builds_trains_serves_and_removes_on_the_local_stack(server: Any, local: Stack, tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "serve.py").write_text(SERVICE)

    @flow
    def pipeline() -> tuple[ArtifactRef, DeployedService, str, RemovedService]:
        image = build_image.submit("demo/app", tmp_path / "app", stack=local, step_runtime=True, command=("python", "serve.py"))

        @stack_step(image=image, artifact="prices", stack=local)
        def ingest(days: int) -> list[int]:
            return list(range(days))

        @stack_step(image=image, artifact="model", stack=local)
        def train(prices: list[int], *, rate: int) -> dict[str, int]:
            return {"weight": sum(prices) * rate}

        model = train.submit(ingest(5), rate=3).result()
        service = deploy_service("demo-app", image, stack=local, env={"MODEL": model}, health_path="/")
        try:
            answer = httpx.get(service.url, timeout=10).text
        finally:
            removed = remove_service("demo-app", stack=local)
        return model, service, answer, removed

    model, service, answer, removed = pipeline()
    assert local.artifact_store.load(model) == {"weight": 30}
    assert answer == "model@1"
    assert removed.removed
    assert any(service.image in version["data"] for version in server.artifacts("service-demo-app"))
    assert service.url in server.artifacts("url-demo-app")[0]["data"]
    assert "| artifact | model@1 |" in server.artifacts("artifact-model")[0]["data"]
    assert [version["type"] for version in server.artifacts("image-demo-app")] == ["markdown"]
