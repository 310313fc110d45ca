"""The check of the thermostat: when it tells, and when it keeps quiet."""

import warnings
from dataclasses import asdict
from itertools import pairwise

import numpy as np
import pytest
from ase.calculators.emt import EMT
from helpers.structures import copper

from ase_bayesel import (
    NVE,
    BiasedCalculator,
    Deviation,
    DriverState,
    Guards,
    Langevin,
    TauRule,
    Variance,
    run_walker,
)
from ase_bayesel.dynamics.thermostat_check import ThermostatCheck
from ase_bayesel.errors import ThermostatWarning


def canonical_temperatures(n_dof, n, decay, seed):
    """Temperatures over their target of ``n_dof`` Ornstein-Uhlenbeck velocities."""
    rng = np.random.default_rng(seed)
    velocities = rng.standard_normal(n_dof)
    for _ in range(n):
        noise = rng.standard_normal(n_dof)
        velocities = decay * velocities + np.sqrt(1 - decay**2) * noise
        yield np.mean(velocities**2)


def fed(ratios, n_dof, target=300.0, check=None):
    check = check or ThermostatCheck()
    for ratio in ratios:
        check = check.after(ratio * target, target, n_dof)
    return check


@pytest.mark.parametrize("n_dof", [3, 24, 300])
@pytest.mark.parametrize("decay", [0.0, 0.9, 0.98])
def test_chance_is_not_reported(n_dof, decay):
    for seed in range(3):
        assert fed(canonical_temperatures(n_dof, 1500, decay, seed), n_dof).warning == ""


@pytest.mark.parametrize("n_dof", [24, 300])
@pytest.mark.parametrize("factor", [2.0, 0.4])
def test_a_wrong_temperature_is_reported_once(n_dof, factor):
    ratios = [factor * ratio for ratio in canonical_temperatures(n_dof, 1500, 0.9, 0)]
    with pytest.warns(ThermostatWarning, match="where 300 K is asked for") as caught:
        check = fed(ratios, n_dof)
    assert len(caught) == 1
    assert str(caught[0].message) == check.warning
    assert check.mean == pytest.approx(factor, rel=0.15)


def test_independent_samples():
    """n (1 - r) / (1 + r), with r = decay^2 for the squares of these velocities."""
    for decay in (0.0, 0.7, 0.95):
        checks = [fed(canonical_temperatures(30, 500, decay, seed), 30) for seed in range(5)]
        expected = 500 * (1 - decay**2) / (1 + decay**2)
        found = np.mean([check.n_independent for check in checks])
        assert found == pytest.approx(expected, rel=0.35)


def test_a_short_excursion_is_let_pass():
    ratios = [*canonical_temperatures(60, 600, 0.5, 0)]
    ratios[300:330] = [4.0] * 30
    assert fed(ratios, 60).warning == ""


def test_a_ramp_is_followed():
    check = ThermostatCheck()
    for step, ratio in enumerate(canonical_temperatures(60, 1500, 0.9, 0)):
        target = 100.0 + step
        check = check.after(ratio * target, target, 60)
    assert check.warning == ""
    assert check.mean == pytest.approx(1.0, abs=0.1)


def test_nothing_to_check():
    assert ThermostatCheck().after(300.0, 0.0, 30) == ThermostatCheck()
    assert ThermostatCheck().after(300.0, 300.0, 0) == ThermostatCheck()
    assert fed([1.0], 3).n_independent == 1.0


def test_the_state_travels():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ThermostatWarning)
        check = fed([3.0] * 300, 30)
    assert check.warning
    state = DriverState(thermostat=check)
    assert DriverState.from_json(state.to_json()) == state
    assert ThermostatCheck(**asdict(check)) == check


# in molecular dynamics

START = copper(1, 0.05, repeat=(2, 1, 1))


def walk(surrogate, tau_rel, mlip=None, **options):
    calculator = BiasedCalculator(mlip or EMT(), surrogate, tau_rel=tau_rel)
    defaults = {
        "n_steps": 300,
        "temperature_K": 300.0,
        "rng": np.random.default_rng(0),
        "timestep_fs": 4.0,
        "ensemble": Langevin(0.02),
    }
    return list(run_walker(START, calculator, **(defaults | options)))


@pytest.mark.slow
def test_a_weak_bias_does_not_heat(cu_surrogate):
    steps = walk(cu_surrogate, 0.1)
    assert steps[-1].warning == ""
    assert np.mean([step.temperature_K for step in steps[100:]]) == pytest.approx(300.0, rel=0.25)


def test_a_bias_that_heats_is_reported(cu_surrogate):
    """Without its limits a strong bias feeds the atoms faster than the thermostat cools."""
    rule = TauRule(1.5, force_max=1e9, max_excess_temperature=1e9)
    with pytest.warns(ThermostatWarning, match="where 300 K"):
        steps = walk(cu_surrogate, rule, guards=Guards(None, None, None), ensemble=Langevin(0.002))
    told = [step.step for step in steps if step.warning]
    assert told == list(range(told[0], steps[-1].step + 1))
    assert steps[-1].driver.thermostat.mean > 1.5


@pytest.mark.slow
@pytest.mark.parametrize("bias", [Deviation(), pytest.param(Variance(), marks=pytest.mark.slow)])
def test_an_absurd_tau_rel_does_not_heat_without_limit(cu_surrogate, bias):
    """tau_rel = 50: the bias is off wherever the mean temperature is twice the target."""
    calculator = BiasedCalculator(EMT(), cu_surrogate, tau_rel=50.0, bias=bias)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ThermostatWarning)
        steps = list(
            run_walker(
                START,
                calculator,
                n_steps=400,
                temperature_K=300.0,
                rng=np.random.default_rng(0),
                timestep_fs=2.0,
                ensemble=Langevin(0.02),
            )
        )
    for step in steps:
        bias_force = np.linalg.norm(step.prediction.bias_forces, axis=1).max()
        assert bias_force <= 5.0 * (1 + 1e-9)
    for before, after in pairwise(steps):
        if before.driver.thermostat.recent >= 2.0 and after.status == "running":
            assert after.prediction.tau == 0.0
    if steps[-1].status == "running":
        assert np.mean([step.temperature_K for step in steps[50:]]) < 1000.0


def test_constant_energy_has_no_target(cu_surrogate):
    steps = walk(cu_surrogate, 0.0, ensemble=NVE(), n_steps=30)
    assert steps[-1].driver.thermostat == ThermostatCheck()
    assert steps[-1].driver.tau.excess_temperature == 0.0


def test_a_walker_that_is_taken_up_counts_no_frame_twice(cu_surrogate):
    def steps(first=None):
        calculator = BiasedCalculator(cu_surrogate.calculator(), cu_surrogate, tau=0.0)
        start = START if first is None else first.atoms
        return run_walker(
            start,
            calculator,
            n_steps=12,
            temperature_K=300.0,
            rng=rng,
            first_step=0 if first is None else first.step,
            state=None if first is None else first.driver,
        )

    rng = np.random.default_rng(0)
    whole = [step.driver.thermostat for step in steps()]
    rng = np.random.default_rng(0)
    first = next(step for step in steps() if step.step == 5)
    rest = [step.driver.thermostat for step in steps(first)]
    assert rest == whole[5:]
    assert [check.n for check in whole] == list(range(1, 14))
