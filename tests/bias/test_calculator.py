import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError, all_properties
from ase.calculators.emt import EMT
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.calculators.lj import LennardJones
from helpers.calculators import Opaque
from helpers.differences import assert_close
from helpers.structures import cluster, copper, with_pbc

from ase_bayesel import BiasedCalculator, TauRule, Variance
from ase_bayesel.bias.kinds import SIGMA_FLOOR

BULK, CLUSTER = copper(21, 0.25), cluster("Cu5", 4)
SLAB = with_pbc(copper(22, 0.2), (True, True, False))
STRUCTURES = pytest.mark.parametrize(
    "atoms", [BULK, CLUSTER, SLAB], ids=["bulk", "cluster", "slab"]
)
PATH = [copper(k, 0.2) for k in range(8)]


def lennard_jones():
    return LennardJones(sigma=2.3, epsilon=0.3, rc=6.0, smooth=True)


MLIPS = {
    "fused": lambda surrogate: surrogate.calculator(),
    "opaque": lambda surrogate: Opaque(surrogate.calculator()),
    "emt": lambda surrogate: EMT(),
    "lj": lambda surrogate: lennard_jones(),
}


def attached(atoms, calculator):
    atoms = atoms.copy()
    atoms.calc = calculator
    return atoms


def follow(calculator, path=PATH):
    """Predictions along a path of structures."""
    predictions = []
    for atoms in path:
        calculator.get_forces(atoms)
        predictions.append(calculator.prediction)
    return predictions


@pytest.fixture
def fused(cu_surrogate):
    return BiasedCalculator(cu_surrogate.calculator(), cu_surrogate, tau=0.5)


# values


@STRUCTURES
@pytest.mark.parametrize("mlip", MLIPS)
def test_biased_forces_and_stress_against_differences(cu_surrogate, mlip, atoms):
    calculator = BiasedCalculator(MLIPS[mlip](cu_surrogate), cu_surrogate, tau=2.0)
    atoms = attached(atoms, calculator)
    assert_close(atoms.get_forces(), calculate_numerical_forces(atoms, eps=1e-4), 2e-6)
    if atoms.pbc.all():
        assert_close(atoms.get_stress(), calculate_numerical_stress(atoms, eps=1e-5), 2e-5)


@STRUCTURES
def test_bias_against_the_definition(cu_surrogate, atoms):
    calculator = BiasedCalculator(EMT(), cu_surrogate, tau=1.5)
    biased, plain = attached(atoms, calculator), attached(atoms, EMT())
    sigma = cu_surrogate.energy_std(atoms)
    energy = biased.get_potential_energy()
    assert energy == pytest.approx(plain.get_potential_energy() - 1.5 * sigma, abs=1e-9)
    assert biased.get_potential_energy(force_consistent=True) == energy
    prediction = calculator.prediction
    assert prediction.energy == plain.get_potential_energy()
    assert prediction.energy_std == pytest.approx(sigma, rel=1e-6)
    np.testing.assert_array_equal(prediction.forces, plain.get_forces())
    assert prediction.energy + prediction.bias_energy == pytest.approx(energy)
    assert_close(prediction.forces + prediction.bias_forces, biased.get_forces(), 1e-14)


@STRUCTURES
def test_fused_equals_unfused(cu_surrogate, atoms):
    """The MLIP is the surrogate's own mean, recognised and not recognised."""
    pair = [
        BiasedCalculator(MLIPS[mlip](cu_surrogate), cu_surrogate, tau=0.7)
        for mlip in ("fused", "opaque")
    ]
    one, two = (attached(atoms, calculator) for calculator in pair)
    assert one.get_potential_energy() == pytest.approx(two.get_potential_energy(), rel=1e-8)
    assert_close(one.get_forces(), two.get_forces(), 1e-8)
    for name in ("energy", "bias_energy", "energy_std", "forces", "bias_forces"):
        ours, theirs = (getattr(calculator.prediction, name) for calculator in pair)
        assert_close(ours, theirs, 1e-8)
    if atoms.pbc.all():
        assert_close(one.get_stress(), two.get_stress(), 1e-8)
        assert_close(pair[0].prediction.bias_stress, pair[1].prediction.bias_stress, 1e-8)


def test_mlip_and_uncertainty_may_be_different_surrogates(cu_surrogate):
    """After a pick the mean comes from the old surrogate and the covariance from the new one."""
    newer = cu_surrogate.condition(BULK)
    pair = [
        BiasedCalculator(mlip, newer, tau=0.7)
        for mlip in (cu_surrogate.calculator(), Opaque(cu_surrogate.calculator()))
    ]
    one, two = (attached(PATH[0], calculator) for calculator in pair)
    assert_close(one.get_forces(), two.get_forces(), 1e-8)
    assert pair[0].prediction.energy == pytest.approx(cu_surrogate.energy(PATH[0]))
    assert pair[0].prediction.energy_std == pytest.approx(newer.energy_std(PATH[0]), rel=1e-6)


