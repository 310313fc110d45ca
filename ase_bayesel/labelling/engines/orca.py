"""ORCA: input files by ASE, results from the output and the .engrad file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ase import Atoms
from ase.io.orca import read_orca_engrad, read_orca_output, write_orca

from ...errors import EngineError
from ...io.magnitudes import Workers
from ...structures.electronic import CHARGE, SPIN, electronic_state
from ..result import ReferenceResult
from .base import bare
from .program import ProgramEngine


@dataclass(frozen=True)
class OrcaEngine(ProgramEngine):
    """ORCA, for molecules.

    ``parameters`` are ``simple`` (required), the line after the exclamation mark;
    ``blocks``, lines such as ``%scf maxiter 300 end``; ``charge`` and ``mult``, 0 and 1 by
    default, for structures that have none of their own. ``EnGrad`` is added.

    Attributes
    ----------
    processes
        For the ``%pal`` block. ORCA starts them itself and is called by its full path for that.
    """

    kind: ClassVar[str] = "orca"
    default_command: ClassVar[tuple[str, ...]] = ("orca",)
    output: ClassVar[str] = "orca.out"
    log: ClassVar[str] = "orca.out"
    finished: ClassVar[str] = "ORCA TERMINATED NORMALLY"
    version_pattern: ClassVar[str] = r"Program Version (\S+)"
    unconverged: ClassVar[tuple[str, ...]] = (
        "SCF NOT CONVERGED",
        "Wavefunction not fully converged",
    )
    defaults: ClassVar[Mapping[str, Any]] = {"charge": 0, "mult": 1, "blocks": []}
    required: ClassVar[tuple[tuple[str, ...], ...]] = (("simple",),)

    processes: Workers = 1

    @property
    def takes(self) -> tuple[str, ...]:
        return (CHARGE, SPIN)

    def write(
        self,
        atoms: Atoms,
        directory: Path,
        parameters: Mapping[str, Any],
        properties: Sequence[str],
    ) -> Sequence[str]:
        if atoms.pbc.any():
            raise EngineError("orca: the structure is periodic; ORCA knows molecules only")
        simple = parameters["simple"]
        if "forces" in properties and "engrad" not in simple.lower().split():
            simple = f"{simple} EnGrad"
        blocks = [f"%pal nprocs {self.processes} end"] if self.processes > 1 else []
        own = electronic_state(atoms).own
        keywords = {
            "orcasimpleinput": simple,
            "orcablocks": "\n".join([*blocks, *parameters["blocks"]]),
            "charge": own.get(CHARGE, parameters["charge"]),
            "mult": own.get(SPIN, parameters["mult"]),
        }
        write_orca(directory / "orca.inp", bare(atoms), keywords)
        return ["orca.inp"]

    def read(self, atoms: Atoms, directory: Path, properties: Sequence[str]) -> ReferenceResult:
        return ReferenceResult(
            read_orca_output(directory / self.output, index=-1).get_potential_energy(),
            read_orca_engrad(directory / "orca.engrad") if "forces" in properties else None,
            version=self._named_version(directory),
        )
