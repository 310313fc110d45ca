"""Frozen layers, LoRA and multi-head replay in a fine-tuning of MACE."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.io import read
from helpers.campaigns import campaign_settings, ended, reports, write_campaign
from helpers.mace_models import E0, mace_calculator, needs_mace, save_model, tiny_mace
from helpers.refits import KEYS, finished
from helpers.structures import copper, copper_training

from ase_bayesel import MACEDescriptor
from ase_bayesel.campaign.config.loading import load_config, validate_config
from ase_bayesel.campaign.refit import LoRA, MACERefitter, MultiHead, RefitTask
from ase_bayesel.campaign.refit.base import write_training_frames
from ase_bayesel.campaign.refit.forgetting import (
    REPLAY,
    REPLAY_VALID,
    write_replay,
)
from ase_bayesel.campaign.refit.mace_command import validation_loss
from ase_bayesel.campaign.round_model import load_model
from ase_bayesel.descriptors.mace.loading import load_module
from ase_bayesel.errors import ConfigError, RefitError
from ase_bayesel.structures.frames import write_frames
from ase_bayesel.structures.labels import PropertyKeys

E0S = {"Cu": -0.5, "Au": 0.1}


def alloys(number=6):
    frames = [copper(30 + k, 0.05) for k in range(number)]
    for atoms in frames:
        atoms.symbols[0] = "Au"
    return frames


@pytest.fixture
def replay(tmp_path):
    write_frames(tmp_path / "old_kind.extxyz", alloys())
    return MultiHead(tmp_path / "old_kind.extxyz", 4.0)


def task_of(folder, model, **options):
    return RefitTask(copper_training(), 2, KEYS, E0S, model, folder, 5, **options)


def refusal(refit):
    with pytest.raises(ConfigError) as caught:
        validate_config(campaign_settings({"refit": {"kind": "mace", **refit}}), "here.yaml")
    return str(caught.value)


class TestConfig:
    def test_keys(self, replay):
        changes = {
            "potential": {"kind": "mace", "model": str(replay.pt_train_file)},
            "descriptor": {"kind": "mace"},
            "refit": {
                "kind": "mace",
                "freeze": 5,
                "lora": {"alpha": 2.0},
                "multihead": {"pt_train_file": str(replay.pt_train_file)},
            },
        }
        refit = validate_config(campaign_settings(changes), "here.yaml").refit
        expected = {
            "freeze": 5,
            "lora": LoRA(4, 2.0),
            "multihead": replace(replay, weight_pt_head=1.0),
        }
        assert {name: getattr(refit, name) for name in expected} == expected

    @pytest.mark.parametrize(
        ("refit", "named"),
        [
            ({"freeze": 7}, "refit.freeze"),  # nothing would be left to train
            ({"freeze": 0}, "refit.freeze"),
            ({"lora": {"rank": 0}}, "refit.lora.rank"),
            ({"lora": True}, "refit.lora"),
            ({"multihead": {}}, "refit.multihead.pt_train_file"),
            ({"multihead": {"pt_train_file": "r.xyz", "weight": 1}}, "refit.multihead.weight"),
        ],
    )
    def test_refused(self, refit, named):
        assert named in refusal(refit)


@needs_mace
class TestCheck:
    def test_options_with_a_key_of_their_own(self):
        with pytest.raises(ConfigError, match=r"lora, lora_rank has a key of its own.*refit\.lora"):
            MACERefitter(options={"lora": True, "lora_rank": 2}).check()

    def test_options_that_multihead_sets(self, replay):
        MACERefitter(multihead=replay, freeze=6, lora=LoRA()).check()
        with pytest.raises(ConfigError, match="pseudolabel_replay is set by"):
            MACERefitter(multihead=replay, options={"pseudolabel_replay": True}).check()

    def test_lora_of_an_accelerated_model(self):
        MACERefitter(options={"enable_cueq": True}).check()
        with pytest.raises(ConfigError, match=r"enable_cueq and refit\.lora"):
            MACERefitter(lora=LoRA(), options={"enable_cueq": True}).check()

    def test_the_head_of_the_replay_is_no_head_to_start_from(self, replay):
        with pytest.raises(ConfigError, match=r"potential\.head is pt_head"):
            MACERefitter(multihead=replay, head="pt_head").check()

    def test_structures_to_replay(self, replay, tmp_path):
        save_model(tiny_mace(["Cu"]), tmp_path / "cu.model")
        MACERefitter(multihead=replay).check()
        with pytest.raises(ConfigError, match=r"old_kind\.extxyz, frame 0: .* not know Au"):
            MACERefitter(multihead=replay).check(tmp_path / "cu.model")
        write_frames(tmp_path / "one.extxyz", alloys(1))
        for name, message in (
            ("one", "needs at least two"),
            ("none", r"pt_train_file: .*none\.extxyz"),
        ):
            with pytest.raises(ConfigError, match=message):
                MACERefitter(multihead=MultiHead(tmp_path / f"{name}.extxyz")).check()


class TestReplay:
    def test_labels_are_those_of_the_first_model(self, replay, tmp_path):
        """With energies moved to the reference energies that the second head gets."""
        task = task_of(tmp_path, tmp_path / "m")
        e0s = {"Cu": 1.0, "Au": 2.0}, {"Cu": 1.5, "Au": 1.0}
        done = list(write_replay(task, replay, EMT(), e0s, 3))
        assert done == [1, 2, 3, 4, 5, 6]
        train, valid = (read(tmp_path / name, ":") for name in (REPLAY, REPLAY_VALID))
        assert [len(train), len(valid)] == [4, 2]
        frames = alloys()
        for atoms, written in zip([frames[k] for k in (0, 1, 3, 4)], train, strict=True):
            atoms.calc = EMT()
            shift = 3 * 0.5 - 1.0
            energy = atoms.get_potential_energy() + shift
            assert written.info["REF_energy"] == pytest.approx(energy, abs=1e-6)
            forces = written.arrays["REF_forces"]
            np.testing.assert_allclose(forces, atoms.get_forces(), atol=1e-6)
            stress = np.reshape(written.info["REF_stress"], (3, 3))
            np.testing.assert_allclose(stress, atoms.get_stress(voigt=False), atol=1e-7)
            assert written.info["config_forces_weight"] == 2.0  # the root of that of a square

    def test_a_second_attempt_takes_what_is_there(self, replay, tmp_path):
        task = task_of(tmp_path, tmp_path / "m")
        list(write_replay(task, replay, EMT(), (E0S, E0S), 3))
        before = (tmp_path / REPLAY).read_bytes()
        assert not list(write_replay(task, replay, LennardJones(), (E0S, E0S), 3))
        assert (tmp_path / REPLAY).read_bytes() == before

    def test_a_failing_model_names_the_structure(self, tmp_path):
        write_frames(tmp_path / "r.extxyz", [Atoms("Cu"), bulk("Cu"), bulk("Fe")])
        task, e0s = task_of(tmp_path, tmp_path / "m"), {"Cu": 0.0, "Fe": 0.0}
        with pytest.raises(RefitError, match=r"r\.extxyz, frame 2 .*leave it out"):
            list(write_replay(task, MultiHead(tmp_path / "r.extxyz"), EMT(), (e0s, e0s), 3))
        assert not (tmp_path / REPLAY).exists()


def test_weights_of_residuals(tmp_path):
    """All in those of the properties: mace's universal loss reads no others."""
    atoms = copper_training()[1]
    atoms.info |= {"config_weight": 4.0, "config_stress_weight": 0.25}
    task = RefitTask([atoms], 1, PropertyKeys("energy", "forces"), E0S, tmp_path, tmp_path, 0)
    write_training_frames(tmp_path / "t.extxyz", [atoms], task, of_residuals=True)
    weights = {
        key: value for key, value in read(tmp_path / "t.extxyz").info.items() if "weight" in key
    }
    assert weights == {"config_energy_weight": 2.0, "config_forces_weight": 2.0}


