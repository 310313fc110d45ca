"""What a reference engine promises, and how its settings become a name.

An engine is a value: frozen, picklable, cheap to make. It computes one structure in a
directory of its own, with the settings of one attempt. Attempt 0 has the parameters as they
are given; attempt k > 0 the same with the changes of ``fallbacks[k - 1]``, for structures whose
calculation has failed before.
"""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from ase import Atoms

from ...io.fields import Json
from ...io.hashing import bytes_hash
from ...structures.electronic import electronic_state
from ..result import ReferenceResult


@dataclass(frozen=True)
class Engine(ABC):
    """Base of all engines.

    Attributes
    ----------
    parameters
        Settings in the engine's own terms.
    fallbacks
        Changes of ``parameters``, merged into them section by section, to be tried one after
        the other where a calculation has failed.
    canary
        Whether campaigns begin with a training structure that is calculated again.
    """

    kind: ClassVar[str]
    defaults: ClassVar[Mapping[str, Any]] = {}
    """Parameters where none are given."""
    required: ClassVar[tuple[tuple[str, ...], ...]] = ()
    """Parameters without which labels would not be comparable; one of each tuple."""
    reserved: ClassVar[tuple[str, ...]] = ()
    """Parameters that are the engine's own to set."""
    without_periodicity: ClassVar[bool] = True
    """Whether it computes molecules: structures that are periodic in no direction."""
    without_state: ClassVar[str] = ""
    """What to do where a charge or multiplicity cannot be used, after a semicolon."""
    by_element: ClassVar[Mapping[str, Any]] = {}
    """Attributes that hold something for each element, and what goes for one they do not name."""

    parameters: Mapping[str, Json] = field(default_factory=dict)
    fallbacks: tuple[Mapping[str, Json], ...] = ()
    canary: bool = field(default=True, kw_only=True)

    @property
    def name(self) -> str:
        """What a label says of its origin."""
        return self.kind

    @property
    def takes(self) -> tuple[str, ...]:
        """What of an `ElectronicState` a calculation takes over; structures with more are refused.

        The multiplicity as a rule where the settings are spin-polarised.
        """
        return ()

    def refusal(self, atoms: Atoms) -> str | None:
        """Why a structure with this charge and multiplicity cannot be computed; None if it can."""
        own = electronic_state(atoms).own
        takes = self.takes if own else ()
        unused = " and ".join(f"{key} {own[key]}" for key in own if key not in takes)
        if not unused:
            return None
        return f"{self.kind}: {unused} of the structure cannot be used{self.without_state}"

    @property
    def n_attempts(self) -> int:
        """How many settings there are to be tried."""
        return 1 + len(self.fallbacks)

    def parameters_of(self, attempt: int) -> dict[str, Any]:
        """The parameters of an attempt, over the engine's defaults."""
        parameters = merged(self.defaults, self.parameters)
        return merged(parameters, self.fallbacks[attempt - 1] if attempt else {})

    def faults(self) -> list[str]:
        """What is wrong with the parameters, a sentence for each thing."""
        faults = [
            f"{name}: is set by the engine; leave it out "
            "(labelling.parameters, labelling.fallbacks)"
            for name in self.reserved
            if any(_holds(settings, name) for settings in (self.parameters, *self.fallbacks))
        ]
        return faults + [
            f"{' or '.join(names)}: has to be given (labelling.parameters)"
            for names in self.required
            if not any(_holds(self.parameters_of(0), name) for name in names)
        ]

    def identity(self, k: int = 0) -> dict[str, Any]:
        """All that decides the numbers of an attempt, for JSON: the same on every machine.

        Files count by their content. How the engine is run (command, cores, time limit)
        does not count. For one structure it is ``only(elements)`` that decides.
        """
        return {"kind": self.kind, "parameters": self.parameters_of(k)}

    def only(self, elements: Iterable[str]) -> Self:
        """The same engine without what it holds for other elements."""
        wanted = sorted(set(elements))
        kept: dict[str, Any] = {}
        for name, unnamed in self.by_element.items():
            held = getattr(self, name)
            if held and isinstance(held, Mapping):
                values = {element: held.get(element, unnamed) for element in wanted}
                kept[name] = {s: value for s, value in values.items() if value is not None}
        return replace(self, **kept)

    @abstractmethod
    def missing(self, elements: Sequence[str]) -> list[str]:
        """What is needed for these elements and not there, a sentence for each thing."""

    @abstractmethod
    def evaluate(
        self, atoms: Atoms, directory: Path, attempt: int, properties: Sequence[str]
    ) -> ReferenceResult:
        """Compute one structure.

        Parameters
        ----------
        atoms
            Not changed.
        directory
            Exists, is empty, and belongs to this calculation.
        attempt
            Whose parameters to use.
        properties
            Some of `REFERENCE_PROPERTIES`, ``"energy"`` among them.

        Raises
        ------
        NotConvergedError
            If the self-consistency cycle did not converge, also where the program does not
            count that as a failure.
        MissingProgramError
            If the program, or a file that every structure needs, is not there.
        Exception
            Anything else that goes wrong with this structure.
        """


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A mapping with changes, section by section; neither argument is changed."""
    result = dict(base)
    for key, value in changes.items():
        inner = result.get(key)
        if isinstance(value, Mapping) and isinstance(inner, Mapping):
            value = merged(inner, value)
        result[key] = value
    return result


def _holds(parameters: Mapping[str, Any], name: str) -> bool:
    """Whether a parameter is given; ``section.name`` is looked for in its section."""
    first, dot, rest = name.partition(".")
    values = [value for key, value in parameters.items() if key.lower() == first.lower()]
    return any(_holds(value, rest) for value in values) if dot else bool(values)


def bare(atoms: Atoms, magnetic_moments: Mapping[str, float] | None = None) -> Atoms:
    """Elements, positions, cell, pbc, and charge and multiplicity where they are not usual.

    That is what a label's address knows.

    All vectors of a left-handed cell are turned round, for programs such as VASP and ABINIT refuse
    it: lattice, atoms and grids of k-points stay the same.

    Parameters
    ----------
    magnetic_moments
        Initial moments by element, Bohr magnetons; none for the elements left out.
    """
    cell = atoms.cell.array
    if np.linalg.det(cell) < 0:
        cell = -cell
    own = electronic_state(atoms).own
    out = Atoms(atoms.numbers, atoms.positions, cell=cell, pbc=atoms.pbc, info=own)
    if magnetic_moments:
        out.set_initial_magnetic_moments([magnetic_moments.get(s, 0.0) for s in out.symbols])
    return out


def settings_hash(identity: Mapping[str, Any], properties: Sequence[str]) -> str:
    """Name of the settings of a label: 12 hexadecimal digits after a letter.

    Parameters
    ----------
    identity
        Of `Engine.identity`.
    properties
        What is computed.

    Raises
    ------
    TypeError
        If the identity holds what JSON cannot.
    """
    content = json.dumps([identity, sorted(properties)], sort_keys=True)
    return f"e{bytes_hash(content.encode())[:12]}"


def missing_files(paths: Sequence[Path], field: str, folder: Path | None = None) -> list[str]:
    """A sentence for each file that is not there, with the config's name for it.

    Where they are looked for in a ``folder``, a symbolic link that leads out of it is none.
    """
    told = [(path, "no such file") for path in paths if not path.is_file()]
    if folder is not None:
        inside, why = os.path.realpath(folder), "a symbolic link leads out of the folder"
        out = (p for p in paths if not Path(os.path.realpath(p)).is_relative_to(inside))
        told += [(path, f"{why}; name the one where it lies") for path in out]
    return [f"{path}: {what} ({field})" for path, what in told]
