"""A Prefect block per flavor, made from the flavor's own fields, and `Stack`, which nests one block per role."""

from __future__ import annotations

import functools
import inspect
import operator
import re
from collections.abc import Iterator, Mapping
from copy import copy
from typing import TYPE_CHECKING, Any, ClassVar

from prefect.blocks.core import Block
from pydantic import Field, HttpUrl, create_model
from pydantic.fields import FieldInfo

from stackgraft import flavors, stack
from stackgraft.errors import FlavorUnavailableError, SpecError, nearest

if TYPE_CHECKING:
    from stackgraft.components import Component

FLAVORS: Mapping[str, tuple[str, str]] = {
    "OciImageBuilder": ("image_builder", "oci"),
    "OciLayoutRegistry": ("container_registry", "oci-layout"),
    "ProcessDeployer": ("deployer", "process"),
    "LocalArtifactStore": ("artifact_store", "local"),
    "S3ArtifactStore": ("artifact_store", "s3"),
    "GcsArtifactStore": ("artifact_store", "gcs"),
    "AzureBlobArtifactStore": ("artifact_store", "azure-blob"),
    "ProcessStepOperator": ("step_operator", "process"),
}
"""The flavors that have a block, by the block's class name, which people see in Prefect's forms."""

_DOCUMENT = """{summary}

Example:
    ```python
    from stackgraft_prefect import {name}

    block = {name}.load("BLOCK_NAME")
    ```
"""


class StackgraftBlock(Block):
    """What our blocks share: names, links, strictness about field names, and quick saves."""

    _logo_url = HttpUrl("https://raw.githubusercontent.com/stackgraft/stackgraft/main/docs/logo.png")
    _documentation_url = HttpUrl("https://github.com/stackgraft/stackgraft#readme")

    @classmethod
    def get_block_type_name(cls) -> str:
        """Return the class's name in words."""
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", cls.__name__)

    @classmethod
    def get_block_type_slug(cls) -> str:
        """Return the name by which Prefect knows the block type, for ever."""
        return f"stackgraft-{cls.get_block_type_name()}".lower().replace(" ", "-")

    def block_initialization(self) -> None:
        """Refuse a field that the block has not, which Prefect would keep silently.

        Raises:
            SpecError: There is one.
        """
        for name in self.model_extra or {}:
            if name != "block_type_slug" and not name.startswith("_"):
                hint = nearest(name, type(self).model_fields)
                raise SpecError(f"A {type(self).__name__} block has no such field", where=f"field {name!r}", next_step=hint)

    def _field_has_secrets(self, field_name: str) -> bool:
        # Prefect makes the whole JSON schema anew for each field at each level of nesting: 10 s of CPU for one save.
        return any(path == field_name or path.startswith(f"{field_name}.") for path in _secret_paths(type(self)))


class ComponentBlock(StackgraftBlock):
    """A configured flavor."""

    component: ClassVar[type[Component]]

    def to_claim(self) -> dict[str, Any]:
        """Return the flavor's name and the fields that differ from their defaults."""
        fields = self.model_dump(mode="json", exclude_defaults=True, include=set(type(self).model_fields))
        return {"flavor": self.component.flavor, **fields}


class StackBlock(StackgraftBlock):
    """Components that fit together."""

    owner: str | None = Field(default=None, description="Who answers for the stack's components.")
    cost_center: str | None = Field(default=None, description="Who pays for the stack's components.")

    def to_stack(self) -> stack.Stack:
        """Return the stack, once its components were found to fit together.

        Raises:
            ConfigError: A field is wrong, or two components do not fit together.
        """
        name = self._block_document_name or "unsaved"
        config = self.model_dump(include={"owner", "cost_center"}, exclude_none=True)
        for role in flavors.ROLES:
            if (block := getattr(self, role, None)) is not None:
                config[role] = block.to_claim()
        return stack.Stack.from_config(name, config, origin=f"block {self.get_block_type_slug()}/{name}")


def component_block(role: str, flavor: str, name: str) -> type[ComponentBlock]:
    """Return a block class with a flavor's fields; its name is what people see, and no two block classes may share one.

    Raises:
        ConfigError: The flavor is unknown, or what it needs is not installed.
    """
    component = flavors.load(role, flavor)
    fields: dict[str, Any] = {key: (info.annotation, _described(key, info)) for key, info in component.model_fields.items()}
    fields.pop("registry", None)  # the stack fills it in
    summary = (inspect.getdoc(component) or name).partition("\n\n")[0]
    document = _DOCUMENT.format(summary=summary, name=name)
    made = create_model(name, __base__=ComponentBlock, __module__=__name__, __doc__=document, **fields)
    made.component = component
    return made


def _stack_block() -> type[StackBlock]:
    fields: dict[str, Any] = {}
    for role in flavors.ROLES:
        words = role.replace("_", " ")
        kinds = [block for block in COMPONENT_BLOCKS.values() if block.component.role == role]
        about = Field(default=None, title=words.capitalize(), description=f"The stack's {words}, where a task needs one.")
        fields[role] = (functools.reduce(operator.or_, [*kinds, None]), about)
    document = _DOCUMENT.format(summary="Components that fit together: where tasks build, run and serve.", name="Stack")
    return create_model("Stack", __base__=StackBlock, __module__=__name__, __doc__=document, **fields)


def _available() -> Iterator[tuple[str, type[ComponentBlock]]]:
    for name, (role, flavor) in FLAVORS.items():
        try:
            yield name, component_block(role, flavor, name)
        except FlavorUnavailableError:  # its extra is not installed: a collection must import all the same
            continue


def _described(name: str, info: FieldInfo) -> FieldInfo:
    described = copy(info)
    text = info.description or name.replace("_", " ").capitalize()
    described.description = text if text.endswith(".") else f"{text}."
    return described


@functools.cache
def _secret_paths(block: type[Block]) -> tuple[str, ...]:
    return tuple(block.model_json_schema()["secret_fields"])


COMPONENT_BLOCKS = dict(_available())
globals().update(COMPONENT_BLOCKS)
Stack = _stack_block()
