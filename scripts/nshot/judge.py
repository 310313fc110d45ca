"""What a fitted model is judged by: test frames by kind, MD on it, and how its picks differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from ase import Atoms

from ase_bayesel.surrogate.design import iterate_features, property_rows
from ase_bayesel.surrogate.surrogate import Surrogate

from .systems import KEYS, System
from .walks import walk

GOOD_FORCES = 0.1
"""Force RMSE of a frame, eV/A, below which it counts as good."""
HOTTER = 1.5
INTERVAL_FS = 100.0


@dataclass(frozen=True)
class KindRows:
    """The rows and labels of the test frames of one kind.

    Attributes
    ----------
    energy_rows, force_rows
        ``(n, D)`` and ``(m, D)``.
    energies
        ``(n,)``, eV, less the reference energies.
    forces
        ``(m,)``, eV/A.
    sizes
        ``(n,)`` by what an energy error is divided.
    frames
        The frames.
    """

    energy_rows: np.ndarray
    force_rows: np.ndarray
    energies: np.ndarray
    forces: np.ndarray
    sizes: np.ndarray
    frames: Sequence[Atoms]

    @classmethod
    def of(cls, system: System, frames: Sequence[Atoms]) -> KindRows:
        """Compute the rows."""
        energy_rows, force_rows = [], []
        for features in iterate_features(frames, system.student):
            energy_rows.append(property_rows(features, "energy")[0])
            force_rows.append(property_rows(features, "forces"))
        return cls(
            np.array(energy_rows),
            np.concatenate(force_rows),
            np.array([atoms.info[KEYS.energy] for atoms in frames]),
            np.concatenate([atoms.arrays[KEYS.forces].ravel() for atoms in frames]),
            np.array([1 if system.per_molecule else len(atoms) for atoms in frames]),
            frames,
        )

    def errors(self, surrogate: Surrogate) -> list[float]:
        """RMSE of energies (meV per atom, or per molecule) and forces (meV/A) of the mean."""
        mean = surrogate.posterior.mean
        base = np.array([surrogate.baseline(atoms) for atoms in self.frames])
        energy = (self.energy_rows @ mean + base - self.energies) / self.sizes
        forces = self.force_rows @ mean - self.forces
        return [round(1e3 * _rms(energy), 3), round(1e3 * _rms(forces), 2)]


@lru_cache(maxsize=2)
def judged_on(system: System) -> dict[str, KindRows]:
    """By kind; computed once in each process."""
    return {kind: KindRows.of(system, frames) for kind, frames in system.test().items()}


def errors(system: System, surrogate: Surrogate) -> dict[str, list[float]]:
    """Errors by kind, and over all frames as ``all``; see `KindRows.errors`."""
    return errors_on(judged_on(system), surrogate)


def errors_on(sets: Mapping[str, KindRows], surrogate: Surrogate) -> dict[str, list[float]]:
    """`errors` on test frames by kind."""
    own = {kind: rows.errors(surrogate) for kind, rows in sets.items()}
    squares = np.array([np.square(own[kind]) for kind in sets])
    weights = [[len(s.energies), len(s.forces)] for s in sets.values()]
    both = np.sqrt(np.average(squares, axis=0, weights=np.array(weights)))
    return {**own, "all": [round(float(both[0]), 3), round(float(both[1]), 2)]}


def on_policy(
    system: System, surrogate: Surrogate, start: str, seed: int, length_ps: float
) -> dict[str, dict[str, Any]]:
    """MD on the fitted potential at the intended temperature and `HOTTER` times it.

    Frames every 100 fs are labelled by the teacher. A run that a guard ends counts as failed at
    each later time.

    Returns
    -------
    By factor of the temperature: ``median`` and ``worst`` force RMSE of the frames (meV/A;
    ``worst`` is None where a run has failed), the ``good`` share of all frames that there should
    be, ``failed`` frames, and ``energy``, the median error.
    """
    results = {}
    n_steps = round(1e3 * length_ps / system.timestep_fs)
    interval = max(1, round(INTERVAL_FS / system.timestep_fs))
    for factor in (1.0, HOTTER):
        rng = np.random.default_rng((seed, 5))
        force_errors, energy_errors, missing = [], [], 0
        for atoms in system.policy_starts():
            frames = walk(
                system,
                surrogate,
                atoms,
                factor * system.temperature_K[start],
                rng,
                n_steps,
                interval,
            )
            missing += n_steps // interval - len(frames)
            for frame in system.label(frames):
                forces, energy = frame.arrays[KEYS.forces], frame.info[KEYS.energy]
                frame.calc = surrogate.calculator()
                size = 1 if system.per_molecule else len(frame)
                force_errors.append(1e3 * _rms(frame.get_forces() - forces))
                energy_errors.append(1e3 * abs(frame.get_potential_energy() - energy) / size)
        every = np.array(force_errors + [np.inf] * missing)
        results[f"{factor:g}T"] = {
            "median": _finite(np.median(every)),
            "worst": _finite(every.max()),
            "good": round(float(np.mean(every < 1e3 * GOOD_FORCES)), 3),
            "failed": missing,
            "frames": len(every),
            "energy": _finite(np.median(energy_errors + [np.inf] * missing)),
        }
    return results


def redundancy(system: System, picks: Sequence[Atoms]) -> float | None:
    """Mean distance of each pick's features from the nearest other pick's.

    Features per atom, in units of their standard deviation over the test frames; root mean
    square over the features. Small where picks repeat each other.
    """
    if len(picks) < 2:
        return None
    frames = [atoms for rows in judged_on(system).values() for atoms in rows.frames]
    known = np.concatenate([rows.energy_rows for rows in judged_on(system).values()])
    scale = np.std(known / np.array([[len(atoms)] for atoms in frames]), axis=0)
    own = np.array([f.values.mean(axis=0) for f in system.student.compute(picks)])
    used = scale > 1e-12 * max(scale.max(), 1e-300)
    own = own[:, used] / scale[used]
    distance = np.sqrt(np.mean(np.square(own[:, None] - own[None]), axis=2))
    np.fill_diagonal(distance, np.inf)
    return round(float(distance.min(axis=1).mean()), 4)


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def _finite(value: float) -> float | None:
    return round(float(value), 2) if np.isfinite(value) else None
