"""Linear ACE with an embedding of the elements."""

import json
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.data import chemical_symbols
from helpers.campaigns import campaign_settings
from helpers.differences import assert_close
from helpers.structures import alloy, cluster, with_pbc
from hypothesis import given
from hypothesis import strategies as st

from ase_bayesel import ACEDescriptor, Embedding, Surrogate, fit_surrogate
from ase_bayesel.campaign.build.models import build_descriptor
from ase_bayesel.campaign.config.loading import validate_config
from ase_bayesel.campaign.cost import MANY_FEATURES, large_basis
from ase_bayesel.descriptors import descriptor_from_spec
from ase_bayesel.descriptors.ace.basis import count_functions, many_body_basis
from ase_bayesel.descriptors.ace.channels import Channels
from ase_bayesel.descriptors.embedding import element_weights
from ase_bayesel.descriptors.text import descriptor_from_text
from ase_bayesel.errors import ConfigError, DescriptorError
from ase_bayesel.surrogate.exchange import write_ace_model
from ase_bayesel.testing import check_descriptor

ELEMENTS = ["Cu", "Au", "Al"]
SYMBOLS = st.sampled_from(chemical_symbols[1:97])


@pytest.fixture(scope="module")
def embedded():
    return ACEDescriptor(ELEMENTS, totaldegree=6, embedding=2)


def values(descriptor, atoms):
    return descriptor.compute([atoms])[0].values


def settings(changes):
    return validate_config(campaign_settings(changes), "config")


def in_order_of(descriptor, elements):
    """Where each feature of ``descriptor`` is with the elements in another order."""
    ours, degree = descriptor.elements, descriptor.totaldegree
    n = len(ours)
    types = [frozenset((ours[a], ours[b])) for a in range(n) for b in range(a, n)]
    others = [frozenset((elements[a], elements[b])) for a in range(n) for b in range(a, n)]
    pairs = [others.index(kind) * degree + k for kind in types for k in range(degree)]
    width = (descriptor.n_features - len(pairs)) // n
    blocks = [elements.index(z) * width + len(pairs) + k for z in ours for k in range(width)]
    return np.array(pairs + blocks)


