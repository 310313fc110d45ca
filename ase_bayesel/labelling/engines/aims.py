"""FHI-aims: input files and output by ASE."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

from ase import Atoms
from ase.calculators.aims import AimsProfile, AimsTemplate
from ase.data import atomic_numbers

from ...errors import NotConvergedError
from ...io.fields import REQUIRED, InputPath
from ...io.hashing import folder_hash
from ...io.magnitudes import Moment
from ...structures.electronic import CHARGE, SPIN, electronic_state
from ..result import ReferenceResult
from .base import bare, missing_files
from .program import ProgramEngine


@dataclass(frozen=True)
class AimsEngine(ProgramEngine):
    """FHI-aims, single points.

    ``parameters`` are the keywords of control.in, and ``tier`` of ASE. ``xc`` and
    ``relativistic`` are required; a periodic structure needs ``k_grid``, ``k_grid_density`` or
    ``kpts``. The energy is the electronic free energy.

    Attributes
    ----------
    species_dir
        Folder of basis sets, ``.../defaults_2020/light``, say.
    magnetic_moments
        Initial moments by element, Bohr magnetons, with ``spin: collinear``.
    """

    kind: ClassVar[str] = "aims"
    default_command: ClassVar[tuple[str, ...]] = ("aims.x",)
    output: ClassVar[str] = "aims.out"
    log: ClassVar[str] = "aims.out"
    finished: ClassVar[str] = "Have a nice day."
    version_pattern: ClassVar[str] = r"FHI-aims version\s*:\s*(\S+)"
    by_element: ClassVar[Mapping[str, Any]] = {"magnetic_moments": 0.0}
    without_state: ClassVar[str] = "; a multiplicity needs spin-polarised settings"
    unconverged: ClassVar[tuple[str, ...]] = ("cycle not converged", "cycle did not converge")
    required: ClassVar[tuple[tuple[str, ...], ...]] = (("xc",), ("relativistic",))
    reserved: ClassVar[tuple[str, ...]] = (
        *("species_dir", "relax_geometry", "md_run", "compute_forces"),
        *("compute_analytical_stress", "ghosts", "scaled", "geo_constrain", "write_velocities"),
    )

    species_dir: Annotated[InputPath, REQUIRED] = Path()
    magnetic_moments: Mapping[str, Moment] = field(default_factory=dict)

    def identity(self, k: int = 0) -> dict[str, Any]:
        return {
            **super().identity(k),
            "species": folder_hash(self.species_dir, "*_default"),
            "magnetic_moments": dict(self.magnetic_moments),
        }

    def missing(self, elements: Sequence[str]) -> list[str]:
        files = [self.species_dir / f"{atomic_numbers[s]:02}_{s}_default" for s in elements]
        return super().missing(elements) + missing_files(files, "labelling.species_dir")

    @property
    def takes(self) -> tuple[str, ...]:
        polarised = str(self.parameters_of(0).get("spin", "none")).lower() == "collinear"
        return (CHARGE, SPIN) if polarised else (CHARGE,)

    def write(
        self,
        atoms: Atoms,
        directory: Path,
        parameters: Mapping[str, Any],
        properties: Sequence[str],
    ) -> Sequence[str]:
        own, parameters = electronic_state(atoms).own, dict(parameters)
        if CHARGE in own:
            parameters["charge"] = own[CHARGE]
        if SPIN in own:
            parameters["fixed_spin_moment"] = own[SPIN] - 1
        profile = AimsProfile(
            command=self.default_command[0], default_species_directory=str(self.species_dir)
        )
        with _without_notice():
            AimsTemplate().write_input(
                profile, directory, bare(atoms, self.magnetic_moments), parameters, properties
            )
        return []

    def read(self, atoms: Atoms, directory: Path, properties: Sequence[str]) -> ReferenceResult:
        if "Self-consistency cycle converged" not in self._log_text(directory):
            raise NotConvergedError("aims: aims.out does not say that the cycle has converged")
        with _without_notice():
            results = AimsTemplate().read_results(directory)
        return ReferenceResult(
            results["free_energy"],
            results["forces"] if "forces" in properties else None,
            results["stress"] if "stress" in properties else None,
            self._named_version(directory),
        )


def _without_notice() -> warnings.catch_warnings:
    """Silence ASE's notice that its FHI-aims files move to a plugin."""
    return warnings.catch_warnings(action="ignore", category=FutureWarning)
