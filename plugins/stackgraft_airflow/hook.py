"""Find the stack that a task runs on."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from stackgraft.errors import ConfigError
from stackgraft.stack import Stack
from stackgraft_airflow.compat import BaseHook, conf

SECTION = "stackgraft"
"""The section of Airflow's configuration."""


class StackHook(BaseHook):
    """Reads a stack from a connection of type ``stackgraft``, or from ``stacks.toml``.

    Args:
        stack: The stack's name; None takes the connection's, or else the active one.
        stack_conn_id: The connection, whose extra has ``components`` (JSON: roles to flavors) or ``config`` (path of
            a stack file), and ``stack`` (a name); None reads ``stacks.toml``.
    """

    conn_name_attr = "stack_conn_id"
    default_conn_name = "stackgraft_default"
    conn_type = "stackgraft"
    hook_name = "Stackgraft stack"

    def __init__(self, stack: str | None = None, stack_conn_id: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stack, self.stack_conn_id = stack, stack_conn_id

    def get_conn(self) -> Stack:
        """Return the stack.

        Raises:
            ConfigError: It cannot be found, or is wrong.
        """
        extra = self.get_connection(self.stack_conn_id).extra_dejson if self.stack_conn_id else {}
        name = self.stack or extra.get("stack") or None
        if not extra.get("components"):
            return Stack.load(name, path=Path(extra["config"]) if extra.get("config") else None)
        origin = f"connection {self.stack_conn_id!r}"
        return Stack.from_config(name or str(self.stack_conn_id), _mapping(extra["components"], origin), origin=origin)


@cache
def default_stack() -> Stack:
    """Return the stack of tasks that name none: ``[stackgraft] stack`` or ``stack_conn_id``, or else the active one.

    Raises:
        ConfigError: It cannot be found, or is wrong.
    """
    named = {name: conf.get(SECTION, name, fallback=None) or None for name in ("stack", "stack_conn_id")}
    return StackHook(**named).get_conn()


def _mapping(components: Any, origin: str) -> Any:
    try:
        return json.loads(components) if isinstance(components, str) else components
    except json.JSONDecodeError as broken:
        raise ConfigError("The connection's components are not JSON", where=origin, why=str(broken)) from broken
