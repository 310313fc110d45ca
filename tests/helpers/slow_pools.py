"""A pool that is generated slowly, in a process that is killed."""

import os
import time
from dataclasses import dataclass

from ase.build import bulk

from ase_bayesel import generate_pool
from ase_bayesel.generation import Recipe
from ase_bayesel.generation.recipe import derived

CRYSTAL = bulk("Cu", cubic=True) * (2, 1, 1)
ALLOY = CRYSTAL.copy()
ALLOY.symbols[:3] = "Au"


@dataclass(frozen=True)
class Slow(Recipe):
    """Rattles, one candidate in three an exact copy; with a pause where ``SLOW`` is set."""

    name = "slow"
    size = 30

    def frames(self, start, context, rng):
        for number in range(self.size):
            time.sleep(float(os.environ.get("SLOW", "0")))
            moved = start.copy()
            moved.rattle(0.1, rng=rng)
            yield derived(moved if number % 3 else start, start, self.name)


def slow_pool(path):
    """What the process that is killed runs."""
    return generate_pool(path, [Slow(), Slow()], [CRYSTAL, ALLOY], seed=1)
