"""A stranger adds an engine from outside the package, following docs/how-to/new-engine.md."""

import pickle
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.calculators.lj import LennardJones
from helpers.campaigns import campaign_settings

from ase_bayesel.campaign.config.campaign import CampaignConfig
from ase_bayesel.campaign.config.loading import validate_config
from ase_bayesel.errors import ConfigError
from ase_bayesel.labelling.reference import Reference
from ase_bayesel.labelling.task import compute

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "new-engine.md").read_text()
CODE, LABELLING = (
    re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)[1] for language in ("python", "yaml")
)
DIMER = Atoms("Ar2", [[0, 0, 0], [0, 0, 2.5]])


@pytest.fixture
def config(tmp_path, monkeypatch):
    (tmp_path / "my_engines.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_engines", raising=False)
    return campaign_settings(yaml.safe_load(LABELLING))


def test_it_computes_a_label(config):
    engine = validate_config(config, "config.yaml").engine
    label = compute(DIMER, engine, ("energy", "forces"))
    expected = DIMER.copy()
    expected.calc = LennardJones(sigma=2.3, epsilon=1.0, rc=6.0)
    assert label.engine == "lennard_jones"
    assert label.values.energy == expected.get_potential_energy()
    np.testing.assert_array_equal(label.values.forces, expected.get_forces())


def test_its_labels_have_a_name_of_their_own(config, tmp_path):
    engine = validate_config(config, "config.yaml").engine
    config["labelling"]["sigma"] = 2.4
    other = validate_config(config, "config.yaml").engine
    names = [Reference(e, ("energy",), tmp_path).settings(["Ar"]) for e in (engine, other)]
    assert len({*names}) == 2
    assert engine.missing(["Ar"]) == []
    assert engine.missing(["Ar", "Kr"]) == ["one element only (labelling)"]


def test_the_config_is_written_and_read_again(config):
    checked = validate_config(config, "config.yaml")
    dumped = yaml.safe_load(yaml.safe_dump(checked.model_dump(mode="json")))
    assert dumped["labelling"] == {
        "kind": "my_engines:LennardJonesEngine",
        "parameters": {"rc": 6.0},
        "fallbacks": [],
        "canary": True,
        "sigma": 2.3,
        "epsilon": 1.0,
    }
    assert CampaignConfig.model_validate(dumped) == checked
    assert pickle.loads(pickle.dumps(checked)) == checked


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sigma": -1}, r"labelling\.sigma: Input should be greater than or equal to 0\.000000001"),
        (
            {"sgima": 1},
            r"labelling\.sgima: .*The keys are kind, parameters, fallbacks, canary, sig",
        ),
        ({"kind": "my_engines:Nothing"}, r"labelling\.kind: cannot import 'my_engines:Nothing'"),
        ({"kind": "not_there:Engine"}, r"labelling\.kind: cannot import"),
        ({"kind": "os:system"}, r"labelling\.kind: 'os:system' is not a dataclass .* from Engine"),
        ({"kind": "ase:Atoms"}, r"labelling\.kind: 'ase:Atoms' is not a dataclass"),
    ],
)
def test_what_is_wrong_is_named(config, changes, message):
    config["labelling"] |= changes
    with pytest.raises(ConfigError, match=message):
        validate_config(config, "config.yaml")


def test_a_field_that_is_required(config):
    del config["labelling"]["sigma"]
    with pytest.raises(ConfigError, match=r"labelling\.sigma: Field required"):
        validate_config(config, "config.yaml")
