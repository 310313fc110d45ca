"""Training and validation files of a fine-tuning of a MACE model."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ...errors import RefitError
from ...io.atomic import write_atomically
from ...structures.labels import WHOLE, targets
from ...structures.reference_energies import is_isolated
from .base import RefitTask, write_training_frames

LEFT_OUT = "left_out.txt"
"""Names structures of the training set that a fine-tuning does not see, or trains on and validates
with, and why."""


def write_data(
    task: RefitTask, unseen: Collection[int], replay: bool, of_residuals: bool
) -> tuple[int, bool]:
    """Training and validation files; their number of structures, and whether any has a stress.

    Left out and named in `LEFT_OUT` are structures without a label, and isolated atoms: their
    energies are the E0s. It names too what is in both files, where one would be empty.

    Parameters
    ----------
    task
        The refit.
    unseen
        Numbers of the structures for validation.
    replay
        Train on all others; otherwise only on the new ones.
    of_residuals
        As in `write_training_frames`.

    Raises
    ------
    RefitError
        If no structure with a label is left to train on, or one is a cut-out.
    """
    numbered, unlabelled, isolated = {}, [], []
    virials = set()
    for k, atoms in enumerate(task.frames):
        if WHOLE in atoms.arrays:
            raise RefitError(
                f"fine-tuning: training frame {k} is a cut-out ({WHOLE!r}), and mace's training "
                "leaves no atoms of a structure out. Use refit: {kind: command} with a training "
                f"that does, or no refit. The last good model is {task.model}"
            )
        labels = targets(atoms, task.keys, f"training frame {k}").properties
        if not labels:
            unlabelled.append(k)
        elif is_isolated(atoms):
            isolated.append(k)
        else:
            numbered[k] = atoms
        if "virial" in labels:
            virials.add(k)
    first_new = 0 if replay else len(task.frames) - task.n_new
    valid = [k for k in numbered if k in unseen]
    train = [k for k in numbered if k not in unseen and k >= first_new]
    left_out = _named("without a label", unlabelled) + _named("isolated atoms", isolated)
    if not train:
        train = [k for k in numbered if k >= first_new]
        left_out += _named("for validation, and trained on for want of others", train)
    if not valid:
        left_out += _named("trained on, and for validation for want of others", train)
    write_atomically(task.directory / LEFT_OUT, left_out.encode())
    if not train:
        raise RefitError(
            "fine-tuning: no structure to train on has a label; left out: "
            f"{'; '.join(left_out.splitlines()) or 'none'}. The last good model is {task.model}"
        )
    for name, chosen in (("train", train), ("valid", valid or train)):
        file = task.directory / f"{name}.extxyz"
        write_training_frames(file, [numbered[k] for k in chosen], task, of_residuals)
    return len(train), not virials.isdisjoint(train)


def _named(what: str, numbers: Sequence[int]) -> str:
    """A line that names structures of the training set; nothing for none."""
    return f"{what}: training frames {', '.join(map(str, numbers))}\n" if numbers else ""
