"""Recipes that distort a start: rattles, strains, vacancies, swaps of unlike atoms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from ase import Atoms
from pydantic import Field

from ..io.fields import Several
from ..io.magnitudes import Count, Displacement, Scaling
from .recipe import Candidate, Context, Recipe, Rejected, derived


@dataclass(frozen=True)
class Rattle(Recipe):
    """Independent normal displacements of all atoms that are not held by a constraint.

    ``amplitudes_A`` are standard deviations of each coordinate (A), ``copies`` how many frames
    each gives.
    """

    kind: ClassVar[str] = "rattle"

    amplitudes_A: Annotated[tuple[Displacement, ...], Several]
    copies: Count = 1
    name = "rattle"

    @property
    def size(self) -> int:
        """How many candidates one start gives."""
        return len(self.amplitudes_A) * self.copies

    def frames(
        self, start: Atoms, context: Context, rng: np.random.Generator
    ) -> Iterator[Candidate]:
        """Rattled copies of the start."""
        for amplitude in self.amplitudes_A:
            for _ in range(self.copies):
                moved = start.copy()
                moved.rattle(amplitude, rng=rng)
                yield derived(moved, start, self.name, amplitude_A=amplitude)


@dataclass(frozen=True)
class Strain(Recipe):
    """Random symmetric strains with components uniform in [-limit, limit], atoms with the cell.

    Only the periodic directions are strained, so that a slab keeps its thickness.
    """

    kind: ClassVar[str] = "strain"

    limit: Annotated[float, Field(ge=1e-6, lt=0.5)]
    copies: Count = 1
    name = "strain"

    @property
    def size(self) -> int:
        """How many candidates one start gives."""
        return self.copies

    def frames(
        self, start: Atoms, context: Context, rng: np.random.Generator
    ) -> Iterator[Candidate]:
        """Strained copies of the start."""
        for _ in range(self.copies):
            tensor = np.triu(rng.uniform(-self.limit, self.limit, (3, 3)))
            tensor = tensor + np.triu(tensor, 1).T
            yield _strained(start, tensor, self.name, max_strain=float(np.abs(tensor).max()))


@dataclass(frozen=True)
class VolumeScan(Recipe):
    """Uniform scaling of the periodic directions, ``points`` from ``smallest`` to ``largest``.

    Both are ratios of volumes to that of the start; of areas for a slab.
    """

    kind: ClassVar[str] = "volume_scan"

    smallest: Scaling = 0.9
    largest: Scaling = 1.1
    points: Count = 5
    name = "volume_scan"

    @property
    def size(self) -> int:
        """How many candidates one start gives."""
        return self.points

    def frames(
        self, start: Atoms, context: Context, rng: np.random.Generator
    ) -> Iterator[Candidate]:
        """The start at each volume."""
        directions = max(int(start.pbc.sum()), 1)
        for ratio in np.linspace(self.smallest, self.largest, self.points).tolist():
            tensor = (ratio ** (1.0 / directions) - 1.0) * np.eye(3)
            yield _strained(start, tensor, self.name, volume_ratio=ratio)


def _strained(start: Atoms, tensor: np.ndarray, name: str, **parameters: float) -> Candidate:
    """The start under the part of a strain ``(3, 3)`` that lies in its periodic directions."""
    if not start.pbc.any():
        return Rejected("not_periodic")
    periodic = start.cell.array[start.pbc]
    within = np.linalg.pinv(periodic) @ periodic
    deformation = np.eye(3) + within @ tensor @ within
    made = start.copy()
    made.cell[:] = start.cell.array @ deformation
    made.positions = start.positions @ deformation
    return derived(made, start, name, **parameters)


@dataclass(frozen=True)
class Vacancies(Recipe):
    """Random atoms taken out: each of ``counts`` at a time, ``copies`` frames of each."""

    kind: ClassVar[str] = "vacancies"

    counts: Annotated[tuple[Count, ...], Several] = (1,)
    copies: Count = 1
    name = "vacancies"

    @property
    def size(self) -> int:
        """How many candidates one start gives."""
        return len(self.counts) * self.copies

    def frames(
        self, start: Atoms, context: Context, rng: np.random.Generator
    ) -> Iterator[Candidate]:
        """The start without some atoms."""
        for count in self.counts:
            for _ in range(self.copies):
                if count >= len(start):
                    yield Rejected("too_few_atoms")
                    continue
                made = start.copy()
                del made[rng.choice(len(start), count, replace=False)]
                yield derived(made, start, self.name, vacancies=count)


@dataclass(frozen=True)
class Swaps(Recipe):
    """Pairs of unlike atoms exchanged: each of ``counts`` pairs, ``copies`` frames of each.

    No atom is in two pairs, so that no exchange is taken back.
    """

    kind: ClassVar[str] = "swaps"

    counts: Annotated[tuple[Count, ...], Several] = (1,)
    copies: Count = 1
    name = "swaps"

    @property
    def size(self) -> int:
        """How many candidates one start gives."""
        return len(self.counts) * self.copies

    def frames(
        self, start: Atoms, context: Context, rng: np.random.Generator
    ) -> Iterator[Candidate]:
        """The start with some atoms exchanged."""
        for count in self.counts:
            for _ in range(self.copies):
                numbers = _swapped(start.numbers, count, rng)
                if numbers is None:
                    yield Rejected("too_few_unlike_atoms")
                    continue
                made = start.copy()
                made.numbers = numbers
                yield derived(made, start, self.name, swaps=count)


def _swapped(numbers: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray | None:
    """Atomic numbers after ``count`` exchanges, None where no unlike pair is left for one."""
    swapped, free = numbers.copy(), np.ones(len(numbers), bool)
    for _ in range(count):
        unlike = (numbers[:, None] < numbers[None]) & free[:, None] & free[None]
        pairs = np.argwhere(unlike)
        if len(pairs) == 0:
            return None
        pair = pairs[rng.integers(len(pairs))]
        swapped[pair] = swapped[pair[::-1]]
        free[pair] = False
    return swapped
