"""What Airflow reads about this package, without importing the rest of it."""

from __future__ import annotations

from typing import Any

_TEXT = {"type": ["string", "null"]}


def _option(description: str, kind: str, default: str | None) -> dict[str, Any]:
    return {"description": description, "version_added": "0.1.0", "type": kind, "example": None, "default": default}


_OPTIONS = {
    "stack": _option("The stack of tasks that name none; empty takes the active one.", "string", None),
    "stack_conn_id": _option("A connection of type stackgraft to read that stack from.", "string", None),
    "xcom_inline_bytes": _option("JSON of at most this many bytes stays in Airflow's database.", "integer", "16384"),
}


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata."""
    integration = {"integration-name": "stackgraft"}
    return {
        "package-name": "stackgraft",
        "name": "stackgraft",
        "description": "The stack model for Airflow: image builder, registry, deployer, artifact store and step operator.",
        "integrations": [{**integration, "external-doc-url": "https://github.com/stackgraft/stackgraft#readme", "tags": ["software"]}],
        "operators": [{**integration, "python-modules": ["stackgraft_airflow.operators"]}],
        "hooks": [{**integration, "python-modules": ["stackgraft_airflow.hook"]}],
        "triggers": [{**integration, "python-modules": ["stackgraft_airflow.triggers"]}],
        "task-decorators": [{"name": "stack_step", "class-name": "stackgraft_airflow.decorators.stack_step"}],
        "asset-uris": [
            {"schemes": ["stackgraft"], "handler": None, "to_openlineage_converter": "stackgraft_airflow.openlineage.to_dataset"}
        ],
        "config": {"stackgraft": {"description": "Which stack plain tasks use, and what stays in the database.", "options": _OPTIONS}},
        "extra-links": ["stackgraft_airflow.links.JobLink", "stackgraft_airflow.links.ServiceLink"],
        "connection-types": [
            {
                "connection-type": "stackgraft",
                "hook-class-name": "stackgraft_airflow.hook.StackHook",
                "hook-name": "Stackgraft stack",
                "conn-fields": {
                    "stack": {"label": "Stack", "description": "Its name; empty takes the stack file's default.", "schema": _TEXT},
                    "config": {"label": "Stack file", "description": "Path of a stacks.toml on the workers.", "schema": _TEXT},
                    "components": {
                        "label": "Components",
                        "description": 'Instead of a stack file, JSON such as {"step_operator": {"flavor": "process"}}.',
                        "schema": _TEXT,
                    },
                },
                "ui-field-behaviour": {
                    "hidden-fields": ["host", "schema", "login", "password", "port", "extra"],
                    "relabeling": {},
                    "placeholders": {},
                },
            }
        ],
    }
