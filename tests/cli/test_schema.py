"""The JSON schema of configs against what the configs themselves take."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from helpers.campaigns import campaign_settings
from helpers.command_line import call
from jsonschema import Draft202012Validator

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(ROOT.glob("examples/*/*.yaml"))
WHOLE = {
    "embedding by its channels": {"descriptor.embedding": 2},
    "embedding by its keys": {"descriptor.embedding": {"channels": 2, "cost": 2.0}},
    "ramp": {"explore.temperature_K": [[0, 300], [40, 900]]},
    "several triggers": {
        "explore.trigger": {
            "kind": "any",
            "members": [
                {"kind": "energy_per_atom", "threshold": 0.1},
                {"kind": "relative_force", "threshold": {"calibrate": "training"}},
            ],
        }
    },
    "no weights": {"weights": None},
    "labels by hand": {"labelling": "none"},
    "pbs": {"workers.labelling": {"kind": "pbs", "cores": 4, "walltime_h": 2.0}},
    "bootstrap": {"data.train": {"bootstrap": {"rattled": 3}}},
}
WRONG = {
    "a key that is misspelt": {"explore.temprature_K": 300.0},
    "a word for a number": {"explore.walkers": "many"},
    "a kind that there is not": {"descriptor": {"kind": "soap"}},
    "a negative number": {"explore.picks": -1},
    "a missing key": {"descriptor": {"kind": "ace", "order": 2}},
    "a mode that there is not": {"explore.mode": "sideways"},
}


@pytest.fixture(scope="module")
def schemas():
    made = {name: json.loads(call("schema", name).stdout) for name in ("campaign", "pool", "check")}
    for schema in made.values():
        Draft202012Validator.check_schema(schema)
    return {name: Draft202012Validator(schema) for name, schema in made.items()}


def kind_of(settings):
    return "pool" if "recipes" in settings else "campaign" if "explore" in settings else "check"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_examples_are_valid(schemas, path):
    settings = yaml.safe_load(path.read_text())
    schemas[kind_of(settings)].validate(settings)


def test_what_init_writes_is_valid(schemas, tmp_path):
    call("init", tmp_path / "plain.yaml")
    call("init", tmp_path / "copper.yaml", "--elements", "Cu", "--engine", "emt")
    call("init", tmp_path / "pool.yaml", "--elements", "Cu", "--job", "pool")
    for path in tmp_path.glob("*.yaml"):
        settings = yaml.safe_load(path.read_text())
        schemas[kind_of(settings)].validate(settings)


@pytest.mark.parametrize("changes", WHOLE.values(), ids=WHOLE)
def test_short_forms_are_valid(schemas, changes):
    schemas["campaign"].validate(campaign_settings(changes))


@pytest.mark.parametrize("changes", WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_refused(schemas, changes):
    assert not schemas["campaign"].is_valid(campaign_settings(changes))


def test_keys_are_told_in_words(schemas):
    sections = schemas["campaign"].schema["$defs"]
    assert (
        "Standard deviations" in sections["Bootstrap"]["properties"]["amplitudes_A"]["description"]
    )
    assert sections["ExploreConfig"]["properties"]["walkers"]["default"] == 4


def test_the_reference_of_keys_is_what_the_schemas_give():
    script = ROOT / "scripts" / "config_reference.py"
    subprocess.run([sys.executable, script, "--check"], check=True)
