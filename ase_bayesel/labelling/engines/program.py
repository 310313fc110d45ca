"""Base of the engines that are programs: write input files, run, read what came out."""

from __future__ import annotations

import re
import shutil
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from ase import Atoms

from ...errors import (
    CommandError,
    EngineError,
    MissingProgramError,
    NotConvergedError,
    TerminatedError,
    TimeLimitError,
)
from ...io.fields import Program
from ...io.magnitudes import Hours
from ...resources.commands import run_program
from ..result import ReferenceResult
from .base import Engine


@dataclass(frozen=True)
class ProgramEngine(Engine):
    """An engine that runs a program in its directory, under supervision and without a shell.

    Attributes
    ----------
    command
        Program and arguments, with the launcher where there is one:
        ``("mpirun", "-n", "4", "pw.x")``; empty for ``default_command``. The arguments that name
        input files are added.
    environment
        Added to this process's environment.
    time_limit_h
        Hours of wall time for one calculation, None for no limit.
    """

    default_command: ClassVar[tuple[str, ...]]
    output: ClassVar[str]
    """Where the program's standard output goes."""
    log: ClassVar[str]
    """The file that tells how the calculation ended."""
    finished: ClassVar[str]
    """What the log says only at a regular end."""
    version_pattern: ClassVar[str]
    """Regular expression that finds the program's version in the log, as its group 1."""
    unconverged: ClassVar[tuple[str, ...]] = ()
    """What the log says where the self-consistency cycle did not converge."""
    complaint: ClassVar[re.Pattern[str] | None] = None
    """Finds in log and output what the program says before it gives up."""

    command: tuple[Program, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    time_limit_h: Hours | None = None

    @abstractmethod
    def write(
        self,
        atoms: Atoms,
        directory: Path,
        parameters: Mapping[str, Any],
        properties: Sequence[str],
    ) -> Sequence[str]:
        """Write the input files; returns the arguments that are added to the command.

        Parameters
        ----------
        atoms
            The structure, which may be changed.
        directory
            Where they go.
        parameters
            Of the attempt.
        properties
            What is to be computed, some of `REFERENCE_PROPERTIES`.
        """

    @abstractmethod
    def read(self, atoms: Atoms, directory: Path, properties: Sequence[str]) -> ReferenceResult:
        """What the program left in the directory, in the order of ``atoms``.

        Raises
        ------
        NotConvergedError
            If it did not converge.
        """

    def program(self) -> str | None:
        """Path of the program, or of its launcher; None where there is none."""
        name = (self.command or self.default_command)[0]
        return shutil.which(name, path=self.environment.get("PATH"))

    def missing(self, elements: Sequence[str]) -> list[str]:
        if self.program() is not None:
            return self.faults()
        name = (self.command or self.default_command)[0]
        return [f"{name}: no such program (labelling.command)", *self.faults()]

    def evaluate(
        self, atoms: Atoms, directory: Path, attempt: int, properties: Sequence[str]
    ) -> ReferenceResult:
        wanted = [name for name in properties if name != "stress" or atoms.pbc.all()]
        arguments = self.write(atoms.copy(), directory, self.parameters_of(attempt), wanted)
        command = [*(self.command or self.default_command), *arguments]
        limit = None if self.time_limit_h is None else 3600.0 * self.time_limit_h
        try:
            run_program(command, directory, self.output, limit, self.environment)
        except (MissingProgramError, TerminatedError, TimeLimitError):
            raise
        except CommandError as error:
            text = "".join(_text(directory / name) for name in {self.log, self.output})
            self._check_convergence(text)
            said = " ".join(self.complaint.findall(text)) if self.complaint else ""
            if not said:
                raise
            raise CommandError(f"{' '.join(said.split())} ({error})") from error
        return self.collected(atoms, directory, wanted)

    def collected(
        self, atoms: Atoms, directory: Path, properties: Sequence[str]
    ) -> ReferenceResult:
        """`read`, once the log says that the calculation converged and came to its end.

        Raises
        ------
        NotConvergedError, EngineError
            If it does not.
        """
        text = self._log_text(directory)
        self._check_convergence(text)
        if self.finished not in text:
            raise EngineError(f"{self.kind}: ended early, {self.log} has no {self.finished!r}")
        return self.read(atoms, directory, properties)

    def _check_convergence(self, text: str) -> None:
        for phrase in self.unconverged:
            if phrase in text:
                raise NotConvergedError(f"{self.kind}: {self.log} says {phrase!r}")

    def _named_version(self, directory: Path) -> str:
        match = re.search(self.version_pattern, self._log_text(directory))
        return f"{self.kind} {match[1]}" if match else self.kind

    def _log_text(self, directory: Path) -> str:
        return _text(directory / self.log)


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.is_file() else ""


def require_cell(atoms: Atoms) -> None:
    """Refuse a structure without three cell vectors, for programs that need them.

    Raises
    ------
    EngineError
        If one of them is missing.
    """
    if atoms.cell.rank < 3:
        raise EngineError("the structure has no cell of three vectors, which this program needs")
