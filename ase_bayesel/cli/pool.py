"""What ``bayesel pool`` does: candidate structures from a config."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ase import Atoms
from rich.table import Table

from ..campaign.build.models import build_descriptor, force_projections
from ..campaign.build.potentials import build_potential, given_shift, initial_potential
from ..campaign.config import PoolConfig
from ..campaign.inputs import check_e0s, check_elements, knower
from ..descriptors.base import Descriptor
from ..generation import PoolProgress, PoolSummary, generate_pool
from ..resources.threads import cpu_threads
from ..structures.frames import read_frames
from ..surrogate.fitting import fit_surrogate
from ..surrogate.surrogate import Surrogate


def make_pool(
    config: PoolConfig, output: Path, on_progress: Callable[[PoolProgress], None] | None = None
) -> PoolSummary:
    """Write the pool of a config, or go on with it; see `generate_pool`.

    Raises
    ------
    BayeselError
        Naming the file, field or recipe at fault.
    """
    recipes = [variant for recipe in config.recipes for variant in recipe.variants()]
    with cpu_threads(config.threads):
        training = [] if config.data is None else _frames(config.data.train_file)
        model = initial_potential(config)
        descriptor = None
        if config.descriptor is not None:
            descriptor = build_descriptor(config, model)
        surrogate = _surrogate(config, training, descriptor)
        calculator = None
        if config.potential is not None:
            calculator = build_potential(config, model, surrogate, given_shift(config))
        starts, core = _frames(config.starts), _frames(config.core)
        known = descriptor if surrogate is None else surrogate.descriptor
        for path, frames in ((config.starts, starts), (config.core, core)):
            if path is not None and known is not None:
                check_elements(frames, path, known.elements, knower(config))
        if surrogate is not None and config.potential is None:
            source = "given" if config.data is None else config.data.e0s
            check_e0s(starts, config.starts, surrogate.e0s, source)
        return generate_pool(
            output,
            recipes,
            starts,
            seed=config.seed,
            calculator=calculator,
            surrogate=surrogate,
            descriptor=descriptor,
            core=[*training, *core],
            screen=config.screen,
            on_progress=on_progress,
        )


def summary_table(summary: PoolSummary) -> Table:
    """How many candidates each recipe gave and what became of them."""
    table = Table("recipe", title=str(summary.path))
    for column in ("candidates", "kept"):
        table.add_column(column, justify="right")
    table.add_column("left out")
    for recipe in summary.recipes:
        reasons = ", ".join(f"{reason} {count}" for reason, count in recipe.left_out.items())
        table.add_row(recipe.recipe, str(recipe.candidates), str(recipe.kept), reasons)
    return table


def _frames(path: Path | None) -> list[Atoms]:
    return [] if path is None else read_frames(path)


def _surrogate(
    config: PoolConfig, training: list[Atoms], descriptor: Descriptor | None
) -> Surrogate | None:
    """A saved one, or one that is fitted to the training set."""
    if config.surrogate is not None:
        return Surrogate.load(config.surrogate, descriptor)
    data = config.data
    if data is None or descriptor is None:
        return None
    return fit_surrogate(
        training,
        descriptor,
        data.energy_key,
        data.forces_key,
        data.virial_key,
        e0s=data.e0s,
        force_projections=force_projections(config.descriptor),
    )
