"""What a config for a material is to hold where nothing but its structures is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from ase import Atoms
from ase.data import atomic_masses, atomic_numbers

from ..descriptors.ace import ACEDescriptor
from ..descriptors.embedding import Embedding
from ..generation import Bootstrap
from ..generation.molecules import loose_molecules
from ..structures.neighbours import fresh_pairs

SMALL_A, LARGEST_A = (0.02, 0.04, 0.07), 0.2
"""Displacements (A, along each axis) of molecules, and the largest ones of crystals."""
THIN_A = 5.0
"""A periodic cell that is thinner holds few of the vibrations that MD is to explore."""
DEGREES = range(4, 13)
ROWS_PER_FEATURE = 0.75
"""The evidence keeps fits in check that have more features than numbers."""
MOST_FEATURES = 1200
"""What a fit of ten seconds can carry."""
ORDER, CHANNELS = 3, 3
"""Of a linear ACE: order, and channels of the embedding of many elements."""
CUTOFFS_A = (4.5, 6.5)
TIMESTEPS_FS = {4.0: 0.5, 20.0: 1.0, 60.0: 2.0, np.inf: 3.0}
"""By the mass of the lightest atom, which is below."""


@dataclass(frozen=True)
class ACESize:
    """A linear ACE: its cutoff (A), its embedding if it has one, how many features it has."""

    order: int
    totaldegree: int
    cutoff: float
    n_features: int
    embedding: Embedding | None


@dataclass(frozen=True)
class Material:
    """The starts of a campaign, and what follows from them.

    Attributes
    ----------
    starts
        The structures, one at least.
    labelled
        The training set, where it is there already.
    """

    starts: Sequence[Atoms]
    labelled: Sequence[Atoms] = ()

    @cached_property
    def elements(self) -> list[str]:
        """In the order in which they come."""
        return list(dict.fromkeys(s for atoms in self.starts for s in atoms.symbols))

    @property
    def lightest(self) -> str:
        """The lightest element."""
        return min(self.elements, key=lambda symbol: atomic_masses[atomic_numbers[symbol]])

    @property
    def is_crystal(self) -> bool:
        """Whether all starts are periodic in three directions."""
        return all(atoms.pbc.all() for atoms in self.starts)

    @property
    def is_periodic(self) -> bool:
        """Whether a start is periodic in some direction."""
        return any(atoms.pbc.any() for atoms in self.starts)

    @cached_property
    def has_molecules(self) -> bool:
        """Whether a start has several molecules, one of several atoms at least."""
        return any(len(one.members) > 1 for atoms in self.starts for one in loose_molecules(atoms))

    @property
    def timestep_fs(self) -> float:
        """By the lightest atom: its fastest vibrations take some twenty steps."""
        mass = atomic_masses[atomic_numbers[self.lightest]]
        return next(step for bound, step in TIMESTEPS_FS.items() if mass < bound)

    @property
    def temperature_K(self) -> int:
        """600, hotter than most uses; 300 for molecules, which hydrogen tells of, beside others."""
        beside = self.is_periodic or self.has_molecules
        return 300 if beside and "H" in self.elements else 600

    @property
    def moves_cell(self) -> bool:
        """Whether trial moves of the cell make sense: for crystals of which no atom is held."""
        return self.is_crystal and not any(atoms.constraints for atoms in self.starts)

    @property
    def swaps(self) -> bool:
        """Whether unlike atoms may change places: those of an alloy, none of which is light."""
        heavy = atomic_masses[atomic_numbers[self.lightest]] > 20
        return self.moves_cell and len(self.elements) > 1 and bool(heavy)

    def bootstrap(
        self, without_periodicity: bool = True, test: int = 10, largest_A: float = LARGEST_A
    ) -> Bootstrap:
        """The recipe of first structures; atoms of crystals are displaced by ``largest_A`` at most.

        Molecules are small, so that there are more of them, and less displaced as hydrogen is.
        Where a start has several of them, half are moved as wholes: what is between molecules is
        softer than their bonds.
        """
        stiff = not self.is_crystal or "H" in self.elements
        displaced = 15 if self.is_periodic else 40
        moved = displaced // 2 if self.has_molecules else 0
        return Bootstrap(
            isolated=without_periodicity,
            strained=10 if self.is_periodic else 0,
            rattled=displaced - moved,
            amplitudes_A=SMALL_A if stiff else (largest_A / 4, largest_A / 2, largest_A),
            moved=moved,
            test=test,
        )

    @cached_property
    def ace(self) -> ACESize:
        """The largest linear ACE that the first structures carry.

        Their forces are `ROWS_PER_FEATURE` numbers for each feature at least, and there are at most
        `MOST_FEATURES`. With more than two elements an embedding takes their place in products.
        """
        recipe, sizes = self.bootstrap(), [len(atoms) for atoms in self.starts]
        rows = 3.0 * sum(map(len, self.labelled))
        if not self.labelled:
            rows = 3 * (recipe.strained + recipe.rattled + recipe.moved) * float(np.mean(sizes))
        limit = min(rows / ROWS_PER_FEATURE, MOST_FEATURES)
        embedding = Embedding(CHANNELS) if len(self.elements) > 2 else None
        found = None
        for degree in DEGREES:
            size = ORDER, degree, self.cutoff
            number = ACEDescriptor(self.elements, *size, embedding=embedding).n_features
            if found is not None and number > limit:
                break
            found = ACESize(*size, number, embedding)
        assert found is not None
        return found

    @cached_property
    def cutoff(self) -> float:
        """Twice the largest distance of nearest neighbours, in steps of 0.5 A; see `CUTOFFS_A`."""
        nearest = max(_nearest(atoms) for atoms in self.starts)
        return float(np.clip(np.round(4.0 * nearest) / 2.0, *CUTOFFS_A))

    def notes(self) -> list[str]:
        """What of the starts is doubtful, a line each."""
        told, thin = [], dict[int, float]()
        for k, atoms in enumerate(self.starts):
            periodic = atoms.cell.array[atoms.pbc]
            heights = 1.0 / np.linalg.norm(np.linalg.pinv(periodic), axis=0)
            if len(heights) and heights.min() < THIN_A:
                thin[k] = float(heights.min())
            elif len(atoms) == 1:
                told.append(f"start {k} is one atom, of which there is nothing to learn")
        if thin:
            thinnest = min(thin, key=thin.__getitem__)
            told.append(
                f"start {thinnest} ({self.starts[thinnest].symbols}) is a cell of "
                f"{thin[thinnest]:.2g} A at its thinnest{_and_more(len(thin) - 1)}; a supercell "
                "holds more environments"
            )
        return told


def _and_more(number: int) -> str:
    """How many other starts are as thin, in words."""
    return f", and {number} more are below {THIN_A:g} A" if number else ""


def _nearest(atoms: Atoms) -> float:
    """The largest distance of an atom to its nearest neighbour, A; 0 where none has one."""
    pairs, distances = fresh_pairs(atoms, CUTOFFS_A[1]), np.full(len(atoms), np.inf)
    np.minimum.at(distances, pairs.first, pairs.lengths)
    known = distances[np.isfinite(distances)]
    return float(known.max()) if len(known) else 0.0
