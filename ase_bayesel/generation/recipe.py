"""What a recipe is: from one start to candidate structures, each with its origin."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Annotated, Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from ..dynamics.triggers import Guards
from ..errors import GenerationError, StructureError
from ..io.fields import Several
from ..io.kinds import OneOf
from ..structures.electronic import electronic_state
from ..structures.identity import canonical, structure_id
from ..surrogate.surrogate import Surrogate

PREFIX = "bayesel_"
"""Of the keys in ``atoms.info`` that tell the origin of a frame."""


@dataclass(frozen=True)
class Context:
    """What recipes may use besides their start.

    Attributes
    ----------
    calculator
        The potential of MD; any ASE calculator.
    surrogate
        Gives the bias of MD.
    guards
        End a trajectory that is not sane.
    """

    calculator: Calculator | None = None
    surrogate: Surrogate | None = None
    guards: Guards = field(default_factory=Guards)


@dataclass(frozen=True)
class Rejected:
    """A candidate that a recipe could not make, and why."""

    reason: str


Candidate = Atoms | Rejected


class Recipe(ABC):
    """Makes candidates from a start, or from nothing.

    Attributes
    ----------
    kind
        What a config calls it.
    """

    kind: ClassVar[str]

    @property
    def needs_start(self) -> bool:
        """False where the recipe builds its structures from nothing."""
        return True

    @property
    def keeps_cell(self) -> bool:
        """Whether a candidate's cell is the start's own, strained at most."""
        return True

    @property
    @abstractmethod
    def name(self) -> str:
        """Short name, which becomes the ``config_type`` of its frames."""

    @property
    @abstractmethod
    def size(self) -> int:
        """How many candidates one start gives, those that could not be made included."""

    @abstractmethod
    def frames(
        self, start: Atoms, context: Context, rng: np.random.Generator
    ) -> Iterator[Candidate]:
        """Exactly `size` candidates; the start is not changed.

        The same start and ``rng`` give the same candidates. A recipe without need of a start
        is given one without atoms.
        """

    def check(self, context: Context, starts: Sequence[Atoms]) -> None:
        """Raise a named error if the recipe cannot be followed at all, or not on these starts."""
        return None

    def variants(self) -> tuple[Recipe, ...]:
        """The recipes that this one stands for in a config: itself, or one for each condition."""
        return (self,)


def origin(start: Atoms | None) -> Atoms:
    """A start as recipes take it: nothing but the structure (`canonical`), and its id as parent."""
    if start is None:
        return Atoms()
    bare = canonical(start)
    bare.info[f"{PREFIX}parent"] = structure_id(bare)
    return bare


def derived(atoms: Atoms, start: Atoms, recipe: str, **parameters: Any) -> Atoms:
    """A candidate: the bare structure with the start's origin, the recipe and its parameters.

    Raises
    ------
    StructureError
        If the recipe changes the composition of a start with a charge or multiplicity of its own.
    """
    made, own = canonical(atoms), electronic_state(start).own
    if own and sorted(made.numbers) != sorted(start.numbers):
        raise StructureError(
            f"{recipe}: changes the atoms of a start with {electronic_state(start)}, and which one "
            "the candidate has is not known; leave the start out"
        )
    before = start.info.get(f"{PREFIX}recipe")
    made.info = {
        **start.info,
        f"{PREFIX}recipe": recipe if before is None else f"{before}+{recipe}",
        **{f"{PREFIX}{key}": value for key, value in parameters.items()},
    }
    return made


def _steps() -> Sequence[type]:
    from . import RECIPES

    return [recipe for recipe in RECIPES if recipe is not Chain]


@dataclass(frozen=True)
class Chain(Recipe):
    """Each candidate of one recipe is the start of the next; only the last ones are kept.

    ``Chain((Bulk("Si"), Slab((1, 0, 0), (6,)), Rattle((0.1,), copies=10)))`` makes rattled
    surfaces. The origin of a frame holds the parameters of all steps; its parent is the start
    of the first.
    """

    kind: ClassVar[str] = "chain"

    steps: Annotated[tuple[Annotated[Recipe, OneOf(_steps)], ...], Several]

    def __post_init__(self) -> None:
        if not self.steps:
            raise ValueError("a chain needs at least one recipe")

    @property
    def name(self) -> str:
        """Names of its recipes, joined by a plus sign."""
        return "+".join(recipe.name for recipe in self.steps)

    @property
    def size(self) -> int:
        """How many candidates one start gives."""
        return int(np.prod([recipe.size for recipe in self.steps]))

    @property
    def needs_start(self) -> bool:
        """Whether its first recipe needs one."""
        return self.steps[0].needs_start

    @property
    def keeps_cell(self) -> bool:
        """Whether all of its recipes do."""
        return all(recipe.keeps_cell for recipe in self.steps)

    def frames(
        self, start: Atoms, context: Context, rng: np.random.Generator
    ) -> Iterator[Candidate]:
        """Candidates of the last recipe."""
        first, *rest = self.steps
        if not rest:
            yield from first.frames(start, context, rng)
            return
        after = Chain(tuple(rest))
        for made in first.frames(start, context, rng):
            if isinstance(made, Rejected):
                yield from [made] * after.size
            else:
                yield from after.frames(made, context, rng)

    def variants(self) -> tuple[Recipe, ...]:
        """A chain for each combination of its steps' variants."""
        return tuple(Chain(steps) for steps in product(*(step.variants() for step in self.steps)))

    def check(self, context: Context, starts: Sequence[Atoms]) -> None:
        """Raise a `GenerationError` if its recipes do not fit together."""
        for number, recipe in enumerate(self.steps):
            recipe.check(context, () if number else starts)
        if any(not recipe.needs_start for recipe in self.steps[1:]):
            raise GenerationError(
                f"chain {self.name}: only its first recipe can build a structure from nothing"
            )
