"""Errors of picks under the model before their refit, and what the report makes of them."""

import numpy as np
import pytest
from ase.build import bulk
from ase.io import read, write
from helpers.campaigns import ended, write_campaign
from helpers.command_line import assert_refused, call

from ase_bayesel import Surrogate
from ase_bayesel.campaign.config.loading import load_config
from ase_bayesel.campaign.history import History
from ase_bayesel.campaign.prequential import read_pick_errors
from ase_bayesel.campaign.round_model import load_model
from ase_bayesel.campaign.training_set import TrainingSet
from ase_bayesel.cli.calibration import pick_table
from ase_bayesel.surrogate.held_out import given_labels
from ase_bayesel.surrogate.scales import Scales


@pytest.fixture(scope="module")
def campaign(tmp_path_factory):
    config = write_campaign(tmp_path_factory.mktemp("campaign"))
    return load_config(config), ended(config)[0]


def picks_of(config, store, number):
    given = store.read_input("train")
    whole = TrainingSet(store, number, store.used_labels(), given, config.data.keys)
    before = TrainingSet(store, number - 1, store.used_labels(), given, config.data.keys)
    return whole[len(before) :]


def test_they_are_those_of_the_model_before(campaign):
    config, store = campaign
    picks = picks_of(config, store, 1)
    surrogate, _ = load_model(config, store, 0)
    errors = read_pick_errors(store, 1)
    expected = [surrogate.energy(atoms) - atoms.info[config.data.energy_key] for atoms in picks]
    assert len(picks) == store.read_report(1).picks > 1
    assert errors.fitted["energy"].errors == pytest.approx(expected, abs=1e-9)
    stds = [surrogate.energy_std(atoms) for atoms in picks]
    assert errors.fitted["energy"].deviations == pytest.approx(stds)


def test_a_linear_mean_is_told_the_labels_before(campaign):
    config, store = campaign
    first, second = picks_of(config, store, 1)[:2]
    surrogate, _ = load_model(config, store, 0)
    told = given_labels(surrogate, first, config.data.keys)
    conditioned = read_pick_errors(store, 1).conditioned["energy"]
    assert conditioned.errors[1] == pytest.approx(
        told.energy(second) - second.info[config.data.energy_key], abs=1e-9
    )
    assert conditioned.deviations[1] == pytest.approx(told.energy_std(second))
    assert conditioned.errors[0] == read_pick_errors(store, 1).fitted["energy"].errors[0]


def test_no_picks_no_record(campaign):
    assert read_pick_errors(campaign[1], 0) is None


def test_reports_hold_the_scales_of_the_saved_model(campaign):
    config, store = campaign
    for number in range(store.completed_rounds()):
        surrogate, _ = load_model(config, store, number)
        assert Scales.from_json(store.read_report(number).scales) == surrogate.scales
        assert surrogate.scales.forces.n_structures > 0


def test_picks_of_all_rounds_carry_the_scales_of_their_model(campaign):
    _, store = campaign
    reports = [store.read_report(k) for k in range(store.completed_rounds())]
    scaled = History(store).all_foretold()
    raw = [read_pick_errors(store, k).fitted["forces"].deviations for k in (1, 2)]
    scales = [Scales.from_json(r.scales).forces.value for r in reports[:2]]
    expected = np.concatenate([s * r for s, r in zip(scales, raw, strict=True)])
    assert scaled["forces"].deviations == pytest.approx(expected)
    lines = pick_table(store, reports)
    assert [line[:2] for line in lines] == [
        (k, prop) for k in ("1", "2") for prop in ("energy, eV", "forces, eV/A")
    ]


def test_a_saved_model_is_compared_with_new_labels(campaign, tmp_path):
    config, store = campaign
    frames, model = store.directory / "inputs" / "test.extxyz", store.model_path(0)
    assert frames.exists(), list((store.directory / "inputs").iterdir())
    keys = ["--energy-key", config.data.energy_key, "--forces-key", config.data.forces_key]
    output = tmp_path / "scaled.npz"
    result = call("calibrate", model, frames, *keys, "-o", output)
    assert result.exit_code == 0, result.output
    for shown in ("forces", "eV/A", "saved", "new", "z raw", "in 95%", "CRPS"):
        assert shown in result.output
    assert Surrogate.load(output).scales.forces.n_structures > 0
    for name in ("scaled.npz", "link.npz", "other.txt", "other"):
        (tmp_path / "link.npz").unlink(missing_ok=True)
        (tmp_path / "link.npz").symlink_to("nowhere.npz")
        assert_refused(call("calibrate", model, frames, *keys, "-o", tmp_path / name), name)
    write(tmp_path / "iron.xyz", [*read(frames, ":2"), bulk("Fe", cubic=True)])
    result = call("calibrate", model, tmp_path / "iron.xyz", *keys)
    assert_refused(
        result, "iron.xyz, frame 2: element Fe is not among those that the descriptor knows"
    )
    shown = call("calibrate", model, frames, *keys, "--potential", "ase.calculators.emt:EMT")
    assert shown.exit_code == 0, shown.output
    (line,) = (line for line in shown.output.splitlines() if "RMSE" in line)
    assert float(line.split("│")[2]) < 1e-6, "the labels are of this potential"
    needs = call("calibrate", model, frames, "--potential", "helpers.calculators:ScaledEMT")
    assert_refused(needs, "ScaledEMT: cannot be called without arguments")
    other = ["--potential", "ase.calculators.morse:MorsePotential", "-o", tmp_path / "s.npz"]
    result = call("calibrate", model, frames, *keys, *other)
    assert result.exit_code == 0, result.output
    found = Surrogate.load(tmp_path / "s.npz")
    assert found.support.network
    assert found.support.widens
    assert found.scales.in_campaign.forces.value >= found.scales.forces.value > 1
    refused = call("calibrate", model, frames, "--energy-key", "x", "--forces-key", "y")
    assert refused.exit_code == 2
    assert f"{frames}: frame 0: has no 'x', but 'REF_energy'" in refused.output
