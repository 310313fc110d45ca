"""Refit by a command of the user's own, for every package that has one."""

from __future__ import annotations

import string
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from ...errors import CommandError, ConfigError, RefitError, TerminatedError
from ...io.fields import Program, Several
from ...io.magnitudes import Hours
from ...io.model_files import remove, suffixes_of
from ...resources.commands import run_command
from .base import RefitProgress, RefitTask, write_training_frames

PLACEHOLDERS = ("train", "n_new", "model", "output", "directory", "seed", "threads")


@dataclass(frozen=True)
class CommandRefitter:
    """Runs a command that reads a training file and writes a model.

    Attributes
    ----------
    command
        Program and arguments, started without a shell. ``{train}`` is an extended
        XYZ of the whole training set (labels under REF_energy, REF_forces,
        REF_virial and REF_stress; the last ``{n_new}`` structures are new),
        ``{model}`` the last good model, ``{output}`` where the new one must be, a
        folder where the last one is one, ``{directory}`` a folder of its own, which an
        interrupted command finds as it left it; ``{seed}`` and ``{threads}`` are numbers.
    time_limit_h
        Hours of wall time, None for no limit.

    Raises
    ------
    ConfigError
        For an unknown placeholder, or a command without ``{output}``.
    """

    kind: ClassVar[str] = "command"

    command: Annotated[tuple[Program, ...], Several]
    time_limit_h: Hours | None = None

    def __post_init__(self) -> None:
        used = set()
        for part in self.command:
            try:
                used |= {name for _, name, _, _ in string.Formatter().parse(part) if name}
            except ValueError as error:
                raise ConfigError(f"refit.command: {part!r}: {error}; write {{{{ for {{") from error
        unknown = sorted(used - set(PLACEHOLDERS))
        if unknown:
            raise ConfigError(
                f"refit.command: unknown placeholder {unknown[0]!r}; known: "
                f"{', '.join(PLACEHOLDERS)}"
            )
        if "output" not in used:
            raise ConfigError("refit.command: {output} is missing, the path of the new model")

    def refit(self, task: RefitTask) -> Generator[RefitProgress, None, Path]:
        """Run the command; its lines are the progress, and are kept in ``refit.log``."""
        task.directory.mkdir(parents=True, exist_ok=True)
        train = task.directory / "train.extxyz"
        write_training_frames(train, task.frames, task)
        last = task.model
        output = task.directory / f"model{suffixes_of(last) if isinstance(last, Path) else ''}"
        remove(output)
        values = {
            "train": train,
            "n_new": task.n_new,
            "model": last,
            "output": output,
            "directory": task.directory,
            "seed": task.seed,
            "threads": task.threads,
        }
        command = [part.format(**values) for part in self.command]
        log = task.directory / "refit.log"
        limit = None if self.time_limit_h is None else 3600.0 * self.time_limit_h
        try:
            for line in run_command(command, log, limit, {"OMP_NUM_THREADS": str(task.threads)}):
                yield RefitProgress(0, 0, line)
        except TerminatedError:
            raise
        except CommandError as error:
            raise RefitError(f"refit failed: {error}. The last good model is {last}") from error
        if not output.exists():
            raise RefitError(f"refit failed: the command left no {output}; see {log}")
        if isinstance(last, Path) and output.is_dir() != last.is_dir():
            kinds = ("a folder", "a file") if output.is_dir() else ("a file", "a folder")
            raise RefitError(
                f"refit failed: the command left {kinds[0]}, {output}, and the model before is "
                f"{kinds[1]}, {last}"
            )
        return output

    def unseen(self, n_frames: int) -> Sequence[int]:
        """None: what a command trains on is its own affair."""
        return ()
