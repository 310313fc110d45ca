"""Phonons and elastic constants among the properties that a campaign follows."""

from helpers.campaigns import write_campaign

from ase_bayesel import load_config
from ase_bayesel.campaign.inputs import check_inputs
from ase_bayesel.campaign.round_properties import round_properties
from ase_bayesel.campaign.store import Store
from ase_bayesel.surrogate.steps import finished


def test_phonons_and_elastic_constants(tmp_path, cu_surrogate):
    names = ["a", "C11", "C12", "C44", "bulk modulus", "phonon X lowest", "phonon X highest"]
    properties = {
        "crystal": {"name": "Cu", "a": 3.6},
        "phonons": {"supercell": [2, 2, 2], "qpoints": {"X": [0.5, 0, 0.5], "G": [0, 0, 0]}},
        "members": 2,
        "wanted": dict.fromkeys(names, 1.0),
    }
    config = load_config(write_campaign(tmp_path, {"properties": properties}))
    check_inputs(config)
    found, failed = finished(
        round_properties(config, Store(tmp_path / "campaign"), 0, cu_surrogate)
    )
    assert not failed
    assert [quantity.name for quantity in found] == names
    assert all(quantity.std > 0 for quantity in found)
