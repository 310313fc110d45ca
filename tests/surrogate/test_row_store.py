"""What is kept between fits changes no bit of them, whatever becomes of it."""

import numpy as np
import pytest
from helpers.structures import copper, copper_training, emt_labelled

from ase_bayesel import Weights, calibrated, fit_surrogate
from ase_bayesel.io.importing import imported
from ase_bayesel.structures.labels import PropertyKeys
from ase_bayesel.surrogate import design, training_rows
from ase_bayesel.surrogate.assembly import assembling
from ase_bayesel.surrogate.held_out import leaving_out
from ase_bayesel.surrogate.row_store import RowStore
from ase_bayesel.surrogate.steps import finished
from ase_bayesel.surrogate.training_rows import TrainingRows

KEYS = PropertyKeys("energy", "forces", "virial")
E0S = {"Cu": 3.5}


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    for module in (design, training_rows):
        monkeypatch.setattr(module, "BATCH_ATOMS", 9)


class Counted:
    """A descriptor that counts the structures whose derivatives it computes."""

    def __init__(self, descriptor):
        self._descriptor = descriptor
        self.computed = 0

    def __getattr__(self, name):
        return getattr(self._descriptor, name)

    def compute(self, frames, derivatives=False):
        frames = list(frames)
        self.computed += len(frames) if derivatives else 0
        return self._descriptor.compute(frames, derivatives)


class Sketching(Counted):
    """The same with random projections, of the exact derivatives."""

    def sketch(self, frames, n_projections, rng):
        sketches = []
        for features in self.compute(frames, derivatives=True):
            n_atoms = len(features.values)
            moves = rng.choice([-1.0, 1.0], (n_projections, n_atoms, 3))
            slopes = np.einsum("dak,mak->md", features.jacobian, moves)
            sketches.append(training_rows.Sketch(features.values, moves, slopes, features.strain))
        return sketches


@pytest.fixture(params=["memory", "disk"])
def store(request, tmp_path):
    return RowStore(None if request.param == "memory" else tmp_path / "rows")


def fit(frames, descriptor, store=None, **options):
    return fit_surrogate(frames, descriptor, virial_key="virial", e0s=E0S, store=store, **options)


def assert_same(ours, theirs):
    assert np.array_equal(ours.posterior.precision_factor, theirs.posterior.precision_factor)
    assert np.array_equal(ours.posterior.mean, theirs.posterior.mean)
    assert ours.noise == theirs.noise


def test_a_grown_set_costs_what_is_new(cu_ace, store):
    frames, counted = copper_training(), Counted(cu_ace)
    fit(frames[:7], counted, store)
    assert counted.computed == 7
    counted.computed = 0
    again = fit(frames, counted, store)
    assert counted.computed == 4  # of which one lies in a batch that was not whole
    assert_same(again, fit(frames, cu_ace))
    counted.computed = 0
    assert_same(fit(frames, counted, store), again)
    assert counted.computed == 0


def test_weights_and_reference_energies_may_change(cu_ace, store):
    frames, counted = copper_training(), Counted(cu_ace)
    fit(frames, counted, store)
    counted.computed = 0
    weights = Weights(energy=10.0, high_energy=0.05)
    ours = fit_surrogate(
        frames, counted, virial_key="virial", e0s={"Cu": 3.0}, weights=weights, store=store
    )
    assert counted.computed == 0
    theirs = fit_surrogate(frames, cu_ace, virial_key="virial", e0s={"Cu": 3.0}, weights=weights)
    assert_same(ours, theirs)


def test_a_label_that_changes_counts(cu_ace, store):
    frames = copper_training()
    fit(frames, cu_ace, store)
    frames[4].arrays["forces"][0, 0] += 0.1
    assert_same(fit(frames, cu_ace, store), fit(frames, cu_ace))


def test_an_atom_that_moves_by_one_bit_counts(cu_ace, store):
    frames, counted = copper_training(), Counted(cu_ace)
    fit(frames, counted, store)
    counted.computed = 0
    frames[4].positions[0, 0] = np.nextafter(frames[4].positions[0, 0], 9.0)
    fit(frames, counted, store)
    assert counted.computed == 3


