"""The thresholds of a campaign's triggers that are calibrated: found once, stored, and kept."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from .build import build_force_search, build_probes, uncalibrated
from .calculator import BiasedCalculator
from .config import CampaignConfig
from .models import Progress
from .store import Store
from .structures import PropertyKeys
from .surrogate import Surrogate
from .triggers import Trigger, judging, quantile_threshold, reported_criteria
from .walkers import WalkerStep

Plainly = Callable[
    [BiasedCalculator, Sequence[Trigger], int, Atoms, Atoms, np.random.Generator],
    Iterator[WalkerStep],
]
"""(calculator, triggers, steps, start, atoms, rng) -> steps of the campaign's MD from ``atoms``,
of a walker that began at ``start``."""


def calibrating(
    config: CampaignConfig,
    store: Store,
    number: int,
    model: tuple[Surrogate, Calculator],
    train: Sequence[Atoms],
    starts: Sequence[Atoms],
    plainly: Plainly,
) -> Generator[Progress, None, tuple[float, ...]]:
    """The calibrated thresholds from left to right: from the store, or found and stored there.

    Parameters
    ----------
    config, store, number
        The campaign and the round that is about to explore.
    model, train
        Surrogate and potential after the round before, and all structures behind them.
    starts, plainly
        The walkers' starts, and how MD runs on them.

    Raises
    ------
    BayeselError
        If no positive number comes out, naming the trigger.
    """
    wanted = uncalibrated(config.explore)
    stored = store.read_thresholds()
    if stored is not None or not wanted:
        return tuple(stored or ())
    probes = build_probes(config.explore)
    values = [np.zeros(0)] * len(wanted)
    from_training = [k for k, one in enumerate(wanted) if one.threshold.calibrate == "training"]
    if from_training:
        chosen = [probes[k] for k in from_training]
        columns = yield from _on_training(config, number, model, train, chosen)
        for k, column in zip(from_training, columns.T, strict=True):
            values[k] = column
    in_md = [k for k, one in enumerate(wanted) if one.threshold.calibrate == "md"]
    for steps in {wanted[k].threshold.steps for k in in_md}:
        same = [k for k in in_md if wanted[k].threshold.steps == steps]
        chosen = [probes[k] for k in same]
        columns = yield from _in_md(config, number, model, starts, chosen, steps, plainly)
        for k, column in zip(same, columns.T, strict=True):
            values[k] = column
    found = tuple(
        quantile_threshold(seen, one.threshold.quantile, one.threshold.factor, one.kind)
        for seen, one in zip(values, wanted, strict=True)
    )
    store.save_thresholds(found)
    return found


def _on_training(
    config: CampaignConfig,
    number: int,
    model: tuple[Surrogate, Calculator],
    train: Sequence[Atoms],
    probes: Sequence[Trigger],
) -> Generator[Progress, None, np.ndarray]:
    """Values ``(n_train, n_probes)``."""
    surrogate, potential = model
    keys = PropertyKeys(config.data.energy_key, config.data.forces_key, config.data.virial_key)
    steps = judging(
        probes,
        train,
        potential,
        surrogate,
        keys,
        getattr(config.descriptor, "force_projections", None),
        build_force_search(config.explore),
    )
    while True:
        try:
            done = next(steps)
        except StopIteration as end:
            return end.value
        yield Progress(number, "calibrate", done, len(train), "training set left out in turn")


def _in_md(
    config: CampaignConfig,
    number: int,
    model: tuple[Surrogate, Calculator],
    starts: Sequence[Atoms],
    probes: Sequence[Trigger],
    n_steps: int,
    plainly: Plainly,
) -> Generator[Progress, None, np.ndarray]:
    """Values ``(n_checks, n_probes)`` in unbiased MD from every start."""
    surrogate, potential = model
    search = build_force_search(config.explore)
    calculator = BiasedCalculator(potential, surrogate, tau=0.0, force_search=search)
    seeds = np.random.SeedSequence((config.seed, 0)).spawn(len(starts))
    found = [np.zeros((0, len(probes)))]
    for k, (start, seed) in enumerate(zip(starts, seeds, strict=True), start=1):
        steps = plainly(calculator, probes, n_steps, start, start, np.random.default_rng(seed))
        found.append(reported_criteria(steps).reshape(-1, len(probes)))
        yield Progress(number, "calibrate", k, len(starts), "unbiased MD")
    return np.concatenate(found)
