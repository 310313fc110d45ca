"""Any ASE calculator, asked once: three values that are what they are called, or one error."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError

from ..errors import BayeselError, ResultError
from ..io.failures import is_failure, reason_of
from .results import energy_of, forces_of, stress_of, untouched


class MLIPResults(NamedTuple):
    """``energy`` eV; ``forces (n_atoms, 3)`` eV/A; ``stress (6,)`` eV/A^3, or None."""

    energy: float
    forces: np.ndarray
    stress: np.ndarray | None


def mlip_results(mlip: Calculator, atoms: Atoms, want_stress: bool) -> MLIPResults:
    """Energy, forces and, where it is wanted or there anyway, the stress of three periodic axes.

    Parameters
    ----------
    mlip
        Any ASE calculator. Results of its that nobody asks for do not count.
    atoms
        Not changed, or it is an error.
    want_stress
        Whether there has to be one.

    Raises
    ------
    ResultError
        If the calculator fails, whatever it raises, with its message; if a result is not what it
        has to be; or if the structure is another one afterwards.
    BayeselError, PropertyNotImplementedError
        As the calculator raises them.
    """
    try:
        with untouched(atoms):
            energy = energy_of(mlip.get_potential_energy(atoms))
            forces = forces_of(mlip.get_forces(atoms), len(atoms))
            stress = None
            there = getattr(mlip, "results", {}).get("stress") is not None
            if want_stress or (there and atoms.pbc.all()):
                stress = stress_of(mlip.get_stress(atoms))
    except (BayeselError, PropertyNotImplementedError):
        raise
    except BaseException as error:
        if not is_failure(error):
            raise
        raise ResultError(reason_of(error)) from error
    return MLIPResults(energy, forces, stress)