def test_no_bias_is_the_mlip(cu_surrogate):
    atoms = attached(BULK, BiasedCalculator(EMT(), cu_surrogate, tau=0.0))
    plain = attached(BULK, EMT())
    assert atoms.get_potential_energy() == plain.get_potential_energy()
    np.testing.assert_array_equal(atoms.get_forces(), plain.get_forces())
    np.testing.assert_array_equal(atoms.get_stress(), plain.get_stress())
    assert atoms.calc.prediction.energy_std > 0


def test_negative_tau_pushes_the_other_way(cu_surrogate, fused):
    opposite = BiasedCalculator(cu_surrogate.calculator(), cu_surrogate, tau=-0.5)
    fused.get_forces(BULK)
    opposite.get_forces(BULK)
    np.testing.assert_array_equal(opposite.prediction.bias_forces, -fused.prediction.bias_forces)


def test_uncertainties_of_a_prediction(cu_surrogate, fused):
    fused.get_forces(BULK)
    expected = cu_surrogate.uncertainty(BULK)
    prediction = fused.prediction
    np.testing.assert_allclose(prediction.force_std, expected.forces, rtol=1e-12)
    np.testing.assert_allclose(prediction.stress_std, expected.stress, rtol=1e-12)
    assert prediction.uncertainty is prediction.uncertainty
    fused.get_forces(CLUSTER)
    assert fused.prediction.stress_std is None


def test_uncertainty_belongs_to_the_moment_of_the_prediction(cu_surrogate, fused):
    atoms = attached(BULK, fused)
    atoms.get_forces()
    prediction = fused.prediction
    atoms.positions += np.random.default_rng(0).normal(0, 0.3, atoms.positions.shape)
    fused.surrogate = cu_surrogate.condition(BULK)
    expected = cu_surrogate.uncertainty(BULK)
    np.testing.assert_allclose(prediction.force_std, expected.forces, rtol=1e-12)


def test_floor_of_sigma_on_an_isolated_atom(fused, cu_surrogate):
    atoms = attached(Atoms("Cu"), fused)
    assert atoms.get_potential_energy() == pytest.approx(cu_surrogate.e0s["Cu"], abs=1e-5)
    assert fused.prediction.energy_std == pytest.approx(SIGMA_FLOOR, rel=1e-6)
    np.testing.assert_allclose(atoms.get_forces(), 0.0, atol=1e-8)


# ASE's conventions


@pytest.mark.parametrize("mlip", MLIPS)
def test_only_ase_s_names_in_results(cu_surrogate, mlip):
    calculator = BiasedCalculator(MLIPS[mlip](cu_surrogate), cu_surrogate, tau=0.5)
    atoms = attached(BULK, calculator)
    atoms.get_stress()
    assert set(calculator.results) == {"energy", "free_energy", "forces", "stress"}
    assert set(calculator.results) <= set(all_properties)
    calculator.calculate_properties(atoms, ["energy", "forces", "stress"])


@pytest.mark.parametrize("mlip", MLIPS)
@pytest.mark.parametrize("atoms", [CLUSTER, SLAB], ids=["cluster", "slab"])
def test_no_stress_without_three_periodic_directions(cu_surrogate, mlip, atoms):
    calculator = BiasedCalculator(MLIPS[mlip](cu_surrogate), cu_surrogate, tau=0.5)
    atoms = attached(atoms, calculator)
    atoms.get_forces()
    assert "stress" not in calculator.results
    assert calculator.prediction.stress is None
    assert calculator.prediction.bias_stress is None
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_stress()
    assert np.isfinite(atoms.get_potential_energy())


def test_unchanged_atoms_are_not_evaluated_again(fused):
    atoms = attached(BULK, fused)
    atoms.get_potential_energy()
    prediction = fused.prediction
    atoms.get_forces()
    atoms.get_stress()
    assert fused.prediction is prediction


def test_results_are_the_caller_s_to_change(fused):
    atoms = attached(BULK, fused)
    forces = atoms.get_forces()
    kept = forces.copy()
    forces += 1.0
    np.testing.assert_array_equal(atoms.get_forces(), kept)


def test_prediction_before_any_evaluation(fused):
    with pytest.raises(RuntimeError, match="no evaluation yet"):
        _ = fused.prediction


# changes


def test_new_surrogate_resets_the_cache(cu_surrogate, fused):
    atoms = attached(BULK, fused)
    before = atoms.get_potential_energy()
    newer = cu_surrogate.condition(BULK)
    fused.surrogate = newer
    assert fused.surrogate is newer
    assert fused.results == {}
    with pytest.raises(RuntimeError):
        _ = fused.prediction
    assert atoms.get_potential_energy() > before
    assert fused.prediction.energy_std < cu_surrogate.energy_std(BULK)


def test_new_tau_resets_the_cache(fused):
    atoms = attached(BULK, fused)
    atoms.get_potential_energy()
    unbiased, bias = fused.prediction.energy, fused.prediction.bias_energy
    fused.tau = 1.5
    with pytest.raises(RuntimeError):
        _ = fused.prediction
    assert atoms.get_potential_energy() == pytest.approx(unbiased + 3 * bias)


