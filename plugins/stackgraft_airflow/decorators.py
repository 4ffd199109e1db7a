"""``@task.stack_step``: a Python function that runs on the stack's step operator; what it takes and returns travels through the artifact store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.bases.decorator import DecoratedOperator, TaskDecorator, task_decorator_factory

from stackgraft.steps import check_function, function_step, result
from stackgraft_airflow.operators import Image, StackOperator

if TYPE_CHECKING:
    from stackgraft.job import JsonValue
    from stackgraft.specs import Spec
    from stackgraft.stack import Stack


class StackStepOperator(DecoratedOperator, StackOperator):
    """Run a function in an image on the stack's step operator; see `stack_step`."""

    custom_operator_name = "@task.stack_step"
    template_fields = (*DecoratedOperator.template_fields, "image", "artifact", "timeout_seconds", "env", *StackOperator.template_fields)

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        image: Image,
        artifact: str | None = None,
        timeout_seconds: float | None = None,
        env: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        check_function(python_callable)
        super().__init__(python_callable=python_callable, **kwargs)
        self.image, self.artifact = image, artifact or self.task_id
        self.timeout_seconds, self.env = timeout_seconds, env

    def spec(self, stack: Stack) -> Spec:
        """Return the step that calls the function."""
        arguments = [_eager(value) for value in self.op_args]
        keywords = {name: _eager(value) for name, value in self.op_kwargs.items()}
        settings: dict[str, Any] = {"step": self.task_id, "timeout_seconds": self.timeout_seconds, "env": self.env or {}}
        settings |= {"store": stack.artifact_store, "artifact": self.artifact, "image": self.image}
        return function_step(self.python_callable, arguments, keywords, **settings)

    def outcome(self, output: JsonValue) -> JsonValue:
        """Return the reference to what the function returned."""
        return result(self.resolved_stack().artifact_store, self.artifact, output["job"]).to_json()


def stack_step(python_callable: Callable[..., Any] | None = None, **kwargs: Any) -> TaskDecorator:
    """Make a function a task that runs it in an image, on the stack's step operator.

    References to artifacts among the arguments arrive as values; the XCom is the reference to what the function
    returned. The function imports what it needs inside its body.

    Args:
        python_callable: The function.
        kwargs: ``image`` (a reference by digest, or the output of `BuildImageOperator`), ``artifact`` (the name of what
            the result becomes; else the task's id), ``timeout_seconds`` and ``env`` of the step, all templated;
            ``stack``, ``stack_conn_id``, ``deferrable``, and Airflow's own arguments of a task.

    Raises:
        SpecError: The function leans on names outside of its body.
        ArtifactError: No serializer takes what it is annotated to return.
    """
    kwargs["multiple_outputs"] = False  # the XCom is one reference, whatever the annotation makes Airflow think
    return task_decorator_factory(python_callable=python_callable, decorated_operator_class=StackStepOperator, **kwargs)


def _eager(value: object) -> object:
    """Return the outputs of a mapped task as a list: Airflow gives a lazy sequence."""
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str | bytes) else value
