"""The thresholds of a campaign's triggers that are calibrated: found once, stored, and kept."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from ..bias.calculator import BiasedCalculator
from ..dynamics.triggers import (
    Trigger,
    force_search,
    leave_one_out,
    quantile_threshold,
    reported_criteria,
    uncalibrated,
)
from ..dynamics.walkers import run_walker
from ..surrogate.steps import Steps
from ..surrogate.surrogate import Surrogate
from .build.models import force_projections
from .build.walkers import walker_options
from .config.campaign import CampaignConfig
from .events import Progress
from .store import Store


def calibrating(
    config: CampaignConfig,
    store: Store,
    number: int,
    model: tuple[Surrogate, Calculator],
    train: Sequence[Atoms],
    starts: Sequence[Atoms],
) -> Generator[Progress, None, tuple[float, ...]]:
    """The calibrated thresholds from left to right: from the store, or found and stored there.

    Parameters
    ----------
    config, store, number
        The campaign and the round that is about to explore.
    model, train
        Surrogate and potential after the round before, and all structures behind them.
    starts
        The walkers' starts.

    Raises
    ------
    BayeselError
        If no positive number comes out, naming the trigger.
    """
    wanted = uncalibrated(config.explore.trigger)
    stored = store.read_thresholds()
    if stored is not None or not wanted:
        return tuple(stored or ())
    together: dict[int | None, list[int]] = {}
    for k, trigger in enumerate(wanted):
        together.setdefault(trigger.how.steps, []).append(k)
    thresholds = np.zeros(len(wanted))
    for n_steps, places in together.items():
        chosen = [wanted[k].probe for k in places]
        if n_steps is None:
            values = yield from _on_training(config, number, model, train, chosen)
        else:
            values = yield from _in_md(config, number, model, starts, chosen, n_steps)
        for k, column in zip(places, values.T, strict=True):
            how = wanted[k].how
            thresholds[k] = quantile_threshold(column, how.quantile, how.factor, wanted[k].kind)
    store.save_thresholds(thresholds.tolist())
    return tuple(thresholds.tolist())


def _on_training(
    config: CampaignConfig,
    number: int,
    model: tuple[Surrogate, Calculator],
    train: Sequence[Atoms],
    probes: Sequence[Trigger],
) -> Generator[Progress, None, np.ndarray]:
    """Values ``(n_train, n_probes)``."""
    surrogate, potential = model
    steps = Steps(
        leave_one_out(
            probes,
            train,
            potential,
            surrogate,
            config.data.keys,
            force_projections(config.descriptor),
            force_search(config.explore.trigger),
        )
    )
    for done in steps:
        yield Progress(number, "calibrate", done, len(train), "training set left out in turn")
    return steps.value


def _in_md(
    config: CampaignConfig,
    number: int,
    model: tuple[Surrogate, Calculator],
    starts: Sequence[Atoms],
    probes: Sequence[Trigger],
    n_steps: int,
) -> Generator[Progress, None, np.ndarray]:
    """Values ``(n_checks, n_probes)`` in unbiased MD from every start."""
    surrogate, potential = model
    search = force_search(config.explore.trigger)
    calculator = BiasedCalculator(potential, surrogate, tau=0.0, force_search=search)
    seeds = np.random.SeedSequence((config.seed, 0)).spawn(len(starts))
    values = [np.zeros((0, len(probes)))]
    for k, (start, seed) in enumerate(zip(starts, seeds, strict=True), start=1):
        options = walker_options(config.explore, start)
        options.update(n_steps=n_steps, triggers=probes, tau_rel=None, restraints=())
        options["dynamics"] = "ase"  # one walker at a time, with all of its steps
        steps = run_walker(start, calculator, rng=np.random.default_rng(seed), **options)
        values.append(reported_criteria(steps).reshape(-1, len(probes)))
        yield Progress(number, "calibrate", k, len(starts), "unbiased MD")
    return np.concatenate(values)
