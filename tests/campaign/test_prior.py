"""Data behind a potential without labels at hand: `data.prior`."""

import shutil

import numpy as np
import pytest
from ase.io import read, write
from helpers.campaigns import (
    CAMPAIGN,
    assert_same_campaign,
    campaign,
    campaign_settings,
    ended,
    write_campaign,
    write_config,
)
from helpers.structures import alloy_cells, reference

from ase_bayesel import ACEDescriptor, Surrogate, fit_surrogate
from ase_bayesel.campaign.config.loading import load_config, validate_config
from ase_bayesel.campaign.events import RoundReport
from ase_bayesel.errors import ConfigError, PosteriorError, StructureError

FRAMES = {"data.prior": "prior.extxyz"}
SURROGATE = {"data.prior": "prior.npz"}


def prior_cells():
    return alloy_cells(5, 0.1, 300)


def written(folder, changes):
    """A campaign with both kinds of prior data beside its config."""
    config = write_campaign(folder, changes)
    write(folder / "prior.extxyz", prior_cells())
    labelled = [reference(atoms) for atoms in prior_cells()]
    descriptor = ACEDescriptor(**CAMPAIGN["descriptor"])
    known = fit_surrogate(labelled, descriptor, "REF_energy", "REF_forces", e0s="average")
    known.save(folder / "prior.npz")
    return config


def first_model(config):
    """The surrogate of round 0."""
    running = campaign(config)
    for event in running.run():
        if isinstance(event, RoundReport):
            return Surrogate.load(running.store.model_path(0))


def precision(posterior):
    return posterior.precision_factor.T @ posterior.precision_factor


def assert_precision(posterior, expected):
    """Equal in units of the square root of the diagonal."""
    scale = np.sqrt(np.diagonal(expected))
    difference = (precision(posterior) - expected) / np.outer(scale, scale)
    assert np.abs(difference).max() < 1e-10


@pytest.mark.parametrize("high_energy", [None, 0.02])
def test_frames_enter_the_covariance_and_not_the_mean(tmp_path, high_energy):
    weights = {"weights": {"high_energy": high_energy}}
    plain = first_model(write_campaign(tmp_path / "plain", weights))
    config = written(tmp_path / "prior", weights | FRAMES)
    frames, known = read(config.with_name("prior.extxyz"), ":"), first_model(config)
    np.testing.assert_array_equal(known.posterior.mean, plain.posterior.mean)
    assert known.noise == plain.noise
    assert_precision(known.posterior, precision(plain.condition(frames).posterior))
    if high_energy is not None:
        blind = Surrogate(plain.descriptor, plain.posterior, plain.e0s, plain.noise)
        assert blind.condition(frames).posterior.logdet > known.posterior.logdet + 1.0


def test_labels_of_prior_frames_do_not_count_and_their_weights_do(tmp_path):
    plain = first_model(write_campaign(tmp_path / "plain"))
    config = written(tmp_path / "prior", FRAMES)
    frames = [reference(atoms) for atoms in prior_cells()]
    for atoms in frames:
        atoms.info |= {"REF_energy": 1e3, "config_weight": 0.25}
    write(config.with_name("prior.extxyz"), frames)
    known = first_model(config)
    np.testing.assert_array_equal(known.posterior.mean, plain.posterior.mean)
    frames = read(config.with_name("prior.extxyz"), ":")
    whole = precision(plain.condition(frames).posterior)
    before = precision(plain.posterior)
    assert_precision(known.posterior, before + 0.25 * (whole - before))


def test_a_surrogate_takes_the_place_of_the_prior(tmp_path):
    plain = first_model(write_campaign(tmp_path / "plain"))
    config = written(tmp_path / "prior", SURROGATE)
    known = first_model(config)
    np.testing.assert_array_equal(known.posterior.mean, plain.posterior.mean)
    expected = precision(Surrogate.load(config.with_name("prior.npz")).posterior)
    for atoms in read(config.with_name("train.extxyz"), ":"):
        rows = plain.rows(atoms)
        expected = expected + rows.T @ rows
    assert_precision(known.posterior, expected)


