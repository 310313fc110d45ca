"""Walkers in lock-step against single ones."""

import signal
import threading
import time
import weakref
from collections import defaultdict
from itertools import islice

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from helpers.calculators import Opaque
from helpers.differences import assert_close
from helpers.mace_models import mace_calculator, needs_mace, tiny_mace
from helpers.structures import cluster, copper, copper_training, with_pbc
from hypothesis import given
from hypothesis import strategies as st

from ase_bayesel import (
    BiasedCalculator,
    CellMove,
    Distance,
    EnergyTrigger,
    Guards,
    Harmonic,
    MACEDescriptor,
    Ramp,
    RelativeForceTrigger,
    TauRule,
    fit_surrogate,
    run_walker,
    run_walkers,
)
from ase_bayesel.bias.batching import call_batched
from ase_bayesel.descriptors.base import Combination
from ase_bayesel.descriptors.torch.passes import TorchPass
from ase_bayesel.errors import DescriptorError

pytestmark = needs_mace

STARTS = [
    copper(21, 0.05),
    cluster("Cu5", 4),
    with_pbc(copper(22, 0.05), (True, True, False)),
    Atoms("Cu2", [[0, 0, 0], [0.3, 0.2, 2.3]]),
    copper(23, 0.05, repeat=(1, 1, 2)),
]
N_STEPS = [11, 9, 11, 5, 10]
GUARDS = Guards(max_force=1e3)


@pytest.fixture(scope="module")
def model():
    return tiny_mace()


@pytest.fixture(scope="module")
def surrogate(model):
    return fit_surrogate(copper_training(), MACEDescriptor(mace_calculator(model)), e0s="average")


@pytest.fixture(scope="module")
def single(model, surrogate):
    """The steps of each walker run on its own."""
    return [list(walker) for walker in walkers_on(biased(model, surrogate))]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def biased(model, surrogate, number=5, wrap=lambda mlip: mlip, **options):
    mlip = wrap(mace_calculator(model))
    return [BiasedCalculator(mlip, surrogate, **(options or {"tau": 0.3})) for _ in range(number)]


def walkers_on(calculators, starts=STARTS, lengths=N_STEPS, **options):
    return [
        run_walker(
            atoms,
            calculator,
            n_steps=n_steps,
            temperature_K=400.0 + 100 * k,
            rng=np.random.default_rng(k),
            **({"guards": GUARDS} | options),
        )
        for k, (atoms, calculator, n_steps) in enumerate(
            zip(starts, calculators, lengths, strict=False)
        )
    ]


def by_walker(lockstep):
    """The steps of each walker, from a whole run."""
    found = defaultdict(list)
    for steps in lockstep:
        assert list(steps) == sorted(steps)
        for k, step in steps.items():
            found[k].append(step)
    return list(found.values())


def assert_same_walkers(found, expected, relative=1e-8):
    assert [len(steps) for steps in found] == [len(steps) for steps in expected]
    for ours, theirs in zip(found, expected, strict=True):
        for one, two in zip(ours, theirs, strict=True):
            assert (one.step, one.status) == (two.step, two.status)
            assert_close(one.atoms.positions, two.atoms.positions, relative)
            assert_close(one.atoms.get_momenta(), two.atoms.get_momenta(), relative)
            assert one.prediction.tau == pytest.approx(two.prediction.tau, rel=relative)
            for mine, other in zip(one.reports, two.reports, strict=True):
                assert mine.value == pytest.approx(other.value, rel=relative)
                assert mine.fired == other.fired


def count_passes(monkeypatch):
    """Sizes of all forward passes, numbers of structures in all backward passes, and threads."""
    forwards, backwards, threads = [], [], set()
    forward = MACEDescriptor.forward_batch
    gradients = TorchPass.gradients

    def counted_forward(self, frames):
        forwards.append(len(frames))
        threads.add(threading.current_thread())
        return forward(self, frames)

    def counted_gradients(self, wanted, last=False):
        backwards.append(len(wanted))
        threads.add(threading.current_thread())
        return gradients(self, wanted, last)

    monkeypatch.setattr(MACEDescriptor, "forward_batch", counted_forward)
    monkeypatch.setattr(TorchPass, "gradients", counted_gradients)
    return forwards, backwards, threads


# the same trajectories


def test_restrained_walkers(model, surrogate):
    pull = Harmonic(Distance((0, 1)), Ramp(((0, 2.4), (4, 2.7))), 5.0)
    options = {"lengths": [4, 3], "restraints": (pull,)}
    single = [list(walker) for walker in walkers_on(biased(model, surrogate, 2), **options)]
    calculators = biased(model, surrogate, 2)
    found = by_walker(run_walkers(walkers_on(calculators, **options), calculators))
    assert_same_walkers(found, single)
    for ours, theirs in zip(found[0], single[0], strict=True):
        assert ours.restraints.energy == pytest.approx(theirs.restraints.energy, rel=1e-8)
    assert max(step.restraints.energy for step in found[0]) > 0.01


