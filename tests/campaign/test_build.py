import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from ase import units
from ase.build import molecule
from ase.calculators.emt import EMT
from helpers.campaigns import campaign_settings

from ase_bayesel import (
    Deviation,
    EnergyTrigger,
    ForceTrigger,
    RelativeForceTrigger,
    TauRule,
    Variance,
)
from ase_bayesel.campaign.beginning import round_0
from ase_bayesel.campaign.build.models import build_descriptor
from ase_bayesel.campaign.build.resources import build_resource
from ase_bayesel.campaign.build.walkers import build_bias, build_tau_rule
from ase_bayesel.campaign.config.loading import validate_config
from ase_bayesel.dynamics.triggers import Guards, with_thresholds
from ase_bayesel.labelling.engines import ENGINES
from ase_bayesel.resources import BatchJobs, Here, LocalCluster, ProcessPool, RunningCluster
from ase_bayesel.structures.identity import geometry_id, structure_id
from ase_bayesel.surrogate.fitting import Weights

ENGINES_PAGE = Path(__file__).parents[2] / "docs" / "engines.md"


def config(changes=None):
    return validate_config(campaign_settings(changes), "test")


def test_descriptor():
    found = build_descriptor(config(), None)
    spec = found.spec()
    assert spec["elements"] == ["Al", "Cu"] or spec["elements"] == ["Cu", "Al"]
    assert {spec["order"], spec["totaldegree"], spec["cutoff"]} == {2, 6, 4.5}
    smaller = build_descriptor(config({"descriptor.totaldegree": 4}), None)
    assert 0 < smaller.n_features < found.n_features


def test_weights():
    assert config().weights == Weights() == Weights(30.0, 1.0, 30.0, None)
    given = config({"weights": {"energy": 5.0, "forces": 2.0}})
    assert given.weights == Weights(5.0, 2.0, 30.0, "auto")
    assert given.weights.at(given.hottest_K) == Weights(5.0, 2.0, 30.0, 1.5 * units.kB * 1200.0)
    assert config({"weights": None}).weights is None


def test_tau_rule():
    rule = build_tau_rule(config({"explore.tau_max": 7.0}).explore)
    assert rule == TauRule(0.3, delay=2, tau_max=7.0)
    limits = {"force_max": 2.0, "max_excess_temperature": 0.5}
    rule = build_tau_rule(config({"explore.bias": limits}).explore)
    assert rule == TauRule(0.3, delay=2, force_max=2.0, max_excess_temperature=0.5)
    assert build_tau_rule(config({"explore.tau_rel": None, "explore.tau": 1.0}).explore) is None


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, Deviation()),
        ({"kind": "variance", "energy_limit": 0.2}, Variance(energy_limit=0.2)),
        ({"elements": {"Al": 1.0, "Cu": 0.1}}, Deviation({"Al": 1.0, "Cu": 0.1})),
    ],
)
def test_bias(given, expected):
    assert build_bias(config({"explore.bias": given}).explore.bias) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"threshold": 0.3}, RelativeForceTrigger(0.3, 0.2)),
        ({"threshold": 0.3, "eps": 0.7}, RelativeForceTrigger(0.3, 0.7)),
        ({"kind": "force", "threshold": 0.4}, ForceTrigger(0.4)),
        ({"kind": "energy_per_atom", "threshold": 0.5}, EnergyTrigger(0.5)),
    ],
)
def test_trigger(given, expected):
    assert with_thresholds(config({"explore.trigger": given}).explore.trigger, ()) == expected


def test_guards():
    assert config().explore.guards == Guards()
    given = {"close_contact": None, "max_force": 20.0, "max_temperature_K": None}
    assert config({"explore.guards": given}).explore.guards == Guards(None, 20.0, None)


def test_imported_engine():
    labelling = {
        "kind": "import",
        "factory": "ase.calculators.emt:EMT",
        "parameters": {"asap_cutoff": True},
    }
    engine = config({"labelling": labelling}).engine
    calculator = engine.make(engine.parameters_of(0))
    assert isinstance(calculator, EMT)
    assert calculator.parameters["asap_cutoff"] is True
    assert engine.name == "ase.calculators.emt:EMT"


