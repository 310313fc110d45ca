"""Pool selection: arrays in, indices out; one function a method.

None of these modules knows of structures or descriptors; `ase_bayesel.select` does. numpy and
scipy alone, but for k-medoids (kmedoids), DIRECT (scikit-learn) and CUR (scikit-matter).
"""

from .methods.clusters import direct, k_medoids
from .methods.distances import farthest_points
from .methods.entropy import entropy
from .methods.greedy import greedy
from .methods.leverage import atomic_cur, cur
from .methods.result import Selection
from .methods.sampling import simple_random
from .methods.targets import target_variance
from .methods.variance import energy_variance
from .methods.volume import max_volume

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
