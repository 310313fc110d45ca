"""One evaluation as a value: what it holds, what it repeats, and what a calculator forgets."""

import weakref

import numpy as np
import pytest
from ase.calculators.emt import EMT
from helpers.differences import assert_close
from helpers.structures import copper

from ase_bayesel import BiasedCalculator, TauRule, Variance
from ase_bayesel.bias.evaluators import LinearEvaluator
from ase_bayesel.bias.tau import TauHistory
from ase_bayesel.bias.unbiased import UnbiasedCalculator
from ase_bayesel.errors import GenerationError

PATH = [copper(k, 0.2) for k in range(5)]
BIASES = {"whole": {}, "region": {"bias": Variance([0, 1])}}
LATER = ("forces", "bias_forces", "stress", "bias_stress", "force_std_bound")


class Counted:
    """Notes every forward pass of an evaluator, and which passes are still there."""

    def __init__(self, monkeypatch):
        self.passes, self.made, self.alive_before = weakref.WeakSet(), 0, []
        evaluate = LinearEvaluator.evaluate

        def counted(*arguments):
            self.alive_before.append(len(self.passes))
            made = evaluate(*arguments)
            self.passes.add(made)
            self.made += 1
            return made

        monkeypatch.setattr(LinearEvaluator, "evaluate", counted)


@pytest.fixture
def counted(monkeypatch):
    return Counted(monkeypatch)


def biased(surrogate, **options):
    options = {"tau": 0.5} | options if "tau_rel" not in options else options
    return BiasedCalculator(surrogate.calculator(), surrogate, **options)


@pytest.mark.parametrize("options", BIASES.values(), ids=BIASES)
def test_a_released_pass_is_made_again_with_the_same_result(cu_surrogate, counted, options):
    found = []
    for released in (False, True):
        calculator = biased(cu_surrogate, **options)
        calculator.get_stress(PATH[0])
        prediction = calculator.prediction
        assert len(counted.passes) == 1
        if released:
            prediction.release()
            assert len(counted.passes) == 0
        assert not prediction.separated
        before = counted.made
        _ = prediction.forces
        assert counted.made == before + released
        assert prediction.separated
        found.append([getattr(prediction, name) for name in LATER])
        assert counted.made == before + released + len(options)  # the bound of a region
        calculator.reset()
        assert len(counted.passes) == 0
    for one, two in zip(*found, strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_kept_prediction_does_not_keep_its_pass(cu_surrogate, counted):
    """Whoever collects predictions holds the pass of the last one only, and never two at once."""
    calculator = biased(cu_surrogate)
    atoms = PATH[0].copy()
    atoms.calc = calculator
    kept = []
    for frame in PATH:
        atoms.positions = frame.positions
        atoms.get_forces()
        kept.append(calculator.prediction)
        assert len(counted.passes) == 1
    assert counted.alive_before == [0] * len(PATH)
    for forget in (lambda: calculator.set_surrogate(cu_surrogate), calculator.restore):
        calculator.get_forces(PATH[0])
        kept.append(calculator.prediction)
        forget()
        assert len(counted.passes) == 0
        assert calculator.last_prediction is None


def test_parts_at_hand_need_no_pass(cu_surrogate, counted):
    calculator = biased(cu_surrogate, separate=True)
    calculator.get_stress(PATH[0])
    prediction = calculator.prediction
    assert prediction.separated
    assert len(counted.passes) == 0
    for name in LATER:
        assert getattr(prediction, name) is not None
    assert counted.made == 1
    np.testing.assert_array_equal(
        prediction.biased_forces, prediction.forces + prediction.bias_forces
    )


@pytest.mark.parametrize(
    "name",
    [
        *("uncertainty", "force_std", "force_std_bound", "stress_std"),
        *("local_energy_std", "extrapolated", "information_gain"),
    ],
)
def test_no_uncertainty_without_a_surrogate(name):
    calculator = UnbiasedCalculator(EMT())
    calculator.get_forces(PATH[0])
    prediction = calculator.prediction
    np.testing.assert_array_equal(prediction.forces, prediction.biased_forces)
    assert not prediction.bias_forces.any()
    assert (prediction.bias_energy, prediction.tau, prediction.known_force_std) == (0.0, 0.0, None)
    assert prediction.separated
    assert not prediction.searched
    with pytest.raises(GenerationError, match="without a surrogate"):
        getattr(prediction, name)
    with pytest.raises(GenerationError, match="without a surrogate"):
        prediction.leading_force(np.ones(len(PATH[0])))


# what a calculator forgets


@pytest.fixture
def grown(cu_surrogate):
    """A calculator with running averages, after the last frame of the path."""
    calculator = biased(cu_surrogate, tau_rel=TauRule(0.3, delay=2))
    for atoms in PATH:
        calculator.get_forces(atoms)
    assert calculator.tau_state.after.n == len(PATH)
    return calculator


def dropped(calculator):
    return calculator.results == {} and calculator.last_prediction is None


def test_reset_keeps_the_history(grown):
    state = grown.tau_state
    grown.reset()
    assert dropped(grown)
    assert grown.tau_state == state


def test_a_new_surrogate_keeps_the_start_and_on_request_the_averages(grown, cu_surrogate):
    newer, after = cu_surrogate.condition(PATH[0]), grown.tau_state.after
    grown.set_surrogate(newer, keep_averages=True)
    assert dropped(grown)
    assert grown.surrogate is newer
    assert grown.tau_state.after == after
    grown.surrogate = cu_surrogate
    assert dropped(grown)
    assert grown.tau_state.after == TauHistory(start_energy=after.start_energy)


def test_a_new_trajectory_keeps_nothing(grown, cu_surrogate):
    grown.restore()
    assert dropped(grown)
    assert grown.tau_state.after == TauHistory()
    assert grown.surrogate is cu_surrogate


def test_going_on_from_before_an_evaluation(grown, counted):
    """It is kept where it is the last one, and made again otherwise; tau is the same."""
    last, state, tau = PATH[-1], grown.tau_state, grown.prediction.tau
    prediction, forces = grown.prediction, grown.get_forces(last)
    grown.restore(last, state.before)
    assert grown.last_prediction is prediction
    assert grown.tau_state == state
    for atoms, history in ((None, state.before), (PATH[0], state.before)):
        grown.get_forces(last)
        grown.restore(atoms, history)
        assert dropped(grown)
        assert grown.tau_state.after == history
        np.testing.assert_array_equal(grown.get_forces(last), forces)
        assert grown.prediction.tau == tau
        assert grown.tau_state == state
    assert counted.made == 2
    grown.restore(last, TauHistory())
    assert dropped(grown)
    grown.get_forces(last)
    assert grown.prediction.tau == 0.0


def test_going_on_from_after_an_evaluation(grown, cu_surrogate, counted):
    grown.get_property("stress", PATH[-1])
    evaluated, made = grown.evaluated(PATH[-1]), counted.made
    other = biased(cu_surrogate, tau_rel=TauRule(0.3, delay=2))
    other.restore(PATH[-1], evaluated)
    assert other.tau_state == grown.tau_state
    np.testing.assert_array_equal(other.get_forces(PATH[-1]), grown.get_forces(PATH[-1]))
    np.testing.assert_array_equal(other.get_stress(PATH[-1]), grown.get_stress(PATH[-1]))
    assert counted.made == made
    assert_close(other.prediction.forces, grown.prediction.forces, 1e-10)
    other.restore(PATH[-1], None)
    assert dropped(other)
