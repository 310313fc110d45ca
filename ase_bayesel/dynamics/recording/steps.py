"""A step of a walker as a row of the log and as a frame of a trajectory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms, units

from ...bias.annotation import FORCE_STD, energies_of
from ...bias.prediction import Prediction
from ...structures.identity import canonical
from ..restraints import RestraintReport
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

Rows of walkers with restraints have further columns: ``restraint_energy``, eV, and each variable,
as ``cv_distance_0_3``, in A, degrees or no unit.
"""


def log_row(step: WalkerStep, walker: int = 0) -> np.ndarray:
    """The row ``(1,)`` of a step, of `LOG_DTYPE`; with restraints of `extended_dtype`."""
    atoms, prediction = step.atoms, step.prediction
    further = {}
    if step.restraints is not None:
        further = _of_restraints(step.restraints)
    row = np.zeros(1, extended_dtype(tuple(further)))
    for name, value in further.items():
        row[name] = value
    row["walker"], row["step"] = walker, step.step
    row["temperature_K"], row["status"] = step.temperature_K, _status(step).encode()
    for name in ("energy", "energy_std", "tau", "bias_energy"):
        row[name] = np.nan if prediction is None else getattr(prediction, name)
    row["volume"] = atoms.get_volume() if atoms.pbc.all() else np.nan
    row["pressure_GPa"] = _pressure(atoms, prediction)
    report = step.fired or next(iter(step.reports), None)
    row["trigger_value"] = np.nan if report is None else report.value
    return row


def extended_dtype(names: Sequence[str]) -> np.dtype:
    """`LOG_DTYPE` with further columns of numbers."""
    return np.dtype([*LOG_DTYPE.descr, *((name, "f8") for name in names)])


def further_columns(rows: np.ndarray) -> tuple[str, ...]:
    """Names of the columns beyond those of `LOG_DTYPE`.

    Raises
    ------
    ValueError
        If the rows are not of an `extended_dtype`.
    """
    names = (rows.dtype.names or ())[len(LOG_DTYPE.descr) :]
    if rows.ndim != 1 or rows.dtype != extended_dtype(names):
        raise ValueError(f"rows: {rows.dtype} of shape {rows.shape}")
    return names


def joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Rows of several logs, one after the other, with the columns of all; NaN where not at hand."""
    columns = dict.fromkeys(name for rows in parts for name in further_columns(rows))
    dtype = extended_dtype(tuple(columns))
    filled = [np.zeros(0, dtype)]
    for rows in parts:
        wide = np.zeros(len(rows), dtype)
        for name in dtype.names or ():
            wide[name] = rows[name] if name in (rows.dtype.names or ()) else np.nan
        filled.append(wide)
    return np.concatenate(filled)


def _of_restraints(report: RestraintReport) -> dict[str, float]:
    """A report's energy (eV) and variables by the names of columns."""
    values = {f"cv_{name}": value for name, value in report.values.items()}
    return {"restraint_energy": report.energy, **values}


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
    known already, ``arrays`` has ``bayesel_force_std (n_atoms,)``, eV/A. With restraints there
    are ``bayesel_restraint_energy`` and each variable, as ``bayesel_cv_distance_0_3``. No key
    can be taken for a label.
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
    if step.restraints is not None:
        frame.info |= {f"bayesel_{k}": v for k, v in _of_restraints(step.restraints).items()}
    if prediction is not None:
        frame.info |= energies_of(prediction)
        if prediction.known_force_std is not None:
            frame.arrays[FORCE_STD] = prediction.known_force_std.copy()
    return frame