def test_the_best_segment_is_that_of_the_head_itself(tmp_path):
    records = [
        {"mode": "eval", "epoch": None, "head": "Default", "loss": 0.1},
        {"mode": "eval", "epoch": 0, "head": "pt_head", "loss": 0.2},
        {"mode": "eval", "epoch": 0, "head": "Default", "loss": 0.9},
        {"mode": "opt", "epoch": 1, "loss": 0.3},
        {"mode": "eval", "epoch": 1, "head": "Default", "loss": 0.8},
    ]
    (tmp_path / "results").mkdir()
    text = "\n".join(map(json.dumps, records))
    (tmp_path / "results" / "model_run-5_train.txt").write_text(text)
    assert validation_loss(tmp_path, "Default") == 0.8
    assert validation_loss(tmp_path, "pt_head") == 0.2


@needs_mace
@pytest.mark.slow
def test_a_second_round_with_all_of_it(replay, tmp_path):
    """A second head, frozen layers and LoRA, from a model that has a second head already."""
    model = tmp_path / "last.model"
    save_model(tiny_mace(("Cu", "Au"), "4x0e", heads=("pt_head", "mine")), model)
    refitter = MACERefitter(
        max_epochs=1,
        checkpoint_epochs=1,
        batch_size=4,
        head="mine",
        e0s="data",
        freeze=5,
        lora=LoRA(2, 2.0),
        multihead=replay,
    )
    progress, newer = finished(refitter.refit(task_of(tmp_path / "refit", model)))
    assert any("replay: 6" in step.detail for step in progress)
    assert re.fullmatch(r"E \S+ meV/atom, F \S+ meV/A", progress[-1].detail)
    old, new = load_module(model), load_module(newer)
    assert new.heads == ["pt_head", "mine"]
    energies = torch.tensor([[E0, E0], [E0S["Cu"], E0S["Au"]]], dtype=torch.float64)
    assert torch.equal(new.atomic_energies_fn.atomic_energies, energies)
    before, after = old.state_dict(), new.state_dict()
    assert before.keys() == after.keys()  # what LoRA added is merged
    same = {name for name in before if torch.equal(before[name], after[name])}
    parts = {name.split(".")[0] for name in before.keys() - same if before[name].numel()}
    assert parts == {"products", "readouts", "atomic_energies_fn"}

    descriptor = MACEDescriptor(newer, head="mine", dtype="float64")
    (features,) = descriptor.compute([copper()])
    assert features.values.shape == (4, descriptor.n_features)

    (results,) = (tmp_path / "refit" / "segment_0001" / "results").glob("*_train.txt")
    records = [json.loads(line) for line in results.read_text().splitlines()]
    first = {r["head"]: r["rmse_f"] for r in records if r["mode"] == "eval" and r["epoch"] is None}
    assert first["pt_head"] < 1e-6  # its labels are those of the model
    calculator = mace_calculator(old, head="mine")
    frames = read(tmp_path / "refit" / "valid.extxyz", ":")
    off = [calculator.get_forces(a) - a.arrays["REF_forces"] for a in frames]
    assert first["mine"] == pytest.approx(np.sqrt(np.mean(np.square(off))), rel=1e-6)


