"""The base of everything that is configured or specified: frozen, strict about names, clear in its errors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from stackgraft.errors import ConfigError, nearest


class StrictModel(BaseModel):
    """A frozen model whose validation errors are ours: they name the field, the reason and the nearest known name."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    error: ClassVar[type[ConfigError]] = ConfigError

    @model_validator(mode="wrap")
    @classmethod
    def _explain(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(value)
        except ValidationError as invalid:
            raise explained(cls, invalid) from None


def explained(model: type[StrictModel], invalid: ValidationError) -> ConfigError:
    """Translate pydantic's findings into one error that says what, where, why and next."""
    found = invalid.errors(include_url=False, include_context=False)
    first, *others = sorted(found, key=lambda finding: finding["type"] != "extra_forbidden")  # a typo explains what is missing
    field = ".".join(str(part) for part in first["loc"])
    known = [name for name, info in model.model_fields.items() if info.init is not False]
    advice = nearest(field, known) if first["type"] == "extra_forbidden" else ""
    why = {"extra_forbidden": "there is no such field", "missing": "it is required"}.get(first["type"], first["msg"])
    more = f" (and {len(others)} more)" if others else ""
    what = f"{model.__name__} cannot be made{more}"
    return model.error(what, where=f"field {field!r}" if field else "", why=why, next_step=advice)


def _anchored(path: Path, info: ValidationInfo) -> Path:
    root = Path((info.context or {}).get("root", "."))
    return (root / path.expanduser()).absolute()


AnchoredPath = Annotated[Path, AfterValidator(_anchored)]
"""A path made absolute when it is read: relative to the stack file that names it, else to the working directory."""