@pytest.mark.parametrize("damage", ["torn", "flipped", "foreign", "exchanged", "gone"])
def test_damaged_files_are_made_again(cu_ace, tmp_path, damage):
    frames, store, counted = copper_training(), RowStore(tmp_path / "rows"), Counted(cu_ace)
    known = fit(frames, counted, store)
    counted.computed = 0
    files = sorted((tmp_path / "rows").iterdir())
    assert {path.name.split("_")[0] for path in files} == {"rows", "factors"}
    first = {path: path.read_bytes() for path in files}
    for path in files:
        content = bytearray(first[path])
        if damage == "flipped":
            content[len(content) // 2] ^= 1
        path.write_bytes(
            {"torn": content[: len(content) // 2], "foreign": b"rows", "flipped": content}.get(
                damage, first[files[files.index(path) - 1]]
            )
        )
        if damage == "gone":
            path.unlink()
    assert_same(fit(frames, counted, store), known)
    assert counted.computed == len(frames)
    assert {path: path.read_bytes() for path in first} == first


def test_the_limit_holds(cu_ace, tmp_path):
    """Structures beyond it are computed each time; factors serve all the same."""
    frames = copper_training() + [emt_labelled(copper(k)) for k in range(9)]
    counted = Counted(cu_ace)
    store = RowStore(tmp_path / "rows", limit_bytes=200_000)
    whole = fit(frames, counted, store)
    size = sum(path.stat().st_size for path in (tmp_path / "rows").iterdir())
    assert 0 < size <= store.limit_bytes
    rows = TrainingRows(frames, cu_ace, store=store)
    kept = [rows.kept(k) for k in range(len(frames))]
    assert (kept[0], kept[-1]) == (True, False)
    assert kept == sorted(kept, reverse=True)
    assert_same(fit(frames, counted, store), whole)
    assert_same(whole, fit(frames, cu_ace))
    own = RowStore(limit_bytes=200_000)
    assert_same(fit(frames, cu_ace, own), whole)
    assert sum(a.nbytes for arrays in own._held.values() for a in arrays.values()) <= 200_000


def test_only_its_own_files_are_dropped(cu_ace, tmp_path):
    labels, folder = tmp_path / "my_labels.extxyz", tmp_path / "a_folder"
    labels.write_bytes(bytes(5000))
    folder.mkdir()
    store = RowStore(tmp_path, limit_bytes=4000)
    fit(copper_training(), cu_ace, store)
    store.tidy()
    assert labels.stat().st_size == 5000
    assert folder.is_dir()
    assert sum(path.stat().st_size for path in tmp_path.glob("*.npz")) <= 4000


CODE = """
from ase_bayesel import ACEDescriptor

class Own(ACEDescriptor):
    factor = {factor}
"""


def test_code_of_others_is_part_of_what_rows_are_known_by(tmp_path, store):
    names, file = set(), tmp_path / "own.py"
    for factor in (1, 2, 1):
        file.write_text(CODE.format(factor=factor))
        descriptor = imported(f"{file}:Own", "factory")("Cu", totaldegree=6)
        rows = TrainingRows(copper_training()[:1], descriptor, store=store)
        names |= {batch.name for batch, _ in rows.planned()}
    assert len(names) == 2
    assert None not in names


def test_a_directory_that_cannot_be_made_keeps_nothing(cu_ace, tmp_path):
    frames = copper_training()
    store = RowStore(tmp_path / "elsewhere" / "rows")
    assert_same(fit(frames, cu_ace, store), fit(frames, cu_ace))
    assert not store.directory.parent.exists()


def test_structures_are_left_out_by_the_rows_of_the_fit(cu_ace, store):
    frames, counted = copper_training(), Counted(cu_ace)
    fitted = fit(frames, counted, store)
    counted.computed = 0
    ours = calibrated(fitted, frames, virial_key="virial", store=store)
    assert counted.computed == 0
    theirs = calibrated(fitted, frames, virial_key="virial")
    assert ours.scales.energy.value == pytest.approx(theirs.scales.energy.value, rel=1e-9)
    assert ours.scales.forces.value == pytest.approx(theirs.scales.forces.value, rel=1e-9)


def test_sketches_are_those_of_the_fit(cu_ace, store):
    """Whatever is asked for, and in whatever order."""
    frames, counted = copper_training(), Sketching(cu_ace)
    plain = fit(frames, Sketching(cu_ace), force_projections=6)
    fitted = fit(frames, counted, store, force_projections=6)
    assert_same(fitted, plain)
    rows = TrainingRows(frames, counted, 6, store=store)
    counted.computed = 0
    chosen = dict(zip((8, 2, 5), rows.chosen((8, 2, 5)), strict=True))
    steps = leaving_out(frames, fitted, KEYS, 6, [[8], [2, 5]], chosen=rows.chosen)
    assert finished(steps)["forces"].errors.shape == (18,)
    assert counted.computed == 0
    whole = list(design.training_features(frames, Sketching(cu_ace), 6))
    for k, sketch in chosen.items():
        assert np.array_equal(sketch.moves, whole[k].moves)
        assert np.array_equal(sketch.slopes, whole[k].slopes)


def test_progress_counts_every_structure(cu_ace, store):
    frames = copper_training()
    run = (frames, cu_ace, KEYS, E0S, cu_ace.prior_std())
    assert [*assembling(*run, store=store)] == [*range(1, len(frames) + 1)]
    assert [*assembling(*run, store=store)][-1] == len(frames)
