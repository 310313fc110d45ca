"""The search for the largest force uncertainty, lazy triggers, and a few leading force rows."""

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from ase.calculators.emt import EMT
from helpers.differences import assert_close
from helpers.lockstep import RULES, explored, setup_for, started
from helpers.mace_models import mace_calculator, needs_mace, tiny_mace
from helpers.structures import copper, copper_training
from hypothesis import given
from hypothesis import strategies as st

from ase_bayesel import (
    BiasedCalculator,
    EnergyTrigger,
    ForceTrigger,
    MACEDescriptor,
    RelativeForceTrigger,
    fit_surrogate,
    run_walker,
)
from ase_bayesel.dynamics.triggers import MARGIN, MEMORY, LazyCheck, TriggerReport
from ase_bayesel.errors import PosteriorError
from ase_bayesel.surrogate.design import Noise, property_rows
from ase_bayesel.surrogate.force_uncertainty import (
    ForceSearch,
    LeadingForce,
    leading_force,
    leading_force_rows,
)

pytestmark = needs_mace

LARGE = copper(1, 0.15, repeat=(1, 2, 2))
START = copper(1, 0.05, repeat=(1, 1, 2))
FRAMES = [copper(seed, std, repeat=(1, 2, 2)) for seed in range(5) for std in (0.05, 0.2)]


@pytest.fixture(scope="module")
def model():
    return tiny_mace(irreps="12x0e+12x1o")


@pytest.fixture(scope="module")
def surrogate(model):
    fitted = fit_surrogate(
        copper_training()[:3], MACEDescriptor(mace_calculator(model)), e0s="average"
    )
    return replace(fitted, noise=Noise(0.1, 0.1, 0.1))


@pytest.fixture(scope="module")
def passes(surrogate):
    """One forward pass for each frame, and its exact force deviations."""
    return [(surrogate.descriptor.forward(f), surrogate.uncertainty(f).forces) for f in FRAMES]


def biased(model, surrogate, **options):
    return BiasedCalculator(mace_calculator(model), surrogate, **({"tau": 0.5} | options))


def predicted(calculator, atoms=LARGE):
    calculator.get_forces(atoms)
    return calculator.prediction


def walk(calculator, trigger, atoms=START, **options):
    defaults = {
        "n_steps": 60,
        "temperature_K": 1500.0,
        "rng": np.random.default_rng(0),
        "timestep_fs": 2.0,
        "triggers": [trigger],
        "check_interval": 2,
    }
    return run_walker(atoms, calculator, **(defaults | options))


def search(surrogate, atoms, scales, **options):
    return ForceSearch(**options)(surrogate.descriptor, surrogate.posterior, atoms, scales)


# the search


@given(st.integers(0, 2**32 - 1))
def test_pushforward_is_the_transpose_of_the_gradient(passes, seed):
    one, _ = passes[0]
    rng = np.random.default_rng(seed)
    moves, cotangent = rng.normal(size=(2, len(LARGE), 3)), rng.normal(size=len(one.phi))
    backward = np.sum(one.gradient(0.0, cotangent).positions * moves, axis=(1, 2))
    assert_close(one.pushforward(moves) @ cotangent, backward, 1e-10)


def test_squares_of_the_estimate_are_unbiased(surrogate, passes):
    one, exact = passes[0]
    rng = np.random.default_rng(0)
    squares = [ForceSearch().estimate(one, surrogate.posterior, rng) ** 2 for _ in range(40)]
    error = np.std(squares, axis=0) / np.sqrt(len(squares))
    assert (np.abs(np.mean(squares, axis=0) - exact**2) < 4 * error).all()
    assert (error < 0.25 * exact**2).all()


def test_estimate_with_a_full_basis_is_exact(surrogate, passes):
    one, exact = passes[0]
    every = ForceSearch(n_probes=1000)
    estimate = every.estimate(one, surrogate.posterior, np.random.default_rng(0))
    assert_close(estimate, exact, 1e-8)


