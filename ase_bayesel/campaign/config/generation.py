"""Pools of candidate structures: recipes and what they need."""

from __future__ import annotations

from typing import Annotated

from pydantic import model_validator

from ...generation import RECIPES, Recipe, Screen
from ...io.fields import InputPath, Several
from ...io.kinds import VALUE, OneOf
from ...io.magnitudes import Seed, Threads
from .base import Section
from .data import DataConfig
from .models import AnyDescriptor, AnyPotential, check_models


class PoolConfig(Section):
    """What ``bayesel pool`` makes.

    A surrogate, for uncertainties and biased MD, is a saved one or is fitted to ``data``, whose
    training set then belongs to the ``core``. Without one, ``descriptor`` alone finds near
    copies. The potential of MD is the surrogate's mean, if none is given.
    """

    seed: Seed = 0
    threads: Threads = 1
    starts: InputPath | None = None
    core: InputPath | None = None
    surrogate: InputPath | None = None
    data: DataConfig | None = None
    descriptor: AnyDescriptor | None = None
    potential: AnyPotential | None = None
    screen: Annotated[Screen, VALUE] = Screen()
    recipes: Annotated[tuple[Annotated[Recipe, OneOf(RECIPES)], ...], Several]

    @model_validator(mode="after")
    def _parts_fit_together(self) -> PoolConfig:
        if self.surrogate is not None and self.data is not None:
            raise ValueError("give surrogate or data, not both")
        check_models(self.potential, self.descriptor)
        if self.data is not None and self.descriptor is None:
            raise ValueError("data: a surrogate is fitted with a descriptor, which is missing")
        if self.potential is not None and self.potential.energy_shift == "fitted":
            raise ValueError("potential.energy_shift: a pool fits none; give it by element")
        if self.data is not None and self.data.bootstrap is not None:
            raise ValueError("data.train: a pool labels nothing; give a file, not bootstrap")
        if self.data is not None and self.data.test is not None:
            raise ValueError("data.test: a pool has no use for it")
        return self