@pytest.mark.parametrize(
    ("options", "limit"),
    [
        ({"tau": 0.3}, 9),
        ({"tau": 0.3, "separate": True}, 1000),
        ({"tau_rel": TauRule(0.3, 2, interval=3)}, 1000),
    ],
    ids=["combined", "separate", "tau_rel"],
)
def test_lockstep_equals_single_walkers(monkeypatch, model, surrogate, options, limit):
    """Unequal sizes, lengths and periodicities; batches of some and of all."""
    monkeypatch.setitem(MACEDescriptor.walker_atoms, "cpu", limit)
    triggers = {"triggers": [RelativeForceTrigger(0.1)], "check_interval": 4}
    calculators = biased(model, surrogate, **options)
    found = by_walker(run_walkers(walkers_on(calculators, **triggers), calculators))
    single = [list(w) for w in walkers_on(biased(model, surrogate, **options), **triggers)]
    assert [len(steps) for steps in found] == [n + 1 for n in N_STEPS]
    assert_same_walkers(found, single)


@pytest.mark.slow
def test_longer_lockstep_equals_single_walkers(model, surrogate):
    calculators = biased(model, surrogate)
    lengths = [60] * len(STARTS)
    found = by_walker(run_walkers(walkers_on(calculators, lengths=lengths), calculators))
    single = [list(w) for w in walkers_on(biased(model, surrogate), lengths=lengths)]
    assert_same_walkers(found, single)
    assert max(map(len, found)) == 61


def test_unfused_lockstep_needs_no_threads(monkeypatch, model, surrogate, cu_surrogate, single):
    """A foreign MLIP, and a linear one: each walker is evaluated alone."""
    monkeypatch.setattr(threading.Thread, "start", lambda self: pytest.fail("a thread"))
    for mlip in (EMT(), cu_surrogate.calculator()):
        calculators = [BiasedCalculator(mlip, cu_surrogate, tau=0.3) for _ in STARTS]
        assert not any(calculator.batchable for calculator in calculators)
        found = by_walker(run_walkers(walkers_on(calculators), calculators))
        expected = [list(walker) for walker in walkers_on(calculators)]
        assert_same_walkers(found, expected, 1e-12)
    foreign = biased(model, surrogate, wrap=Opaque)
    assert_same_walkers(by_walker(run_walkers(walkers_on(foreign), foreign)), single)


def test_batched_and_foreign_walkers_together(model, surrogate, single):
    calculators = biased(model, surrogate, 4) + biased(model, surrogate, 1, wrap=Opaque)
    found = by_walker(run_walkers(walkers_on(calculators), calculators))
    assert_same_walkers(found, single)


def test_lockstep_repeats_itself_exactly(model, surrogate):
    runs, lengths = [], [4, 2, 4, 4, 3]
    for _ in range(2):
        calculators = biased(model, surrogate)
        lockstep = run_walkers(walkers_on(calculators, lengths=lengths), calculators)
        runs.append(by_walker(lockstep))
    for ours, theirs in zip(*runs, strict=True):
        np.testing.assert_array_equal(ours[-1].atoms.positions, theirs[-1].atoms.positions)


# one posterior


def test_a_pick_updates_all(model, surrogate):
    """Like single walkers that adopt the same surrogates at the same steps."""
    calculators = biased(model, surrogate, tau_rel=TauRule(0.5, 2, interval=2))
    triggers = {"triggers": [EnergyTrigger(0.0)], "check_interval": 5}
    shared, found, history = surrogate, [[] for _ in STARTS], {0: surrogate}
    for number, steps in enumerate(run_walkers(walkers_on(calculators, **triggers), calculators)):
        for k, step in steps.items():
            found[k].append(step)
        fired = [step.atoms for step in steps.values() if step.fired]
        if fired:
            shared = history[number + 1] = shared.condition(fired)
            for calculator in calculators:
                calculator.set_surrogate(shared, keep_averages=True)
    assert list(history) == [0, 6, 11]
    singles = biased(model, surrogate, tau_rel=TauRule(0.5, 2, interval=2))
    expected = [[] for _ in STARTS]
    for k, walker in enumerate(walkers_on(singles, **triggers)):
        for number, step in enumerate(walker):
            expected[k].append(step)
            if number + 1 in history:
                singles[k].set_surrogate(history[number + 1], keep_averages=True)
    assert_same_walkers(found, expected)
    assert found[0][7].prediction.tau > 0
    alone = [list(walker) for walker in walkers_on(biased(model, surrogate), **triggers)]
    assert found[0][6].prediction.energy_std < alone[0][6].prediction.energy_std


