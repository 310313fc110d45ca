"""Doubles of programs that cannot be installed here, run as ``program_doubles.py NAME MODE ...``.

Each reads the input files that an engine has written and answers in the program's output format,
made up by us after ASE's parsers and the programs' manuals. The "physics" is a potential of our
own: forces 0.1 x positions (eV/A), a fixed stress, and energies that tell which one was taken.

MODE is ``ok``, ``unconverged`` (the program notices and ends as if nothing were wrong),
``silent`` (it says nothing), ``failed`` (it notices and ends with exit code 1) or ``early``.
"""

import re
import sys
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.units import Bohr, GPa, Hartree

STRESS = np.array([[0.01, 0.004, 0.005], [0.004, 0.02, 0.006], [0.005, 0.006, 0.03]])  # eV/A^3
FREE_ENERGY, ENERGY, DISPERSION = -12.5, -12.25, -0.75


def forces(atoms):
    return 0.1 * atoms.positions


def rows(array, before="", after=""):
    return "\n".join(before + " ".join(f"{x:20.12f}" for x in row) + after for row in array)


def named_rows(names, array, before, after):
    pairs = zip(names, array, strict=True)
    return "\n".join(rows([row], f"{before}{name} ", after) for name, row in pairs)


def vasp(mode, *_):
    from ase.io import read

    atoms = read("POSCAR")
    reached = "because EDIFF is reached"
    end = {"ok": reached, "early": reached, "silent": None}.get(mode, "EDIFF was not reached")
    outcar = " vasp.6.4.2 20Jul23 (build Aug 01 2023) complex\n"
    if end is not None:
        outcar += f"------------------------ aborting loop {end} --------------------\n"
    if mode != "early":
        outcar += " General timing and accounting informations for this job:\n"
    Path("OUTCAR").write_text(outcar)

    def varray(name, array):
        return f'<varray name="{name}">' + rows(array, "<v>", "</v>") + "</varray>"

    scaled = atoms.get_scaled_positions()
    structure = f"<crystal>{varray('basis', atoms.cell.array)}</crystal>"
    structure += varray("positions", scaled)
    elements = "".join(f"<rc><c>{s} </c><c>1</c></rc>" for s in atoms.symbols)
    energies = f'<i name="e_fr_energy">{FREE_ENERGY}</i><i name="e_0_energy">{ENERGY}</i>'
    Path("vasprun.xml").write_text(
        "<modeling><kpoints>"
        + varray("kpointlist", np.zeros((1, 3)))
        + varray("weights", np.ones((1, 1)))
        + f'</kpoints><atominfo><array name="atoms"><set>{elements}</set></array></atominfo>'
        + f'<structure name="initialpos">{structure}</structure>'
        + f"<calculation><scstep><energy>{energies}</energy></scstep>"
        + f"<structure>{structure}</structure>"
        + varray("forces", forces(atoms))
        + varray("stress", -STRESS / GPa * 10)
        + f"<energy>{energies}</energy></calculation></modeling>\n"
    )


def castep_atoms():
    """The blocks of label.cell."""
    text = Path("label.cell").read_text()
    found = re.findall(r"%BLOCK (\w+)\n(.*?)%ENDBLOCK", text, flags=re.DOTALL)
    blocks = {name: lines.splitlines() for name, lines in found}
    cell = [[float(x) for x in line.split()] for line in blocks["lattice_cart"][1:]]
    split = [line.split() for line in blocks["positions_abs"][1:]]
    positions = [[float(x) for x in words[1:4]] for words in split]
    return Atoms([words[0] for words in split], positions, cell=cell, pbc=True)


def castep(mode, *arguments):
    atoms = castep_atoms()
    atoms = atoms[np.argsort(atoms.numbers, kind="stable")]  # CASTEP's own order
    scaled = atoms.get_scaled_positions(wrap=False)
    reciprocal = 2 * np.pi * atoms.cell.reciprocal().array

    symbols = list(atoms.symbols)
    numbered = [f"{s} {symbols[: k + 1].count(s)}" for k, s in enumerate(symbols)]
    text = " | Welcome to Academic Release CASTEP version 23.11 |\n"
    text += " ******************************** Title *******************************\n\n"
    text += " ****************************************************************************\n"
    text += "                                  Unit Cell\n"
    text += "        Real Lattice(A)              Reciprocal Lattice(1/A)\n"
    text += rows(np.hstack([atoms.cell.array, reciprocal])) + "\n\n"
    text += "                                 Cell Contents\n"
    text += f"                     Total number of ions in cell = {len(atoms)}\n"
    text += f"                  Total number of species in cell = {len(set(symbols))}\n\n"
    text += "            x  Element    Atom        Fractional coordinates of atoms  x\n"
    text += named_rows(numbered, scaled, "            x  ", "  x") + "\n\n"
    if mode in ("unconverged", "failed"):
        text += "*Warning* max. SCF cycles performed but system has not reached the groundstate.\n"
    text += f"Final energy, E             =  {ENERGY - 1}     eV\n"
    text += f"Final free energy (E-TS)    =  {FREE_ENERGY}     eV\n"
    text += f"NB est. 0K energy (E-0.5TS)      =  {ENERGY}     eV\n"
    if "dispersion" in arguments:
        corrected = FREE_ENERGY + DISPERSION
        text += f" Dispersion corrected final energy*, Ecor          = {ENERGY} eV\n"
        text += f" Dispersion corrected final free energy* (Ecor-TS) = {corrected} eV\n"
    text += " ******************** Symmetrised Forces ********************\n"
    text += " * Cartesian components (eV/A) *\n"
    text += named_rows(numbered, forces(atoms), " * ", " *") + "\n\n"
    text += " *********** Symmetrised Stress Tensor ***********\n"
    text += " * Cartesian components (GPa) *\n"
    text += named_rows("xyz", STRESS / GPa, " *  ", "  *") + "\n\n"
    if mode != "early":
        text += "Finalisation time   =      0.01 s\n"
    Path("label.castep").write_text(text)


