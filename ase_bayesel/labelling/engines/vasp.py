"""VASP: input files by ASE, results from vasprun.xml."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from ase import Atoms
from ase.io import read

from ...errors import EngineError, NotConvergedError
from ...io.fields import REQUIRED, FileName, InputPath, Several
from ...io.hashing import content_hash
from ...io.magnitudes import Moment
from ...structures.electronic import CHARGE, SPIN, electronic_state
from ..result import ReferenceResult
from .base import bare, missing_files
from .program import ProgramEngine, require_cell


@dataclass(frozen=True)
class VaspEngine(ProgramEngine):
    """VASP, single points.

    ``parameters`` are the keywords of ASE's `Vasp`: INCAR tags in small letters, and ``xc``,
    ``kpts``, ``gamma``, ``ldau_luj``. ``encut`` is required, for VASP's own choice changes with
    the elements, and so is ``kpts`` or ``kspacing``. The defaults are ``prec: Accurate``,
    ``ediff: 1e-6``, ``lreal: false``, and no WAVECAR and CHGCAR. The energy is the free energy.

    Attributes
    ----------
    pp_path
        Folder with a folder of a POTCAR for each potential, ``potpaw_PBE.64``, say.
    potentials
        Folder by element: ``{"Si": "Si", "Ga": "Ga_d"}``.
    magnetic_moments
        Initial moments by element, Bohr magnetons, with ``ispin: 2``.
    """

    kind: ClassVar[str] = "vasp"
    default_command: ClassVar[tuple[str, ...]] = ("vasp_std",)
    output: ClassVar[str] = "vasp.out"
    log: ClassVar[str] = "OUTCAR"
    finished: ClassVar[str] = "General timing and accounting informations"
    version_pattern: ClassVar[str] = r"vasp\.(\S+)"
    by_element: ClassVar[Mapping[str, Any]] = {"potentials": None, "magnetic_moments": 0.0}
    without_state: ClassVar[str] = "; a multiplicity needs spin-polarised settings"
    unconverged: ClassVar[tuple[str, ...]] = ("EDIFF was not reached",)
    defaults: ClassVar[Mapping[str, Any]] = {
        "prec": "Accurate",
        "ediff": 1e-6,
        "lreal": False,
        "lwave": False,
        "lcharg": False,
    }
    required: ClassVar[tuple[tuple[str, ...], ...]] = (("encut",), ("kpts", "kspacing"))
    reserved: ClassVar[tuple[str, ...]] = (
        *("nsw", "ibrion", "isif", "magmom", "pp", "pp_version", "setups"),
        *("atoms", "restart", "directory", "label", "command", "txt"),
    )

    pp_path: Annotated[InputPath, REQUIRED] = Path()
    potentials: Annotated[Mapping[str, FileName], REQUIRED, Several] = field(default_factory=dict)
    magnetic_moments: Mapping[str, Moment] = field(default_factory=dict)

    def identity(self, k: int = 0) -> dict[str, Any]:
        return {
            **super().identity(k),
            "potentials": {s: content_hash(self._potcar(s)) for s in self.potentials},
            "magnetic_moments": dict(self.magnetic_moments),
        }

    def missing(self, elements: Sequence[str]) -> list[str]:
        unnamed = [s for s in elements if s not in self.potentials]
        odd = [s for s, name in self.potentials.items() if not name.startswith(s)]
        named = [self._potcar(s) for s in elements if s in self.potentials]
        return [
            *super().missing(elements),
            *(f"{s}: has no potential (labelling.potentials)" for s in unnamed),
            *(f"{s}: its potential's name begins with it (labelling.potentials)" for s in odd),
            *missing_files(named, "labelling.pp_path, labelling.potentials", self.pp_path),
        ]

    @property
    def takes(self) -> tuple[str, ...]:
        return (CHARGE, SPIN) if self.parameters_of(0).get("ispin") == 2 else (CHARGE,)

    def write(
        self,
        atoms: Atoms,
        directory: Path,
        parameters: Mapping[str, Any],
        properties: Sequence[str],
    ) -> Sequence[str]:
        from ase.calculators.vasp import Vasp

        require_cell(atoms)
        own, parameters = electronic_state(atoms).own, dict(parameters)
        if CHARGE in own:
            self._check_electrons(sorted(set(atoms.symbols)))
            parameters["charge"] = own[CHARGE]  # ASE counts the electrons of the POTCARs
        if SPIN in own:
            parameters["nupdown"] = own[SPIN] - 1
        calculator = Vasp(
            **parameters,
            nsw=0,
            ibrion=-1,
            isif=2 if "stress" in properties else 0,
            pp=str(self.pp_path.absolute()),
            pp_version="",
            setups={s: name.removeprefix(s) for s, name in self.potentials.items()},
            directory=str(directory),
        )
        calculator.VASP_PP_PATH = ""  # ASE's own settings do not count
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="XC is set to LDA, but PP is set to")
            calculator.write_input(bare(atoms, self.magnetic_moments))
        return []

    def read(self, atoms: Atoms, directory: Path, properties: Sequence[str]) -> ReferenceResult:
        if "aborting loop because EDIFF is reached" not in self._log_text(directory):
            raise NotConvergedError("vasp: OUTCAR does not say that EDIFF is reached")
        computed = read(directory / "vasprun.xml", format="vasp-xml")
        assert isinstance(computed, Atoms)
        results = computed.calc.results
        original = np.loadtxt(directory / "ase-sort.dat", dtype=int, ndmin=2)[:, 1]
        return ReferenceResult(
            results["free_energy"],
            results["forces"][original] if "forces" in properties else None,
            results["stress"] if "stress" in properties else None,
            self._named_version(directory),
        )

    def _check_electrons(self, elements: Sequence[str]) -> None:
        for path in map(self._potcar, elements):
            text = path.read_text(errors="replace")
            if "TITEL" not in text or "ZVAL" not in text:
                raise EngineError(
                    f"{path}: does not say how many electrons it has (TITEL, ZVAL), so that a "
                    "charged structure cannot be computed"
                )

    def _potcar(self, element: str) -> Path:
        return self.pp_path / self.potentials[element] / "POTCAR"
