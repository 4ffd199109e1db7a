"""The contract of deployers."""

from __future__ import annotations

import urllib.request
from collections.abc import Sequence
from typing import Any
from urllib.error import URLError

import pytest

from stackgraft.components import Component
from stackgraft.job import JobState
from stackgraft.outcomes import DeployedService, RemovedService
from stackgraft.specs import RemovalSpec, ServiceSpec
from stackgraft.testing.component import ComponentContract
from stackgraft.testing.scripted import run


class DeployerContract(ComponentContract):
    """What a deployer does.

    Fixtures: `deployer`; `images`, two images whose services answer ``GET /`` with ``one`` and ``two`` and are healthy at
    ``/health``; `broken_image`, whose service exits.
    """

    @pytest.fixture
    def component(self, deployer: Component) -> Component:
        return deployer

    @pytest.fixture(autouse=True)
    def _leaves_nothing(self, deployer: Any) -> Any:
        yield
        run(deployer, RemovalSpec(service="contract"))

    def service(self, image: str, **settings: Any) -> ServiceSpec:
        """Return the spec of the service under test."""
        return ServiceSpec(**{"service": "contract", "image": image, "start_timeout_seconds": 20, **settings})

    def get(self, url: str) -> str:
        """Return what the URL answers."""
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - the deployer's own URL
            return str(answer.read().decode())

    def test_success_means_that_this_image_serves(self, deployer: Any, images: Sequence[str]) -> None:
        deployed = DeployedService.model_validate(run(deployer, self.service(images[0])).unwrap())
        assert deployed.image == images[0]
        assert self.get(deployed.url + "/") == "one"
        assert DeployedService.model_validate(deployer.find("contract")).image == images[0]

    def test_an_unchanged_service_is_not_deployed_again(self, deployer: Any, images: Sequence[str]) -> None:
        first, second = (DeployedService.model_validate(run(deployer, self.service(images[0])).unwrap()) for _ in range(2))
        assert second.reused
        assert second.why
        assert second.url == first.url

    def test_the_next_image_takes_over_the_url(self, deployer: Any, images: Sequence[str]) -> None:
        first, second = (DeployedService.model_validate(run(deployer, self.service(image)).unwrap()) for image in images)
        assert second.url == first.url
        assert second.previous == images[0]
        assert self.get(second.url + "/") == "two"

    def test_an_image_that_does_not_become_healthy_is_rolled_back(self, deployer: Any, images: Sequence[str], broken_image: str) -> None:
        deployed = DeployedService.model_validate(run(deployer, self.service(images[0])).unwrap())
        status = run(deployer, self.service(broken_image, start_timeout_seconds=3))
        assert status.state is JobState.FAILED
        assert images[0].rpartition("@")[2] in status.reason
        assert self.get(deployed.url + "/") == "one"

    def test_a_first_deployment_that_fails_leaves_no_service(self, deployer: Any, broken_image: str) -> None:
        assert run(deployer, self.service(broken_image, start_timeout_seconds=3)).state is JobState.FAILED
        assert deployer.find("contract") is None

    def test_removal_ends_the_service_and_may_be_repeated(self, deployer: Any, images: Sequence[str]) -> None:
        url = DeployedService.model_validate(run(deployer, self.service(images[0])).unwrap()).url
        outcomes = [RemovedService.model_validate(run(deployer, RemovalSpec(service="contract")).unwrap()) for _ in range(2)]
        assert [outcome.removed for outcome in outcomes] == [True, False]
        assert outcomes[0].leftovers == ()
        assert deployer.find("contract") is None
        with pytest.raises(URLError):
            self.get(url)
