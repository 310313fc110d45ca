import json
from itertools import pairwise

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from helpers.differences import assert_close, position_differences, strain_differences
from helpers.structures import alloy, cluster, jittered, sheared, silicon, with_pbc
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from ase_bayesel import ACEDescriptor
from ase_bayesel.descriptors import Descriptor, descriptor_from_spec
from ase_bayesel.descriptors.ace.basis import many_body_basis
from ase_bayesel.descriptors.ace.edges import MANY_BODY_PQ
from ase_bayesel.descriptors.ace.radial import AgnesiTransform, many_body_polynomials, pair_envelope
from ase_bayesel.errors import DescriptorError

SEEDS = st.integers(0, 2**32 - 1)
ELEMENTS = ["Cu", "Au", "Al"]

CASES = {
    "bulk": (["Si"], silicon()),
    "cluster": (["Si"], cluster("Si5")),
    "cluster in a cell": (["Si"], with_pbc(silicon(), False)),
    "slab": (["Si"], with_pbc(silicon(), (True, True, False))),
    "slab of zero height": (["Si"], with_pbc(silicon(), (True, True, False), keep_cell=False)),
    "wire": (["Si"], with_pbc(silicon(), (False, True, False), keep_cell=False)),
    "one atom": (["Si"], sheared(bulk("Si", "sc", a=2.6))),
    "one element of three": (ELEMENTS, alloy("AuAuAuAu")),
    "ternary bulk": (ELEMENTS, alloy()),
    "ternary cluster": (ELEMENTS, cluster(["Cu", "Al", "Au", "Cu"])),
    "ternary slab": (ELEMENTS, with_pbc(alloy(), (False, True, True))),
}


@pytest.fixture(params=CASES)
def case(request):
    elements, atoms = CASES[request.param]
    return ACEDescriptor(elements, totaldegree=8 if len(elements) == 1 else 5), atoms


def total(descriptor, atoms):
    return descriptor.compute([atoms])[0].total


def values(descriptor, atoms):
    return descriptor.compute([atoms])[0].values


@pytest.mark.parametrize(
    ("elements", "totaldegree", "expected"),
    [
        (["Si"], 12, 211),
        (["Si"], 16, 668),
        (["Si"], 19, 1429),
        (["Si", "O"], 12, 2396),
        (["Si", "O", "C"], 12, 10707),
    ],
)
def test_number_of_features(elements, totaldegree, expected):
    descriptor = ACEDescriptor(elements, order=3, totaldegree=totaldegree)
    assert descriptor.n_features == expected
    assert descriptor.prior_std().shape == (expected,)


def test_number_of_features_by_order():
    for totaldegree, pair_and_two in ((12, 79), (16, 163), (19, 256)):
        assert ACEDescriptor("Si", order=2, totaldegree=totaldegree).n_features == pair_and_two


def test_is_a_descriptor(si_ace):
    assert isinstance(si_ace, Descriptor)


def test_shapes(case):
    descriptor, atoms = case
    n, d = len(atoms), descriptor.n_features
    plain, full = descriptor.compute(atoms)[0], descriptor.compute([atoms], derivatives=True)[0]
    assert plain.values.shape == (n, d)
    assert plain.values.dtype == np.float64
    assert plain.jacobian is None
    assert plain.strain is None
    assert full.jacobian.shape == (d, n, 3)
    assert full.strain.shape == (d, 6)
    assert_close(full.values, plain.values, 1e-13)


@given(seed=SEEDS, symbols=st.lists(st.sampled_from(ELEMENTS), min_size=1, max_size=7))
def test_invariance_of_clusters(ternary_ace, seed, symbols):
    atoms = cluster(symbols, seed)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(atoms))
    mirror = rng.choice([-1.0, 1.0])
    moved = atoms[order]
    moved.positions = mirror * (moved.positions @ Rotation.random(rng=rng).as_matrix())
    moved.positions += rng.uniform(-10, 10, 3)
    before = values(ternary_ace, atoms)
    assert_close(values(ternary_ace, moved), before[order], 1e-10)


