"""What the DFT programs share: defaults, k-points, magnetic_moments, pseudopotential files."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from ase import Atoms
from pydantic import Field

from ...errors import ConfigError, EngineError, MissingProgramError
from ...io.fields import REQUIRED, FileName, InputPath, Several
from ...io.hashing import content_hash
from ...io.magnitudes import Moment, Points
from .base import bare, merged, missing_files
from .program import ProgramEngine

EXPONENT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)[eEdD][+-]?\d+")


@dataclass(frozen=True)
class DFTEngine(ProgramEngine):
    """A DFT program with k-points.

    Settings are ``defaults`` with ``parameters`` merged into them. Names of settings may be
    in upper or lower case, and a number such as ``1e-7``, which YAML takes for text, is a number.

    Attributes
    ----------
    kpts
        Points of the Gamma-centred grid along each reciprocal vector.
    kspacing
        Instead of ``kpts``: largest distance of neighbouring k-points, 1/A with the factor
        2 pi, from which each structure gets a grid of its own.
    magnetic_moments
        Where the spins of an element start, in the program's own measure. If it names any
        element, the calculation is spin-polarized. Moments that a structure carries do not count.

    Raises
    ------
    ConfigError
        If not exactly one of ``kpts`` and ``kspacing`` is given.
    """

    upper_case: ClassVar[bool] = False
    by_element: ClassVar[Mapping[str, Any]] = {"magnetic_moments": 0.0}

    kpts: tuple[Points, Points, Points] | None = None
    kspacing: Annotated[float, Field(ge=0.005, le=10)] | None = None
    magnetic_moments: Mapping[str, Moment] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.kpts is None) == (self.kspacing is None):
            raise ConfigError("give one of kpts and kspacing, and not both")

    def parameters_of(self, attempt: int) -> dict[str, Any]:
        settings = dict(self.defaults)
        letter_case = str.upper if self.upper_case else str.lower
        for changes in (self.parameters, *self.fallbacks[attempt - 1 : attempt]):
            settings = merged(settings, _normal(changes, letter_case))
        return settings

    def identity(self, k: int = 0) -> dict[str, Any]:
        physics = {
            "kpts": None if self.kpts is None else list(self.kpts),
            "kspacing": self.kspacing,
            "magnetic_moments": dict(self.magnetic_moments),
        }
        return {**super().identity(k), **physics}

    def grid(self, atoms: Atoms) -> tuple[int, int, int]:
        """Points of the Gamma-centred grid; one along a direction that is not periodic."""
        if self.kpts is not None:
            points = np.array(self.kpts)
        else:
            lengths = 2 * np.pi * np.linalg.norm(atoms.cell.reciprocal(), axis=1)
            points = np.maximum(1, np.ceil(lengths / self.kspacing - 1e-9)).astype(int)
        a, b, c = np.where(atoms.pbc, points, 1).tolist()
        return a, b, c

    @abstractmethod
    def absent(self) -> list[str]:
        """Files that every structure needs and that are not there, a sentence for each."""

    @abstractmethod
    def unknown(self, elements: Sequence[str]) -> list[str]:
        """Elements for which nothing is given, a sentence for each."""

    def missing(self, elements: Sequence[str]) -> list[str]:
        return super().missing(elements) + (self.absent() or self.unknown(elements))

    def checked(self, atoms: Atoms) -> Atoms:
        """A bare copy of a structure: elements, positions, cell, and where its spins start.

        Raises
        ------
        EngineError
            If nothing is given for one of its elements.
        MissingProgramError
            If a file is not there.
        """
        if absent := self.absent():
            raise MissingProgramError("; ".join(absent))
        if unknown := self.unknown(sorted(set(atoms.symbols))):
            raise EngineError("; ".join(unknown))
        return bare(atoms, self.magnetic_moments)


@dataclass(frozen=True)
class PseudopotentialEngine(DFTEngine):
    """A plane-wave program, for structures that are periodic in three directions.

    Attributes
    ----------
    pseudo_dir
        Directory of the pseudopotentials.
    pseudopotentials
        Name of the file of each element. They count in the identity by content.
    """

    without_periodicity: ClassVar[bool] = False
    by_element: ClassVar[Mapping[str, Any]] = {"pseudopotentials": None, "magnetic_moments": 0.0}

    pseudo_dir: Annotated[InputPath, REQUIRED] = Path()
    pseudopotentials: Annotated[Mapping[str, FileName], REQUIRED, Several] = field(
        default_factory=dict
    )

    def identity(self, k: int = 0) -> dict[str, Any]:
        hashes = {element: content_hash(self.path(element)) for element in self.pseudopotentials}
        return {**super().identity(k), "pseudopotentials": hashes}

    def checked(self, atoms: Atoms) -> Atoms:
        if not atoms.pbc.all():
            raise EngineError(
                f"{self.kind} needs three periodic directions; where the structure ends, put "
                "vacuum into the cell and make it periodic"
            )
        return super().checked(atoms)

    def path(self, element: str) -> Path:
        """Where the pseudopotential of an element is."""
        return (self.pseudo_dir / self.pseudopotentials[element]).absolute()

    def absent(self) -> list[str]:
        if not self.pseudo_dir.is_dir():
            return [f"{self.pseudo_dir}: no such directory (labelling.pseudo_dir)"]
        paths = [self.path(element) for element in self.pseudopotentials]
        return missing_files(paths, "labelling.pseudopotentials", self.pseudo_dir)

    def unknown(self, elements: Sequence[str]) -> list[str]:
        return [
            f"{element}: no pseudopotential is given (labelling.pseudopotentials)"
            for element in elements
            if element not in self.pseudopotentials
        ]


def _normal(value: Any, letter_case: Callable[[str], str]) -> Any:
    """Settings with their names in one case and one form of each number (1e2, 100.0, 100)."""
    if isinstance(value, Mapping):
        return {letter_case(str(key)): _normal(inner, letter_case) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_normal(inner, letter_case) for inner in value]
    if isinstance(value, str) and EXPONENT.fullmatch(value):
        value = float(re.sub("[dD]", "e", value))
    return int(value) if isinstance(value, float) and value.is_integer() else value


def numbers(rows: Sequence[Any], shape: tuple[int, ...], quantity: str, output: Path) -> np.ndarray:
    """A table of an output file.

    Parameters
    ----------
    rows
        Its numbers, as text or numbers.
    shape
        Which it must have.
    quantity, output
        What it is and where it stood, for the message.

    Raises
    ------
    EngineError
        If it is not there as a whole.
    """
    try:
        return np.array(rows, float).reshape(shape)
    except ValueError as error:
        raise EngineError(f"{output}: {quantity} cannot be read") from error