# shared passes


def test_each_step_is_one_pass_each_way(monkeypatch, model, surrogate):
    monkeypatch.setitem(MACEDescriptor.walker_atoms, "cpu", 1000)
    calculators = biased(model, surrogate)
    forwards, backwards, threads = count_passes(monkeypatch)
    list(run_walkers(walkers_on(calculators), calculators))
    living = [sum(n >= k for n in N_STEPS) for k in range(12)]
    assert forwards == backwards == living
    assert threads == {threading.current_thread()}


def test_unbiased_forces_within_a_trigger_share_a_pass(monkeypatch, model, surrogate):
    monkeypatch.setitem(MACEDescriptor.walker_atoms, "cpu", 1000)

    class ReadsForces(EnergyTrigger):
        def __call__(self, prediction, atoms):
            assert np.isfinite(prediction.forces).all()
            return super().__call__(prediction, atoms)

    calculators = biased(model, surrogate)
    options = {"triggers": [ReadsForces(1e9)], "check_interval": 3, "lengths": [3] * 5}
    forwards, backwards, _ = count_passes(monkeypatch)
    for _ in run_walkers(walkers_on(calculators, **options), calculators):
        pass
    assert forwards == [5, 5, 5, 5]
    assert backwards == [5, 5, 5, 5, 5]


def test_batches_are_limited_and_their_memory_is_freed(monkeypatch, model, surrogate):
    monkeypatch.setitem(MACEDescriptor.walker_atoms, "cpu", 10)
    passes, alive_before = weakref.WeakSet(), []
    init = TorchPass.__init__

    def noted(self, *arguments):
        alive_before.append(len(passes))
        init(self, *arguments)
        passes.add(self)

    monkeypatch.setattr(TorchPass, "__init__", noted)
    forwards, _, _ = count_passes(monkeypatch)
    calculators = biased(model, surrogate)
    for _ in run_walkers(walkers_on(calculators), calculators):
        assert len(passes) == 0
    assert max(alive_before) == 0
    assert forwards[:18] == 6 * [2, 2, 1]


@given(
    wanted=st.dictionaries(
        st.integers(0, len(STARTS) - 1),
        st.tuples(st.sampled_from([0.0, 1.0, -2.5]), st.one_of(st.none(), st.integers(0, 99))),
        min_size=1,
    )
)
def test_gradients_of_some_structures_of_a_batch(surrogate, wanted):
    descriptor = surrogate.descriptor
    wanted = {k: (w, c) for k, (w, c) in wanted.items() if w != 0.0 or c is not None}
    combinations = {
        k: Combination(w, None if c is None else np.random.default_rng(c).normal(size=12))
        for k, (w, c) in wanted.items()
    }
    batch = descriptor.forward_batch(STARTS)
    found = batch.gradients(combinations) if combinations else {}
    assert found.keys() == wanted.keys()
    for k, gradient in found.items():
        one = descriptor.forward(STARTS[k])
        assert batch.energies[k] == pytest.approx(one.energy, rel=1e-12)
        assert_close(batch.phi[k], one.phi, 1e-12)
        expected = one.gradient(*combinations[k])
        assert_close(gradient.positions, expected.positions, 1e-10)
        assert_close(gradient.strain, expected.strain, 1e-10)


# walkers that fail


def test_a_failing_structure_ends_its_own_walker(monkeypatch, model, surrogate, single):
    calls = []
    forward = MACEDescriptor.forward_batch

    def fails_for_the_cluster(self, frames):
        calls.append(len(frames))
        if any(len(atoms) == 5 for atoms in frames) and len(calls) > 3:
            raise DescriptorError("too far")
        return forward(self, frames)

    monkeypatch.setattr(MACEDescriptor, "forward_batch", fails_for_the_cluster)
    calculators = biased(model, surrogate)
    found = by_walker(run_walkers(walkers_on(calculators), calculators))
    assert [steps[-1].status for steps in found] == ["running", "calculator_error"] + 3 * [
        "running"
    ]
    assert found[1][-1].step == 3
    np.testing.assert_array_equal(found[1][-1].atoms.positions, found[1][-2].atoms.positions)
    assert_same_walkers([found[k] for k in (0, 2, 3, 4)], [single[k] for k in (0, 2, 3, 4)])


def test_an_exploding_walker_leaves_the_others_alone(model, surrogate, single):
    calculators = biased(model, surrogate)
    walkers = walkers_on(calculators)
    options = {"n_steps": 12, "temperature_K": 400.0, "timestep_fs": 200.0}
    walkers[0] = run_walker(STARTS[0], calculators[0], rng=np.random.default_rng(1), **options)
    found = by_walker(run_walkers(walkers, calculators))
    assert found[0][-1].status != "running"
    assert_same_walkers(found[1:], single[1:])


