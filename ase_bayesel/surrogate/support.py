"""Which environments a fit knows, and what may be wrong with energies of those it does not.

The variance of a linear model vanishes with its features: pulled apart, atoms seem certain. What a
model says of an environment outside its training set is extrapolated, and the further its energy
moves from that of the nearest environment inside, the less of it rests on data.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms

from ..descriptors.base import Descriptor
from ..io.bounded_npz import real
from ..structures.labels import of_whole_atoms, whole_atoms
from ..structures.neighbours import neighbour_pairs

SHARE = 0.4
"""Of an extrapolated change of energy, so much may be wrong (docs/calibration.md) ..."""
NETWORK_SHARE = 0.5
"""... and so much where a network predicts, whose change is another."""
WITHIN = 0.99
"""Of the training set's environments, this part lies so near to other structures' ..."""
TIMES = 2.0
"""... that from so many times that distance on an environment counts as outside."""
VANISHING = 1e-9
"""Features that are shorter than so much of the longest are those of an atom without neighbours."""
MOST_KNOWN = 256
"""Environments of an element that are kept; they cover the others."""
MOST_CANDIDATES = 4000
"""Environments of an element among which these are chosen, evenly spread over the training set."""
NEAR_A = 4.0
"""A force is as uncertain as the least known environment of its atom and of those so near to it."""
MOST_BEYOND = 10.0
"""Times its reach an environment counts as no further away."""
LEAST_REACH = 1e-6
"""Below it relative distances are rounding."""
OF_ALL = ("network", "widens")
"""Of `Support`, in a file, beside what belongs to elements."""


@dataclass(frozen=True)
class Known:
    """Environments of one element.

    Attributes
    ----------
    features
        ``(M, D)``, times the descriptor's ``prior_std``: there a smooth model has coefficients of
        one size, so that distances count what changes its energies.
    reach
        How far from the known ones an environment may lie: `TIMES` the distance from other
        training structures' within which `WITHIN` of the set do; infinite for a single structure.
        Relative to the longer of two feature vectors: those of a dimer are all small. An atom whose
        features all vanish, without neighbours, is at distance one from any other: it is known, and
        says nothing of how near to each other environments lie.
    """

    features: np.ndarray
    reach: float

    def nearest(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Relative distance to the nearest environment and its place, for ``(n, D)`` features."""
        return _nearest(features, self.features, _squares(features, self.features))


