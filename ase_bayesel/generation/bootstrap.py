"""The first training structures of a campaign that has none: a recipe of a few numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, combinations_with_replacement
from typing import Annotated

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii, ground_state_magnetic_moments
from pydantic import Field

from ..dynamics.triggers import Guards
from ..errors import GenerationError
from ..io.fields import Several
from ..io.magnitudes import CovalentRadii
from ..structures.electronic import SPIN
from .distortions import Rattle, Strain
from .molecules import MoveMolecules, loose_molecules
from .recipe import PREFIX, Context, Recipe, Rejected, derived, origin
from .screening import Screen

Number = Annotated[int, Field(ge=0, le=100_000)]
Amplitude = Annotated[float, Field(ge=1e-6, le=1)]
BOX_A = 15.0
"""Edge of the box around atoms and pairs without periodicity."""
TRIES = 50
"""So often a structure that is not sane is drawn anew."""
KINDS = {"strained": "max_strain", "rattled": "amplitudes_A", "moved": "shifts_A"}
"""What is made of starts, and the key of how far."""
TRAINING, HELD_OUT = 0, 1
"""Of the random numbers: training and test structures share none."""
TEST_REACH = 0.5
"""Of the largest displacement or shift: those of test structures are no larger. First training
structures go farther from rest than walkers at usual temperatures, on which errors count."""


@dataclass(frozen=True)
class Bootstrap:
    """Structures to be labelled before anything is known, made from the starts of walkers.

    Attributes
    ----------
    isolated
        An isolated atom of each element, in a box without periodicity, for reference energies.
    strained
        Starts under random strains, in turn; only those that are periodic are strained.
    max_strain
        Largest component of these.
    rattled
        Starts in turn whose atoms are displaced.
    amplitudes_A
        Standard deviations of the displacements along each axis (A), in turn.
    moved
        Starts in turn whose molecules are shifted and turned as wholes (`MoveMolecules`); only
        those of several molecules are moved.
    shifts_A
        Standard deviations of the shifts along each axis (A), in turn.
    dimers
        Distances of each pair of elements, without periodicity.
    shortest, longest
        Of these distances, in sums of covalent radii.
    test
        Further strained, rattled and moved structures, in the same proportion, that no fit sees.
        Their displacements and shifts are at most half of the largest.

    Raises
    ------
    ValueError
        If nothing but isolated atoms and pairs is asked for.
    """

    isolated: bool = True
    strained: Number = 10
    max_strain: Annotated[float, Field(ge=1e-6, lt=0.5)] = 0.05
    rattled: Number = 15
    amplitudes_A: Annotated[tuple[Amplitude, ...], Several] = (0.05, 0.1, 0.2)
    moved: Number = 0
    shifts_A: Annotated[tuple[Amplitude, ...], Several] = (0.1, 0.2, 0.4)
    dimers: Number = 0
    shortest: CovalentRadii = 0.8
    longest: CovalentRadii = 2.0
    test: Number = 0

    def __post_init__(self) -> None:
        if not sum(self._counts.values()):
            raise ValueError("strained, rattled, moved: one of them has to be positive")
        if self.shortest >= self.longest:
            raise ValueError("longest: must be larger than shortest")

    def training(
        self, starts: Sequence[Atoms], seed: int, guards: Guards, with_spin: bool = False
    ) -> list[Atoms]:
        """The structures to train on, with their origin in ``info`` as of `generate_pool`.

        Each has random numbers of its own: with a larger count those of a smaller one stay.

        Parameters
        ----------
        starts
            Where they come from; their elements are those of isolated atoms and pairs.
        seed
            Of all randomness.
        guards
            Whose rules on atoms hold for all but isolated atoms and pairs.
        with_spin
            Whether isolated atoms carry the multiplicity of their ground state.

        Raises
        ------
        GenerationError
            If a start gives no sane structure.
        """
        elements = sorted({symbol for atoms in starts for symbol in atoms.symbols})
        sources = self._sources(starts)
        drawn = (
            _drawn(name, k, sources[name](k), (seed, TRAINING), guards)
            for name, count in self._counts.items()
            for k in range(count if name in sources else 0)
        )
        atoms = (_isolated(symbol, with_spin) for symbol in elements if self.isolated)
        return [*atoms, *self._pairs(elements), *drawn]

    def held_out(self, starts: Sequence[Atoms], seed: int, guards: Guards) -> list[Atoms]:
        """The structures to test on; parameters as of `training`."""
        sources = self._sources(starts, TEST_REACH)
        kinds = [name for name in sources for _ in range(self._counts[name])]
        places = ((2 * k + 1) * len(kinds) // (2 * self.test) for k in range(self.test))
        drawn = (kinds[place % len(kinds)] for place in places)
        return [
            _drawn(name, k, sources[name](k), (seed, HELD_OUT), guards)
            for k, name in enumerate(drawn)
        ]

    @property
    def _counts(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in KINDS}

    def _sources(
        self, starts: Sequence[Atoms], reach: float = 1.0
    ) -> dict[str, Callable[[int], tuple[Recipe, Atoms]]]:
        """Recipe and start of the k-th structure of each kind, where there can be any.

        Nothing is displaced by more than ``reach`` times the largest amplitude.
        """
        periodic = [atoms for atoms in starts if atoms.pbc.any()]
        several = [atoms for atoms in starts if len(atoms) > 1]
        found: dict[str, Callable[[int], tuple[Recipe, Atoms]]] = {}
        if periodic and self.strained:
            found["strained"] = lambda k: (Strain(self.max_strain), periodic[k % len(periodic)])
        if several and self.rattled:
            found["rattled"] = lambda k: (self._rattle(k, reach), several[k % len(several)])
        if self.moved and (loose := [atoms for atoms in several if loose_molecules(atoms)]):
            found["moved"] = lambda k: (self._move(k, reach), loose[k % len(loose)])
        if not found:
            raise GenerationError(
                "bootstrap: no structure can be made of the starts: there is none with periodicity "
                "to be strained (strained), none of several atoms to be rattled (rattled), and "
                "none of several molecules to be moved (moved)"
            )
        return found

    def _rattle(self, k: int, reach: float) -> Rattle:
        return Rattle((_in_turn(self.amplitudes_A, k, reach),))

    def _move(self, k: int, reach: float) -> MoveMolecules:
        return MoveMolecules((_in_turn(self.shifts_A, k, reach),))

    def _pairs(self, elements: Sequence[str]) -> Iterator[Atoms]:
        for pair in combinations_with_replacement(elements, 2):
            length = sum(covalent_radii[atomic_numbers[symbol]] for symbol in pair)
            for distance in np.linspace(self.shortest, self.longest, self.dimers) * length:
                atoms = Atoms(pair, [[0.0, 0.0, 0.0], [0.0, 0.0, distance]])
                yield _in_a_box(atoms, "dimer", distance_A=round(float(distance), 4))


def _in_turn(amplitudes: Sequence[float], k: int, reach: float) -> float:
    """The k-th amplitude, or that share of the largest where it is larger."""
    return min(amplitudes[k % len(amplitudes)], reach * max(amplitudes))


def _isolated(symbol: str, with_spin: bool) -> Atoms:
    atoms = Atoms(symbol)
    unpaired = ground_state_magnetic_moments[atomic_numbers[symbol]]
    if with_spin and np.isfinite(unpaired) and unpaired:
        atoms.info[SPIN] = int(unpaired) + 1
    return _in_a_box(atoms, "isolated")


def _in_a_box(atoms: Atoms, name: str, **parameters: float) -> Atoms:
    """Atoms in the middle of an empty box; the origin is the recipe alone."""
    atoms.set_cell([max(BOX_A, 2.0 * np.ptp(atoms.positions, axis=0).max() + BOX_A / 2)] * 3)
    atoms.center()
    own = dict(atoms.info)
    made = derived(atoms, origin(None), name, **parameters)
    made.info |= {**own, "config_type": name}
    return made


def _drawn(
    name: str, k: int, source: tuple[Recipe, Atoms], seed: tuple[int, int], guards: Guards
) -> Atoms:
    """The k-th structure of a kind: the first sane one that its random numbers give."""
    recipe, start = source
    rng = np.random.default_rng(np.random.SeedSequence((*seed, [*KINDS].index(name), k)))
    screen, broken = Screen(guards=guards), ""
    tries = (recipe.frames(origin(start), Context(), rng) for _ in range(TRIES))
    for made in chain.from_iterable(tries):
        broken = made.reason if isinstance(made, Rejected) else screen.broken(made, start) or ""
        if not isinstance(made, Rejected) and not broken:
            made.info["config_type"] = made.info[f"{PREFIX}recipe"]
            return made
    raise GenerationError(
        f"bootstrap: structure {k} of those {name} breaks the rule {broken} in {TRIES} tries; "
        f"lower {KINDS[name]}, or look at the starts"
    )