@given(seed=SEEDS)
def test_invariance_of_crystals(si_ace, seed):
    atoms = silicon(0.2, seed)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(atoms))
    rotation = rng.choice([-1.0, 1.0]) * Rotation.random(rng=rng).as_matrix()
    moved = atoms[order]
    moved.set_cell(atoms.cell.array @ rotation)
    moved.positions = (moved.positions + rng.uniform(-20, 20, 3)) @ rotation
    before = values(si_ace, atoms)
    assert_close(values(si_ace, moved), before[order], 1e-10)
    moved.wrap()
    assert_close(values(si_ace, moved), before[order], 1e-10)


@given(repeat=st.tuples(*[st.integers(1, 3)] * 3), seed=SEEDS)
def test_extensive_in_supercells(ternary_ace, repeat, seed):
    atoms = alloy(seed=seed)
    expected = total(ternary_ace, atoms) * np.prod(repeat)
    assert_close(total(ternary_ace, atoms * repeat), expected, 1e-11)


def test_extensive_in_separate_fragments(si_ace):
    first, second = cluster("Si4", 1), cluster("Si3", 2)
    both = first + second
    both.positions[4:] += 100.0
    assert_close(total(si_ace, both), total(si_ace, first) + total(si_ace, second), 1e-12)


@pytest.mark.parametrize("distance", [1.2, 1.9, 2.35, 3.4, 4.9])
@pytest.mark.parametrize("pair", [("Si", "Si"), ("Si", "O"), ("O", "O")])
def test_dimer_has_pair_features_only(distance, pair):
    descriptor = ACEDescriptor(["Si", "O"], totaldegree=10)
    features = total(descriptor, Atoms(pair, [[0, 0, 0], [0.6 * distance, 0, 0.8 * distance]]))
    n_pair = 3 * 10
    scale = np.abs(total(descriptor, cluster(["Si", "O", "Si", "O"]))[n_pair:]).max()
    assert np.abs(features[n_pair:]).max() < 1e-12 * scale
    block = {("Si", "Si"): 0, ("Si", "O"): 1, ("O", "O"): 2}[pair]
    assert features[block * 10 : (block + 1) * 10].all()
    assert np.count_nonzero(features[:n_pair]) == 10


@pytest.mark.parametrize("element", ["Cu", "Au", "Al"])
@pytest.mark.parametrize("box", [{}, {"cell": [20, 20, 20], "pbc": True}])
def test_isolated_atom_has_no_features(ternary_ace, element, box):
    features = ternary_ace.compute([Atoms(element, **box)], derivatives=True)[0]
    for array in (features.values, features.jacobian, features.strain):
        np.testing.assert_allclose(array, 0.0, atol=1e-14)


def test_lowest_pair_feature_is_half_the_envelope_sum(si_ace):
    import torch

    atoms = cluster("Si6", 4)
    distances = torch.from_numpy(atoms.get_all_distances()[np.triu_indices(6, 1)])
    inside = distances[distances < 5.0]
    envelope, _ = pair_envelope(inside, torch.tensor(2.4, dtype=torch.float64), 5.0)
    # every pair counts twice, each time by one half, and P_1 is one
    assert total(si_ace, atoms)[0] == pytest.approx(envelope.sum().item(), rel=1e-12)


def site_geometry(atoms, site, cutoff=5.0):
    """Many-body coordinates y ``(k,)`` and unit vectors ``(k, 3)`` of a site's neighbours."""
    vectors = np.delete(atoms.positions, site, axis=0) - atoms.positions[site]
    lengths = np.linalg.norm(vectors, axis=1)
    vectors, lengths = vectors[lengths < cutoff], lengths[lengths < cutoff]
    transform = AgnesiTransform(2.4, *MANY_BODY_PQ)
    x = np.array([transform(r) for r in lengths])
    y = -1 + 2 * (x - 1) / (transform(cutoff) - 1)
    return y, vectors / lengths[:, None]


