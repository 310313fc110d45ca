"""A fit, the predictions that methods of calibration compare, and scales."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from ase_bayesel.structures.labels import PropertyKeys
from ase_bayesel.surrogate.calibration import calibrating
from ase_bayesel.surrogate.held_out import MOST, held_out, leaving_out
from ase_bayesel.surrogate.scales import HeldOut, Scale
from ase_bayesel.surrogate.steps import finished
from ase_bayesel.surrogate.surrogate import Surrogate

KEYS = PropertyKeys("REF_energy", "REF_forces")
PROPERTIES = ("energy", "forces")
Rows = Mapping[str, HeldOut]
Frames = Sequence[Atoms]
Deviations = Mapping[str, np.ndarray]
Result = tuple[Mapping[str, Rows], Mapping[str, Scale]]
"""Errors and deviations by kind and property, and a scale for each property."""
NO_SCALES = dict.fromkeys(PROPERTIES, Scale())


@dataclass(frozen=True)
class Fit:
    """A fit, its training set, and test frames by kind.

    A network may be the potential: then the errors are its own, and the structures that can be left
    out are those that it was not trained on (``unseen``).
    """

    surrogate: Surrogate
    train: Frames
    kinds: Mapping[str, Frames]
    potential: Calculator | None = None
    unseen: Sequence[int] = ()

    @cached_property
    def tested(self) -> dict[str, Rows]:
        """Errors and raw deviations by kind."""
        return self.tested_by(self.surrogate)

    @cached_property
    def supported(self) -> dict[str, Rows]:
        """Errors by kind, and deviations with the support of a campaign, without scales."""
        return self.tested_by(self.calibrated)

    def tested_by(self, surrogate: Surrogate) -> dict[str, Rows]:
        """Errors by kind, and the deviations of a surrogate with scales or support."""
        found = {}
        for kind, frames in self.kinds.items():
            found[kind] = held_out(surrogate, frames, KEYS, self.potential)
        return found

    @cached_property
    def known(self) -> list[int]:
        """Numbers of the training structures that are left out in turn."""
        if self.potential is not None:
            return list(self.unseen)
        return list(range(0, len(self.train), -(-len(self.train) // MOST)))

    @cached_property
    def alone(self) -> Rows:
        """Those structures, each left out; they are numbered in the order of `known`."""
        return self.grouped([[k] for k in self.known])

    def grouped(self, groups: Sequence[Sequence[int]]) -> Rows:
        """The training set in the order of groups that are left out together."""
        steps = leaving_out(
            self.train, self.surrogate, KEYS, groups=groups, potential=self.potential
        )
        return finished(steps)

    @cached_property
    def calibrated(self) -> Surrogate:
        """With the scales and the support of a campaign."""
        steps = calibrating(self.surrogate, self.train, KEYS, None, self.potential, self.unseen)
        return finished(steps)

    def features(self, frames: Frames) -> list[np.ndarray]:
        """``(n_atoms, D)`` of each structure."""
        return [f.values for f in self.surrogate.descriptor.compute(list(frames))]

    def with_deviations(self, deviations: Callable[[Frames], Deviations]) -> dict[str, Rows]:
        """The errors of the fit beside other deviations."""
        result: dict[str, Rows] = {}
        for kind, rows in self.tested.items():
            own = deviations(self.kinds[kind])
            result[kind] = {
                prop: HeldOut(rows[prop].errors, own[prop], rows[prop].structures)
                for prop in PROPERTIES
            }
        return result


def scales_of(rows: Rows) -> dict[str, Scale]:
    """By property."""
    return {prop: Scale.of(rows[prop]) for prop in PROPERTIES}
