"""Methods of selection: arrays in, indices out; one function for each.

None of these modules knows of structures or descriptors; `ase_bayesel.select` does. numpy and
scipy alone, but for k-medoids (kmedoids), DIRECT (scikit-learn) and CUR (scikit-matter).
"""

from .clusters import direct, k_medoids
from .distances import farthest_points
from .entropy import entropy
from .greedy import greedy
from .leverage import atomic_cur, cur
from .result import Selection
from .sampling import simple_random
from .targets import target_variance
from .variance import energy_variance
from .volume import max_volume

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
