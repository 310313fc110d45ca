"""Which uncertainty the bias follows: variance, regions of atoms, an energy limit."""

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from helpers.calculators import Opaque
from helpers.differences import assert_close, strain_differences
from helpers.mace_models import mace_calculator, needs_mace, tiny_mace
from helpers.structures import alloy, cluster, copper
from hypothesis import given
from hypothesis import strategies as st

from ase_bayesel import (
    ACEDescriptor,
    BiasedCalculator,
    Deviation,
    MACEDescriptor,
    Posterior,
    Surrogate,
    TauRule,
    Variance,
)
from ase_bayesel.bias.kinds import SIGMA_FLOOR, atom_weights
from ase_bayesel.bias.tau import TauHistory
from ase_bayesel.errors import StructureError
from ase_bayesel.surrogate.design import Noise
from ase_bayesel.testing import check_calculator

ALLOY, CLUSTER = alloy("CuCuAlCu", 0.2, 3), cluster("Cu3Al2", 5)
ELEMENTS = ("Cu", "Al")
WEIGHTS = (0.3, 0.0, 1.0, 2.5)
LIMIT = 0.4
BIASES = {
    "deviation": Deviation(),
    "variance": Variance(),
    "element": Deviation("Al"),
    "weights": Deviation(WEIGHTS),
    "variance, mask": Variance([True, False, True, False]),
    "limit": Deviation(energy_limit=LIMIT),
    "all at once": Variance({"Cu": 0.5, "Al": 2.0}, energy_limit=LIMIT),
}


@pytest.fixture(scope="module")
def ace_surrogate():
    descriptor = ACEDescriptor(ELEMENTS, totaldegree=5)
    rng = np.random.default_rng(0)
    posterior = Posterior.from_prior(descriptor.prior_std())
    posterior = replace(posterior, mean=rng.normal(0, 5e-4, descriptor.n_features))
    surrogate = Surrogate(descriptor, posterior, {"Cu": -3.0, "Al": -2.0}, Noise())
    return surrogate.condition(alloy("CuCuAlCu", 0.05, 1))


@pytest.fixture(scope="module")
def mace_pair():
    model = tiny_mace(ELEMENTS)
    descriptor = MACEDescriptor(mace_calculator(model))
    prior = Posterior.isotropic(descriptor.n_features, 0.5)
    return model, Surrogate(descriptor, prior, {}, Noise()).condition(alloy("CuCuAlCu", 0.05, 1))


BY_MACE = [pytest.param(name, marks=needs_mace) for name in ("mace", "mace, separate")]


@pytest.fixture(params=["own mean", "separate", *BY_MACE])
def make(request, ace_surrogate):
    """A maker of calculators: two ways with linear ACE, two with MACE."""
    if request.param.startswith("mace"):
        model, of_network = request.getfixturevalue("mace_pair")

    def calculator(bias, tau=2.0, **options):
        if request.param == "own mean":
            return BiasedCalculator(
                ace_surrogate.calculator(), ace_surrogate, tau, bias=bias, **options
            )
        if request.param == "separate":
            return BiasedCalculator(EMT(), ace_surrogate, tau, bias=bias, **options)
        options["separate"] = request.param.endswith("separate")
        return BiasedCalculator(mace_calculator(model), of_network, tau, bias=bias, **options)

    return calculator


def begun(calculator, atoms, share=0.75):
    """The calculator on a copy, whose start lies below by this share of the energy limit."""
    atoms = atoms.copy()
    atoms.calc = calculator
    atoms.get_forces()
    start = calculator.prediction.energy - share * LIMIT * len(atoms)
    calculator.restore(known=TauHistory(start_energy=start))
    return atoms


def level_of(bias, surrogate, atoms):
    """U from the atoms' rows and the dense covariance."""
    weights = atom_weights(bias.region, atoms)
    values = surrogate.descriptor.compute([atoms])[0].values
    row = values.sum(axis=0) if weights is None else weights @ values
    factor = surrogate.posterior.precision_factor
    variance = row @ np.linalg.solve(factor.T @ factor, row)
    return variance if isinstance(bias, Variance) else np.sqrt(variance + SIGMA_FLOOR**2)


# forces, stress and the definition


