"""Training structures that nobody has given: made of the starts, and labelled as round 0.

    inputs/bootstrap.extxyz, bootstrap_test.extxyz    the structures, as the campaign begins
    inputs/train.extxyz, test.extxyz                  those with a label, once all have ended

Their labels lie in the store like those of picks, so that none is computed twice.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

from ase import Atoms

from ..errors import GenerationError, LabellingError
from ..labelling.labeller import Labeller
from ..labelling.reference import Reference
from ..structures.electronic import SPIN
from ..structures.frames import extxyz_bytes
from ..structures.labels import targets
from ..structures.reference_energies import is_isolated
from ..structures.repeats import same_energy
from .config.campaign import CampaignConfig
from .events import Progress
from .label_progress import until_all_ended
from .new_labels import note_labels, reasons_of_failures, with_known_labels
from .pick_labels import PickLabel
from .small_files import keep
from .store import Store

FIRST = ("bootstrap", "bootstrap_test")
"""Names of the structures among the inputs, before they have labels ..."""
LABELLED = ("train", "test")
"""... and of those with labels."""
AGAIN = "correct the engine (bayesel check-engine) and run again with --retry-failed"


def first_structures(
    config: CampaignConfig, starts: Sequence[Atoms], run_code: bool = True
) -> dict[str, list[Atoms]]:
    """The structures of ``data.train.bootstrap``, under `FIRST`; nothing where there is a file.

    Parameters
    ----------
    config
        Of the campaign; its seed decides, and its engine whether isolated atoms carry the
        multiplicity of their ground state.
    starts
        Where they come from.
    run_code
        Whether the engine may be asked, which may unpickle a model.

    Raises
    ------
    ConfigError, GenerationError
        If the recipe does not fit the starts.
    """
    recipe, guards = config.data.bootstrap, config.explore.guards
    if recipe is None:
        return {}
    engine = config.engine if run_code else None
    with_spin = engine is not None and SPIN in engine.takes
    try:
        made = {FIRST[0]: recipe.training(starts, config.seed, guards, with_spin)}
        if recipe.test:
            made[FIRST[1]] = recipe.held_out(starts, config.seed, guards)
    except GenerationError as error:
        raise GenerationError(f"data.train: {error}") from error
    return made


def label_first(
    config: CampaignConfig, store: Store, reference: Reference, labeller: Labeller
) -> Generator[Progress, None, None]:
    """Have the first structures labelled, and keep those with a label as training and test set.

    What is on disk is not done again.

    Parameters
    ----------
    config, store
        Of the campaign.
    reference, labeller
        How its structures are labelled.

    Raises
    ------
    LabellingError
        If the isolated atom of an element has failed whose energy is needed, or all others have,
        or all have the same energy.
    """
    frames = {name: store.read_input(name) for name in FIRST}
    labeller.submit([atoms for group in frames.values() for atoms in group])
    yield Progress(0, "label", labeller.n_done, labeller.n_asked, "first structures")
    yield from until_all_ended(0, labeller)
    labels, settings_of = reference.store, reference.settings_of
    notes = {name: note_labels(group, labels, settings_of) for name, group in frames.items()}
    _refuse_failures(config, store, reference, frames[FIRST[0]], notes[FIRST[0]])
    store.save_labelled(0, [note for group in notes.values() for note in group])
    for first, name in reversed([*zip(FIRST, LABELLED, strict=True)]):  # train is the last one
        kept = with_known_labels(frames[first], notes[first], labels, config.data.keys)
        found = [targets(atoms, config.data.keys, name) for atoms in kept]
        if (energy := same_energy(kept, found)) is not None:
            raise LabellingError(
                f"round 0: all {len(kept)} first structures ({name}) have the same energy, "
                f"{energy:.8g} eV: the engine returns what it computed before. Correct it and "
                f"begin in a new directory, with a new store of labels ({reference.directory})"
            )
        if kept:
            keep(store.input_path(name), extxyz_bytes(kept, name))


def _refuse_failures(
    config: CampaignConfig,
    store: Store,
    reference: Reference,
    frames: Sequence[Atoms],
    notes: Sequence[PickLabel],
) -> None:
    """Stop where no model can be fitted to what has a label."""
    reasons = reasons_of_failures(frames, notes, reference.store, reference.settings_of)
    atoms = [k for k in reasons if is_isolated(frames[k])]
    if atoms and config.data.e0s == "isolated":
        told = "; ".join(f"{frames[k].symbols}: {reasons[k]}" for k in atoms)
        raise LabellingError(
            f"round 0: isolated atoms have failed, whose energies are needed (data.e0s): {told}. "
            f"Before you go on, {AGAIN}; or begin in a new directory with e0s: average, "
            f"isolated: false and labels.store: {reference.directory}, which has the other labels"
        )
    cells = [k for k, frame in enumerate(frames) if not is_isolated(frame)]
    if cells and set(cells) <= reasons.keys():
        raise LabellingError(
            f"round 0: all {len(cells)} first structures have failed, the last one with: "
            f"{reasons[cells[-1]]}. Before you go on, {AGAIN} ({store.directory})"
        )
