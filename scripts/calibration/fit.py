"""A fit, the predictions that methods of calibration compare, and scales."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from ase import Atoms

from ase_bayesel.surrogate.held_out import held_out, leaving_out
from ase_bayesel.surrogate.scales import HeldOut, Scale
from ase_bayesel.surrogate.steps import finished
from ase_bayesel.surrogate.surrogate import Surrogate

from .materials import KEYS

PROPERTIES = ("energy", "forces")
GROUPS, COMPONENTS = 8, 8
COMMITTEE = (1, 2, 3)
"""Degrees less than that of the fit."""
LEFT_OUT_BY_DISTANCE = 12
Rows = Mapping[str, HeldOut]
Frames = Sequence[Atoms]
Deviations = Mapping[str, np.ndarray]
Result = tuple[Mapping[str, Rows], Mapping[str, Scale]]
"""Errors and deviations by kind and property, and a scale for each property."""
NO_SCALES = dict.fromkeys(PROPERTIES, Scale())


@dataclass(frozen=True)
class Fit:
    """A fit, its training set, and test frames by kind."""

    surrogate: Surrogate
    train: Frames
    kinds: Mapping[str, Frames]

    @cached_property
    def tested(self) -> dict[str, Rows]:
        """Errors and raw deviations by kind."""
        return {kind: held_out(self.surrogate, frames, KEYS) for kind, frames in self.kinds.items()}

    @cached_property
    def alone(self) -> Rows:
        """The training set, each structure left out."""
        return self.grouped([[k] for k in range(len(self.train))])

    def grouped(self, groups: Sequence[Sequence[int]]) -> Rows:
        """The training set in the order of groups that are left out together."""
        return finished(leaving_out(self.train, self.surrogate, KEYS, groups=groups))

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
