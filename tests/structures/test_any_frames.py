"""Whatever frames there are survive every kind of file that holds structures, or are refused.

Writers and readers are those of a campaign, of pools and of `bayesel select`. The quick tests try a
few examples of each kind of file, the slow ones many.
"""

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest
from ase.io import write
from helpers.any_frames import NESTED, UNWRITABLE, assert_same, frames, refused_structures
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ase_bayesel.campaign.exploration import ExploreState
from ase_bayesel.campaign.exploration.pick_files import pick_bytes, read_pick
from ase_bayesel.campaign.exploration.picks import AtomDeviations, Candidate, Pick
from ase_bayesel.campaign.exploration.state import WalkerState
from ase_bayesel.campaign.pick_labels import PickLabel
from ase_bayesel.campaign.refit.base import RefitTask, write_training_frames
from ase_bayesel.campaign.store import Store
from ase_bayesel.campaign.training_set import TrainingSet
from ase_bayesel.dynamics.recording.steps import recorded_frame
from ase_bayesel.dynamics.recording.trajectory import TrajectoryFile
from ase_bayesel.dynamics.triggers import PickState, TriggerReport
from ase_bayesel.dynamics.walker_step import WalkerStep
from ase_bayesel.errors import StructureError
from ase_bayesel.generation.journal import PoolFile
from ase_bayesel.labelling.by_hand import TOLERANCE_A, read_labels_by_hand
from ase_bayesel.labelling.engines import ReferenceResult
from ase_bayesel.labelling.store import BY_HAND, Label, with_labels
from ase_bayesel.structures.frames import read_frames, write_frames
from ase_bayesel.structures.identity import canonical, matching_order, structure_id
from ase_bayesel.structures.labels import PropertyKeys
from ase_bayesel.structures.packing import PACKED_KEY
from ase_bayesel.surrogate.posterior import Posterior

