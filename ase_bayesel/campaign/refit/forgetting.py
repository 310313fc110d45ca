"""What keeps a fine-tuned MACE model from forgetting: low-rank training, and a second head."""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.stress import voigt_6_to_full_3x3_stress

from ...errors import ConfigError, RefitError, StructureError
from ...io.fields import InputPath
from ...io.magnitudes import Count, Positive
from ...structures.frames import read_frames
from ...structures.identity import canonical
from ...structures.labels import REF_ENERGY, REF_FORCES, REF_VIRIAL, WHOLE, PropertyKeys
from ...structures.reference_energies import composition_energy, is_isolated
from .base import RefitTask, write_training_frames

PT_HEAD = "pt_head"
"""What mace calls the head of the replayed structures."""
REPLAY, REPLAY_VALID = "replay.extxyz", "replay_valid.extxyz"
KEYS = PropertyKeys(REF_ENERGY, REF_FORCES, REF_VIRIAL)


@dataclass(frozen=True)
class LoRA:
    """Trains low-rank additions to the linear maps of the model, and nothing else of it.

    The new model holds them merged, so it is as large and as fast as the old one.

    Attributes
    ----------
    rank
        Of the additions.
    alpha
        They are multiplied by ``alpha / rank``.
    """

    rank: Count = 4
    alpha: Positive = 1.0


@dataclass(frozen=True)
class MultiHead:
    """Trains a second head, ``pt_head``, on other structures with the first model's own labels.

    Both heads share everything but their readouts, so the features stay good for both kinds of
    structures. The potential and its features are those of the head that learns the new labels.

    Attributes
    ----------
    pt_train_file
        Structures of the kind that is to be remembered, best some of those that the model was
        trained on. Their labels are not read: the model that the campaign began with gives them.
    weight_pt_head
        Weight of their squared residuals beside those of the training set.
    """

    pt_train_file: InputPath
    weight_pt_head: Positive = 1.0

    def frames(self, known: Collection[str] | None = None) -> dict[int, Atoms]:
        """The structures by their numbers in the file, without isolated atoms.

        Parameters
        ----------
        known
            Elements of the model, None for any.

        Raises
        ------
        ConfigError
            If the file cannot be read, holds fewer than two, or has an element that the model
            does not know.
        """
        try:
            frames = read_frames(self.pt_train_file)
        except StructureError as error:
            raise ConfigError(f"refit.multihead.pt_train_file: {error}") from error
        for number, atoms in enumerate(frames):
            unknown = set() if known is None else set(atoms.symbols) - set(known)
            if unknown:
                raise ConfigError(
                    f"refit.multihead: {self.pt_train_file}, frame {number}: the model does not "
                    f"know {', '.join(sorted(unknown))}; take structures of its own elements"
                )
        kept = {k: canonical(atoms) for k, atoms in enumerate(frames) if not is_isolated(atoms)}
        for atoms in kept.values():
            atoms.arrays.pop(WHOLE, None)  # the first model labels all of it
        if len(kept) < 2:
            raise ConfigError(
                f"refit.multihead: {self.pt_train_file} needs at least two structures that are no "
                "isolated atoms, one to train on and one for validation"
            )
        return kept


def write_replay(
    task: RefitTask,
    multihead: MultiHead,
    calculator: Calculator,
    e0s: tuple[Mapping[str, float], Mapping[str, float]],
    every: int,
) -> Generator[int, None, None]:
    """Write `REPLAY` and `REPLAY_VALID`, unless an earlier attempt did; yields how many are done.

    Parameters
    ----------
    task
        The refit.
    multihead
        What is replayed.
    calculator
        The first model.
    e0s
        Reference energies of the first model and of the last, which ``pt_head`` gets.
    every
        Every such structure is for validation.

    Raises
    ------
    RefitError
        If the model fails for a structure.
    """
    train = task.directory / REPLAY
    if train.exists():
        return
    elements = e0s[0].keys() & e0s[1].keys()
    frames = multihead.frames(elements)
    shift = {symbol: e0s[1][symbol] - e0s[0][symbol] for symbol in elements}
    for done, (number, atoms) in enumerate(frames.items(), 1):
        try:
            energy = calculator.get_potential_energy(atoms)
            forces = calculator.get_forces(atoms)
            stress = calculator.get_stress(atoms) if atoms.pbc.all() else None
        except Exception as error:
            raise RefitError(
                f"fine-tuning: the first model fails for {multihead.pt_train_file}, frame {number} "
                f"({error}); leave it out. The last good model is {task.model}"
            ) from error
        atoms.info |= {
            REF_ENERGY: float(energy) + composition_energy(atoms, shift),
            "config_weight": multihead.weight_pt_head,
        }
        atoms.set_array(REF_FORCES, forces)
        if stress is not None:
            virial = -voigt_6_to_full_3x3_stress(stress) * atoms.get_volume()
            atoms.info[REF_VIRIAL] = np.ravel(virial)
        yield done
    as_they_are = replace(task, keys=KEYS, energy_weights=None, max_force=None)
    numbers = list(frames)
    valid = numbers[every - 1 :: every] or numbers[-1:]
    chosen = {REPLAY_VALID: valid, REPLAY: [k for k in numbers if k not in valid]}
    for name, kept in chosen.items():
        file = task.directory / name
        unfinished = file.with_name(f"unfinished_{name}")
        write_training_frames(unfinished, [frames[k] for k in kept], as_they_are, True)
        unfinished.replace(file)
