"""An adapter for MACE that makes its graphs and strains by `strained`, against `MACEDescriptor`."""

import numpy as np
import pytest
import torch
from helpers.differences import assert_close
from helpers.mace_models import mace_calculator, needs_mace, tiny_mace
from helpers.structures import cluster, copper, with_pbc

from ase_bayesel import MACEDescriptor
from ase_bayesel.descriptors.base import Combination
from ase_bayesel.descriptors.torch import Graph, TorchDescriptor, strained
from ase_bayesel.testing import check_joint_descriptor

pytestmark = needs_mace
FRAMES = [copper(1, 0.15), cluster("Cu5", 2), with_pbc(copper(3, 0.1), (True, True, False))]


class ByHook(TorchDescriptor):
    """mace's own model, whose displacement and derivatives are not used."""

    def __init__(self, descriptor):
        self.network, self.columns = descriptor._full, descriptor.columns
        self.module, self.elements = self.network.module, descriptor.elements
        self.n_features = descriptor.n_features

    def graph(self, frames):
        leaves, data = strained(frames, self.dtype), self.network.graphs(frames)
        sender = data["edge_index"][0]
        cells = leaves.cells[leaves.batch[sender]]
        data["positions"], data["cell"] = leaves.moved, leaves.cells.reshape(-1, 3)
        data["shifts"] = torch.einsum("ek,ekx->ex", data["unit_shifts"], cells)
        out = self.module(data, compute_force=False, compute_displacement=False)
        features = out["node_feats"][:, self.columns]
        return Graph(out["energy"], features, leaves.positions, leaves.strain)


@pytest.fixture(scope="module")
def pair():
    """mace's features by their own class and by the hook, and mace's calculator."""
    calculator = mace_calculator(tiny_mace())
    descriptor = MACEDescriptor(calculator)
    return descriptor, ByHook(descriptor), calculator


def test_features_and_derivatives(pair):
    ours, hook, _ = pair
    for one, two in zip(ours.compute(FRAMES, True), hook.compute(FRAMES, True), strict=True):
        assert_close(two.values, one.values, 1e-10)
        assert_close(two.jacobian, one.jacobian, 1e-10)
        assert_close(two.strain, one.strain, 1e-10)
    sketches = [d.sketch(FRAMES, 3, np.random.default_rng(0)) for d in (ours, hook)]
    for one, two in zip(*sketches, strict=True):
        assert_close(two.slopes, one.slopes, 1e-10)
        assert_close(two.strain, one.strain, 1e-10)


def test_passes(pair):
    ours, hook, _ = pair
    one, two = ours.forward_batch(FRAMES), hook.forward_batch(FRAMES)
    assert_close(two.energies, one.energies, 1e-10)
    assert_close(two.phi, one.phi, 1e-10)
    rng = np.random.default_rng(1)
    wanted = {k: Combination(0.7, rng.standard_normal(ours.n_features)) for k in range(3)}
    both = one.gradients(wanted), two.gradients(wanted)
    for k, atoms in enumerate(FRAMES):
        assert_close(both[1][k].positions, both[0][k].positions, 1e-10)
        assert_close(both[1][k].strain, both[0][k].strain, 1e-10)
        moves = rng.standard_normal((2, len(atoms), 3))
        assert_close(two.pushforward(k, moves), one.pushforward(k, moves), 1e-10)


def test_maces_own_calculator_is_that_of_the_passes(pair):
    ours, hook, calculator = pair
    check_joint_descriptor(ours, FRAMES, calculator)
    check_joint_descriptor(ours, FRAMES[:1])
    check_joint_descriptor(hook, FRAMES[:1])
