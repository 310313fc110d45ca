"""A walker goes back to its start where the potential of the last fit cannot be trusted."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from helpers.calculators import Opaque
from helpers.structures import copper, emt_labelled

from ase_bayesel import (
    ACEDescriptor,
    BiasedCalculator,
    EnergyTrigger,
    ForceTrigger,
    RelativeForceTrigger,
    TauRule,
    fit_surrogate,
    run_walker,
)
from ase_bayesel.bias.kinds import Deviation, Variance
from ase_bayesel.dynamics.recording import log_row
from ase_bayesel.dynamics.triggers import AllOf, AnyOf, LazyCheck
from ase_bayesel.dynamics.trust import TrustBound
from ase_bayesel.surrogate.design import Noise
from ase_bayesel.surrogate.energy_weights import EnergyWeights

START = copper(1, 0.02, repeat=(1, 1, 2))
BOUND = TrustBound(relative=None, absolute=0.1)


@pytest.fixture(scope="module")
def surrogate():
    """Little data, so that a few steps lead beyond it."""
    fitted = fit_surrogate(
        [emt_labelled(copper(2, 0.05))], ACEDescriptor(["Cu"], 2, 6), e0s="average"
    )
    return replace(fitted, noise=Noise(0.1, 0.1, 0.1))


def steps(surrogate, bound=BOUND, updated=None, n_steps=40, atoms=START, seed=0, **options):
    """A walker on the last fit's potential, with the uncertainty of ``updated``."""
    options = {"rng": np.random.default_rng(seed), **options}
    calculator = BiasedCalculator(
        surrogate.calculator(), updated or surrogate, tau_rel=TauRule(0.3, delay=2)
    )
    return run_walker(
        atoms,
        calculator,
        n_steps=n_steps,
        temperature_K=900.0,
        timestep_fs=3.0,
        triggers=[ForceTrigger(0.05)],
        check_interval=4,
        trust=None if bound is None else bound.against(surrogate, START),
        **options,
    )


def test_beyond_the_bound_a_walker_is_back_at_its_start(surrogate):
    walked = list(steps(surrogate))
    returned = [step for step in walked if step.beyond is not None]
    assert len(returned) >= 2
    assert walked[-1].driver.returns == tuple(step.step for step in returned)
    assert walked[-1].driver.rollbacks == 0
    for step in returned:
        np.testing.assert_array_equal(step.atoms.positions, START.positions)
        assert (step.status, step.rolled_back, step.reports) == ("running", "trust_bound", ())
        deviations = surrogate.uncertainty(step.beyond.atoms).forces
        assert deviations.max() > 0.1
        assert step.beyond.bound.members[0].value == pytest.approx(deviations.max())
        assert step.beyond.reports[0].fired
        assert log_row(step)["status"] == b"rollback_trust_bound"
    first, second = (step.atoms.get_momenta() for step in returned[:2])
    assert not np.allclose(first, second)
    for before, after in pairwise(walked):
        if after.beyond is None:
            assert surrogate.uncertainty(before.atoms).forces.max() <= 0.1 or before.step % 4


def test_the_last_fit_decides_and_not_the_updated_posterior(surrogate):
    beyond = next(step.beyond for step in steps(surrogate) if step.beyond is not None)
    updated = surrogate.condition(beyond.atoms)
    again = next(step for step in steps(surrogate, updated=updated) if step.beyond is not None)
    deviations = surrogate.uncertainty(again.beyond.atoms).forces
    assert again.beyond.bound.members[0].value == pytest.approx(deviations.max())
    seen = updated.uncertainty(again.beyond.atoms).forces
    assert again.beyond.reports[0].value == pytest.approx(seen.max())
    assert seen.max() < deviations.max()


def test_a_bound_that_is_not_met_changes_nothing(surrogate):
    bound = TrustBound(relative=None, absolute=1e3)
    for ours, plain in zip(steps(surrogate, bound), steps(surrogate, None), strict=True):
        np.testing.assert_array_equal(ours.atoms.positions, plain.atoms.positions)
        np.testing.assert_array_equal(ours.atoms.get_momenta(), plain.atoms.get_momenta())
        assert ours.reports == plain.reports