@dataclass(frozen=True)
class Support:
    """What a training set tells of other structures.

    Attributes
    ----------
    known
        Its environments, by atomic number.
    network
        Whether a network predicts in place of the linear mean.
    widens
        Whether force deviations are widened outside the training set (`widening`): those of a
        network's features do not grow there as its errors do.
    """

    known: Mapping[int, Known]
    network: bool = False
    widens: bool = False

    @classmethod
    def of(cls, frames: Sequence[Atoms], descriptor: Descriptor) -> Support:
        """The environments of a training set.

        Of each element those are kept that lie furthest from each other, `MOST_KNOWN` at most. Of
        cut-outs those of whole atoms alone count.

        Parameters
        ----------
        frames
            The training set.
        descriptor
            Gives their features.
        """
        found = descriptor.compute(frames) if len(frames) else []
        if not found:
            return cls({})
        parts = [of_whole_atoms(a, f.values) for a, f in zip(frames, found, strict=True)]
        structures = np.repeat(np.arange(len(frames)), [len(part) for part in parts])
        numbers = np.concatenate([of_whole_atoms(atoms, atoms.numbers) for atoms in frames])
        features = np.concatenate(parts) * descriptor.prior_std()
        known: dict[int, Known] = {}
        for number in np.unique(numbers).tolist():
            own = np.flatnonzero(numbers == number)
            own = own[:: -(-len(own) // MOST_CANDIDATES)]
            known[number] = _covering(features[own], structures[own])
        return cls(known)

    def nearest(
        self, numbers: np.ndarray, features: np.ndarray
    ) -> Iterator[tuple[Known, np.ndarray, np.ndarray, np.ndarray]]:
        """Of each known element: it, places of its atoms, and what `Known.nearest` says of them.

        Parameters
        ----------
        numbers, features
            As in `extrapolated`.
        """
        for number, known in self.known.items():
            own = np.flatnonzero(numbers == number)
            if len(own):
                yield known, own, *known.nearest(features[own])

    @property
    def share(self) -> float:
        """Of an extrapolated change of energy, so much may be wrong."""
        return NETWORK_SHARE if self.network else SHARE

    def extrapolated(
        self, numbers: np.ndarray, features: np.ndarray, mean: np.ndarray
    ) -> np.ndarray:
        """Deviation for what of each atom's energy is extrapolated, eV, with the sign of that.

        `share` (1 - reach / d) (e - e'), with e' the energy of the nearest known environment and d
        its distance; none within ``reach``. An atom of an element that is not known counts whole.

        Parameters
        ----------
        numbers
            ``(n_atoms,)`` atomic numbers.
        features
            ``(n_atoms, D)`` of each atom, times ``prior_std``.
        mean
            ``(D,)`` coefficients of these features.
        """
        energies = features @ mean
        changes = energies.copy()
        for known, own, distances, places in self.nearest(numbers, features):
            outside = distances > known.reach
            part = 1.0 - known.reach / distances[outside]
            changes[own] = 0.0
            near = known.features[places[outside]] @ mean
            changes[own[outside]] = part * (energies[own[outside]] - near)
        return self.share * changes

    def widening(self, atoms: Atoms, features: np.ndarray) -> np.ndarray:
        """What force deviations are to be multiplied by, ``(n_atoms,)``; ones unless `widens`.

        d / reach, with d the distance of the nearest known environment, where that is above one:
        the largest of the atom and of those within `NEAR_A` of it. An element that is not known
        counts as `MOST_BEYOND`. Of cut-outs the environments of whole atoms alone tell.

        Parameters
        ----------
        atoms
            The structure.
        features
            ``(n_atoms, D)`` as in `extrapolated`.
        """
        if not self.widens or not self.known:
            return np.ones(len(atoms))
        own = np.full(len(atoms), MOST_BEYOND)
        for known, places, distances, _ in self.nearest(atoms.numbers, features):
            own[places] = np.clip(distances / max(known.reach, LEAST_REACH), 1.0, MOST_BEYOND)
        whole = whole_atoms(atoms)
        if whole is not None:
            own[~whole] = 1.0
        first, second, _ = neighbour_pairs(atoms, NEAR_A)
        widest = own.copy()
        np.maximum.at(widest, first, own[second])
        return widest

    def to_arrays(self) -> dict[str, np.ndarray]:
        """For a file."""
        arrays = {
            f"support.{number}.{name}": np.asarray(value)
            for number, known in self.known.items()
            for name, value in vars(known).items()
        }
        of_all = {f"support.{name}": np.asarray(getattr(self, name)) for name in OF_ALL}
        return arrays | of_all

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], n_features: int) -> Support | None:
        """What `to_arrays` gave; None where there is nothing of it.

        Raises
        ------
        ValueError
            For arrays that do not fit.
        """
        parts: dict[int, dict[str, Any]] = {}
        for key, array in arrays.items():
            word, _, rest = key.partition(".")
            if word == "support" and rest not in OF_ALL:
                element, name = rest.split(".")
                parts.setdefault(int(element), {})[name] = array
        known: dict[int, Known] = {}
        for number, own in parts.items():
            features = real(own["features"], (None, n_features))
            reach = float(own["reach"])
            if not len(features) or not reach >= 0:
                raise ValueError("known environments: a reach or a number that they cannot have")
            known[number] = Known(features, reach)
        if not known:
            return None
        return cls(known, *(bool(arrays.get(f"support.{name}", False)) for name in OF_ALL))


def _covering(features: np.ndarray, structures: np.ndarray) -> Known:
    """Farthest points and their reach."""
    places = [0]
    nearest = _squares(features, features[:1])[:, 0]
    while len(places) < min(MOST_KNOWN, len(features)) and nearest.max() > 0:
        places.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, _squares(features, features[places[-1:]])[:, 0])
    squares = _squares(features, features[places])
    lengths = _lengths(features)
    alone = lengths <= VANISHING * lengths.max()
    squares[structures[:, None] == structures[places]] = np.inf
    squares[:, alone[places]] = np.inf
    distances, _ = _nearest(features, features[places], squares)
    distances = distances[np.isfinite(distances) & ~alone]
    reach = TIMES * float(np.quantile(distances, WITHIN)) if len(distances) else math.inf
    return Known(features[places], reach)


def _nearest(
    ours: np.ndarray, theirs: np.ndarray, squares: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Relative distances and places, from squared distances ``(n, m)``."""
    places = squares.argmin(axis=1)
    lengths = np.maximum(_lengths(ours), _lengths(theirs)[places])
    distances = np.sqrt(squares[np.arange(len(places)), places])
    return np.divide(distances, lengths, out=np.zeros_like(distances), where=lengths > 0), places


def _lengths(features: np.ndarray) -> np.ndarray:
    return np.linalg.norm(features, axis=1)


def _squares(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """``(n, m)`` squared distances; of a point from itself zero but for rounding."""
    products = ours @ theirs.T
    squares = np.square(ours).sum(axis=1)[:, None] + np.square(theirs).sum(axis=1) - 2 * products
    return np.maximum(squares, 0.0)