@needs_mace
@pytest.mark.slow
def test_a_campaign(tmp_path):
    """Of one round, whose model has a second head for the replay."""
    first = tiny_mace(("Al", "Cu"), "4x0e")
    save_model(first, tmp_path / "start.model")
    write_frames(tmp_path / "old_kind.extxyz", copper_training()[1:4])
    changes = {
        "potential": {"kind": "mace", "model": "start.model"},
        "descriptor": {"kind": "mace", "force_projections": 2},
        "refit": {
            "kind": "mace",
            "max_epochs": 1,
            "multihead": {"pt_train_file": "old_kind.extxyz"},
        },
        "explore.walkers": 1,
        "explore.steps": 6,
        "explore.picks": 1,
        "explore.trigger": {"kind": "relative_force", "threshold": 1e-4},
        "stop.max_rounds": 1,
    }
    store, _ = ended(write_campaign(tmp_path, changes))
    assert [report.picks for report in reports(store)] == [0, 1]
    network = load_module(store.potential_path(1))
    assert network.heads == ["pt_head", "Default"]
    surrogate, potential = load_model(load_config(tmp_path / "config.yaml"), store, 1)
    expected = mace_calculator(network, head="Default").get_potential_energy(copper())
    assert potential.get_potential_energy(copper()) == pytest.approx(expected, abs=1e-6)
    assert surrogate.descriptor.serves(potential)
    (replayed,) = store.directory.glob(f"round_0001/refit/**/{REPLAY}")
    for atoms in read(replayed, ":"):  # labelled by the model that the campaign began with
        forces = mace_calculator(first).get_forces(atoms)
        np.testing.assert_allclose(atoms.arrays["REF_forces"], forces, atol=1e-5)


@needs_mace
def test_the_first_model_gives_the_labels_of_later_rounds(replay, tmp_path):
    """By the head that it has, though the last model's is called in another way."""
    first, last = tiny_mace(("Cu", "Au"), "4x0e", heads=("only",)), tmp_path / "last.model"
    save_model(first, tmp_path / "first.model")
    save_model(tiny_mace(("Cu", "Au"), "4x0e", seed=1, e0=2.0, heads=("pt_head", "Default")), last)
    refitter = MACERefitter(multihead=replay, head="Default")
    task = task_of(tmp_path, last, first_model=tmp_path / "first.model")
    assert list(refitter._replayed(task, load_module(last))) == [1, 2, 3, 4, 5, 6]
    calculator = mace_calculator(first)
    for atoms in read(tmp_path / REPLAY, ":"):
        energy = calculator.get_potential_energy(atoms) + len(atoms) * (2.0 - E0)
        assert atoms.info["REF_energy"] == pytest.approx(energy, abs=1e-6)
        forces = atoms.arrays["REF_forces"]
        np.testing.assert_allclose(forces, calculator.get_forces(atoms), atol=1e-6)