def test_engine_that_cannot_be_imported():
    (problem,) = config({"labelling.factory": "nowhere.at_all:EMT"}).engine.missing(["Cu"])
    assert "nowhere.at_all:EMT" in problem


def test_tblite_engine():
    labelling = {"kind": "tblite", "method": "GFN2-xTB", "parameters": {"accuracy": 0.5}}
    engine = config({"labelling": labelling}).engine
    calculator = engine.make(engine.parameters_of(0))
    assert calculator.parameters["method"] == "GFN2-xTB"
    assert np.isclose(calculator.parameters["accuracy"], 0.5)
    assert engine.name == "GFN2-xTB"


EXAMPLES = [
    yaml.safe_load(block)["labelling"]
    for block in re.findall(r"```yaml\n(.*?)```", ENGINES_PAGE.read_text(), flags=re.DOTALL)
]


@pytest.mark.parametrize("labelling", EXAMPLES, ids=lambda given: given["kind"])
def test_engines_of_the_documentation(labelling):
    engine = config({"labelling": labelling}).engine
    assert engine.kind == labelling["kind"]
    assert engine.n_attempts == 1 + len(labelling.get("fallbacks", []))
    assert engine.faults() == []
    for name in labelling.keys() & {"command", "species"}:
        assert getattr(engine, name) == tuple(labelling[name])
    assert pickle.loads(pickle.dumps(engine)) == engine


def test_every_engine_is_documented():
    named = re.findall(r"^\| `(\w+)` \|", ENGINES_PAGE.read_text(), flags=re.MULTILINE)
    assert {engine.kind for engine in ENGINES} == set(named)


def test_calculators_see_only_what_the_address_of_a_label_knows(tmp_path):
    """Initial charges are the total charge to tblite."""
    engine = config({"labelling": {"kind": "tblite"}}).engine
    plain = molecule("H2O")
    charged = plain.copy()
    charged.set_initial_charges([1.0, 0.0, 0.0])
    found = [engine.evaluate(atoms, tmp_path, 0, ["energy"]) for atoms in (plain, charged)]
    assert structure_id(plain) == geometry_id(structure_id(charged)) != structure_id(charged)
    assert found[0].energy == found[1].energy


def test_no_engine_where_the_user_labels():
    assert config({"labelling": "none"}).engine is None


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"kind": "here"}, Here()),
        ({"kind": "processes", "n_workers": 3}, ProcessPool(3, threads=2)),
        ({"kind": "local", "n_workers": 3}, LocalCluster(3)),
        ({"kind": "dask", "scheduler": "tcp://host:1"}, RunningCluster("tcp://host:1")),
        (
            {"kind": "pbs", "jobs": 4, "prologue": ["module load qe"], "walltime_h": 2},
            BatchJobs(
                *("pbs", 4),
                walltime_h=2.0,
                prologue=("module load qe",),
                log_directory=Path("/campaign/jobs"),
            ),
        ),
    ],
)
def test_resources(given, expected):
    workers = config({"workers": {"refit": given}}).workers
    assert build_resource(workers.refit, 2, Path("/campaign")) == expected
    assert build_resource(workers.features, 2, Path("/campaign")) == Here()


def test_as_many_processes_as_the_cores_take():
    labelling = config({"workers": {}}).workers.labelling
    alone = build_resource(labelling, 1, Path())
    assert alone.n_workers >= 1
    assert build_resource(labelling, 10_000, Path()) == ProcessPool(1, 10_000)


def test_what_round_0_is():
    """Nothing to be told of the linear model, which it fits."""
    assert round_0(validate_config(campaign_settings(), "here.yaml")) == []
    changes = {
        "potential": {"kind": "mace", "model": "my.model", "energy_shift": "fitted"},
        "descriptor": {"kind": "mace"},
    }
    (told,) = round_0(validate_config(campaign_settings(changes), "here.yaml"))
    assert told.startswith("round 0 is the given potential my.model as it is, with a constant by ")
    assert "errors on the test set are those of the potential" in told
    changes["potential"]["energy_shift"] = "none"
    assert "constant" not in round_0(validate_config(campaign_settings(changes), "here.yaml"))[0]
