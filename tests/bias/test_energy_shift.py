"""A shifted potential: energies move by a constant per element, and nothing else does."""

import numpy as np
import pytest
from ase.calculators.emt import EMT
from helpers.faulty import NoStress
from helpers.mace_models import mace_calculator, needs_mace, tiny_mace
from helpers.structures import alloy, cluster

from ase_bayesel import ACEDescriptor, BiasedCalculator, MACEDescriptor, fit_surrogate
from ase_bayesel.bias.batching import call_batched
from ase_bayesel.bias.evaluators import NetworkEvaluator, SeparateEvaluator, choose_evaluator
from ase_bayesel.errors import ResultError
from ase_bayesel.structures.energy_shift import EnergyShift, ShiftedCalculator
from ase_bayesel.structures.mlip import mlip_results

SHIFT = EnergyShift({"Al": -7.0, "Cu": 3.0}, "given")
OFFSET = 3 * 3.0 - 7.0  # of CuCuAlCu
CELL = alloy("CuCuAlCu")


def test_of_a_calculator():
    plain = mlip_results(EMT(), CELL.copy(), True)
    shifted = mlip_results(ShiftedCalculator(EMT(), SHIFT), CELL.copy(), True)
    assert shifted.energy == plain.energy + OFFSET
    np.testing.assert_array_equal(shifted.forces, plain.forces)
    np.testing.assert_array_equal(shifted.stress, plain.stress)


def test_no_stress_stays_none():
    assert mlip_results(ShiftedCalculator(NoStress(), SHIFT), CELL.copy(), False).stress is None


def test_an_element_without_one():
    with pytest.raises(ResultError, match="Au has no energy shift"):
        mlip_results(ShiftedCalculator(EMT(), SHIFT), cluster(["Au"]), False)


def same_but_for_the_shift(descriptor, calculator, kind):
    frames = [alloy("CuCuAlCu", seed=k) for k in range(4)]
    for atoms in frames:
        atoms.info["energy"] = EMT().get_potential_energy(atoms.copy())
    surrogate = fit_surrogate(frames, descriptor, "energy", None, e0s="average")
    plain = BiasedCalculator(calculator, surrogate, tau=0.5)
    shifted = BiasedCalculator(ShiftedCalculator(calculator, SHIFT), surrogate, tau=0.5)
    evaluator = choose_evaluator(shifted.mlip, descriptor)
    assert isinstance(evaluator.inner, kind)
    ours, theirs = CELL.copy(), CELL.copy()
    ours.calc, theirs.calc = shifted, plain
    expected = theirs.get_potential_energy() + OFFSET
    assert ours.get_potential_energy() == pytest.approx(expected, abs=1e-10)
    np.testing.assert_array_equal(ours.get_forces(), theirs.get_forces())
    np.testing.assert_array_equal(ours.get_stress(), theirs.get_stress())
    assert shifted.batchable == plain.batchable
    return surrogate, expected


def test_biased():
    descriptor = ACEDescriptor(["Al", "Cu"], order=2, totaldegree=6, cutoff=4.5)
    same_but_for_the_shift(descriptor, EMT(), SeparateEvaluator)


@needs_mace
def test_a_network_and_its_own_features_share_a_pass():
    calculator = mace_calculator(tiny_mace(("Al", "Cu")))
    descriptor = MACEDescriptor(calculator)
    surrogate, expected = same_but_for_the_shift(descriptor, calculator, NetworkEvaluator)
    mlip = ShiftedCalculator(calculator, SHIFT)
    several = [BiasedCalculator(mlip, surrogate, tau=0.5) for _ in range(2)]
    calls = {k: lambda c=c: c.get_potential_energy(CELL.copy()) for k, c in enumerate(several)}
    results = call_batched(calls)
    assert [results[k].unwrap() for k in calls] == pytest.approx([expected] * 2, abs=1e-8)
