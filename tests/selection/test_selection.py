"""The methods on arrays, against brute force and the libraries that they are taken from."""

import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from skmatter.sample_selection import FPS

from ase_bayesel.errors import SelectionError
from ase_bayesel.selection.methods import (
    Selection,
    atomic_cur,
    cur,
    direct,
    energy_variance,
    entropy,
    farthest_points,
    greedy,
    k_medoids,
    max_volume,
    scores,
    simple_random,
    target_variance,
    variance,
)
from ase_bayesel.selection.methods.distances import nearest_distance, standardised
from ase_bayesel.selection.methods.label_grams import GainBound, LabelGrams, TargetBound
from ase_bayesel.selection.methods.volume import SMALL, active_set, extrapolation_grades
from ase_bayesel.surrogate.posterior import Posterior
from ase_bayesel.surrogate.triangular import reduced


def problem(seed=0, n_pool=40, width=12, n_core=6, decay=4.0):
    """Correlated rows with a decaying spectrum, sizes, noises, and a core posterior."""
    rng = np.random.default_rng(seed)
    mixing = np.linalg.qr(rng.normal(size=(width, width)))[0] * np.logspace(0, -decay, width)
    n_atoms = rng.integers(1, 9, n_pool)
    rows = rng.normal(size=(n_pool, width)) @ mixing.T * n_atoms[:, None]
    noise = 1e-3 * np.sqrt(n_atoms)
    core = rng.normal(size=(n_core, width)) @ mixing.T
    posterior = Posterior.isotropic(width, 10.0).condition(core / 1e-3)
    return rows, n_atoms, noise, posterior


def blocks(seed=0, n_pool=25, width=8):
    """Rows of labels of unequal sizes."""
    rng = np.random.default_rng(seed)
    scale = np.logspace(0, -3, width)
    return [rng.normal(size=(1 + 3 * rng.integers(1, 5), width)) * scale for _ in range(n_pool)]


def brute_force(n_pool, n, posterior, score, rows, costs=None, budget=np.inf):
    """Score everything and refactorise the precision, at every pick."""
    costs = np.ones(n_pool) if costs is None else costs
    left, picks, values = list(range(n_pool)), [], []
    seen = posterior.precision_factor.T @ posterior.precision_factor
    while len(picks) < n:
        left = [j for j in left if costs[j] <= budget - sum(costs[i] for i in picks)]
        if not left:
            break
        factor = np.linalg.cholesky(seen).T
        now = Posterior(factor, posterior.mean)
        trial = np.array([score(now, j) for j in left]) / costs[left]
        best = left.pop(int(np.argmax(trial)))
        picks.append(best)
        values.append(trial.max())
        seen = seen + rows(best).T @ rows(best)
    return picks, values


