"""What MACE features are used for, on a GPU where there is one, against the CPU."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.differences import assert_close
from helpers.mace_models import DEVICES, mace_calculator, needs_mace, tiny_mace
from helpers.structures import copper, copper_training

from ase_bayesel import (
    BiasedCalculator,
    Guards,
    MACEDescriptor,
    Posterior,
    Surrogate,
    fit_surrogate,
    run_walker,
    run_walkers,
    select,
)
from ase_bayesel.descriptors.torch.runtime import default_dtype
from ase_bayesel.surrogate.design import Noise

pytestmark = [needs_mace, pytest.mark.parametrize("device", DEVICES, scope="module")]

ENERGY, FORCES = ("energy",), ("energy", "forces")
POOL = [copper(seed, 0.05 + 0.02 * seed, repeat=(1, 1, 1 + seed % 2)) for seed in range(5)]


@pytest.fixture(scope="module")
def surrogate():
    descriptor = MACEDescriptor(mace_calculator(tiny_mace()))
    return fit_surrogate(copper_training(), descriptor, e0s="average")


@pytest.fixture(scope="module")
def there(surrogate, device):
    """The same posterior on features of a device; the model is in memory only."""
    descriptor = MACEDescriptor(mace_calculator(tiny_mace(), device=device))
    return replace(surrogate, descriptor=descriptor)


@pytest.mark.parametrize("properties", [ENERGY, FORCES], ids=["energy", "forces"])
def test_picks_of_the_largest_variance(surrogate, there, properties):
    """Against the plain way: each pick is added to the surrogate, and all are evaluated again."""
    known, expected = replace(surrogate, properties=properties), []
    for _ in range(3):
        spread = [known.energy_std(atoms) / len(atoms) for atoms in POOL]
        best = max(set(range(len(POOL))) - set(expected), key=spread.__getitem__)
        expected.append(best)
        known = known.condition(POOL[best])
    found = select(POOL, 3, core=there, properties=properties)
    assert found.indices.tolist() == expected


@pytest.mark.parametrize("method", ["force_variance", "information_gain", "i_optimal"])
def test_picks_by_all_rows(surrogate, there, method):
    expected, found = (select(POOL, 3, method, core=core) for core in (surrogate, there))
    assert found.indices.tolist() == expected.indices.tolist()
    assert found.scores == pytest.approx(expected.scores, rel=1e-6)


def test_structures_that_come_in_several_batches(surrogate, there, device, monkeypatch):
    expected = surrogate.descriptor.compute(POOL, derivatives=True)
    monkeypatch.setitem(MACEDescriptor.chunk_atoms, device, 9)
    for one, two in zip(there.descriptor.compute(POOL, derivatives=True), expected, strict=True):
        assert_close(one.values, two.values, 1e-9)
        assert_close(one.jacobian, two.jacobian, 1e-8)


def test_a_linear_surrogate_beside_mace(cu_surrogate, device):
    """Features of the CPU bias a potential that is elsewhere."""
    model, atoms = tiny_mace(), POOL[3]
    expected, found = (
        BiasedCalculator(mace_calculator(model, device=place), cu_surrogate, tau=0.5)
        for place in ("cpu", device)
    )
    assert_close(found.get_forces(atoms), expected.get_forces(atoms), 1e-8)
    assert_close(found.prediction.bias_forces, expected.prediction.bias_forces, 1e-8)


def test_walkers_of_single_precision_in_one_batch(device):
    """Those of a batch go where each would have gone on its own on the CPU."""

    def walkers(place, lockstep):
        mlip = mace_calculator(tiny_mace(dtype="float32"), "float32", place)
        descriptor = MACEDescriptor(mlip)
        posterior = Posterior.isotropic(descriptor.n_features, 0.3)
        surrogate = Surrogate(descriptor, posterior, {}, Noise())
        calculators = [BiasedCalculator(mlip, surrogate, tau=0.3) for _ in range(4)]
        steps = [
            run_walker(
                copper(seed, 0.05),
                calculator,
                n_steps=4,
                temperature_K=300.0,
                rng=np.random.default_rng(seed),
                guards=Guards(max_force=1e3),
            )
            for seed, calculator in enumerate(calculators)
        ]
        if not lockstep:
            return [list(walker)[-1] for walker in steps]
        *_, last = run_walkers(steps, calculators)
        return [last[number] for number in range(4)]

    with default_dtype("float32"):  # mace's calculator sets it for good
        expected, found = walkers("cpu", False), walkers(device, True)
    for one, two in zip(found, expected, strict=True):
        assert one.step == two.step == 4
        assert_close(one.atoms.positions, two.atoms.positions, 1e-5)
        assert_close(one.atoms.get_velocities(), two.atoms.get_velocities(), 1e-3)
