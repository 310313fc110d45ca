"""A small message-passing network with conventions of its own: it stands for a foreign package.

It knows nothing of ase_bayesel. Energies are in meV, species are counted from 0 in the order in
which the model was told of them, and edges point from the centre ``idx_i`` to the neighbour
``idx_j`` with a Cartesian offset.
"""

from __future__ import annotations

import numpy as np
import torch
from ase.calculators.calculator import Calculator, all_changes
from ase.neighborlist import neighbor_list

MEV = 1e-3  # eV


class PairNet(torch.nn.Module):
    """Filters of the distance, two rounds of messages, a readout (like SchNet, made small)."""

    def __init__(self, species, width=16, cutoff=4.5, n_radial=8):
        super().__init__()
        self.species, self.width, self.cutoff = list(species), width, cutoff
        self.register_buffer("centres", torch.linspace(1.5, cutoff, n_radial))
        self.embedding = torch.nn.Embedding(len(self.species), width)
        self.filters = torch.nn.ModuleList(torch.nn.Linear(n_radial, width) for _ in range(2))
        self.mixers = torch.nn.ModuleList(torch.nn.Linear(width, width) for _ in range(2))
        self.readout = torch.nn.Linear(width, 1)

    def forward(self, data):
        """Energies (meV) and the last hidden state of each atom."""
        positions, idx_i, idx_j = data["positions"], data["idx_i"], data["idx_j"]
        lengths = (positions[idx_j] + data["offsets"] - positions[idx_i]).norm(dim=1)
        smooth = (1.0 - (lengths / self.cutoff).clamp(max=1.0) ** 2) ** 3
        radial = torch.exp(-2.0 * (lengths[:, None] - self.centres) ** 2) * smooth[:, None]
        state = self.embedding(data["species"])
        for filters, mixer in zip(self.filters, self.mixers, strict=True):
            messages = state[idx_j] * filters(radial) * smooth[:, None]
            summed = torch.zeros_like(state).index_add(0, idx_i, messages)
            state = state + torch.nn.functional.silu(mixer(summed))
        atomic = self.readout(state).squeeze(-1) / MEV
        energies = atomic.new_zeros(data["n_systems"]).index_add(0, data["system"], atomic)
        return {"energy_meV": energies, "state": state}


def collate(net, frames):
    """Structures as one batch, in the form of `PairNet`; the crossed cells come along."""
    numbers, first = {z: k for k, z in enumerate(net.species)}, 0
    lists = {"idx_i": [], "idx_j": [], "crossed": [], "offsets": []}
    for atoms in frames:
        i, j, crossed = neighbor_list("ijS", atoms, net.cutoff)
        for name, array in zip(lists, (i + first, j + first, crossed), strict=False):
            lists[name].append(array)
        lists["offsets"].append(crossed @ atoms.cell.array)
        first += len(atoms)
    data = {name: torch.from_numpy(np.concatenate(arrays)) for name, arrays in lists.items()}
    data["idx_i"], data["idx_j"] = data["idx_i"].long(), data["idx_j"].long()
    dtype = net.centres.dtype
    data["offsets"] = data["offsets"].to(dtype)
    positions = np.concatenate([atoms.positions for atoms in frames])
    data["positions"] = torch.from_numpy(positions).to(dtype)
    data["species"] = torch.tensor([numbers[s] for atoms in frames for s in atoms.symbols])
    data["system"] = torch.tensor([k for k, atoms in enumerate(frames) for _ in atoms])
    data["n_systems"] = len(frames)
    return data


class PairNetCalculator(Calculator):
    """The package's own ASE calculator."""

    implemented_properties = ["energy", "forces"]

    def __init__(self, net):
        super().__init__()
        self.net = net

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        data = collate(self.net, [self.atoms])
        data["positions"].requires_grad_(True)
        energy = self.net(data)["energy_meV"].sum() * MEV
        (gradient,) = torch.autograd.grad(energy, data["positions"])
        self.results = {"energy": energy.item(), "forces": -gradient.double().numpy()}


def train(net, frames, energy_key, forces_key, n_steps=100, seed=0):
    """Some steps of Adam on energies per atom and forces."""
    torch.manual_seed(seed)
    data = collate(net, frames)
    sizes = torch.tensor([len(atoms) for atoms in frames])
    energies = torch.tensor([float(atoms.info[energy_key]) for atoms in frames])
    forces = torch.from_numpy(np.concatenate([atoms.arrays[forces_key] for atoms in frames]))
    optimiser = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(n_steps):
        positions = data["positions"].detach().requires_grad_(True)
        found = net({**data, "positions": positions})["energy_meV"] * MEV
        (slope,) = torch.autograd.grad(found.sum(), positions, create_graph=True)
        by_energy = (((found - energies) / sizes) ** 2).mean()
        loss = by_energy + ((slope + forces) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return float(loss.detach())


def save(net, path):
    """Write a model file, without pickled code."""
    sizes = {"species": net.species, "width": net.width, "cutoff": net.cutoff}
    torch.save({"sizes": sizes, "state": net.state_dict()}, path)


def load(path, dtype=torch.float64):
    """Read a model file."""
    content = torch.load(path, weights_only=True)
    net = PairNet(**content["sizes"])
    net.load_state_dict(content["state"])
    return net.to(dtype)
