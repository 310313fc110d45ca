"""GPAW, in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar

from ase import Atoms
from ase.calculators.calculator import Calculator

from ...errors import NotConvergedError
from ...io.fields import InputPath
from ...io.hashing import folder_hash
from ...io.magnitudes import Moment
from ...structures.electronic import CHARGE, electronic_state
from ..result import ReferenceResult
from .base import bare
from .calculators import CalculatorEngine, evaluated, package_version


@dataclass(frozen=True)
class GPAWEngine(CalculatorEngine):
    """GPAW in this process, on one core.

    ``parameters`` are the keywords of ``gpaw.GPAW``; ``mode``, ``xc`` and ``kpts`` are required. A
    plane-wave mode, ``{name: pw, ecut: 400}``, has a stress. The energy is the free energy.

    Attributes
    ----------
    setup_path
        Folder of PAW data sets; None for those of the package gpaw-data. GPAW's own search path
        (``GPAW_SETUP_PATH``) does not count.
    magnetic_moments
        Initial moments by element, Bohr magnetons.
    """

    kind: ClassVar[str] = "gpaw"
    package: ClassVar[str] = "gpaw"
    by_element: ClassVar[Mapping[str, Any]] = {"magnetic_moments": 0.0}
    required: ClassVar[tuple[tuple[str, ...], ...]] = (("mode",), ("xc",), ("kpts",))
    reserved: ClassVar[tuple[str, ...]] = ("txt", "atoms", "restart", "communicator")

    setup_path: InputPath | None = None
    magnetic_moments: Mapping[str, Moment] = field(default_factory=dict)

    def identity(self, k: int = 0) -> dict[str, Any]:
        return {
            **super().identity(k),
            "setups": _folder_hash_once(self._setups()),
            "magnetic_moments": dict(self.magnetic_moments),
        }

    def missing(self, elements: Sequence[str]) -> list[str]:
        try:
            import gpaw  # noqa: F401

            folder = self._setups()
        except ImportError as error:
            return [f"{error.name} is not installed; docs/engines.md says how"]
        absent = [s for s in elements if not any(folder.glob(f"{s}.*"))]
        return [
            *self.faults(),
            *(f"{folder}: has no data set of {s} (labelling.setup_path)" for s in absent),
        ]

    @property
    def takes(self) -> tuple[str, ...]:
        return (CHARGE,)

    def make(self, parameters: Mapping[str, Any]) -> Calculator:
        import gpaw

        gpaw.setup_paths[:] = [self._setups()]
        return gpaw.GPAW(**deepcopy(dict(parameters)))

    def evaluate(
        self, atoms: Atoms, directory: Path, attempt: int, properties: Sequence[str]
    ) -> ReferenceResult:
        from gpaw import KohnShamConvergenceError

        atoms = bare(atoms, self.magnetic_moments)
        parameters = {**self.parameters_of(attempt), **electronic_state(atoms).own}
        atoms.calc = self.make({**parameters, "txt": str(directory / "gpaw.txt")})
        try:
            return evaluated(atoms, properties, package_version(self.package))
        except KohnShamConvergenceError as error:
            raise NotConvergedError(f"gpaw: {error or 'did not converge'}") from error

    def _setups(self) -> Path:
        return self.setup_path or Path(str(files("gpaw_data"))) / "setups"


_folder_hash_once = cache(folder_hash)
