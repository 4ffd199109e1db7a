"""stackgraft for Prefect: a block per component and one per stack, tasks for every role, and ``@stack_step``.

``prefect block register -m stackgraft_prefect`` registers the blocks; those of flavors whose extra is not installed are left out.
"""

from stackgraft_prefect.blocks import COMPONENT_BLOCKS, Stack
from stackgraft_prefect.cancel import stop_remote_jobs
from stackgraft_prefect.lineage import publish_lineage
from stackgraft_prefect.results import ArtifactResultStorage, ArtifactSerializer
from stackgraft_prefect.steps import stack_step
from stackgraft_prefect.tasks import (
    build_image,
    build_image_async,
    deploy_service,
    deploy_service_async,
    remove_service,
    remove_service_async,
    run_step,
    run_step_async,
)

__all__ = [
    "ArtifactResultStorage",
    "ArtifactSerializer",
    "Stack",
    "build_image",
    "build_image_async",
    "deploy_service",
    "deploy_service_async",
    "publish_lineage",
    "remove_service",
    "remove_service_async",
    "run_step",
    "run_step_async",
    "stack_step",
    "stop_remote_jobs",
]

globals().update(COMPONENT_BLOCKS)
