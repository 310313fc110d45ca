"""Engines that are ASE calculators in this process: xTB, a surrogate, any importable one."""

from __future__ import annotations

import importlib
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from ...errors import ConfigError
from ...io.fields import REQUIRED, Factory, InputPath
from ...io.hashing import content_hash
from ...surrogate.surrogate import Surrogate
from .base import Engine, ReferenceResult, bare


@dataclass(frozen=True)
class CalculatorEngine(Engine):
    """Base of the engines that are calculators in this process."""

    package: ClassVar[str] = ""

    @abstractmethod
    def make(self, parameters: Mapping[str, Any]) -> Calculator:
        """A calculator for one structure."""

    def missing(self, elements: Sequence[str]) -> list[str]:
        return []

    def evaluate(
        self, atoms: Atoms, directory: Path, attempt: int, properties: Sequence[str]
    ) -> ReferenceResult:
        atoms = bare(atoms)
        atoms.calc = self.make(self.parameters_of(attempt))
        return evaluated(atoms, properties, package_version(self.package))


def evaluated(atoms: Atoms, properties: Sequence[str], version: str = "") -> ReferenceResult:
    """What the calculator of a structure gives, with raw forces and the energy behind them."""
    energy = atoms.get_potential_energy()
    # forces derive from the free energy; engines that tell the two apart put it in results
    consistent = getattr(atoms.calc, "results", {}).get("free_energy", energy)
    forces = stress = None
    if "forces" in properties:
        forces = np.array(atoms.get_forces(apply_constraint=False))
    if "stress" in properties and atoms.pbc.all():
        stress = np.array(atoms.get_stress(apply_constraint=False))
    return ReferenceResult(float(consistent), forces, stress, version)


def package_version(package: str) -> str:
    """Version of an installed package; empty where there is none."""
    try:
        return f"{package} {version(package)}" if package else ""
    except PackageNotFoundError:
        return ""


@dataclass(frozen=True)
class TBLiteEngine(CalculatorEngine):
    """xTB by tblite, at the Gamma point."""

    kind: ClassVar[str] = "tblite"
    package: ClassVar[str] = "tblite"
    method: str = "GFN1-xTB"

    @property
    def name(self) -> str:
        return self.method

    def identity(self, k: int = 0) -> dict[str, Any]:
        return {**super().identity(k), "method": self.method}

    def missing(self, elements: Sequence[str]) -> list[str]:
        try:
            import tblite.ase  # noqa: F401
        except ImportError:
            return ["tblite is not installed; pip install 'ase_bayesel[tblite]'"]
        return []

    def make(self, parameters: Mapping[str, Any]) -> Calculator:
        from tblite.ase import TBLite

        return TBLite(method=self.method, verbosity=0, **parameters)


@dataclass(frozen=True)
class ImportedEngine(CalculatorEngine):
    """Any importable callable, ``package.module:callable``, that returns an ASE calculator."""

    kind: ClassVar[str] = "import"
    factory: Annotated[Factory, REQUIRED] = ""

    @property
    def name(self) -> str:
        return self.factory

    def identity(self, k: int = 0) -> dict[str, Any]:
        return {**super().identity(k), "factory": self.factory}

    def missing(self, elements: Sequence[str]) -> list[str]:
        try:
            imported(self.factory, "labelling.factory")
        except ConfigError as error:
            return [str(error)]
        return []

    def make(self, parameters: Mapping[str, Any]) -> Calculator:
        return imported(self.factory, "labelling.factory")(**parameters)


@dataclass(frozen=True)
class SurrogateEngine(CalculatorEngine):
    """A saved surrogate as the teacher."""

    kind: ClassVar[str] = "surrogate"
    model: Annotated[InputPath, REQUIRED] = Path()

    @property
    def name(self) -> str:
        return str(self.model)

    def identity(self, k: int = 0) -> dict[str, Any]:
        return {**super().identity(k), "model": content_hash(self.model)}

    def missing(self, elements: Sequence[str]) -> list[str]:
        return [] if self.model.is_file() else [f"{self.model}: no such file (labelling.model)"]

    def make(self, parameters: Mapping[str, Any]) -> Calculator:
        return Surrogate.load(self.model).calculator()


def imported(target: str, field: str) -> Callable[..., Any]:
    """What ``package.module:name`` names.

    Parameters
    ----------
    field
        The config's name for the target, for the error.

    Raises
    ------
    ConfigError
        If it cannot be imported.
    """
    module, _, name = target.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"{field}: cannot import {target!r} ({error}); write it as package.module:callable"
        ) from error
