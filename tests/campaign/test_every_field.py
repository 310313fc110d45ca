"""Every number and every path of every config: what no computation can do is refused by name.

The fields come from the JSON schemas, so that a new one is tested as well.
"""

import sys
from dataclasses import is_dataclass
from typing import Annotated

import pytest
from helpers.campaigns import campaign_settings
from pydantic import BaseModel, TypeAdapter, ValidationError

from ase_bayesel.campaign.config.loading import validate_config
from ase_bayesel.cli.schema import Config, config_schema
from ase_bayesel.dynamics.triggers import Calibration
from ase_bayesel.errors import ConfigError
from ase_bayesel.io.json_schema import SHORT
from ase_bayesel.io.kinds import VALUE, validated_values

LOWER, UPPER = ("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")
TOPS = {
    Config.CAMPAIGN: "CampaignConfig",
    Config.POOL: "PoolConfig",
    Config.CHECK: "CheckConfig",
}
ABSURD = (1e300, -1e300, 10**30, -(10**30), float("nan"), float("inf"), -float("inf"))


def sections():
    """The schema of each section, by the name of its class."""
    found = {}
    for config, name in TOPS.items():
        schema = config_schema(config)
        found |= {name: schema, **schema["$defs"]}
    return {name.split(".")[0]: schema for name, schema in found.items()}


def leaves(entry, around=()):
    """Schemas of the values in an entry, each with the lists and mappings around it."""
    if entry.get("type") == SHORT["type"]:
        return
    for part in entry.get("anyOf", ()):
        yield from leaves(part, around)
    items = entry.get("prefixItems") or ([entry["items"]] if "items" in entry else [])
    for k, part in enumerate(items):
        yield from leaves(part, (*around, (k, len(items))))
    inside = entry.get("additionalProperties")
    if isinstance(inside, dict):
        yield from leaves(inside, (*around, ("Si", 1)))
    if entry.get("type") in ("integer", "number", "string") and "enum" not in entry:
        yield entry, around


def placed(value, around):
    """The value in these lists and mappings."""
    for place, size in reversed(around):
        if isinstance(place, str):
            value = {place: value}
        else:
            value = [value if k == place else k + 1 for k in range(size)]
    return value


def fields(wanted):
    """Each field of a type, once for each place where it has a value: class, key, schema, place."""
    for name, section in sections().items():
        for key, entry in section.get("properties", {}).items():
            for leaf, around in leaves(entry):
                if wanted(leaf):
                    label = ".".join([name, key, *(str(place) for place, _ in around)])
                    yield pytest.param(name, key, leaf, around, id=label)


def class_of(name):
    modules = [module for key, module in sys.modules.items() if key.startswith("ase_bayesel")]
    found = {
        vars(module)[name]
        for module in modules
        if is_dataclass(vars(module).get(name)) or _is_section(vars(module).get(name))
    }
    (cls,) = found
    return cls


def _is_section(thing):
    return isinstance(thing, type) and issubclass(thing, BaseModel)


def complaints(name, key, value):
    """What a section says of one of its keys, where that is all that it is given."""
    cls = class_of(name)
    try:
        if issubclass(cls, BaseModel):
            cls.model_validate({key: value})
        else:
            validated_values(cls, {key: value}, with_kind=True)
    except ValidationError as error:
        return [entry["msg"] for entry in error.errors() if entry["loc"][:1] == (key,)]
    return []


def is_number(leaf):
    return leaf["type"] in ("integer", "number")


NUMBERS = list(fields(is_number))
PATHS = list(fields(lambda leaf: leaf.get("format") == "path"))


