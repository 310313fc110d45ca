"""Trial exchanges of two unlike atoms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from ase import Atoms
from ase.constraints import FixCom
from pydantic import Field

from ...errors import StructureError
from ...io.magnitudes import Cutoff, Steps
from ...structures.neighbours import neighbour_pairs
from ..triggers import Guards
from .base import Decision, MoveState, counted, metropolis

OWN = ("masses", "initial_charges", "initial_magmoms")
"""Arrays of what an atom has of its own, beside its element."""


@dataclass(frozen=True)
class SwapMove:
    """Exchange two atoms of different elements.

    The two sites exchange their elements, and with them the masses, and their momenta: an
    atom takes its momentum along, so that the kinetic energy does not change and each
    species keeps its own distribution. All else belongs to the site and stays: position,
    tag, constraint, and whatever refers to an atom by its index. Acceptance (Metropolis et
    al. 1953; Hastings 1970)

        min(1, (n / n') exp(-dE / kT))

    where n and n' are the numbers of pairs to choose from before and after; without a
    ``cutoff`` they are the same.

    Atoms under a constraint are not swapped. Atoms with masses, charges or magnetic moments
    that are not those of their element are refused.

    Attributes
    ----------
    interval
        Absolute MD steps between two attempts.
    elements
        Only atoms of these elements are swapped; None for all.
    cutoff
        Only pairs within this distance (A): between the first two shells of neighbours,
        only nearest neighbours. None for all pairs.
    """

    kind: ClassVar[str] = "swap"

    interval: Steps = 10
    elements: Annotated[tuple[str, ...], Field(min_length=2)] | None = None
    cutoff: Cutoff | None = None

    def __post_init__(self) -> None:
        if self.interval < 1:
            raise ValueError("swap move: interval must be at least 1")
        if self.elements is not None and len(set(self.elements)) < 2:
            raise ValueError("swap move: elements must name at least two")
        if self.cutoff is not None and not self.cutoff > 0:
            raise ValueError("swap move: cutoff must be positive")

    def check(self, atoms: Atoms, pressure_given: bool = False) -> None:
        """Raise a `StructureError` unless two elements are among the atoms that may be swapped."""
        self._movable(atoms)

    def attempt(
        self,
        atoms: Atoms,
        *,
        temperature_K: float,
        pressure_GPa: float | None = None,
        rng: np.random.Generator,
        state: MoveState = MoveState(),
        guards: Guards = Guards(),
    ) -> MoveState:
        """One attempt on the surface of ``atoms.calc``; returns the next state.

        Where no unlike pair is within the cutoff it is rejected.

        Parameters
        ----------
        atoms
            Changed in place if the trial is accepted.
        temperature_K, pressure_GPa
            Of the ensemble at this step; the pressure does not matter.
        rng
            For trial and decision.
        state
            Counts so far.
        guards
            A trial that breaks one is rejected.

        Raises
        ------
        StructureError
            As `check`.
        """
        movable = self._movable(atoms)
        pair, log_pairs = self._draw(atoms, movable, rng)
        if pair is None:
            return counted(state, Decision(0.0, False))
        trial = atoms.copy()
        for array in (trial.numbers, trial.arrays.get("momenta")):
            if array is not None:
                array[pair] = array[pair[::-1]]
        if self.cutoff is not None:
            log_pairs -= np.log(len(self._near_pairs(trial, movable)))
        return counted(state, metropolis(atoms, trial, log_pairs, temperature_K, rng, guards))

    def _movable(self, atoms: Atoms) -> np.ndarray:
        """Which atoms may be swapped, ``(n_atoms,)`` of bool."""
        names = [name for name in OWN if atoms.has(name)]
        if names:
            raise StructureError(f"swap move: atoms have {', '.join(names)} of their own")
        movable = np.ones(len(atoms), bool)
        if self.elements is not None:
            movable = np.isin(atoms.symbols, self.elements)
        for constraint in atoms.constraints:
            if hasattr(constraint, "get_indices"):
                movable[constraint.get_indices()] = False
            elif type(constraint) is not FixCom:
                raise StructureError(
                    f"swap move: {type(constraint).__name__} does not tell which atoms it holds"
                )
        elements = sorted(set(atoms.symbols[movable]))
        if len(elements) < 2:
            raise StructureError(
                "swap move: needs two elements among the atoms that may be swapped, "
                f"found {', '.join(elements) or 'none'}"
            )
        return movable

    def _draw(
        self, atoms: Atoms, movable: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray | None, float]:
        """A pair ``(2,)`` or None, and the logarithm of the number of pairs within the cutoff."""
        if self.cutoff is not None:
            pairs = self._near_pairs(atoms, movable)
            if len(pairs) == 0:
                return None, 0.0
            return pairs[rng.integers(len(pairs))], float(np.log(len(pairs)))
        first = rng.choice(np.flatnonzero(movable))
        unlike = movable & (atoms.numbers != atoms.numbers[first])
        return np.array([first, rng.choice(np.flatnonzero(unlike))]), 0.0

    def _near_pairs(self, atoms: Atoms, movable: np.ndarray) -> np.ndarray:
        """All unlike movable pairs within the cutoff, ``(n, 2)``."""
        assert self.cutoff is not None
        i, j, _ = neighbour_pairs(atoms, self.cutoff)
        wanted = (i < j) & movable[i] & movable[j] & (atoms.numbers[i] != atoms.numbers[j])
        return np.unique(np.stack([i[wanted], j[wanted]], axis=1), axis=0)
