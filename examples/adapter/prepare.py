"""Make the data of examples/adapter/config.yaml and train a first network; a few seconds.

python examples/adapter/prepare.py [folder]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pairnet
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write


def crystal(rng: np.random.Generator, std: float, symbols=("Cu", "Al")) -> Atoms:
    """Four atoms of copper and aluminium on distorted fcc sites."""
    atoms = bulk("Cu", cubic=True, a=3.85)
    atoms.symbols[:] = rng.choice(symbols, 4)
    atoms.rattle(std, rng=rng)
    return atoms


def labelled(atoms: Atoms) -> Atoms:
    """A copy with the labels of EMT."""
    out = atoms.copy()
    out.calc = EMT()
    out.info["REF_energy"] = out.get_potential_energy()
    out.arrays["REF_forces"] = out.get_forces()
    out.calc = None
    return out


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    pure = [crystal(rng, 0.05, symbol) for symbol in (["Cu"], ["Al"])]
    training = [labelled(a) for a in [*pure, *(crystal(rng, 0.05) for _ in range(6))]]
    write(folder / "train.extxyz", training)
    write(folder / "test.extxyz", [labelled(crystal(rng, 0.15)) for _ in range(6)])
    write(folder / "starts.extxyz", [crystal(rng, 0.02) for _ in range(2)])
    torch.manual_seed(0)
    net = pairnet.PairNet(["Cu", "Al"]).double()
    pairnet.train(net, training, "REF_energy", "REF_forces")
    pairnet.save(net, folder / "pairnet.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "data")
