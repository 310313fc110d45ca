"""What an evaluation says of a structure, under keys of ours in ASE's ``info`` and ``arrays``."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from ..errors import StructureError
from ..surrogate.uncertainty import LocalUncertainty, Uncertainty
from .calculator import BiasedCalculator
from .prediction import Prediction

FORCE_STD = "bayesel_force_std"
LOCAL_ENERGY_STD = "bayesel_local_energy_std"
ENERGY_ERROR = "bayesel_energy_error"
FORCE_ERROR = "bayesel_force_error"
LOCAL_ENERGY_ERROR = "bayesel_local_energy_error"


def annotate(atoms: Atoms, forces: bool = True) -> Atoms:
    """Write the energies and uncertainties of a structure into it, for files and for ``ase gui``.

    ``info`` gets ``bayesel_energy``, the unbiased energy, ``bayesel_biased_energy`` and
    ``bayesel_energy_std``, sigma_E (all eV), and ``bayesel_tau``. ``arrays`` gets
    ``bayesel_local_energy_std (n_atoms,)``, eV, the deviation of each atom's energy, and
    ``bayesel_force_std (n_atoms,)``, eV/A. These are raw; beside each is the error to be expected,
    by the surrogate's scales and support: ``bayesel_energy_error``, ``bayesel_local_energy_error``
    and ``bayesel_force_error``. No key can be taken for a label.

    It serves as an observer of ASE's dynamics and optimisers:
    ``dynamics.attach(annotate, 10, atoms)``.

    Parameters
    ----------
    atoms
        With a `BiasedCalculator`, also one within a `RestrainedCalculator`. Evaluated where its
        last evaluation was of something else.
    forces
        Whether to form the force deviations, which need the full Jacobian of the features. Without,
        arrays of them that are there already are removed: they would be of other positions.

    Returns
    -------
    Atoms
        The same object, so that ``write(file, annotate(atoms), append=True)`` does both.

    Raises
    ------
    StructureError
        If the structure has another calculator, or none.
    """
    calculator = getattr(atoms.calc, "unrestrained", atoms.calc)
    if not isinstance(calculator, BiasedCalculator):
        has = "no calculator" if calculator is None else f"a {type(calculator).__name__}"
        raise StructureError(
            f"annotate: the structure has {has}; uncertainties come from "
            "atoms.calc = BiasedCalculator(calculator, surrogate)"
        )
    calculator.get_property("energy", atoms)
    prediction = calculator.prediction
    atoms.info |= energies_of(prediction)
    force_std = prediction.force_std if forces else np.zeros(len(atoms))
    scales, outside = prediction.surrogate.scales, prediction.extrapolated
    wide = force_std * prediction.surrogate.widening(atoms, prediction.atomic_features)
    local = LocalUncertainty.of(prediction.local_energy_std, wide, outside, scales)
    whole = Uncertainty(prediction.energy_std, force_std, None, abs(float(outside.sum())))
    atoms.info[ENERGY_ERROR] = whole.scaled(scales).energy
    atoms.arrays[LOCAL_ENERGY_STD] = prediction.local_energy_std.copy()
    atoms.arrays[LOCAL_ENERGY_ERROR] = local.energies
    for key, values in {FORCE_STD: force_std, FORCE_ERROR: local.forces}.items():
        atoms.arrays.pop(key, None)
        if forces:
            atoms.arrays[key] = values.copy()
    return atoms


def energies_of(prediction: Prediction) -> dict[str, float]:
    """The energies of a prediction, sigma_E and tau, by their keys in ``info``."""
    return {
        "bayesel_energy": prediction.energy,
        "bayesel_biased_energy": prediction.energy + prediction.bias_energy,
        "bayesel_energy_std": prediction.energy_std,
        "bayesel_tau": prediction.tau,
    }
