import numpy as np
import pytest
from helpers.structures import copper, copper_training

from ase_bayesel.structures.labels import PropertyKeys
from ase_bayesel.validation.comparison import compare
from ase_bayesel.validation.parity import milli

KEYS = PropertyKeys("energy", "forces")


def test_against_predictions_one_by_one(cu_surrogate):
    frames = copper_training()
    parity = compare(cu_surrogate, frames, KEYS)
    assert parity.energy.shape == parity.energy_predicted.shape == parity.energy_std.shape == (10,)
    assert parity.forces.shape == parity.forces_predicted.shape == (3 + 9 * 12,)
    for k, atoms in enumerate(frames):
        assert parity.energy[k] * len(atoms) == pytest.approx(atoms.info["energy"])
        assert parity.energy_predicted[k] * len(atoms) == pytest.approx(cu_surrogate.energy(atoms))
        assert parity.energy_std[k] * len(atoms) == pytest.approx(cu_surrogate.energy_std(atoms))
    errors = parity.forces_predicted - parity.forces
    assert parity.forces_rmse == pytest.approx(np.linalg.norm(errors) / np.sqrt(len(errors)))


def test_frames_without_labels(cu_surrogate):
    parity = compare(cu_surrogate, [copper()], KEYS)
    assert parity.energy_rmse is None
    assert parity.forces_rmse is None
    partly = copper_training()[1]
    del partly.arrays["forces"]
    parity = compare(cu_surrogate, [partly], KEYS)
    assert parity.energy_rmse > 0
    assert parity.forces_rmse is None


def test_errors_of_any_size_have_digits_that_say_something():
    told = [milli(error) for error in (None, 0.0, 2.67e-5, 9.96e-4, 1.03e-3, 0.1554)]
    assert told == ["-", "0", "0.027", "1", "1.0", "155.4"]
