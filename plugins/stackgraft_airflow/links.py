"""Buttons on a task's page: its job's console or logs, and the service that it deployed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk.types import TaskInstanceKey


class JobLink(BaseOperatorLink):
    """The page that the job's backend has for it: its console or its logs."""

    name = "Job"
    xcom_key = "stackgraft_job_url"
    attribute: ClassVar[str] = "job_url"

    def get_link(self, operator: Any, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002 - Airflow passes it
        """Return what the operator saw; the worker asks, and Airflow keeps the answer as an XCom."""
        return getattr(operator, self.attribute) or ""


class ServiceLink(JobLink):
    """The URL under which the service answers."""

    name = "Service"
    xcom_key = "stackgraft_service_url"
    attribute = "service_url"
