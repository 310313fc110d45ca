import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ase_bayesel import TauRule
from ase_bayesel.bias import TauHistory


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
