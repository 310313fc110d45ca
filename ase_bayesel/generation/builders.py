"""Recipes that build cells with ASE's builders: crystals, surfaces and slabs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import ase.build
import numpy as np
from ase import Atoms

from ..errors import GenerationError
from ..io.fields import Several
from ..io.magnitudes import Length, Miller, Repeats
from .recipe import Candidate, Context, Recipe, Rejected, derived

SLAB_BUILDERS = (
    "fcc100",
    "fcc110",
    "fcc111",
    "fcc211",
    "bcc100",
    "bcc110",
    "bcc111",
    "hcp0001",
    "hcp10m10",
    "diamond100",
    "diamond111",
)
"""Functions of `ase.build` that `StandardSlab` may name."""
Repeat = tuple[Repeats, Repeats, Repeats]
AlongSurface = tuple[Repeats, Repeats]


@dataclass(frozen=True)
class Bulk(Recipe):
    """A crystal from `ase.build.bulk`, repeated; lattice constants in A."""

    kind: ClassVar[str] = "bulk"

    element: str
    crystalstructure: str | None = None
    a: Length | None = None
    c: Length | None = None
    cubic: bool = False
    repeat: Repeat = (1, 1, 1)
    name = "bulk"
    needs_start = False
    keeps_cell = False
    size = 1

    def frames(
        self, start: Atoms, context: Context, rng: np.random.Generator
    ) -> Iterator[Candidate]:
        """The crystal."""
        yield derived(self._built(), start, self.name)

    def check(self, context: Context, starts: Sequence[Atoms]) -> None:
        """Raise a `GenerationError` if ASE cannot build it."""
        self._built()

    def _built(self) -> Atoms:
        arguments = (self.element, self.crystalstructure, self.a)
        made = _by_ase(self.name, ase.build.bulk, *arguments, c=self.c, cubic=self.cubic)
        return made * self.repeat


@dataclass(frozen=True)
class Slab(Recipe):
    """Surfaces cut from a crystal by `ase.build.surface`, one for each number of layers.

    Attributes
    ----------
    miller
        Indices of the plane, of the start's own cell vectors: give a conventional cell.
    layers
        Numbers of equivalent layers.
    vacuum_A
        On each side, A.
    repeat
        Along the surface.
    periodic
        Whether the direction of the vacuum is periodic, as plane-wave codes want it.
    """

    kind: ClassVar[str] = "slab"

    miller: tuple[Miller, Miller, Miller]
    layers: Annotated[tuple[Repeats, ...], Several]
    vacuum_A: Length = 8.0
    repeat: AlongSurface = (1, 1)
    periodic: bool = True
    name = "slab"
    keeps_cell = False

    def __post_init__(self) -> None:
        if not any(self.miller):
            raise ValueError("miller: 0 0 0 is no plane")

    @property
    def size(self) -> int:
        """How many candidates one start gives."""
        return len(self.layers)

    def frames(
        self, start: Atoms, context: Context, rng: np.random.Generator
    ) -> Iterator[Candidate]:
        """One slab per number of layers, or none from a start that is not periodic."""
        for layers in self.layers:
            if not start.pbc.all():
                yield Rejected("not_periodic")
                continue
            crystal = Atoms(start.numbers, start.positions, cell=start.cell, pbc=True)
            slab = _by_ase(self.name, ase.build.surface, crystal, self.miller, layers)
            slab = slab * (*self.repeat, 1)
            slab.center(vacuum=self.vacuum_A, axis=2)
            slab.pbc = (True, True, self.periodic)
            facet = " ".join(map(str, self.miller))
            yield derived(slab, start, self.name, miller=f"({facet})", layers=layers)


@dataclass(frozen=True)
class StandardSlab(Recipe):
    """A slab of one of ASE's own builders, as ``fcc111``; see `SLAB_BUILDERS`.

    ``layers`` are atomic layers here, ``repeat`` counts surface cells; ``vacuum_A`` is that on
    each side, ``a`` and ``c`` are lattice constants, all in A.
    """

    kind: ClassVar[str] = "standard_slab"

    builder: str
    element: str
    layers: Annotated[tuple[Repeats, ...], Several]
    vacuum_A: Length = 8.0
    repeat: AlongSurface = (1, 1)
    a: Length | None = None
    c: Length | None = None
    periodic: bool = True
    needs_start = False
    keeps_cell = False

    @property
    def name(self) -> str:
        """The builder's."""
        return self.builder

    @property
    def size(self) -> int:
        """How many candidates one start gives."""
        return len(self.layers)

    def frames(
        self, start: Atoms, context: Context, rng: np.random.Generator
    ) -> Iterator[Candidate]:
        """One slab per number of layers."""
        for layers in self.layers:
            yield derived(self._built(layers), start, self.name, layers=layers)

    def check(self, context: Context, starts: Sequence[Atoms]) -> None:
        """Raise a `GenerationError` if ASE cannot build it."""
        for layers in self.layers:
            self._built(layers)

    def _built(self, layers: int) -> Atoms:
        if self.builder not in SLAB_BUILDERS:
            raise GenerationError(
                f"standard_slab: unknown builder {self.builder!r}; known: "
                f"{', '.join(SLAB_BUILDERS)}"
            )
        constants = {"a": self.a, "c": self.c}
        known = {key: value for key, value in constants.items() if value is not None}
        slab = _by_ase(
            self.name,
            getattr(ase.build, self.builder),
            self.element,
            (*self.repeat, layers),
            vacuum=self.vacuum_A,
            **known,
        )
        slab.pbc = (True, True, self.periodic)
        return slab


def _by_ase(
    name: str, function: Callable[..., Atoms], *arguments: object, **options: object
) -> Atoms:
    try:
        return function(*arguments, **options)
    except (ValueError, KeyError, RuntimeError, TypeError) as error:
        raise GenerationError(f"{name}: ASE cannot build it ({error})") from error
