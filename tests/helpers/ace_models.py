"""Linear ACE potentials with fixed coefficients, and structures on which packages are compared."""

from pathlib import Path

import numpy as np
from ase import Atoms

from ase_bayesel import ACEDescriptor, Posterior, Surrogate
from ase_bayesel.surrogate.design import Noise
from helpers.structures import alloy, cluster, silicon

RECORDED = Path(__file__).parents[1] / "data" / "ace_jax.json"
"""What ace-jax gives, as scripts/record_ace_jax.py found it."""
MODELS = {
    "one element": (["Si"], 3, 8),
    "order 2": (["Si"], 2, 10),
    "two elements": (["Cu", "Au"], 3, 5),
}


def surrogate(elements, order, totaldegree) -> Surrogate:
    """A surrogate with coefficients of all sizes that the prior expects."""
    descriptor = ACEDescriptor(elements, order, totaldegree)
    std = descriptor.prior_std()
    mean = std * np.cos(1.0 + np.arange(len(std)))
    e0s = {symbol: -1.5 - k for k, symbol in enumerate(elements)}
    return Surrogate(descriptor, Posterior(np.diag(1.0 / std), mean), e0s, Noise())


def structures(elements) -> list[Atoms]:
    """A crystal, and a cluster in a box."""
    solid = silicon() if elements == ["Si"] else alloy([elements[k % 2] for k in (0, 1, 1, 0)])
    free = cluster([elements[k % len(elements)] for k in range(5)])
    free.cell = [20.0, 20.0, 20.0]
    return [solid, free]
