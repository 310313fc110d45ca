"""The engines by their names; their packages are loaded when one is asked for."""

from __future__ import annotations

from typing import Literal, get_args

from .engine import ASE, Engine

EngineName = Literal["ase", "lammps", "torch_sim"]
"""What a config can name."""


def engine_of(name: EngineName, check_interval: int = 1) -> Engine:
    """The engine of a name for walkers with this check interval; ValueError if there is none."""
    if name == "ase":
        return ASE
    if name == "lammps":
        from .lammps.engine import LammpsEngine

        return LammpsEngine()
    if name == "torch_sim":
        from .batched import TorchSimEngine

        return TorchSimEngine(check_interval)
    raise ValueError(f"dynamics: expected one of {', '.join(get_args(EngineName))}, got {name!r}")
