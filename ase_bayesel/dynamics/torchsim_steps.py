"""Steps of several walkers in one state of torch-sim."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from ..bias.torchsim import BiasedModel
from ..bias.torchsim_releases import MDState, momentum_step, periodicity, position_step
from .batched import Stretch


def moved(stretches: Sequence[Stretch]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Positions and momenta ``(n_atoms, 3)`` at the end of each stretch, before the last half kick.

    Velocity Verlet, or with friction BAOAB: half a kick, half a drift, friction and noise, half
    a drift, half a kick. All but the last kick are made here.

    Parameters
    ----------
    stretches
        Of one kind.
    """
    first, sizes = stretches[0], [len(one.atoms) for one in stretches]
    taus = torch.tensor([one.tau for one in stretches], dtype=torch.float64)
    model = BiasedModel(first.surrogate, taus, compute_stress=False, bias=first.bias)
    state = _state(stretches, model.device)
    dt = torch.tensor(first.timestep, dtype=torch.float64, device=model.device)
    kT = torch.from_numpy(np.repeat([one.kT for one in stretches], sizes))
    thermal = torch.sqrt(state.masses * kT.to(dt))[:, None]
    noise = torch.from_numpy(np.concatenate([one.noise for one in stretches], axis=1))
    for k, drawn in enumerate(noise.to(dt)):
        if k > 0:
            found = model(state)
            state.energy = found["energy"].to(state.energy)
            state.forces = found["forces"].to(state.forces)
            state = momentum_step(state, dt / 2)
        state = momentum_step(state, dt / 2)
        if first.friction is None:
            state = position_step(state, dt)
            continue
        state = position_step(state, dt / 2)
        kept = math.exp(-first.friction * first.timestep)
        state.momenta = kept * state.momenta + math.sqrt(1 - kept**2) * thermal * drawn
        state = position_step(state, dt / 2)
    arrays = (tensor.cpu().split(sizes) for tensor in (state.positions, state.momenta))
    return [
        (_unwrapped(one, positions.numpy()), momenta.numpy())
        for one, positions, momenta in zip(stretches, *arrays, strict=True)
    ]


def _state(stretches: Sequence[Stretch], device: torch.device) -> MDState:
    """The walkers as one state in float64."""
    frames = [one.atoms for one in stretches]

    def joined(arrays: Sequence[np.ndarray]) -> torch.Tensor:
        return torch.from_numpy(np.concatenate(arrays)).to(device)

    return MDState(
        positions=joined([atoms.get_positions() for atoms in frames]),
        masses=joined([atoms.get_masses() for atoms in frames]),
        cell=joined([atoms.cell.complete().array.T[None] for atoms in frames]),
        pbc=periodicity(frames[0].pbc),
        atomic_numbers=joined([atoms.numbers for atoms in frames]),
        system_idx=joined([np.full(len(atoms), k) for k, atoms in enumerate(frames)]),
        momenta=joined([atoms.get_momenta() for atoms in frames]),
        energy=torch.zeros(len(frames), dtype=torch.float64, device=device),
        forces=joined([one.forces for one in stretches]),
    )


def _unwrapped(one: Stretch, positions: np.ndarray) -> np.ndarray:
    """The positions without the cell vectors by which torch-sim 0.3 takes atoms back."""
    cell = one.atoms.cell.complete().array
    crossed = np.round((positions - one.atoms.positions) @ np.linalg.inv(cell))
    return positions - np.where(one.atoms.pbc, crossed, 0.0) @ cell
