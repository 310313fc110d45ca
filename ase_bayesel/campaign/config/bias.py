"""Which uncertainty the bias follows, and how far."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from ...bias.kinds import BIASES
from ...io.fields import refusal
from ...io.magnitudes import NonNegative, Positive
from .base import Section


def _known_kind(kind: str) -> str:
    kinds = [bias.kind for bias in BIASES]
    if kind not in kinds:
        raise refusal(f"{kind!r} is none of {', '.join(kinds)}", "unknown_kind")
    return kind


def _elements(weights: dict[str, float]) -> dict[str, float]:
    from ase.data import chemical_symbols

    unknown = [symbol for symbol in weights if symbol not in chemical_symbols[1:]]
    if unknown:
        raise ValueError(f"no such chemical symbols: {', '.join(unknown)}")
    if not any(weights.values()):
        raise ValueError("at least one weight must be positive")
    return weights


class BiasConfig(Section):
    """A bias of `bias.kinds.BIASES`, and what limits the tau of tau_rel.

    ``deviation`` is E - tau sigma_E, ``variance`` E - tau sigma_E^2. ``elements`` makes a region:
    only the uncertainty of atoms of these elements counts, each with its weight.
    ``energy_limit`` (eV/atom above the start) is where the bias has faded away. ``force_max``
    (eV/A) and ``max_excess_temperature`` limit the tau of tau_rel, see `TauRule`.
    """

    kind: Annotated[str, AfterValidator(_known_kind)] = "deviation"
    elements: (
        Annotated[dict[str, NonNegative], Field(min_length=1), AfterValidator(_elements)] | None
    ) = None
    energy_limit: Positive | None = None
    force_max: Positive = 5.0
    max_excess_temperature: Positive = 1.0
