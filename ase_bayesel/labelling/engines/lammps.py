"""LAMMPS: any of its potentials as the teacher."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.lammps import Prism, convert
from ase.cell import Cell
from ase.io.lammpsdata import write_lammps_data
from ase.stress import full_3x3_to_voigt_6_stress

from ...errors import EngineError
from ...io.fields import REQUIRED, InputPath, Several
from ...io.hashing import content_hash
from ..result import ReferenceResult
from .base import missing_files
from .program import ProgramEngine

MARGIN = 20.0
"""A, between atoms and box where there is no period; LAMMPS wants a box no smaller than cutoffs."""
PRESSURES = ("pxx", "pyy", "pzz", "pyz", "pxz", "pxy")


@dataclass(frozen=True)
class LammpsEngine(ProgramEngine):
    """LAMMPS, ``run 0``.

    ``parameters`` are ``commands`` (required), the lines that define the interaction, and
    ``units`` and ``atom_style``, ``metal`` and ``atomic`` by default. Directions that are not
    periodic are open. Charges are zero unless a command sets them.

    Attributes
    ----------
    species
        Elements in the order of LAMMPS's atom types.
    files
        Potential files; commands name them without their folder.
    """

    kind: ClassVar[str] = "lammps"
    default_command: ClassVar[tuple[str, ...]] = ("lmp",)
    output: ClassVar[str] = "lammps.out"
    log: ClassVar[str] = "lammps.out"
    finished: ClassVar[str] = "Total wall time"
    version_pattern: ClassVar[str] = r"LAMMPS \((.+)\)"
    unconverged: ClassVar[tuple[str, ...]] = ("CG convergence failed",)
    defaults: ClassVar[Mapping[str, Any]] = {"units": "metal", "atom_style": "atomic"}
    required: ClassVar[tuple[tuple[str, ...], ...]] = (("commands",),)

    species: Annotated[tuple[str, ...], REQUIRED, Several] = ()
    files: tuple[InputPath, ...] = ()

    def identity(self, k: int = 0) -> dict[str, Any]:
        return {
            **super().identity(k),
            "species": list(self.species),
            "files": {path.name: content_hash(path) for path in self.files},
        }

    def missing(self, elements: Sequence[str]) -> list[str]:
        return [
            *super().missing(elements),
            *(f"{s}: has no type (labelling.species)" for s in elements if s not in self.species),
            *missing_files(self.files, "labelling.files"),
        ]

    def write(
        self,
        atoms: Atoms,
        directory: Path,
        parameters: Mapping[str, Any],
        properties: Sequence[str],
    ) -> Sequence[str]:
        for path in self.files:
            (directory / path.name).symlink_to(path.absolute())
        box = _boxed(atoms)
        units, style = parameters["units"], parameters["atom_style"]
        write_lammps_data(
            directory / "label.data",
            box,
            specorder=list(self.species),
            prismobj=_prism(box),
            masses=True,
            units=units,
            atom_style=style,
        )
        pressure = ", ".join(f"$({name}:%.16g)" for name in PRESSURES)
        lines = [
            f"units {units}",
            f"atom_style {style}",
            "boundary " + " ".join("p" if periodic else "f" for periodic in box.pbc),
            "box tilt large",
            "atom_modify sort 0 0.0",
            "read_data label.data",
            *parameters["commands"],
            f"thermo_style custom step pe {' '.join(PRESSURES)}",
            "thermo_modify lost error norm no",
            "dump forces all custom 1 forces.dump id fx fy fz",
            "dump_modify forces sort id format float %.16g",
            "run 0",
            f'print \'{{"units": "{units}", "energy": $(pe:%.16g), "pressure": [{pressure}]}}\' '
            "file label.json screen no",
        ]
        (directory / "lammps.in").write_text("\n".join(lines) + "\n")
        return ["-in", "lammps.in", "-log", "none", "-nocite"]

    def read(self, atoms: Atoms, directory: Path, properties: Sequence[str]) -> ReferenceResult:
        text = (directory / "label.json").read_text()
        try:
            printed = json.loads(text)
        except ValueError as error:
            raise EngineError(f"lammps: not finite: {text.strip()}") from error
        units, prism = printed["units"], _prism(_boxed(atoms))
        forces = stress = None
        if "forces" in properties:
            raw = np.loadtxt(directory / "forces.dump", skiprows=9, ndmin=2)[:, 1:]
            forces = prism.vector_to_ase(convert(raw, "force", units, "ASE"))
        if "stress" in properties:
            pressure = np.array(printed["pressure"])
            xx, yy, zz, yz, xz, xy = convert(pressure, "pressure", units, "ASE")
            tensor = -np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
            stress = full_3x3_to_voigt_6_stress(prism.tensor2_to_ase(tensor))
        energy = convert(printed["energy"], "energy", units, "ASE")
        return ReferenceResult(energy, forces, stress, self._named_version(directory))


def _boxed(atoms: Atoms) -> Atoms:
    """Shifted into a box with a margin around the atoms where there is no period."""
    periodic = atoms.pbc
    cell = Cell(atoms.cell.array * periodic[:, None]).complete()
    scaled = cell.scaled_positions(atoms.positions)
    low = np.where(periodic, 0.0, scaled.min(axis=0) - MARGIN)
    size = np.where(periodic, 1.0, scaled.max(axis=0) + MARGIN - low)
    positions = atoms.positions - cell.cartesian_positions(low)
    return Atoms(atoms.numbers, positions, cell=cell.array * size[:, None], pbc=periodic)


def _prism(atoms: Atoms) -> Prism:
    return Prism(atoms.cell.array, pbc=atoms.pbc)
