"""What Airflow reads about this package, without importing the rest of it."""

from __future__ import annotations

from typing import Any

_TEXT = {"type": ["string", "null"]}


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