def orca(mode, path):
    from ase.io.orca import read_geom_orcainp

    atoms = read_geom_orcainp(path)
    gradient = -forces(atoms) / (Hartree / Bohr)
    print("                         Program Version 5.0.4 -   RELEASE  -\n")
    print(f"Number of atoms                         ....      {len(atoms)}")
    print("CARTESIAN COORDINATES (ANGSTROEM)\n---------------------------------")
    print(named_rows(atoms.symbols, atoms.positions, "  ", ""))
    if mode in ("unconverged", "failed"):
        print("\n      *           SCF NOT CONVERGED AFTER 125 CYCLES           *\n")
    vague = "  (Wavefunction not fully converged!)" if mode == "silent" else ""
    print(f"\nFINAL SINGLE POINT ENERGY    {FREE_ENERGY / Hartree:.12f}{vague}\n")
    if mode != "early":
        print("                             ****ORCA TERMINATED NORMALLY****")
    numbers = "\n".join(f"       {x:.12f}" for x in gradient.ravel())
    Path("orca.engrad").write_text(
        f"#\n# Number of atoms\n#\n {len(atoms)}\n#\n# The current total energy in Eh\n#\n"
        f"     {FREE_ENERGY / Hartree:.12f}\n#\n# The current gradient in Eh/bohr\n#\n{numbers}\n"
        "#\n# The atomic numbers and current coordinates in Bohr\n#\n"
    )


def aims(mode, *_):
    from ase.io.aims import parse_geometry_lines

    atoms = parse_geometry_lines(Path("geometry.in").read_text().splitlines())
    n = len(atoms)
    print("          FHI-aims version      : 231212.1")
    print(f"  | Number of atoms                   : {n:8d}")
    print("  | Number of spin channels           :        1")
    print(f"  | Number of Kohn-Sham states (occupied + empty): {4 * n}")
    print(f"  The structure contains {n:8d} atoms,  and a total of  {4.0 * n:.3f} electrons.")
    if atoms.pbc.any():
        print("  | Unit cell:")
        print(rows(atoms.cell.array, "  | "))
    print("  | Atomic structure:\n  |       Atom                x [A]      y [A]      z [A]")
    numbered = [f"{k:4d}: Species {symbol}" for k, symbol in enumerate(atoms.symbols, start=1)]
    print(named_rows(numbered, atoms.positions, "  | ", ""))
    print("          Begin self-consistency iteration #    1\n")
    if mode in ("unconverged", "failed"):
        print("  ** Warning: self-consistency cycle not converged.")
    if mode in ("ok", "early"):
        print("  Self-consistency cycle converged.")
    print(f"  | Total energy uncorrected      :   {ENERGY - 1:.12E} eV")
    print(f"  | Total energy corrected        :   {ENERGY:.12E} eV")
    print(f"  | Electronic free energy        :   {FREE_ENERGY:.12E} eV")
    print("  Total atomic forces (unitary forces cleaned) [eV/Ang]:")
    print(named_rows(range(1, n + 1), forces(atoms), "  | ", ""))
    print("  |              Analytical stress tensor - Symmetrized        |")
    print("  |  Cartesian components [eV/A**3]                 |\n  |--\n  |  x  y  z |\n  |")
    print(named_rows("xyz", STRESS, "  |  ", " |"))
    if mode != "early":
        print("          Have a nice day.\n")


def act(name, mode, *arguments):
    """One run in the current directory; the exit code."""
    {"vasp": vasp, "castep": castep, "orca": orca, "aims": aims}[name](mode, *arguments)
    return 1 if mode == "failed" else 0


if __name__ == "__main__":
    sys.exit(act(*sys.argv[1:]))
