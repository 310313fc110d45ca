"""Where structures and labels come from, and when to stop."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveInt

from .base import InputPath, Section


class DataConfig(Section):
    """Where structures and labels come from.

    Paths are relative to the config file; environment variables are expanded.
    """

    train: InputPath
    test: InputPath | None = None
    energy_key: str = "REF_energy"
    forces_key: str | None = "REF_forces"
    virial_key: str | None = None
    e0s: Literal["isolated", "average"] | dict[str, float] = "isolated"


class StopConfig(Section):
    """When the campaign ends, besides a round in which nothing triggers."""

    max_rounds: PositiveInt = 10
    max_labels: PositiveInt | None = None
