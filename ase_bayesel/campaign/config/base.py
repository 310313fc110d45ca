"""What all sections share: frozen, unknown keys refused with those that are known."""

from __future__ import annotations

from typing import Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)

from ...io.kinds import explained


class Section(BaseModel):
    """Base of all sections that are put together from several things.

    What is one thing (an engine, guards, ...) is no section: its own class is validated, see
    `io.kinds`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="wrap")
    @classmethod
    def _known_keys(cls, raw: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Name the keys where one is not known."""
        try:
            return handler(raw)
        except ValidationError as error:
            raise explained(error, list(cls.model_fields)) from None
