"""Small MACE models for the tests: random weights, and one trained on EMT copper."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.data import atomic_numbers

from ase_bayesel import MACEDescriptor
from ase_bayesel.descriptors.mace.internals import import_mace
from ase_bayesel.descriptors.torch.runtime import default_dtype, quiet

E0 = -1.5
needs_mace = pytest.mark.optional("mace")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
DEVICES = ("cpu", pytest.param("cuda", marks=[pytest.mark.gpu, needs_cuda]))
"""Devices of a test that compares with the CPU, and that runs there too."""


def tiny_mace(
    elements=("Cu",),
    irreps="6x0e+6x1o",
    dtype="float64",
    cutoff=4.0,
    seed=0,
    heads=("Default",),
    correlation=2,
    radial=(12, 12),
    e0=E0,
    first="RealAgnosticResidualInteractionBlock",
    second="RealAgnosticResidualInteractionBlock",
    max_ell=2,
    kind="ScaleShiftMACE",
):
    """Two layers, random weights."""
    import_mace()
    with quiet():
        from e3nn import o3
        from mace import modules
    torch_state = torch.get_rng_state()
    torch.manual_seed(seed)
    blocks = modules.interaction_classes
    shift = {"atomic_inter_scale": [0.8] * len(heads), "atomic_inter_shift": [0.1] * len(heads)}
    with quiet(), default_dtype(dtype):
        model = getattr(modules, kind)(
            r_max=cutoff,
            num_bessel=5,
            num_polynomial_cutoff=5,
            max_ell=max_ell,
            interaction_cls=blocks[second],
            interaction_cls_first=blocks[first],
            num_interactions=2,
            num_elements=len(elements),
            hidden_irreps=o3.Irreps(irreps),
            MLP_irreps=o3.Irreps("8x0e"),
            atomic_energies=np.full((len(heads), len(elements)), e0),
            avg_num_neighbors=12.0,
            atomic_numbers=sorted(atomic_numbers[symbol] for symbol in elements),
            correlation=correlation,
            gate=torch.nn.functional.silu,
            radial_MLP=list(radial),
            heads=list(heads),
            **(shift if kind == "ScaleShiftMACE" else {}),
        )
    torch.set_rng_state(torch_state)
    return model


def mace_calculator(model, dtype="float64", device="cpu", **options):
    """mace's own ASE calculator of a model in memory, which is moved to the device."""
    import_mace()
    with quiet():
        from mace.calculators import MACECalculator

        return MACECalculator(models=model, device=device, default_dtype=dtype, **options)


def save_model(model, path):
    """Write a model file as mace does."""
    with quiet():
        torch.save(model, path)


def trained_mace(frames: list[Atoms], n_steps=150, seed=1, device="cpu", **options):
    """A tiny model after some steps of Adam on energies and forces."""
    model = tiny_mace(seed=seed, **options)
    calculator = mace_calculator(model, device=device)
    frames = [atoms for atoms in frames if len(atoms) > 1]
    graphs = MACEDescriptor(calculator).network.graphs(frames)
    for parameter in model.parameters():
        parameter.requires_grad = True
    energies, forces, counts = (
        torch.tensor(np.asarray(values, float), device=device)
        for values in (
            [atoms.info["energy"] for atoms in frames],
            np.concatenate([atoms.arrays["forces"] for atoms in frames]),
            [len(atoms) for atoms in frames],
        )
    )
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(n_steps):
        out = model(dict(graphs), training=True)
        by_energy = (((out["energy"] - energies) / counts) ** 2).mean()
        loss = by_energy + 10 * ((out["forces"] - forces) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    for parameter in model.parameters():
        parameter.requires_grad = False
    return model, losses