def test_one_kind_of_tau(cu_surrogate):
    with pytest.raises(ValueError, match="either tau or tau_rel"):
        BiasedCalculator(EMT(), cu_surrogate, tau=1.0, tau_rel=0.1)
    with pytest.raises(ValueError, match="bias: it needs a tau"):
        BiasedCalculator(EMT(), cu_surrogate, bias=Variance())


@pytest.mark.parametrize("tau", [np.nan, np.inf])
def test_tau_that_is_not_finite(cu_surrogate, fused, tau):
    with pytest.raises(ValueError, match="tau"):
        BiasedCalculator(EMT(), cu_surrogate, tau=tau)
    with pytest.raises(ValueError, match="tau"):
        BiasedCalculator(EMT(), cu_surrogate, tau_rel=tau)
    with pytest.raises(ValueError, match="tau"):
        fused.tau = tau


# tau from tau_rel


@pytest.mark.parametrize("mlip", ["fused", "emt"])
def test_tau_follows_the_running_averages(cu_surrogate, mlip):
    make = MLIPS[mlip]
    rule = TauRule(0.3, delay=3, force_max=1e9)
    predictions = follow(BiasedCalculator(make(cu_surrogate), cu_surrogate, tau_rel=rule))
    slopes = follow(BiasedCalculator(make(cu_surrogate), cu_surrogate, tau=1.0))
    assert [p.tau for p in predictions[:3]] == [0.0, 0.0, 0.0]
    for k in range(3, len(PATH)):
        forces = np.mean([np.linalg.norm(p.forces, axis=1).mean() for p in slopes[:k]])
        gradients = np.mean([np.linalg.norm(p.bias_forces, axis=1).mean() for p in slopes[:k]])
        assert predictions[k].tau == pytest.approx(0.3 * forces / gradients, rel=1e-10)
        assert_close(predictions[k].bias_forces, predictions[k].tau * slopes[k].bias_forces, 1e-10)


def test_a_number_is_a_rule_with_defaults(cu_surrogate):
    calculator = BiasedCalculator(EMT(), cu_surrogate, tau_rel=0.2)
    assert calculator.rule == TauRule(0.2)
    assert calculator.tau == 0.0


def test_cap_of_tau(cu_surrogate):
    rule = TauRule(0.5, delay=1, tau_max=1e-3)
    predictions = follow(BiasedCalculator(EMT(), cu_surrogate, tau_rel=rule))
    assert [p.tau for p in predictions] == [0.0] + 7 * [1e-3]


def test_new_surrogate_clears_the_history(cu_surrogate):
    rule = TauRule(0.3, delay=2)
    calculator = BiasedCalculator(EMT(), cu_surrogate, tau_rel=rule)
    assert follow(calculator)[-1].tau > 0
    calculator.surrogate = cu_surrogate.condition(BULK)
    assert calculator.tau == 0.0
    fresh = BiasedCalculator(EMT(), cu_surrogate.condition(BULK), tau_rel=rule)
    taus = [[p.tau for p in follow(c)] for c in (calculator, fresh)]
    assert taus[0] == taus[1]
    calculator.restore()
    assert [p.tau for p in follow(calculator)] == taus[1]


def test_fixing_tau_drops_the_rule(cu_surrogate):
    calculator = BiasedCalculator(EMT(), cu_surrogate, tau_rel=TauRule(0.3, delay=1))
    follow(calculator)
    calculator.tau = 0.25
    assert {p.tau for p in follow(calculator)} == {0.25}


@pytest.mark.parametrize("mlip", MLIPS)
def test_more_questions_about_the_same_atoms_leave_the_history_alone(cu_surrogate, mlip):
    """A stress after the forces neither counts as a new evaluation nor changes tau."""
    rule = TauRule(0.3, delay=2)
    quiet, curious = (
        BiasedCalculator(MLIPS[mlip](cu_surrogate), cu_surrogate, tau_rel=rule) for _ in range(2)
    )
    for atoms in PATH:
        quiet.get_forces(atoms)
        curious.get_potential_energy(atoms)
        forces = curious.get_forces(atoms).copy()
        stress = curious.get_stress(atoms)
        curious.get_potential_energy(atoms)
        np.testing.assert_array_equal(curious.get_forces(atoms), forces)
        assert curious.prediction.tau == quiet.prediction.tau
        np.testing.assert_array_equal(curious.get_stress(atoms), stress)
    assert quiet.prediction.tau > 0


def test_tau_is_constant_within_one_prediction(cu_surrogate):
    calculator = BiasedCalculator(EMT(), cu_surrogate, tau_rel=TauRule(0.3, delay=1))
    follow(calculator)
    prediction = calculator.prediction
    assert prediction.bias_energy == pytest.approx(-prediction.tau * prediction.energy_std)
    fixed = BiasedCalculator(EMT(), cu_surrogate, tau=prediction.tau)
    fixed.get_forces(PATH[-1])
    np.testing.assert_allclose(fixed.prediction.bias_forces, prediction.bias_forces, rtol=1e-12)