def test_order_two_against_a_double_sum_over_neighbours():
    """By the addition theorem, without harmonics; pure2b leaves out j = k."""
    descriptor = ACEDescriptor("Si", order=2, totaldegree=9)
    atoms = cluster("Si6", 3)
    features = values(descriptor, atoms)[:, 9:]
    for site in range(len(atoms)):
        y, unit = site_geometry(atoms, site)
        radial = (1 - y**2) ** 2 * many_body_polynomials(9).evaluate(y)
        cosine = unit @ unit.T
        expected = []
        for (degree, _, n1), (_, _, n2) in many_body_basis(1, 2, 9).functions:
            kernel = np.polynomial.legendre.Legendre.basis(degree)(cosine)
            np.fill_diagonal(kernel, 0.0)
            double = radial[n1 - 1] @ kernel @ radial[n2 - 1]
            norm = np.sqrt((2 if n1 == n2 else 1) * (2 * degree + 1)) / (4 * np.pi)
            expected.append(norm * double)
        assert_close(features[site], expected, 1e-11)


def test_order_three_without_angles_against_a_triple_product():
    descriptor = ACEDescriptor("Si", totaldegree=9)
    functions = many_body_basis(1, 3, 9).functions
    chosen = [k for k, f in enumerate(functions) if len(f) == 3 and not any(d for d, _, _ in f)]
    assert len(chosen) > 5
    atoms = cluster("Si6", 3)
    y, _ = site_geometry(atoms, 0)
    radial = (1 - y**2) ** 2 * many_body_polynomials(9).evaluate(y)
    for k in chosen:
        ns = [n for _, _, n in functions[k]]
        factors = np.array([radial[n - 1] for n in ns])
        permutations = {1: 6, 2: 2, 3: 1}[len(set(ns))]
        expected = np.prod(factors.sum(axis=1)) - np.prod(factors, axis=0).sum()
        expected *= np.sqrt(permutations) / (4 * np.pi) ** 1.5
        assert values(descriptor, atoms)[0, 9 + k] == pytest.approx(expected, rel=1e-8, abs=1e-10)


def test_position_jacobian_against_differences(case):
    descriptor, atoms = case
    jacobian = descriptor.compute([atoms], derivatives=True)[0].jacobian
    expected = position_differences(lambda a: total(descriptor, a), atoms)
    np.testing.assert_allclose(
        jacobian.transpose(1, 2, 0), expected, rtol=1e-6, atol=1e-6 * np.abs(jacobian).max() + 1e-8
    )


def test_strain_derivative_against_differences(case):
    descriptor, atoms = case
    strain = descriptor.compute([atoms], derivatives=True)[0].strain
    expected = strain_differences(lambda a: total(descriptor, a), atoms)
    assert np.abs(strain).max() > 0
    np.testing.assert_allclose(strain.T, expected, rtol=1e-6, atol=1e-6 * np.abs(strain).max())


def test_linearize_and_vjp_against_the_jacobian(case):
    descriptor, atoms = case
    full = descriptor.compute([atoms], derivatives=True)[0]
    phi, pullback = descriptor.linearize(atoms)
    assert_close(phi, full.total, 1e-12)
    for seed in range(2):
        cotangent = np.random.default_rng(seed).normal(size=descriptor.n_features)
        cotangent.flags.writeable = False
        positions = np.einsum("d,dik->ik", cotangent, full.jacobian)
        for gradient in (pullback(cotangent), descriptor.vjp(atoms, cotangent)):
            np.testing.assert_allclose(
                gradient.positions, positions, atol=1e-10 * np.abs(full.jacobian).max() + 1e-12
            )
            assert_close(gradient.strain, cotangent @ full.strain, 1e-10)