@pytest.mark.parametrize("name", BIASES)
def test_forces_and_stress_against_differences(make, name):
    calculator = make(BIASES[name])
    atoms = begun(calculator, ALLOY)
    assert_close(atoms.get_forces(), calculate_numerical_forces(atoms, eps=1e-4), 5e-6)
    assert_close(atoms.get_stress(), calculate_numerical_stress(atoms, eps=1e-5), 5e-5)
    biased = atoms.get_forces().copy()
    prediction = calculator.prediction
    assert_close(prediction.forces + prediction.bias_forces, biased, 1e-12)
    assert np.abs(prediction.bias_forces).max() > 1e-4


@pytest.mark.parametrize("name", BIASES)
def test_energy_against_the_definition(make, name):
    bias = BIASES[name]
    calculator = make(bias, tau=1.5)
    atoms = begun(calculator, ALLOY)
    energy = atoms.get_potential_energy()
    prediction = calculator.prediction
    t = 0.5  # three quarters of the limit
    share = 1 - t**3 * (10 - 15 * t + 6 * t**2) if bias.energy_limit else 1.0
    expected = -1.5 * share * level_of(bias, calculator.surrogate, atoms)
    assert prediction.bias_energy == pytest.approx(expected, rel=1e-6)
    assert energy == pytest.approx(prediction.energy + expected, abs=1e-6 * abs(expected))


@pytest.mark.parametrize("bias", [Deviation(), Variance(), Deviation(WEIGHTS), Variance("Al")])
def test_triggers_see_the_whole_structure(make, bias):
    calculator, plain = make(bias), make(Deviation())
    for one in (calculator, plain):
        one.get_forces(ALLOY)
    ours, theirs = calculator.prediction, plain.prediction
    assert ours.energy == theirs.energy
    assert ours.energy_std == pytest.approx(theirs.energy_std, rel=1e-9)
    assert_close(ours.forces, theirs.forces, 1e-8)
    assert_close(ours.force_std_bound, theirs.force_std_bound, 1e-8)
    assert_close(ours.force_std, theirs.force_std, 1e-12)
    assert (ours.force_std_bound <= ours.force_std * (1 + 1e-9)).all()


@needs_mace
def test_one_pass_and_two_give_the_same(mace_pair):
    model, surrogate = mace_pair
    for bias in BIASES.values():
        found = []
        for separate in (False, True):
            calculator = BiasedCalculator(
                mace_calculator(model), surrogate, 2.0, separate=separate, bias=bias
            )
            atoms = begun(calculator, ALLOY)
            found.append((atoms.get_forces(), atoms.get_stress(), calculator.prediction))
        (forces, stress, joined), (others, other_stress, separated) = found
        assert_close(forces, others, 1e-9)
        assert_close(stress, other_stress, 1e-9)
        for name in ("forces", "bias_forces", "stress", "bias_stress", "force_std_bound"):
            assert_close(getattr(joined, name), getattr(separated, name), 1e-8)


@pytest.mark.parametrize("name", BIASES)
def test_the_price_of_a_move(make, name):
    """What Monte Carlo moves ask for: a difference of biased energies."""
    calculator = make(BIASES[name])
    atoms, moved = begun(calculator, ALLOY), alloy("AlCuCuCu", 0.2, 3)
    before = atoms.get_potential_energy()
    change = calculator.energy_change(moved)
    assert atoms.get_potential_energy() == before
    assert change == pytest.approx(calculator.get_potential_energy(moved) - before, abs=1e-8)


@pytest.mark.parametrize("name", BIASES)
def test_a_restored_evaluation(make, name):
    one, other = make(BIASES[name]), make(BIASES[name])
    atoms = begun(one, ALLOY)
    forces = atoms.get_forces()
    other.restore(ALLOY, one.evaluated(atoms))
    np.testing.assert_array_equal(other.get_forces(ALLOY), forces)
    assert other.get_potential_energy(ALLOY) == atoms.get_potential_energy()
    for field in ("forces", "bias_forces", "force_std_bound"):
        ours, theirs = getattr(other.prediction, field), getattr(one.prediction, field)
        assert_close(ours, theirs, 1e-8)


def test_a_cluster_and_an_mlip_without_stress(ace_surrogate):
    calculator = BiasedCalculator(
        Opaque(EMT()), ace_surrogate, 2.0, bias=Variance("Al", energy_limit=LIMIT)
    )
    atoms = begun(calculator, CLUSTER)
    assert_close(atoms.get_forces(), calculate_numerical_forces(atoms, eps=1e-4), 5e-6)
    assert calculator.prediction.bias_stress is None


# descriptors


