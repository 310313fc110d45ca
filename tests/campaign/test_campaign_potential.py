"""Campaigns whose potential has a file of its own and is refitted."""

import sys

import numpy as np
import pytest
import yaml
from ase.calculators.emt import EMT
from ase.io import read
from helpers.calculators import ScaledEMT
from helpers.campaigns import CAMPAIGN, settled, write_campaign
from helpers.command_line import call, finish, kill_when, start
from helpers.mace_models import needs_cuda, needs_mace, save_model, tiny_mace, trained_mace
from helpers.refits import TRAIN
from helpers.structures import copper

from ase_bayesel import ACEDescriptor, Campaign, calibrated, fit_surrogate, load_config
from ase_bayesel.bias.calculator import BiasedCalculator
from ase_bayesel.bias.evaluators import NetworkEvaluator, SeparateEvaluator
from ase_bayesel.campaign import round_model
from ase_bayesel.campaign.events import Ended
from ase_bayesel.campaign.refit import refit_alone
from ase_bayesel.campaign.round_model import load_model
from ase_bayesel.campaign.store import Store
from ase_bayesel.campaign.training_set import TrainingSet
from ase_bayesel.cli.calibration import OF_NETWORK
from ase_bayesel.errors import BayeselError, ConfigError, RefitError
from ase_bayesel.structures.frames import write_frames
from ase_bayesel.structures.identity import structure_id
from ase_bayesel.surrogate.held_out import leaving_out
from ase_bayesel.surrogate.scales import Scale
from ase_bayesel.surrogate.steps import finished


@pytest.fixture
def other_package(tmp_path):
    """Config of a campaign with an imported potential, refitted by a command."""
    (tmp_path / "scale.txt").write_text("0.9")
    return write_campaign(
        tmp_path,
        {
            "potential": {
                "kind": "import",
                "factory": "helpers.calculators:ScaledEMT",
                "model": "scale.txt",
            },
            "refit": {
                "kind": "command",
                "command": [sys.executable, "-c", TRAIN, "{train}", "{model}", "{output}"],
            },
        },
    )


def ended(config):
    running = Campaign(load_config(config), config.with_name("campaign"))
    events = list(running.run())
    assert isinstance(events[-1], Ended)
    return running.store, events


def pick_ids(store):
    rounds = range(1, store.completed_rounds() + 1)
    return [structure_id(pick) for k in rounds for pick in store.read_batch(k)]