@pytest.mark.parametrize("totaldegree", [12, 16])
def test_real_sizes_against_differences(totaldegree):
    descriptor, atoms = ACEDescriptor("Si", totaldegree=totaldegree), silicon()
    full = descriptor.compute([atoms], derivatives=True)[0]
    differences = position_differences(lambda a: total(descriptor, a), atoms[:2] + atoms[2:])
    assert_close(full.jacobian.transpose(1, 2, 0), differences, 1e-6)
    strain = strain_differences(lambda a: total(descriptor, a), atoms)
    assert_close(full.strain.T, strain, 1e-6)


def mixed_batch(elements):
    """1, 2, 8 and 9 atoms, all kinds of periodicity."""
    rng = np.random.default_rng(0)

    def of(n, seed):
        return cluster(rng.choice(elements, n), seed)

    slab = of(8, 3)
    slab.cell[:] = np.diag([8.0, 9.0, 0.0])
    slab.pbc = (True, True, False)
    crystal = of(9, 4)
    crystal.cell[:], crystal.pbc = np.diag([8.0, 8.0, 8.0]), True
    return [of(1, 1), of(2, 2), slab, crystal, of(2, 5)]


@pytest.mark.parametrize("elements", [["Si"], ELEMENTS])
def test_batch_equals_one_at_a_time(elements):
    descriptor = ACEDescriptor(elements, totaldegree=5)
    frames = mixed_batch(elements)
    for batched, atoms in zip(descriptor.compute(frames, derivatives=True), frames, strict=True):
        alone = descriptor.compute([atoms], derivatives=True)[0]
        for name in ("values", "jacobian", "strain"):
            assert_close(getattr(batched, name), getattr(alone, name), 1e-12)
    for batched, atoms in zip(descriptor.compute(frames), frames, strict=True):
        assert_close(batched.values, values(descriptor, atoms), 1e-12)


def test_batch_larger_than_the_working_memory(si_ace, monkeypatch):
    frames = [silicon(0.1, seed) for seed in range(3)] + [cluster("Si5")]
    whole = si_ace.compute(frames, derivatives=True)
    monkeypatch.setattr("ase_bayesel.descriptors.ace.descriptor.CHUNK_BYTES", 3e6)
    for expected, pieces in zip(whole, si_ace.compute(frames, derivatives=True), strict=True):
        for name in ("values", "jacobian", "strain"):
            assert_close(getattr(pieces, name), getattr(expected, name), 1e-12)


def test_empty_batch(si_ace):
    assert si_ace.compute([]) == []


def test_input_is_left_alone(si_ace):
    atoms = silicon()
    atoms.positions += 30.0
    before = atoms.copy()
    si_ace.compute([atoms], derivatives=True)
    assert atoms == before


def test_smooth_at_the_cutoff(si_ace):
    """Value and slope vanish at the cutoff, the value as the square of the distance to it."""

    def third_atom(r):
        atoms = Atoms("Si3", [[0, 0, 0], [0, 2.4, 0], [r, 0, 0]])
        return si_ace.compute([atoms], derivatives=True)[0]

    outside = third_atom(5.01)
    np.testing.assert_array_equal(outside.jacobian[:, 2], 0.0)
    scale = np.abs(third_atom(3.0).total).max()
    steps = [1e-2, 1e-3, 1e-4]
    jumps = [np.abs(third_atom(5.0 - s).total - outside.total).max() / scale for s in steps]
    slopes = [np.abs(third_atom(5.0 - s).jacobian[:, 2]).max() / scale for s in steps]
    assert jumps[-1] < 1e-6
    assert slopes[-1] < 0.01
    for larger, smaller in pairwise(jumps):
        assert smaller < larger / 50
    for larger, smaller in pairwise(slopes):
        assert smaller < larger / 5


def test_features_are_independent(si_ace):
    frames = [jittered(bulk("Si", cubic=True, a=a), 0.4, k) for k, a in enumerate((5.0, 5.4, 5.9))]
    frames += [cluster("Si8", seed) for seed in range(9)]
    rows = [
        np.vstack([f.total, f.jacobian.reshape(si_ace.n_features, -1).T])
        for f in si_ace.compute(frames, derivatives=True)
    ]
    matrix = np.concatenate(rows)
    lengths = np.linalg.norm(matrix, axis=0)
    assert (lengths > 0).all()
    assert np.linalg.matrix_rank(matrix / lengths) == si_ace.n_features == 211


