"""Arms that are no campaigns: rattled starts, and pools of plain MD from which picks are chosen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from ase import Atoms

from ase_bayesel.campaign.config import CampaignConfig
from ase_bayesel.selection.select import select
from ase_bayesel.surrogate.assembly import assembling
from ase_bayesel.surrogate.fitting import (
    baseline_energies,
    energy_weights_of,
    surrogate_from_factors,
)
from ase_bayesel.surrogate.steps import finished
from ase_bayesel.surrogate.surrogate import Surrogate

from .arms import Arm
from .systems import KEYS, System
from .walks import walk

POOL = 200
"""Candidates in each round."""
RATTLE_A, STRAIN = (0.02, 0.2), 0.01


def fitted(system: System, frames: Sequence[Atoms], config: CampaignConfig) -> Surrogate:
    """The student with the campaign's weights, as a campaign fits it."""
    student, weights = system.student, config.weights
    e0s = baseline_energies(frames, KEYS, system.e0s)
    growth = energy_weights_of(frames, KEYS, e0s, weights, config.hottest_K, student.n_features)
    rows = assembling(frames, student, KEYS, e0s, student.prior_std(), energy_weights=growth)
    return surrogate_from_factors(finished(rows), student, KEYS, e0s, weights, growth)


def pool_rounds(
    arm: Arm, system: System, config: CampaignConfig, train: Sequence[Atoms]
) -> Iterator[tuple[Surrogate, list[Atoms], int]]:
    """Model, labelled picks so far and MD steps of each round, 0 first."""
    rng = np.random.default_rng((config.seed, 6))
    picks: list[Atoms] = []
    model, steps = fitted(system, train, config), 0
    yield model, picks, steps
    limit = config.stop.max_labels or 0
    while len(picks) < limit:
        n = min(config.explore.picks, limit - len(picks))
        if arm.pool == "rattles":
            chosen, new_steps = _rattled(system, n, rng), 0
        else:
            chosen, new_steps = _chosen(arm, system, config, model, n, rng)
        picks = [*picks, *system.label(chosen)]
        steps += new_steps
        model = fitted(system, [*train, *picks], config)
        yield model, picks, steps


def _rattled(system: System, n: int, rng: np.random.Generator) -> list[Atoms]:
    frames, starts = [], system.starts()
    for k in range(n):
        atoms = starts[k % len(starts)].copy()
        if atoms.pbc.all():
            strain = np.eye(3) + rng.normal(scale=STRAIN, size=(3, 3))
            atoms.set_cell(atoms.cell.array @ (strain + strain.T) / 2, scale_atoms=True)
        atoms.rattle(rng.uniform(*RATTLE_A), rng=rng)
        frames.append(atoms)
    return frames


def _chosen(
    arm: Arm,
    system: System,
    config: CampaignConfig,
    model: Surrogate,
    n: int,
    rng: np.random.Generator,
) -> tuple[list[Atoms], int]:
    """Picks of a pool of plain MD as long as a campaign's, and its steps."""
    explore, starts = config.explore, system.starts()
    interval = max(1, explore.steps * explore.walkers // POOL)
    temperature = explore.temperature_K
    assert isinstance(temperature, float | int)
    pool: list[Atoms] = []
    for k in range(explore.walkers):
        atoms = starts[k % len(starts)]
        pool += walk(
            *(system, model, atoms, float(temperature), rng, explore.steps, interval),
            moves=explore.moves,
            hot_start=False,
        )
    steps = len(pool) * interval
    n = min(n, len(pool))
    if arm.select == "i_optimal":
        chosen = select(pool, n, "i_optimal", core=model, properties=("energy",))
    elif arm.select == "random":
        chosen = select(pool, n, "random", descriptor=system.student, rng=rng)
    else:
        assert arm.select is not None
        chosen = select(pool, n, arm.select, descriptor=system.student)
    return [pool[k] for k in chosen.indices], steps
