"""The compiled passes of linear ACE against the other way, which is the reference.

Without numba the same functions run as plain Python, so the small cases need no extra.
"""

import pickle

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from helpers.differences import assert_close
from helpers.structures import alloy, cluster, silicon, with_pbc

from ase_bayesel import ACEDescriptor, BiasedCalculator
from ase_bayesel.descriptors import compiled
from ase_bayesel.descriptors.ace.compiled.edge_passes import (
    edge_functions,
    edge_gradient,
    one_particle,
)
from ase_bayesel.descriptors.ace.compiled.edges import neighbourhood
from ase_bayesel.descriptors.ace.compiled.jacobians import (
    add_jacobian,
    many_body_values,
    slope_values,
)
from ase_bayesel.descriptors.ace.compiled.movements import movements
from ase_bayesel.descriptors.ace.compiled.products import adjoint, totals
from ase_bayesel.testing import check_descriptor

AGREE = 1e-10
"""Of the largest of the rows, forces or stresses: the stated agreement of both ways."""
ALLOY = ("Cu", "Au", "Al")
CASES = {
    "one element": (ACEDescriptor("Si", 3, 6, 4.0), silicon()),
    "order 2": (ACEDescriptor("Si", 2, 6, 4.0), silicon()),
    "three elements": (ACEDescriptor(ALLOY, 3, 4, 3.5), alloy()),
    "an element that is absent": (ACEDescriptor(ALLOY, 3, 4, 3.5), alloy("CuAuAuCu")),
    "lengths of pairs": (ACEDescriptor(ALLOY, 3, 4, 3.5, {("Cu", "Al"): 2.0}), alloy()),
    "embedding": (ACEDescriptor(ALLOY, 3, 4, 3.5, embedding=2), alloy()),
    "one channel": (ACEDescriptor(ALLOY, 3, 5, 3.5, embedding=1), alloy()),
    "an element to itself": (ACEDescriptor(ALLOY, 3, 5, 3.5, embedding=3), alloy("Au4")),
    "slab": (ACEDescriptor("Si", 3, 5, 4.0), with_pbc(silicon(), [True, False, True])),
    "cluster": (ACEDescriptor(ALLOY, 3, 4, 3.5), cluster(ALLOY)),
    "lone atom": (ACEDescriptor("Si", 3, 5, 4.0), Atoms("Si")),
}


def big(elements, repeat):
    rng = np.random.default_rng(0)
    atoms = bulk("Si", cubic=True) * repeat
    atoms.positions += rng.normal(0, 0.1, atoms.positions.shape)
    atoms.symbols = rng.choice(elements, len(atoms))
    return atoms


BIG = {
    "two blocks": (ACEDescriptor("Si", 3, 16, 5.0), big(["Si"], (3, 3, 1))),
    "blocks of two elements": (ACEDescriptor(["Si", "Ge"], 3, 10, 5.0), big(["Si", "Ge"], 3)),
    "channels of three elements": (
        ACEDescriptor(["Si", "Ge", "C"], 3, 10, 5.0, embedding=2),
        big(["Si", "Ge", "C"], (2, 2, 1)),
    ),
}
needs_numba = pytest.mark.optional("numba")


def check_both_ways(monkeypatch, descriptor, atoms, weights=None):
    monkeypatch.setenv(compiled.SWITCH, "0")
    expected, theirs = descriptor.linearize(atoms, weights)
    found, ours = descriptor._passes.linearize(atoms, descriptor._species(atoms), weights)
    assert_close(found, expected, AGREE)
    cotangent = np.random.default_rng(1).normal(size=expected.shape) * descriptor.prior_std()
    for one, other in zip(ours(cotangent), theirs(cotangent), strict=True):
        assert_close(one, other, AGREE)
    (expected,) = descriptor.compute(atoms, derivatives=True)
    found = descriptor._passes.compute(atoms, descriptor._species(atoms), derivatives=True)
    for name in ("values", "jacobian", "strain"):
        assert_close(getattr(found, name), getattr(expected, name), AGREE)


@pytest.mark.parametrize(("descriptor", "atoms"), CASES.values(), ids=CASES)
def test_both_ways_agree(monkeypatch, descriptor, atoms):
    check_both_ways(monkeypatch, descriptor, atoms)


@pytest.mark.parametrize("name", ["one element", "three elements", "embedding"])
def test_both_ways_agree_for_weighted_rows(monkeypatch, name):
    descriptor, atoms = CASES[name]
    weights = np.random.default_rng(2).uniform(size=(3, len(atoms)))
    check_both_ways(monkeypatch, descriptor, atoms, weights)


@needs_numba
@pytest.mark.parametrize(("descriptor", "atoms"), BIG.values(), ids=BIG)
def test_both_ways_agree_in_large_cells(monkeypatch, descriptor, atoms):
    check_both_ways(monkeypatch, descriptor, atoms)


@needs_numba
def test_keeps_what_a_descriptor_promises():
    assert compiled.wanted()
    descriptor, atoms = CASES["three elements"]
    check_descriptor(descriptor, [atoms])


@needs_numba
def test_energies_forces_stresses_and_ranks_are_those_of_the_other_way(monkeypatch, cu_surrogate):
    frames, found = [alloy("Cu4", 0.05 + 0.01 * seed, seed) for seed in range(6)], {}
    for switch in ("1", "0"):
        monkeypatch.setenv(compiled.SWITCH, switch)
        results, deviations = [], []
        for atoms in frames:
            calculator = BiasedCalculator(cu_surrogate.calculator(), cu_surrogate, tau=0.3)
            atoms.calc = calculator
            results += [atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()]
            deviations.append(calculator.prediction.energy_std)
        found[switch] = results, np.argsort(deviations)
    for ours, theirs in zip(found["1"][0], found["0"][0], strict=True):
        assert_close(ours, theirs, AGREE)
    assert list(found["1"][1]) == list(found["0"][1])
    assert any(
        (a != b).any() for a, b in zip(found["1"][0][1::3], found["0"][0][1::3], strict=True)
    )


@needs_numba
def test_all_cases_are_served_by_the_same_compiled_functions(monkeypatch):
    for descriptor, atoms in CASES.values():
        check_both_ways(monkeypatch, descriptor, atoms)
    passes = neighbourhood, one_particle, edge_gradient, totals, adjoint
    features = edge_functions, movements, many_body_values, slope_values, add_jacobian
    for function in (*passes, *features):
        assert len(function.signatures) == 1


@needs_numba
def test_features_come_by_compiled_passes_unless_told_otherwise(monkeypatch):
    descriptor, atoms = CASES["three elements"]
    calls = []
    monkeypatch.setattr(descriptor._passes, "compute", lambda *given: calls.append(given))
    descriptor.compute([atoms, atoms], derivatives=True)
    assert [derivatives for _, _, derivatives in calls] == [True, True]
    monkeypatch.setenv(compiled.SWITCH, "0")
    descriptor.compute(atoms)
    assert len(calls) == 2


@needs_numba
def test_a_descriptor_in_use_is_pickled():
    descriptor, atoms = CASES["one element"]
    phi, _ = descriptor.linearize(atoms)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(descriptor)).linearize(atoms)[0], phi)
