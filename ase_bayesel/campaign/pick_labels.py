"""What became of picks: their labels, and which of these are too extreme for the fit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from ase import Atoms

from ..structures.labels import PropertyKeys, targets
from ..surrogate.energy_weights import largest_force
from .events import ExtremeLabel

if TYPE_CHECKING:
    from .config import LabelsConfig


class PickLabel(NamedTuple):
    """A pick and its label: ``settings`` are where that lies, None where there is none.

    ``max_force`` is the largest force of the label, eV/A; None where it has none.
    """

    identity: str
    settings: str | None
    max_force: float | None = None

    def fitted(self, set_aside_force: float | None) -> bool:
        """Whether the label enters fits: there is one, with no force beyond the limit (eV/A)."""
        return self.settings is not None and not _beyond(self.max_force, set_aside_force)


def extreme_labels(
    named: Iterable[tuple[str, float | None]], limits: LabelsConfig, given: bool = False
) -> tuple[ExtremeLabel, ...]:
    """Those of some labels that count less in fits, or are set aside.

    Parameters
    ----------
    named
        Names and largest forces, eV/A.
    limits
        Hold ``max_force`` and ``set_aside_force``.
    given
        Whether they were given as training data: these are never set aside.
    """
    found = []
    for name, max_force in named:
        aside = not given and _beyond(max_force, limits.set_aside_force)
        if max_force is not None and (aside or _beyond(max_force, limits.max_force)):
            found.append(ExtremeLabel(name, max_force, aside))
    return tuple(found)


def extreme_given(
    frames: Iterable[Atoms], keys: PropertyKeys, limits: LabelsConfig
) -> tuple[ExtremeLabel, ...]:
    """`extreme_labels` of given training structures.

    Parameters
    ----------
    frames, keys
        The structures, and where their labels are.
    limits
        As of `extreme_labels`.
    """
    forces = (largest_force(targets(atoms, keys).forces) for atoms in frames)
    named = ((f"training frame {k}", force) for k, force in enumerate(forces))
    return extreme_labels(named, limits, given=True)


def _beyond(max_force: float | None, limit: float | None) -> bool:
    return max_force is not None and limit is not None and max_force > limit
