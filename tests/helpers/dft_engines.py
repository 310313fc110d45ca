"""The DFT engines on small silicon cells and molecules, as cheap as they run."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.constraints import FixAtoms
from ase.stress import voigt_6_to_full_3x3_stress

from ase_bayesel.labelling.engines import AbinitEngine, CP2KEngine, EspressoEngine
from ase_bayesel.labelling.engines.base import merged
from ase_bayesel.labelling.result import REFERENCE_PROPERTIES

COMMON = {"environment": {"OMP_NUM_THREADS": "1"}, "time_limit_h": 300.0 / 3600.0}
STRAIN = np.array([[0.5, 0.6, 0.2], [0.6, -0.7, 0.4], [0.2, 0.4, 0.3]])

# both plane-wave programs get a kinetic energy that makes E smooth in the strain (qcutz, ecutsm),
# so that finite differences of E are the stress also with few plane waves
ESPRESSO = EspressoEngine(
    parameters={
        "system": {"ecutwfc": 16, "degauss": 0.02, "ecfixed": 10, "qcutz": 100, "q2sigma": 2}
    },
    kpts=(2, 2, 2),
    pseudo_dir=Path("/usr/share/espresso/pseudo"),
    pseudopotentials={"Si": "Si.pz-vbc.UPF", "H": "H.pz-vbc.UPF"},
    **COMMON,
)
ABINIT = AbinitEngine(
    parameters={"ecut": 6, "tsmear": 0.01, "ecutsm": 1.0},
    kpts=(2, 2, 2),
    pseudo_dir=Path("/usr/share/abinit/psp"),
    pseudopotentials={"Si": "14si.pspgth", "H": "01h.pspgth"},
    **COMMON,
)
SMEARED = {
    "ADDED_MOS": 4,
    "SMEAR": {"_": True, "METHOD": "FERMI_DIRAC", "ELECTRONIC_TEMPERATURE": 3000},
    "MIXING": {"METHOD": "BROYDEN_MIXING"},
}
CP2K = CP2KEngine(
    parameters={"FORCE_EVAL": {"DFT": {"MGRID": {"REL_CUTOFF": 20}}}},
    kpts=(1, 1, 1),
    basis_set="SZV-MOLOPT-SR-GTH",
    basis_set_file=Path("/usr/share/cp2k/BASIS_MOLOPT"),
    potential="GTH-PADE",
    potential_file=Path("/usr/share/cp2k/GTH_POTENTIALS"),
    xc="PADE",
    cutoff_Ry=80.0,
    vacuum_A=3.0,
    **COMMON,
)
PERIODIC_CP2K = replace(
    CP2K,
    parameters=merged(CP2K.parameters, {"FORCE_EVAL": {"DFT": {"SCF": SMEARED}}}),
    kpts=(2, 2, 2),
    cutoff_Ry=50.0,
)


def needs(engine):
    """Skip where the program or its files are not installed."""
    missing = "; ".join(engine.missing(["H", "Si"]))
    return pytest.mark.skipif(bool(missing), reason=missing)


needs_espresso, needs_abinit, needs_cp2k = needs(ESPRESSO), needs(ABINIT), needs(CP2K)


def silicon_pair():
    """Two atoms in a sheared cell, one of them held by a constraint."""
    atoms = bulk("Si", a=5.4)
    atoms.positions[0] += [0.15, 0.1, -0.05]
    deformation = np.array([[1.03, 0.08, 0.0], [0.0, 0.95, 0.03], [0.04, 0.0, 1.02]])
    atoms.set_cell(atoms.cell.array @ deformation, scale_atoms=True)
    atoms.set_constraint(FixAtoms([0]))
    return atoms


def evaluated(engine, atoms, directory, attempt=0, properties=REFERENCE_PROPERTIES):
    """One evaluation, in a fresh directory below ``directory``."""
    own = directory / f"run{len(list(directory.iterdir()))}"
    own.mkdir()
    return engine.evaluate(atoms, own, attempt, properties)


def slope(engine, atoms, directory, change, step):
    """d E / d s of ``change(atoms, s)`` at s = 0, to fourth order in ``step``."""
    energies = [
        evaluated(engine, change(atoms.copy(), s * step), directory, properties=["energy"]).energy
        for s in (-2, -1, 1, 2)
    ]
    return np.dot(energies, [1, -8, 8, -1]) / (12 * step)


def moved(atoms, s):
    """The first two atoms moved against each other."""
    direction = np.array([0.6, 0.0, 0.8])
    atoms.positions[:2] += s * np.array([direction, -direction])
    return atoms


def sheared(atoms, s):
    """The cell under the strain s times `STRAIN`."""
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + s * STRAIN), scale_atoms=True)
    return atoms


def check_forces(engine, atoms, found, directory, tolerance):
    """Forces against finite differences of the energy."""
    expected = -slope(engine, atoms, directory, moved, 0.01)
    projected = found.forces[0] @ [0.6, 0, 0.8] - found.forces[1] @ [0.6, 0, 0.8]
    assert projected == pytest.approx(expected, rel=tolerance)


def check_stress(engine, atoms, found, directory, tolerance):
    """Stress against finite differences of the energy."""
    expected = slope(engine, atoms, directory, sheared, 0.004) / atoms.get_volume()
    tensor = voigt_6_to_full_3x3_stress(found.stress)
    assert np.sum(tensor * STRAIN) == pytest.approx(expected, rel=tolerance)
