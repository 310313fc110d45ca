from itertools import islice

import numpy as np
import pytest
from ase.calculators.calculator import CalculatorSetupError
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from helpers.calculators import Opaque
from helpers.structures import cluster, copper

from ase_bayesel import BiasedCalculator, EnergyTrigger, ForceTrigger, Guards, Langevin, run_walker

START = copper(1, 0.05, repeat=(1, 1, 2))
NAMES = {"nan", "close_contact", "force", "temperature", "calculator_error"}


@pytest.fixture
def calculator(cu_surrogate):
    return BiasedCalculator(cu_surrogate.calculator(), cu_surrogate, tau=0.5)


def walk(calculator, atoms=START, seed=0, **options):
    defaults = {"n_steps": 12, "temperature_K": 600.0, "rng": np.random.default_rng(seed)}
    return run_walker(atoms, calculator, **(defaults | options))


def positions(steps):
    return np.array([step.atoms.positions for step in steps])


def momenta(steps):
    return np.array([step.atoms.get_momenta() for step in steps])


def test_steps_of_a_run(calculator):
    before = START.copy()
    steps = list(walk(calculator))
    assert before == START
    assert [step.step for step in steps] == list(range(13))
    assert {step.status for step in steps} == {"running"}
    assert all(step.reports == () and step.fired is None for step in steps)
    np.testing.assert_array_equal(steps[0].atoms.positions, START.positions)
    assert (np.abs(np.diff(positions(steps), axis=0)).max(axis=(1, 2)) > 0).all()


def test_prediction_belongs_to_the_snapshot(calculator, cu_surrogate):
    for step in walk(calculator, n_steps=4):
        energy = cu_surrogate.energy(step.atoms)
        assert step.prediction.energy == pytest.approx(energy, rel=1e-12)
        assert step.temperature_K == pytest.approx(step.atoms.get_temperature())
        assert step.atoms.calc is None


def test_snapshots_are_independent(calculator):
    steps = []
    for step in walk(calculator, n_steps=5):
        steps.append((step, step.atoms.positions.copy()))
        step.atoms.rattle(0.5, rng=np.random.default_rng(0))
        step.atoms.positions[:] = steps[-1][1]
    for step, kept in steps:
        np.testing.assert_array_equal(step.atoms.positions, kept)


