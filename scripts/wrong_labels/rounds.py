"""Rounds of real campaigns with right labels: the model before, and the new labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from ase import Atoms

from ase_bayesel.campaign.config.loading import validate_config
from ase_bayesel.campaign.screening import NewLabel, Sizes
from ase_bayesel.campaign.set_aside import new_labels, surprises_left_out
from ase_bayesel.campaign.store import Store
from ase_bayesel.campaign.training_set import TrainingSet
from ase_bayesel.descriptors.ace import ACEDescriptor
from ase_bayesel.structures.frames import read_frames
from ase_bayesel.structures.labels import PropertyKeys
from ase_bayesel.surrogate.assembly import assembling
from ase_bayesel.surrogate.fitting import (
    Weights,
    baseline_energies,
    energy_weights_of,
    surrogate_from_factors,
)
from ase_bayesel.surrogate.held_out import leaving_out
from ase_bayesel.surrogate.scales import Scales
from ase_bayesel.surrogate.steps import Steps, finished
from ase_bayesel.surrogate.surrogate import Surrogate

ROOT = Path(__file__).resolve().parents[2]
STORED = ROOT / "benchmarks" / "results" / "nshot_picks"
PERIODIC = {"silicon": (True,) * 3, "butane": (False,) * 3, "adatom": (True, True, False)}


@dataclass(frozen=True)
class Round:
    """New labels of a round, beside what the model before expected of them."""

    system: str
    name: str
    number: int
    frames: Sequence[Atoms]
    batch: Sequence[NewLabel]
    scales: Scales
    training: Sequence[Sizes]


def campaign_rounds(directory: Path, system: str) -> Iterator[Round]:
    """The rounds of a campaign on disk."""
    store = Store(directory)
    config = validate_config(store.read_config(), str(store.config_path))
    given, keys = store.read_input("train"), config.data.keys
    sizes = [len(TrainingSet(store, k, store.labels, given, keys)) for k in range(99)]
    for number in range(1, store.completed_rounds()):
        whole = TrainingSet(store, number, store.labels, given, keys)
        frames = whole[sizes[number - 1] :]
        if frames:
            surrogate = Surrogate.load(store.fitted_path(number - 1))
            batch = list(new_labels(surrogate, frames, keys))
            training = surprises_left_out(surrogate, whole[: sizes[number - 1]], keys)
            yield Round(system, directory.name, number, frames, batch, surrogate.scales, training)


def stored_rounds(name: str, cache: Path) -> Iterator[Round]:
    """The rounds of a kept run of the proof, fitted anew."""
    from nshot.systems import KEYS
    from nshot.systems_more import SYSTEMS

    kind, start, rest = name.split("_", 2)
    system = SYSTEMS[kind](cache)
    data = np.load(STORED / f"{name}.npz")
    picks = []
    for k, (first, size) in enumerate(
        zip(np.cumsum(data["sizes"]) - data["sizes"], data["sizes"], strict=True)
    ):
        own = slice(int(first), int(first + size))
        atoms = Atoms(
            data["numbers"][own].astype(int),
            data["positions"][own].astype(float),
            cell=data["cells"][k].astype(float),
            pbc=PERIODIC[kind],
        )
        atoms.info[KEYS.energy] = float(data["energies"][k])
        atoms.arrays[KEYS.forces] = data["forces"][own].astype(float)
        picks.append(atoms)
    known = system.training(int(rest.rsplit("_", 1)[1]), start)
    for number in range(1, int(data["rounds"].max()) + 1):
        frames = [atoms for atoms, k in zip(picks, data["rounds"], strict=True) if k == number]
        surrogate = fitted(known, system.student, KEYS, system.e0s, system.temperature_K[start])
        batch = list(new_labels(surrogate, frames, KEYS))
        training = surprises_left_out(surrogate, known, KEYS)
        yield Round(f"{kind} of the proof", name, number, frames, batch, surrogate.scales, training)
        known = known + frames


def silicon_rounds(
    folder: Path, count: int = 500, first: int = 20, largest: int = 100, seed: int = 0
) -> Iterator[Round]:
    """Frames of the silicon set of 2018 in random order, each batch fitted before the next one.

    Parameters
    ----------
    folder
        Of the set.
    count
        So many frames are screened.
    first, largest
        Frames that are fitted at first; each batch is as large as what was before, up to a limit.
    seed
        Of the order.
    """
    keys = PropertyKeys("dft_energy", "dft_force", "dft_virial")
    frames = [a for n in ("core", "surfaces") for a in read_frames(folder / f"{n}.extxyz")]
    isolated = [atoms for atoms in frames if len(atoms) == 1]
    others = [atoms for atoms in frames if len(atoms) > 1]
    order = np.random.default_rng(seed).permutation(len(others))[: count + first]
    chosen = [others[k] for k in order]
    descriptor = ACEDescriptor(["Si"], order=3, totaldegree=12, cutoff=5.0)
    starts = [first]
    while starts[-1] + min(starts[-1], largest) < len(chosen):
        starts.append(starts[-1] + min(starts[-1], largest))
    for number, (start, end) in enumerate(zip(starts, [*starts[1:], len(chosen)], strict=True), 1):
        surrogate = fitted(isolated + chosen[:start], descriptor, keys, "isolated", 1000.0)
        batch_frames = chosen[start:end]
        batch = list(new_labels(surrogate, batch_frames, keys))
        training = surprises_left_out(surrogate, isolated + chosen[:start], keys)
        yield Round(
            "silicon set of 2018",
            "random",
            number,
            batch_frames,
            batch,
            surrogate.scales,
            training,
        )


def fitted(
    frames: Sequence[Atoms],
    descriptor: ACEDescriptor,
    keys: PropertyKeys,
    e0s: object,
    temperature_K: float,
) -> Surrogate:
    """As a campaign fits, with scales."""
    weights = Weights(high_energy="auto")
    energies = baseline_energies(frames, keys, e0s, apart=False)
    growth = energy_weights_of(
        frames, keys, energies, weights, temperature_K, descriptor.n_features
    )
    factors = finished(
        assembling(
            *(frames, descriptor, keys, energies, descriptor.prior_std()),
            energy_weights=growth,
            max_force=30.0,
        )
    )
    surrogate = surrogate_from_factors(factors, descriptor, keys, energies, weights, growth)
    steps = Steps(leaving_out(frames, surrogate, keys))
    for _ in steps:
        pass
    return replace(surrogate, scales=Scales.of(steps.value))
