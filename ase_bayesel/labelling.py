"""Reference calculations through ASE. A failure is a record, never a crash."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.stress import voigt_6_to_full_3x3_stress

from .errors import ConfigError
from .structures import PropertyKeys, structure_id

CalculatorFactory = Callable[[], Calculator]


@dataclass(frozen=True)
class Label:
    """Outcome of one reference calculation.

    ``status`` is ``"ok"`` or ``"failed"``; ``atoms`` carries the labels under the
    property keys if ok; ``reason`` says what went wrong if not.
    """

    structure_id: str
    status: str
    atoms: Atoms
    engine: str
    wall_s: float
    reason: str = ""


def label_structure(
    atoms: Atoms, factory: CalculatorFactory, keys: PropertyKeys, engine: str
) -> Label:
    """Label one structure; whatever the engine raises becomes a failed record.

    The energy is force-consistent, the forces are raw (constraints not applied),
    the virial is -volume times the stress, and present only with three periodic
    directions.
    """
    labelled = atoms.copy()
    identity = structure_id(labelled)
    start = time.perf_counter()
    try:
        labelled.calc = factory()
        info, forces = _evaluate(labelled, keys)
        if not all(np.isfinite(value).all() for value in (*info.values(), *forces.values())):
            raise FloatingPointError("the engine returned values that are not finite")
    except Exception as error:  # engines raise anything; the reason is kept in the record
        reason = f"{type(error).__name__}: {error}"
        return Label(identity, "failed", atoms, engine, time.perf_counter() - start, reason)
    labelled.calc = None
    labelled.info.update(info)
    labelled.arrays.update(forces)
    return Label(identity, "ok", labelled, engine, time.perf_counter() - start)


def _evaluate(atoms: Atoms, keys: PropertyKeys) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    info: dict[str, Any] = {}
    arrays: dict[str, np.ndarray] = {}
    if keys.energy is not None:
        # forces derive from the free energy; engines that tell the two apart put it in results
        energy = atoms.get_potential_energy()
        info[keys.energy] = float(getattr(atoms.calc, "results", {}).get("free_energy", energy))
    if keys.forces is not None:
        arrays[keys.forces] = np.array(atoms.get_forces(apply_constraint=False))
    if keys.virial is not None and atoms.pbc.all():
        stress = atoms.get_stress(apply_constraint=False)
        info[keys.virial] = -atoms.get_volume() * voigt_6_to_full_3x3_stress(stress)
    return info, arrays


def tblite_factory(method: str, **parameters: Any) -> CalculatorFactory:
    """Calculators of the xTB engine tblite (Gamma point only)."""
    try:
        from tblite.ase import TBLite
    except ImportError as error:
        raise ConfigError(
            "labelling: tblite is not installed; pip install 'ase_bayesel[tblite]'"
        ) from error
    return lambda: TBLite(method=method, verbosity=0, **parameters)


def imported_factory(target: str, field: str, **parameters: Any) -> CalculatorFactory:
    """Calculators made by any importable callable, ``package.module:callable``.

    ``field`` is the config's name for the target, for the error.
    """
    module, _, name = target.partition(":")
    try:
        maker = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"{field}: cannot import {target!r} ({error}); write it as package.module:callable"
        ) from error
    return lambda: maker(**parameters)