@pytest.mark.parametrize(("name", "key", "leaf", "around"), NUMBERS)
def test_absurd_numbers_are_refused_by_name(name, key, leaf, around):
    assert any(bound in leaf for bound in LOWER), leaf
    assert any(bound in leaf for bound in UPPER), leaf
    none_is_possible = leaf.get("minimum", 0) <= 0 and leaf["type"] == "number"
    assert "minimum" in leaf or leaf.get("exclusiveMinimum") != 0, "1e-300 would do"
    tiny = () if none_is_possible else (1e-300, 5e-324)
    for value in (*ABSURD, *tiny, True, False, "many"):
        assert complaints(name, key, placed(value, around)), value
    for bound in ("minimum", "maximum"):
        if bound in leaf:
            told = complaints(name, key, placed(leaf[bound], around))
            assert not any("equal to" in line or "must be at" in line for line in told), told


def test_there_are_numbers_and_paths():
    assert len(NUMBERS) > 150
    assert len(PATHS) > 20


@pytest.mark.parametrize("value", [*ABSURD, 0, 1e-300, True, "x"])
@pytest.mark.parametrize("key", ["quantile", "factor", "steps"])
def test_calibrations_of_thresholds(key, value):
    given = {"calibrate": "md", "steps": 10, key: value}
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(Annotated[Calibration, VALUE]).validate_python(given)
    assert caught.value.errors()[0]["loc"] == (key,)


SHOWN = {
    "explore.tau": {"explore.tau_rel": None},
    "explore.tau_max": {},
    "explore.temperature_K": {},
    "explore.timestep_fs": {},
    "explore.start_energy": {},
    "explore.trigger.threshold": {},
    "explore.ensemble.friction_per_fs": {},
    "explore.trust_bound.factor": {"explore.trust_bound": {}},
    "explore.trust_bound.relative": {"explore.trust_bound": {}},
    "explore.trust_bound.absolute": {"explore.trust_bound": {}},
    "explore.guards.max_force": {"explore.guards": {}},
    "explore.guards.max_temperature_K": {"explore.guards": {}},
    "explore.guards.volume_ratio": {"explore.guards": {}},
    "explore.bias.force_max": {"explore.bias": {}},
    "weights.high_energy": {},
    "labels.set_aside_force": {"labels": {}},
    "labelling.time_limit_h": {},
    "descriptor.cutoff": {},
}


@pytest.mark.parametrize("value", [1e300, 1e-300, -1e300, float("nan"), float("inf"), True])
@pytest.mark.parametrize("field", SHOWN)
def test_a_campaign_names_the_whole_key(field, value):
    if field == "explore.tau" and value == 1e-300:
        pytest.skip("no bias, which may be")
    with pytest.raises(ConfigError) as caught:
        validate_config(campaign_settings({**SHOWN[field], field: value}), "here.yaml")
    assert any(f"  {field}: " in line for line in str(caught.value).splitlines()), caught.value


@pytest.mark.parametrize(("name", "key", "leaf", "around"), PATHS)
def test_empty_paths_are_refused_by_name(name, key, leaf, around, monkeypatch):
    monkeypatch.setenv("NOTHING", "")
    for value in ("", " ", "\t", "$NOTHING"):
        told = complaints(name, key, placed(value, around))
        assert any("names no file" in line for line in told), told


MODELS = [
    ("MACEPotentialConfig", "model"),
    ("MACEFeaturesConfig", "model"),
    ("MACEEngine", "model"),
    ("ImportedPotentialConfig", "model"),
    ("ImportedFeaturesConfig", "model"),
]


@pytest.mark.parametrize("value", ["", "  "])
@pytest.mark.parametrize(("name", "key"), MODELS)
def test_empty_models_are_refused_by_name(name, key, value):
    assert any("names no file" in line for line in complaints(name, key, value))


@pytest.mark.parametrize("field", ["data.train", "data.test", "explore.starts", "labels.store"])
def test_a_campaign_names_the_whole_key_of_an_empty_path(field):
    with pytest.raises(ConfigError) as caught:
        validate_config(campaign_settings({"labels": {}, field: ""}), "here.yaml")
    assert f"  {field}: " in str(caught.value)


def test_the_folder_itself_may_be_named(tmp_path):
    settings = campaign_settings({"labels": {"store": "."}})
    assert validate_config(settings, "here.yaml", tmp_path).labels.store == tmp_path
