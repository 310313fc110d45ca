"""The lean blocks of a MACE model against e3nn's and mace-torch's own, and against differences."""

from functools import cache

import numpy as np
import pytest
from ase import Atoms
from helpers.differences import assert_close
from helpers.structures import cluster, copper, with_pbc
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("mace")

import torch
from helpers.mace_models import mace_calculator, needs_mace, tiny_mace

from ase_bayesel import MACEDescriptor
from ase_bayesel.descriptors.mace import lean, network
from ase_bayesel.descriptors.mace.contraction import SymmetricPolynomial
from ase_bayesel.descriptors.mace.convolution import (
    MAX_PADDING,
    Convolution,
    RadialLayers,
    edge_blocks,
)
from ase_bayesel.descriptors.mace.internals import import_mace
from ase_bayesel.descriptors.mace.lean import lean_copy
from ase_bayesel.descriptors.mace.loading import weights_sha256
from ase_bayesel.descriptors.torch import rows
from ase_bayesel.descriptors.torch.runtime import default_dtype, quiet

mace = import_mace()
with quiet():
    from e3nn import nn, o3
    from mace.modules.irreps_tools import tp_out_irreps_with_instructions
    from mace.modules.symmetric_contraction import SymmetricContraction
    from mace.tools.scatter import scatter_sum

pytestmark = needs_mace

HIDDEN = ["4x0e", "4x0e+4x1o", "3x0e+2x1o+1x2e", "2x0e+2x0o+2x1e"]
BLOCKS = [
    "RealAgnosticInteractionBlock",
    "RealAgnosticResidualInteractionBlock",
    "RealAgnosticDensityInteractionBlock",
    "RealAgnosticDensityResidualInteractionBlock",
]
SURFACE = with_pbc(copper(5, 0.2) * (2, 1, 1), (True, True, False))
FRAMES = [copper(3, 0.2), Atoms("Cu"), cluster("Cu9", 2), SURFACE]


@cache
def products(hidden, max_ell, dtype=torch.float64):
    """e3nn's tensor product of a MACE interaction, and ours with a random mixing."""
    inputs, harmonics = o3.Irreps(hidden), o3.Irreps.spherical_harmonics(max_ell)
    target = (harmonics * inputs.count("0e")).sort()[0].simplify()
    with quiet(), default_dtype(dtype):
        out, instructions = tp_out_irreps_with_instructions(inputs, harmonics, target)
        stock = o3.TensorProduct(
            inputs, harmonics, out, instructions, shared_weights=False, internal_weights=False
        )
    mixing = torch.randn(5, stock.weight_numel, dtype=dtype, generator=torch.manual_seed(0))
    assert Convolution.supported(stock)
    return stock, Convolution(stock, mixing, o3.wigner_3j)


@st.composite
def graphs(draw):
    """Number of atoms, and edges whose receivers have very unequal degrees."""
    n_atoms = draw(st.integers(1, 7))
    receivers = draw(st.lists(st.integers(0, draw(st.integers(0, n_atoms - 1))), max_size=30))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    edges = np.stack([rng.integers(0, n_atoms, len(receivers)), np.array(receivers, int)])
    return n_atoms, torch.from_numpy(edges)


