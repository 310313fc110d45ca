"""ABINIT."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from ase.io.abinit import read_abinit_out

from ...structures.electronic import CHARGE, SPIN, electronic_state
from ..result import ReferenceResult
from .dft import PseudopotentialEngine

INPUT, RESULTS = "abinit.abi", "abinit.abo"
TOLERANCES = {"toldfe", "toldff", "tolrff", "tolvrs", "tolwfr"}


@dataclass(frozen=True)
class AbinitEngine(PseudopotentialEngine):
    """ABINIT.

    ``parameters`` are its input variables in its own units, ``{"ecut": 20, "nstep": 60}``
    (Hartree, or text with a unit, ``"540 eV"``). The defaults smear the occupations (Gaussian,
    0.005 Ha), converge the residual of the potential to 1e-10 unless another tolerance is
    given, accept cells of any symmetry, and write no wave function, density or bands. The
    functional is that of the pseudopotentials unless ``ixc`` is given. ``magnetic_moments`` is in
    Bohr magnetons.
    """

    kind: ClassVar[str] = "abinit"
    default_command: ClassVar[tuple[str, ...]] = ("abinit",)
    output: ClassVar[str] = "abinit.log"
    defaults: ClassVar[Mapping[str, Any]] = {
        "nstep": 100,
        "occopt": 7,
        "tsmear": 0.005,
        "nshiftk": 1,
        "shiftk": [0, 0, 0],
        "chkprim": 0,
        "chksymbreak": 0,
        "chksymtnons": 0,
        "prtwf": 0,
        "prtden": 0,
        "prteig": 0,
        "prtgsr": 0,
    }
    log: ClassVar[str] = RESULTS
    reserved: ClassVar[tuple[str, ...]] = (
        *("natom", "ntypat", "znucl", "typat", "acell", "rprim", "angdeg", "xred", "xcart"),
        *("xangst", "pseudos", "pp_dirpath", "ngkpt", "kptopt", "nsppol", "spinat"),
        *("ndtset", "ionmov", "optcell", "optforces", "optstress"),
    )
    without_state: ClassVar[str] = "; a multiplicity needs spin-polarised settings"
    unconverged: ClassVar[tuple[str, ...]] = ("was not enough SCF cycles to converge",)
    finished: ClassVar[str] = "Calculation completed."
    version_pattern: ClassVar[str] = r"Version (\S+) of ABINIT"
    complaint: ClassVar[re.Pattern[str] | None] = re.compile(
        r"!ERROR\n(?:\w.*\n)*message: \|\n((?: +.*\n)+)"
    )

    def parameters_of(self, attempt: int) -> dict[str, Any]:
        settings = super().parameters_of(attempt)
        return settings if TOLERANCES & set(settings) else {**settings, "tolvrs": 1e-10}

    @property
    def takes(self) -> tuple[str, ...]:
        return (CHARGE, SPIN) if self.magnetic_moments else (CHARGE,)

    def write(
        self,
        atoms: Atoms,
        directory: Path,
        parameters: Mapping[str, Any],
        properties: Sequence[str],
    ) -> Sequence[str]:
        own = electronic_state(atoms).own
        atoms = self.checked(atoms)
        variables = {
            **parameters,
            **self._structure(atoms),
            "ngkpt": self.grid(atoms),
            "optforces": int("forces" in properties),
            "optstress": int("stress" in properties),
        }
        if CHARGE in own:
            variables["cellcharge"] = own[CHARGE]
        if SPIN in own:
            variables["spinmagntarget"] = own[SPIN] - 1
        lines = [f"{name} {_text(value)}\n" for name, value in variables.items()]
        (directory / INPUT).write_text("".join(lines))
        return [INPUT]

    def _structure(self, atoms: Atoms) -> dict[str, Any]:
        species = sorted(set(atoms.symbols))
        files = ",\n".join(str(self.path(element)) for element in species)
        structure = {
            "natom": len(atoms),
            "ntypat": len(species),
            "znucl": [atomic_numbers[element] for element in species],
            "typat": [1 + species.index(element) for element in atoms.symbols],
            "acell": "1 1 1 angstrom",
            "rprim": atoms.cell.array,
            "xcart": f"{_text(atoms.positions)} angstrom",
            "pseudos": f'"{files}"',
        }
        if not self.magnetic_moments:
            return structure
        moments = [[0, 0, moment] for moment in atoms.get_initial_magnetic_moments()]
        return {**structure, "nsppol": 2, "spinat": moments}

    def read(self, atoms: Atoms, directory: Path, properties: Sequence[str]) -> ReferenceResult:
        results = read_abinit_out(io.StringIO(self._log_text(directory)))
        return ReferenceResult(
            results["energy"],
            results["forces"] if "forces" in properties else None,
            results["stress"] if "stress" in properties else None,
            self._named_version(directory),
        )


def _text(value: Any) -> str:
    """A value in input format; three numbers of an array on a line."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, list | tuple | np.ndarray):
        flat = [str(number) for number in np.ravel(value).tolist()]
        return "\n".join(" ".join(flat[i : i + 3]) for i in range(0, len(flat), 3))
    return str(value)
