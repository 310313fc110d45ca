"""Resume, ramps, rollback: what `run_walker` does besides the ensembles' physics."""

import json
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from ase import units
from ase.constraints import FixAtoms, FixCom, FixedLine
from helpers.structures import copper

from ase_bayesel import (
    NPT,
    NVE,
    BiasedCalculator,
    Bussi,
    DriverState,
    EnergyTrigger,
    Guards,
    Langevin,
    NoseHooverChain,
    Ramp,
    TauRule,
    run_walker,
)
from ase_bayesel.bias.tau import TauHistory
from ase_bayesel.dynamics.driver import KEEP_INTERVAL
from ase_bayesel.dynamics.driver_state import Frame
from ase_bayesel.errors import StructureError

START = copper(1, 0.05, repeat=(1, 1, 2))
ENSEMBLES = [
    NVE(),
    Langevin(0.02),
    Bussi(20.0),
    NoseHooverChain(20.0),
    NPT("volume", thermostat_fs=20.0, barostat_fs=50.0),
    NPT("axes", thermostat_fs=20.0, barostat_fs=50.0),
    NPT("full", thermostat_fs=20.0, barostat_fs=50.0),
]
HEATING = Ramp(((2, 300.0), (9, 900.0)))
PRESSING = Ramp(((0, 0.0), (10, 5.0)))


def name_of(ensemble):
    return type(ensemble).__name__ + getattr(ensemble, "cell", "")


each_ensemble = pytest.mark.parametrize("ensemble", ENSEMBLES, ids=name_of)


def biased(surrogate, **options):
    return BiasedCalculator(surrogate.calculator(), surrogate, **(options or {"tau": 0.5}))


def walk(calculator, atoms=START, rng=None, **options):
    defaults = {
        "n_steps": 12,
        "temperature_K": 600.0,
        "rng": np.random.default_rng(0) if rng is None else rng,
        "pressure_GPa": 1.0,
        "timestep_fs": 2.0,
    }
    return run_walker(atoms, calculator, **(defaults | options))


def assert_same(steps, others):
    """Bit for bit."""
    assert len(steps) == len(others)
    for step, other in zip(steps, others, strict=True):
        assert (step.step, step.status, step.rolled_back) == (
            other.step,
            other.status,
            other.rolled_back,
        )
        np.testing.assert_array_equal(step.atoms.positions, other.atoms.positions)
        np.testing.assert_array_equal(step.atoms.get_momenta(), other.atoms.get_momenta())
        np.testing.assert_array_equal(step.atoms.cell.array, other.atoms.cell.array)
        assert json.dumps(step.driver.to_json()) == json.dumps(other.driver.to_json())


def through_json(state):
    return DriverState.from_json(json.loads(json.dumps(state.to_json())))


def resumed(surrogate, left_at, atoms=START, calculator_options=None, **options):
    """A run that was left at a step and taken up again by a new process, as it were."""
    fresh = calculator_options or {"tau": 0.5}
    rng = np.random.default_rng(0)
    first = list(islice(walk(biased(surrogate, **fresh), atoms, rng, **options), left_at + 1))
    bits = np.random.PCG64()
    bits.state = json.loads(json.dumps(rng.bit_generator.state))
    rest = walk(
        biased(surrogate, **fresh),
        first[-1].atoms.copy(),
        np.random.Generator(bits),
        first_step=first[-1].step,
        state=through_json(first[-1].driver),
        **options,
    )
    again = next(rest)
    np.testing.assert_array_equal(again.atoms.positions, first[-1].atoms.positions)
    assert again.driver.to_json() == first[-1].driver.to_json()
    return [*first, *rest]


# resume


@each_ensemble
@pytest.mark.parametrize("left_at", [0, 5, 11])
def test_resumed_equals_uninterrupted_in_mid_ramp(cu_surrogate, ensemble, left_at):
    options = {"ensemble": ensemble, "temperature_K": HEATING, "pressure_GPa": PRESSING}
    whole = list(walk(biased(cu_surrogate), **options))
    assert len(whole) == 13
    assert_same(resumed(cu_surrogate, left_at, **options), whole)


@pytest.mark.parametrize("ensemble", ENSEMBLES[:4], ids=name_of)
@pytest.mark.parametrize(
    "constraint",
    [FixAtoms([1]), FixCom(), FixedLine([0, 3], [1, 1, 0])],
    ids=lambda c: type(c).__name__,
)
def test_resumed_equals_uninterrupted_with_constraints(cu_surrogate, ensemble, constraint):
    atoms = START.copy()
    atoms.set_constraint(constraint)
    whole = list(walk(biased(cu_surrogate), atoms, ensemble=ensemble))
    assert_same(resumed(cu_surrogate, 5, atoms, ensemble=ensemble), whole)


@pytest.mark.parametrize("left_at", [1, 6])
def test_running_averages_of_tau_are_part_of_the_state(cu_surrogate, left_at):
    bias = {"tau_rel": TauRule(0.1, delay=2)}
    options = {"tau_rel": Ramp(((0, 0.1), (12, 0.5)))}
    whole = list(walk(biased(cu_surrogate, **bias), **options))
    assert [step.driver.tau.n for step in whole] == list(range(13))
    assert_same(resumed(cu_surrogate, left_at, calculator_options=bias, **options), whole)


