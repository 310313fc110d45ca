import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.constraints import FixAtoms
from helpers.campaigns import write_campaign, write_config
from helpers.files import hashes
from helpers.structures import alloy_cells, copper, reference

from ase_bayesel import Campaign, load_config
from ase_bayesel.bias.tau import TauHistory
from ase_bayesel.campaign.events import RoundReport
from ase_bayesel.campaign.exploration import (
    TRACE_COLUMNS,
    AtomDeviations,
    ExploreState,
    Pick,
    start_exploration,
)
from ase_bayesel.campaign.exploration.pick_files import (
    EXTRAPOLATED,
    FORCE_STD,
    LOCAL_ENERGY_STD,
    arrays_of,
    facts_of,
    pick_bytes,
)
from ase_bayesel.campaign.exploration.state import WalkerState
from ase_bayesel.campaign.store import Store
from ase_bayesel.dynamics.driver_state import DriverState, Frame
from ase_bayesel.dynamics.triggers import TriggerReport
from ase_bayesel.errors import BayeselError, StoreError
from ase_bayesel.structures.identity import canonical, structure_id
from ase_bayesel.surrogate.posterior import Posterior
from ase_bayesel.validation.parity import Parity

STARTS = alloy_cells(2, 0.1, 0)
REPORT = RoundReport(
    *(1, 7, 3, 3, 1, ("finished", "nan")),
    moves={"CellMove": [20, 7]},
    noise={"energy": 1e-3, "forces": 0.1, "virial": 0.1},
    energy_rmse=0.25,
)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "campaign")


def picked(atoms, walker=0):
    structure, report = canonical(atoms), TriggerReport("force", 0.1 + 0.2, 0.1, True, 2)
    local, forces, extrapolated = np.linspace([0.1, 0.2, -0.5], [0.4, 0.3, 0.0], len(atoms)).T
    deviations = AtomDeviations(local, forces, extrapolated=extrapolated)
    of_posterior = report, str(report), -2.5, 1 / 3, deviations
    return Pick(structure, structure_id(structure), walker, 12, *of_posterior, 1e3 / 3, 0.7)


def posterior(rng):
    return Posterior.isotropic(5, 0.7).condition(rng.normal(size=(3, 5)), rng.normal(size=3))


def explored():
    """A state in the middle of a round; both walkers have used their generators."""
    rngs = [np.random.default_rng([8, k]) for k in range(2)]
    walkers = []
    for k, walker in enumerate(start_exploration(STARTS, rngs).walkers):
        moved = walker.atoms.copy()
        moved.positions += rngs[k].normal(size=moved.positions.shape)
        moved.set_momenta(rngs[k].normal(size=moved.positions.shape))
        moved.set_cell(moved.cell.array * (1 + 1e-9 * k / 3))
        state = dict(rngs[k].bit_generator.state)
        status = ("running", "close_contact")[k]
        walkers.append(
            WalkerState(moved, state, 17 * k, status, driver(rngs[k], moved) if k else None)
        )
    trace = rngs[0].normal(size=(4, len(TRACE_COLUMNS)))
    return ExploreState(tuple(walkers), 1, (picked(STARTS[0]), picked(STARTS[1], 1)), trace)


def driver(rng, atoms):
    """A state of a driver with numbers that are not short."""
    frames = (Frame.of(atoms), Frame.of(STARTS[1]))
    averages = TauHistory(5, rng.normal(), rng.normal())
    return DriverState(
        {"eta": tuple(rng.normal(size=3).tolist())}, (), 2, (7, 12), frames, averages
    )


def damages(path, content):
    """A file in all states that a torn disk or a careless hand may leave it in."""
    for length in (0, 1, 10, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        yield f"cut at {length}"
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(flipped))
    yield "flipped byte"
    for text in (b"garbage", b"[1, 2]", b"\xff\xfe", b"{}"):
        path.write_bytes(text)
        yield str(text)
    path.write_bytes(content)


def complaint(action, path):
    """What is wrong with how an action complains of a file; None if all is well."""
    try:
        action()
    except BayeselError as error:
        return None if str(path) in str(error) else f"does not name the file: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "reads it without complaint"


def complaints(action, path):
    """The same for every damage of the file, by damage; empty if all is well."""
    found = {damage: complaint(action, path) for damage in damages(path, path.read_bytes())}
    return {damage: text for damage, text in found.items() if text is not None}


# writing


@pytest.mark.parametrize("broken", ["replace", "fsync"])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_an_interrupted_write_leaves_the_old_content(store, monkeypatch, broken, error):
    """The fault is injected: a full disk or a Ctrl-C cannot be had at this very moment."""
    store.write_page("page.html", "old")

    def failing(*_):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(os, broken, failing)
        with pytest.raises(type(error)):
            store.write_page("page.html", "new")
        with pytest.raises(type(error)):
            store.write_page("another.html", "new")
    assert [path.name for path in store.directory.iterdir()] == ["page.html"]
    assert (store.directory / "page.html").read_text() == "old"
    store.write_page("page.html", "new")
    assert (store.directory / "page.html").read_text() == "new"


