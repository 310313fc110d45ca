"""CASTEP: the .cell and .param files, results from the .castep file by ASE."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.io.castep import read_castep_castep

from ...io.fields import InputPath
from ...io.hashing import content_hash
from ...io.magnitudes import Moment
from ...structures.electronic import CHARGE, SPIN, electronic_state
from ..result import ReferenceResult
from .base import bare, missing_files
from .program import ProgramEngine, require_cell


@dataclass(frozen=True)
class CastepEngine(ProgramEngine):
    """CASTEP, single points.

    ``parameters`` has a section ``param``, where ``xc_functional`` and ``cut_off_energy`` are
    required, and ``cell``, for k-points (one keyword of them is required) and symmetry; a list
    is written as a block. The defaults of ``param`` are ``elec_energy_tol: 1e-7`` (eV/atom;
    CASTEP's own is 1e-5) and ``write_checkpoint: none``. The energy is the free energy, with
    the dispersion correction where there is one.

    Attributes
    ----------
    pseudopotentials
        File by element. Without any, CASTEP makes its own, from its version's library.
    magnetic_moments
        Initial moments by element, Bohr magnetons, with ``spin_polarized: true``.
    """

    kind: ClassVar[str] = "castep"
    default_command: ClassVar[tuple[str, ...]] = ("castep.serial",)
    output: ClassVar[str] = "castep.out"
    log: ClassVar[str] = "label.castep"
    finished: ClassVar[str] = "Finalisation time"
    version_pattern: ClassVar[str] = r"CASTEP version (\S+)"
    by_element: ClassVar[Mapping[str, Any]] = {"pseudopotentials": None, "magnetic_moments": 0.0}
    without_state: ClassVar[str] = "; a multiplicity needs spin-polarised settings"
    unconverged: ClassVar[tuple[str, ...]] = ("has not reached the groundstate",)
    defaults: ClassVar[Mapping[str, Any]] = {
        "param": {"elec_energy_tol": 1e-7, "write_checkpoint": "none"},
        "cell": {},
    }
    required: ClassVar[tuple[tuple[str, ...], ...]] = (
        ("param.xc_functional",),
        ("param.cut_off_energy",),
        tuple(
            f"cell.{points}_{how}"
            for points in ("kpoints", "kpoint")
            for how in ("mp_spacing", "mp_grid", "list")
        ),
    )
    reserved: ClassVar[tuple[str, ...]] = (
        *("param.task", "param.calculate_stress", "param.reuse", "param.continuation"),
        *("cell.lattice_cart", "cell.lattice_abc", "cell.positions_abs", "cell.positions_frac"),
    )

    pseudopotentials: Mapping[str, InputPath] = field(default_factory=dict)
    magnetic_moments: Mapping[str, Moment] = field(default_factory=dict)

    def identity(self, k: int = 0) -> dict[str, Any]:
        return {
            **super().identity(k),
            "pseudopotentials": {s: content_hash(p) for s, p in self.pseudopotentials.items()},
            "magnetic_moments": dict(self.magnetic_moments),
        }

    def missing(self, elements: Sequence[str]) -> list[str]:
        files = self.pseudopotentials
        unnamed = [s for s in elements if files and s not in files]
        named = [files[s] for s in elements if s in files]
        return [
            *super().missing(elements),
            *(f"{s}: has no file (labelling.pseudopotentials)" for s in unnamed),
            *missing_files(named, "labelling.pseudopotentials"),
        ]

    @property
    def takes(self) -> tuple[str, ...]:
        polarised = str(self.parameters_of(0)["param"].get("spin_polarized", False)).lower()
        return (CHARGE, SPIN) if polarised == "true" else (CHARGE,)

    def write(
        self,
        atoms: Atoms,
        directory: Path,
        parameters: Mapping[str, Any],
        properties: Sequence[str],
    ) -> Sequence[str]:
        require_cell(atoms)
        atoms = bare(atoms, self.magnetic_moments)
        files = self.pseudopotentials
        named = {s: files[s] for s in dict.fromkeys(atoms.symbols) if files}
        for path in named.values():
            (directory / path.name).symlink_to(path.absolute())
        cell = {
            "lattice_cart": ["ang", *_rows(atoms.cell.array)],
            "positions_abs": ["ang", *_positions(atoms)],
            **parameters["cell"],
        }
        if named:
            cell["species_pot"] = [f"{s} {path.name}" for s, path in named.items()]
        param = {
            **parameters["param"],
            "task": "SinglePoint",
            "calculate_stress": "stress" in properties,
        }
        own = electronic_state(atoms).own
        if CHARGE in own:
            param["charge"] = own[CHARGE]
        if SPIN in own:
            param |= {"spin": own[SPIN] - 1, "spin_fix": -1}  # in all cycles
        (directory / "label.cell").write_text("".join(_lines(cell)))
        (directory / "label.param").write_text("".join(_lines(param)))
        return ["label"]

    def read(self, atoms: Atoms, directory: Path, properties: Sequence[str]) -> ReferenceResult:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # ASE repeats the warnings in the file
            computed = read_castep_castep(directory / self.log)
        results = computed.calc.results
        # ASE leaves the dispersion correction out of its energies, though it is in the forces
        corrected = results.get("energy_with_dispersion_correlation", results["free_energy"])
        energy = results.get("free_energy_with_dispersion_correlation", corrected)
        forces = None
        if "forces" in properties:
            forces = _in_order(atoms, computed.symbols, results["forces"])
        return ReferenceResult(
            energy,
            forces,
            results["stress"] if "stress" in properties else None,
            self._named_version(directory),
        )


def _rows(vectors: np.ndarray) -> list[str]:
    return [" ".join(f"{x:.12f}" for x in vector) for vector in vectors]


def _positions(atoms: Atoms) -> Iterator[str]:
    moments = atoms.get_initial_magnetic_moments()
    for symbol, row, moment in zip(atoms.symbols, _rows(atoms.positions), moments, strict=True):
        yield f"{symbol} {row} SPIN={moment}" if moment else f"{symbol} {row}"


def _lines(keywords: Mapping[str, Any]) -> Iterator[str]:
    """A keyword and its value in a line, or a block where the value is a list."""
    for key, value in keywords.items():
        if isinstance(value, list):
            yield from (f"%BLOCK {key}\n", *(f"{line}\n" for line in value), f"%ENDBLOCK {key}\n")
        else:
            yield f"{key} : {value}\n"


def _in_order(atoms: Atoms, order: Iterable[str], forces: np.ndarray) -> np.ndarray:
    """Forces in the order of the atoms; CASTEP groups them by element and keeps their order."""
    restored = np.empty_like(forces)
    symbols = np.array(list(order))
    for element in set(atoms.symbols):
        restored[atoms.symbols == element] = forces[symbols == element]
    return restored