@pytest.mark.parametrize("broken", [0, 2])
def test_a_start_that_is_refused_raises_with_its_number(model, surrogate, broken):
    starts = [atoms.copy() for atoms in STARTS]
    starts[broken].symbols[:] = "Au"
    calculators = biased(model, surrogate)
    with pytest.raises(DescriptorError, match="Au") as caught:
        list(run_walkers(walkers_on(calculators, starts), calculators))
    assert caught.value.__notes__ == [f"raised by walker {broken}"]


def test_an_error_in_a_trigger_is_raised_once_the_others_have_stepped(model, surrogate):
    class Faulty(EnergyTrigger):
        def __call__(self, prediction, atoms):
            if len(atoms) == 5:
                raise TypeError("a mistake")
            return super().__call__(prediction, atoms)

    calculators = biased(model, surrogate)
    walkers = walkers_on(calculators, triggers=[Faulty(1e9)], check_interval=2)
    lockstep = run_walkers(walkers, calculators)
    assert [list(next(lockstep)) for _ in range(2)] == 2 * [[0, 1, 2, 3, 4]]
    with pytest.raises(TypeError, match="a mistake") as caught:
        next(lockstep)
    assert caught.value.__notes__ == ["raised by walker 1"]
    assert next(walkers[0]).step == 3


def test_walkers_and_calculators_that_do_not_fit(model, surrogate):
    calculators = biased(model, surrogate)
    with pytest.raises(ValueError, match="one of its own"):
        next(run_walkers(walkers_on([calculators[0]] * 2), [calculators[0]] * 2))
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        next(run_walkers(walkers_on(calculators), calculators[:4]))
    assert list(run_walkers([], [])) == []


# leaving early; `no_thread_is_left` looks after each


def test_walkers_go_on_alone_after_leaving(model, surrogate, single):
    calculators = biased(model, surrogate)
    walkers = walkers_on(calculators)
    lockstep, before = run_walkers(walkers, calculators), threading.active_count()
    for steps in islice(lockstep, 4):
        assert threading.active_count() == before
        assert {step.step for step in steps.values()} <= {0, 1, 2, 3}
    lockstep.close()
    rest = [list(walker) for walker in walkers]
    assert_same_walkers(rest, [steps[4:] for steps in single])


@pytest.mark.parametrize("fails", ["forward_batch", "gradients"])
def test_interrupted_during_a_pass(monkeypatch, model, surrogate, fails):
    owner = MACEDescriptor if fails == "forward_batch" else TorchPass
    works, calls = getattr(owner, fails), []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return works(*arguments)

    monkeypatch.setattr(owner, fails, interrupted)
    calculators = biased(model, surrogate)
    with pytest.raises(KeyboardInterrupt):
        list(run_walkers(walkers_on(calculators), calculators))


def test_interrupted_by_a_signal_while_a_walker_is_busy(model, surrogate):
    """The caller only waits then; the busy walker ends at its next evaluation."""

    calls = []

    class Slow(EnergyTrigger):
        def __call__(self, prediction, atoms):
            calls.append(1)
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            time.sleep(0.3)
            return super().__call__(prediction, atoms)

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    calculators = biased(model, surrogate)
    try:
        with pytest.raises(KeyboardInterrupt):
            list(run_walkers(walkers_on(calculators, triggers=[Slow(1e9)]), calculators))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
    assert 1 <= len(calls) < sum(N_STEPS) / 3


def test_calls_that_exit_or_never_ask():
    def leaves():
        raise SystemExit(3)

    outcomes = call_batched({4: leaves, 2: lambda: "two"})
    assert list(outcomes) == [4, 2]
    assert outcomes[2].unwrap() == "two"
    with pytest.raises(SystemExit):
        outcomes[4].unwrap()
    assert call_batched({}) == {}


def test_moves_share_passes(model, surrogate, monkeypatch):
    """Trial energies of walkers are batched like all other passes."""
    options = {"moves": [CellMove(interval=2)], "pressure_GPa": 1.0}
    starts = [copper(k, 0.05) for k in range(3)]
    expected = [list(w) for w in walkers_on(biased(model, surrogate), starts, **options)]
    assert any(steps[-1].driver.moves[0].accepted for steps in expected)
    forwards, _, _ = count_passes(monkeypatch)
    calculators = biased(model, surrogate, 3)
    found = by_walker(run_walkers(walkers_on(calculators, starts, **options), calculators))
    assert_same_walkers(found, expected)
    assert np.mean(forwards) > 2
