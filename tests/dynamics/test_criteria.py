"""Criteria of stress, atoms and information; combinations and their lazy checks."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from ase import units
from helpers.differences import assert_close, strain_differences
from helpers.mace_models import mace_calculator, needs_mace, tiny_mace
from helpers.structures import copper, copper_training, with_pbc
from hypothesis import given
from hypothesis import strategies as st

from ase_bayesel import (
    BiasedCalculator,
    EnergyTrigger,
    ForceTrigger,
    MACEDescriptor,
    Posterior,
    RelativeForceTrigger,
    fit_surrogate,
    run_walker,
)
from ase_bayesel.descriptors.base import voigt6
from ase_bayesel.dynamics.triggers import (
    AllOf,
    AnyOf,
    InformationTrigger,
    LazyCheck,
    LocalEnergyTrigger,
    StressTrigger,
    TriggerReport,
)
from ase_bayesel.surrogate.design import Noise

ATOMS = copper(5, 0.15)


@pytest.fixture(scope="module")
def mace_model():
    return mace_calculator(tiny_mace(irreps="12x0e+12x1o"))


@pytest.fixture(scope="module")
def mace_surrogate(mace_model):
    """With a posterior that a dense inverse can follow."""
    fitted = fit_surrogate(copper_training()[:3], MACEDescriptor(mace_model), e0s="average")
    one = replace(fitted, noise=Noise(0.1, 0.1, 0.1))
    return replace(one, posterior=Posterior.isotropic(24, 1.0)).condition(copper_training()[1:3])


@pytest.fixture(params=["ace", pytest.param("mace", marks=needs_mace)])
def model(request):
    """Surrogate and potential on features of ACE or MACE."""
    if request.param == "mace":
        surrogate = request.getfixturevalue("mace_surrogate")
        return surrogate, request.getfixturevalue("mace_model")
    surrogate = request.getfixturevalue("cu_surrogate")
    return surrogate, surrogate.calculator()


def predicted(model, atoms=ATOMS, **options):
    surrogate, potential = model
    calculator = BiasedCalculator(potential, surrogate, **({"tau": 0.5} | options))
    calculator.get_forces(atoms)
    return calculator.prediction


def covariance(surrogate):
    """Sigma by a dense inverse."""
    factor = surrogate.posterior.precision_factor
    return np.linalg.inv(factor.T @ factor)


def feature_row(surrogate):
    return lambda atoms: surrogate.descriptor.compute([atoms])[0].total


def test_calibrated_energies_are_in_the_size_of_errors(model):
    surrogate, potential = model
    scale = replace(surrogate.scales.energy, value=3.0)
    scaled = replace(surrogate, scales=replace(surrogate.scales, energy=scale))
    raw = EnergyTrigger(0.1)(predicted(model), ATOMS)
    calibrated = EnergyTrigger(0.1, calibrated=True)(predicted((scaled, potential)), ATOMS)
    assert calibrated.value == pytest.approx(3.0 * raw.value)
    assert raw.value == pytest.approx(predicted(model).energy_std / len(ATOMS))


def test_stress_against_differences_and_a_dense_inverse(model):
    """Length of the deviation of all nine components, from the strain derivative of phi."""
    surrogate, _ = model
    rows = strain_differences(feature_row(surrogate), ATOMS) / ATOMS.get_volume()
    variances = np.einsum("kd,de,ke->k", rows, covariance(surrogate), rows)
    expected = np.sqrt(variances[:3].sum() + 2 * variances[3:].sum()) / units.GPa
    report = StressTrigger(1.0)(predicted(model), ATOMS)
    assert report.value == pytest.approx(expected, rel=1e-4)
    assert (report.name, report.atom_index) == ("stress", None)


def test_stress_does_not_depend_on_the_axes(model):
    turned = ATOMS.copy()
    turned.rotate(37.0, (1, 2, 3), rotate_cell=True)
    values = [StressTrigger(1.0)(predicted(model, atoms), atoms).value for atoms in (ATOMS, turned)]
    assert values[1] == pytest.approx(values[0], rel=1e-6)
    assert voigt6(np.eye(3)).tolist() == [1, 1, 1, 0, 0, 0]


@needs_mace
def test_stress_of_a_network_needs_no_jacobian(mace_model, mace_surrogate):
    prediction = predicted((mace_surrogate, mace_model))
    expected = mace_surrogate.uncertainty(ATOMS).stress
    assert_close(prediction.stress_std, expected, 1e-8)
    assert prediction.searched


def test_stress_needs_three_periodic_directions(model):
    flat = with_pbc(ATOMS, (True, True, False))
    assert predicted(model, flat).stress_std is None
    with pytest.raises(ValueError, match="three periodic directions"):
        StressTrigger(1.0)(predicted(model, flat), flat)


def test_local_energy_against_a_dense_inverse(model):
    surrogate, _ = model
    values = surrogate.descriptor.compute([ATOMS])[0].values
    expected = np.sqrt(np.einsum("nd,de,ne->n", values, covariance(surrogate), values))
    report = LocalEnergyTrigger(1.0)(predicted(model), ATOMS)
    assert_close(predicted(model).local_energy_std, expected, 1e-6)
    assert report.value == pytest.approx(expected.max(), rel=1e-6)
    assert report.atom_index == np.argmax(expected)
    assert report.name == "local_energy"


def test_local_energy_finds_the_strange_atom(cu_surrogate):
    model = cu_surrogate, cu_surrogate.calculator()
    crystal = copper(0, 0.0, repeat=(2, 2, 2))
    crystal.positions[11] += [0.8, 0.3, 0.1]
    near = {11, *np.argsort(crystal.get_distances(11, range(32), mic=True))[:4]}
    assert LocalEnergyTrigger(1.0)(predicted(model, crystal), crystal).atom_index in near


def test_local_energy_does_not_change_with_the_number_of_copies(model):
    values = [
        LocalEnergyTrigger(1.0)(predicted(model, atoms), atoms).value
        for atoms in (ATOMS, ATOMS * (2, 2, 1))
    ]
    assert values[1] == pytest.approx(values[0], rel=1e-6)


def test_information_against_determinants(model):
    """log det of the precision before and after the label."""
    surrogate, _ = model
    rows, factor = surrogate.rows(ATOMS), surrogate.posterior.precision_factor
    precision = factor.T @ factor
    after = np.linalg.slogdet(precision + rows.T @ rows)[1]
    expected = after - np.linalg.slogdet(precision)[1]
    report = InformationTrigger(1.0)(predicted(model), ATOMS)
    assert report.value == pytest.approx(expected, rel=1e-5)
    conditioned = surrogate.condition(ATOMS).posterior.logdet - surrogate.posterior.logdet
    assert report.value == pytest.approx(conditioned, rel=1e-8)
    assert (report.name, report.atom_index) == ("information", None)


@pytest.mark.parametrize("kind", [StressTrigger, LocalEnergyTrigger, InformationTrigger])
def test_they_fire_above_their_threshold(model, kind):
    prediction = predicted(model)
    value = kind(1.0)(prediction, ATOMS).value
    assert value > 0
    assert kind(0.99 * value)(prediction, ATOMS).fired
    assert not kind(1.01 * value)(prediction, ATOMS).fired


# combinations


class Fixed:
    """A trigger of a given value; notes its calls."""

    def __init__(self, value, threshold=1.0, name="fixed", atom=None):
        self.value, self.threshold, self.name, self.atom = value, threshold, name, atom
        self.calls = 0

    def __call__(self, prediction, atoms):
        self.calls += 1
        fired = not self.value <= self.threshold
        return TriggerReport(self.name, self.value, self.threshold, fired, self.atom)


def trees(depth=3):
    leaf = st.builds(Fixed, st.floats(0.01, 10.0), st.floats(0.01, 10.0))

    def grown(children):
        members = st.lists(children, min_size=1, max_size=3).map(tuple)
        return st.one_of(st.builds(AnyOf, members), st.builds(AllOf, members))

    return st.recursive(leaf, grown, max_leaves=8)


def truth(tree):
    """Whether a tree fires, by plain logic."""
    if isinstance(tree, Fixed):
        return tree.value > tree.threshold
    return (any if isinstance(tree, AnyOf) else all)(truth(member) for member in tree.members)


def leaves(tree):
    """Its single triggers from left to right."""
    return [tree] if isinstance(tree, Fixed) else [x for m in tree.members for x in leaves(m)]


def shown(report):
    """Names in the order of the tree's leaves."""
    return [n for member in report.members for n in shown(member)] if report.members else [report]


