"""Charges and multiplicities in a campaign: what is refused before it begins, what is kept."""

import pytest
from ase.io import read, write
from helpers.campaigns import ended, label_of, picks, write_campaign
from helpers.structures import alloy_cells, reference

from ase_bayesel import ACEDescriptor, fit_surrogate
from ase_bayesel.campaign.config.loading import load_config
from ase_bayesel.campaign.inputs import check_inputs
from ase_bayesel.campaign.trial import to_train_on, try_potential
from ase_bayesel.errors import BayeselError, ConfigError, StructureError
from ase_bayesel.generation.recipe import derived, origin
from ase_bayesel.structures.frames import read_frames
from ase_bayesel.structures.identity import structure_id

READS = {"labelling": {"kind": "import", "factory": "ase.calculators.emt:EMT", "reads": ["charge"]}}


def marked(path, info, numbers=None):
    """Give structures of a file a charge or multiplicity."""
    frames = read(path, ":")
    for k, atoms in enumerate(frames):
        if numbers is None or k in numbers:
            atoms.info.update(info)
    write(path, frames)


@pytest.mark.parametrize(
    ("name", "info", "numbers", "changes", "named"),
    [
        ("starts", {"charge": 1}, [1], None, r"starts\.extxyz, frame 1: import: charge 1"),
        ("starts", {"spin": 3}, [0], READS, r"starts\.extxyz, frame 0: import: spin 3"),
        ("train", {"charge": 1}, [2], READS, r"train\.extxyz, frame 2 has charge \+1.*frame 0 has"),
        (
            "train",
            {"spin": 2},
            [0],
            READS,
            r"train\.extxyz, frame 1 has charge \+0",
        ),
        ("starts", {"charge": -1}, None, READS, r"starts\.extxyz, frame 0 has charge -1"),
        ("train", {"charge": 0.5}, [4], READS, r"train\.extxyz, frame 4: 'charge' is 0\.5"),
        ("test", {"spin": "high"}, [3], READS, r"test\.extxyz, frame 3: 'spin' is 'high'"),
    ],
)
def test_what_is_refused_before_it_begins(name, info, numbers, changes, named, tmp_path):
    config = write_campaign(tmp_path, changes)
    marked(tmp_path / f"{name}.extxyz", info, numbers)
    with pytest.raises(BayeselError, match=named):
        check_inputs(load_config(config))


def potential(factory):
    return {"potential": {"kind": "import", "factory": factory}}


@pytest.mark.parametrize(
    ("factory", "info", "told"),
    [
        ("ase.calculators.emt:EMT", {"charge": 1}, r"frame 1 and .*frame 0 differ in 'charge'"),
        ("ase.calculators.emt:EMT", {"spin": 3}, r"differ in 'spin', and its energy"),
        ("helpers.calculators:ChargedEMT", {"spin": 3}, r"differ in 'spin'"),
        ("helpers.calculators:ChargedEMT", {"charge": 1}, None),
    ],
)
def test_a_potential_that_cannot_tell_states_apart(factory, info, told, tmp_path):
    """A descriptor may read what the potential beside it does not."""
    config = load_config(write_campaign(tmp_path, potential(factory)))
    starts, train = (read(tmp_path / f"{name}.extxyz", ":") for name in ("starts", "train"))
    assert try_potential(config, starts, {"train.extxyz": train}) == []
    train[1].info.update(info)
    if told is None:
        assert try_potential(config, starts, {"train.extxyz": train}) == []
        return
    with pytest.raises(ConfigError, match=told):
        try_potential(config, starts, {"train.extxyz": train})
    with pytest.raises(ConfigError, match=told):
        try_potential(config, train[:2])


def test_what_a_potential_is_trained_on(tmp_path):
    config = load_config(write_campaign(tmp_path))
    found = to_train_on(config, check_inputs(config))
    assert {name: len(frames) for name, frames in found.items()} == {
        str(tmp_path / "train.extxyz"): 6
    }


def test_a_campaign_of_ions_keeps_their_charge(tmp_path):
    config = write_campaign(tmp_path / "ions", READS)
    for name in ("train", "test", "starts"):
        marked(config.with_name(f"{name}.extxyz"), {"charge": 1})
    store, _ = ended(config)
    found = picks(store)
    assert len(found) > 0
    for pick in found:
        assert pick.info["charge"] == 1
        assert pick.info["bayesel_id"] == structure_id(pick)
        assert label_of(store.directory, pick).info["charge"] == 1
    assert {atoms.info["charge"] for atoms in read_frames(store.input_path("starts"))} == {1}


def test_a_fit_of_several_states_is_refused():
    frames = [reference(atoms) for atoms in alloy_cells(3, 0.05, 0)]
    frames[2].info["charge"] = 2
    descriptor = ACEDescriptor(["Cu", "Al"], 2, 4, 4.0)
    told = r"training frame 2 has charge \+2.*ACEDescriptor cannot"
    with pytest.raises(StructureError, match=told):
        fit_surrogate(frames, descriptor, "REF_energy", "REF_forces", e0s="average")


def test_recipes_keep_the_charge_or_refuse():
    (atoms,) = alloy_cells(1, 0.0, 0)
    atoms.info["charge"] = 1
    start = origin(atoms)
    assert derived(start, start, "rattle").info["charge"] == 1
    with pytest.raises(StructureError, match="vacancies: changes the atoms of a start"):
        derived(start[1:], start, "vacancies")
