"""From structures to picks: `select`, and the store of features."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import write
from helpers.command_line import ENVIRONMENT
from helpers.differences import assert_close
from helpers.structures import alloy, copper, copper_training, jittered

from ase_bayesel import ACEDescriptor, FeatureStore, fit_surrogate, select
from ase_bayesel.errors import SelectionError, StructureError
from ase_bayesel.selection import candidates as candidates_module
from ase_bayesel.selection.arguments import BAYESIAN, BY_FEATURES
from ase_bayesel.selection.feature_store import pool_features
from ase_bayesel.structures.identity import structure_id
from ase_bayesel.surrogate.energy_weights import EnergyWeights
from ase_bayesel.surrogate.posterior import Posterior


@pytest.fixture(scope="module")
def pool():
    """Copper of 1, 4 and 8 atoms at several volumes, periodic and not."""
    frames = []
    for k in range(6):
        frames.append(copper(k, 0.05 * (1 + k), 3.4 + 0.1 * k))
        frames.append(copper(50 + k, 0.2, 3.6, (2, 1, 1)))
        frames.append(jittered(bulk("Cu", a=3.3 + 0.15 * k), 0.0))
    frames.append(Atoms("Cu2", [[0, 0, 0], [0, 0, 2.1]]))
    return frames


@pytest.fixture(scope="module")
def energies_alone(cu_surrogate):
    return replace(cu_surrogate, properties=("energy",))


def extra(method):
    """The arguments that a method needs beyond pool, number and core."""
    targets = [copper(90, 0.0), copper(91, 0.0, 3.7, (2, 1, 1))]
    return {
        "random": {"rng": np.random.default_rng(4)},
        "weighted_sum": {"weights": {"energy_variance": 1.0, "force_variance": 2.0}},
        "c_optimal": {"targets": targets, "coefficients": [-2.0, 1.0]},
    }.get(method, {})


def frozen(frames):
    return [(structure_id(atoms), sorted(atoms.arrays), dict(atoms.info)) for atoms in frames]


@pytest.mark.parametrize("method", [*BAYESIAN, *BY_FEATURES])
def test_every_method_picks_from_structures_and_leaves_them_alone(
    method, pool, cu_surrogate, cu_ace
):
    before = frozen(pool)
    core = cu_surrogate if method in BAYESIAN else copper_training()
    found = select(pool, 6, method, cu_ace, core, **extra(method))
    assert len(set(found.indices.tolist())) == 6
    assert frozen(pool) == before
    if method not in ("k_medoids", "direct"):
        fewer = select(pool, 3, method, cu_ace, core, **extra(method))
        np.testing.assert_array_equal(fewer.indices, found.indices[:3])


def brute_force(pool, n, surrogate, score):
    """Condition the surrogate on each pick and score everything anew."""
    picks = []
    for _ in range(n):
        left = [k for k in range(len(pool)) if k not in picks]
        picks.append(max(left, key=lambda k: score(surrogate, pool[k])))
        surrogate = surrogate.condition(pool[picks[-1]])
    return picks


def energy_per_atom(surrogate, atoms):
    return surrogate.energy_std(atoms) / len(atoms)


def largest_force(surrogate, atoms):
    return surrogate.uncertainty(atoms).forces.max()


def gain(surrogate, atoms):
    return surrogate.condition(atoms).posterior.logdet - surrogate.posterior.logdet


@pytest.mark.parametrize(
    ("method", "score"),
    [
        ("energy_variance", energy_per_atom),
        ("force_variance", largest_force),
        ("information_gain", gain),
    ],
)
@pytest.mark.parametrize("properties", [("energy",), ("energy", "forces", "virial")])
def test_bayesian_picks_against_the_surrogate(method, score, properties, pool, cu_surrogate):
    surrogate = replace(cu_surrogate, properties=properties)
    found = select(pool, 5, method, core=surrogate)
    assert found.indices.tolist() == brute_force(pool, 5, surrogate, score)
    power = 1 if method == "information_gain" else 2
    first = score(surrogate, pool[found.indices[0]]) ** power
    assert found.scores[0] == pytest.approx(first, rel=1e-6)
    np.testing.assert_array_equal(
        select(pool, 5, method, core=cu_surrogate, properties=properties).indices, found.indices
    )


@pytest.mark.parametrize("properties", [("energy",), ("energy", "forces", "virial")])
def test_targeted_picks_against_the_surrogate(properties, pool, cu_surrogate, cu_ace):
    surrogate = replace(cu_surrogate, properties=properties)
    targets = [copper(90, 0.0), copper(91, 0.0, 3.7, (2, 1, 1))]
    phi = np.array([features.total for features in cu_ace.compute(targets)])
    goal = np.array([-2.0, 1.0]) @ phi

    def fall(known, atoms):
        after = known.condition(atoms).posterior
        return float(known.posterior.variance(goal) - after.variance(goal))

    found = select(pool, 4, "c_optimal", core=surrogate, targets=targets, coefficients=[-2.0, 1.0])
    assert found.indices.tolist() == brute_force(pool, 4, surrogate, fall)
    assert found.scores[0] == pytest.approx(fall(surrogate, pool[found.indices[0]]), rel=1e-5)

    sizes = np.array([len(atoms) for atoms in pool])
    means = np.array([f.total for f in cu_ace.compute(pool)]) / sizes[:, None]

    def mean_fall(known, atoms):
        after = known.condition(atoms).posterior
        return float((known.posterior.variance(means) - after.variance(means)).mean())

    over_pool = select(pool, 3, "i_optimal", core=surrogate)
    assert over_pool.indices.tolist() == brute_force(pool, 3, surrogate, mean_fall)
    again = select(pool, 3, "i_optimal", core=surrogate, targets=pool)
    np.testing.assert_array_equal(again.indices, over_pool.indices)


def test_targeted_picks_scored_by_energies_take_up_all_rows(pool, cu_surrogate, cu_ace):
    """Against energy rows in the score and whole labels in the posterior, by brute force."""
    sizes = np.array([len(atoms) for atoms in pool])
    means = np.array([f.total for f in cu_ace.compute(pool)]) / sizes[:, None]

    def mean_fall(known, atoms):
        after = replace(known, properties=("energy",)).condition(atoms).posterior
        return float((known.posterior.variance(means) - after.variance(means)).mean())

    found = select(pool, 4, "i_optimal", core=cu_surrogate, scored=("energy",))
    assert found.indices.tolist() == brute_force(pool, 4, cu_surrogate, mean_fall)
    everything = select(pool, 4, "i_optimal", core=cu_surrogate, scored=cu_surrogate.properties)
    np.testing.assert_array_equal(
        everything.indices, select(pool, 4, "i_optimal", core=cu_surrogate).indices
    )


@pytest.mark.parametrize("properties", [("energy",), ("energy", "forces", "virial")])
@pytest.mark.parametrize("method", ["information_gain", "i_optimal", "energy_variance"])
def test_candidates_far_up_in_energy_count_less(method, properties, pool, cu_surrogate, cu_ace):
    """The rows of candidates, and of picks, carry the noise of `Surrogate.condition`."""
    rows = np.array([features.total for features in cu_ace.compute(pool)])
    sizes = np.array([len(atoms) for atoms in pool])
    plain = replace(cu_surrogate, properties=properties)
    energies = zip(pool, rows @ plain.posterior.mean, strict=True)
    weights = EnergyWeights(0.05).extended(energies)
    weighted = replace(plain, energy_weights=weights)
    growth = weighted.noise_growth(pool, rows)
    assert growth.max() > 2 * growth.min()
    means = rows / sizes[:, None]

    def score(known, atoms):
        if method == "information_gain":
            return gain(known, atoms)
        if method == "energy_variance":
            return energy_per_atom(known, atoms)
        before, after = known.posterior, known.condition(atoms).posterior
        return float((before.variance(means) - after.variance(means)).mean())

    found = select(pool, 5, method, core=weighted)
    assert found.indices.tolist() == brute_force(pool, 5, weighted, score)
    if method == "information_gain":
        for surrogate in (plain, weighted):
            first = select(pool, 1, method, core=surrogate)
            expected = max(surrogate.information_gain(atoms) for atoms in pool)
            assert first.scores[0] == pytest.approx(expected, rel=1e-6)
        highest = pool[int(np.argmax(growth))]
        assert weighted.information_gain(highest) < plain.information_gain(highest)


def test_weights_by_energy_without_a_fitted_mean_are_left_aside(pool, cu_surrogate):
    known = cu_surrogate.posterior
    unfitted = replace(cu_surrogate, posterior=Posterior(known.precision_factor, 0 * known.mean))
    high = replace(unfitted, energy_weights=EnergyWeights(0.05, {"Cu4 xyz": -9.0}))
    np.testing.assert_array_equal(
        select(pool, 4, "information_gain", core=high).scores,
        select(pool, 4, "information_gain", core=unfitted).scores,
    )


def test_costs_and_budget(pool, energies_alone):
    sizes = np.array([len(atoms) for atoms in pool])
    found = select(pool, 10, "information_gain", core=energies_alone, budget=200.0)
    assert (sizes[found.indices] ** 3).sum() <= 200
    free = select(pool, 10, "information_gain", core=energies_alone)
    assert sizes[free.indices].sum() > sizes[found.indices].sum()
    for costs in (sizes**3, lambda atoms: len(atoms) ** 3):
        same = select(pool, 10, "information_gain", core=energies_alone, costs=costs, budget=200.0)
        np.testing.assert_array_equal(same.indices, found.indices)


def test_a_core_of_structures_is_fitted(pool, cu_ace, cu_surrogate):
    core = copper_training()
    surrogate = fit_surrogate(core, cu_ace)
    np.testing.assert_array_equal(
        select(pool, 4, descriptor=cu_ace, core=core).indices,
        select(pool, 4, core=surrogate).indices,
    )


def test_copies_are_never_picked(pool, cu_ace):
    core = copper_training()
    doubled = [core[3], *pool, *pool, core[5]]
    found = select(doubled, len(pool), "fps", cu_ace, core)
    assert sorted(found.indices.tolist()) == list(range(1, 1 + len(pool)))
    with pytest.raises(SelectionError, match=f"n = {len(pool) + 1}, but of the .* {len(pool)} can"):
        select(doubled, len(pool) + 1, "fps", cu_ace, core)


@pytest.mark.parametrize("method", ["random", "k_medoids", "cur", "atomic_cur", "direct"])
def test_near_copies_of_the_core_come_last(method, pool, cu_ace):
    core = copper_training()
    near = [jittered(atoms, 1e-5) for atoms in core[1:]]
    found = select([*near, *pool], len(near) + len(pool), method, cu_ace, core, **extra(method))
    assert found.indices[-len(near) :].tolist() == list(range(len(near)))
    alone = select(near, 2, method, cu_ace, core, **extra(method))
    assert alone.indices.tolist() == [0, 1]


def test_a_file_gives_the_picks_of_its_structures(tmp_path, pool, cu_ace, energies_alone):
    write(tmp_path / "pool.xyz", pool, format="extxyz")
    for method, properties in [("fps", None), ("entropy", None), ("energy_variance", ("forces",))]:
        options = {"properties": properties} if properties else {"descriptor": cu_ace}
        core = energies_alone if properties else None
        by_file = select(tmp_path / "pool.xyz", 5, method, core=core, **options)
        by_frames = select(pool, 5, method, core=core, **options)
        np.testing.assert_array_equal(by_file.indices, by_frames.indices)


BAD = [
    ({"frames": []}, "the pool is empty"),
    ({"n": 99}, "n = 99, but of the 19 structures of the pool 19 can be picked"),
    ({"n": -1}, "n = -1"),
    ({"method": "best"}, "method: unknown 'best'; known:\n  energy_variance"),
    ({"method": "random"}, "core: random needs structures"),
    ({"method": "weighted_sum"}, "weights: weighted_sum needs it"),
    ({"method": "weighted_sum", "weights": {"x": 1.0}}, "weights: unknown score 'x'"),
    ({"method": "weighted_sum", "weights": {}}, "a positive number for each score"),
    ({"method": "fps", "budget": 3.0}, "budget: not used by fps"),
    ({"method": "c_optimal", "targets": []}, "coefficients: c_optimal needs it"),
    ({"costs": [1.0]}, "costs: expected 19"),
    ({"properties": ["charge"]}, "properties: expected some of energy"),
    ({"method": "i_optimal", "scored": ["stress"]}, "scored: expected some of energy"),
    ({"scored": ["energy"]}, "scored: not used by energy_variance"),
    ({"core": None}, "descriptor: give one"),
    ({"core": [Atoms("Cu")]}, "descriptor: give one"),
]


@pytest.mark.parametrize(("change", "message"), BAD, ids=[message for _, message in BAD])
def test_clear_errors(change, message, pool, energies_alone):
    arguments = {"frames": pool, "n": 2, "core": energies_alone} | change
    with pytest.raises(SelectionError, match=message):
        select(**arguments)


def test_other_clear_errors(pool, energies_alone, cu_ace):
    with pytest.raises(SelectionError, match="coefficients: expected 2 numbers"):
        select(pool, 2, "c_optimal", core=energies_alone, targets=pool[:2], coefficients=[1, 2, 3])
    with pytest.raises(SelectionError, match="differs from that of the surrogate"):
        select(pool, 2, descriptor=ACEDescriptor(["Cu"], totaldegree=5), core=energies_alone)
    with pytest.raises(SelectionError, match=r"core: [a-z_]+ needs labelled structures"):
        select(pool, 2, descriptor=cu_ace)
    with pytest.raises(SelectionError, match="random: give rng"):
        select(pool, 2, "random", cu_ace)


def test_a_broken_structure_is_named(pool, cu_ace):
    broken = [atoms.copy() for atoms in pool[:3]]
    broken[2].positions[0, 0] = np.nan
    with pytest.raises(StructureError, match="pool frame 2: position of atom 0"):
        select(broken, 1, "fps", cu_ace)
    with pytest.raises(StructureError, match="core frame 2"):
        select(pool, 1, "fps", cu_ace, broken)


def test_rows_on_demand_are_kept_while_there_is_room(pool, cu_surrogate, monkeypatch):
    kept = select(pool, 4, "information_gain", core=cu_surrogate)
    monkeypatch.setattr(candidates_module, "CACHE_BYTES", 0)
    again = select(pool, 4, "information_gain", core=cu_surrogate)
    np.testing.assert_array_equal(again.indices, kept.indices)


@pytest.mark.parametrize("scored", [None, ("energy", "forces")])
def test_bounds_change_no_pick(pool, cu_surrogate, monkeypatch, scored):
    """Those of small labels too; the score of a target may count less than the label holds."""
    found = {}
    for bounded in (True, False):
        monkeypatch.setattr(candidates_module, "_many_rows", lambda *_, way=bounded: way)
        picks = [select(pool, 4, "i_optimal", core=cu_surrogate, scored=scored)]
        if scored is None:
            picks.append(select(pool, 4, "information_gain", core=cu_surrogate))
        found[bounded] = picks
    for one, other in zip(found[True], found[False], strict=True):
        np.testing.assert_array_equal(one.indices, other.indices)
        np.testing.assert_array_equal(one.scores, other.scores)


# the store


class Counting:
    """A descriptor that counts the structures it computes."""

    def __init__(self, inner):
        self.inner, self.count = inner, 0
        self.n_features, self.spec = inner.n_features, inner.spec
        self.elements = inner.elements

    def compute(self, frames, derivatives=False):
        self.count += len(frames)
        return self.inner.compute(frames, derivatives)


def test_a_second_selection_computes_nothing(tmp_path, pool, cu_ace):
    counting = Counting(cu_ace)
    first = select([*pool, pool[0]], 5, "fps", counting, store=FeatureStore(tmp_path, counting))
    assert counting.count == len(pool)
    again = select(pool, 5, "fps", counting, store=FeatureStore(tmp_path, counting))
    assert counting.count == len(pool)
    np.testing.assert_array_equal(first.indices, again.indices)
    more = [*pool[::-1], alloy("CuCuCuCu")]
    select(more, 5, "fps", counting, store=FeatureStore(tmp_path, counting))
    assert counting.count == len(pool) + 1


def test_a_store_holds_spin_states(tmp_path, cu_ace):
    """Their ids are longer than those of others, for which the records of its file are made."""
    up, down = copper(), copper()
    up.set_initial_magnetic_moments([1.0] * 4)
    made = pool_features([up, down, copper(1)], cu_ace, FeatureStore(tmp_path, cu_ace))
    assert made.ids == tuple(map(structure_id, (up, down, copper(1))))
    store = FeatureStore(tmp_path, cu_ace)
    assert all(name in store for name in made.ids)
    assert len(store) == 3
    np.testing.assert_array_equal(store.rows(made.ids), made.rows)
    np.testing.assert_array_equal(made.rows[0], made.rows[1])


def test_stored_rows_are_memory_mapped_and_equal(tmp_path, pool, cu_ace):
    store = FeatureStore(tmp_path, cu_ace)
    stored = pool_features(pool, cu_ace, store)
    plain = pool_features(pool, cu_ace)
    np.testing.assert_array_equal(stored.rows, plain.rows)
    assert isinstance(stored.rows, np.memmap)
    assert not stored.rows.flags.writeable
    assert stored.ids == plain.ids == tuple(map(structure_id, pool))
    np.testing.assert_array_equal(stored.n_atoms, [len(atoms) for atoms in pool])
    backwards = pool_features(pool[::-1], cu_ace, FeatureStore(tmp_path, cu_ace))
    np.testing.assert_array_equal(backwards.rows, plain.rows[::-1])


def test_descriptors_do_not_share_rows(tmp_path, pool, cu_ace):
    store = FeatureStore(tmp_path, cu_ace)
    pool_features(pool, cu_ace, store)
    other = ACEDescriptor(["Cu"], totaldegree=8, cutoff=4.0)
    assert other.n_features == cu_ace.n_features
    assert len(FeatureStore(tmp_path, other)) == 0
    assert len(FeatureStore(tmp_path, cu_ace)) == len(store) == len(pool)


@pytest.mark.parametrize(("torn", "lost"), [(1, 1), (20, 1), (777, 2)])
def test_a_torn_record_is_dropped(tmp_path, torn, lost, pool, cu_ace):
    store = FeatureStore(tmp_path, cu_ace)
    expected = np.array(pool_features(pool, cu_ace, store).rows)
    os.truncate(store.path, store.path.stat().st_size - torn)
    again = FeatureStore(tmp_path, cu_ace)
    assert len(again) == len(pool) - lost
    assert_close(pool_features(pool, cu_ace, again).rows, expected, 1e-14)


KILLED = """
import sys
from helpers.structures import copper
from ase_bayesel import ACEDescriptor, FeatureStore
from ase_bayesel.selection.feature_store import pool_features
descriptor = ACEDescriptor(["Cu"], totaldegree=8)
frames = (copper(k, repeat=(3, 3, 3)) for k in range(10_000))
pool_features(frames, descriptor, FeatureStore(sys.argv[1], descriptor))
"""


@pytest.mark.slow
def test_a_kill_loses_no_whole_record(tmp_path, cu_ace):
    worker = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], env=ENVIRONMENT)
    try:
        deadline = time.monotonic() + 60.0
        while sum(path.stat().st_size for path in tmp_path.glob("*.rows")) < 10_000:
            assert worker.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    store = FeatureStore(tmp_path, cu_ace)
    frames = [copper(k, repeat=(3, 3, 3)) for k in range(len(store))]
    assert len(frames) > 0
    assert all(structure_id(atoms) in store for atoms in frames)
    last = store.rows([structure_id(frames[-1])])[0]
    assert_close(last, cu_ace.compute([frames[-1]])[0].total, 1e-14)


@pytest.mark.slow
def test_processes_compute_the_same(tmp_path, pool, cu_ace, monkeypatch):
    monkeypatch.setattr("ase_bayesel.selection.feature_store.BATCH_ATOMS", 10)
    done = []
    parallel = pool_features(pool, cu_ace, FeatureStore(tmp_path, cu_ace), 2, done.append)
    assert_close(parallel.rows, pool_features(pool, cu_ace).rows, 1e-14)
    assert done == sorted(done)
    assert done[-1] == len(pool)


def test_features_that_are_not_finite_are_named(pool, cu_ace):
    class Broken(Counting):
        def compute(self, frames, derivatives=False):
            features = self.inner.compute(frames, derivatives)
            return [
                replace(f, values=np.full_like(f.values, np.nan)) if len(f.values) == 8 else f
                for f in features
            ]

    with pytest.raises(StructureError, match="pool frame 1: its features are not finite"):
        pool_features(pool, Broken(cu_ace))
