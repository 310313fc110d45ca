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
ISOLATED = "isolated atoms"
"""As `LEFT_OUT` calls them, which are always left out."""
NOTHING_NEW = "no new structure to train on, so the model stays as it is"


def write_data(
    task: RefitTask, held_out: Collection[int], replay: bool, of_residuals: bool
) -> tuple[int, bool]:
    """Training and validation files; their number of structures, and whether any has a stress.

    Left out and named in `LEFT_OUT` are structures without a label, and isolated atoms: their
    energies are the E0s. It names too what is in both files, where nothing is for validation. What
    is held out is never trained on: where nothing else is new there is nothing to do, and no file.

    Parameters
    ----------
    task
        The refit.
    held_out
        Numbers of the structures for validation.
    replay
        Train on all others; otherwise only on the new ones.
    of_residuals
        As in `write_training_frames`.

    Raises
    ------
    RefitError
        If no structure has a label, if none is new and only new ones are trained on, or if one is a
        cut-out.
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
    valid = [k for k in numbered if k in held_out]
    train = [k for k in numbered if k not in held_out and k >= first_new]
    left_out = _named("without a label", unlabelled) + _named(ISOLATED, isolated)
    if not numbered:
        raise RefitError(
            "fine-tuning: no structure to train on has a label; left out: "
            f"{'; '.join(left_out.splitlines()) or 'none'}. The last good model is {task.model}"
        )
    if first_new == len(task.frames):
        raise RefitError(
            f"fine-tuning: of {len(task.frames)} structures none is new since the last refit, and "
            "with refit.replay: false only new ones are trained on; set it to true to train "
            f"on all of them. The last good model is {task.model}"
        )
    if not train:
        kept = [k for k in valid if k >= first_new]
        left_out += _named("for validation (refit.valid_fraction)", kept) + f"{NOTHING_NEW}\n"
    elif not valid:
        left_out += _named("trained on, and for validation for want of others", train)
    write_atomically(task.directory / LEFT_OUT, left_out.encode())
    if not train:
        return 0, False
    for name, chosen in (("train", train), ("valid", valid or train)):
        file = task.directory / f"{name}.extxyz"
        write_training_frames(file, [numbered[k] for k in chosen], task, of_residuals)
    return len(train), not virials.isdisjoint(train)


def _named(what: str, numbers: Sequence[int]) -> str:
    """A line that names structures of the training set; nothing for none."""
    return f"{what}: training frames {', '.join(map(str, numbers))}\n" if numbers else ""
