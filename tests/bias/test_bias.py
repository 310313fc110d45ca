from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ase_bayesel import TauRule
from ase_bayesel.bias.tau import TauHistory


def uniform(length, n=3):
    """Vectors of equal length."""
    vectors = np.random.default_rng(0).normal(size=(n, 3))
    return length * vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def history_of(pairs, rule):
    history = TauHistory()
    for force, gradient in pairs:
        history = history.updated(uniform(force), uniform(gradient), rule)
    return history


@pytest.mark.parametrize(
    "arguments",
    [
        {"tau_rel": -0.1},
        {"tau_rel": np.nan},
        {"tau_rel": np.inf},
        {"tau_rel": 0.1, "delay": 0},
        {"tau_rel": 0.1, "memory": 0},
        {"tau_rel": 0.1, "tau_max": 0.0},
        {"tau_rel": 0.1, "tau_max": np.nan},
        {"tau_rel": 0.1, "force_max": 0.0},
        {"tau_rel": 0.1, "max_excess_temperature": 0.0},
    ],
)
def test_rules_that_make_no_sense(arguments):
    with pytest.raises(ValueError, match=r"tau_rel|tau_max"):
        TauRule(**arguments)


def test_ratio_of_mean_forces():
    rule = TauRule(0.2, delay=1, memory=10)
    history = history_of([(1.0, 0.5), (3.0, 0.1)], rule)
    assert history.force == pytest.approx(2.0)
    assert history.gradient == pytest.approx(0.3)
    assert history.tau(rule) == pytest.approx(0.2 * 2.0 / 0.3)


def test_delay():
    rule = TauRule(0.2, delay=3)
    history = TauHistory()
    taus = []
    for _ in range(4):
        taus.append(history.tau(rule))
        history = history.updated(uniform(1.0), uniform(1.0), rule)
    assert taus == [0.0, 0.0, 0.0, pytest.approx(0.2)]


def test_cap():
    rule = TauRule(0.5, delay=1, tau_max=7.0)
    assert history_of([(1.0, 1e-9)], rule).tau(rule) == 7.0
    assert history_of([(1.0, 0.0)], rule).tau(rule) == 7.0


def test_no_bias_is_asked_for():
    rule = TauRule(0.0, delay=1)
    assert history_of([(1.0, 1.0)], rule).tau(rule) == 0.0
    assert history_of([(1.0, 0.0)], rule).tau(rule) == 0.0


def test_averages_forget():
    rule = TauRule(1.0, delay=1, memory=5)
    history = history_of([(100.0, 1.0)] + 60 * [(2.0, 1.0)], rule)
    assert history.n == 61
    assert history.force == pytest.approx(2.0 + 98.0 / 5 * 0.8**56, rel=1e-9)


@given(
    pairs=st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=1, max_size=20),
    tau_rel=st.floats(0, 2),
    tau_max=st.floats(0.1, 100),
)
def test_within_its_limits_and_averages_are_exact_within_memory(pairs, tau_rel, tau_max):
    rule = TauRule(tau_rel, delay=1, tau_max=tau_max, memory=20)
    history = history_of(pairs, rule)
    assert 0.0 <= history.tau(rule) <= tau_max
    assert history.force == pytest.approx(np.mean([f for f, _ in pairs]), abs=1e-9)
    assert history.gradient == pytest.approx(np.mean([g for _, g in pairs]), abs=1e-9)


def test_pure():
    rule, history = TauRule(0.1), TauHistory()
    history.updated(uniform(1.0), uniform(1.0), rule)
    assert history == TauHistory()
    with pytest.raises(AttributeError):
        history.n = 3
    with pytest.raises(AttributeError):
        rule.tau_rel = 0.3


def test_the_largest_bias_force_limits_tau():
    rule = TauRule(0.5, delay=1, force_max=0.3)
    history = TauHistory().updated(uniform(2.0, 4), np.diag([0.1, 0.2, 3.0]), rule)
    assert history.peak == 3.0
    assert history.tau(rule) == pytest.approx(0.1)
    assert rule.limit(0.0) == np.inf


def test_the_running_maximum_rises_at_once_and_falls_slowly():
    rule = TauRule(0.5, memory=10)
    history = history_of([(1.0, 1.0), (1.0, 8.0), (1.0, 1.0), (1.0, 1.0)], rule)
    assert history.peak == pytest.approx(8.0 * 0.9**2)
    assert history_of([(1.0, 8.0)] + 60 * [(1.0, 1.0)], rule).peak == pytest.approx(1.0)


def test_weights_choose_the_atoms_of_the_means():
    forces, gradient = np.diag([1.0, 2.0, 3.0]), np.diag([0.5, 0.5, 4.0])
    weights = np.array([0.0, 3.0, 1.0])
    history = TauHistory().updated(forces, gradient, TauRule(0.1), weights=weights)
    assert history.force == pytest.approx(2.25)
    assert history.gradient == pytest.approx(1.375)
    assert history.peak == 4.0


@given(excess=st.floats(-1.0, 5.0))
def test_heat_weakens_the_bias(excess):
    rule = TauRule(0.2, delay=1, max_excess_temperature=0.8)
    history = replace(history_of([(1.0, 1.0)], rule), excess_temperature=excess)
    share = history.tau(rule) / 0.2
    assert share == pytest.approx(np.interp(excess, [0.4, 0.8], [1.0, 0.0]))


def test_a_new_surrogate_keeps_the_trajectory():
    history = TauHistory(7, 1.0, 2.0, 3.0, start_energy=-4.0, excess_temperature=0.1)
    assert history.emptied() == TauHistory(start_energy=-4.0, excess_temperature=0.1)
