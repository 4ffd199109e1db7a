"""Find a flavor's class by role and name, through entry points only.

A package registers a flavor in the group ``stackgraft.ROLE``; the optional extra says what it needs::

    [project.entry-points."stackgraft.image_builder"]
    codebuild = "stackgraft.aws.codebuild:CodeBuildImageBuilder [aws]"
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

from stackgraft.errors import ConfigError, FlavorUnavailableError, UnknownFlavorError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stackgraft.components import Component

ROLES = ("image_builder", "container_registry", "deployer", "artifact_store", "step_operator")
"""The roles that a stack configures; the sixth, the orchestrator, is the engine that runs the pipeline."""


def installed(role: str) -> dict[str, EntryPoint]:
    """Return the registered flavors of a role by name, without importing any.

    Raises:
        ConfigError: There is no such role, or two packages claim one name.
    """
    if role not in ROLES:
        raise ConfigError("There is no such role", where=f"role {role!r}", next_step=nearest(role, ROLES))
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=f"stackgraft.{role}"):
        other = found.setdefault(entry.name, entry)
        if other.value != entry.value:
            raise ConfigError(
                "Two packages claim one flavor",
                where=f"{role} {entry.name!r}",
                why=f"{_package(other)} registers {other.value}, {_package(entry)} registers {entry.value}",
                next_step="uninstall one of them",
            )
    return found


def load(role: str, flavor: str) -> type[Component]:
    """Return the class of a flavor.

    Raises:
        UnknownFlavorError: No installed package registers it.
        FlavorUnavailableError: What it needs is not installed.
    """
    known = installed(role)
    if flavor not in known:
        raise UnknownFlavorError("There is no such flavor", where=f"{role} {flavor!r}", next_step=nearest(flavor, known))
    entry = known[flavor]
    try:
        loaded: type[Component] = entry.load()
    except ImportError as missing:
        extras = f"[{','.join(entry.extras)}]" if entry.extras else ""
        raise FlavorUnavailableError(
            "The flavor needs a package that is not installed",
            where=f"{role} {flavor!r}",
            why=str(missing),
            next_step=f"pip install '{_package(entry)}{extras}'",
        ) from missing
    return loaded


def create(role: str, claim: Mapping[str, Any], *, context: Mapping[str, Any] | None = None) -> Component:
    """Make a component from its claim: the flavor's name under ``flavor``, and its fields.

    Raises:
        ConfigError: The flavor is unknown or unavailable, or a field is wrong.
    """
    fields = dict(claim)
    flavor = fields.pop("flavor", None)
    if not isinstance(flavor, str):
        raise ConfigError("A component needs a flavor", where=role, next_step=f'add flavor = "…"; {nearest("", installed(role))}')
    return load(role, flavor).model_validate(fields, context=dict(context or {}))


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else entry.module
