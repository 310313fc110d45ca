"""Monte Carlo moves between MD steps."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from .base import Section


class CellMoveConfig(Section):
    """See `moves.CellMove`."""

    kind: Literal["cell"]
    interval: PositiveInt = 10
    shape: Literal["volume", "full"] = "volume"
    max_strain: float = Field(0.01, ge=1e-6, le=0.2)
    target_acceptance: float = Field(0.4, gt=0.0, lt=1.0)
    adaptation: NonNegativeInt = 100
    min_width: float = Field(0.4, ge=0.0, lt=1.0)


class SwapMoveConfig(Section):
    """See `moves.SwapMove`."""

    kind: Literal["swap"]
    interval: PositiveInt = 10
    elements: list[str] | None = Field(None, min_length=2)
    cutoff: PositiveFloat | None = None


MoveConfig = Annotated[CellMoveConfig | SwapMoveConfig, Field(discriminator="kind")]