@pytest.mark.parametrize("scale", ["absolute", "relative"])
def test_value_is_exact_for_the_named_atom(surrogate, passes, scale):
    ratios = []
    for number, (atoms, (_, exact)) in enumerate(zip(FRAMES, passes, strict=True)):
        scales = np.ones(len(atoms))
        if scale == "relative":
            scales = np.random.default_rng(number).uniform(0.2, 2.0, len(atoms))
        atom, force_std = search(surrogate, atoms, scales)
        assert force_std == pytest.approx(exact[atom], rel=1e-8)
        ratios.append(force_std / scales[atom] / (exact / scales).max())
    assert max(ratios) <= 1 + 1e-8
    assert min(ratios) > 0.7
    assert np.median(ratios) > 0.95


def test_small_structures_and_many_candidates_are_exact(surrogate):
    for atoms, n_candidates in ((copper(3, 0.2), 2), (LARGE, len(LARGE))):
        scales = np.linspace(0.5, 2.0, len(atoms))
        expected = leading_force(surrogate.uncertainty(atoms).forces, scales)
        found = search(surrogate, atoms, scales, n_candidates=n_candidates)
        assert found.atom == expected.atom
        assert found.force_std == pytest.approx(expected.force_std, rel=1e-8)


def test_same_structure_same_answer(surrogate):
    scales = np.ones(len(LARGE))
    assert search(surrogate, LARGE, scales) == search(surrogate, LARGE.copy(), scales)


def test_wrong_numbers():
    for options in ({"n_probes": 0}, {"n_candidates": 0}):
        with pytest.raises(ValueError, match="at least 1"):
            ForceSearch(**options)


def test_nan_leads():
    values = np.array([1.0, np.nan, 3.0])
    assert leading_force(values, np.ones(3)).atom == 1


# predictions


@pytest.mark.parametrize("tau", [0.0, 0.7])
@pytest.mark.parametrize("separate", [False, True])
def test_bound_and_search_of_a_prediction(model, surrogate, tau, separate):
    found = predicted(biased(model, surrogate, tau=tau, separate=separate))
    exact = surrogate.uncertainty(LARGE).forces
    assert (found.force_std_bound <= exact * (1 + 1e-9)).all()
    if tau:
        assert_close(found.force_std_bound, np.linalg.norm(found.bias_forces, axis=1) / tau, 1e-9)
    assert found.searched
    scales = np.ones(len(LARGE))
    assert found.leading_force(scales) == search(surrogate, LARGE, scales)
    assert_close(found.force_std, exact, 1e-9)
    assert not found.searched
    assert found.leading_force(scales) == leading_force(found.force_std, scales)


def test_exact_on_request_and_for_features_of_no_network(model, surrogate, cu_surrogate):
    for calculator in (
        biased(model, surrogate, force_search=None),
        BiasedCalculator(EMT(), cu_surrogate, tau=0.1),
        BiasedCalculator(cu_surrogate.calculator(), cu_surrogate, tau=0.1),
    ):
        found = predicted(calculator, FRAMES[1])
        assert not found.searched
        expected = calculator.surrogate.uncertainty(FRAMES[1]).forces
        report = ForceTrigger(0.1)(found, FRAMES[1])
        assert report.value == expected.max()
        assert report.atom_index == np.argmax(expected)
        assert (found.force_std_bound <= expected * (1 + 1e-9)).all()


# lazy triggers


def seen(value, bound, atoms=2):
    """What a lazy check looks at in a prediction."""
    return SimpleNamespace(
        searched=True,
        biased_forces=np.zeros((atoms, 3)),
        force_std_bound=np.full(atoms, bound),
        leading_force=lambda scales: LeadingForce(0, value),
    )


def test_lazy_check_learns_from_its_evaluations():
    check = LazyCheck(ForceTrigger(1.0))
    report, check = check(seen(0.4, 0.1), None)
    assert report.value == 0.4
    indicator = np.sqrt(3) * 0.1
    assert check.ratios == (pytest.approx(0.4 / indicator),)
    assert check(seen(9.0, 0.99 * 0.1 / (0.4 * MARGIN)), None) == (None, check)
    report, check = check(seen(9.0, 1.01 * 0.1 / (0.4 * MARGIN)), None)
    assert report.fired
    assert len(check.ratios) == 2
    for _ in range(5):
        _, check = check(seen(2.0, 1.0), None)
    assert len(check.ratios) == MEMORY