@pytest.mark.parametrize("kind", ["ace", pytest.param("mace", marks=needs_mace)])
@pytest.mark.parametrize("atoms", [ALLOY, CLUSTER], ids=["bulk", "cluster"])
def test_weighted_rows_and_their_pullback(kind, atoms, ace_surrogate, request):
    surrogate = ace_surrogate if kind == "ace" else request.getfixturevalue("mace_pair")[1]
    descriptor = surrogate.descriptor
    rng = np.random.default_rng(1)
    weights = rng.uniform(0, 2, (3, len(atoms)))
    weights[0] = 1.0
    rows, pullback = descriptor.linearize(atoms, weights)
    assert_close(rows, weights @ descriptor.compute([atoms])[0].values, 1e-12)
    cotangent = rng.normal(size=rows.shape)
    gradient = pullback(cotangent)

    def total(moved):
        return np.sum(cotangent * (weights @ descriptor.compute([moved])[0].values))

    assert_close(gradient.strain, strain_differences(total, atoms), 1e-5)
    move = rng.normal(size=(len(atoms), 3))
    ahead, behind = atoms.copy(), atoms.copy()
    ahead.positions += 1e-4 * move
    behind.positions -= 1e-4 * move
    slope = (total(ahead) - total(behind)) / 2e-4
    assert np.sum(gradient.positions * move) == pytest.approx(slope, rel=1e-5)


# regions


@pytest.mark.parametrize(
    ("region", "expected"),
    [
        ("Al", [0, 0, 1, 0]),
        ({"Cu", "Al"}, [1, 1, 1, 1]),
        (["Cu", "Ni"], [1, 1, 0, 1]),
        ({"Al": 0.5, "Cu": 2.0}, [2, 2, 0.5, 2]),
        ([0, -1], [1, 0, 0, 1]),
        (np.array([1, 1]), [0, 1, 0, 0]),
        ([False, True, True, False], [0, 1, 1, 0]),
        (np.array(WEIGHTS), WEIGHTS),
        (lambda atoms: atoms.get_tags() == 2, [0, 1, 0, 1]),
        (lambda atoms: {"Al": 3.0}, [0, 0, 3, 0]),
    ],
)
def test_weights_of_atoms(region, expected):
    atoms = ALLOY.copy()
    atoms.set_tags([1, 2, 3, 2])
    np.testing.assert_array_equal(atom_weights(Deviation(region).region, atoms), expected)


@pytest.mark.parametrize(
    ("region", "message"),
    [
        ("Ni", "no atom"),
        ([4], "not below 4"),
        ([-5], "not below 4"),
        ([1.0, 2.0], "weights of 4 atoms"),
        ([True, False], "weights of 4 atoms"),
        ((1.0, -1.0, 0.0, 0.0), "not negative"),
        ((1.0, np.nan, 0.0, 0.0), "finite"),
        ([], "weights of 4 atoms|no atom"),
        (lambda atoms: atoms.positions[:, 2] > 0.0, "positions are hidden"),
        (lambda atoms: atoms.positions[:, 2], "finite"),
    ],
)
def test_regions_that_do_not_fit(ace_surrogate, region, message):
    calculator = BiasedCalculator(EMT(), ace_surrogate, 1.0, bias=Deviation(region))
    with pytest.raises(StructureError, match=message):
        calculator.get_forces(ALLOY)


def test_equal_weights_change_nothing(ace_surrogate):
    plain, weighted = (
        BiasedCalculator(ace_surrogate.calculator(), ace_surrogate, 1.0, bias=bias)
        for bias in (Deviation(), Deviation(np.ones(4)))
    )
    assert_close(weighted.get_forces(ALLOY), plain.get_forces(ALLOY), 1e-12)


def test_a_region_far_away_is_left_alone(ace_surrogate):
    """Two fragments beyond the cutoff: the bias on one does not touch the other."""
    far = CLUSTER.copy()
    far.positions += [60.0, 0.0, 0.0]
    both = CLUSTER + far
    calculator = BiasedCalculator(EMT(), ace_surrogate, 1.0, bias=Deviation(range(5)))
    calculator.get_forces(both)
    bias = np.linalg.norm(calculator.prediction.bias_forces, axis=1)
    assert bias[:5].min() > 1e-6
    np.testing.assert_array_equal(bias[5:], 0.0)


