"""Cost of a biased step on a foundation model over a plain one of its package, in one run.

    python benchmarks/foundation_step.py chgnet [--atoms 64]

In an environment that has the package. CHGNet and SevenNet have their own weights; PET, ORB,
MatterSim and UMA random ones, in networks of the size that their classes make by default, since
cost does not depend on weights. The plain step is the package's own calculator, not compiled:
energy, forces, stress, and what else it computes unasked. Times are CPU seconds of one thread.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import tempfile
import warnings
from pathlib import Path

from _timing import clock_of, interleaved, machine_line, markdown_table, use_one_thread

FAMILIES = ("chgnet", "sevennet", "pet", "orb", "mattersim", "uma")
TARGETS = {"chgnet": 0.9}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("family", choices=FAMILIES)
    parser.add_argument("--atoms", type=int, nargs="+", default=[8, 64])
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    use_one_thread()
    warnings.simplefilter("ignore")

    import torch

    torch.set_num_threads(1)
    print(machine_line(), flush=True)
    rows = []
    for n_atoms in arguments.atoms:
        times = _measure(arguments.family, n_atoms, arguments.rounds)
        for name, seconds in times.items():
            target = TARGETS.get(arguments.family, "") if name == "biased" else ""
            ratio = seconds / times["plain"]
            row = [arguments.family, n_atoms, name, f"{1e3 * seconds:.1f}", f"{ratio:.2f}", target]
            rows.append(row)
    print(markdown_table(["family", "atoms", "way", "ms", "over plain", "target"], rows))


def _made(family: str):
    """The package's calculator, and the adapter."""
    return globals()[f"_{family}"]()


def _chgnet():
    from chgnet.model.dynamics import CHGNetCalculator

    from ase_bayesel.descriptors.foundation.chgnet import CHGNetDescriptor

    return CHGNetCalculator(use_device="cpu"), CHGNetDescriptor()


def _sevennet():
    from sevenn.calculator import SevenNetCalculator

    from ase_bayesel.descriptors.foundation.sevennet import SevenNetDescriptor

    return SevenNetCalculator("7net-0", device="cpu"), SevenNetDescriptor()


def _pet():
    from metatomic.torch import load_atomistic_model
    from metatomic_ase import MetatomicCalculator

    from ase_bayesel.descriptors.foundation.metatomic import MetatomicDescriptor

    with tempfile.TemporaryDirectory() as folder:
        _helpers().write_pet(Path(folder) / "pet.pt", narrow={})
        model = load_atomistic_model(Path(folder) / "pet.pt")
    return MetatomicCalculator(model, device="cpu"), MetatomicDescriptor(model)


def _orb():
    from orb_models.forcefield.atomic_system import SystemConfig
    from orb_models.forcefield.calculator import ORBCalculator
    from orb_models.forcefield.pretrained import orb_v3_conservative_architecture

    from ase_bayesel.descriptors.foundation.orb import ORBDescriptor

    config = SystemConfig(radius=6.0, max_num_neighbors=120)
    model = orb_v3_conservative_architecture(device="cpu", system_config=config).eval()
    return ORBCalculator(model, device="cpu"), ORBDescriptor(model)


def _mattersim():
    from mattersim.forcefield.m3gnet.m3gnet import M3Gnet
    from mattersim.forcefield.potential import MatterSimCalculator, Potential

    from ase_bayesel.descriptors.foundation.mattersim import MatterSimDescriptor

    model = M3Gnet(device="cpu").eval()
    plain = MatterSimCalculator(Potential(model, device="cpu"), device="cpu")
    return plain, MatterSimDescriptor(model)


def _uma():
    from fairchem.core.calculate.ase_calculator import FAIRChemCalculator
    from fairchem.core.units.mlip_unit.api.inference import InferenceSettings

    from ase_bayesel.descriptors.foundation.fairchem import FAIRChemDescriptor

    settings = InferenceSettings(activation_checkpointing=False, merge_mole=True)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "uma.pt"
        _helpers().write_uma(file, narrow={})
        plain = FAIRChemCalculator.from_model_checkpoint(str(file), "omat", settings, device="cpu")
        descriptor = FAIRChemDescriptor(file, "omat")
        assert descriptor.serves(plain)  # while the file is there
    return plain, descriptor


def _helpers():
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from helpers import foundation

    return foundation


def _measure(family: str, n_atoms: int, rounds: int) -> dict[str, float]:
    import numpy as np
    from ase.build import bulk

    from ase_bayesel import BiasedCalculator, Posterior, Surrogate
    from ase_bayesel.surrogate.design import Noise

    repeat = round((n_atoms / 8) ** (1 / 3))
    atoms = bulk("Si", cubic=True) * (repeat, repeat, repeat)
    if len(atoms) != n_atoms:
        raise SystemExit(f"--atoms: {n_atoms} is not 8, 64, 216, ...")
    rng = np.random.default_rng(0)
    atoms.positions += rng.normal(0, 0.05, atoms.positions.shape)
    with contextlib.redirect_stdout(io.StringIO()):
        calculator, descriptor = _made(family)
    posterior = Posterior.isotropic(descriptor.n_features, 0.1)
    surrogate = Surrogate(descriptor, posterior, {}, Noise())

    def step(calculator):
        def call():
            atoms.positions[0, 0] += 1e-7  # no calculator may answer from its memory
            calculator.get_forces(atoms)
            calculator.get_stress(atoms)

        return call

    calls = {
        "plain": step(calculator),
        "biased": step(BiasedCalculator(calculator, surrogate, tau=0.5)),
    }
    return interleaved(calls, rounds, clock=clock_of("cpu"))


if __name__ == "__main__":
    main()