def test_smoothness_prior():
    descriptor = ACEDescriptor("Si", order=2, totaldegree=8)
    std = descriptor.prior_std()
    np.testing.assert_allclose(std[:8], 1 / (1 + np.arange(1.0, 9) ** 4))
    functions = many_body_basis(1, 2, 8).functions
    for ((degree, _, n1), (_, _, n2)), value in zip(functions, std[8:], strict=True):
        # the purification adds to what the products alone give
        products = n1**4 + n2**4 + 2 * degree**4
        assert 0 < value < 1 / (1 + products)


def test_r0_changes_the_features_of_its_pair_only():
    plain = ACEDescriptor(["Si", "O"], totaldegree=5)
    other = ACEDescriptor(["Si", "O"], totaldegree=5, r0={("O", "Si"): 1.9})
    silicon_only = cluster("Si3")
    mixed = cluster(["Si", "O", "Si"])
    np.testing.assert_array_equal(total(plain, silicon_only), total(other, silicon_only))
    assert np.abs(total(plain, mixed) - total(other, mixed)).max() > 1e-3


def test_spec_round_trip():
    descriptor = ACEDescriptor(["Si", "O"], 3, 5, 4.5, r0={("Si", "O"): 1.7})
    spec = json.loads(json.dumps(descriptor.spec()))
    again = descriptor_from_spec(spec)
    atoms = cluster(["Si", "O", "Si", "O"])
    assert again.spec() == descriptor.spec()
    np.testing.assert_array_equal(total(again, atoms), total(descriptor, atoms))


def test_spec_of_another_kind_or_convention(si_ace):
    with pytest.raises(DescriptorError, match="soap"):
        descriptor_from_spec({"kind": "soap"})
    with pytest.raises(DescriptorError, match="convention"):
        descriptor_from_spec({**si_ace.spec(), "convention": "ACEpotentials-v0.8"})


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"elements": ["Xx"]}, "elements"),
        ({"elements": ["X"]}, "elements"),
        ({"elements": []}, "elements"),
        ({"elements": ["Si", "Si"]}, "elements"),
        ({"elements": ["Si"], "order": 4}, "order"),
        ({"elements": ["Si"], "order": 1}, "order"),
        ({"elements": ["Si"], "totaldegree": 1}, "totaldegree"),
        ({"elements": ["Si"], "cutoff": 0.0}, "cutoff"),
        ({"elements": ["Si"], "cutoff": float("nan")}, "cutoff"),
        ({"elements": ["Si"], "cutoff": float("inf")}, "cutoff"),
        ({"elements": ["Si"], "r0": {("Si", "O"): 1.6}}, "r0"),
        ({"elements": ["Si"], "r0": {("Si", "Si"): -1.0}}, "r0"),
    ],
)
def test_bad_arguments_are_named(arguments, named):
    with pytest.raises(DescriptorError, match=named):
        ACEDescriptor(**arguments)


def test_smallest_basis_works():
    descriptor = ACEDescriptor("Si", order=2, totaldegree=2)
    assert np.isfinite(total(descriptor, silicon())).all()


def test_structures_that_cannot_be_described(si_ace):
    with pytest.raises(DescriptorError, match="'Ge'"):
        si_ace.compute([silicon(), Atoms("Ge")])
    broken = silicon()
    broken.positions[3, 1] = np.nan
    for call in (lambda: si_ace.compute([broken]), lambda: si_ace.linearize(broken)):
        with pytest.raises(DescriptorError, match="not finite"):
            call()
    flat = silicon()
    flat.cell[0] = np.inf
    with pytest.raises(DescriptorError, match="not finite"):
        si_ace.compute([flat])


def test_cotangent_of_another_width(si_ace):
    with pytest.raises(DescriptorError, match="211"):
        si_ace.vjp(silicon(), np.ones(210))