def test_tau_of_a_region_is_measured_there(ace_surrogate):
    """The mean over all atoms would let a small region have the bias of the whole structure."""
    rule = TauRule(0.2, delay=1, force_max=1e9)
    bias = Deviation([0])
    calculator = BiasedCalculator(EMT(), ace_surrogate, tau_rel=rule, bias=bias)
    for seed in range(3):
        calculator.get_forces(alloy("CuCuAlCu", 0.15, seed))
    calculator.get_forces(ALLOY)
    plain = BiasedCalculator(EMT(), ace_surrogate, tau=1.0, bias=bias)
    forces, slopes = [], []
    for seed in range(3):
        plain.get_forces(alloy("CuCuAlCu", 0.15, seed))
        forces.append(np.linalg.norm(plain.prediction.forces[0]))
        slopes.append(np.linalg.norm(plain.prediction.bias_forces[0]))
    expected = 0.2 * np.mean(forces) / np.mean(slopes)
    assert calculator.prediction.tau == pytest.approx(expected, rel=1e-9)


# the energy limit


@given(rise=st.floats(-2.0, 2.0), level=st.floats(0.0, 10.0), tau=st.floats(0.0, 20.0))
def test_the_limit_only_weakens_the_bias_and_adds_to_the_force(rise, level, tau):
    bias = Deviation(energy_limit=LIMIT)
    terms = bias.terms(tau, level, rise * 4, 4)
    assert 0.0 <= terms.strength <= tau
    assert terms.dE_bias_dE >= 0.0
    assert -tau * level <= terms.energy <= 0.0
    if rise <= LIMIT / 2:
        assert terms == (-tau * level, 0.0, tau)
    if rise >= LIMIT:
        assert terms.strength == 0.0
    step = 1e-6
    ahead, behind = (bias.terms(tau, level, (rise * 4) + s, 4).energy for s in (step, -step))
    assert terms.dE_bias_dE == pytest.approx((ahead - behind) / (2 * step), abs=1e-6 * (1 + tau))


@pytest.mark.parametrize("limit", [0.0, -1.0, np.nan, np.inf])
def test_limits_that_make_no_sense(limit):
    with pytest.raises(ValueError, match="energy_limit"):
        Variance(energy_limit=limit)


def test_the_start_is_the_first_evaluation_of_a_trajectory(ace_surrogate):
    bias = Deviation(energy_limit=1e-3)
    calculator = BiasedCalculator(EMT(), ace_surrogate, tau=1.0, bias=bias)
    low, high = alloy("CuCuAlCu", 0.0), ALLOY
    calculator.get_forces(low)
    assert calculator.tau_state.after.start_energy == calculator.prediction.energy
    assert calculator.prediction.bias_energy < 0
    calculator.get_forces(high)
    assert calculator.prediction.bias_energy == 0.0
    assert not calculator.prediction.bias_forces.any()
    calculator.surrogate = ace_surrogate.condition(high)
    calculator.get_forces(high)
    assert calculator.prediction.bias_energy == 0.0
    calculator.restore()
    calculator.get_forces(high)
    assert calculator.prediction.bias_energy < 0


@pytest.mark.parametrize("bias", [Variance("Al"), Deviation(energy_limit=0.05)])
def test_a_fixed_tau_is_one_energy_surface(ace_surrogate, bias):
    check_calculator(BiasedCalculator(EMT(), ace_surrogate, tau=1.0, bias=bias), ALLOY)


def test_an_isolated_atom(ace_surrogate):
    for bias in (Variance(), Deviation([0])):
        calculator = BiasedCalculator(ace_surrogate.calculator(), ace_surrogate, 1.0, bias=bias)
        np.testing.assert_allclose(calculator.get_forces(Atoms("Cu")), 0.0, atol=1e-9)
        assert np.isfinite(calculator.prediction.force_std_bound).all()


# limits of tau


@pytest.mark.parametrize("bias", [Deviation(), Variance()])
def test_no_atom_feels_more_than_the_largest_bias_force(ace_surrogate, bias):
    rule = TauRule(50.0, delay=1, force_max=0.3)
    calculator = BiasedCalculator(EMT(), ace_surrogate, tau_rel=rule, bias=bias)
    strongest = []
    for seed, std in enumerate(np.linspace(0.02, 0.3, 12)):
        calculator.get_forces(copper(seed, std))
        strongest.append(np.linalg.norm(calculator.prediction.bias_forces, axis=1).max())
    assert max(strongest) == pytest.approx(0.3, rel=1e-9)
    assert strongest[0] == 0.0
