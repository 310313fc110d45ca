"""CP2K: Quickstep, mixed Gaussians and plane waves."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from ase import Atoms
from ase.stress import full_3x3_to_voigt_6_stress
from ase.units import Bohr, GPa, Hartree, bar
from pydantic import Field

from ...errors import EngineError
from ...io.fields import REQUIRED, InputPath, ValueOrMapping
from ...io.hashing import content_hash
from ...io.magnitudes import Length
from ...structures.electronic import CHARGE, SPIN, electronic_state
from ..result import ReferenceResult
from .base import merged, missing_files
from .dft import DFTEngine, numbers

INPUT = "cp2k.inp"
# energy and forces are printed in one way until 2024 and in another since 2025
ENERGY = re.compile(r"^ ENERGY\| Total FORCE_EVAL .*\[(?:a\.u\.|hartree)\]:?\s+(\S+)", re.M)
FORCES = re.compile(r"^ (?:ATOMIC FORCES in|FORCES\| Atomic forces)", re.M)
FORCE = re.compile(r"^ (?:FORCES\|\s+\d+|\s+\d+\s+\d+\s+[A-Z][a-z]?)\s+(\S+)\s+(\S+)\s+(\S+)", re.M)
STRESS = re.compile(
    r"^ STRESS\| Analytical stress tensor \[(GPa|bar)\]\n.*\n"
    + "".join(rf" STRESS\|\s+{axis}\s+(\S+)\s+(\S+)\s+(\S+)\n" for axis in "xyz"),
    re.M,
)

ByElement = Annotated[str | Mapping[str, str], ValueOrMapping(str, dict[str, str])]
"""A name for all elements, or one for each."""


@dataclass(frozen=True)
class CP2KEngine(DFTEngine):
    """CP2K's Quickstep, for structures with three periodic directions or none.

    ``parameters`` are sections of its input in its own units, ``{"FORCE_EVAL": {"DFT":
    {"SCF": {"MAX_SCF": 60}}}}``, where ``_`` is the parameter of a section itself, a list is
    what is there several times, and truth is ON or OFF. They win over what follows from the
    attributes. The defaults converge the SCF cycle to 1e-7; there is no smearing.
    ``magnetic_moments`` is in Bohr magnetons.

    Attributes
    ----------
    basis_set, potential
        Name of the basis set and the pseudopotential: one for all elements, or by element.
    basis_set_file, potential_file
        The files that hold them, which count in the identity by content.
    xc
        The functional, a name that XC_FUNCTIONAL knows.
    cutoff_Ry
        Plane-wave cutoff of the finest grid.
    vacuum_A
        A structure without periodic directions is computed as such, in a cube of its own that
        leaves this distance on all sides; its cell does not count. The density must vanish there.
    """

    kind: ClassVar[str] = "cp2k"
    default_command: ClassVar[tuple[str, ...]] = ("cp2k.psmp",)
    output: ClassVar[str] = "cp2k.out"
    defaults: ClassVar[Mapping[str, Any]] = {
        "GLOBAL": {"PRINT_LEVEL": "LOW"},
        "FORCE_EVAL": {
            "METHOD": "QUICKSTEP",
            "DFT": {
                "MGRID": {"REL_CUTOFF": 60},
                "QS": {"EPS_DEFAULT": 1e-12},
                "SCF": {"EPS_SCF": 1e-7, "MAX_SCF": 100, "PRINT": {"RESTART": {"_": False}}},
            },
        },
    }
    log: ClassVar[str] = output
    reserved: ClassVar[tuple[str, ...]] = (
        "GLOBAL.PROJECT",
        "GLOBAL.RUN_TYPE",
        "MOTION",
        "FORCE_EVAL.SUBSYS",
        "FORCE_EVAL.STRESS_TENSOR",
        "FORCE_EVAL.DFT.BASIS_SET_FILE_NAME",
        "FORCE_EVAL.DFT.POTENTIAL_FILE_NAME",
        "FORCE_EVAL.DFT.KPOINTS",
        "FORCE_EVAL.DFT.MGRID.CUTOFF",
    )
    upper_case: ClassVar[bool] = True
    by_element: ClassVar[Mapping[str, Any]] = {
        "basis_set": None,
        "potential": None,
        "magnetic_moments": 0.0,
    }
    without_state: ClassVar[str] = "; a multiplicity needs spin-polarised settings"
    unconverged: ClassVar[tuple[str, ...]] = ("SCF run NOT converged",)
    finished: ClassVar[str] = "PROGRAM ENDED AT"
    version_pattern: ClassVar[str] = r"CP2K\| version string:\s+(?:CP2K version )?(.*)"
    complaint: ClassVar[re.Pattern[str] | None] = re.compile(r"^ \*.{9} +(\S.*?) +\*$", re.M)

    basis_set: ByElement = "DZVP-MOLOPT-SR-GTH"
    basis_set_file: Annotated[InputPath, REQUIRED] = Path("BASIS_MOLOPT")
    potential: ByElement = "GTH-PBE"
    potential_file: Annotated[InputPath, REQUIRED] = Path("GTH_POTENTIALS")
    xc: str = "PBE"
    cutoff_Ry: Annotated[float, Field(ge=1, le=1e5)] = 400.0
    vacuum_A: Length = 5.0

    def identity(self, k: int = 0) -> dict[str, Any]:
        physics = {
            "basis_set": self.basis_set,
            "basis_set_file": content_hash(self.basis_set_file),
            "potential": self.potential,
            "potential_file": content_hash(self.potential_file),
            "xc": self.xc,
            "cutoff_Ry": self.cutoff_Ry,
            "vacuum_A": self.vacuum_A,
        }
        return {**super().identity(k), **physics}

    def absent(self) -> list[str]:
        basis = missing_files([self.basis_set_file], "labelling.basis_set_file")
        return basis + missing_files([self.potential_file], "labelling.potential_file")

    def unknown(self, elements: Sequence[str]) -> list[str]:
        problems = []
        for name in ("basis_set", "potential"):
            path = getattr(self, f"{name}_file")
            known = _entries(path)
            for element in elements:
                wanted = _of(getattr(self, name), element)
                if wanted not in known.get(element, ()):
                    problems.append(f"{path}: no {wanted} for {element} (labelling.{name})")
        return problems

    @property
    def takes(self) -> tuple[str, ...]:
        dft = self.parameters_of(0)["FORCE_EVAL"]["DFT"]
        polarised = self.magnetic_moments or dft.get("UKS") is True or dft.get("LSD") is True
        return (CHARGE, SPIN) if polarised else (CHARGE,)

    def write(
        self,
        atoms: Atoms,
        directory: Path,
        parameters: Mapping[str, Any],
        properties: Sequence[str],
    ) -> Sequence[str]:
        if atoms.pbc.any() != atoms.pbc.all():
            raise EngineError("cp2k takes structures with three periodic directions or none")
        atoms = self.checked(atoms)
        if not atoms.pbc.any():
            atoms = _boxed(atoms, self.vacuum_A)
        names = {CHARGE: "CHARGE", SPIN: "MULTIPLICITY"}
        state = {names[key]: value for key, value in electronic_state(atoms).own.items()}
        sections = merged(self._implied(atoms, properties), parameters)
        sections = merged(sections, {"FORCE_EVAL": {"DFT": state}})
        (directory / INPUT).write_text("\n".join([*_rendered(sections), ""]))
        return ["-i", INPUT]

    def _implied(self, atoms: Atoms, properties: Sequence[str]) -> dict[str, Any]:
        """The sections that follow from the structure and the attributes."""
        periodic = bool(atoms.pbc.all())
        grid = self.grid(atoms)
        dft: dict[str, Any] = {
            "BASIS_SET_FILE_NAME": str(self.basis_set_file.absolute()),
            "POTENTIAL_FILE_NAME": str(self.potential_file.absolute()),
            "MGRID": {"CUTOFF": self.cutoff_Ry},
            "XC": {"XC_FUNCTIONAL": {"_": self.xc}},
        }
        if not periodic:
            dft["POISSON"] = {"PERIODIC": "NONE", "PSOLVER": "WAVELET"}
        if grid != (1, 1, 1):
            to_gamma = ["0" if n % 2 else repr(0.5 / n) for n in grid]
            scheme = " ".join(["MACDONALD", *map(str, grid), *to_gamma])
            dft["KPOINTS"] = {"SCHEME": scheme}
        if self.magnetic_moments:
            dft["UKS"] = True
        printed: dict[str, Any] = {}
        if "forces" in properties:
            printed["FORCES"] = {"_": True, "NDIGITS": 12}
        if "stress" in properties and periodic:
            printed["STRESS_TENSOR"] = {"_": True}
        return {
            "GLOBAL": {"PROJECT": "cp2k", "RUN_TYPE": "ENERGY_FORCE"},
            "FORCE_EVAL": {
                "STRESS_TENSOR": "ANALYTICAL" if "STRESS_TENSOR" in printed else "NONE",
                "PRINT": printed,
                "DFT": dft,
                "SUBSYS": self._subsystem(atoms),
            },
        }

    def _subsystem(self, atoms: Atoms) -> dict[str, Any]:
        rows = zip(atoms.symbols, atoms.positions.tolist(), strict=True)
        kinds = [
            {
                "_": element,
                "BASIS_SET": _of(self.basis_set, element),
                "POTENTIAL": _of(self.potential, element),
                "MAGNETIZATION": self.magnetic_moments.get(element, 0.0),
            }
            for element in sorted(set(atoms.symbols))
        ]
        cell = {name: _vector(row) for name, row in zip("ABC", atoms.cell.tolist(), strict=True)}
        cell["PERIODIC"] = "XYZ" if atoms.pbc.all() else "NONE"
        coordinates = {"": [f"{element} {_vector(row)}" for element, row in rows]}
        return {"CELL": cell, "COORD": coordinates, "KIND": kinds}

    def read(self, atoms: Atoms, directory: Path, properties: Sequence[str]) -> ReferenceResult:
        output = directory / self.output
        text = self._log_text(directory)
        energy = numbers(ENERGY.findall(text)[-1:], (), "the energy", output)
        forces = stress = None
        if "forces" in properties:
            rows = FORCE.findall(FORCES.split(text)[-1])[: len(atoms)]
            forces = numbers(rows, (len(atoms), 3), "the forces", output) * (Hartree / Bohr)
        if "stress" in properties and atoms.pbc.all():
            rows = STRESS.findall(text)[-1:]
            tensor = numbers([row[1:] for row in rows], (3, 3), "the stress", output)
            unit = {"GPa": GPa, "bar": bar}[rows[0][0]]
            stress = -full_3x3_to_voigt_6_stress(tensor) * unit
        version = self._named_version(directory)
        return ReferenceResult(float(energy) * Hartree, forces, stress, version)


def _boxed(molecule: Atoms, vacuum_A: float) -> Atoms:
    """A copy in the middle of a cube of whole Angstroms, so that neighbours share a grid."""
    box = molecule.copy()
    low, high = box.positions.min(axis=0), box.positions.max(axis=0)
    edge = np.ceil((high - low).max() + 2 * vacuum_A)
    box.positions += (edge - low - high) / 2
    box.cell[:] = edge * np.eye(3)
    return box


def _of(choice: str | Mapping[str, str], element: str) -> str:
    """What is chosen for an element."""
    return choice if isinstance(choice, str) else choice.get(element, "entry")


def _entries(path: Path) -> dict[str, set[str]]:
    """Names of the basis sets or potentials of each element in a file of CP2K."""
    names: dict[str, set[str]] = {}
    for line in path.read_text().splitlines():
        words = line.split()
        if words and words[0].isalpha() and line[0] != "#":
            names.setdefault(words[0].capitalize(), set()).update(words[1:])
    return names


def _vector(row: Sequence[float]) -> str:
    return " ".join(map(repr, row))


def _rendered(sections: Mapping[str, Any]) -> Iterator[str]:
    """Lines of input."""
    for name, content in sections.items():
        for value in content if isinstance(content, list) else [content]:
            if isinstance(value, Mapping):
                inner = {key: entry for key, entry in value.items() if key != "_"}
                yield f"&{name} {_word(value.get('_', ''))}".rstrip()
                yield from _rendered(inner)
                yield f"&END {name}"
            else:
                yield f"{name} {_word(value)}".strip()


def _word(value: Any) -> str:
    return ("OFF", "ON")[value] if isinstance(value, bool) else str(value)
