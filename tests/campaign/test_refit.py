"""Refitters: a user's command, and MACE's own training."""

import re
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.io import read
from helpers.mace_models import E0, mace_calculator, needs_cuda, needs_mace, save_model, tiny_mace
from helpers.refits import E0S, KEYS, finished, weights
from helpers.structures import copper, copper_training, emt_labelled

from ase_bayesel.campaign.refit import CommandRefitter, MACERefitter, RefitTask
from ase_bayesel.campaign.refit.base import write_training_frames
from ase_bayesel.campaign.refit.mace_command import arguments, in_short
from ase_bayesel.campaign.refit.mace_data import LEFT_OUT, write_data
from ase_bayesel.descriptors.mace.internals import atomic_energies_of, import_mace
from ase_bayesel.descriptors.mace.loading import load_module
from ase_bayesel.errors import ConfigError, RefitError, StructureError
from ase_bayesel.structures.labels import PropertyKeys
from ase_bayesel.surrogate.energy_weights import EnergyWeights

FIRST_ERRORS = re.compile(r"Initial: .*loss=\s*(\S+), RMSE_E_per_atom=\s*(\S+) meV")


@pytest.fixture
def task(tmp_path):
    model = tmp_path / "last.txt"
    model.write_text("old")
    return RefitTask(copper_training(), 2, KEYS, E0S, model, tmp_path / "refit", seed=5)


def task_of(frames, keys, folder, **options):
    return RefitTask(frames, len(frames), keys, E0S, folder / "m", folder / "refit", 5, **options)


def command(code, *arguments):
    return CommandRefitter([sys.executable, "-c", code, *arguments])


class TestTrainingFile:
    def test_labels_under_the_stated_keys(self, tmp_path):
        frames = copper_training()
        write_training_frames(tmp_path / "t.extxyz", frames, task_of(frames, KEYS, tmp_path))
        assert "_JSON" not in (tmp_path / "t.extxyz").read_text()
        for frame, written in zip(frames, read(tmp_path / "t.extxyz", ":"), strict=True):
            assert written.info["REF_energy"] == pytest.approx(frame.info["energy"], abs=1e-7)
            np.testing.assert_allclose(
                written.arrays["REF_forces"], frame.arrays["forces"], atol=1e-7
            )
            if "virial" in frame.info:
                virial = np.reshape(frame.info["virial"], (3, 3))
                np.testing.assert_allclose(written.info["REF_virial"], virial.ravel(), atol=1e-6)
                np.testing.assert_allclose(
                    np.reshape(written.info["REF_stress"], (3, 3)),
                    -virial / frame.get_volume(),
                    atol=1e-7,
                )

    def test_nothing_else_is_written(self, tmp_path):
        atoms = Atoms("Cu", info={"energy": 1.0, "secret": 3})
        keys = PropertyKeys("energy")
        write_training_frames(tmp_path / "t.extxyz", [atoms], task_of([atoms], keys, tmp_path))
        assert set(read(tmp_path / "t.extxyz").info) == {"REF_energy"}

    def test_weights_of_files_and_of_high_energies(self, tmp_path):
        frames = [copper(k, 0.05) for k in range(3)]
        for k, atoms in enumerate(frames):
            atoms.info["energy"] = len(atoms) * (E0S["Cu"] + 0.1 * k)
        frames[0].info["config_weight"] = frames[1].info["config_weight"] = 2.0
        frames[2].info["config_stress_weight"] = 0.5
        energies = [a.info["energy"] - len(a) * E0S["Cu"] for a in frames]
        weights = EnergyWeights(0.1).extended(zip(frames, energies, strict=True))
        task = task_of(frames, PropertyKeys("energy"), tmp_path, energy_weights=weights)
        write_training_frames(tmp_path / "t.extxyz", frames, task)
        written = [atoms.info for atoms in read(tmp_path / "t.extxyz", ":")]
        assert written[0]["config_weight"] == 2.0
        assert written[1]["config_weight"] == pytest.approx(2.0 / 2.0**4)
        assert written[2]["config_weight"] == pytest.approx(1.0 / 3.0**4)
        assert [info.get("config_stress_weight") for info in written] == [None, None, 0.5]

    def test_a_virial_of_a_molecule_is_no_stress(self, tmp_path):
        molecule = emt_labelled(Atoms("Cu2", [[0, 0, 0], [0, 0, 2.4]]))
        molecule.info["virial"] = np.zeros((3, 3))
        frames = [*copper_training(), molecule]
        write_training_frames(tmp_path / "t.extxyz", frames, task_of(frames, KEYS, tmp_path))
        *_, last = read(tmp_path / "t.extxyz", ":")
        assert set(last.info) == {"REF_energy"}
        assert "REF_forces" in last.arrays

    def test_labels_with_extreme_forces(self, tmp_path):
        frames = [copper(k, 0.05) for k in range(3)]
        for atoms, force in zip(frames, (10.0, 60.0, 90.0), strict=True):
            atoms.arrays["forces"] = np.zeros((len(atoms), 3))
            atoms.arrays["forces"][1, 2] = force
        frames[2].info["config_weight"] = 2.0
        task = task_of(frames, PropertyKeys("energy", "forces"), tmp_path, max_force=30.0)
        write_training_frames(tmp_path / "t.extxyz", frames, task)
        written = [atoms.info.get("config_weight") for atoms in read(tmp_path / "t.extxyz", ":")]
        assert written == [None, pytest.approx(1.0 / 2.0**4), pytest.approx(2.0 / 3.0**4)]


