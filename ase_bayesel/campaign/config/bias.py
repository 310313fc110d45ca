"""Which uncertainty the bias follows, and how far."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator

from .base import Section


class BiasConfig(Section):
    """The bias of `bias.Deviation` (E - tau sigma_E) or `bias.Variance` (E - tau sigma_E^2).

    ``elements`` limits it to the uncertainty of atoms of these elements, each with its
    weight. ``energy_limit`` (eV/atom above the start) is where it has faded away.
    ``force_max`` (eV/A) and ``max_excess_temperature`` limit the tau of tau_rel, see
    `TauRule`.
    """

    kind: Literal["deviation", "variance"] = "deviation"
    elements: Annotated[dict[str, NonNegativeFloat], Field(min_length=1)] | None = None
    energy_limit: PositiveFloat | None = None
    force_max: PositiveFloat = 5.0
    max_excess_temperature: PositiveFloat = 1.0

    @model_validator(mode="after")
    def _elements_exist(self) -> BiasConfig:
        if self.elements is not None:
            from ase.data import chemical_symbols

            unknown = [symbol for symbol in self.elements if symbol not in chemical_symbols[1:]]
            if unknown:
                raise ValueError(f"elements: no such chemical symbols: {', '.join(unknown)}")
            if not any(self.elements.values()):
                raise ValueError("elements: at least one weight must be positive")
        return self