class TestAnyPotential:
    def test_refitted_by_a_command(self, other_package):
        store, _ = ended(other_package)
        counts = [store.read_report(k).n_train for k in range(3)]
        assert counts[0] < counts[1] < counts[2]
        scales = [float(store.potential_path(k).read_text()) for k in range(3)]
        assert scales[0] == 0.9
        assert scales[1] == pytest.approx(0.9 + 0.01 * counts[1])
        assert scales[2] == pytest.approx(scales[1] + 0.01 * counts[2])

    def test_each_refit_is_told_of_the_first_model(self, other_package, monkeypatch):
        tasks = []

        def noted(refitter, task):
            tasks.append(task)
            return refit_alone(refitter, task)

        monkeypatch.setattr(round_model, "refit_alone", noted)
        store, _ = ended(other_package)
        first = store.potential_path(0).resolve()
        assert [task.first_model for task in tasks] == [first, first]
        assert [task.model for task in tasks] == [first, store.potential_path(1).resolve()]

    def test_errors_are_the_potentials(self, other_package):
        store, _ = ended(other_package)
        test = store.read_input("test")
        for number in range(3):
            scale = float(store.potential_path(number).read_text())
            errors = [(scale - 1.0) * a.info["REF_energy"] / len(a) for a in test]
            expected = np.sqrt(np.mean(np.square(errors)))
            assert store.read_report(number).energy_rmse == pytest.approx(expected, rel=1e-6)

    def test_moves_on_the_potential(self, other_package):
        store, _ = ended(other_package)
        surrogate, potential = load_model(load_config(other_package), store, 1)
        assert isinstance(potential, ScaledEMT)
        calculator = BiasedCalculator(potential, surrogate, tau=0.0)
        assert isinstance(calculator._evaluator, SeparateEvaluator)
        atoms = store.read_batch(2)[0]
        plain = EMT().get_potential_energy(atoms)
        assert calculator.get_potential_energy(atoms) == pytest.approx(plain * potential.scale)

    def test_without_refit_the_potential_stays(self, other_package):
        settings = yaml.safe_load(other_package.read_text())
        del settings["refit"]
        other_package.write_text(yaml.safe_dump(settings))
        store, _ = ended(other_package)
        assert {store.potential_path(k) for k in range(3)} == {store.potential_path(0)}
        assert store.potential_path(0).read_text() == "0.9"

    def test_deviations_are_as_large_as_the_errors_of_the_potential(self, other_package):
        store, _ = ended(other_package)
        config = load_config(other_package)
        given, keys = store.read_input("train"), config.data.keys
        surrogate, potential = load_model(config, store, 0)
        rows = finished(leaving_out(given, surrogate, keys, potential=potential))
        own = finished(leaving_out(given, surrogate, keys))
        for prop, scale in vars(surrogate.scales.in_campaign).items():
            if prop in rows:
                both = Scale.of(rows[prop]).value, Scale.of(own[prop]).value
                assert scale.value == max(both)
        assert surrogate.scales.forces.value == Scale.of(rows["forces"]).value
        model, frames = store.model_path(0), store.directory / "inputs" / "train.extxyz"
        shown = " ".join(call("calibrate", model, frames).output.split())
        assert OF_NETWORK in shown
        beside = call("calibrate", model, frames, "--potential", "ase.calculators.emt:EMT").output
        assert OF_NETWORK not in " ".join(beside.split())
        assert surrogate.scales.energy.value == Scale.of(rows["energy"]).value
        later, _ = load_model(config, store, 1)
        whole = TrainingSet(store, 1, store.used_labels(), given, keys)
        again = calibrated(later, whole, "REF_energy", "REF_forces").scales
        for prop in ("energy", "forces", "virial"):  # rows are kept in other batches
            ours, theirs = getattr(later.scales, prop), getattr(again, prop)
            assert ours.value == pytest.approx(theirs.value, rel=1e-7)

    def test_a_failing_refit_leaves_the_last_good_model(self, other_package):
        settings = yaml.safe_load(other_package.read_text())
        settings["refit"]["command"][2] = "raise SystemExit('no memory')"
        other_package.write_text(yaml.safe_dump(settings))
        with pytest.raises(RefitError, match=r"no memory.*last good model is .*round_0000"):
            ended(other_package)
        store = Store(other_package.with_name("campaign"))
        assert store.completed_rounds() == 1
        assert store.potential_path(1) == store.potential_path(0)
        assert len(settled(store.directory)) == len(store.read_batch(1)) + 1  # of the canary

    def test_a_model_that_explodes_is_refused(self, other_package):
        settings = yaml.safe_load(other_package.read_text())
        code = "import sys; open(sys.argv[3], 'w').write('nan')"
        settings["refit"]["command"][2] = code
        other_package.write_text(yaml.safe_dump(settings))
        with pytest.raises(RefitError, match="not finite"):
            ended(other_package)

    def test_a_refit_that_is_done_is_not_repeated(self, other_package):
        running = Campaign(load_config(other_package), other_package.with_name("campaign"))
        for event in running.run():
            if getattr(event, "stage", "") == "fit" and event.round_number == 1:
                break
        before = running.store.potential_path(1).stat().st_mtime_ns
        store, events = ended(other_package)
        assert store.potential_path(1).stat().st_mtime_ns == before
        assert not [e for e in events if getattr(e, "stage", "") == "refit" and e.round_number == 1]

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"potential": None}, "refit: needs a potential with a model file"),
            ({"descriptor": {"kind": "mace"}}, "descriptor.model is missing"),
            ({"refit": {"kind": "mace"}}, "fine-tunes a potential of kind mace only"),
            ({"refit": {"kind": "command", "command": ["x"]}}, "{output} is missing"),
        ],
    )
    def test_parts_that_do_not_fit(self, other_package, changes, message):
        settings = yaml.safe_load(other_package.read_text()) | changes
        other_package.write_text(yaml.safe_dump(settings))
        with pytest.raises(ConfigError, match=message.replace("{", r"\{")):
            Campaign(load_config(other_package), other_package.with_name("campaign"))

    def test_a_missing_model_file_is_named(self, other_package):
        (other_package.parent / "scale.txt").unlink()
        with pytest.raises(BayeselError, match=r"scale\.txt: no such file"):
            Campaign(load_config(other_package), other_package.with_name("campaign"))


class TestTeacher:
    def test_a_saved_surrogate_labels(self, tmp_path, cu_surrogate):
        cu_surrogate.save(tmp_path / "teacher.npz")
        config = load_config(
            write_campaign(tmp_path, {"labelling": {"kind": "surrogate", "model": "teacher.npz"}})
        )
        engine = config.engine
        energy = cu_surrogate.calculator().get_potential_energy(copper())
        found = engine.evaluate(copper(), tmp_path, 0, ["energy"])
        assert found.energy == pytest.approx(energy)
        assert engine.name == str(tmp_path / "teacher.npz")