def without_label(frames, *numbers):
    for k in numbers:
        frames[k].info.clear()
        frames[k].arrays.pop("forces")


def with_molecule(frames, pbc=False):
    molecule = emt_labelled(Atoms("Cu2", [[0, 0, 0], [0, 0, 2.4]], cell=[9, 9, 9], pbc=pbc))
    molecule.info["virial"] = np.zeros((3, 3))
    frames.append(molecule)


BOTH_WAYS = "trained on, and for validation for want of others: training frames "


@pytest.mark.parametrize(
    ("spoil", "unseen", "n_new", "numbers", "told"),
    [
        (lambda f: None, [4, 9], None, (7, 2), ""),
        (lambda f: without_label(f, 4, 9), [4, 9], None, (7, 7), BOTH_WAYS + "1, 2, 3, 5, 6, 7, 8"),
        (lambda f: without_label(f, 4), [4, 9], None, (7, 1), "without a label: training frames 4"),
        (lambda f: None, [4, 9], 5, (4, 2), ""),
        (lambda f: None, [8], 2, (1, 1), ""),
        (lambda f: None, [0], None, (9, 9), BOTH_WAYS + "1, 2"),
        (with_molecule, [10], None, (9, 1), ""),
        (lambda f: with_molecule(f, (True, True, False)), [10], None, (9, 1), ""),
        (lambda f: without_label(f, *range(1, 10)), [4], None, None, "1, 2, 3"),
        (lambda f: f[3].info.update(energy=1e300), [4], None, None, "frame 3: 'energy' is 2.5e"),
        (lambda f: f[3].info.update(virial=np.eye(3) * 1e9), [4], None, None, "frame 3: 'virial'"),
    ],
)
def test_what_a_fine_tuning_sees(tmp_path, spoil, unseen, n_new, numbers, told):
    """Nothing without a label, no isolated atom, no stress of a molecule; and it says so."""
    frames = copper_training()
    spoil(frames)
    task = replace(task_of(frames, KEYS, tmp_path), directory=tmp_path, n_new=n_new or len(frames))
    if numbers is None:
        with pytest.raises((RefitError, StructureError), match=re.escape(told)):
            write_data(task, unseen, n_new is None, False)
        return
    write_data(task, unseen, n_new is None, False)
    written = [read(tmp_path / f"{name}.extxyz", ":") for name in ("train", "valid")]
    assert tuple(map(len, written)) == numbers
    for atoms in (*written[0], *written[1]):
        assert "REF_energy" in atoms.info
        assert ("REF_stress" in atoms.info) == atoms.pbc.all()
    left_out = (tmp_path / LEFT_OUT).read_text()
    assert told in left_out
    assert ("for want of others" in left_out) == ("for want of others" in told)


