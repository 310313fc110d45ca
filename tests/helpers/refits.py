"""What tests of refits share."""

from pathlib import Path

from ase_bayesel.descriptors.mace.loading import load_module, weights_sha256
from ase_bayesel.structures.labels import PropertyKeys
from ase_bayesel.surrogate.steps import Steps

KEYS = PropertyKeys("energy", "forces", "virial")
E0S = {"Cu": -0.5}
TRAIN = (
    "import sys; from pathlib import Path; n = Path(sys.argv[1]).read_text().count('Lattice');"
    " Path(sys.argv[3]).write_text(str(float(Path(sys.argv[2]).read_text()) + 0.01 * n))"
)


def finished(steps):
    """All progress of a refit and the path of its model."""
    steps = Steps(steps)
    return list(steps), steps.value


def weights(path: Path) -> str:
    return weights_sha256(load_module(path))