def test_same_seed_same_trajectory(calculator):
    first, second, other = (list(walk(calculator, seed=seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(positions(first), positions(second))
    np.testing.assert_array_equal(momenta(first), momenta(second))
    assert np.abs(positions(first) - positions(other)).max() > 1e-3


def test_global_random_state_is_untouched(calculator):
    before = np.random.get_state()[1].copy()  # noqa: NPY002 (only looked at)
    list(walk(calculator))
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.parametrize("left_at", [0, 1, 5])
def test_two_runs_equal_one_bit_for_bit(cu_surrogate, left_at):
    def fresh():
        return BiasedCalculator(cu_surrogate.calculator(), cu_surrogate, tau=0.5)

    whole = list(walk(fresh()))
    rng = np.random.default_rng(0)
    first = list(islice(walk(fresh(), rng=rng), left_at + 1))
    rest = list(walk(fresh(), first[-1].atoms.copy(), rng=rng, first_step=left_at))
    assert [step.step for step in rest] == list(range(left_at, 13))
    np.testing.assert_array_equal(positions(rest), positions(whole[left_at:]))
    np.testing.assert_array_equal(momenta(rest), momenta(whole[left_at:]))


def test_momenta_are_drawn_only_if_all_are_zero(calculator):
    drawn = next(walk(calculator, temperature_K=900.0)).atoms
    assert 100 < drawn.get_temperature() < 3000
    moving = START.copy()
    moving.set_momenta(np.full((8, 3), 0.5))
    np.testing.assert_array_equal(
        next(walk(calculator, moving)).atoms.get_momenta(), moving.get_momenta()
    )


def test_nothing_moves_at_a_vanishing_timestep(calculator):
    steps = list(walk(calculator, timestep_fs=1e-9, n_steps=3))
    np.testing.assert_allclose(positions(steps)[-1], START.positions, atol=1e-6)


@pytest.mark.slow
def test_thermostat_reaches_its_temperature(cu_surrogate):
    calculator = BiasedCalculator(cu_surrogate.calculator(), cu_surrogate, tau=0.0)
    start = copper(1, 0.02, repeat=(2, 2, 2))
    steps = walk(
        calculator,
        start,
        n_steps=400,
        temperature_K=300.0,
        ensemble=Langevin(0.05),
        timestep_fs=3.0,
    )
    temperatures = [step.temperature_K for step in steps][100:]
    assert np.mean(temperatures) == pytest.approx(300.0, rel=0.15)


def test_bias_drives_towards_uncertainty(cu_surrogate):
    mean_std = []
    for tau in (0.0, 5.0):
        calculator = BiasedCalculator(cu_surrogate.calculator(), cu_surrogate, tau=tau)
        steps = list(walk(calculator, temperature_K=300.0, n_steps=60, timestep_fs=2.0))
        mean_std.append(np.mean([step.prediction.energy_std for step in steps]))
    assert mean_std[1] > mean_std[0]


# triggers


def test_the_start_never_triggers_and_the_interval_is_absolute(calculator):
    triggers = [ForceTrigger(1e9), EnergyTrigger(-1.0), ForceTrigger(-1.0)]
    steps = list(walk(calculator, triggers=triggers, check_interval=4))
    assert [step.step for step in steps if step.reports] == [4, 8, 12]
    assert {len(step.reports) for step in steps} == {0, 3}
    assert steps[4].fired is steps[4].reports[1]
    later = list(walk(calculator, triggers=triggers, check_interval=4, first_step=8))
    assert [step.step for step in later if step.reports] == [12]


def test_a_trigger_reports_the_unbiased_prediction(cu_surrogate):
    calculator = BiasedCalculator(cu_surrogate.calculator(), cu_surrogate, tau=3.0)
    *_, last = walk(calculator, triggers=[ForceTrigger(0.0)], n_steps=2)
    expected = cu_surrogate.uncertainty(last.atoms).forces
    assert last.fired.value == pytest.approx(expected.max())
    assert last.fired.atom_index == np.argmax(expected)


# the end of a trajectory that went wrong


def assert_ended_sanely(steps, names=NAMES):
    """A named end, once, with the last sane frame."""
    *sane, end = steps
    assert {step.status for step in sane} == {"running"}
    assert end.status in names
    assert end.step == sane[-1].step + 1
    assert end.fired is None
    np.testing.assert_array_equal(end.atoms.positions, sane[-1].atoms.positions)
    assert np.isfinite(end.atoms.positions).all()
    assert np.isfinite(end.temperature_K)
    assert end.prediction is sane[-1].prediction
    assert Guards().violated(end.atoms, end.prediction) is None


def test_huge_timestep(calculator):
    steps = list(walk(calculator, timestep_fs=200.0, n_steps=500, triggers=[ForceTrigger(1e9)]))
    assert_ended_sanely(steps)
    assert len(steps) < 500


def test_exploding_cluster(calculator):
    """Without periodic images the fragments fly far apart."""
    start = cluster("Cu5", 4)
    steps = list(walk(calculator, start, timestep_fs=1e4, n_steps=50))
    assert_ended_sanely(steps)


def test_huge_bias(cu_surrogate):
    calculator = BiasedCalculator(cu_surrogate.calculator(), cu_surrogate, tau=0.0)
    gentle = next(walk(calculator))
    assert gentle.status == "running"
    calculator.tau = 1e4
    steps = list(walk(calculator, n_steps=500, guards=Guards(max_force=None)))
    assert_ended_sanely(steps, {"close_contact", "temperature", "nan"})
    steps = list(walk(calculator, n_steps=500))
    assert steps[-1].status == "force"


def test_temperature_guard_ends_a_run(calculator):
    guards = Guards(max_temperature_K=1200.0)
    steps = list(
        walk(
            calculator,
            temperature_K=3000.0,
            n_steps=500,
            ensemble=Langevin(0.2),
            guards=guards,
            atoms=walk_start_at(300.0),
        )
    )
    assert steps[-1].status == "temperature"
    assert steps[-1].temperature_K < 1200.0


def walk_start_at(temperature_K):
    atoms = START.copy()
    momenta = np.random.default_rng(0).normal(size=(8, 3))
    atoms.set_momenta(momenta)
    atoms.set_momenta(momenta * np.sqrt(temperature_K / atoms.get_temperature()))
    return atoms


def test_overlapping_start_is_yielded_once_with_its_reason(calculator):
    overlapping = START.copy()
    overlapping.positions[1] = overlapping.positions[0] + [0.0, 0.0, 0.6]
    steps = list(walk(calculator, overlapping, triggers=[ForceTrigger(0.0)]))
    assert [step.status for step in steps] == ["close_contact"]
    assert steps[0].step == 0
    assert steps[0].reports == ()


def test_failing_calculator_ends_a_run(cu_surrogate):
    class FailsLater(Opaque):
        """A stand-in: no ordinary calculator fails at a chosen step."""

        def calculate(self, *arguments):
            self.calls = getattr(self, "calls", 0) + 1
            if self.calls > 4:
                raise CalculatorSetupError("no convergence")
            super().calculate(*arguments)

    steps = list(walk(BiasedCalculator(FailsLater(EMT()), cu_surrogate, tau=0.5)))
    assert_ended_sanely(steps, {"calculator_error"})
    assert 1 < len(steps) < 12


def test_calculator_that_fails_at_once_raises(cu_surrogate):
    """EMT has no silicon, the surrogate neither: that is a mistake, not an explosion."""
    atoms = START.copy()
    atoms.symbols[:] = "Si"
    with pytest.raises(Exception, match="Si"):
        list(walk(BiasedCalculator(EMT(), cu_surrogate, tau=0.5), atoms))


# constraints


def test_fixed_atoms_stay(calculator):
    atoms = START.copy()
    atoms.set_constraint(FixAtoms([0, 3]))
    steps = list(walk(calculator, atoms, temperature_K=900.0))
    moved = np.abs(positions(steps)[-1] - atoms.positions).max(axis=1)
    assert moved[[0, 3]].tolist() == [0.0, 0.0]
    assert (moved[[1, 2, 4, 5, 6, 7]] > 1e-3).all()
    assert steps[-1].atoms.constraints[0].index.tolist() == [0, 3]
    assert np.abs(steps[-1].prediction.forces[[0, 3]]).max() > 1e-3


def test_fixed_atoms_and_two_runs(calculator):
    atoms = START.copy()
    atoms.set_constraint(FixAtoms([0, 3]))
    whole = list(walk(calculator, atoms))
    rng = np.random.default_rng(0)
    first = list(islice(walk(calculator, atoms, rng=rng), 7))
    rest = list(walk(calculator, first[-1].atoms, rng=rng, first_step=6))
    np.testing.assert_array_equal(positions(rest), positions(whole[6:]))
