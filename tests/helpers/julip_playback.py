"""A bridge that plays recorded answers back, in the place of Julia.

The answers of tests/data/julip_exchange.npz are values of this package's own linear ACE, in the
order and with the signs in which ACEsuit's ace-jax has the functions
(scripts/record_julip_exchange.py).
They say what the adapter makes of answers, and nothing about Julia's numbers.
"""

from pathlib import Path

import numpy as np

from ase_bayesel.descriptors.julip.bridge import ModelValues

RECORDED = Path(__file__).parents[1] / "data" / "julip_exchange.npz"


class Playback:
    """Answers for the structures that were recorded, and those alone."""

    def __init__(self, name):
        with np.load(RECORDED) as data:
            prefix = f"{name}/"
            self._data = {k.removeprefix(prefix): data[k] for k in data.files if prefix in k}

    def make_basis(self, elements, order, totaldegree, cutoff, r0):
        settings = [",".join(elements), str(order), str(totaldegree), str(cutoff)]
        assert settings == self._data["settings"].tolist()
        return "basis"

    def penalty(self, basis):
        return self._data["penalty"]

    def basis_values(self, basis, atoms):
        return self._of(atoms, "values")

    def basis_forces(self, basis, atoms):
        return self._of(atoms, "forces")

    def basis_virial(self, basis, atoms):
        return self._of(atoms, "virial")

    def load_model(self, path):
        return np.loadtxt(path)

    def evaluate(self, model, atoms):
        forces, virial = self._of(atoms, "forces"), self._of(atoms, "virial")
        energy = float(self._of(atoms, "values").sum(axis=0) @ model)
        return ModelValues(energy, np.tensordot(model, forces, 1), np.tensordot(model, virial, 1))

    def fit(self, rows, targets, penalty):
        """Ridge regression stands for ACEfit's evidence."""
        a = rows / penalty
        return np.linalg.solve(a.T @ a + np.eye(len(penalty)), a.T @ targets) / penalty

    def _of(self, atoms, what):
        """Structures are known by their distances, which no box changes."""
        distances = atoms.get_all_distances(mic=False)
        for number in range(int(self._data["n_structures"])):
            known = self._data[f"{number}/distances"]
            if known.shape == distances.shape and np.allclose(known, distances, atol=1e-12):
                return self._data[f"{number}/{what}"].copy()
        raise LookupError("this structure was not recorded")
