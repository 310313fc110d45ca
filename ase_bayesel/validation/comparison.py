"""Errors of a potential on structures that carry labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from ..errors import ResultError
from ..structures.labels import PropertyKeys, of_whole_atoms
from ..structures.mlip import mlip_results
from ..structures.reference_energies import fitted_targets
from ..surrogate.surrogate import Surrogate
from .parity import Parity


def compare(
    surrogate: Surrogate,
    frames: Sequence[Atoms],
    keys: PropertyKeys,
    potential: Calculator | None = None,
) -> Parity:
    """Predictions against the labels that the structures carry under ``keys``.

    Parameters
    ----------
    surrogate
        Gives the standard deviations.
    frames
        Labelled structures; those without a label, and isolated atoms that the fit leaves out
        (`fitted_targets`), do not count.
    keys
        Where the labels are.
    potential
        What predicts; by default the surrogate's mean.

    Raises
    ------
    StructureError
        For a label that is not of its shape, naming the structure.
    ResultError
        If the potential fails on one.
    """
    columns: dict[str, list[float]] = {name: [] for name in Parity.__dataclass_fields__}
    potential = surrogate.calculator() if potential is None else potential
    for k, atoms in enumerate(frames):
        labels = fitted_targets(atoms, keys, surrogate.e0s, f"test frame {k}")
        if labels.energy is None and labels.forces is None:
            continue
        try:
            predicted = mlip_results(potential, atoms, False)
        except ResultError as error:
            raise ResultError(f"test frame {k}: the potential fails ({error})") from error
        if labels.energy is not None:
            columns["energy"].append(labels.energy / len(atoms))
            columns["energy_predicted"].append(predicted.energy / len(atoms))
            columns["energy_std"].append(surrogate.energy_std(atoms) / len(atoms))
        if labels.forces is not None:
            columns["forces"].extend(labels.forces.ravel())
            columns["forces_predicted"].extend(of_whole_atoms(atoms, predicted.forces).ravel())
    return Parity(**{name: np.array(values, float) for name, values in columns.items()})
