"""Campaigns whose features, and energies, come from an adapter for a foreign network."""

import sys

import numpy as np
import pytest
import yaml
from helpers.adapter_example import EXAMPLE, FACTORY, PairNetDescriptor, made_example, pairnet
from helpers.campaigns import campaign_settings, ended, reports

from ase_bayesel import BiasedCalculator, Surrogate, load_config
from ase_bayesel.bias.evaluators import NetworkEvaluator
from ase_bayesel.campaign.build.models import build_descriptor
from ase_bayesel.campaign.build.potentials import build_potential
from ase_bayesel.campaign.inputs import check_inputs
from ase_bayesel.campaign.round_model import load_model
from ase_bayesel.campaign.trial import try_potential
from ase_bayesel.errors import ConfigError, PosteriorError

REFIT = {
    "kind": "command",
    "command": [
        sys.executable,
        str(EXAMPLE / "train.py"),
        *("{train}", "{model}", "{output}", "{seed}"),
    ],
}
OWN = {
    "potential": {"kind": "descriptor", "model": "pairnet.pt"},
    "descriptor": {"kind": "import", "factory": FACTORY},
}


def written(folder, changes):
    """The example's data and a config of a small campaign with them; returns its path."""
    made_example(folder)
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(campaign_settings(changes)))
    return path


@pytest.mark.slow
def test_a_campaign_refits_network_and_features(tmp_path):
    config = written(tmp_path, {**OWN, "refit": REFIT})
    store, _ = ended(config)
    settings, hashes = load_config(config), set()
    assert store.completed_rounds() == 3
    for number in range(3):
        surrogate, potential = load_model(settings, store, number)
        descriptor = surrogate.descriptor
        assert descriptor.origin.model == str(store.potential_path(number))
        hashes.add(descriptor.spec()["weights"])
        assert potential.descriptor is descriptor
        biased = BiasedCalculator(potential, surrogate, tau=0.1)
        assert isinstance(biased._evaluator, NetworkEvaluator)
        net = pairnet.load(store.potential_path(number))
        own = pairnet.PairNetCalculator(net)
        for atoms in store.read_input("test")[:2]:
            energy = own.get_potential_energy(atoms)
            assert potential.get_potential_energy(atoms) == pytest.approx(energy, rel=1e-12)
    assert len(hashes) == 3
    counts = [report.n_train for report in reports(store)]
    assert counts[0] < counts[1] < counts[2]
    with pytest.raises(PosteriorError, match="trust=True"):
        Surrogate.load(store.model_path(0))
    with pytest.raises(PosteriorError, match="other weights"):
        Surrogate.load(store.model_path(0), PairNetDescriptor(str(store.potential_path(1))))


def test_the_example_is_a_valid_config(tmp_path):
    """Its config with its data made elsewhere: read, checked, its potential tried."""
    made_example(tmp_path / "data")
    settings = yaml.safe_load((EXAMPLE / "config.yaml").read_text())
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(settings))
    config = load_config(path)
    starts = check_inputs(config)["starts"]
    assert try_potential(config, starts) == []
    descriptor = build_descriptor(config, tmp_path / "data" / "pairnet.pt")
    potential = build_potential(config, tmp_path / "data" / "pairnet.pt", None)
    assert descriptor.serves(potential)
    assert np.isfinite(potential.get_forces(starts[0])).all()


def test_which_model_is_whose(tmp_path):
    made_example(tmp_path)
    pairnet.save(pairnet.PairNet(["Cu", "Al"]), tmp_path / "second.pt")
    features = {"kind": "import", "factory": FACTORY}
    foreign = {"kind": "import", "factory": "helpers.calculators:ScaledEMT", "model": "pairnet.pt"}
    cases = {
        "second.pt": ({**features, "model": "second.pt"}, foreign),
        "pairnet.pt": ({**features, "model": "potential"}, foreign),
        "given.pt": (features, OWN["potential"]),
    }
    for file, (descriptor, potential) in cases.items():
        path = written(tmp_path, {"descriptor": descriptor, "potential": potential})
        config = load_config(path)
        assert load_config(path).model_dump(mode="json")["descriptor"]["kind"] == "import"
        round_file = tmp_path / ("second.pt" if file == "given.pt" else "pairnet.pt")
        made = build_descriptor(config, round_file)
        expected = round_file if file == "given.pt" else tmp_path / file
        assert made.origin.model == str(expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"potential": OWN["potential"]}, "needs a descriptor of kind import"),
        (
            {**OWN, "descriptor": {"kind": "import", "factory": FACTORY, "model": "pairnet.pt"}},
            "descriptor.model: with a potential of kind descriptor",
        ),
        (
            {"descriptor": {"kind": "import", "factory": FACTORY, "model": "potential"}},
            "descriptor.model: the potential has no model that is one path",
        ),
        ({"descriptor": {"kind": "import", "factory": "no colon"}}, "descriptor.factory"),
        ({"potential": {"kind": "descriptor"}, "descriptor": OWN["descriptor"], "refit": REFIT},
         "needs a potential with a model file"),
    ],
)  # fmt: skip
def test_wrong_configs(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        load_config(written(tmp_path, changes))


def test_checked_without_running_code(tmp_path):
    """A factory that cannot be imported is not even looked for."""
    changes = {"descriptor": {"kind": "import", "factory": "nowhere:Thing"}}
    config = load_config(written(tmp_path, changes))
    assert len(check_inputs(config, run_code=False)["train"]) == 8
    with pytest.raises(ConfigError, match="cannot import 'nowhere:Thing'"):
        check_inputs(config)


def test_a_descriptor_without_energies_is_no_potential(tmp_path):
    descriptor = {
        "kind": "import",
        "factory": "ase_bayesel:ACEDescriptor",
        "parameters": {"elements": ["Cu", "Al"], "totaldegree": 4},
    }
    changes = {"potential": {"kind": "descriptor"}, "descriptor": descriptor}
    config = load_config(written(tmp_path, changes))
    with pytest.raises(ConfigError, match="has features only"):
        build_potential(config, None, None)
