"""Limits of a sane trajectory. A guard looks at the atoms and changes nothing."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field
from typing import Annotated, NamedTuple

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from pydantic import Field
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

from ..bias.prediction import Prediction
from ..errors import BayeselError, StructureError
from ..io.failures import reason_of, shortened
from ..io.fields import HIDDEN
from ..io.magnitudes import CovalentRadii, Length, Positive, Ratio, Temperature
from ..structures.calculators import determinant
from ..structures.neighbours import BONDED, neighbour_pairs
from .statuses import CALCULATOR


class Fault(NamedTuple):
    """What is wrong with a frame: a status by which a walker ends, and what there is to say."""

    status: str
    message: str = ""

    @classmethod
    def of(cls, status: str | None) -> Fault | None:
        """A fault that says nothing but its status, if there is one."""
        return None if status is None else cls(status)

    @classmethod
    def by(cls, error: Exception, status: str = CALCULATOR) -> Fault:
        """A fault with the message of an error; by default one of the calculator."""
        ours = isinstance(error, BayeselError)
        return cls(status, shortened(str(error)) if ours else reason_of(error))


class Fragments(NamedTuple):
    """Parts of a structure that hang together.

    ``numbers (n_atoms,)`` from 0; ``first (m,)``, ``second (m,)`` and ``shifts (m, 3)`` in cell
    vectors are links between neighbours that hold every part together.
    """

    numbers: np.ndarray
    first: np.ndarray
    second: np.ndarray
    shifts: np.ndarray


@dataclass(frozen=True, eq=False)
class Reference:
    """What guards remember of the start.

    ``positions (n_atoms, 3)`` and ``cell (3, 3)`` in A; the fragments, and ``spacing``, the mean
    distance (A) of nearest neighbours, are None where no guard asks for them.
    """

    positions: np.ndarray
    cell: np.ndarray
    fragments: Fragments | None
    spacing: float | None


@dataclass(frozen=True)
class Guards:
    """Limits beyond which a trajectory is not sane; None switches a limit off.

    The last four look at the frame beside the start and act once they are bound to it by
    `against`; `run_walker` binds unbound ones to its own start. They want positions as MD
    leaves them, not wrapped into the cell.

    Attributes
    ----------
    close_contact
        Shortest allowed distance in units of the sum of covalent radii.
    max_force
        Largest allowed biased force on an atom, eV/A, and unbiased force where
        the calculator has evaluated it (see `Prediction.separated`).
    max_temperature_K
        Largest allowed instantaneous temperature.
    volume_ratio
        Above 1: largest allowed volume in units of the start's, and its inverse the smallest.
        Acts where there are three cell vectors and a periodic direction.
    lost_atoms
        Above 1: atoms that were bonded at the start, within 1.3 sums of covalent radii, directly
        or by others, must still be linked, by neighbours within this many. Hydrogen bonds are no
        such bonds: molecules may part.
    escape_A
        How far (A) an atom may be outside of the start's extent along directions that are not
        periodic; the drift of the whole structure does not count.
    melted
        Largest allowed root mean square displacement from the start's positions, without drift
        and without the deformation of the cell, in units of the start's mean distance of
        nearest neighbours (after Lindemann's rule). A crystal at its melting point has about
        0.1 to 0.15; diffusion grows beyond any limit, so 0.3 tells a liquid from a hot crystal.
    start
        What the last four compare with.
    """

    close_contact: CovalentRadii | None = 0.5
    max_force: Positive | None = 100.0
    max_temperature_K: Temperature | None = 10000.0
    volume_ratio: Ratio | None = 4.0
    lost_atoms: Annotated[float, Field(gt=1, le=10)] | None = None
    escape_A: Length | None = None
    melted: Positive | None = None
    start: Annotated[Reference | None, HIDDEN] = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("volume_ratio", "lost_atoms"):
            value = getattr(self, name)
            if value is not None and not value > 1:
                raise ValueError(f"{name}: must be above 1, got {value}")

    def against(self, start: Atoms) -> Guards:
        """These guards, bound to a start structure.

        Raises
        ------
        StructureError
            If ``melted`` is asked for and no atom has a neighbour within two sums of
            covalent radii.
        """
        limit = self.lost_atoms
        fragments = None if limit is None else _fragments(start, min(limit, BONDED))
        spacing = None if self.melted is None else _spacing(start)
        reference = Reference(start.positions.copy(), start.cell.array.copy(), fragments, spacing)
        bound = copy(self)
        object.__setattr__(bound, "start", reference)
        return bound

    def violated(self, atoms: Atoms, prediction: Prediction | None = None) -> str | None:
        """Name of the first limit that is broken, or None.

        ``"nan"``, ``"volume"``, ``"close_contact"``, ``"force"``, ``"temperature"``,
        ``"lost_atoms"`` or ``"melted"``. A value that is not finite always counts as broken.
        """
        arrays = [atoms.positions, atoms.get_momenta(), atoms.cell.array]
        if prediction is not None:
            arrays += [np.array([prediction.energy, prediction.energy_std])]
            forces = _known_forces(prediction)
            arrays += forces
        if not all(np.isfinite(array).all() for array in arrays):
            return "nan"
        if self.start is not None and self._volume_broken(atoms, self.start):
            return "volume"
        if self.close_contact is not None and _too_close(atoms, self.close_contact):
            return "close_contact"
        if self.max_force is not None and prediction is not None:
            largest = max(np.linalg.norm(array, axis=1).max() for array in forces)
            if largest > self.max_force:
                return "force"
        if self.max_temperature_K is not None and atoms.get_temperature() > self.max_temperature_K:
            return "temperature"
        return None if self.start is None else self._left(atoms, self.start)

    def unbiased_violated(self, prediction: Prediction) -> str | None:
        """``"nan"`` or ``"force"`` by the unbiased forces, which are evaluated for this."""
        lengths = np.linalg.norm(prediction.forces, axis=1)
        if not np.isfinite(lengths).all():
            return "nan"
        broken = self.max_force is not None and lengths.max() > self.max_force
        return "force" if broken else None

    def _volume_broken(self, atoms: Atoms, start: Reference) -> bool:
        before, now = (abs(determinant(cell)) for cell in (start.cell, atoms.cell.array))
        if self.volume_ratio is None or not atoms.pbc.any() or before == 0:
            return False
        return not 1 / self.volume_ratio <= now / before <= self.volume_ratio

    def _left(self, atoms: Atoms, start: Reference) -> str | None:
        """``"lost_atoms"`` or ``"melted"`` where the atoms have left the start so far."""
        limit, fragments = self.lost_atoms, start.fragments
        apart = limit is not None and fragments is not None and _come_apart(atoms, fragments, limit)
        if apart or (self.escape_A is not None and _escape(atoms, start) > self.escape_A):
            return "lost_atoms"
        if self.melted is None or start.spacing is None:
            return None
        return "melted" if _displacement(atoms, start) > self.melted * start.spacing else None


def _known_forces(prediction: Prediction) -> list[np.ndarray]:
    """Biased forces, and unbiased ones that need no further evaluation."""
    unbiased = [prediction.forces] if prediction.separated else []
    return [*unbiased, prediction.biased_forces]


def _too_close(atoms: Atoms, factor: float) -> bool:
    """Whether two atoms are closer than ``factor`` sums of their covalent radii."""
    i, j, vectors = _near(atoms, min(factor, 1.0))
    return len(i) > 0 and bool((_reduced(atoms, i, j, vectors) < factor).any())


def _near(atoms: Atoms, factor: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs within ``factor`` times the largest sum of covalent radii, and their vectors."""
    return neighbour_pairs(atoms, 2.0 * factor * float(covalent_radii[atoms.numbers].max()))


def _reduced(atoms: Atoms, i: np.ndarray, j: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Lengths in units of the sum of the covalent radii."""
    radii = covalent_radii[atoms.numbers]
    return np.linalg.norm(vectors, axis=1) / (radii[i] + radii[j])


def _fragments(atoms: Atoms, factor: float) -> Fragments:
    """The fragments, where neighbours are within ``factor`` sums of covalent radii."""
    i, j, vectors = _near(atoms, factor)
    lengths, size = _reduced(atoms, i, j, vectors), (len(atoms), len(atoms))
    kept = np.flatnonzero((lengths < factor) & (i < j))
    kept = kept[np.argsort(lengths[kept], kind="stable")]
    kept = kept[np.unique(i[kept] * len(atoms) + j[kept], return_index=True)[1]]
    tree = minimum_spanning_tree(coo_matrix((1 + lengths[kept], (i[kept], j[kept])), size)).tocoo()
    chosen = kept[np.isin(i[kept] * len(atoms) + j[kept], tree.row * len(atoms) + tree.col)]
    i, j = i[chosen], j[chosen]
    between = vectors[chosen] - (atoms.positions[j] - atoms.positions[i])
    shifts = np.rint(between @ np.linalg.pinv(atoms.cell.array))
    return Fragments(connected_components(tree, directed=False)[1], i, j, shifts)


def _come_apart(atoms: Atoms, start: Fragments, factor: float) -> bool:
    """Whether a fragment of the start is none now; cheap while its links hold."""
    across = start.shifts @ atoms.cell.array
    vectors = atoms.positions[start.second] - atoms.positions[start.first] + across
    if (_reduced(atoms, start.first, start.second, vectors) < factor).all():
        return False
    pairs = np.stack([start.numbers, _fragments(atoms, factor).numbers])
    return bool(np.unique(pairs, axis=1).shape[1] > start.numbers.max() + 1)


def _spacing(atoms: Atoms) -> float:
    """Mean distance of nearest neighbours, A, over the atoms that have one near."""
    i, _, vectors = _near(atoms, 2.0)
    if len(i) == 0:
        raise StructureError("guard melted: no atom of the start has a neighbour")
    nearest = np.full(len(atoms), np.inf)
    np.minimum.at(nearest, i, np.linalg.norm(vectors, axis=1))
    return float(nearest[np.isfinite(nearest)].mean())


def _escape(atoms: Atoms, start: Reference) -> float:
    """Largest distance outside the start's extent along directions that are not periodic, A.

    Directions are those of space without the span of the periodic cell vectors.
    """
    outside = np.linalg.svd(atoms.cell.array * atoms.pbc[:, None])[2][int(atoms.pbc.sum()) :]
    before, now = ((p - p.mean(axis=0)) @ outside.T for p in (start.positions, atoms.positions))
    beyond = np.maximum(now - before.max(axis=0), before.min(axis=0) - now)
    return float(beyond.max(initial=-np.inf))


def _displacement(atoms: Atoms, start: Reference) -> float:
    """Root mean square displacement from the start, A, carried along with the cell."""
    strain = np.linalg.pinv(start.cell) @ (atoms.cell.array - start.cell)
    carried = start.positions + start.positions @ strain
    moved = atoms.positions - carried
    moved = moved - moved.mean(axis=0)
    return float(np.sqrt(np.mean(np.sum(moved**2, axis=1))))
