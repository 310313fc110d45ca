"""Kept picks fitted again: what the form of the weights, and a baseline, do to the same labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from ase_bayesel.campaign.config import CampaignConfig
from ase_bayesel.structures.reference_energies import composition_energy
from ase_bayesel.surrogate.design import Noise, iterate_features, property_rows
from ase_bayesel.surrogate.fitting import (
    baseline_energies,
    energy_weights_of,
    surrogate_from_factors,
)
from ase_bayesel.surrogate.row_factors import DesignFactors, RowFactor
from ase_bayesel.surrogate.surrogate import Surrogate

from .arms import ARMS, config_of
from .judge import KindRows, errors_on, judged_on
from .keeping import kept_picks
from .pools import fitted
from .repulsion import Repulsion
from .systems import KEYS, System

Record = dict[str, Any]
Fitting = Callable[[System, Sequence[Atoms], CampaignConfig], Surrogate]


@dataclass(frozen=True)
class Refit:
    """One way to fit.

    Attributes
    ----------
    description
        One line.
    fit
        The fit, to labelled structures.
    repulsion
        Taken off all labels before, and off those of the test.
    """

    description: str
    fit: Fitting
    repulsion: Repulsion | None = None


def by_energy(factor: float | None) -> Fitting:
    """The campaign's weights with ``factor`` times its scale; None for no weights by energy."""

    def fit(system: System, frames: Sequence[Atoms], config: CampaignConfig) -> Surrogate:
        scale = None
        if factor is not None:
            e0s = baseline_energies(frames, KEYS, system.e0s)
            args = config.weights, config.hottest_K, system.student.n_features
            found = energy_weights_of(frames, KEYS, e0s, *args)
            scale = None if found is None else factor * found.scale
        weights = replace(config.weights, high_energy=scale)
        return fitted(system, frames, config.model_copy(update={"weights": weights}))

    return fit


def by_force(limit: float) -> Fitting:
    """Noise of an atom's force rows that grows as 1 + F / ``limit`` (eV/A), F its force."""

    def fit(system: System, frames: Sequence[Atoms], config: CampaignConfig) -> Surrogate:
        student, e0s = system.student, baseline_energies(frames, KEYS, system.e0s)
        scale, unit = student.prior_std(), Noise(1.0, 1.0, 1.0)
        factors = {prop: RowFactor(scale) for prop in ("energy", "forces")}
        for atoms, features in zip(frames, iterate_features(frames, student), strict=True):
            std = unit.std("energy", len(atoms))
            energy = atoms.info[KEYS.energy] - composition_energy(atoms, e0s)
            factors["energy"].add(property_rows(features, "energy") / std, np.array([energy / std]))
            forces = atoms.arrays[KEYS.forces]
            growth = np.repeat(1 + np.linalg.norm(forces, axis=1) / limit, 3)
            rows = property_rows(features, "forces") / growth[:, None]
            factors["forces"].add(rows, forces.ravel() / growth)
        whole = DesignFactors(factors, {prop: RowFactor(scale) for prop in factors})
        weights = replace(config.weights, high_energy=None)
        return surrogate_from_factors(whole, student, KEYS, e0s, weights)

    return fit


REFITS: dict[str, Refit] = {
    "weights": Refit("(1 + dE / s)^2, s = 1.5 k_B T: the default", by_energy(1.0)),
    "weights s / 2": Refit("half the scale", by_energy(0.5)),
    "weights 2 s": Refit("twice the scale", by_energy(2.0)),
    "none": Refit("no weights by energy", by_energy(None)),
    "force noise 1 eV/A": Refit("noise that grows with an atom's force", by_force(1.0)),
    "force noise 2 eV/A": Refit("the same, twice the limit", by_force(2.0)),
    "ZBL": Refit("default weights, screened repulsion taken off", by_energy(1.0), Repulsion()),
}


def refit_records(
    system: System, start: str, arms: Sequence[str], picks: Path, known: set[tuple[Any, ...]]
) -> Iterator[Record]:
    """Fit each kept set of picks in all ways that are not known yet.

    Parameters
    ----------
    system, start, arms
        Whose runs.
    picks
        The folder of kept picks.
    known
        `refit_key` of what is done.
    """
    for path in sorted(picks.glob(f"{system.name}_{start}_*.npz")):
        arm, seed = path.stem.removeprefix(f"{system.name}_{start}_").rsplit("_", 1)
        todo = [name for name in REFITS if (system.name, start, arm, int(seed), name) not in known]
        if arm not in arms or not todo:
            continue
        frames = kept_picks(path, system.starts()[0].pbc)
        train = system.training(int(seed), start)
        config = config_of(ARMS[arm], system, start, int(seed), len(frames), path.parent)
        for name in todo:
            yield {
                "system": system.name,
                "start": start,
                "arm": arm,
                "seed": int(seed),
                "refit": name,
                "labels": len(frames),
                "errors": _errors(system, REFITS[name], [*train, *frames], config),
            }


def refit_key(record: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a record is known by."""
    return tuple(record[name] for name in ("system", "start", "arm", "seed", "refit"))


def _errors(
    system: System, way: Refit, frames: Sequence[Atoms], config: CampaignConfig
) -> dict[str, list[float]]:
    sets = judged_on(system)
    if way.repulsion is None:
        return errors_on(sets, way.fit(system, frames, config))
    model = way.fit(system, [way.repulsion.taken_off(atoms, KEYS) for atoms in frames], config)
    return errors_on({kind: _less(rows, way.repulsion) for kind, rows in sets.items()}, model)


def _less(rows: KindRows, repulsion: Repulsion) -> KindRows:
    found = [repulsion(atoms) for atoms in rows.frames]
    return replace(
        rows,
        energies=rows.energies - [energy for energy, _ in found],
        forces=rows.forces - np.concatenate([forces.ravel() for _, forces in found]),
    )
