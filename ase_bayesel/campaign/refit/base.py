"""What a refit is given, what it tells on the way, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from ase import Atoms
from ase.stress import voigt_6_to_full_3x3_stress

from ...io.fields import ModelName
from ...io.locks import locked
from ...structures.frames import write_frames
from ...structures.identity import canonical
from ...structures.labels import (
    REF_ENERGY,
    REF_FORCES,
    REF_STRESS,
    REF_VIRIAL,
    FitTargets,
    PropertyKeys,
    targets,
    whole_atoms,
)
from ...structures.reference_energies import composition_energy
from ...surrogate.energy_weights import WEIGHT_KEYS, EnergyWeights, force_growth


class RefitProgress(NamedTuple):
    """``done`` of ``total`` units, 0 of 0 where that is not known, and a word on it."""

    done: int
    total: int
    detail: str = ""


@dataclass(frozen=True)
class RefitTask:
    """One refit of a potential.

    Attributes
    ----------
    frames
        The labelled training set, new structures last.
    n_new
        How many of them are new since the last refit.
    keys
        Where the labels are.
    e0s
        Reference energy of each element, eV.
    model
        The last good model, a file or a folder, never changed; or the name by which its package
        finds the first one.
    directory
        Belongs to this refit alone. It outlives a kill, so a refit that finds its
        own earlier work there goes on from it.
    seed
        Source of all randomness.
    threads
        Threads to use on a CPU.
    energy_weights
        Make structures far up in energy count less; None for no such weights.
    max_force
        Makes labels with larger forces (eV/A) count less, see `force_growth`; None for no limit.
    first_model
        The file or folder of the model that the campaign began with; None for ``model``.
    held_out
        Numbers of the structures that are not trained on, some of `Refitter.unseen`; None for all
        of these.
    energy_shift
        What the campaign adds to the energies of ``model`` for each atom, by element, eV.
    """

    frames: Sequence[Atoms]
    n_new: int
    keys: PropertyKeys
    e0s: Mapping[str, float]
    model: Path | ModelName
    directory: Path
    seed: int
    threads: int = 1
    energy_weights: EnergyWeights | None = None
    max_force: float | None = None
    first_model: Path | None = None
    held_out: Collection[int] | None = None
    energy_shift: Mapping[str, float] = field(default_factory=dict)


class Refitter(Protocol):
    """A way to train a potential on the grown training set."""

    def refit(self, task: RefitTask) -> Generator[RefitProgress, None, Path | None]:
        """Train; returns the new model's file or folder, which lies in the task's directory.

        None where no new structure is to be trained on: the last good model stays.

        Raises
        ------
        RefitError
            If there is no new model. The old one is still in place.
        TerminatedError
            If somebody ended the training, as a scheduler does: it can go on.
        """
        ...

    def unseen(self, n_frames: int) -> Sequence[int]:
        """Numbers of the structures of a training set of ``n_frames`` that it never trains on."""
        ...


def refit_alone(refitter: Refitter, task: RefitTask) -> Generator[RefitProgress, None, Path | None]:
    """`Refitter.refit`, once nobody else works in the task's directory.

    A refit elsewhere may go on for a while after the death of the campaign that asked for it.
    """
    with locked(task.directory.with_suffix(".lock"), wait=True):
        return (yield from refitter.refit(task))


def write_training_frames(
    path: Path, frames: Sequence[Atoms], task: RefitTask, of_residuals: bool = False
) -> None:
    """Extended XYZ of structures with their labels under `REF_ENERGY` and so on.

    Weights are those of mace's training, of squared residuals: ``config_weight`` and those of
    the properties (`WEIGHT_KEYS`), with the task's weights by energy and force in the first.
    Forces of a cut-out are NaN where its atoms are not whole.

    Parameters
    ----------
    path
        The file.
    frames
        The structures.
    task
        Says where their labels are, and which of them count less.
    of_residuals
        All is in the weights of the properties, whose residuals they multiply before they are
        squared, as mace's universal loss takes them.
    """
    written = []
    for number, atoms in enumerate(frames):
        labels = targets(atoms, task.keys, f"training frame {number}")
        frame = canonical(atoms)
        frame.info.update(_weights(atoms, labels, task, of_residuals))
        if labels.energy is not None:
            frame.info[REF_ENERGY] = labels.energy
        if labels.forces is not None:
            whole, forces = whole_atoms(atoms), np.full((len(atoms), 3), np.nan)
            forces[slice(None) if whole is None else whole] = labels.forces
            frame.arrays[REF_FORCES] = forces
        if labels.virial is not None:
            virial = voigt_6_to_full_3x3_stress(labels.virial)
            frame.info[REF_VIRIAL] = np.ravel(virial)
            frame.info[REF_STRESS] = np.ravel(-virial / atoms.get_volume())
        written.append(frame)
    write_frames(path, written)


def _weights(
    atoms: Atoms, labels: FitTargets, task: RefitTask, of_residuals: bool
) -> dict[str, float]:
    """The weights of a structure by their keys; only those that are not one."""
    names = ("config_weight", *WEIGHT_KEYS.values())
    weights = {name: float(atoms.info.get(name, 1.0)) for name in names}
    weights["config_weight"] /= force_growth(labels.forces, task.max_force) ** 2
    if task.energy_weights is not None and labels.energy is not None:
        above = labels.energy - composition_energy(atoms, task.e0s)
        weights["config_weight"] /= task.energy_weights.factor(atoms, above) ** 2
    if of_residuals:
        overall = weights.pop("config_weight")
        weights = {name: (overall * weight) ** 0.5 for name, weight in weights.items()}
    return {name: weight for name, weight in weights.items() if weight != 1.0}
