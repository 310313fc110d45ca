"""Errors of linear ACE on structures left out, by the weight of virials in the fit.

    python scripts/virial_weights.py data/si2018

The folder is that of `fetch_si2018.py`. Prints a table: medians over three divisions of the silicon
set into 120 training and 100 test structures, and of 30 and 30 rattled and strained cells of
aluminium, nickel and copper with ASE's EMT.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from silicon_fit import KEYS

from ase_bayesel import ACEDescriptor, fit_surrogate
from ase_bayesel.structures import read_frames
from ase_bayesel.surrogate.fitting import Weights

WEIGHTS = (None, 0.1, 1.0, 5.0, 30.0)
"""None for a fit without virials."""
E0S = {"Si": -158.54496821, "Al": 0.0, "Ni": 0.0, "Cu": 0.0}
"""Of isolated atoms, eV."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("si2018", type=Path, help="folder with core.extxyz and surfaces.extxyz")
    folder = parser.parse_args(arguments).si2018
    files = (folder / f"{name}.extxyz" for name in ("core", "surfaces"))
    silicon = [atoms for file in files for atoms in read_frames(file) if 1 < len(atoms) <= 64]
    print("| structures | weight | meV/atom | meV/A |\n|---|---|---|---|")
    for name in ("Si", "Al", "Ni", "Cu"):
        divisions = []
        for seed in range(3):
            rng = np.random.default_rng(seed)
            if name == "Si":
                frames, n_train = [silicon[k] for k in rng.permutation(len(silicon))[:220]], 120
            else:
                frames, n_train = [cell(name, rng) for _ in range(60)], 30
            divisions.append((frames[:n_train], frames[n_train:]))
        for weight in WEIGHTS:
            found = [errors(*division, name, weight) for division in divisions]
            energy, forces = 1e3 * np.median(found, axis=0)
            print(f"| {name} | {weight} | {energy:.2f} | {forces:.1f} |", flush=True)
    return 0


def cell(symbol: str, rng: np.random.Generator) -> Atoms:
    """A rattled and strained cell of 32 atoms with labels."""
    atoms = bulk(symbol, cubic=True) * (2, 2, 2)
    atoms.set_cell(atoms.cell @ (np.eye(3) + rng.normal(0, 0.02, (3, 3))), scale_atoms=True)
    atoms.rattle(rng.choice([0.05, 0.1, 0.2]), rng=rng)
    atoms.calc = EMT()
    atoms.info[KEYS.energy] = atoms.get_potential_energy()
    atoms.info[KEYS.virial] = -atoms.get_volume() * atoms.get_stress(voigt=False)
    atoms.arrays[KEYS.forces] = atoms.get_forces()
    atoms.calc = None
    return atoms


def errors(
    train: Sequence[Atoms], test: Sequence[Atoms], symbol: str, weight: float | None
) -> tuple[float, float]:
    """Root mean square, of energies per atom (eV) and of forces (eV/A)."""
    surrogate = fit_surrogate(
        train,
        ACEDescriptor([symbol], order=3, totaldegree=12, cutoff=6.0 if symbol == "Si" else 5.5),
        KEYS.energy,
        KEYS.forces,
        None if weight is None else KEYS.virial,
        e0s=E0S,
        weights=Weights() if weight is None else Weights(virial=weight),
    )
    energies, forces = [], []
    for labelled in test:
        atoms = Atoms(labelled.numbers, labelled.positions, cell=labelled.cell, pbc=labelled.pbc)
        atoms.calc = surrogate.calculator()
        off = atoms.get_potential_energy() - labelled.info[KEYS.energy]
        energies.append(off / len(atoms))
        forces.append((atoms.get_forces() - labelled.arrays[KEYS.forces]).ravel())
    rms = [np.sqrt(np.mean(np.square(np.concatenate(x)))) for x in ([energies], forces)]
    return float(rms[0]), float(rms[1])


if __name__ == "__main__":
    raise SystemExit(main())