@given(
    elements=st.permutations(ELEMENTS),
    symbols=st.lists(st.sampled_from(ELEMENTS), min_size=1, max_size=7),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_order_of_the_elements_does_not_matter(embedded, elements, symbols, seed):
    atoms = cluster(symbols, seed)
    other = ACEDescriptor(elements, totaldegree=6, embedding=2)
    places = in_order_of(embedded, list(elements))
    assert_close(values(other, atoms)[:, places], values(embedded, atoms), 1e-12)
    assert_close(other.prior_std()[places], embedded.prior_std(), 1e-12)


@given(elements=st.lists(SYMBOLS, unique=True, min_size=1, max_size=12), data=st.data())
def test_weights_of_elements(elements, data):
    weights = element_weights(elements)
    np.testing.assert_array_equal(weights[0], 1.0)
    np.testing.assert_allclose(
        weights @ weights.T / len(elements), np.eye(len(elements)), atol=1e-9
    )
    order = data.draw(st.permutations(range(len(elements))))
    again = element_weights([elements[k] for k in order])
    np.testing.assert_array_equal(again, weights[:, list(order)])


def test_weights_are_the_same_on_all_machines():
    """By hand: radii 1.21, 1.32, 1.36 A of Al, Cu, Au less their mean, and what is left."""
    radii = np.array([1.32, 1.36, 1.21])
    second = radii - radii.mean()
    second *= np.sqrt(3) / np.linalg.norm(second)
    third = np.array([4.0, 6.0, 3.0])
    third = third - third.mean() - second * (second @ third) / 3
    third *= np.sqrt(3) / np.linalg.norm(third)
    np.testing.assert_allclose(element_weights(ELEMENTS), [np.ones(3), second, third], atol=1e-9)


def test_all_channels_without_cost_span_the_functions_of_the_elements():
    full = ACEDescriptor(["Cu", "Au"], totaldegree=4)
    embedded = ACEDescriptor(["Cu", "Au"], totaldegree=4, embedding=Embedding(2, cost=0.0))
    assert embedded.n_features == full.n_features
    rng = np.random.default_rng(0)
    frames = [cluster(rng.choice(["Cu", "Au"], 12), seed) for seed in range(24)]
    ours, theirs = (
        np.concatenate([f.values for f in each.compute(frames)]) for each in (embedded, full)
    )
    known, new = slice(0, 200), slice(200, None)
    for first, second in ((ours, theirs), (theirs, ours)):
        assert np.linalg.matrix_rank(first[known] / np.abs(first).max(axis=0)) == full.n_features
        way = np.linalg.lstsq(first[known], second[known], rcond=None)[0]
        assert_close(first[new] @ way, second[new], 1e-7)


def test_a_channel_costs_degree():
    costs = Embedding(3, cost=1.5).costs
    assert costs == (0.0, 1.5, 1.5)
    channels = Channels.of(ELEMENTS, Embedding(3, cost=1.5))
    functions = set(many_body_basis(3, 3, 8, channels).functions)

    def degree(function):
        return sum(n + 1.5 * ell + costs[z] for ell, z, n in function)

    assert max(degree(function) for function in functions) == 8
    every = many_body_basis(3, 3, 8).functions
    assert functions == {function for function in every if degree(function) <= 8}


@pytest.mark.parametrize("embedding", [1, 2, Embedding(3, cost=1.0)])
@pytest.mark.parametrize("pair", [("Cu", "Cu"), ("Cu", "Au"), ("Al", "Au")])
def test_dimer_has_pair_features_only(embedding, pair):
    descriptor = ACEDescriptor(ELEMENTS, totaldegree=8, embedding=embedding)
    n_pair = 6 * 8
    scale = np.abs(values(descriptor, cluster(["Cu", "Au", "Al", "Au"]))[:, n_pair:]).max()
    features = values(descriptor, Atoms(pair, [[0, 0, 0], [1.2, 0, 1.9]]))
    assert np.abs(features[:, n_pair:]).max() < 1e-12 * scale
    assert np.abs(features[:, :n_pair]).max() > 0


@pytest.mark.parametrize("embedding", [1, 2, Embedding(3, cost=1.0)])
def test_keeps_what_a_descriptor_promises(embedding):
    descriptor = ACEDescriptor(ELEMENTS, totaldegree=5, embedding=embedding)
    frames = [
        alloy(),
        cluster(["Cu", "Al", "Au", "Cu", "Al"]),
        with_pbc(alloy("AuAlAlCu", seed=1), (False, True, True)),
        alloy("AuAuAuAl", seed=2) * (2, 1, 1),
    ]
    check_descriptor(descriptor, frames)


def test_one_element_is_as_it_was():
    atoms = cluster("Cu6")
    embedded = ACEDescriptor("Cu", totaldegree=8, embedding=1)
    np.testing.assert_array_equal(
        values(embedded, atoms), values(ACEDescriptor("Cu", totaldegree=8), atoms)
    )


@pytest.mark.parametrize(
    ("channels", "cost", "expected"),
    [(1, 3, 199), (2, 3, 367), (3, 3, 578), (4, 3, 833), (5, 4, 647), (6, 4, 784), (2, 0, 1180)],
)
def test_features_of_a_centre_by_channels(channels, cost, expected):
    """Counted without this package's enumeration."""
    assert count_functions(Embedding(channels, cost).costs, 3, 12, 10**5) == expected


def test_without_an_embedding_nothing_is_said_of_it():
    descriptor = ACEDescriptor(ELEMENTS, totaldegree=4)
    assert "embedding" not in descriptor.spec()
    assert "embedding" not in repr(descriptor)


def test_spec_round_trip(embedded):
    spec = json.loads(json.dumps(embedded.spec()))
    again = descriptor_from_spec(spec, n_features=embedded.n_features)
    assert again.spec() == embedded.spec()
    atoms = alloy()
    np.testing.assert_array_equal(values(again, atoms), values(embedded, atoms))
    with pytest.raises(DescriptorError, match="gives more than"):
        descriptor_from_spec(spec, n_features=embedded.n_features - 1)


def test_a_saved_embedding_brings_its_weights(embedded):
    """They stand even where properties of the elements are others in a later version."""
    spec = embedded.spec()
    first, second, third = spec["embedding"]["weights"]
    spec["embedding"]["weights"] = [first, third, second]
    difference = values(descriptor_from_spec(spec), alloy()) - values(embedded, alloy())
    assert np.abs(difference).max() > 1e-3


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"channels": 4}, "channels must be from 1 to 3"),
        ({"channels": 0}, "channels must be from 1 to 3"),
        ({"cost": -1.0}, "cost must be from 0 to 100"),
        ({"cost": float("nan")}, "cost must be from 0 to 100"),
        ({"weights": [[1.0, 1.0, 1.0]]}, "3 rows of 3 weights"),
        ({"weights": [[1.0] * 3] * 3}, "not orthogonal"),
        ({"weights": [[float("nan")] * 3] * 3}, "not orthogonal"),
    ],
)
def test_specs_that_make_no_sense(embedded, changes, told):
    spec = embedded.spec()
    spec["embedding"] |= changes
    with pytest.raises(DescriptorError, match=f"embedding: .*{told}"):
        descriptor_from_spec(spec)


