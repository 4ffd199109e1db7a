"""The stack's roles as Prefect tasks: ``build_image``, ``run_step``, ``deploy_service``, ``remove_service``, each with an ``_async`` form.

All are real tasks: ``.submit``, ``.map`` and ``.with_options`` work on each. What they take besides the named
parameters are the fields of the spec; a misspelt one fails before anything is started, and names the nearest.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from stackgraft.outcomes import BuiltImage, DeployedService, FinishedStep, RemovedService
from stackgraft.specs import BuildSpec, RemovalSpec, ServiceSpec, StepSpec
from stackgraft_prefect.runs import StackLike, run, run_async, worth_retrying

Image = BuiltImage | str
"""What `build_image` returned, or a reference by digest."""


@task(retry_condition_fn=worth_retrying, cache_policy=NO_CACHE)
def build_image(repository: str, context: str | Path, *, stack: StackLike = None, **settings: Any) -> BuiltImage:
    """Build an image from a project's folder, unless the registry already has one of the same content.

    Args:
        repository: Where in the registry the image goes.
        context: The project's folder.
        stack: Where to build; None takes the active stack.
        settings: More fields of `stackgraft.specs.BuildSpec`, such as ``requirements`` or ``command``.
    """
    return run(BuildSpec(repository=repository, context=Path(context), **settings), stack, BuiltImage)


@task(retry_condition_fn=worth_retrying, cache_policy=NO_CACHE)
async def build_image_async(repository: str, context: str | Path, *, stack: StackLike = None, **settings: Any) -> BuiltImage:
    """Do what `build_image` does without blocking the event loop."""
    return await run_async(BuildSpec(repository=repository, context=Path(context), **settings), stack, BuiltImage)


@task(retry_condition_fn=worth_retrying, cache_policy=NO_CACHE)
def run_step(step: str, image: Image, command: Sequence[str], *, stack: StackLike = None, **settings: Any) -> FinishedStep:
    """Run a command in an image on the stack's step operator.

    Args:
        step: The step's name, for people.
        image: The image.
        command: The program and its arguments.
        stack: Where to run; None takes the active stack.
        settings: More fields of `stackgraft.specs.StepSpec`, such as ``env`` or ``timeout_seconds``.
    """
    return run(StepSpec(step=step, image=image, command=tuple(command), **settings), stack, FinishedStep)


@task(retry_condition_fn=worth_retrying, cache_policy=NO_CACHE)
async def run_step_async(step: str, image: Image, command: Sequence[str], *, stack: StackLike = None, **settings: Any) -> FinishedStep:
    """Do what `run_step` does without blocking the event loop."""
    return await run_async(StepSpec(step=step, image=image, command=tuple(command), **settings), stack, FinishedStep)


@task(retry_condition_fn=worth_retrying, cache_policy=NO_CACHE)
def deploy_service(service: str, image: Image, *, stack: StackLike = None, **settings: Any) -> DeployedService:
    """Serve an image over HTTP under a stable name; a version that does not become healthy is rolled back.

    Args:
        service: The service's name.
        image: The image.
        stack: Where to serve; None takes the active stack.
        settings: More fields of `stackgraft.specs.ServiceSpec`, such as ``env`` or ``health_path``.
    """
    return run(ServiceSpec(service=service, image=image, **settings), stack, DeployedService)


@task(retry_condition_fn=worth_retrying, cache_policy=NO_CACHE)
async def deploy_service_async(service: str, image: Image, *, stack: StackLike = None, **settings: Any) -> DeployedService:
    """Do what `deploy_service` does without blocking the event loop."""
    return await run_async(ServiceSpec(service=service, image=image, **settings), stack, DeployedService)


@task(retry_condition_fn=worth_retrying, cache_policy=NO_CACHE)
def remove_service(service: str, *, stack: StackLike = None, **settings: Any) -> RemovedService:
    """Stop and remove a service; removing what is not there succeeds.

    Args:
        service: The service's name.
        stack: Where it is served; None takes the active stack.
        settings: More fields of `stackgraft.specs.RemovalSpec`.
    """
    return run(RemovalSpec(service=service, **settings), stack, RemovedService)


@task(retry_condition_fn=worth_retrying, cache_policy=NO_CACHE)
async def remove_service_async(service: str, *, stack: StackLike = None, **settings: Any) -> RemovedService:
    """Do what `remove_service` does without blocking the event loop."""
    return await run_async(RemovalSpec(service=service, **settings), stack, RemovedService)