def test_content_is_on_disk_before_it_takes_its_place(store, monkeypatch):
    """Order of the system calls, seen by wrapping them; they are still made."""
    calls, replace_file, sync = [], os.replace, os.fsync
    monkeypatch.setattr(os, "replace", lambda *a: (calls.append("replace"), replace_file(*a)))
    monkeypatch.setattr(os, "fsync", lambda *a: (calls.append("fsync"), sync(*a)))
    path = store.write_page("page.html", "text")
    assert calls == ["fsync", "replace", "fsync"]
    assert path.read_text() == "text"


def test_create_marks_the_directory_last(store, monkeypatch):
    """A fault at the last write, the config: injected, as above."""
    assert not store.exists
    replace_file = os.replace

    def failing_at_config(source, target):
        if str(target).endswith("config.yaml"):
            raise OSError("disk full")
        replace_file(source, target)

    inputs = {"train": STARTS, "starts": STARTS[:1]}
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", failing_at_config)
        with pytest.raises(OSError, match="disk full"):
            store.create({"seed": 1}, inputs)
    assert not store.exists
    store.create({"seed": 1}, inputs)
    assert store.exists
    assert store.read_config() == {"seed": 1}


def test_inputs_are_what_the_complete_create_says(store, monkeypatch):
    """An input of an interrupted first attempt is no input of the second."""

    def failing(config):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(store, "write_config", failing)
        with pytest.raises(OSError, match="disk full"):
            store.create({"seed": 1}, {"train": STARTS, "test": STARTS})
    store.create({"seed": 1}, {"train": STARTS})
    assert store.read_input("test") == []


def test_inputs_are_kept(store):
    train = [reference(atoms) for atoms in STARTS]
    train[0].set_constraint(FixAtoms([1]))
    store.create({}, {"train": train, "starts": [Atoms("Cu")]})
    found = store.read_input("train")
    assert [atoms.info["REF_energy"] for atoms in found] == [a.info["REF_energy"] for a in train]
    np.testing.assert_allclose(found[1].arrays["REF_forces"], train[1].arrays["REF_forces"], 1e-6)
    np.testing.assert_allclose(found[1].positions, train[1].positions, atol=1e-8)
    assert found[0].constraints[0].index.tolist() == [1]
    assert len(store.read_input("starts")) == 1
    assert store.read_input("test") == []


# exploration


def test_exploration_round_trip_is_bitwise(store):
    state, held = explored(), posterior(np.random.default_rng(3))
    assert store.exploration(1).load(STARTS) is None
    assert store.exploration(1).count_picks() == 0
    assert store.exploration(1).read_trace().shape == (0, len(TRACE_COLUMNS))
    store.exploration(1).save(state, held)
    found, found_posterior = store.exploration(1).load(STARTS)
    np.testing.assert_array_equal(found_posterior.precision_factor, held.precision_factor)
    np.testing.assert_array_equal(found_posterior.mean, held.mean)
    np.testing.assert_array_equal(found.trace, state.trace)
    np.testing.assert_array_equal(store.exploration(1).read_trace(), state.trace)
    assert found.turn == 1
    assert store.exploration(1).count_picks() == 2
    for ours, theirs in zip(found.walkers, state.walkers, strict=True):
        np.testing.assert_array_equal(ours.atoms.positions, theirs.atoms.positions)
        np.testing.assert_array_equal(ours.atoms.get_momenta(), theirs.atoms.get_momenta())
        np.testing.assert_array_equal(ours.atoms.cell.array, theirs.atoms.cell.array)
        assert ours.atoms.numbers.tolist() == theirs.atoms.numbers.tolist()
        assert (ours.step, ours.status) == (theirs.step, theirs.status)
        assert ours.rng_state == theirs.rng_state


def test_a_restored_generator_goes_on_where_it_was(store):
    rng = np.random.default_rng(5)
    rng.normal(size=3)
    rng.integers(10, dtype=np.uint32)  # leaves half a draw in the state
    walker = WalkerState(STARTS[0].copy(), dict(rng.bit_generator.state))
    store.exploration(1).save(ExploreState((walker,)), posterior(np.random.default_rng(0)))
    found, _ = store.exploration(1).load(STARTS[:1])
    again = np.random.PCG64()
    again.state = found.walkers[0].rng_state
    restored = np.random.Generator(again)
    assert restored.integers(1000, size=5, dtype=np.uint32).tolist() == (
        rng.integers(1000, size=5, dtype=np.uint32).tolist()
    )
    np.testing.assert_array_equal(restored.normal(size=9), rng.normal(size=9))


