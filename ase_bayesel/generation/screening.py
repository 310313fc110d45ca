"""Which candidates a pool takes: sane ones that are no copies, with their uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from ase import Atoms

from ..descriptors.base import Descriptor, Features, JointDescriptor
from ..dynamics.triggers import Guards
from ..errors import StructureError
from ..io.fields import FLAT
from ..io.magnitudes import NonNegative, Ratio
from ..selection.candidates import NEAR_CORE
from ..structures.checks import check_structure
from ..structures.identity import structure_id
from ..surrogate.design import property_rows
from ..surrogate.force_uncertainty import ForceSearch
from ..surrogate.surrogate import Surrogate
from .recipe import PREFIX

SPREAD_FLOOR = 1e-4
"""Smallest scale of a feature, in units of its root mean square."""
BLOCK_NUMBERS = 1 << 20


@dataclass(frozen=True)
class Screen:
    """What a candidate must not be.

    Attributes
    ----------
    guards
        Their rules on the atoms, such as close contacts.
    max_volume_ratio
        Largest volume over that of the start, and its inverse the smallest, for cells that are
        periodic in three directions and were not built anew.
    near
        A candidate is a near copy of another structure if the root mean square difference of
        their features is below this, see `NearCopies`. 0 leaves out exact copies only.
    """

    guards: Annotated[Guards, FLAT] = Guards()
    max_volume_ratio: Ratio = 2.0
    near: NonNegative = NEAR_CORE

    def broken(self, atoms: Atoms, start: Atoms | None) -> str | None:
        """Name of the rule that a candidate breaks, None if it is sane.

        ``start`` is given where the cell is still the start's.
        """
        try:
            check_structure(atoms, "candidate")
        except StructureError:
            return "not_a_structure"
        broken = self.guards.violated(atoms)
        if broken is None and atoms.pbc.all():
            volume = atoms.get_volume()
            before = volume if start is None else start.get_volume()
            largest = self.max_volume_ratio
            if not 1.0 / largest <= volume / before <= largest:
                return "volume"
        return broken


class NearCopies:
    """Distances of features to those of all structures so far.

    The distance of two structures is the root mean square difference of their features per
    atom, in units of each feature's scale. That is its standard deviation over the
    structures so far, at least `SPREAD_FLOOR` times its root mean square. Nothing of what
    is yet to come is needed, and the more of a pool there is, the closer the scales are to
    those of the whole (`selection.distances.standardised`).
    """

    def __init__(self, n_features: int) -> None:
        self._rows = np.empty((256, n_features))
        self._count = 0
        self._mean = np.zeros(n_features)
        self._scatter = np.zeros(n_features)

    def add(self, row: np.ndarray) -> None:
        """Count a structure by its features per atom ``(D,)`` (Welford 1962)."""
        if self._count == len(self._rows):
            self._rows = np.concatenate([self._rows, np.empty_like(self._rows)])
        self._rows[self._count] = row
        self._count += 1
        change = row - self._mean
        self._mean += change / self._count
        self._scatter += change * (row - self._mean)

    def nearest(self, row: np.ndarray) -> tuple[float, int]:
        """Distance to the nearest structure and its number; infinity and -1 if there is none."""
        if self._count == 0:
            return np.inf, -1
        variance = self._scatter / self._count
        scale = np.sqrt(np.maximum(variance, SPREAD_FLOOR**2 * (variance + self._mean**2)))
        used = scale > 1e-12 * scale.max()
        weights = np.zeros(len(row))
        weights[used] = 1.0 / (scale[used] ** 2 * used.sum())
        length = max(BLOCK_NUMBERS // len(row), 1)
        squared = [
            np.square(self._rows[k : min(k + length, self._count)] - row) @ weights
            for k in range(0, self._count, length)
        ]
        together = np.concatenate(squared)
        closest = int(np.argmin(together))
        return float(np.sqrt(together[closest])), closest


class Screening:
    """Judges candidates one by one; those that it keeps count for the next ones.

    Parameters
    ----------
    screen
        The rules.
    descriptor
        Features for near copies; None to leave out exact copies only.
    surrogate
        For uncertainties; its descriptor is ``descriptor``.
    core
        Structures whose copies are left out.
    """

    def __init__(
        self,
        screen: Screen,
        descriptor: Descriptor | None = None,
        surrogate: Surrogate | None = None,
        core: Sequence[Atoms] = (),
    ) -> None:
        self.screen = screen
        self.descriptor = descriptor
        self.surrogate = surrogate
        self._of_core: dict[str, bool] = {}
        self._near = None
        if descriptor is not None and screen.near > 0:
            self._near = NearCopies(descriptor.n_features)
        self._n_core = len(core)
        for atoms in core:
            self.take(atoms, of_core=True)

    def take(self, atoms: Atoms, of_core: bool = False) -> None:
        """Count a structure as known without judging it."""
        features = self._features(atoms, derivatives=False)
        self._know(structure_id(atoms), features, of_core)

    def judge(self, atoms: Atoms, start: Atoms | None) -> str | None:
        """Why a candidate is left out; None if it is kept, with its uncertainty and id in ``info``.

        ``start`` as of `Screen.broken`.
        """
        broken = self.screen.broken(atoms, start)
        if broken is not None:
            return broken
        identity = structure_id(atoms)
        if identity in self._of_core:
            return "copy_of_core" if self._of_core[identity] else "copy"
        exact = self.surrogate is not None and not isinstance(self.descriptor, JointDescriptor)
        features = self._features(atoms, exact)
        if self._near is not None and features is not None:
            distance, closest = self._near.nearest(features.total / len(atoms))
            if distance < self.screen.near:
                return "near_copy_of_core" if closest < self._n_core else "near_copy"
        self._know(identity, features, of_core=False)
        atoms.info[f"{PREFIX}id"] = identity
        atoms.info["config_type"] = atoms.info[f"{PREFIX}recipe"]
        if self.surrogate is not None and features is not None:
            _describe(atoms, features, self.surrogate)
        return None

    def _features(self, atoms: Atoms, derivatives: bool) -> Features | None:
        if self.descriptor is None:
            return None
        return self.descriptor.compute([atoms], derivatives=derivatives)[0]

    def _know(self, identity: str, features: Features | None, of_core: bool) -> None:
        self._of_core.setdefault(identity, of_core)
        if self._near is not None and features is not None:
            self._near.add(features.total / len(features.values))


def _describe(atoms: Atoms, features: Features, surrogate: Surrogate) -> None:
    """Note sigma_E per atom (eV) and the largest force deviation (eV/A)."""
    posterior = surrogate.posterior
    energy = float(np.sqrt(posterior.variance(features.total)))
    if isinstance(surrogate.descriptor, JointDescriptor):
        search = ForceSearch()
        force = search(surrogate.descriptor, posterior, atoms, np.ones(len(atoms))).force_std
    else:
        variances = posterior.variance(property_rows(features, "forces"))
        force = float(np.sqrt(variances.reshape(-1, 3).sum(axis=1).max()))
    atoms.info[f"{PREFIX}energy_std_per_atom"] = energy / len(atoms)
    atoms.info[f"{PREFIX}max_force_std"] = force
