"""The stack's roles as operators: build an image, run a step, deploy a service, remove it.

All fields of their specs are templated.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict
from threading import Thread
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from airflow.sdk import BaseOperator, BaseOperatorLink

from stackgraft import lifecycle
from stackgraft.job import JobStatus, JsonValue
from stackgraft.outcomes import facts_of, facts_of_spec
from stackgraft.specs import BuildSpec, RemovalSpec, ServiceSpec, Spec, StepSpec
from stackgraft_airflow import lineage
from stackgraft_airflow.compat import conf
from stackgraft_airflow.hook import StackHook
from stackgraft_airflow.links import JobLink, ServiceLink
from stackgraft_airflow.remote import RemoteJob, pace_within, retries_spared, stop_unless_wanted
from stackgraft_airflow.triggers import JobTrigger, status_in

if TYPE_CHECKING:
    from airflow.sdk import Context

    from stackgraft.stack import Stack

Image = str | Mapping[str, JsonValue]
"""A reference by digest, or what `BuildImageOperator` returned."""


class StackOperator(BaseOperator):
    """What all operators share: start or find the job, wait for it or defer, return its outcome as JSON.

    A retry after a lost worker finds the job of the try before. A user's kill stops the job, a shutdown does not.

    Args:
        stack: The stack's name; None takes the active one. (templated)
        stack_conn_id: A connection of type ``stackgraft`` to read the stack from. (templated)
        deferrable: Wait in the triggerer, without a worker.
    """

    spec_class: ClassVar[type[Spec]]
    template_fields: Sequence[str] = ("stack", "stack_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {"command": "json", "env": "json", "labels": "json"}
    operator_extra_links: Sequence[BaseOperatorLink] = (JobLink(),)
    job_url: str | None = None
    _job: Future[RemoteJob] | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "spec_class" in vars(cls):
            cls.template_fields = (*(name for name in cls.spec_class.model_fields if name != "tags"), *StackOperator.template_fields)

    def __init__(
        self,
        *,
        stack: str | None = None,
        stack_conn_id: str | None = None,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.stack, self.stack_conn_id, self.deferrable = stack, stack_conn_id, deferrable

    def resolved_stack(self) -> Stack:
        """Return the stack that the task runs on."""
        return StackHook(self.stack, self.stack_conn_id).get_conn()

    def spec(self, stack: Stack) -> Spec:  # noqa: ARG002 - for those that need it
        """Return what is asked of the stack, from the fields that were given."""
        fields = {name: getattr(self, name, None) for name in self.spec_class.model_fields}
        return self.spec_class(**{name: value for name, value in fields.items() if value is not None})

    def outcome(self, output: JsonValue) -> JsonValue:
        """Return what becomes the task's XCom."""
        return output

    def execute(self, context: Context) -> JsonValue:
        """Start the job or find it, and wait for its end, here or in the triggerer."""
        self._ti, self._job = context["ti"], Future()
        with retries_spared():
            stack = self.resolved_stack()
            spec = stack.prepared(self.spec(stack), run=self._ti.run_id, step=self.task_id)
            lineage.uses(stack, spec.role, **facts_of_spec(spec))
            job = RemoteJob.start(stack.launcher(spec), spec, context, self.log)
            self._job.set_result(job)
            with job.guarded():
                return self._finish(job, self._waited(job))

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> JsonValue:
        """Go on when the trigger has fired."""
        self._ti, self.job_url = context["ti"], event["kept"]["job_url"]
        with retries_spared():
            job = RemoteJob.resumed(event, context, self.log)
            lineage.uses(self.resolved_stack(), job.ticket.role)
            with job.guarded():
                mine = job.ticket.to_json() == event["ticket"]
                return self._finish(job, status_in(event) if mine else self._waited(job))

    def on_kill(self) -> None:
        """Stop the job if a user has ended the task."""
        if self._job is not None:
            # a signal handler must not wait for locks that the interrupted code may hold, such as that of Airflow's own channel
            Thread(target=stop_unless_wanted, args=(self._ti, self._job), daemon=True).start()

    def _waited(self, job: RemoteJob) -> JobStatus:
        status = lifecycle.ask(job.launcher, job.ticket.handle)
        if isinstance(status, JobStatus):
            self._link(status)
            if status.state.final:
                return status
        if self.deferrable:
            self._deferred(job)
        return lifecycle.wait(job.launcher, job.ticket, job.launcher.pace, observe=job.log.follow)

    def _deferred(self, job: RemoteJob) -> NoReturn:
        job.log.follow()
        pace = pace_within(job.launcher.pace, self.execution_timeout)
        kept = {"cursor": job.log.cursor, "job_url": self.job_url}
        trigger = JobTrigger(job.ticket.to_json(), asdict(pace), since=time.time(), kept=kept)
        self.defer(trigger=trigger, method_name="execute_complete")

    def _finish(self, job: RemoteJob, status: JobStatus) -> JsonValue:
        self._link(status)
        job.log.follow()
        output = lifecycle.settle(status, job.ticket, job.journal)
        result = self.outcome(output)
        lineage.made(result, **facts_of(output))
        return result

    def _link(self, status: JobStatus) -> None:
        if status.url and status.url != self.job_url:
            self.job_url = status.url
            self._ti.xcom_push(key=JobLink.xcom_key, value=status.url)  # Airflow itself keeps it only when the task ends