@given(trees())
def test_combinations_follow_logic_and_keep_every_report(tree):
    report = tree(None, None)
    assert report.fired == truth(tree)
    assert report.fired == (report.value > report.threshold)
    assert [r.value for r in shown(report)] == [leaf.value for leaf in leaves(tree)]
    lazy, check = LazyCheck(tree)(SimpleNamespace(searched=False), None)
    assert lazy.fired == report.fired
    assert check == LazyCheck(tree, ratios=check.ratios)
    if lazy.fired:
        assert lazy.value <= report.value
    eager, _ = LazyCheck(tree, lazy=False)(SimpleNamespace(searched=False), None)
    assert eager == report


def test_the_leading_member_gives_value_and_atom():
    members = (Fixed(3.0, 2.0, "a", 4), Fixed(0.9, 0.3, "b", 7), Fixed(0.1, 1.0, "c"))
    report = AnyOf(members)(None, None)
    assert (report.name, report.value, report.threshold) == ("any", pytest.approx(3.0), 1.0)
    assert report.atom_index == 7
    report = AllOf(members[:2])(None, None)
    assert (report.name, report.value, report.fired) == ("all", 1.5, True)
    assert report.atom_index == 4
    assert str(report) == "all of (a 3 > 2 (atom 4); b 0.9 > 0.3 (atom 7))"
    assert not AllOf(members)(None, None).fired