KEYS = PropertyKeys("REF_energy", "REF_forces", "REF_stress")
INPUTS = ("train", "starts", "test", "prior", "targets", "crystal")
BATCHES = st.lists(frames(), min_size=1, max_size=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("survive")


def own_place(folder):
    """A directory for an example alone."""
    return Path(mkdtemp(dir=folder))


def pick_of(atoms, number=None, reason="a\nreason"):
    structure = canonical(atoms)
    report = TriggerReport("relative_force", 2.0, 1.0, True, 0)
    deviations = AtomDeviations(np.ones(len(atoms)), None, np.full(len(atoms), 0.25))
    of_posterior = report, reason, -1.0, 0.5, deviations
    return Pick(structure, structure_id(structure), 0, 7, *of_posterior, 300.0, 0.1, number)


def label_of(atoms, settings="e1234"):
    """Exact in the eight decimals of a column."""
    n = len(atoms)
    forces = np.arange(3.0 * n).reshape(n, 3) / 8
    stress = np.arange(6.0) / 8 if atoms.pbc.all() else None
    return Label(atoms, settings, 'engine\n"x"', ReferenceResult(-1.25, forces, stress), host="")


def assert_same_values(found, values):
    assert found.energy == values.energy
    np.testing.assert_array_equal(found.forces, values.forces)
    assert (found.stress is None) == (values.stress is None)
    if found.stress is not None:
        np.testing.assert_allclose(found.stress, values.stress, rtol=1e-12)


def different(given):
    """Of some structures those that no tolerance takes for another: a batch holds no two."""
    kept = []
    for atoms in given:
        if all(matching_order(atoms, other, 10 * TOLERANCE_A) is None for other in kept):
            kept.append(atoms)
    return kept


# kinds of files


def inputs_of_a_campaign(folder, given):
    store = Store(folder / "campaign")
    store.create({}, dict.fromkeys(INPUTS, given))
    for name in INPUTS:
        for again, atoms in zip(store.read_input(name), given, strict=True):
            assert_same(again, atoms)


def a_pool(folder, given):
    with PoolFile(folder / "pool.xyz", {}) as pool:
        record = pool.begin((0, 0), "recipe", None)
        for atoms in given:
            atoms.info["bayesel_id"] = structure_id(atoms)
            pool.keep(record, atoms)
    with PoolFile(folder / "pool.xyz", {}) as pool:
        assert pool.units[0, 0].kept == len(given)
    for again, atoms in zip(read_frames(folder / "pool.xyz"), given, strict=True):
        assert_same(again, atoms)


def picks(folder, given):
    """Each in its own file, and all as the batch that a user may label."""
    store, batch = Store(folder), [pick_of(atoms, k) for k, atoms in enumerate(given)]
    store.write_batch(1, batch)
    for again, pick in zip(store.read_batch(1), batch, strict=True):
        assert_same(canonical(again), pick.structure)
    for pick in batch:
        (folder / "pick.extxyz").write_bytes(pick_bytes(pick))
        again = read_pick(folder / "pick.extxyz")
        assert (again.structure_id, again.reason) == (pick.structure_id, "a\nreason")
        assert_same(again.structure, pick.structure)


def a_state_between_two_barriers(folder, given):
    """Walkers, the picks that wait, and candidates come back to the last bit."""
    rng = np.random.default_rng(0)
    walkers = []
    for atoms in given:
        moved = atoms.copy()
        moved.set_momenta(rng.normal(size=(len(atoms), 3)), apply_constraint=False)
        moved.positions += rng.normal(size=(len(atoms), 3)) / 3
        waits = PickState(3, pick_of(moved), 5, 1.5)
        bits = dict(rng.bit_generator.state)
        walkers.append(WalkerState(moved, bits, 17, waiting=waits, offers=(pick_of(atoms),)))
    candidates = [Candidate.of(walker.atoms, k, 7) for k, walker in enumerate(walkers)]
    state = ExploreState(tuple(walkers), 0, (), candidates=tuple(candidates))
    saved = Store(folder).exploration(1)
    saved.save(state, Posterior.isotropic(2, 1.0))
    found, _ = saved.load(given)
    for again, walker in zip(found.walkers, walkers, strict=True):
        assert_same(again.atoms, walker.atoms)
        np.testing.assert_array_equal(again.atoms.positions, walker.atoms.positions)
        np.testing.assert_array_equal(again.atoms.get_momenta(), walker.atoms.get_momenta())
        pairs = [(again.waiting.peak, walker.waiting.peak), (again.offers[0], walker.offers[0])]
        for ours, theirs in pairs:
            assert_same(ours.structure, theirs.structure)
            assert structure_id(ours.structure) == theirs.structure_id == ours.structure_id
    for again, candidate in zip(found.candidates, candidates, strict=True):
        assert again.structure_id == candidate.structure_id
        assert_same(again.structure, candidate.structure)


def labels(folder, given):
    """Of engines and by hand, also as a training set takes them up, and records of failures."""
    store, batch = Store(folder), [pick_of(atoms, k) for k, atoms in enumerate(different(given))]
    saved = store.exploration(1)
    for kind in (BY_HAND, "e1234"):
        for pick in batch:
            label = label_of(pick.structure, kind)
            store.labels.save(label)
            assert_same_values(store.labels.load(pick.structure_id, kind), label.values)
        noted = [PickLabel(pick.structure_id, kind) for pick in batch]
        store.round_directory(1).mkdir(exist_ok=True)
        saved.save(ExploreState((), 0, tuple(batch)), Posterior.isotropic(2, 1.0))
        store.save_labelled(1, noted)
        for atoms, pick in zip(TrainingSet(store, 1, store.labels, (), KEYS), batch, strict=True):
            assert_same(canonical(atoms), pick.structure)
            assert atoms.info["REF_energy"] == -1.25
            np.testing.assert_array_equal(
                atoms.arrays["REF_forces"], label_of(pick.structure).values.forces
            )
    for atoms in given:
        failed = Label(atoms, "failed", "x", None, f"died\n{atoms.info!r}")
        store.labels.save(failed)
        assert store.labels.reason(structure_id(atoms), "failed") == failed.reason


def labels_by_hand(folder, given):
    """A batch goes to a user, whose program sorts by element, and comes back with labels."""
    store = Store(folder)
    batch = [pick_of(atoms, k, "force 2 > 1") for k, atoms in enumerate(different(given))]
    store.write_batch(1, batch)
    answered = []
    for frame, pick in zip(store.read_batch(1), batch, strict=True):
        order = np.argsort(frame.numbers, kind="stable")
        frame.set_constraint()
        frame = frame[order]
        values = label_of(pick.structure).values
        sorted_values = ReferenceResult(values.energy, values.forces[order], values.stress)
        answered.append(with_labels(frame, sorted_values, KEYS))
    structures = [pick.structure for pick in batch]
    for writer in (write_frames, lambda path, those: write(path, those, format="extxyz")):
        writer(store.by_hand_path(1), answered[::-1])
        found = read_labels_by_hand(store.by_hand_path(1), structures, KEYS)
        for label, pick in zip(found[::-1], batch, strict=True):
            assert label.structure_id == pick.structure_id
            assert_same_values(label.values, label_of(pick.structure).values)


def the_training_set_of_a_refit(folder, given):
    """What mace trains on: the structure with its labels and weights, and nothing else."""
    labelled = [with_labels(atoms, label_of(atoms).values, KEYS) for atoms in given]
    for atoms in labelled:
        atoms.info["config_weight"] = 0.5
    task = RefitTask(labelled, 0, KEYS, {}, folder / "model", folder, 0)
    write_training_frames(folder / "train.xyz", labelled, task)
    for again, atoms in zip(read_frames(folder / "train.xyz"), given, strict=True):
        assert_same(canonical(again), canonical(atoms))
        assert again.info["config_weight"] == 0.5
        assert again.info["REF_energy"] == -1.25
        np.testing.assert_array_equal(again.arrays["REF_forces"], label_of(atoms).values.forces)


def trajectories(folder, given):
    """In both formats, also where one is cut at a step and goes on."""
    steps = [WalkerStep(k, atoms, None, 300.0) for k, atoms in enumerate(given)]
    recorded = [recorded_frame(step) for step in steps]
    for name in ("walk.xyz", "walk.traj"):
        TrajectoryFile(folder / name).append(())
        first = TrajectoryFile(folder / name)
        first.append(recorded)
        first.flush()
        again = TrajectoryFile(folder / name, last_step=0)
        again.append(recorded[1:])
        again.flush()
        for found, frame in zip(read_frames(folder / name), recorded, strict=True):
            assert_same(found, frame)


def files_of_ase(folder, given):
    """Its trajectories hold what nothing of ours has packed."""
    for atoms in given:
        for key in [k for k, v in atoms.info.items() if k == PACKED_KEY or not _jsonable(v)]:
            del atoms.info[key]
    write(folder / "frames.traj", given)
    read = read_frames(folder / "frames.traj")
    write_frames(folder / "frames.xyz", read)
    for again, atoms in zip(read_frames(folder / "frames.xyz"), read, strict=True):
        assert_same(again, atoms)
    for found, atoms in zip(read, given, strict=True):
        assert structure_id(found) == structure_id(atoms)


def _jsonable(value):
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True


SURVIVE: tuple[Callable, ...] = (
    inputs_of_a_campaign,
    a_pool,
    picks,
    a_state_between_two_barriers,
    labels,
    labels_by_hand,
    the_training_set_of_a_refit,
    trajectories,
    files_of_ase,
)


@pytest.mark.parametrize("kind", SURVIVE, ids=lambda kind: kind.__name__)
@settings(max_examples=10)
@given(given=BATCHES)
def test_whatever_frames_survive(folder, kind, given):
    kind(own_place(folder), given)


@pytest.mark.slow
@pytest.mark.parametrize("kind", SURVIVE, ids=lambda kind: kind.__name__)
@settings(max_examples=250)
@given(given=BATCHES)
def test_many_frames_survive(folder, kind, given):
    kind(own_place(folder), given)


# what is refused


def spoilt(atoms, change):
    atoms = atoms.copy()
    change(atoms)
    return atoms


@pytest.mark.parametrize("suffix", [".xyz", ".traj"])
@settings(max_examples=10)
@given(good=st.lists(frames(beside=False), max_size=2), bad=frames(False), how=refused_structures())
def test_whatever_cannot_be_used_is_refused_by_file_and_frame(folder, suffix, good, bad, how):
    """Behind frames that can, in files of ours and in those of ASE."""
    told, change = how
    assume(suffix == ".traj" or told != "is of atom 77")  # which ASE does not write
    path = folder / f"given{suffix}"
    given = [*good, spoilt(bad, change)]
    if suffix == ".xyz":
        write_frames(path, given)
    else:
        write(path, given)
    with pytest.raises(StructureError) as caught:
        read_frames(path)
    assert str(caught.value).startswith(f"{path}, frame {len(good)}"), str(caught.value)
    assert told in str(caught.value)


@pytest.mark.parametrize("place", ["info", "arrays"])
@settings(max_examples=10)
@given(
    good=st.lists(frames(), max_size=2),
    bad=frames(),
    value=st.sampled_from(UNWRITABLE),
    nested=st.sampled_from(NESTED),
)
def test_whatever_cannot_be_written_is_refused_by_file_and_frame(
    folder, place, good, bad, value, nested
):
    """And nothing is written."""
    if place == "info":
        bad.info["odd"] = nested(value)
    else:
        bad.arrays["odd"] = np.array([None] * len(bad), object)
        bad.arrays["odd"][0] = value
    path = folder / "refused.xyz"
    with pytest.raises(StructureError) as caught:
        write_frames(path, [*good, bad])
    assert str(caught.value).startswith(f"{path}, frame {len(good)}: {place}['odd']")
    assert not path.exists()
    with pytest.raises(StructureError, match=rf"^train, frame {len(good)}: {place}\['odd'\]"):
        Store(own_place(folder)).create({}, {"train": [*good, bad]})
