"""What all sections share: frozen, unknown keys refused with those that are known."""

from __future__ import annotations

from typing import Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    ValidationError,
    model_validator,
)
from pydantic.functional_validators import ModelWrapValidatorHandler
from pydantic_core import CoreSchema

from ...io.kinds import explained
from ...io.numbers import without_booleans


class Section(BaseModel):
    """Base of all sections that are put together from several things.

    What is one thing (an engine, guards, ...) is no section: its own class is validated, see
    `io.kinds`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return without_booleans(handler(source))

    @model_validator(mode="wrap")
    @classmethod
    def _known_keys(cls, raw: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Name the keys where one is not known."""
        try:
            return handler(raw)
        except ValidationError as error:
            raise explained(error, list(cls.model_fields)) from None
