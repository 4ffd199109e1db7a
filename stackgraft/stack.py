"""A stack: named components that fit together, read from ``stacks.toml`` or from any mapping of the same shape."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from stackgraft import flavors
from stackgraft.components import Component, LauncherComponent
from stackgraft.errors import ConfigError, IncompatibleStackError, nearest
from stackgraft.specs import ServiceSpec, Spec, StepSpec

if TYPE_CHECKING:
    from stackgraft.components import ArtifactStore, ContainerRegistry, Deployer, ImageBuilder, StepOperator

SpecT = TypeVar("SpecT", bound=Spec)
STORE_VARIABLE = "STACKGRAFT_ARTIFACT_STORE"
"""The environment variable in which steps and services find the claim of the artifact store."""
FILE_NAME = "stacks.toml"
_SETTINGS = ("owner", "cost_center")
_SHAPES: dict[str, type] = {"default": str, "stacks": dict}
_EXAMPLE = 'write default = "local" above [stacks.local], and below it lines such as image_builder = "oci"'


@dataclass(frozen=True, slots=True)
class Stack:
    """Components by role; a stack may hold only some of them.

    Attributes:
        name: The stack's name.
        components: The configured components by role.
        origin: Where it was read, for error messages.
    """

    name: str
    components: Mapping[str, Component] = field(default_factory=dict)
    origin: str = ""

    @classmethod
    def from_config(cls, name: str, mapping: Mapping[str, Any], *, root: Path | None = None, origin: str = "") -> Stack:
        """Make a stack from a mapping of roles to flavors.

        Args:
            name: The stack's name.
            mapping: ``{role: "flavor" | {"flavor": …, field: …}, "owner": …, "cost_center": …}``.
            root: Relative paths in it start here; None takes the working directory.
            origin: Where it was read, for error messages.

        Raises:
            ConfigError: A key, flavor or field is wrong, or the components do not fit together.
        """
        _check_shape(mapping, Mapping, f"Stack {name!r} is not a table of roles", origin or name)
        known = (*flavors.ROLES, *_SETTINGS)
        for key in mapping:
            if key not in known:
                raise ConfigError(f"Stack {name!r} has an unknown key", where=f"{origin} key {key!r}", next_step=nearest(key, known))
        shared = {key: mapping[key] for key in _SETTINGS if key in mapping}
        context = {"root": root or Path.cwd()}
        claims = {role: shared | _claim(mapping[role], f"{origin or name} {role}") for role in flavors.ROLES if role in mapping}
        try:
            components = {role: flavors.create(role, claim, context=context) for role, claim in claims.items()}
        except ConfigError as wrong:
            wrong.add_note(f"read from {origin or name}")
            raise
        stack = cls(name, _linked(components), origin)
        stack.check()
        return stack

    @classmethod
    def load(cls, name: str | None = None, *, path: Path | None = None) -> Stack:
        """Read a stack from the stack file.

        Args:
            name: The stack; None takes ``STACKGRAFT_STACK``, then the file's ``default``.
            path: The file; None looks at ``STACKGRAFT_CONFIG``, upwards from the working directory, then ``AIRFLOW_HOME``.

        Raises:
            ConfigError: The file or the stack is absent, or wrong.
        """
        path = path or find_file()
        document = _read(path)
        stacks = document.get("stacks", {})
        name = name or os.environ.get("STACKGRAFT_STACK") or document.get("default")
        if name is None:
            raise ConfigError("No stack is active", where=str(path), next_step='set STACKGRAFT_STACK, or add default = "…" to the file')
        if name not in stacks:
            raise ConfigError("There is no such stack", where=f"{path}, stack {name!r}", next_step=nearest(name, stacks))
        return cls.from_config(name, stacks[name], root=path.parent, origin=f"{path} [stacks.{name}]")

    def check(self) -> None:
        """Check what no component can see alone: that each provides what the others require.

        Raises:
            IncompatibleStackError: Two components do not fit together.
        """
        for role, component in self.components.items():
            for other_role, trait in component.requires.items():
                other = self.components.get(other_role)
                if other is not None and trait not in other.provides:
                    raise IncompatibleStackError(
                        f"Stack {self.name!r} does not fit together",
                        where=self.origin,
                        why=f"the {role} {component.flavor!r} needs a {other_role} with {trait!r}, and {other.flavor!r} has {sorted(other.provides)}",
                        next_step=f"choose another {other_role}, or another {role}",
                    )

    def component(self, role: str) -> Component:
        """Return the component of a role.

        Raises:
            IncompatibleStackError: The stack has none; the error says where to add it.
        """
        if role not in self.components:
            raise IncompatibleStackError(
                f"Stack {self.name!r} has no {role}",
                where=self.origin,
                why="the role is empty",
                next_step=f'add {role} = "FLAVOR" to [stacks.{self.name}]; installed: {", ".join(sorted(flavors.installed(role)))}',
            )
        return self.components[role]

    def prepared(self, spec: SpecT, *, run: str, step: str) -> SpecT:
        """Return the spec with what the stack knows: tags for owners and payers, and the artifact store's claim.

        Args:
            spec: What to build, run, serve or remove.
            run: The pipeline run that asks for it.
            step: The task that asks for it.
        """
        component = self.component(spec.role)
        tags = {"stack": self.name, "run": run, "step": step, "owner": component.owner, "cost-center": component.cost_center}
        changes: dict[str, Any] = {"tags": {f"stackgraft:{key}": value for key, value in tags.items() if value} | dict(spec.tags)}
        store = self.components.get("artifact_store")
        if isinstance(spec, StepSpec | ServiceSpec) and store is not None:
            changes["env"] = {STORE_VARIABLE: json.dumps(store.claim(), sort_keys=True)} | dict(spec.env)
        return spec.model_copy(update=changes)

    def launcher(self, spec: Spec) -> LauncherComponent:
        """Return the component that runs a spec."""
        return cast("LauncherComponent", self.component(spec.role))

    @property
    def image_builder(self) -> ImageBuilder:
        """The image builder."""
        return cast("ImageBuilder", self.component("image_builder"))

    @property
    def container_registry(self) -> ContainerRegistry:
        """The container registry."""
        return cast("ContainerRegistry", self.component("container_registry"))

    @property
    def deployer(self) -> Deployer:
        """The deployer."""
        return cast("Deployer", self.component("deployer"))

    @property
    def artifact_store(self) -> ArtifactStore:
        """The artifact store."""
        return cast("ArtifactStore", self.component("artifact_store"))

    @property
    def step_operator(self) -> StepOperator:
        """The step operator."""
        return cast("StepOperator", self.component("step_operator"))


def find_file() -> Path:
    """Return the stack file: ``STACKGRAFT_CONFIG``, then upwards from the working directory, then ``AIRFLOW_HOME``.

    Raises:
        ConfigError: There is none.
    """
    if named := os.environ.get("STACKGRAFT_CONFIG"):
        return Path(named).expanduser().absolute()
    here = Path.cwd()
    folders = [here, *here.parents]
    if home := os.environ.get("AIRFLOW_HOME"):
        folders.append(Path(home).expanduser().absolute())
    for folder in folders:
        if (folder / FILE_NAME).is_file():
            return folder / FILE_NAME
    raise ConfigError(
        f"There is no {FILE_NAME}",
        where=f"{here} and the folders above it{', ' + home if home else ''}",
        next_step=f"create {FILE_NAME}, or point STACKGRAFT_CONFIG at it",
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as absent:
        raise ConfigError("The stack file does not exist", where=str(path), next_step="correct STACKGRAFT_CONFIG") from absent
    except OSError as unreadable:
        advice = "point STACKGRAFT_CONFIG at a file that this user may read"
        raise ConfigError("The stack file cannot be read", where=str(path), why=unreadable.strerror or "", next_step=advice) from unreadable
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as broken:
        raise ConfigError("The stack file is not TOML", where=str(path), why=str(broken), next_step="mend that line") from broken
    for key in document:
        if key not in _SHAPES:
            raise ConfigError("The stack file has an unknown key", where=f"{path} key {key!r}", next_step=nearest(key, _SHAPES))
        _check_shape(document[key], _SHAPES[key], f"The stack file's {key!r} is of the wrong type", f"{path} key {key!r}")
    return document


def _claim(value: Any, where: str) -> dict[str, Any]:
    _check_shape(value, (str, Mapping), "A component is neither a flavor's name nor a table of its fields", where)
    return {"flavor": value} if isinstance(value, str) else dict(value)


def _check_shape(value: object, shape: type | tuple[type, ...], what: str, where: str) -> None:
    if not isinstance(value, shape):
        raise ConfigError(what, where=where, why=f"it is {value!r}", next_step=_EXAMPLE)


def _linked(components: Mapping[str, Component]) -> dict[str, Component]:
    registry = components.get("container_registry")
    if registry is None:
        return dict(components)
    claim = registry.claim()
    return {
        role: component.model_copy(update={"registry": claim})
        if isinstance(component, LauncherComponent) and component.registry is None
        else component
        for role, component in components.items()
    }
