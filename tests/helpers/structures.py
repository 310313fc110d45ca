"""Small structures, and labels of EMT for them."""

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.stress import voigt_6_to_full_3x3_stress

VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


def jittered(atoms: Atoms, std: float = 0.1, seed: int = 0) -> Atoms:
    """A copy with normal displacements (A)."""
    moved = atoms.copy()
    moved.positions += np.random.default_rng(seed).normal(0, std, moved.positions.shape)
    return moved


def cluster(symbols, seed: int = 0, spacing: float = 2.4) -> Atoms:
    """Up to 27 atoms on random sites of a jittered grid, pbc=False and zero cell."""
    rng = np.random.default_rng(seed)
    atoms = Atoms("".join(symbols))
    grid = np.indices((3, 3, 3)).reshape(3, -1).T * spacing
    atoms.positions = grid[rng.choice(len(grid), len(atoms), replace=False)]
    atoms.positions += rng.uniform(-0.3, 0.3, atoms.positions.shape)
    return atoms


def sheared(atoms: Atoms) -> Atoms:
    """A copy under a general deformation of a few per cent."""
    deformation = np.array([[1.03, 0.05, -0.02], [0.01, 0.98, 0.04], [-0.03, 0.02, 1.01]])
    out = atoms.copy()
    out.set_cell(atoms.cell.array @ deformation, scale_atoms=True)
    return out


def silicon(std: float = 0.1, seed: int = 0) -> Atoms:
    """Eight distorted atoms."""
    return jittered(sheared(bulk("Si", cubic=True)), std, seed)


def alloy(symbols="CuAuAlCu", std: float = 0.1, seed: int = 0) -> Atoms:
    """Four distorted fcc atoms."""
    atoms = sheared(bulk("Cu", cubic=True, a=3.8))
    atoms.symbols = symbols
    return jittered(atoms, std, seed)


def with_pbc(atoms: Atoms, pbc, keep_cell: bool = True) -> Atoms:
    """A copy with other periodicity; without ``keep_cell`` the other cell vectors are zero."""
    out = atoms.copy()
    out.pbc = pbc
    if not keep_cell:
        out.cell[~out.pbc] = 0.0
    return out


def strained(atoms: Atoms, component: int, strain: float) -> Atoms:
    """A copy under one Voigt component of a symmetric strain, e_yz = e_zy = strain / 2."""
    a, b = VOIGT[component]
    tensor = np.zeros((3, 3))
    tensor[a, b] += strain / 2
    tensor[b, a] += strain / 2
    out = atoms.copy()
    out.cell[:] = atoms.cell.array @ (np.eye(3) + tensor)
    out.positions = atoms.positions @ (np.eye(3) + tensor)
    return out


def emt_labelled(atoms: Atoms) -> Atoms:
    """A copy with EMT's energy, forces and, if periodic, virial."""
    out = atoms.copy()
    out.calc = EMT()
    out.info["energy"] = out.get_potential_energy()
    out.arrays["forces"] = out.get_forces()
    if out.pbc.all():
        out.info["virial"] = -out.get_volume() * voigt_6_to_full_3x3_stress(out.get_stress())
    out.calc = None
    return out


def copper(seed: int = 0, std: float = 0.1, a: float = 3.61, repeat=(1, 1, 1)) -> Atoms:
    return jittered(bulk("Cu", cubic=True, a=a) * repeat, std, seed)


def copper_training() -> list[Atoms]:
    """An isolated atom and nine four-atom cells, labelled by EMT."""
    volumes = np.linspace(3.45, 3.85, 9)
    cells = [copper(k, 0.08 + 0.01 * k, a) for k, a in enumerate(volumes)]
    return [emt_labelled(atoms) for atoms in (Atoms("Cu"), *cells)]


def reference(atoms: Atoms) -> Atoms:
    """A copy with EMT's labels under the default keys, and a virial if it is periodic."""
    out, labelled = atoms.copy(), emt_labelled(atoms)
    if "virial" in labelled.info:
        out.info["REF_virial"] = labelled.info["virial"]
    out.info["REF_energy"] = labelled.info["energy"]
    out.arrays["REF_forces"] = labelled.arrays["forces"]
    return out


def alloy_cells(n: int, std: float, seed: int) -> list[Atoms]:
    """Distorted four-atom fcc cells, Cu3Al and CuAl in turn."""
    perfect = bulk("Cu", cubic=True, a=3.75)
    cells = [jittered(perfect, std, seed + k) for k in range(n)]
    for k, atoms in enumerate(cells):
        atoms.symbols = ("Cu3Al", "CuAlCuAl")[k % 2]
    return cells
