"""The Airflow plugin, found by its entry point."""

from airflow.plugins_manager import AirflowPlugin

from stackgraft_airflow import lineage
from stackgraft_airflow.links import JobLink, ServiceLink


class StackgraftPlugin(AirflowPlugin):
    """Operator links, and the listener that records lineage."""

    name = "stackgraft"
    operator_extra_links = [JobLink(), ServiceLink()]  # noqa: RUF012 - Airflow declares a list
    listeners = [lineage]  # noqa: RUF012 - as above