@pytest.mark.parametrize(
    ("spoil", "held_out", "n_new", "told"),
    [
        (lambda f: None, [8, 9], 2, "training frames 8, 9"),
        (lambda f: None, [9], 1, "training frames 9"),
        (lambda f: None, [4, 8, 9], 2, "training frames 8, 9"),
        (lambda f: without_label(f, 8), [9], 2, "training frames 9"),
        (lambda f: without_label(f, 8, 9), [4], 2, "without a label: training frames 8, 9"),
        (lambda f: without_label(f, 1, 2, 3, 5, 6, 7, 8), [4, 9], None, "training frames 4, 9"),
        (lambda f: f.append(emt_labelled(Atoms("Cu"))), [4], 1, "isolated atoms: training frames"),
    ],
)
def test_what_is_held_out_is_never_trained_on(tmp_path, spoil, held_out, n_new, told):
    """Where nothing else is new there is no training, and it says so."""
    frames = copper_training()
    spoil(frames)
    task = replace(task_of(frames, KEYS, tmp_path), directory=tmp_path, n_new=n_new or len(frames))
    assert write_data(task, held_out, n_new is None, False) == (0, False)
    assert not (tmp_path / "train.extxyz").exists()
    left_out = (tmp_path / LEFT_OUT).read_text()
    assert told in left_out
    assert "no new structure to train on, so the model stays as it is" in left_out


def test_without_new_structures_and_without_replay_there_is_an_error(tmp_path):
    frames = copper_training()
    task = replace(task_of(frames, KEYS, tmp_path), directory=tmp_path, n_new=0)
    told = r"of 10 structures none is new.*set it to true to train on all.*last good model is .*m"
    with pytest.raises(RefitError, match=told):
        write_data(task, [4], False, False)
    assert write_data(task, [4], True, False)[0] == 8


class TestCommand:
    def test_files_in_and_out(self, task):
        code = (
            "import sys; from pathlib import Path; from ase.io import read; a = sys.argv[1:]\n"
            "print(len(read(a[0], ':')), a[2], Path(a[1]).read_text())\n"
            "Path(a[3]).write_text('new'); Path(a[4], 'note').write_text(a[5])"
        )
        names = ("train", "model", "n_new", "output", "directory", "seed")
        refitter = command(code, *(f"{{{name}}}" for name in names))
        progress, model = finished(refitter.refit(task))
        assert progress[-1].detail == f"{len(task.frames)} 2 old"
        assert model.read_text() == "new"
        assert model.suffix == ".txt"
        assert (task.directory / "note").read_text() == "5"
        assert task.model.read_text() == "old"

    def test_an_earlier_output_does_not_count(self, task):
        task.directory.mkdir()
        (task.directory / "model.txt").write_text("stale")
        with pytest.raises(RefitError, match="left no"):
            finished(command("print(1)", "{output}").refit(task))

    def test_a_failure_names_the_log_and_the_last_good_model(self, task):
        with pytest.raises(RefitError, match=r"exit code 1; see .*refit\.log.*last good model"):
            finished(command("raise SystemExit(1)", "{output}").refit(task))
        assert task.model.read_text() == "old"

    def test_time_limit(self, task):
        slow = CommandRefitter(
            [sys.executable, "-c", "import time; time.sleep(60)", "{output}"], time_limit_h=1 / 3600
        )
        with pytest.raises(RefitError, match="stopped after 1 s"):
            finished(slow.refit(task))

    @pytest.mark.parametrize(
        ("parts", "message"),
        [
            (["train", "{data}", "{output}"], "unknown placeholder 'data'"),
            (["train", "{train}"], "{output} is missing"),
            (["train", "{output}", "{"], "write {{ for {"),
        ],
    )
    def test_wrong_templates(self, parts, message):
        with pytest.raises(ConfigError, match=message.replace("{", r"\{")):
            CommandRefitter(parts)