def random_inputs(stock, n_atoms, n_edges, dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    shapes = [(n_atoms, stock.irreps_in1.dim), (n_edges, stock.irreps_in2.dim), (n_edges, 5)]
    return [torch.randn(*s, dtype=dtype, generator=generator).requires_grad_() for s in shapes]


def values_and_slopes(call, inputs):
    out = call(*inputs)
    weights = torch.randn(out.shape, dtype=out.dtype, generator=torch.manual_seed(2))
    return [out.detach(), *torch.autograd.grad(out, inputs, weights, materialize_grads=True)]


def right_slopes(call, inputs):
    """Backward and forward mode against finite differences."""
    with quiet():
        return torch.autograd.gradcheck(call, inputs, check_forward_ad=True, fast_mode=True)


# the blocks alone


@given(graphs())
def test_every_edge_and_atom_in_one_cell(graph):
    n_atoms, edges = graph
    blocks = edge_blocks(edges[1], n_atoms)
    receivers = [atom for block in blocks for atom in block.receivers.tolist()]
    assert sorted(receivers) == sorted(set(edges[1].tolist()))
    found = [edge for block in blocks for edge in block.edges.tolist()]
    assert sorted(found) == list(range(edges.shape[1]))
    for block in blocks:
        degrees = torch.bincount(edges[1], minlength=n_atoms)[block.receivers]
        assert block.width == degrees.max() <= MAX_PADDING * degrees.min()
        assert len(set(block.cells.tolist())) == len(block.cells)
        receivers = block.receivers.repeat_interleave(block.width)[block.cells]
        assert torch.equal(receivers, edges[1, block.edges])


@settings(max_examples=60, deadline=None)
@given(graphs(), st.sampled_from(HIDDEN), st.integers(1, 3))
def test_convolution_is_the_sum_of_edge_messages(graph, hidden, max_ell):
    n_atoms, edges = graph
    stock, ours = products(hidden, max_ell)

    def by_edges(features, harmonics, radial):
        messages = stock(features[edges[0]], harmonics, radial @ ours.mixing)
        return scatter_sum(messages, edges[1], dim=0, dim_size=n_atoms)

    inputs = random_inputs(stock, n_atoms, edges.shape[1])
    found = values_and_slopes(lambda *x: ours(*x, edges), inputs)
    for one, two in zip(found, values_and_slopes(by_edges, inputs), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-12)


def test_convolution_in_single_precision():
    stock, ours = products("4x0e+4x1o", 2, torch.float32)
    edges = torch.randint(0, 5, (2, 40), generator=torch.manual_seed(0))
    features, harmonics, radial = random_inputs(stock, 5, 40, torch.float32)
    messages = stock(features[edges[0]], harmonics, radial @ ours.mixing)
    expected = scatter_sum(messages, edges[1], dim=0, dim_size=5)
    torch.testing.assert_close(ours(features, harmonics, radial, edges), expected)


def test_convolution_in_both_modes_against_differences():
    stock, ours = products("2x0e+2x1o", 2)
    edges = torch.tensor([[0, 1, 2, 2, 1, 0], [1, 0, 1, 1, 1, 2]])
    inputs = random_inputs(stock, 4, 6)
    assert right_slopes(lambda *x: ours(*x, edges), inputs)


@pytest.mark.parametrize("sizes", [[6, 7], [6, 8, 9, 7]])
def test_radial_layers(sizes):
    with quiet(), default_dtype("float64"):
        stock = nn.FullyConnectedNet(sizes, torch.nn.functional.silu)
        other = nn.FullyConnectedNet([6, 8, 7], torch.tanh)
    assert RadialLayers.supported(stock)
    assert not RadialLayers.supported(other)
    assert not RadialLayers.supported(torch.nn.Linear(6, 7))
    ours = RadialLayers(stock)
    x = torch.randn(20, 6, dtype=torch.float64, generator=torch.manual_seed(0))
    torch.testing.assert_close(ours(x) @ ours.mixing, stock(x), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("correlation", [1, 2, 3, 4])
@pytest.mark.parametrize("out", ["3x0e", "3x0e+3x1o", "3x0e+3x1o+3x2e"])
def test_symmetric_polynomial(correlation, out):
    inputs = o3.Irreps("3x0e+3x1o") if correlation == 4 else o3.Irreps("3x0e+3x1o+3x2e")
    torch.manual_seed(0)
    with quiet(), default_dtype("float64"):
        stock = SymmetricContraction(inputs, o3.Irreps(out), correlation, num_elements=2)
    ours = SymmetricPolynomial(stock)
    features = torch.randn(5, 3, inputs.dim // 3, dtype=torch.float64, requires_grad=True)
    elements = torch.eye(2, dtype=torch.float64)[[0, 1, 1, 0, 1]]
    one, two = (values_and_slopes(lambda x, f=f: f(x, elements), [features]) for f in (ours, stock))
    for mine, theirs in zip(one, two, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-11, atol=1e-11)
    few = features[:2].detach().requires_grad_()
    assert right_slopes(lambda x: ours(x, elements[:2]), [few])


# whole models


def assert_lean_equals_stock(model, tolerance=1e-11):
    descriptor = MACEDescriptor(mace_calculator(model), components="all")
    lean_network, stock = descriptor.network, descriptor._full
    assert lean_network.lean
    assert not stock.lean
    for frames in (FRAMES[:1], FRAMES[1:2], FRAMES):
        ours, theirs = lean_network.forward(frames), stock.forward(frames)
        assert_close(ours.energies.detach(), theirs.energies.detach(), tolerance)
        assert_close(ours.features.detach(), theirs.features.detach(), tolerance)
        for name in ("energies", "features"):
            outputs = [getattr(one, name) for one in (ours, theirs)]
            one, two = (
                pass_.gradients([out], [torch.ones_like(out)])
                for pass_, out in zip((ours, theirs), outputs, strict=True)
            )
            assert_close(one[0], two[0], tolerance)
            assert_close(one[1], two[1], tolerance)
    return descriptor


@pytest.mark.parametrize(
    ("irreps", "max_ell"),
    [("4x0e", 1), ("4x0e", 3), ("4x0e+4x1o", 2), ("4x0e+4x1o", 3), ("4x0e+4x1o+4x2e", 2)],
)
def test_models_of_several_sizes(irreps, max_ell):
    assert_lean_equals_stock(tiny_mace(irreps=irreps, max_ell=max_ell, correlation=3))


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        (BLOCKS[0], BLOCKS[1], "MACE"),
        (BLOCKS[1], BLOCKS[0], "ScaleShiftMACE"),
        (BLOCKS[2], BLOCKS[3], "ScaleShiftMACE"),
        (BLOCKS[3], BLOCKS[2], "MACE"),
    ],
)
def test_models_of_several_kinds(first, second, kind):
    model = tiny_mace(first=first, second=second, kind=kind)
    descriptor = assert_lean_equals_stock(model)
    for block in descriptor.network.module.interactions:
        assert isinstance(block.conv_tp, Convolution)
    for block in descriptor.network.module.products:
        assert isinstance(block.symmetric_contractions, SymmetricPolynomial)


def test_several_elements_and_heads():
    model = tiny_mace(("Cu", "Au", "Al"), heads=("one", "two"))
    calculator = mace_calculator(model, head="two")
    descriptor = MACEDescriptor(calculator)
    assert descriptor.network.lean
    atoms = cluster("Cu2Al3Au", 5)
    one = descriptor.forward(atoms)
    assert one.energy == pytest.approx(calculator.get_potential_energy(atoms), rel=1e-12)
    assert_close(-one.gradient(1.0).positions, calculator.get_forces(atoms), 1e-11)


def test_model_in_single_precision():
    single, double = (
        MACEDescriptor(mace_calculator(tiny_mace()), dtype=d) for d in ("float32", "float64")
    )
    assert single.network.lean
    assert (
        single.network.module.products[0].symmetric_contractions.coefficients.dtype == torch.float32
    )
    ours, theirs = (d.forward(FRAMES[0]).gradient(1.0).positions for d in (single, double))
    assert_close(ours, theirs, 1e-4)


def test_cut_and_lean():
    calculator = mace_calculator(tiny_mace(("Cu", "Au", "Al")))
    cut = MACEDescriptor(calculator, elements=["Cu", "Al"])
    assert cut.network.lean
    assert cut.network.numbers == [13, 29]
    forces = -cut.forward(atoms := cluster("Cu2Al3", 5)).gradient(1.0).positions
    assert_close(forces, calculator.get_forces(atoms), 1e-11)


@pytest.mark.parametrize("second", [BLOCKS[1], BLOCKS[3]])
def test_jacobians_of_a_batch(monkeypatch, second):
    descriptor = MACEDescriptor(mace_calculator(tiny_mace(second=second)))
    assert descriptor.network.lean
    found = []
    for price in (0.01, 1e3):
        monkeypatch.setattr(rows, "TANGENT_PRICE", price)
        found.append(descriptor.compute(FRAMES[:3], derivatives=True))
    for one, two in zip(*found, strict=True):
        assert_close(one.jacobian, two.jacobian, 1e-11)
        assert_close(one.strain, two.strain, 1e-11)


def test_the_model_is_left_alone():
    model = tiny_mace()
    before = weights_sha256(model)
    calculator = mace_calculator(model)
    expected = calculator.get_forces(FRAMES[0])
    descriptor = MACEDescriptor(calculator)
    assert weights_sha256(model) == before
    assert descriptor._full.module is model
    assert descriptor.serves(mace_calculator(model))
    assert not any(hasattr(block, "conv_fusion") for block in model.interactions)
    assert type(model.interactions[0].conv_tp).__name__ == "TensorProduct"
    calculator.reset()
    np.testing.assert_array_equal(calculator.get_forces(FRAMES[0]), expected)
    ours = dict(descriptor.network.module.named_parameters())
    assert all(ours[name] is value for name, value in model.named_parameters() if name in ours)


def test_blocks_of_other_kinds_stay():
    model = tiny_mace(second="RealAgnosticAttResidualInteractionBlock")
    module = lean_copy(model, o3.wigner_3j)
    assert isinstance(module.interactions[0].conv_tp, Convolution)
    assert module.interactions[1] is model.interactions[1]
    assert_lean_equals_stock(model)


def test_nothing_to_replace(monkeypatch):
    monkeypatch.setattr(lean, "LEAN_INTERACTIONS", ())
    monkeypatch.setattr(SymmetricPolynomial, "supported", staticmethod(lambda _: False))
    descriptor = MACEDescriptor(mace_calculator(tiny_mace()))
    assert descriptor.network is descriptor._full
    assert not descriptor.network.lean


@pytest.mark.parametrize("error", [1e-8, np.nan])
def test_wrong_blocks_are_not_used(monkeypatch, error):
    def wrong(module, wigner_3j):
        twin = lean_copy(module, wigner_3j)
        twin.interactions[1].conv_tp.coupling += error
        return twin

    monkeypatch.setattr(network, "lean_copy", wrong)
    descriptor = MACEDescriptor(mace_calculator(tiny_mace()))
    assert not descriptor.network.lean
    assert descriptor.network is descriptor._full


def test_unsupported_products():
    other = [(0, 0, 0, "uvw", True)], [(0, 0, 0, "uvu", False)]
    for instructions in other:
        with quiet():
            product = o3.TensorProduct(
                "2x0e", "1x0e", "2x0e", instructions, shared_weights=False, internal_weights=False
            )
        assert not Convolution.supported(product)