def test_a_basis_that_is_too_large_points_to_the_embedding():
    many = ["Cu", "Ag", "Au", "Ni", "Pd", "Pt", "Al"]
    with pytest.raises(DescriptorError, match=r"more than 100000 features; .*an embedding of them"):
        ACEDescriptor(many, totaldegree=12)
    with pytest.raises(DescriptorError, match="fewer elements or channels"):
        ACEDescriptor(many, totaldegree=20, embedding=Embedding(7, cost=0.0))


def test_a_saved_surrogate(embedded, tmp_path):
    rng = np.random.default_rng(0)
    frames = []
    for seed in range(4):
        atoms = alloy(rng.permutation(["Cu", "Au", "Al", "Cu"]), seed=seed)
        atoms.info["energy"] = rng.normal()
        frames.append(atoms)
    surrogate = fit_surrogate(frames, embedded, forces_key=None, e0s="average")
    surrogate.save(tmp_path / "model.npz")
    again = Surrogate.load(tmp_path / "model.npz")
    assert again.descriptor.spec() == embedded.spec()
    energies = [each.energy(frames[0]) for each in (again, surrogate)]
    assert energies[0] == energies[1]
    for name in ("model.npz", "model.yace"):
        with pytest.raises(DescriptorError, match="without embedding"):
            write_ace_model(surrogate, tmp_path / "other" / name)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (2, Embedding(2)),
        ({"channels": 1}, Embedding(1)),
        ({"channels": 2, "cost": 0.5}, Embedding(2, 0.5)),
    ],
)
def test_in_a_config(given, expected):
    config = settings({"descriptor.embedding": given})
    assert config.descriptor.embedding == expected
    assert validate_config(config.model_dump(mode="json"), "config") == config
    descriptor = build_descriptor(config, None)
    assert descriptor.embedding == expected


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (3, "channels must be from 1 to 2"),
        (0, "channels"),
        (True, "mapping"),
        ("two", "mapping"),
        ({"cost": 1.0}, "channels"),
        ({"channels": 2, "cost": -1.0}, "cost"),
        ({"channels": 2, "weights": [[1.0]]}, "the keys are channels, cost"),
    ],
)
def test_configs_that_make_no_sense(given, told):
    with pytest.raises(ConfigError, match=rf"descriptor.*{told}"):
        settings({"descriptor.embedding": given})


def test_validate_tells_of_a_large_basis():
    ace = settings({"descriptor.elements": ELEMENTS}).descriptor
    assert large_basis(ace) == []
    large = replace(ace, order=3, totaldegree=12)
    (note,) = large_basis(large)
    assert f"more than {MANY_FEATURES} features; descriptor.embedding: 3" in note
    assert large_basis(replace(large, embedding=Embedding(3))) == []
    assert large_basis(replace(large, elements=("Cu",), totaldegree=40)) == []
    assert large_basis(None) == []


def test_in_a_word():
    expected = ACEDescriptor(ELEMENTS, 2, 5, 4.5, embedding=2).spec()
    for text in ("ace:Cu+Au+Al,2,5,4.5,2", "ace:Cu+Au+Al,2,5,4.5,embedding=2"):
        assert descriptor_from_text(text).spec() == expected
