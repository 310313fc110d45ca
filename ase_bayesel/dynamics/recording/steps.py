"""A step of a walker as a row of the log and as a frame of a trajectory."""

from __future__ import annotations

import numpy as np
from ase import Atoms, units

from ...bias.annotation import FORCE_STD, energies_of
from ...bias.prediction import Prediction
from ...structures.identity import canonical
from ..walker_step import WalkerStep

LOG_DTYPE = np.dtype(
    [
        ("walker", "i4"),
        ("step", "i8"),
        ("temperature_K", "f8"),
        ("energy", "f8"),
        ("energy_std", "f8"),
        ("tau", "f8"),
        ("bias_energy", "f8"),
        ("volume", "f8"),
        ("pressure_GPa", "f8"),
        ("trigger_value", "f8"),
        ("status", "S32"),
        ("picked", "?"),
    ]
)
"""Columns of the log; energies are totals in eV, the volume in A^3. NaN where not at hand.

``energy`` is the unbiased one and ``energy_std`` sigma_E. The pressure is that of the unbiased
potential with its kinetic part. ``trigger_value`` is that of the trigger that fired, or else
of the first one. ``status`` is the walker's, or ``rollback_`` and the reason for one; ``picked``
tells whether this step's frame was picked; where a walker met its bound of trust, that is the frame
at the bound, and the row is otherwise that of the start to which it went back.
"""


def log_row(step: WalkerStep, walker: int = 0) -> np.ndarray:
    """The row ``(1,)`` of a step, of `LOG_DTYPE`."""
    atoms, prediction = step.atoms, step.prediction
    row = np.zeros(1, LOG_DTYPE)
    row["walker"], row["step"] = walker, step.step
    row["temperature_K"], row["status"] = step.temperature_K, _status(step).encode()
    for name in ("energy", "energy_std", "tau", "bias_energy"):
        row[name] = np.nan if prediction is None else getattr(prediction, name)
    row["volume"] = atoms.get_volume() if atoms.pbc.all() else np.nan
    row["pressure_GPa"] = _pressure(atoms, prediction)
    report = step.fired or next(iter(step.reports), None)
    row["trigger_value"] = np.nan if report is None else report.value
    return row


def _status(step: WalkerStep) -> str:
    return step.status if step.rolled_back is None else f"rollback_{step.rolled_back}"


def _pressure(atoms: Atoms, prediction: Prediction | None) -> float:
    if prediction is None or not prediction.separated or prediction.stress is None:
        return np.nan
    kinetic = 2.0 * atoms.get_kinetic_energy() / (3.0 * atoms.get_volume())
    return float((kinetic - prediction.stress[:3].mean()) / units.GPa)


def recorded_frame(step: WalkerStep, walker: int = 0) -> Atoms:
    """The frame of a step with its momenta, and with what is known of it under ``bayesel_`` keys.

    ``info`` has the walker, step, temperature and status; energies unbiased and biased,
    sigma_E and tau; and each trigger's value, as ``bayesel_value_force``. Only where they are
    known already, ``arrays`` has ``bayesel_force_std (n_atoms,)``, eV/A. No key can be
    taken for a label.
    """
    frame, prediction = canonical(step.atoms), step.prediction
    frame.set_momenta(step.atoms.get_momenta(), apply_constraint=False)
    frame.info |= {
        "bayesel_walker": walker,
        "bayesel_step": step.step,
        "bayesel_temperature_K": step.temperature_K,
        "bayesel_status": _status(step),
        **{f"bayesel_value_{report.name}": report.value for report in step.reports},
    }
    if prediction is not None:
        frame.info |= energies_of(prediction)
        if prediction.known_force_std is not None:
            frame.arrays[FORCE_STD] = prediction.known_force_std.copy()
    return frame