@pytest.mark.parametrize("kind", [AnyOf, AllOf])
def test_nan_leads(kind):
    """It makes the combination NaN, which ends a walker."""
    for values in ((np.nan, 5.0), (5.0, np.nan), (0.5, np.nan)):
        assert np.isnan(kind(tuple(map(Fixed, values)))(None, None).value)


@pytest.mark.parametrize("kind", [AnyOf, AllOf])
def test_combinations_that_make_no_sense_are_refused(kind):
    with pytest.raises(ValueError, match="at least one trigger"):
        kind(())
    with pytest.raises(ValueError, match="tuple"):
        kind([Fixed(1.0)])
    with pytest.raises(ValueError, match=r"positive.*EnergyTrigger\(threshold=-1.0"):
        kind((EnergyTrigger(-1.0), Fixed(1.0)))


def test_all_stops_at_the_first_that_does_not_fire():
    calm, dear = Fixed(0.5), Fixed(2.0)
    report, _ = LazyCheck(AllOf((calm, dear)))(SimpleNamespace(searched=False), None)
    assert (report.fired, report.value, dear.calls) == (False, 0.5, 0)
    report, _ = LazyCheck(AllOf((calm, dear)), lazy=False)(None, None)
    assert (report.fired, len(report.members), dear.calls) == (False, 2, 1)


@needs_mace
@pytest.mark.slow
def test_members_that_need_a_search_are_checked_lazily(mace_model, mace_surrogate):
    """Over real MD: any and all fire where the eager ones do, with fewer evaluations."""
    start = copper(1, 0.05, repeat=(1, 1, 2))
    scale = ForceTrigger(1.0)(predicted((mace_surrogate, mace_model), start), start).value
    far = AnyOf((ForceTrigger(50 * scale), RelativeForceTrigger(1e6)))
    both = AllOf((EnergyTrigger(1e6), ForceTrigger(1e-6)))
    counts = {}
    for lazy in (True, False):
        calculator = BiasedCalculator(mace_model, mace_surrogate, tau=0.5)
        steps = run_walker(
            start,
            calculator,
            n_steps=8,
            temperature_K=600.0,
            rng=np.random.default_rng(0),
            triggers=[far, both],
            lazy=lazy,
        )
        reports = [report for step in steps for report in step.reports]
        assert not any(report.fired for report in reports)
        counts[lazy] = [len(r.members) for r in reports if r.name == "any"]
        energies = [len(r.members) for r in reports if r.name == "all"]
        assert energies == [1 if lazy else 2] * 8
    assert counts[False] == [2] * 8
    assert sum(counts[True]) < 8
    assert counts[True][0] == 2


@needs_mace
def test_what_a_combination_has_learnt(mace_model, mace_surrogate):
    prediction = predicted((mace_surrogate, mace_model))
    trigger = AnyOf((ForceTrigger(1e6), AllOf((ForceTrigger(1e6), EnergyTrigger(1e6)))))
    report, check = LazyCheck(trigger)(prediction, ATOMS)
    assert len(report.members) == 2
    assert [len(r) for r in (check.ratios[0], check.ratios[1][0], check.ratios[1][1])] == [1, 1, 0]
    assert check(prediction, ATOMS)[0] is None