def test_the_state_of_another_ensemble_is_refused(cu_surrogate):
    step = next(walk(biased(cu_surrogate), ensemble=NoseHooverChain()))
    with pytest.raises(ValueError, match="another ensemble"):
        next(walk(biased(cu_surrogate), step.atoms, state=step.driver, ensemble=Bussi()))


def test_json_of_a_full_state():
    frame = Frame.of(START)
    state = DriverState({"eta": (1 / 3, 1e-300)}, (), 2, (5, 9), (frame,), TauHistory(3, 0.1, 0.7))
    again = through_json(state)
    assert again.to_json() == state.to_json()
    assert again.tau == state.tau
    np.testing.assert_array_equal(again.frames[0].positions, frame.positions)
    assert again.frames[0].numbers.dtype == frame.numbers.dtype


# targets


def test_a_ramp_of_tau_rel(cu_surrogate):
    """Once on, tau is tau_rel times the ratio of the averages up to the step before."""
    calculator = biased(cu_surrogate, tau_rel=TauRule(0.1, delay=2))
    ramp = Ramp(((0, 0.0), (10, 0.5)))
    before = None
    for step in walk(calculator, tau_rel=ramp):
        if step.step >= 2:
            expected = ramp.at(step.step) * before.force / before.gradient
            assert step.prediction.tau == pytest.approx(expected, rel=1e-12)
        before = calculator.tau_state.after


def test_temperature_follows_its_ramp(cu_surrogate):
    """Strong friction: the momenta are drawn anew within a few steps."""
    ramp = Ramp(((0, 50.0), (200, 5000.0)))
    calculator = biased(cu_surrogate, tau=0.0)
    steps = list(
        walk(
            calculator,
            n_steps=200,
            timestep_fs=0.1,
            temperature_K=ramp,
            ensemble=Langevin(5.0),
        )
    )
    early, late = ([s.temperature_K for s in part] for part in (steps[10:40], steps[160:]))
    assert np.mean(early) == pytest.approx(ramp.at(25), rel=0.4)
    assert np.mean(late) == pytest.approx(ramp.at(180), rel=0.4)


def test_pressure_follows_its_ramp(cu_surrogate):
    """Copper yields: its volume falls while the pressure rises."""
    ensemble = NPT("volume", thermostat_fs=50.0, barostat_fs=50.0)
    volumes = []
    for pressure in (0.0, Ramp(((0, 0.0), (60, 30.0)))):
        steps = walk(biased(cu_surrogate), n_steps=90, ensemble=ensemble, pressure_GPa=pressure)
        volumes.append(np.mean([step.atoms.get_volume() for step in steps][60:]))
    assert volumes[1] < 0.95 * volumes[0]


def test_wrong_targets(cu_surrogate):
    with pytest.raises(ValueError, match="temperature_K"):
        next(walk(biased(cu_surrogate), temperature_K=Ramp(((0, 300.0), (10, 0.0)))))
    with pytest.raises(ValueError, match="fixed tau"):
        next(walk(biased(cu_surrogate), tau_rel=0.1))
    with pytest.raises(StructureError, match="pressure_GPa"):
        next(walk(biased(cu_surrogate), ensemble=NPT(), pressure_GPa=None))


def test_a_start_loses_its_total_momentum_where_it_would_keep_it(cu_surrogate):
    moving = START.copy()
    moving.set_momenta(np.random.default_rng(0).normal(size=(8, 3)) + 1.0)
    for ensemble in ENSEMBLES:
        step = next(walk(biased(cu_surrogate), moving, ensemble=ensemble))
        total = np.abs(step.atoms.get_momenta().sum(axis=0)).max()
        assert total < 1e-12 if ensemble.conserves_momentum else total > 1.0
        dof = 21 if ensemble.conserves_momentum else 24
        expected = 2 * step.atoms.get_kinetic_energy() / (dof * units.kB)
        assert step.temperature_K == pytest.approx(expected)


# rollback


class Cliff(Guards):
    """Breaks at chosen visits: no ordinary surface is left at a chosen step."""

    def __init__(self, *visits, name="volume"):
        super().__init__()
        object.__setattr__(self, "visits", visits)
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "seen", [0])

    def against(self, start):
        return self

    def violated(self, atoms, prediction=None):
        if prediction is None:
            return super().violated(atoms)
        self.seen[0] += 1
        return self.name if self.seen[0] - 1 in self.visits else None