@pytest.mark.parametrize("bound", [np.nan, np.inf])
def test_what_is_not_finite_is_evaluated(bound):
    _, check = LazyCheck(ForceTrigger(1.0))(seen(1e-3, 1.0), None)
    for prediction in (seen(np.nan, 1e-3), seen(0.1, bound)):
        first, _ = LazyCheck(ForceTrigger(1.0))(prediction, None)
        assert first is not None
    report, _ = check(seen(0.1, bound), None)
    assert report is not None
    for prediction in (seen(np.nan, 1.0), seen(0.1, np.nan), seen(0.1, np.inf), seen(0.0, 0.0)):
        _, unchanged = LazyCheck(ForceTrigger(1.0))(prediction, None)
        assert unchanged.ratios == ()


def test_exact_predictions_and_other_triggers_are_never_skipped(cu_surrogate):
    calculator = BiasedCalculator(cu_surrogate.calculator(), cu_surrogate, tau=0.5)
    steps = list(walk(calculator, ForceTrigger(1e9), triggers=[ForceTrigger(1e9)], n_steps=6))
    assert [len(step.reports) for step in steps] == [0, 0, 1, 0, 1, 0, 1]


@pytest.fixture(scope="module", params=[0.0, 1.0], ids=["unbiased", "biased"])
def checked(request, model, surrogate):
    """Every other step of real MD: what a lazy check sees, and the exact deviations."""
    calculator = biased(model, surrogate, tau=request.param)
    found = []
    for step in walk(calculator, None, triggers=[], n_steps=32):
        if step.step and step.step % 2 == 0:
            prediction = step.prediction
            shown = SimpleNamespace(
                searched=True,
                forces=prediction.forces,
                biased_forces=prediction.biased_forces,
                force_std_bound=prediction.force_std_bound,
                leading_force=cache(lambda scales, one=prediction: one.leading_force(scales)),
            )
            found.append((shown, surrogate.uncertainty(step.atoms).forces))
    return found


def cache(function):
    """Remembers the answer of a function of one array."""
    known = {}

    def call(array):
        key = array.tobytes()
        if key not in known:
            known[key] = function(array)
        return known[key]

    return call


@pytest.mark.parametrize("make", [ForceTrigger, RelativeForceTrigger])
def test_lazy_trigger_fires_where_the_exact_one_does(checked, make):
    """For thresholds that are reached early, late and never."""
    exact = [(deviations / make(1.0).scales(shown)).max() for shown, deviations in checked]
    skipped = 0
    for threshold in (*np.quantile(exact, [0.3, 0.5, 0.7, 0.9]), 2 * max(exact)):
        check, fired = LazyCheck(make(threshold)), None
        for number, (shown, _) in enumerate(checked):
            report, check = check(shown, None)
            skipped += report is None
            if report is not None and report.fired:
                fired = number
                break
        due = next((k for k, value in enumerate(exact) if value > threshold), None)
        assert (fired is None) == (due is None)
        assert fired is None or due <= fired <= due + 1
    assert skipped > 10


def test_a_new_surrogate_is_checked_at_once(model, surrogate):
    calculator = biased(model, surrogate)
    evaluated = []
    for step in walk(calculator, ForceTrigger(1e9), n_steps=10):
        if step.step == 6:
            calculator.surrogate = surrogate.condition(step.atoms)
        if step.reports:
            evaluated.append(step.step)
    assert evaluated == [2, 8]


def test_values_that_are_not_finite_end_a_walker(model, surrogate):
    class Wrong(EnergyTrigger):
        def __call__(self, prediction, atoms):
            return TriggerReport("wrong", np.nan, 1.0, False)

    class Failing(EnergyTrigger):
        def __call__(self, prediction, atoms):
            raise PosteriorError("rows: hold values that are not finite")

    for trigger, status in ((Wrong(1.0), "nan"), (Failing(1.0), "calculator_error")):
        *sane, end = walk(biased(model, surrogate), trigger)
        assert [step.status for step in sane] == ["running", "running"]
        assert (end.step, end.status, end.reports) == (2, status, ())
        np.testing.assert_array_equal(end.atoms.positions, sane[-1].atoms.positions)


# exploration


