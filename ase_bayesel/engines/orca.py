"""ORCA: input files by ASE, results from the output and the .engrad file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ase import Atoms
from ase.io.orca import read_orca_engrad, read_orca_output, write_orca

from ..errors import EngineError
from .base import Evaluation, bare
from .program import ProgramEngine


@dataclass(frozen=True)
class OrcaEngine(ProgramEngine):
    """ORCA, for molecules.

    ``parameters`` are ``simple`` (required), the line after the exclamation mark;
    ``blocks``, lines such as ``%scf maxiter 300 end``; ``charge`` and ``mult``, 0 and 1 by
    default. ``EnGrad`` is added. For runs in parallel ORCA wants to be called by its full path,
    which the engine sees to, and the number of processes in a block (``%pal nprocs 4 end``).
    """

    kind: ClassVar[str] = "orca"
    default_command: ClassVar[tuple[str, ...]] = ("orca",)
    output: ClassVar[str] = "orca.out"
    log: ClassVar[str] = "orca.out"
    finished: ClassVar[str] = "ORCA TERMINATED NORMALLY"
    unconverged: ClassVar[tuple[str, ...]] = (
        "SCF NOT CONVERGED",
        "Wavefunction not fully converged",
    )
    defaults: ClassVar[Mapping[str, Any]] = {"charge": 0, "mult": 1, "blocks": []}
    required: ClassVar[tuple[tuple[str, ...], ...]] = (("simple",),)

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
        given = {
            "orcasimpleinput": simple,
            "orcablocks": "\n".join(parameters["blocks"]),
            "charge": parameters["charge"],
            "mult": parameters["mult"],
        }
        write_orca(directory / "orca.inp", bare(atoms), given)
        return ["orca.inp"]

    def read(self, atoms: Atoms, directory: Path, properties: Sequence[str]) -> Evaluation:
        path = directory / self.output
        version = re.search(r"Program Version (\S+)", path.read_text(errors="replace"))
        return Evaluation(
            read_orca_output(path, index=-1).get_potential_energy(),
            read_orca_engrad(directory / "orca.engrad") if "forces" in properties else None,
            version=f"orca {version[1]}" if version else "",
        )
