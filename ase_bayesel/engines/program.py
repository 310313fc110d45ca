"""Base of the engines that are programs: write input files, run, read what came out."""

from __future__ import annotations

import shutil
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from ase import Atoms

from ..processes import run_program
from .base import Engine, Evaluation


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
    time_limit_s
        Seconds of wall time for one calculation, None for no limit.
    """

    default_command: ClassVar[tuple[str, ...]]
    output: ClassVar[str]

    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    time_limit_s: float | None = None

    @abstractmethod
    def write(
        self,
        atoms: Atoms,
        directory: Path,
        parameters: Mapping[str, Any],
        properties: Sequence[str],
    ) -> Sequence[str]:
        """Write the input files; returns the arguments that are added to the command."""

    @abstractmethod
    def read(self, atoms: Atoms, directory: Path, properties: Sequence[str]) -> Evaluation:
        """What the program left in the directory, in the order of ``atoms``.

        Raises
        ------
        NotConvergedError
            If it did not converge.
        """

    def missing(self, elements: Sequence[str]) -> list[str]:
        program = (self.command or self.default_command)[0]
        path = self.environment.get("PATH")
        if shutil.which(program, path=path) is not None:
            return []
        return [f"{program}: no such program (labelling.command)"]

    def evaluate(
        self, atoms: Atoms, directory: Path, rung: int, properties: Sequence[str]
    ) -> Evaluation:
        arguments = self.write(atoms.copy(), directory, self.rung(rung), properties)
        command = [*(self.command or self.default_command), *arguments]
        run_program(command, directory, self.output, self.time_limit_s, self.environment)
        return self.read(atoms, directory, properties)