@needs_mace
@pytest.mark.gpu
@needs_cuda
def test_on_a_gpu(tmp_path):
    """Potential, features, walkers and fine-tuning on the GPU."""
    save_model(tiny_mace(("Al", "Cu")), tmp_path / "start.model")
    potential = {"kind": "mace", "model": "start.model", "device": "cuda"}
    changes = {
        "potential": potential,
        "descriptor": {"kind": "mace"},
        "refit": {"kind": "mace", "max_epochs": 1},
        "stop.max_rounds": 1,
        "explore.trigger": {"kind": "relative_force", "threshold": 1e-4},
    }
    config = write_campaign(tmp_path, changes)
    store, _ = ended(config)
    assert store.read_report(1).picks == 3
    surrogate, mlip = load_model(load_config(config), store, 1)
    assert surrogate.descriptor.network.device.type == mlip.device.type == "cuda"
    assert isinstance(BiasedCalculator(mlip, surrogate, tau=0.1)._evaluator, NetworkEvaluator)


@pytest.fixture(scope="module")
def silicon(tmp_path_factory, si2018):
    """A folder with silicon of the real set, a teacher, and a MACE model trained for a minute."""
    folder = tmp_path_factory.mktemp("silicon")
    core = [atoms for atoms in read(si2018 / "core.extxyz", ":200") if len(atoms) in (1, 16)]
    isolated = next(a for a in read(si2018 / "core.extxyz", ":") if len(a) == 1)
    teacher = fit_surrogate(
        [isolated, *core[:40]],
        ACEDescriptor(["Si"], totaldegree=8),
        "dft_energy",
        "dft_force",
    )
    teacher.save(folder / "teacher.npz")
    frames = []
    for atoms in [isolated, *core[:16]]:
        frame = atoms.copy()
        frame.info, frame.arrays = {}, {k: atoms.arrays[k] for k in ("numbers", "positions")}
        frame.info["energy"] = teacher.calculator().get_potential_energy(frame)
        frame.arrays["forces"] = teacher.calculator().get_forces(frame)
        frames.append(frame)
    write_frames(folder / "train.extxyz", frames[:11])
    write_frames(folder / "test.extxyz", frames[11:])
    write_frames(folder / "starts.extxyz", [frame.copy() for frame in frames[1:3]])
    e0 = frames[0].info["energy"]
    model, _ = trained_mace(frames[:9], n_steps=60, elements=["Si"], cutoff=4.5, e0=e0)
    save_model(model, folder / "start.model")
    return folder


def mace_campaign(silicon, folder):
    """Config of a round with fine-tuning, in a folder of its own."""
    settings = CAMPAIGN | {
        "stop": {"max_rounds": 1},
        "potential": {"kind": "mace", "model": str(silicon / "start.model")},
        "descriptor": {"kind": "mace"},
        "refit": {"kind": "mace", "max_epochs": 4, "checkpoint_epochs": 4, "learning_rate": 0.002},
        "data": {
            **{name: str(silicon / f"{name}.extxyz") for name in ("train", "test")},
            "energy_key": "energy",
            "forces_key": "forces",
        },
        "explore": {
            "starts": str(silicon / "starts.extxyz"),
            "walkers": 2,
            "steps": 30,
            "picks": 3,
            "temperature_K": 600,
            "timestep_fs": 2.0,
            "tau_rel": 0.1,
            "tau_delay": 2,
            "check_interval": 5,
            "trigger": {"kind": "relative_force", "threshold": 0.003},
        },
        "labelling": {"kind": "surrogate", "model": str(silicon / "teacher.npz")},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


@needs_mace
@pytest.mark.slow
def test_fine_tuning_killed_and_resumed(silicon, tmp_path):
    """Killed in the fine-tuning of a round. test_refit.py kills one in its second segment."""
    from ase_bayesel.descriptors.mace.loading import load_module, weights_sha256

    (tmp_path / "whole").mkdir()
    whole = mace_campaign(silicon, tmp_path / "whole")
    finish(start(whole))
    undisturbed = Store(whole.with_name("config_campaign"))
    assert undisturbed.completed_rounds() == 2
    assert undisturbed.read_report(1).picks == 3

    (tmp_path / "killed").mkdir()
    config = mace_campaign(silicon, tmp_path / "killed")
    directory = config.with_name("config_campaign")
    checkpoint = "round_0001/refit/running/checkpoints/*.pt"
    assert kill_when(start(config), directory, checkpoint, 1, 0.1)
    finish(start(config))
    store = Store(directory)
    assert pick_ids(store) == pick_ids(undisturbed)
    for number in range(2):
        ours, theirs = (s.potential_path(number) for s in (store, undisturbed))
        assert weights_sha256(load_module(ours)) == weights_sha256(load_module(theirs))
        assert store.read_report(number) == undisturbed.read_report(number)
    assert len({weights_sha256(load_module(store.potential_path(k))) for k in range(2)}) == 2

    surrogate, potential = load_model(load_config(config), store, 1)
    assert isinstance(BiasedCalculator(potential, surrogate, tau=0.1)._evaluator, NetworkEvaluator)