def assert_prefix(method, n):
    everything = method(n)
    assert len(everything) == n == len(set(everything.indices.tolist()))
    for k in (0, 1, n // 2):
        fewer = method(k)
        np.testing.assert_array_equal(fewer.indices, everything.indices[:k])
        np.testing.assert_allclose(fewer.scores, everything.scores[:k])


# energy rows


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("costly", [False, True])
def test_energy_variance_against_brute_force(seed, costly):
    rows, n_atoms, noise, posterior = problem(seed)
    costs = n_atoms.astype(float) ** 3 if costly else None
    budget = 900.0 if costly else None
    found = energy_variance(rows, 25, posterior, noise, 1 / n_atoms**2, costs, budget)
    picks, values = brute_force(
        len(rows),
        25,
        posterior,
        lambda now, j: now.variance(rows[j]) / n_atoms[j] ** 2,
        lambda j: rows[[j]] / noise[j],
        costs,
        np.inf if budget is None else budget,
    )
    assert found.indices.tolist() == picks
    np.testing.assert_allclose(found.scores, values, rtol=1e-6)
    if costly:
        assert costs[picks].sum() <= 900.0
        assert len(picks) < 25


def test_energy_variance_keeps_digits_over_many_decades(monkeypatch):
    rows, _, noise, posterior = problem(3, n_pool=60, width=20, n_core=0, decay=9.0)
    noise = noise * 1e-4
    whitened = []
    original = variance.WhitenedPool.rewhiten
    monkeypatch.setattr(
        variance.WhitenedPool, "rewhiten", lambda self: whitened.append(1) or original(self)
    )
    found = energy_variance(rows, 40, posterior, noise)
    now, left, picks, values = posterior, list(range(60)), [], []
    for _ in range(40):  # QR updates: the Gram matrix of the other oracle loses these digits
        trial = now.variance(rows[left])
        values.append(trial.max())
        picks.append(left.pop(int(np.argmax(trial))))
        now = now.condition(rows[picks[-1]] / noise[picks[-1]])
    assert found.indices.tolist() == picks
    np.testing.assert_allclose(found.scores, values, rtol=1e-6)
    assert found.scores[-1] < 1e-8 * found.scores[0]
    assert 0 < len(whitened) < 5


def test_duplicates_in_the_pool_tie_to_the_lower_index_and_do_not_come_again():
    rows, n_atoms, noise, posterior = problem(1, n_pool=10)
    twice = np.concatenate([rows, rows])
    found = energy_variance(twice, 10, posterior, np.tile(noise, 2), 1 / np.tile(n_atoms, 2) ** 2)
    once = energy_variance(rows, 1, posterior, noise, 1 / n_atoms**2)
    assert found.indices[0] == once.indices[0]
    assert len(set((found.indices % 10).tolist())) > 8


def test_a_copy_of_the_core_is_not_picked_first():
    rows, n_atoms, noise, posterior = problem(2)
    known = posterior.condition(100.0 * rows[:5] / noise[:5, None])
    for found in (
        energy_variance(rows, 5, known, noise, 1 / n_atoms**2),
        target_variance(rows, 5, known, noise, rows),
        farthest_points(rows, 5, rows[:5] + 1e-9),
        max_volume(rows, 5, rows[:5] + 1e-9),
    ):
        assert found.indices.min() >= 5


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("n_targets", [1, 3, 40])
def test_targets_against_brute_force(seed, n_targets):
    rows, n_atoms, noise, posterior = problem(seed)
    rng = np.random.default_rng(seed)
    targets = rng.normal(size=(n_targets, 40)) @ rows if n_targets < 40 else rows / 40
    costs = 1.0 + n_atoms

    def fall(now, j):
        after = now.condition(rows[j] / noise[j])
        return now.variance(targets).sum() - after.variance(targets).sum()

    found = target_variance(rows, 15, posterior, noise, targets, costs, 60.0)
    picks, values = brute_force(
        len(rows), 15, posterior, fall, lambda j: rows[[j]] / noise[j], costs, 60.0
    )
    k = int(np.argmax(np.asarray(values) < 1e-8 * values[0])) or len(picks)  # brute force rounds
    assert k > 4
    assert found.indices[:k].tolist() == picks[:k]
    np.testing.assert_allclose(found.scores[:k], values[:k], rtol=1e-5)


def test_targets_keep_digits_over_many_decades():
    rows, _, noise, posterior = problem(3, n_pool=60, width=20, n_core=0, decay=7.0)
    noise = noise * 1e-3
    targets = rows[::3]
    found = target_variance(rows, 30, posterior, noise, targets)
    now, left, picks = posterior, list(range(60)), []
    for _ in range(30):
        white, goals = now.whiten(rows[left]), now.whiten(targets)
        trial = np.sum((white.T @ goals) ** 2, axis=1)
        trial /= noise[left] ** 2 + np.sum(white**2, axis=0)
        picks.append(left.pop(int(np.argmax(trial))))
        now = now.condition(rows[picks[-1]] / noise[picks[-1]])
    assert found.indices.tolist() == picks
    assert found.scores[-1] < 1e-8 * found.scores[0]


def test_aiming_at_a_target_serves_it_best():
    rows, n_atoms, noise, posterior = problem(5, n_pool=100)
    target = (rows[3] - rows[7])[None]

    def left_over(picks):
        labels = rows[picks] / noise[picks, None]
        return float(posterior.condition(labels).variance(target).sum())

    aimed = target_variance(rows, 3, posterior, noise, target)
    general = energy_variance(rows, 3, posterior, noise, 1 / n_atoms**2)
    assert left_over(aimed.indices) < left_over(general.indices)
    assert left_over(aimed.indices[:1]) == min(left_over([j]) for j in range(100))


# several rows per label


SCORES = {
    "gain": lambda labels: scores.information_gain(labels.__getitem__),
    "force": lambda labels: scores.force_variance(lambda j: labels[j][1:]),
    "energy": lambda labels: scores.energy_variance(
        np.array([rows[0] for rows in labels]), np.array([len(rows) // 3 for rows in labels])
    ),
}


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("seed", range(3))
def test_lazy_greedy_against_brute_force(name, seed):
    labels, posterior = blocks(seed), Posterior.isotropic(8, 30.0)
    score = SCORES[name](labels)
    calls = []

    def counted(now, indices):
        calls.append(len(indices))
        return score(now, indices)

    found = greedy(25, 12, posterior, counted, labels.__getitem__)
    picks, values = brute_force(
        25, 12, posterior, lambda now, j: score(now, np.array([j]))[0], labels.__getitem__
    )
    assert found.indices.tolist() == picks
    np.testing.assert_allclose(found.scores, values, rtol=1e-6)
    assert sum(calls) < 0.75 * sum(range(14, 26))


def test_scores_against_dense_algebra():
    labels, posterior = blocks(7), Posterior.isotropic(8, 3.0)
    sigma = np.linalg.inv(posterior.precision_factor.T @ posterior.precision_factor)
    j, rows = np.array([4]), labels[4]
    gain = np.linalg.slogdet(np.eye(len(rows)) + rows @ sigma @ rows.T)[1]
    assert SCORES["gain"](labels)(posterior, j)[0] == pytest.approx(gain)
    spread = [np.trace(rows[i : i + 3] @ sigma @ rows[i : i + 3].T) for i in range(1, len(rows), 3)]
    assert SCORES["force"](labels)(posterior, j)[0] == pytest.approx(max(spread))
    targets = np.random.default_rng(0).normal(size=(5, 8))
    after = np.linalg.inv(np.linalg.inv(sigma) + rows.T @ rows)
    fall = np.trace(targets @ (sigma - after) @ targets.T)
    score = scores.target_reduction(labels.__getitem__, targets)
    assert score(posterior, j)[0] == pytest.approx(fall)


def test_targets_with_several_rows_against_brute_force():
    labels, posterior = blocks(2), Posterior.isotropic(8, 10.0)
    targets = np.random.default_rng(1).normal(size=(2, 8)) * np.logspace(0, -3, 8)
    score = scores.target_reduction(labels.__getitem__, targets)
    found = greedy(25, 6, posterior, score, labels.__getitem__, shrinking=False)

    def fall(now, j):
        return (now.variance(targets) - now.condition(labels[j]).variance(targets)).sum()

    assert found.indices.tolist() == brute_force(25, 6, posterior, fall, labels.__getitem__)[0]


def test_labels_and_targets_of_more_rows_than_features():
    """Reduced to D rows they give what all of them give, in the score and in the posterior."""
    rng = np.random.default_rng(3)
    scale = np.logspace(0, -4, 8)
    labels = [rng.normal(size=(rng.integers(9, 60), 8)) * scale for _ in range(20)]
    targets = rng.normal(size=(30, 8)) * scale
    posterior = Posterior.isotropic(8, 10.0)
    small = [reduced(rows) for rows in labels]
    assert {rows.shape for rows in small} == {(8, 8)}
    for score in (
        lambda rows: scores.target_reduction(rows.__getitem__, targets),
        lambda rows: scores.information_gain(rows.__getitem__),
    ):
        found = greedy(20, 6, posterior, score(small), small.__getitem__, shrinking=False)
        every = greedy(20, 6, posterior, score(labels), labels.__getitem__, shrinking=False)
        np.testing.assert_array_equal(found.indices, every.indices)
        np.testing.assert_allclose(found.scores, every.scores, rtol=1e-10)

    def fall(now, j):
        return (now.variance(targets) - now.condition(labels[j]).variance(targets)).sum()

    picks, values = brute_force(20, 6, posterior, fall, labels.__getitem__)
    found = greedy(
        *(20, 6, posterior, scores.target_reduction(small.__getitem__, targets)),
        small.__getitem__,
        shrinking=False,
    )
    assert found.indices.tolist() == picks
    np.testing.assert_allclose(found.scores, values, rtol=1e-6)


def test_energies_of_many_candidates_at_once_score_as_each_alone(monkeypatch):
    monkeypatch.setattr("ase_bayesel.selection.methods.whitened.BLOCK_ROWS", 7)
    rows, _, noise, posterior = problem(6)
    targets = np.random.default_rng(6).normal(size=(3 * rows.shape[1], rows.shape[1]))
    known, some = posterior.condition(rows[:2]), np.array([5, 2, *range(8, len(rows))])
    found = scores.energy_target_reduction(rows, noise, targets)(known, some)
    alone = scores.target_reduction(lambda k: rows[[k]] / noise[k], targets)(known, some)
    np.testing.assert_allclose(found, alone, rtol=1e-10)


def test_single_rows_give_what_the_fast_ways_give():
    rows, n_atoms, noise, posterior = problem(4)

    def label(j):
        return rows[[j]] / noise[j]

    by_variance = scores.energy_variance(rows, n_atoms)
    pairs = [
        (energy_variance(rows, 20, posterior, noise, 1 / n_atoms**2), by_variance, True),
        (energy_variance(rows, 20, posterior, noise, 1 / noise**2), None, True),
        (
            target_variance(rows, 12, posterior, noise, rows[:9]),
            scores.target_reduction(label, rows[:9]),
            False,
        ),
    ]
    for fast, score, shrinking in pairs:
        score = scores.information_gain(label) if score is None else score
        slow = greedy(40, len(fast), posterior, score, label, shrinking=shrinking)
        np.testing.assert_array_equal(fast.indices, slow.indices)


def test_weighted_sum_is_in_units_of_the_first_largest():
    labels, posterior = blocks(3), Posterior.isotropic(8, 10.0)
    parts = [SCORES["gain"](labels), SCORES["force"](labels)]
    both = scores.weighted_sum(parts, [2.0, 0.5], posterior, 25)
    everyone = np.arange(25)
    first = [part(posterior, everyone) for part in parts]
    expected = 2.0 * first[0] / first[0].max() + 0.5 * first[1] / first[1].max()
    np.testing.assert_allclose(both(posterior, everyone), expected)
    found = greedy(25, 8, posterior, both, labels.__getitem__)
    slow, _ = brute_force(
        25, 8, posterior, lambda now, j: both(now, np.array([j]))[0], labels.__getitem__
    )
    assert found.indices.tolist() == slow
    with pytest.raises(SelectionError, match="positive number"):
        scores.weighted_sum(parts, [1.0, -1.0], posterior, 25)


# features alone


def test_farthest_points_against_brute_force_and_scikit_matter():
    rng = np.random.default_rng(0)
    pool, core = rng.normal(size=(30, 5)), rng.normal(size=(7, 5))
    found = farthest_points(pool, 12, core)
    chosen = list(core)
    for index, score in zip(found.indices, found.scores, strict=True):
        nearest = cdist(pool, np.array(chosen)).min(axis=1)
        assert index == np.argmax(nearest)
        assert score == pytest.approx(nearest.max())
        chosen.append(pool[index])
    library = FPS(initialize=list(range(7)), n_to_select=19)
    both = np.concatenate([core, pool])
    np.testing.assert_array_equal(library.fit(both).selected_idx_[7:] - 7, found.indices)


def test_farthest_points_without_a_core_begin_far_from_the_mean():
    pool = np.random.default_rng(1).normal(size=(20, 3))
    found = farthest_points(pool, 2)
    assert found.indices[0] == np.argmax(np.linalg.norm(pool - pool.mean(axis=0), axis=1))
    assert found.indices[1] == np.argmax(np.linalg.norm(pool - pool[found.indices[0]], axis=1))


def test_k_medoids_is_optimal_where_every_choice_can_be_tried():
    rng = np.random.default_rng(0)
    sizes, centres = (6, 4, 3), np.array([[0.0, 0.0], [8.0, 0.0], [0.0, 8.0]])
    pool = np.concatenate(
        [c + rng.normal(0, 0.5, (k, 2)) for k, c in zip(sizes, centres, strict=True)]
    )
    distances = cdist(pool, pool)
    best = min(
        itertools.combinations(range(13), 3), key=lambda m: distances[list(m)].min(axis=0).sum()
    )
    found = k_medoids(pool, 3).indices.tolist()
    assert sorted(found) == list(best)
    assert found[0] < 6 <= found[1] < 10 <= found[2]
    assert len(set(k_medoids(pool, 13).indices.tolist())) == 13


def test_direct_takes_the_member_nearest_to_the_mean_of_each_cluster():
    rng = np.random.default_rng(0)
    centres = 10.0 * rng.normal(size=(4, 6))
    members = np.repeat(np.arange(4), [9, 7, 5, 3])
    pool, _ = standardised(centres[members] + 0.1 * rng.normal(size=(24, 6)))
    found = direct(pool, 4).indices
    assert members[found].tolist() == [0, 1, 2, 3]
    assert len(set(direct(pool, 23).indices.tolist())) == 23
    copies = np.repeat(pool[:3], 4, axis=0)
    assert len(set(direct(copies, 8).indices.tolist())) == 8


def test_cur_against_explicit_deflation():
    rng = np.random.default_rng(2)
    pool = rng.normal(size=(20, 8)) * np.logspace(0, -1, 8)
    found, rest = cur(pool, 6).indices.tolist(), pool.copy()
    for index in found:
        leading = np.linalg.svd(rest, full_matrices=False)[0][:, 0] ** 2
        assert index == np.argmax(leading)
        unit = rest[index] / np.linalg.norm(rest[index])
        rest = rest - np.outer(rest @ unit, unit)
    low_rank = pool[:, :3] @ rng.normal(size=(3, 8))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert sorted(cur(low_rank, 20).indices.tolist()) == list(range(20))
    assert cur(np.ones((3, 1)), 2).indices.tolist() == [0, 1]


def test_atomic_cur_against_a_dense_decomposition():
    rng = np.random.default_rng(0)
    atoms = [rng.normal(size=(k, 6)) * np.logspace(0, -2, 6) for k in (1, 2, 8, 9, 3, 4)]
    left, spread, _ = np.linalg.svd(np.concatenate(atoms), full_matrices=False)
    rank = int(np.argmax(np.cumsum(spread**2) >= 0.99 * np.sum(spread**2))) + 1
    assert 1 < rank < 6
    leverage = np.sum(left[:, :rank] ** 2, axis=1)
    parts = np.split(leverage, np.cumsum([len(x) for x in atoms])[:-1])
    for reduce in ("mean", "sum"):
        expected = np.array([getattr(np, reduce)(part) for part in parts])
        found = atomic_cur(atoms, 4, reduce)
        np.testing.assert_array_equal(found.indices, np.argsort(-expected)[:4])
        np.testing.assert_allclose(found.scores, np.sort(expected)[::-1][:4])
    with pytest.raises(SelectionError, match="reduce"):
        atomic_cur(atoms, 2, "max")


def test_entropy_against_determinants():
    rng = np.random.default_rng(0)
    atoms = [rng.normal(size=(k, 4)) for k in rng.integers(1, 9, 15)]
    core = [rng.normal(size=(k, 4)) for k in (1, 2, 8)]
    moments = 1e-3 * 4 * np.eye(4) + sum(x.T @ x / len(x) for x in core)
    found = entropy(atoms, 6, core)
    left = list(range(15))
    for index, score in zip(found.indices, found.scores, strict=True):
        now = np.linalg.slogdet(moments)[1]
        gains = [
            (np.linalg.slogdet(moments + atoms[j].T @ atoms[j] / len(atoms[j]))[1] - now) / 2
            for j in left
        ]
        assert index == left[int(np.argmax(gains))]
        assert score == pytest.approx(max(gains))
        moments = moments + atoms[index].T @ atoms[index] / len(atoms[index])
        left.remove(index)


def test_active_set_has_the_largest_volume_of_all_its_swaps():
    rows = np.random.default_rng(0).normal(size=(25, 4))
    active = active_set(rows)
    volume = abs(np.linalg.det(rows[active]))
    for place, row in itertools.product(range(4), range(25)):
        other = active.copy()
        other[place] = row
        assert abs(np.linalg.det(rows[other])) <= 1.01 * volume
    best = max(abs(np.linalg.det(rows[list(c)])) for c in itertools.combinations(range(25), 4))
    assert volume > 0.5 * best


def test_max_volume_grades_against_determinants():
    rng = np.random.default_rng(3)
    pool, core = rng.normal(size=(12, 4)) * 2.0, rng.normal(size=(2, 4))
    rows = np.concatenate([core, SMALL * np.eye(4)])
    active = rows[active_set(rows)]
    left = set(range(12))
    found = max_volume(pool, 8, core)
    for index, score in zip(found.indices, found.scores, strict=True):
        grades = extrapolation_grades(pool, active)
        assert score == pytest.approx(grades[index])
        assert grades[index] == pytest.approx(max(grades[j] for j in left))
        swapped = [np.vstack([active[:i], pool[index], active[i + 1 :]]) for i in range(4)]
        volumes = [abs(np.linalg.det(rows)) for rows in swapped]
        assert max(volumes) / abs(np.linalg.det(active)) == pytest.approx(score)
        if score > 1.0:
            active = swapped[int(np.argmax(volumes))]
        left.remove(int(index))


def test_simple_random_is_uniform_and_without_replacement():
    rng = np.random.default_rng(0)
    counts = np.zeros(6)
    for _ in range(3000):
        found = simple_random(6, 2, rng).indices
        assert found[0] != found[1]
        counts[found] += 1
    assert abs(counts - 1000).max() < 120


def test_nearest_distance_and_standardised():
    rng = np.random.default_rng(0)
    pool, core = rng.normal(3.0, 5.0, (50, 4)), rng.normal(size=(9, 4))
    np.testing.assert_allclose(nearest_distance(pool, core), cdist(pool, core).min(axis=1))
    constant = np.column_stack([pool, np.full(50, 7.0)])
    scaled, none = standardised(constant)
    assert scaled.shape == (50, 4)
    assert none.shape == (0, 4)
    np.testing.assert_allclose(scaled.mean(axis=0), 0.0, atol=1e-12)
    np.testing.assert_allclose(scaled.std(axis=0), 1.0)


# what holds for all of them


def each_method(seed=0):
    rows, n_atoms, noise, posterior = problem(seed, n_pool=20, width=5, decay=1.5)
    core = problem(seed + 1, n_pool=8, width=5)[0]
    atoms = blocks(seed, n_pool=20, width=5)
    labels = atoms.__getitem__
    flat = Posterior.isotropic(5, 3.0)
    targets = rows[:4]
    return {
        "energy_variance": lambda n: energy_variance(rows, n, posterior, noise, 1 / n_atoms**2),
        "i_optimal": lambda n: target_variance(rows, n, posterior, noise, targets),
        "gain": lambda n: greedy(20, n, flat, scores.information_gain(labels), labels),
        "fps": lambda n: farthest_points(rows, n, core),
        "max_volume": lambda n: max_volume(rows, n, core),
        "entropy": lambda n: entropy(atoms, n, atoms[:2]),
        "cur": lambda n: cur(rows, n),
        "atomic_cur": lambda n: atomic_cur(atoms, n),
        "random": lambda n: simple_random(20, n, np.random.default_rng(seed)),
        "k_medoids": lambda n: k_medoids(rows, n),
        "direct": lambda n: direct(standardised(rows)[0], n),
    }, (rows, n_atoms, noise, core, *atoms)


@given(seed=st.integers(0, 10**6), n=st.integers(1, 20))
def test_prefixes_distinct_picks_and_untouched_input(seed, n):
    methods, arrays = each_method(seed)
    copies = [array.copy() for array in arrays]
    for name, method in methods.items():
        if name in ("k_medoids", "direct"):
            found = method(n)
            assert len(set(found.indices.tolist())) == n
        else:
            assert_prefix(method, n)
    for array, copy in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("name", each_method()[0])
@pytest.mark.parametrize("n", [-1, 21])
def test_too_many_or_too_few(name, n):
    with pytest.raises(SelectionError, match=f"n = {n}, but the pool has 20"):
        each_method()[0][name](n)


@given(seed=st.integers(0, 10**6))
def test_greedy_scores_of_shrinking_scores_do_not_grow(seed):
    methods, _ = each_method(seed)
    for name in ("energy_variance", "gain", "entropy", "fps"):
        steps = np.diff(methods[name](20).scores)
        assert (steps <= 1e-9).all()


def test_bad_arrays():
    rows, _, noise, posterior = problem()
    with pytest.raises(SelectionError, match="the pool is empty"):
        energy_variance(rows[:0], 0, posterior, noise[:0])
    with pytest.raises(SelectionError, match="noise: expected 40 finite positive"):
        energy_variance(rows, 3, posterior, -noise)
    with pytest.raises(SelectionError, match="costs: expected 40"):
        energy_variance(rows, 3, posterior, noise, costs=[1.0])
    with pytest.raises(SelectionError, match="budget"):
        energy_variance(rows, 3, posterior, noise, budget=-1.0)
    with pytest.raises(SelectionError, match="targets: expected a matrix"):
        target_variance(rows, 3, posterior, noise, rows[0])
    broken = rows.copy()
    broken[7, 2] = np.nan
    with pytest.raises(SelectionError, match="row 7 is not finite"):
        farthest_points(broken, 3)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "kmedoids", None)
    with pytest.raises(SelectionError, match=r"kmedoids.*ase_bayesel\[selection\]"):
        k_medoids(np.eye(4), 2)


def test_k_medoids_refuses_what_does_not_fit_in_memory(monkeypatch):
    monkeypatch.setattr("ase_bayesel.selection.methods.clusters.MAX_DISTANCES", 3)
    with pytest.raises(SelectionError, match="thin the pool"):
        k_medoids(np.eye(4), 2)


def test_selection_counts_itself():
    assert len(Selection(np.arange(3), np.zeros(3))) == 3


@pytest.mark.parametrize("spread", [1.0, 5.0])
@pytest.mark.parametrize("aim", ["i_optimal", "c_optimal", "information_gain"])
def test_bounds_by_one_matrix_for_each_label_give_the_picks_of_all_rows(aim, spread):
    """And their scores to the last bit, of few evaluations; also with no room for all matrices."""
    rng = np.random.default_rng(5)
    n, width, n_picks = 40, 20, 8
    scale = np.logspace(0.0, -spread, width)
    labels = [rng.normal(size=(k, width)) * scale * 30 for k in rng.integers(12, 40, n)]
    labels[7] = labels[3]
    targets = rng.normal(size=(n if aim == "i_optimal" else 1, width)) * scale
    posterior = Posterior.isotropic(width, 1.0).condition(rng.normal(size=(9, width)) * scale * 20)
    shrinking = aim == "information_gain"
    score = scores.target_reduction(labels.__getitem__, targets)
    score = scores.information_gain(labels.__getitem__) if shrinking else score
    seen = []

    def counted(now, indices):
        seen.extend(indices.tolist())
        return score(now, indices)

    costs = rng.uniform(1.0, 2.0, n)
    given = n, n_picks, posterior
    plain = greedy(*given, score, labels.__getitem__, costs, shrinking=shrinking)
    for room in (0, 20 * 21 * 8 * n, 20 * 21 * 4 * 5):
        grams = LabelGrams(labels.__getitem__, posterior, room)
        bound = GainBound(grams) if shrinking else TargetBound(grams, targets)
        assert (bound(posterior, np.arange(n)) >= score(posterior, np.arange(n))).all()
        seen.clear()
        found = greedy(
            *(*given, counted, labels.__getitem__, costs), shrinking=shrinking, bound=bound
        )
        np.testing.assert_array_equal(found.indices, plain.indices)
        np.testing.assert_array_equal(found.scores, plain.scores)
        assert len(seen) < 4 * n_picks
