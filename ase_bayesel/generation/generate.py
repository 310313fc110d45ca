"""`generate_pool`: recipes in, a file of candidate structures out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from ..descriptors.base import Descriptor
from ..errors import GenerationError
from ..io.hashing import bytes_hash
from ..structures.checks import check_structure
from ..structures.frames import iterate_frames
from ..structures.identity import structure_id
from ..surrogate.surrogate import Surrogate
from .journal import PoolFile, Unit, UnitRecord
from .recipe import Context, Recipe, Rejected, origin
from .screening import Screen, Screening


@dataclass(frozen=True)
class RecipeCount:
    """What became of the candidates of one recipe: ``left_out`` counts them by reason."""

    recipe: str
    kept: int
    left_out: Mapping[str, int]

    @property
    def candidates(self) -> int:
        """All of them."""
        return self.kept + sum(self.left_out.values())


@dataclass(frozen=True)
class PoolSummary:
    """A pool that was generated: its file and the counts of each recipe in their order."""

    path: Path
    recipes: tuple[RecipeCount, ...]

    @property
    def kept(self) -> int:
        """Frames in the file."""
        return sum(recipe.kept for recipe in self.recipes)


@dataclass(frozen=True)
class PoolProgress:
    """``done`` of ``total`` candidates are settled and ``kept`` of them written."""

    recipe: str
    done: int
    total: int
    kept: int


def generate_pool(
    output: str | PathLike,
    recipes: Sequence[Recipe],
    starts: Sequence[Atoms] = (),
    *,
    seed: int = 0,
    calculator: Calculator | None = None,
    surrogate: Surrogate | None = None,
    descriptor: Descriptor | None = None,
    core: Sequence[Atoms] = (),
    screen: Screen = Screen(),
    on_progress: Callable[[PoolProgress], None] | None = None,
) -> PoolSummary:
    """Write candidate structures to an extended XYZ file, each as soon as it is made.

    Every recipe is followed on every start. A candidate is written if it is sane
    (`Screen`) and no near copy of the core or of a frame before it (`NearCopies`); all others
    are counted by their reason. ``info`` of a frame says where it comes from:
    ``bayesel_recipe`` (also its ``config_type``), the recipe's parameters (such as
    ``bayesel_amplitude_A`` or ``bayesel_step``), ``bayesel_parent`` (`structure_id` of the
    start), and with a surrogate ``bayesel_energy_std_per_atom`` (eV) and
    ``bayesel_max_force_std`` (eV/A).

    Called again with the same arguments it goes on where it was stopped or killed, and ends
    with the same file: the journal beside it (``.jsonl``) tells which candidates are settled.
    At most one recipe on one start, such as one trajectory, is repeated. Recipes may be
    added at the end of the list.

    Parameters
    ----------
    output
        The file; exists only if the same call began it.
    recipes
        What to do, see `ase_bayesel.generation`.
    starts
        Structures that recipes start from; none where all build their own.
    seed
        All randomness follows from it, from the recipe's number and from the start's.
    calculator
        Potential of MD; by default the surrogate's mean. A change of it is not noticed
        where a pool is taken up again.
    surrogate
        Gives uncertainties, the bias of MD, and features.
    descriptor
        Gives the features where there is no surrogate. Without any, only exact copies are
        left out.
    core
        Structures that need no copy in the pool, say those that are labelled.
    screen
        What a candidate must not be.
    on_progress
        Called after each candidate.

    Raises
    ------
    GenerationError
        If a recipe misses what it needs, or the file is not one that this call began.
    StructureError, DescriptorError
        If a start or core structure cannot be used.
    """
    if calculator is None and surrogate is not None:
        calculator = surrogate.calculator()
    if surrogate is not None:
        descriptor = surrogate.descriptor
    context = Context(calculator, surrogate, screen.guards)
    _check(recipes, starts, context)
    screening = Screening(screen, descriptor, surrogate, core)
    with PoolFile(Path(output), _request(seed, screen, descriptor, surrogate, core)) as pool:
        if any(record.kept for record in pool.units.values()):
            for atoms in iterate_frames(pool.path):
                screening.take(atoms)
        units = list(_units(recipes, starts))
        total = sum(recipe.size for _, recipe, _ in units)
        done = kept = 0
        for unit, recipe, start in units:
            record = pool.begin(unit, repr(recipe), None if start is None else structure_id(start))
            for _ in _followed(pool, screening, context, seed, unit, recipe, start, record):
                if on_progress is not None:
                    progress = (done + record.settled, total, kept + record.kept)
                    on_progress(PoolProgress(recipe.name, *progress))
            done, kept = done + record.settled, kept + record.kept
    return PoolSummary(Path(output), tuple(_counts(recipes, pool.units)))


def _check(recipes: Sequence[Recipe], starts: Sequence[Atoms], context: Context) -> None:
    if not recipes:
        raise GenerationError("no recipe is given")
    for number, atoms in enumerate(starts):
        check_structure(atoms, f"start {number}")
    for recipe in recipes:
        recipe.check(context, starts)
        if recipe.needs_start and not starts:
            raise GenerationError(f"{recipe.name}: needs starts")


def _request(
    seed: int,
    screen: Screen,
    descriptor: Descriptor | None,
    surrogate: Surrogate | None,
    core: Sequence[Atoms],
) -> dict[str, Any]:
    """What decides which candidates are kept, but for the recipes and starts."""
    posterior = None
    if surrogate is not None:
        factor = surrogate.posterior.precision_factor
        posterior = bytes_hash(np.ascontiguousarray(factor).tobytes())[:16]
    ids = ",".join(structure_id(atoms) for atoms in core)
    return {
        "seed": seed,
        "screen": repr(screen),
        "descriptor": None if descriptor is None else descriptor.spec(),
        "surrogate": posterior,
        "core": bytes_hash(ids.encode())[:16],
    }


def _units(
    recipes: Sequence[Recipe], starts: Sequence[Atoms]
) -> Iterator[tuple[Unit, Recipe, Atoms | None]]:
    for k, recipe in enumerate(recipes):
        if not recipe.needs_start:
            yield (k, 0), recipe, None
            continue
        for j, start in enumerate(starts):
            yield (k, j), recipe, start


def _followed(
    pool: PoolFile,
    screening: Screening,
    context: Context,
    seed: int,
    unit: Unit,
    recipe: Recipe,
    start: Atoms | None,
    record: UnitRecord,
) -> Iterator[None]:
    """Settle the candidates of a unit that are not settled yet, one at a time."""
    if record.finished:
        return
    rng = np.random.default_rng(np.random.SeedSequence((seed, *unit)))
    known = record.settled
    for number, made in enumerate(recipe.frames(origin(start), context, rng)):
        if number < known:
            continue
        if isinstance(made, Rejected):
            pool.leave_out(record, made.reason)
        elif reason := screening.judge(made, start if recipe.keeps_cell else None):
            pool.leave_out(record, reason)
        else:
            pool.keep(record, made)
        yield
    pool.finish(unit)


def _counts(recipes: Sequence[Recipe], units: Mapping[Unit, UnitRecord]) -> Iterator[RecipeCount]:
    for k, recipe in enumerate(recipes):
        records = [record for unit, record in units.items() if unit[0] == k]
        left_out = sum((record.left_out for record in records), Counter())
        yield RecipeCount(recipe.name, sum(record.kept for record in records), left_out)