def test_picks_keep_their_order_and_origin(store):
    state = explored()
    store.exploration(1).save(state, posterior(np.random.default_rng(3)))
    found, _ = store.exploration(1).load(STARTS)
    for ours, theirs in zip(found.picks, state.picks, strict=True):
        assert facts_of(ours) == facts_of(theirs)
        assert structure_id(ours.structure) == structure_id(theirs.structure)
        arrays, expected = arrays_of(ours), arrays_of(theirs)
        assert arrays.keys() == expected.keys() == {LOCAL_ENERGY_STD, FORCE_STD, EXTRAPOLATED}
        for name, array in arrays.items():
            np.testing.assert_allclose(array, expected[name], atol=1e-8)
    files = sorted(path.name for path in (store.round_directory(1) / "picks").iterdir())
    assert files == [f"{k:03d}_{p.structure_id}.extxyz" for k, p in enumerate(state.picks)]


def test_a_pick_file_is_extended_xyz_with_known_keys():
    """Byte by byte: whoever reads them elsewhere knows these keys."""
    pick = replace(picked(Atoms("Cu", [[0.25, 0.0, 1 / 3]])), number=4)
    expected = (
        b"1\n"
        b"Properties=species:S:1:pos:R:3:tags:I:1:bayesel_local_energy_std:R:1:"
        b"bayesel_force_std:R:1:bayesel_local_energy_extrapolated:R:1 "
        b"bayesel_id=%s bayesel_walker=0 bayesel_step=12 "
        b"bayesel_trigger=force bayesel_value=0.30000000000000004 bayesel_threshold=0.1 "
        b'bayesel_reason="force 0.3 > 0.1 (atom 2)" bayesel_energy=-2.5 '
        b'bayesel_energy_std=0.3333333333333333 bayesel_atom=2 bayesel_pick=4 pbc="F F F"\n'
        b"Cu       0.25000000       0.00000000       0.33333333        0       0.10000000"
        b"       0.20000000      -0.50000000\n"
    )
    assert pick_bytes(pick) == expected % pick.structure_id.encode()


def test_what_md_does_not_change_comes_from_the_start(store):
    start = copper(1)
    start.set_constraint(FixAtoms([0]))
    start.set_tags([3, 2, 1, 0])
    state = start_exploration([start], [np.random.default_rng(0)])
    store.exploration(1).save(state, posterior(np.random.default_rng(0)))
    found, _ = store.exploration(1).load([start])
    assert found.walkers[0].atoms.get_tags().tolist() == [3, 2, 1, 0]
    assert found.walkers[0].atoms.constraints[0].index.tolist() == [0]


def test_an_identity_never_reads_like_a_number(store):
    """Extended XYZ has no quotes to tell a name from a number such as 12e34."""
    frames = [Atoms("Cu", [[k * 1e-6, 0.0, 0.0]]) for k in range(2000)]
    assert all(structure_id(atoms).startswith("s") for atoms in frames)
    atoms = frames[0]
    state = start_exploration([atoms], [np.random.default_rng(0)])
    state = replace(state, picks=(picked(atoms),))
    held = posterior(np.random.default_rng(0))
    store.exploration(1).save(state, held)
    before = hashes(store.directory)
    found, _ = store.exploration(1).load([atoms])
    assert found.picks[0].structure_id == structure_id(atoms)
    store.exploration(1).save(found, held)
    assert hashes(store.directory) == before
    again, _ = store.exploration(1).load([atoms])
    assert structure_id(again.picks[0].structure) == structure_id(atoms)


def test_batch_is_written_once(store):
    state = explored()
    store.write_batch(1, state.picks)
    before = hashes(store.directory)
    store.write_batch(1, state.picks[:1])
    assert hashes(store.directory) == before
    assert [structure_id(p) for p in store.read_batch(1)] == [p.structure_id for p in state.picks]
    store.write_batch(2, [])
    assert store.batch_path(2).exists()
    assert store.read_batch(2) == []
    assert store.read_batch(3) == []


# damage


def test_a_damaged_exploration_is_named(store):
    store.exploration(1).save(explored(), posterior(np.random.default_rng(3)))
    path = store.round_directory(1) / "explore.npz"
    assert complaints(lambda: store.exploration(1).load(STARTS), path) == {}
    assert store.exploration(1).load(STARTS) is not None


def test_a_damaged_exploration_is_named_by_those_who_look_at_parts_of_it(store):
    store.exploration(1).save(explored(), posterior(np.random.default_rng(3)))
    path = store.round_directory(1) / "explore.npz"
    saved = store.exploration(1)
    for read in (saved.read_trace, saved.count_picks):
        found = complaints(read, path)
        found.pop("flipped byte", None)  # it may lie in a part that is not read
        assert found == {}


