"""Engines that are ASE calculators in this process: xTB, a surrogate, any importable one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from ase import Atoms
from ase.calculators.calculator import Calculator

from ...errors import ConfigError
from ...io.fields import REQUIRED, Factory, InputPath
from ...io.hashing import content_hash
from ...io.importing import factory_identity, imported, kind_of
from ...io.magnitudes import Hours
from ...resources.apart import call_apart
from ...structures.electronic import CHARGE, SPIN, electronic_state
from ...structures.results import energy_of, forces_of, stress_of, untouched
from ...surrogate.surrogate import Surrogate
from ..result import ReferenceResult
from .base import Engine, bare


@dataclass(frozen=True)
class CalculatorEngine(Engine):
    """Base of the engines that are calculators in this process."""

    package: ClassVar[str] = ""

    @abstractmethod
    def make(self, parameters: Mapping[str, Any]) -> Calculator:
        """A calculator for one structure."""

    def stated(self, atoms: Atoms) -> dict[str, Any]:
        """Parameters that a structure's own charge and multiplicity ask for."""
        return {}

    def missing(self, elements: Sequence[str]) -> list[str]:
        return []

    def evaluate(
        self, atoms: Atoms, directory: Path, attempt: int, properties: Sequence[str]
    ) -> ReferenceResult:
        atoms = bare(atoms)
        atoms.calc = self.make({**self.parameters_of(attempt), **self.stated(atoms)})
        return evaluated(atoms, properties, package_version(self.package))


def evaluated(atoms: Atoms, properties: Sequence[str], version: str = "") -> ReferenceResult:
    """What the calculator of a structure gives, with raw forces and the energy behind them.

    Raises
    ------
    ResultError
        If a result is not what it has to be, or the calculator has changed the structure.
    Exception
        Whatever the calculator raises.
    """
    calculator, forces, stress = atoms.calc, None, None
    with untouched(atoms):
        energy = calculator.get_potential_energy(atoms)
        # forces derive from the free energy; engines that tell the two apart put it in results
        free = getattr(calculator, "results", {}).get("free_energy")
        consistent = energy_of(energy if free is None else free)
        if "forces" in properties:
            forces = forces_of(calculator.get_forces(atoms), len(atoms))
        if "stress" in properties and atoms.pbc.all():
            stress = stress_of(calculator.get_stress(atoms))
    return ReferenceResult(consistent, forces, stress, version)


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

    @property
    def takes(self) -> tuple[str, ...]:
        return (CHARGE, SPIN)

    def stated(self, atoms: Atoms) -> dict[str, Any]:
        names = {CHARGE: "charge", SPIN: "multiplicity"}
        return {names[key]: value for key, value in electronic_state(atoms).own.items()}

    def make(self, parameters: Mapping[str, Any]) -> Calculator:
        from tblite.ase import TBLite

        return TBLite(method=self.method, verbosity=0, **parameters)


@dataclass(frozen=True)
class ImportedEngine(CalculatorEngine):
    """Any callable, ``package.module:callable`` or of a file, that returns an ASE calculator.

    Attributes
    ----------
    factory
        The callable, which gets ``parameters`` as keywords.
    reads
        Some of ``charge`` and ``spin``, which the calculator takes from ``atoms.info``; structures
        that have what it does not read are refused.
    time_limit_h
        Hours of wall time for one calculation, which then has a process of its own; None for no
        limit.
    """

    kind: ClassVar[str] = "import"
    without_state: ClassVar[str] = "; if the calculator takes it from atoms.info: labelling.reads"
    factory: Annotated[Factory, REQUIRED] = ""
    reads: tuple[Literal["charge", "spin"], ...] = ()
    time_limit_h: Hours | None = None

    @property
    def name(self) -> str:
        return self.factory

    @property
    def takes(self) -> tuple[str, ...]:
        return self.reads

    def identity(self, k: int = 0) -> dict[str, Any]:
        return {**super().identity(k), **factory_identity(self.factory)}

    def missing(self, elements: Sequence[str]) -> list[str]:
        try:
            imported(self.factory, "labelling.factory")
        except ConfigError as error:
            return [str(error)]
        return []

    def evaluate(
        self, atoms: Atoms, directory: Path, attempt: int, properties: Sequence[str]
    ) -> ReferenceResult:
        if self.time_limit_h is None:
            return super().evaluate(atoms, directory, attempt, properties)
        unlimited = replace(self, time_limit_h=None)
        limit_s, asked = 3600.0 * self.time_limit_h, (atoms, directory, attempt, properties)
        return call_apart(limit_s, unlimited.evaluate, *asked)

    def make(self, parameters: Mapping[str, Any]) -> Calculator:
        made = imported(self.factory, "labelling.factory")(**parameters)
        return checked_calculator(made, self.factory, "labelling.factory")


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


def checked_calculator(made: Any, target: str, field: str) -> Calculator:
    """What a factory has returned, if that is a calculator.

    Raises
    ------
    ConfigError
        If it is none.
    """
    asked = ("get_potential_energy", "get_forces", "get_stress")
    if isinstance(made, type) or not all(callable(getattr(made, name, None)) for name in asked):
        raise ConfigError(f"{field}: {target!r} returns no ASE calculator but {kind_of(made)}")
    calculator: Calculator = made
    return calculator