@pytest.mark.parametrize("left_at", [3, 4, 17])
def test_a_walker_is_taken_up_again_bit_for_bit(surrogate, left_at):
    rng = np.random.default_rng(0)
    for step in steps(surrogate, rng=rng):
        if step.step == left_at:
            break
    rest = steps(surrogate, rng=rng, atoms=step.atoms, first_step=step.step, state=step.driver)
    whole = list(steps(surrogate))
    for ours, expected in zip(rest, whole[left_at:], strict=True):
        np.testing.assert_array_equal(ours.atoms.positions, expected.atoms.positions)
        np.testing.assert_array_equal(ours.atoms.get_momenta(), expected.atoms.get_momenta())
        assert ours.driver.to_json() == expected.driver.to_json()


def test_a_relative_and_an_absolute_limit(surrogate):
    both = TrustBound(relative=0.4, absolute=0.7, eps=0.3)
    assert both.criterion().members == (RelativeForceTrigger(0.4, 0.3), ForceTrigger(0.7))
    assert TrustBound(0.4).criterion().members == (RelativeForceTrigger(0.4, 0.2),)
    with pytest.raises(ValueError, match="give at least one limit"):
        TrustBound(factor=None, energy=None)


def test_the_limit_follows_the_trigger():
    trigger = AnyOf(
        (ForceTrigger(0.1), AllOf((EnergyTrigger(0.2), RelativeForceTrigger(0.3, 0.5))))
    )
    ours = TrustBound(factor=2.0).criterion([trigger])
    assert ours == AnyOf(
        (AnyOf((ForceTrigger(0.2), AllOf((EnergyTrigger(0.4), RelativeForceTrigger(0.6, 0.5))))),)
    )
    assert TrustBound().criterion() is None


def test_a_predicted_energy_far_up_takes_a_walker_back(surrogate):
    lowest = surrogate.energy(START) - surrogate.baseline(START)
    weights = EnergyWeights(0.02).extended([(START, lowest)])
    weighted = replace(surrogate, energy_weights=weights)
    bound = TrustBound(factor=None, energy=1.5)
    walked = list(steps(weighted, bound, n_steps=60))
    beyond = [step.beyond for step in walked if step.beyond is not None]
    assert beyond
    for frame in beyond:
        rise = (surrogate.energy(frame.atoms) - surrogate.energy(START)) / len(START)
        assert frame.bound.value == pytest.approx(rise / 0.02)
        assert rise > 1.5 * 0.02
    # without weights there is no such limit
    assert all(step.beyond is None for step in steps(surrogate, bound, n_steps=60))


@pytest.mark.parametrize("bias", [Deviation(), Variance(), Deviation([0, 1])])
@pytest.mark.parametrize("wrap", [lambda mlip: mlip, Opaque], ids=["joint", "apart"])
@pytest.mark.parametrize("released", [False, True])
def test_an_evaluation_under_another_surrogate(surrogate, bias, wrap, released):
    atoms = copper(3, 0.1)
    updated = surrogate.condition(copper(5, 0.2))
    calculator = BiasedCalculator(wrap(surrogate.calculator()), updated, tau=0.7, bias=bias)
    calculator.get_property("forces", atoms)
    prediction = calculator.prediction
    assert prediction.force_std.max() < surrogate.uncertainty(atoms).forces.max()
    if released:
        prediction.release()
    other = prediction.under(surrogate)
    plain = surrogate.calculator()
    assert other.energy == pytest.approx(plain.get_potential_energy(atoms))
    np.testing.assert_allclose(other.forces, plain.get_forces(atoms), atol=1e-9)
    expected = surrogate.uncertainty(atoms)
    np.testing.assert_allclose(other.force_std, expected.forces, rtol=1e-9)
    assert other.energy_std == pytest.approx(surrogate.energy_std(atoms))
    assert (other.force_std_bound <= other.force_std * (1 + 1e-9)).all()
    fresh = BiasedCalculator(plain, surrogate, tau=0.7)
    fresh.get_property("forces", atoms)
    np.testing.assert_allclose(
        other.force_std_bound, fresh.prediction.force_std_bound, rtol=1e-6, atol=1e-9
    )
    assert (other.tau, other.bias_energy) == (0.0, 0.0)


def test_a_bound_remembers_what_it_has_learnt(surrogate):
    trust = BOUND.against(surrogate, START)
    assert trust.with_ratios(((1.0, 2.0),)).check == LazyCheck(
        BOUND.criterion(), True, ((1.0, 2.0),)
    )