@pytest.mark.slow
def test_turns_with_a_search_can_be_taken_up_again(model, surrogate):
    pilot = walk(biased(model, surrogate), RelativeForceTrigger(1e9), lazy=False, n_steps=20)
    threshold = 1.1 * max(step.reports[0].value for step in pilot if step.reports)
    setup = replace(
        setup_for(
            surrogate,
            RelativeForceTrigger(threshold),
            n_steps=30,
            check_interval=2,
            rules=replace(RULES, turns=True),
        ),
        make_calculator=partial(biased, model),
    )
    first, conditioned = explored(setup, started([START, START]), limit=1)
    after = first[-1]
    (*_, whole), _ = explored(setup, after, 2, conditioned)
    (*_, again), _ = explored(setup, after, 2, conditioned)
    np.testing.assert_array_equal(whole.trace, again.trace)
    assert len(whole.trace) > len(after.trace)
    assert len(after.picks) == 1
    (pick,) = after.picks
    assert pick.deviations.force_std is None  # a search knows the leading atom's only
    deviations = surrogate.uncertainty(pick.structure).forces
    bound = pick.deviations.force_std_bound
    assert ((bound >= 0) & (bound <= deviations * (1 + 1e-6))).all()
    local = surrogate.local_energy_std(pick.structure)
    assert_close(pick.deviations.local_energy_std, local, 1e-5)
    assert 0 <= pick.report.atom_index < len(START)
    assert pick.report.value <= (deviations / 0.2).max()


# a few leading force rows


def force_rows(surrogate, atoms):
    features = surrogate.descriptor.compute([atoms], derivatives=True)[0]
    return property_rows(features, "forces")


@pytest.mark.parametrize("n_rows", [1, 5])
def test_few_rows_are_orthonormal_combinations_of_all(surrogate, n_rows):
    every = force_rows(surrogate, LARGE)
    few = leading_force_rows(surrogate.descriptor, surrogate.posterior, LARGE, n_rows)
    assert few.shape == (n_rows, surrogate.posterior.n_features)
    rest = every.T @ every - few.T @ few
    assert np.linalg.eigvalsh(rest).min() > -1e-9 * np.linalg.norm(every) ** 2
    again = leading_force_rows(surrogate.descriptor, surrogate.posterior, LARGE.copy(), n_rows)
    np.testing.assert_array_equal(again, few)


def test_few_rows_say_more_than_random_ones(surrogate):
    every = force_rows(surrogate, LARGE) / 0.1
    few = leading_force_rows(surrogate.descriptor, surrogate.posterior, LARGE, 6) / 0.1
    gain = surrogate.posterior.information_gain
    rng = np.random.default_rng(0)
    random = [np.linalg.qr(rng.normal(size=(len(every), 6)))[0].T @ every for _ in range(5)]
    left, _, _ = np.linalg.svd(surrogate.posterior.whiten(every).T, full_matrices=False)
    best = gain(left[:, :6].T @ every)
    assert max(map(gain, random)) < gain(few) <= best <= gain(every)
    assert gain(few) > 0.7 * best


def test_conditioning_on_few_rows_never_claims_more(surrogate):
    exact, few = surrogate.condition(LARGE), surrogate.condition(LARGE, force_rows=5)
    probes = np.vstack([force_rows(surrogate, atoms) for atoms in (LARGE, FRAMES[0])])
    before, after, all_rows = (
        known.posterior.variance(probes) for known in (surrogate, few, exact)
    )
    assert (all_rows <= after * (1 + 1e-9)).all()
    assert (after <= before * (1 + 1e-9)).all()
    assert surrogate.posterior.logdet < few.posterior.logdet < exact.posterior.logdet
    assert few.energy_std(LARGE) < surrogate.energy_std(LARGE)
    np.testing.assert_array_equal(few.posterior.mean, surrogate.posterior.mean)


def test_as_many_rows_as_there_are_is_exact(surrogate):
    atoms = copper(5, 0.2)
    exact, every = surrogate.condition(atoms), surrogate.condition(atoms, force_rows=1000)
    gram = every.posterior.precision_factor.T @ every.posterior.precision_factor
    expected = exact.posterior.precision_factor.T @ exact.posterior.precision_factor
    assert_close(gram, expected, 1e-8)


def test_few_rows_need_a_network_and_forces(surrogate, cu_surrogate):
    with pytest.raises(ValueError, match="n_rows"):
        surrogate.condition(LARGE, force_rows=0)
    with pytest.raises(ValueError, match="network"):
        cu_surrogate.condition(LARGE, force_rows=3)
    with pytest.raises(ValueError, match="forces"):
        replace(surrogate, properties=("energy",)).condition(LARGE, force_rows=3)
