"""Quantum ESPRESSO: ``pw.x``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

from ase import Atoms
from ase.io.espresso import write_espresso_in
from ase.stress import full_3x3_to_voigt_6_stress
from ase.units import create_units

from ...io.fields import REQUIRED, Json
from ...structures.electronic import CHARGE, SPIN, electronic_state
from ..result import ReferenceResult
from .base import merged
from .dft import PseudopotentialEngine, numbers

INPUT = "espresso.pwi"
UNITS = create_units("2006")  # as ASE's own reader, so that labels of both fit together
RY, BOHR = UNITS["Ry"], UNITS["Bohr"]
ENERGY = re.compile(r"^!!?\s+total energy\s+=\s*(\S+) Ry", re.MULTILINE)
FORCE = re.compile(r"^\s+atom\s+\d+ type\s+\d+\s+force =\s*(\S+)\s+(\S+)\s+(\S+)", re.MULTILINE)
STRESS = re.compile(r"total\s+stress .*\n" + 3 * r"\s*(\S+)\s+(\S+)\s+(\S+) .*\n")


@dataclass(frozen=True)
class EspressoEngine(PseudopotentialEngine):
    """Quantum ESPRESSO's ``pw.x``.

    ``parameters`` are its namelists, ``{"system": {"ecutwfc": 40}, "electrons": {...}}``, in
    its own units (Ry). The defaults smear the occupations (Gaussian, 0.01 Ry) and converge the
    energy to 1e-10 Ry; nothing is left on disk but the output. The measure of ``magnetic_moments``
    is that of ``starting_magnetization``.
    """

    kind: ClassVar[str] = "espresso"
    default_command: ClassVar[tuple[str, ...]] = ("pw.x",)
    output: ClassVar[str] = "espresso.pwo"
    defaults: ClassVar[Mapping[str, Any]] = {
        "control": {"disk_io": "none"},
        "system": {"occupations": "smearing", "smearing": "gaussian", "degauss": 0.01},
        "electrons": {"conv_thr": 1e-10},
    }
    log: ClassVar[str] = output
    reserved: ClassVar[tuple[str, ...]] = (
        "control.calculation",
        "control.outdir",
        "control.prefix",
        "control.pseudo_dir",
        "control.wfcdir",
        "system.ibrav",
        "system.nat",
        "system.ntyp",
    )
    without_state: ClassVar[str] = "; a multiplicity needs spin-polarised settings"
    unconverged: ClassVar[tuple[str, ...]] = ("convergence NOT achieved",)
    finished: ClassVar[str] = "JOB DONE."
    version_pattern: ClassVar[str] = r"Program (PWSCF v\.\S+)"
    complaint: ClassVar[re.Pattern[str] | None] = re.compile(r"Error in routine ([^%]*)")

    parameters: Annotated[Mapping[str, Mapping[str, Json]], REQUIRED] = field(default_factory=dict)
    fallbacks: tuple[Mapping[str, Mapping[str, Json]], ...] = ()

    @property
    def takes(self) -> tuple[str, ...]:
        polarised = self.magnetic_moments or self.parameters_of(0)["system"].get("nspin") == 2
        return (CHARGE, SPIN) if polarised else (CHARGE,)

    def write(
        self,
        atoms: Atoms,
        directory: Path,
        parameters: Mapping[str, Any],
        properties: Sequence[str],
    ) -> Sequence[str]:
        own = electronic_state(atoms).own
        atoms = self.checked(atoms)
        system = {"tot_charge": own[CHARGE]} if CHARGE in own else {}
        if SPIN in own:
            system |= {"tot_magnetization": own[SPIN] - 1, "nspin": 2}
        control = {
            "calculation": "scf",
            "outdir": "./scratch",
            "prefix": "pwscf",
            "pseudo_dir": str(self.pseudo_dir.absolute()),
            "tprnfor": "forces" in properties,
            "tstress": "stress" in properties,
        }
        grid = self.grid(atoms)
        # real wave functions at Gamma, which spinors do not allow
        real = grid == (1, 1, 1) and not parameters["system"].get("noncolin", False)
        with open(directory / INPUT, "w") as handle:
            write_espresso_in(
                handle,
                atoms,
                input_data=merged(parameters, {"control": control, "system": system}),
                pseudopotentials=self.pseudopotentials,
                kpts=None if real else grid,
            )
        return ["-in", INPUT]

    def read(self, atoms: Atoms, directory: Path, properties: Sequence[str]) -> ReferenceResult:
        output = directory / self.output
        text = self._log_text(directory)
        # a hybrid functional has a cycle around the cycle, and an energy for each
        energy = numbers(ENERGY.findall(text)[-1:], (), "the energy", output)
        forces = stress = None
        if "forces" in properties:
            # contributions to the forces may follow in the same format
            rows = FORCE.findall(text.partition("Forces acting on atoms")[2])[: len(atoms)]
            forces = numbers(rows, (len(atoms), 3), "the forces", output) * (RY / BOHR)
        if "stress" in properties:
            rows = STRESS.findall(text)[-1:]
            tensor = numbers(rows, (3, 3), "the stress", output) * (RY / BOHR**3)
            stress = -full_3x3_to_voigt_6_stress(tensor)
        return ReferenceResult(float(energy) * RY, forces, stress, self._named_version(directory))