def test_an_exploration_of_other_walkers_is_refused(store):
    store.exploration(1).save(explored(), posterior(np.random.default_rng(3)))
    with pytest.raises(StoreError, match=r"explore\.npz"):
        store.exploration(1).load(STARTS[:1])


def test_a_missing_pick_is_named(store):
    state = explored()
    store.exploration(1).save(state, posterior(np.random.default_rng(3)))
    path = next((store.round_directory(1) / "picks").glob("001_*"))
    path.unlink()
    assert complaint(lambda: store.exploration(1).load(STARTS), path) is None


def test_a_damaged_report_is_named(store):
    store.finish_round(REPORT, None)
    path = store.round_directory(1) / "report.json"
    assert complaints(lambda: store.read_report(1), path) == {}
    path.unlink()
    assert complaint(lambda: store.read_report(1), path) is None


def test_a_damaged_parity_is_named(store):
    store.finish_round(REPORT, Parity(*np.arange(15.0).reshape(5, 3)))
    path = store.round_directory(1) / "parity.npz"
    found = complaints(lambda: store.read_parity(1), path)
    found.pop("flipped byte", None)  # it lies in what holds no data
    assert found == {}


def test_a_damaged_config_is_named(store):
    store.create({"seed": 1}, {})
    store.config_path.write_text("seed: [1")
    assert complaint(store.read_config, store.config_path) is None


# rounds


def test_rounds_count_once_they_are_done(store):
    assert store.completed_rounds() == 0
    store.finish_round(replace(REPORT, round_number=0), None)
    assert store.completed_rounds() == 1
    store.finish_round(replace(REPORT, round_number=2), None)
    assert store.completed_rounds() == 1
    store.finish_round(REPORT, None)
    assert store.completed_rounds() == 3


def test_done_is_written_last(store, monkeypatch):
    """Order of the files, seen by wrapping the call that puts them in place."""
    names, replace_file = [], os.replace

    def noting(source, target):
        names.append(target.name)
        replace_file(source, target)

    monkeypatch.setattr(os, "replace", noting)
    store.finish_round(REPORT, Parity(*np.arange(15.0).reshape(5, 3)))
    assert names == ["parity.npz", "report.json", "DONE"]


def test_report_and_parity_round_trip(store):
    parity = Parity(*np.random.default_rng(0).normal(size=(5, 3)))
    store.finish_round(REPORT, parity)
    assert store.read_report(1) == REPORT
    for name, values in vars(store.read_parity(1)).items():
        np.testing.assert_array_equal(values, getattr(parity, name))
    store.finish_round(replace(REPORT, round_number=2), None)
    assert store.read_parity(2) is None


def test_paths_serve_processes_in_other_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Store("campaign").exploration(1).pick_path(0, "s0").is_relative_to(tmp_path)


# versions


@pytest.mark.parametrize("shared", [None, "/data/labels"])
def test_a_campaign_of_an_older_version_is_refused_in_one_sentence(store, shared):
    store.create({"labels": {"store": shared}}, {})
    Store(store.directory)
    (store.directory / "format").unlink()
    with pytest.raises(StoreError) as caught:
        Store(store.directory)
    labels = shared or store.directory / "labels"
    assert str(caught.value) == (
        f"{store.directory}: holds a campaign of an older ase_bayesel; finish it with that one, or "
        f"start a new campaign in another directory with labels.store: {labels}, so that no label "
        "is paid for twice"
    )


def test_a_campaign_of_a_later_version_is_refused(store):
    store.create({}, {})
    (store.directory / "format").write_text("ase_bayesel.campaign/3\n")
    with pytest.raises(StoreError, match=r"format: is of version 3 .*reads version 2; use a newer"):
        Store(store.directory)
    for other in ("ase_bayesel.label/2", "", "\xff"):
        (store.directory / "format").write_bytes(other.encode("latin1"))
        assert complaint(lambda: Store(store.directory), store.directory / "format") is None


def test_labels_of_an_older_campaign_are_not_paid_for_twice(tmp_path):
    config = write_campaign(tmp_path, {"stop.max_rounds": 1})
    list(Campaign(load_config(config), tmp_path / "old").run())
    (tmp_path / "old" / "format").unlink()
    with pytest.raises(StoreError, match="older") as caught:
        Campaign(load_config(config), tmp_path / "old")
    labels = re.search(r"labels\.store: ([^,]+),", str(caught.value))[1]
    before = hashes(Path(labels))
    assert any(name.endswith(".extxyz") for name in before)
    write_config(tmp_path, {"stop.max_rounds": 1, "labels": {"store": labels}})
    list(Campaign(load_config(config), tmp_path / "new").run())
    assert hashes(Path(labels)) == before
    assert Store(tmp_path / "new").read_report(1).picks > 0
    assert Store(tmp_path / "new").read_report(1).failed == 0
