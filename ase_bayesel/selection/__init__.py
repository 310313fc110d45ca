"""Selection from pools: `select`, a store of feature rows, and the methods on plain arrays.

`ase_bayesel.select` works on structures. The functions here are `selection.methods`: arrays in,
indices out.
"""

from .methods import (
    Selection,
    atomic_cur,
    cur,
    direct,
    energy_variance,
    entropy,
    farthest_points,
    greedy,
    k_medoids,
    max_volume,
    simple_random,
    target_variance,
)

__all__ = [
    "Selection",
    "atomic_cur",
    "cur",
    "direct",
    "energy_variance",
    "entropy",
    "farthest_points",
    "greedy",
    "k_medoids",
    "max_volume",
    "simple_random",
    "target_variance",
]