class BuildImageOperator(StackOperator):
    """Build an image from a project's folder, unless the registry already has one of the same content.

    The XCom is a `stackgraft.outcomes.BuiltImage`, which the other operators take as their image.

    Args: the fields of `stackgraft.specs.BuildSpec`.
    """

    spec_class = BuildSpec

    def __init__(
        self,
        *,
        repository: str,
        context: str,
        base: str | None = None,
        python: str | None = None,
        platform: str | None = None,
        requirements: str | None = None,
        step_runtime: bool = False,
        entrypoint: Sequence[str] | None = None,
        command: Sequence[str] | None = None,
        env: Mapping[str, Any] | None = None,
        workdir: str | None = None,
        labels: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.repository, self.context, self.base = repository, context, base
        self.python, self.platform, self.requirements, self.step_runtime = python, platform, requirements, step_runtime
        self.entrypoint, self.command, self.env = entrypoint, command, env
        self.workdir, self.labels = workdir, labels


class RunStepOperator(StackOperator):
    """Run a command in an image on the stack's step operator.

    The XCom is a `stackgraft.outcomes.FinishedStep`.

    Args: the fields of `stackgraft.specs.StepSpec`; the step's name is the task's id unless it is given.
    """

    spec_class = StepSpec

    def __init__(
        self,
        *,
        image: Image,
        command: Sequence[str],
        step: str | None = None,
        env: Mapping[str, Any] | None = None,
        workdir: str | None = None,
        python: str | None = None,
        timeout_seconds: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.image, self.command, self.step = image, command, step or self.task_id
        self.env, self.workdir, self.python, self.timeout_seconds = env, workdir, python, timeout_seconds


class DeployServiceOperator(StackOperator):
    """Serve an image over HTTP under a stable name; a version that does not become healthy is rolled back.

    The XCom is a `stackgraft.outcomes.DeployedService`.

    Args: the fields of `stackgraft.specs.ServiceSpec`.
    """

    spec_class = ServiceSpec
    operator_extra_links = (JobLink(), ServiceLink())
    service_url: str | None = None

    def __init__(
        self,
        *,
        service: str,
        image: Image,
        command: Sequence[str] | None = None,
        env: Mapping[str, Any] | None = None,
        health_path: str | None = None,
        start_timeout_seconds: float | None = None,
        drain_seconds: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.service, self.image, self.command, self.env = service, image, command, env
        self.health_path, self.start_timeout_seconds, self.drain_seconds = health_path, start_timeout_seconds, drain_seconds

    def outcome(self, output: JsonValue) -> JsonValue:
        """Return the deployment, and remember its URL for the link."""
        self.service_url = output["url"]
        return output


class RemoveServiceOperator(StackOperator):
    """Stop and remove a service; removing what is not there succeeds.

    The XCom is a `stackgraft.outcomes.RemovedService`.
    """

    spec_class = RemovalSpec

    def __init__(self, *, service: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.service = service