@pytest.fixture
def mace_task(task, tmp_path):
    save_model(tiny_mace(["Cu"]), tmp_path / "start.model")
    return RefitTask(task.frames, 2, KEYS, E0S, tmp_path / "start.model", task.directory, 5)


def loss_of(path, frames):
    """Root mean square error of the forces, eV/A."""
    calculator = mace_calculator(load_module(path))
    errors = [calculator.get_forces(a) - a.arrays["forces"] for a in frames if len(a) > 1]
    return float(np.sqrt(np.mean(np.concatenate(errors) ** 2)))


@needs_mace
class TestMACE:
    def test_options_are_checked_by_mace(self):
        MACERefitter(options={"clip_grad": 5.0, "amsgrad": True}).check()
        with pytest.raises(ConfigError, match=r"refit\.options: .*no_such_option"):
            MACERefitter(options={"no_such_option": 1}).check()
        with pytest.raises(ConfigError, match=r"refit\.options: lr is set by"):
            MACERefitter(options={"lr": 1}).check()
        with pytest.raises(ConfigError, match=r"clip_grad"):
            MACERefitter(options={"clip_grad": "often"}).check()

    @pytest.mark.parametrize(
        ("told", "short"),
        [
            (
                "loss=0.01602040, RMSE_E_per_atom=   10.11 meV, RMSE_F=  598.10 meV / A, "
                "RMSE_stress=    1.00 meV / A^3",
                "E 10.1 meV/atom, F 598 meV/A",
            ),
            ("loss=1.0, RMSE_E= 1234.56 meV, RMSE_F= 0.01 meV / A", "E 1235 meV, F 0.01 meV/A"),
            ("loss=1.0, RMSE_MU_per_atom= 1.00 mDebye", "loss=1.0, RMSE_MU_per_atom= 1.00 mDebye"),
        ],
    )
    def test_errors_of_an_epoch_in_short(self, told, short):
        assert in_short(told) == short

    def test_mace_reads_charge_and_multiplicity(self, mace_task, tmp_path):
        """Of the structures that it is given, with the options that it is given."""
        frames = [copper(k) for k in range(4)]
        for k, atoms in enumerate(frames):
            atoms.info |= {"energy": -1.0, "charge": k % 2, "spin": 1 + k}
        task = RefitTask(frames, 4, KEYS, E0S, mace_task.model, tmp_path, 5)
        write_training_frames(tmp_path / "train.extxyz", frames, task)
        settings = MACERefitter()._settings(task, 1, 4, False, {})
        given = import_mace().parser().parse_args(arguments(settings))
        from mace.data import KeySpecification, config_from_atoms, update_keyspec_from_kwargs

        keys = update_keyspec_from_kwargs(KeySpecification.from_defaults(), vars(given))
        for atoms, k in zip(read(tmp_path / "train.extxyz", ":"), range(4), strict=True):
            found = config_from_atoms(atoms, key_specification=keys).properties
            assert (found["total_charge"] or 0, found["total_spin"] or 1) == (k % 2, 1 + k)

    @pytest.mark.slow
    def test_learns_and_goes_on_where_it_was_killed(self, mace_task, tmp_path):
        refitter = MACERefitter(
            max_epochs=4, checkpoint_epochs=2, learning_rate=0.01, energy_weight=1.0
        )
        progress, model = finished(refitter.refit(mace_task))
        assert progress[-1][:2] == (4, 4)
        assert loss_of(model, mace_task.frames) < 0.97 * loss_of(mace_task.model, mace_task.frames)
        whole = weights(model)
        shutil.rmtree(mace_task.directory)

        steps = refitter.refit(mace_task)
        while next(steps).done < 3:  # in the second segment
            continue
        steps.close()
        assert (mace_task.directory / "segment_0001").is_dir()
        assert (mace_task.directory / "running").is_dir()
        progress, model = finished(refitter.refit(mace_task))
        assert min(step.done for step in progress) >= 2
        assert weights(model) == whole

    @pytest.mark.slow
    def test_time_limit_before_the_first_checkpoint(self, mace_task):
        refitter = MACERefitter(max_epochs=500, checkpoint_epochs=500, time_limit_h=2 / 3600)
        with pytest.raises(RefitError, match=r"before the first 500 epochs"):
            finished(refitter.refit(mace_task))
        assert mace_task.model.is_file()

    @pytest.mark.slow
    def test_a_failing_training_names_log_and_last_model(self, mace_task):
        refitter = MACERefitter(max_epochs=1, checkpoint_epochs=1, device="cuda:7")
        with pytest.raises(RefitError, match=r"refit\.log.*last good model is .*start\.model"):
            finished(refitter.refit(mace_task))

    @pytest.mark.gpu
    @needs_cuda
    def test_on_a_gpu(self, mace_task):
        refitter = MACERefitter(
            max_epochs=4, checkpoint_epochs=2, learning_rate=0.01, energy_weight=1.0, device="cuda"
        )
        progress, model = finished(refitter.refit(mace_task))
        assert progress[-1][:2] == (4, 4)
        assert loss_of(model, mace_task.frames) < 0.97 * loss_of(mace_task.model, mace_task.frames)

    @pytest.mark.parametrize(("replay", "expected"), [(True, 6), (False, 2)])
    def test_data_files(self, mace_task, replay, expected):
        frames = [Atoms("Cu", cell=[20.0] * 3), *(a for a in copper_training() if len(a) > 1)][:8]
        task = RefitTask(frames, 2, KEYS, E0S, mace_task.model, mace_task.directory, 5)
        task.directory.mkdir()
        refitter = MACERefitter(replay=replay, valid_fraction=0.25)
        n_train, has_stress = refitter._write_data(task)
        train, valid = (read(task.directory / f"{n}.extxyz", ":") for n in ("train", "valid"))
        assert len(train) == n_train
        assert all(len(a) > 1 for a in train + valid)
        assert has_stress == any("REF_stress" in a.info for a in train)
        assert n_train <= expected
        kept = [frames[k] for k in refitter.unseen(len(frames)) if len(frames[k]) > 1]
        assert len(kept) == len(valid) == 2
        for one, other in zip(kept, valid, strict=True):
            assert one.positions == pytest.approx(other.positions, abs=1e-7)

    def test_a_model_stays_where_all_new_structures_are_held_out(self, mace_task):
        frames = copper_training()
        task = replace(mace_task, frames=frames, n_new=1)
        progress, model = finished(MACERefitter(replay=False).refit(task))
        assert model is None
        assert [step.detail for step in progress] == [
            "left out: isolated atoms: training frames 0; for validation (refit.valid_fraction): "
            "training frames 9; no new structure to train on, so the model stays as it is"
        ]
        assert not list(mace_task.directory.glob("segment_*"))

    def test_the_campaign_says_what_is_held_out(self, mace_task):
        task = replace(mace_task, frames=copper_training(), held_out=[3])
        task.directory.mkdir()
        MACERefitter(valid_fraction=0.5)._write_data(task)
        train, valid = (read(task.directory / f"{n}.extxyz", ":") for n in ("train", "valid"))
        assert (len(train), len(valid)) == (8, 1)

    @pytest.mark.parametrize("unlabelled", [[], [9], [1, 2, 3, 9], [0, 1, 2, 3, 4, 9]])
    @pytest.mark.parametrize("replay", [True, False])
    def test_structures_without_a_label_are_left_out(self, mace_task, unlabelled, replay):
        frames = copper_training()
        for k in unlabelled:
            frames[k].info.clear()
            frames[k].arrays.pop("forces")
        task = RefitTask(frames, 5, KEYS, E0S, mace_task.model, mace_task.directory, 5)
        task.directory.mkdir()
        MACERefitter(replay=replay, valid_fraction=0.1)._write_data(task)
        for name in ("train", "valid"):
            written = read(task.directory / f"{name}.extxyz", ":")
            assert written
            assert all("REF_energy" in a.info and "REF_forces" in a.arrays for a in written)
        told = (task.directory / LEFT_OUT).read_text()
        named = f"without a label: training frames {', '.join(map(str, unlabelled))}"
        assert (named in told) == bool(unlabelled)
        assert ("isolated atoms: training frames 0" in told) == (0 not in unlabelled)

    def test_nothing_to_train_on(self, mace_task):
        frames = [Atoms("Cu"), *(copper(k) for k in range(4))]
        frames[0].info["energy"] = -0.5
        frames[0].arrays["forces"] = np.zeros((1, 3))
        task = RefitTask(frames, 2, KEYS, E0S, mace_task.model, mace_task.directory, 5)
        with pytest.raises(RefitError, match=r"no structure.*1, 2, 3, 4; isolated atoms.* 0\."):
            list(MACERefitter().refit(task))

    @pytest.mark.parametrize(
        ("e0s", "given", "expected"),
        [
            ("model", {"Cu": 3.5}, {29: E0 - 2.5, 79: E0}),
            ("data", {"Cu": 3.5}, {29: 3.5, 79: E0}),
            ("data", {"Cu": 3.5, "Au": 3.8}, {29: 3.5, 79: 3.8}),
            ("data", {"Cu": 3.5, "Al": 9.0}, {29: 3.5, 79: E0}),
        ],
    )
    def test_reference_energies_of_the_elements_of_the_model(self, tmp_path, e0s, given, expected):
        save_model(tiny_mace(("Cu", "Au")), tmp_path / "start.model")
        task = RefitTask(
            *(copper_training(), 2, KEYS, given, tmp_path / "start.model", tmp_path, 5),
            energy_shift={"Cu": -2.5, "Al": 1.0},
        )
        found = MACERefitter(e0s=e0s)._e0s(task, load_module(task.model))
        assert found == pytest.approx(expected)

    @pytest.mark.slow
    def test_training_from_another_reference_starts_near_the_labels(self, tmp_path):
        """Labels are the model's own, at a level that differs by a constant for each atom."""
        module, shift = tiny_mace(["Cu"]), 4.0
        save_model(module, tmp_path / "start.model")
        calculator = mace_calculator(module)
        frames = [copper(k, 0.05) for k in range(6)]
        for atoms in frames:
            atoms.info["energy"] = calculator.get_potential_energy(atoms) + shift * len(atoms)
            atoms.arrays["forces"] = calculator.get_forces(atoms)

        def first_errors(energy_shift):
            """Loss and energy error (meV/atom) before the first step."""
            task = RefitTask(
                *(frames, 6, PropertyKeys("energy", "forces"), E0S, tmp_path / "start.model"),
                *(tmp_path / f"refit_{len(energy_shift)}", 5),
                energy_shift=energy_shift,
            )
            finished(MACERefitter(max_epochs=1, checkpoint_epochs=1, e0s="model").refit(task))
            found = FIRST_ERRORS.search((task.directory / "refit.log").read_text())
            return float(found[1]), float(found[2])

        (loss, error), (far_loss, far_error) = first_errors({"Cu": shift}), first_errors({})
        assert error < 1.0
        assert far_error == pytest.approx(1000 * shift, rel=0.01)
        assert loss < 1e-3 * far_loss

    @pytest.mark.slow
    @pytest.mark.parametrize("e0s", ["model", "data"])
    def test_the_new_model_knows_all_elements_of_the_old_one(self, tmp_path, e0s):
        """Also where the data hold one of them, an isolated atom of the other, and no label."""
        save_model(tiny_mace(("Cu", "Au")), tmp_path / "start.model")
        frames = [emt_labelled(Atoms("Au")), *copper_training(), copper(77)]
        task = RefitTask(
            *(frames, 2, KEYS, {"Cu": 3.5, "Au": 3.8}, tmp_path / "start.model"),
            *(tmp_path / "refit", 5),
        )
        refitter = MACERefitter(max_epochs=1, checkpoint_epochs=1, batch_size=4, e0s=e0s)
        progress, model = finished(refitter.refit(task))
        assert "without a label: training frames 11" in progress[0].detail
        new = load_module(model)
        assert new.atomic_numbers.tolist() == [29, 79]
        expected = [3.5, 3.8] if e0s == "data" else [E0, E0]
        assert atomic_energies_of(new)[0].tolist() == pytest.approx(expected)