@pytest.mark.slow
@pytest.mark.parametrize("changes", [FRAMES, SURROGATE], ids=["frames", "surrogate"])
def test_a_campaign_goes_on_without_the_original(tmp_path, changes):
    whole, _ = ended(written(tmp_path / "whole", changes))
    config = written(tmp_path / "parts", changes | {"stop.max_rounds": 1})
    ended(config)
    config.with_name(changes["data.prior"]).unlink()
    write_config(config.parent, changes)
    store, _ = ended(config)
    assert_same_campaign(store, whole)


@pytest.mark.parametrize("changes", [FRAMES, SURROGATE], ids=["frames", "surrogate"])
def test_it_may_move_but_not_change(tmp_path, changes):
    config = written(tmp_path, changes | {"stop.max_rounds": 1})
    first_model(config)
    name = changes["data.prior"]
    shutil.move(tmp_path / name, tmp_path / f"moved_{name}")
    write_config(tmp_path, {"data.prior": f"moved_{name}", "stop.max_rounds": 1})
    assert [change.field for change in campaign(config).changes] == ["data.prior"]
    write(tmp_path / "other.extxyz", alloy_cells(1, 0.1, 400))
    other = Surrogate.load(campaign(config).store.model_path(0))
    other.save(tmp_path / "other.npz")
    for wrong in ("other.extxyz", "other.npz", "absent.extxyz", "absent.npz", None):
        write_config(tmp_path, {"data.prior": wrong, "stop.max_rounds": 1})
        with pytest.raises(ConfigError, match=r"data\.prior: "):
            campaign(config)


def test_what_cannot_be_used_is_named(tmp_path):
    def refused(prior, error, message):
        config = write_config(tmp_path, {"data.prior": prior})
        with pytest.raises(error, match=message):
            campaign(config)
        assert not (tmp_path / "campaign" / "config.yaml").exists()

    written(tmp_path, None)
    cells = alloy_cells(2, 0.1, 300)
    cells[1].symbols[0] = "Si"
    write(tmp_path / "silicon.extxyz", cells)
    refused("silicon.extxyz", ConfigError, r"silicon.extxyz, frame 1: element Si is not among")
    refused("absent.extxyz", StructureError, "absent.extxyz: no such file")
    refused("absent.npz", PosteriorError, "absent.npz: no such file")
    np.savez(tmp_path / "numbers.npz", numbers=np.arange(3))
    refused("numbers.npz", PosteriorError, "numbers.npz: cannot be read as a saved surrogate")
    features = CAMPAIGN["descriptor"] | {"cutoff": 4.0}
    frames = read(tmp_path / "train.extxyz", ":")
    other = fit_surrogate(
        frames, ACEDescriptor(**features), "REF_energy", "REF_forces", e0s="average"
    )
    other.save(tmp_path / "other.npz")
    refused("other.npz", PosteriorError, "other.npz: belongs to another descriptor")


def test_a_surrogate_needs_features_that_stay():
    network = {
        "potential": {"kind": "mace", "model": "my.model"},
        "descriptor": {"kind": "mace"},
        "refit": {"kind": "mace"},
    }

    def valid(**changes):
        return validate_config(campaign_settings(changes), "here.yaml")

    with pytest.raises(ConfigError, match=r"features change with each refit .* file of structures"):
        valid(**network | SURROGATE)
    assert valid(**network | FRAMES).data.prior.name == "prior.extxyz"
    fixed = {"kind": "mace", "model": "other.model"}
    for change in ({"refit": None}, {"descriptor": fixed}, {"descriptor": CAMPAIGN["descriptor"]}):
        assert valid(**network | change | SURROGATE).data.prior_is_surrogate


def test_prior_data_are_in_the_config_that_is_kept(tmp_path):
    config = load_config(written(tmp_path, FRAMES))
    assert config.data.prior == tmp_path / "prior.extxyz"
    assert not config.data.prior_is_surrogate