def test_a_broken_guard_rolls_back_and_goes_on(cu_surrogate):
    n = 3 * KEEP_INTERVAL
    broken_at = 2 * KEEP_INTERVAL + 7
    steps = list(
        walk(
            biased(cu_surrogate),
            n_steps=n,
            guards=Cliff(broken_at),
            max_rollbacks=1,
            triggers=[EnergyTrigger(-1.0)],
        )
    )
    assert [step.step for step in steps] == list(range(n + 1))
    assert {step.status for step in steps} == {"running"}
    assert [step.step for step in steps if step.rolled_back] == [broken_at]
    back = steps[broken_at]
    assert back.rolled_back == "volume"
    assert back.reports == ()
    np.testing.assert_array_equal(back.atoms.positions, steps[KEEP_INTERVAL].atoms.positions)
    assert np.abs(back.atoms.get_momenta() - steps[KEEP_INTERVAL].atoms.get_momenta()).max() > 0.1
    assert back.prediction.energy == pytest.approx(
        steps[KEEP_INTERVAL].prediction.energy, rel=1e-12
    )
    assert [step.driver.rollbacks for step in steps] == [0] * broken_at + [1] * (n + 1 - broken_at)
    assert all(step.reports for step in steps[1:] if step is not back)


def test_when_the_rollbacks_are_used_up_the_walker_ends(cu_surrogate):
    steps = list(walk(biased(cu_surrogate), guards=Cliff(3, 5, 9), max_rollbacks=2))
    *running, end = steps
    assert [step.rolled_back for step in running if step.rolled_back] == ["volume", "volume"]
    assert (end.status, end.driver.rollbacks, end.rolled_back) == ("volume", 2, None)
    np.testing.assert_array_equal(end.atoms.positions, running[-1].atoms.positions)


def test_a_frame_that_is_rolled_back_to_and_fails_counts_too(cu_surrogate):
    steps = list(walk(biased(cu_surrogate), guards=Cliff(3, 4, 5), max_rollbacks=3))
    assert len(steps) == 13
    assert steps[3].driver.rollbacks == 3


def test_a_bad_start_is_not_rolled_back(cu_surrogate):
    steps = list(walk(biased(cu_surrogate), guards=Cliff(0), max_rollbacks=3))
    assert [step.status for step in steps] == ["volume"]


@pytest.mark.parametrize("error", ["raise", "nan"])
def test_the_bias_forgets_what_it_saw_of_a_broken_frame(cu_surrogate, error):
    """A calculator that fails once, by an exception or with NaN."""

    class FailsOnce(BiasedCalculator):
        def calculate(self, *arguments):
            super().calculate(*arguments)
            self.calls = getattr(self, "calls", 0) + 1
            if self.calls == 6:
                if error == "raise":
                    raise RuntimeError("no convergence")
                broken = TauHistory(6, float("nan"), float("nan"))
                self.tau_state = self.tau_state.followed_by(broken)
                self.results["forces"] = np.full((8, 3), np.nan)

    calculator = FailsOnce(cu_surrogate.calculator(), cu_surrogate, tau_rel=TauRule(0.2, delay=2))
    steps = list(walk(calculator, max_rollbacks=1, guards=Guards()))
    assert [step.status for step in steps] == ["running"] * 13
    assert [step.rolled_back for step in steps if step.rolled_back] == [
        "calculator_error" if error == "raise" else "nan"
    ]
    assert np.isfinite([step.prediction.tau for step in steps]).all()


@each_ensemble
@pytest.mark.parametrize("left_at", [2, 5, 8])
def test_resumed_equals_uninterrupted_around_a_rollback(cu_surrogate, ensemble, left_at):
    options = {"ensemble": ensemble, "max_rollbacks": 50}
    whole = list(walk(biased(cu_surrogate), guards=Hot(), **options))
    assert [step.step for step in whole if step.rolled_back]
    assert_same(resumed(cu_surrogate, left_at, guards=Hot(), **options), whole)


def test_resumed_where_a_frame_is_kept(cu_surrogate):
    options = {"max_rollbacks": 1, "n_steps": KEEP_INTERVAL + 2}
    whole = list(walk(biased(cu_surrogate), **options))
    assert_same(resumed(cu_surrogate, KEEP_INTERVAL, **options), whole)


class Hot(Guards):
    """Breaks where the atoms have gone far enough: a function of the frame alone."""

    def against(self, start):
        return self

    def violated(self, atoms, prediction=None):
        far = np.abs(atoms.positions - START.positions).max() > 0.05
        return "escaped" if far else None


def test_no_frames_are_kept_without_rollback(cu_surrogate):
    assert all(step.driver.frames == () for step in walk(biased(cu_surrogate)))
    *_, last = walk(biased(cu_surrogate), max_rollbacks=1, n_steps=KEEP_INTERVAL + 1)
    assert len(last.driver.frames) == 2
    assert replace(last.driver, frames=()).to_json()["frames"] == []


def test_explosion_is_survived_or_named(cu_surrogate):
    """A timestep that no surface survives: every rollback is used, then the reason is told."""
    *steps, end = walk(biased(cu_surrogate), timestep_fs=200.0, n_steps=300, max_rollbacks=4)
    assert end.driver.rollbacks == 4
    assert end.status in {"nan", "close_contact", "force", "temperature", "calculator_error"}
    assert sum(step.rolled_back is not None for step in steps) <= 4
