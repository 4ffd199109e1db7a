"""``@stack_step``: a Python function that runs on the stack's step operator; what it takes and returns travels through the artifact store."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec

from prefect import Task, task

from stackgraft.artifacts import ArtifactRef
from stackgraft.errors import SpecError
from stackgraft.outcomes import BuiltImage, FinishedStep
from stackgraft.steps import check_function, function_step, result
from stackgraft_prefect.cards import publish_artifact
from stackgraft_prefect.lineage import recorded
from stackgraft_prefect.runs import StackLike, resolve, run, worth_retrying

P = ParamSpec("P")


def stack_step(
    *,
    image: Any = None,
    artifact: str | None = None,
    stack: StackLike = None,
    timeout_seconds: float | None = None,
    **task_options: Any,
) -> Callable[[Callable[P, Any]], Task[P, ArtifactRef]]:
    """Make a function a Prefect task that runs it in an image, on the stack's step operator.

    References to artifacts among the arguments arrive as values; the task returns the reference to what the function
    returned. The image is the task's parameter ``image``, so that Prefect draws it as upstream; a call may pass another.

    Args:
        image: A built image, a reference by digest, or the future of either; None where each call passes it.
        artifact: The name of the artifact that the result becomes; None takes the function's name.
        stack: Where to run; None takes the active stack.
        timeout_seconds: After that the step operator stops the step.
        task_options: Prefect's options of a task, such as ``retries`` or ``tags``.

    Raises:
        SpecError: The function has a parameter named ``image``, or leans on names outside of its body.
        ArtifactError: No serializer takes what it is annotated to return.
    """

    def decorate(function: Callable[P, Any]) -> Task[P, ArtifactRef]:
        check_function(function)
        name = artifact or function.__name__

        @functools.wraps(function)
        def offloaded(*arguments: Any, image: Any, **keywords: Any) -> ArtifactRef:
            chosen = resolve(stack)
            store, settings = chosen.artifact_store, {"image": image, "timeout_seconds": timeout_seconds}
            with recorded(chosen, "step_operator") as trace:
                spec = function_step(function, arguments, keywords, store=store, artifact=name, **settings)
                job = run(spec, chosen, FinishedStep).job
                made = result(store, name, job)
                trace.saved(made)
            publish_artifact(made, job)
            return made

        step: Any = offloaded
        step.__signature__ = _with_image(function, image)
        return task(**{"retry_condition_fn": worth_retrying, **task_options})(step)

    return decorate


def _with_image(function: Callable[..., Any], image: Any) -> inspect.Signature:
    signature = inspect.signature(function)
    if "image" in signature.parameters:
        raise SpecError(
            "A step's function has no parameter named 'image'",
            where=function.__qualname__,
            why="the step's image is passed under that name",
            next_step="rename the parameter",
        )
    default = inspect.Parameter.empty if image is None else image
    extra = inspect.Parameter("image", inspect.Parameter.KEYWORD_ONLY, default=default, annotation=BuiltImage | str)
    parameters = sorted([*signature.parameters.values(), extra], key=lambda parameter: parameter.kind)
    return signature.replace(parameters=parameters, return_annotation=ArtifactRef)
