"""Make the structures of this example: two-atom silicon, labelled by the engine of config.yaml.

python prepare.py
"""

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk

from ase_bayesel.campaign.config.loading import load_config
from ase_bayesel.labelling.task import labelled
from ase_bayesel.structures.frames import write_frames
from ase_bayesel.structures.identity import canonical
from ase_bayesel.structures.labels import PropertyKeys

HERE = Path(__file__).parent
KEYS = PropertyKeys("REF_energy", "REF_forces")


def rattled(amplitude: float, rng: np.random.Generator) -> Atoms:
    """The primitive cell with Gaussian displacements (A)."""
    atoms = bulk("Si", a=5.43)
    atoms.rattle(amplitude, rng=rng)
    return canonical(atoms)


def main() -> None:
    """Write train, test and starts (.extxyz) into data/."""
    rng = np.random.default_rng(2)
    engine = load_config(HERE / "config.yaml").engine
    (HERE / "data").mkdir(exist_ok=True)
    for name, amplitude, n in (("train", 0.02, 6), ("test", 0.06, 20)):
        frames = [rattled(amplitude, rng) for _ in range(n)]
        write_frames(HERE / "data" / f"{name}.extxyz", labelled(frames, engine, KEYS))
    write_frames(HERE / "data" / "starts.extxyz", [rattled(0.01, rng) for _ in range(2)])


if __name__ == "__main__":
    main()
