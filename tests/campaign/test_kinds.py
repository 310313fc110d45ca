"""Every class that a config can name: what its errors say, and that it is written and read again.

The classes come from the lists beside them, so that a new one is tested as well.
"""

import json
import re
from dataclasses import fields, is_dataclass
from typing import get_args

import pytest
from helpers.campaigns import campaign_settings
from pydantic import TypeAdapter, create_model

from ase_bayesel.campaign.config import (
    DESCRIPTORS,
    POTENTIALS,
    AnyDescriptor,
    AnyEngine,
    AnyPotential,
    AnyRefitter,
    AnyResource,
    ExploreConfig,
    PoolConfig,
    Section,
)
from ase_bayesel.campaign.config.loading import RENAMED, validate_config
from ase_bayesel.campaign.exploration import EarlyRefit
from ase_bayesel.campaign.refit import REFITTERS
from ase_bayesel.cli.check import CheckConfig
from ase_bayesel.dynamics.ensembles import ENSEMBLES, AnyEnsemble
from ase_bayesel.dynamics.moves import MOVES
from ase_bayesel.dynamics.triggers import TRIGGERS, AnyTrigger, Calibration, Guards, PickRule
from ase_bayesel.dynamics.trust import TrustBound
from ase_bayesel.errors import ConfigError
from ase_bayesel.generation import RECIPES, Screen
from ase_bayesel.io.kinds import OneOf, keys_of, kinds_of
from ase_bayesel.labelling.engines import ENGINES
from ase_bayesel.resources import RESOURCES
from ase_bayesel.surrogate.fitting import Weights

MOVE = get_args(ExploreConfig.model_fields["moves"].annotation)[0]
RECIPE = get_args(PoolConfig.model_fields["recipes"].annotation)[0]
SECTIONS = {
    "labelling": (AnyEngine, ENGINES),
    "workers": (AnyResource, RESOURCES),
    "descriptor": (AnyDescriptor, DESCRIPTORS),
    "potential": (AnyPotential, POTENTIALS),
    "refit": (AnyRefitter, REFITTERS),
    "ensemble": (AnyEnsemble, ENSEMBLES),
    "move": (MOVE, MOVES),
    "trigger": (AnyTrigger, TRIGGERS),
    "recipe": (RECIPE, RECIPES),
}
CASES = [
    pytest.param(name, cls, kind, id=f"{name}-{kind}")
    for name, (_, classes) in SECTIONS.items()
    for cls in classes
    for kind in kinds_of(cls)
]
RATTLE = {"kind": "rattle", "amplitudes_A": [0.1]}
GIVEN = {
    "import": {"factory": "ase.calculators.emt:EMT"},
    "surrogate": {"model": "model.npz"},
    "labelling-mace": {"model": "mace_mp:medium"},
    "potential-mace": {"model": "mace_mp:medium"},
    "espresso": {"parameters": {"system": {"ecutwfc": 30}}, "kspacing": 0.3},
    "abinit": {"kpts": [1, 1, 1]},
    "cp2k": {"kpts": [1, 1, 1], "basis_set_file": "b", "potential_file": "p"},
    "vasp": {"pp_path": "potpaw", "potentials": {"Si": "Si"}},
    "aims": {"species_dir": "species"},
    "lammps": {"species": ["Si"]},
    "dask": {"scheduler": "tcp://host:8786"},
    "ace": {"elements": ["Si"]},
    "julip": {"elements": ["Si"]},
    "command": {"command": ["train", "{output}"]},
    "any": {"members": [{"threshold": 0.1}, {"kind": "all", "members": [{"threshold": 0.2}]}]},
    "all": {"members": [{"kind": "force", "threshold": {"calibrate": "md", "steps": 9}}]},
    "strain": {"limit": 0.1},
    "bulk": {"element": "Si"},
    "slab": {"miller": [1, 0, 0], "layers": [4]},
    "standard_slab": {"builder": "fcc111", "element": "Cu", "layers": [4]},
    "rattle": {"amplitudes_A": [0.1]},
    "md": {"temperatures_K": [300, [[0, 300], [9, 600]]], "steps": 10, "interval": 5},
    "chain": {"steps": [RATTLE]},
}
PSEUDO = {"pseudo_dir": "pseudo", "pseudopotentials": {"Si": "Si.UPF"}}
UNION_TAG = re.compile(r"tagged-union|function-|literal\[|dict\[|nullable|\.(str|int|float|bool)\b")


def raw_of(name, kind):
    """The least that a config has to give."""
    raw = GIVEN.get(f"{name}-{kind}", GIVEN.get(kind, {}))
    if name == "trigger" and "members" not in raw:
        raw = {"threshold": 0.1}
    return {"kind": kind, **raw, **(PSEUDO if kind in ("espresso", "abinit") else {})}


def checked(name, raw, tmp_path):
    schema = create_model("Config", __base__=Section, **{name: (SECTIONS[name][0], ...)})
    return validate_config({name: raw}, "here.yaml", tmp_path, schema)


def complaints(name, raw, tmp_path):
    """What is said about a section, a line for each thing; nothing where it is valid."""
    try:
        checked(name, raw, tmp_path)
    except ConfigError as error:
        message = str(error)
    else:
        message = ""
    assert not UNION_TAG.search(message), message
    return message.splitlines()[1:]


@pytest.mark.parametrize(("name", "cls", "kind"), CASES)
def test_it_is_read_written_and_read_again(name, cls, kind, tmp_path):
    config = checked(name, raw_of(name, kind), tmp_path)
    value = getattr(config, name)
    dumped = config.model_dump(mode="json")
    assert next(iter(dumped[name])) == "kind"
    assert dumped[name]["kind"] == kind
    assert set(dumped[name]) == {"kind", *keys_of(cls)}
    assert getattr(checked(name, json.loads(json.dumps(dumped))[name], tmp_path), name) == value
    assert getattr(checked(name, value, tmp_path), name) is value


@pytest.mark.parametrize(("name", "cls", "kind"), CASES)
def test_an_unknown_key_is_named_with_those_that_are_known(name, cls, kind, tmp_path):
    (line,) = complaints(name, raw_of(name, kind) | {"kpst": 1}, tmp_path)
    assert line.startswith(f"  {name}.kpst: no such key")
    assert ("did you mean kpts? " in line) == ("kpts" in keys_of(cls))
    named = line.partition("he keys are ")[2].split(", ")
    assert named == ["kind", *keys_of(cls)]


@pytest.mark.parametrize(("name", "cls", "kind"), CASES)
def test_a_missing_key_is_named(name, cls, kind, tmp_path):
    raw = raw_of(name, kind)
    for key in set(raw) - {"kind", "kpts", "kspacing"}:
        rest = {k: value for k, value in raw.items() if k != key}
        assert complaints(name, rest, tmp_path) == [f"  {name}.{key}: Field required"]


@pytest.mark.parametrize(("name", "cls", "kind"), CASES)
def test_wrong_types_are_named_by_the_field(name, cls, kind, tmp_path):
    for key in keys_of(cls):
        for wrong in ({"a": {"b": object}}, [[["x"]]], object()):
            for line in complaints(name, raw_of(name, kind) | {key: wrong}, tmp_path):
                assert line.startswith((f"  {name}.{key}", f"  {name}: "))


@pytest.mark.parametrize("name", SECTIONS)
def test_an_unknown_kind_and_none(name, tmp_path):
    kinds = [kind for cls in SECTIONS[name][1] for kind in kinds_of(cls)]
    for kind in ("nothing", 3, None if name not in ("descriptor", "trigger") else "x", ["a"]):
        (line,) = complaints(name, {"kind": kind}, tmp_path)
        assert line.startswith(f"  {name}")
        assert ", ".join(kinds) in line
    for raw in (3, "dft", [1]):
        (line,) = complaints(name, raw, tmp_path)
        assert line.startswith(f"  {name}: expected ")
        assert ", ".join(kinds) in line


@pytest.mark.parametrize("name", SECTIONS)
def test_classes_are_frozen_dataclasses_with_different_kinds(name):
    classes = SECTIONS[name][1]
    kinds = [kind for cls in classes for kind in kinds_of(cls)]
    assert len(set(kinds)) == len(kinds)
    for cls in classes:
        assert is_dataclass(cls)
        assert cls.__dataclass_params__.frozen
        assert {*keys_of(cls)} <= {f.name for f in fields(cls)}
        assert cls.__doc__
        assert not cls.__doc__.startswith(f"{cls.__name__}(")


@pytest.mark.parametrize(
    ("place", "default"),
    [
        ("explore.guards", Guards()),
        ("explore.pick", PickRule()),
        ("explore.early_refit", EarlyRefit()),
        ("explore.trust_bound", TrustBound()),
        ("weights", Weights(high_energy="auto")),
    ],
)
def test_classes_without_a_kind(place, default):
    cls = type(default)
    with pytest.raises(ConfigError) as caught:
        validate_config(campaign_settings({place: {"stress": 1}}), "here.yaml")
    assert f"{place}.stress: no such key" in str(caught.value)
    assert f"he keys are {', '.join(keys_of(cls))}" in str(caught.value)
    with pytest.raises(ConfigError, match=rf"{place}: expected a mapping of {keys_of(cls)[0]}"):
        validate_config(campaign_settings({place: 3}), "here.yaml")
    config = validate_config(campaign_settings({place: {}}), "here.yaml")
    value = config.explore if place.startswith("explore") else config
    assert getattr(value, place.rpartition(".")[2]) == default


def test_the_screen_has_the_keys_of_its_guards():
    config = PoolConfig.model_validate(
        {"screen": {"melted": 0.3, "near": 0.5}, "recipes": [RATTLE]}
    )
    assert config.screen == Screen(Guards(melted=0.3), near=0.5)
    dumped = config.model_dump(mode="json")["screen"]
    assert set(dumped) == {*keys_of(Guards), "max_volume_ratio", "near"} == {*keys_of(Screen)}


def test_a_calibration_is_named_by_its_fields(tmp_path):
    threshold = {"calibrate": "md", "quantil": 0.9, "steps": 0}
    lines = complaints("trigger", {"kind": "force", "threshold": threshold}, tmp_path)
    keys = ", ".join(keys_of(Calibration))
    assert any(line.startswith("  trigger.threshold.steps: ") for line in lines)
    assert any(
        "quantil: no such key; did you mean quantile? The keys" in line and keys in line
        for line in lines
    )
    members = {"kind": "any", "members": [{"threshold": 0.1}, {"kind": "force"}]}
    assert complaints("trigger", members, tmp_path) == [
        "  trigger.members.1.threshold: Field required"
    ]


@pytest.mark.parametrize(
    "section", ["data", "explore", "explore.bias", "labels", "workers", "stop"]
)
def test_sections_name_their_keys(section):
    settings = campaign_settings({"explore.bias": {}} | {k: {} for k in ("labels", "workers")})
    raw = settings
    for part in section.split("."):
        raw = raw[part]
    raw["colour"] = "blue"
    with pytest.raises(ConfigError) as caught:
        validate_config(settings, "here.yaml")
    message = str(caught.value)
    assert f"{section}.colour: no such key; the keys are " in message
    assert not UNION_TAG.search(message)


@pytest.mark.parametrize("e0s", ["isolate", 3, ["a"], {"Cu": "low"}])
def test_unions_within_a_section_show_no_tags(e0s):
    with pytest.raises(ConfigError) as caught:
        validate_config(campaign_settings({"data.e0s": e0s}), "here.yaml")
    assert "data.e0s" in str(caught.value)
    assert not UNION_TAG.search(str(caught.value))


def test_renamed_keys_are_refused_with_the_new_name(tmp_path):
    changes = {"explore.bias": {"heat_max": 1.0}, "labelling.ladder": []}
    with pytest.raises(ConfigError) as caught:
        validate_config(campaign_settings(changes), "here.yaml")
    assert "explore.bias.heat_max: is called max_excess_temperature now" in str(caught.value)
    assert "labelling.ladder: is called fallbacks now" in str(caught.value)


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_new_names_are_keys(old, new):
    section = old.partition(".")[0]
    if section in SECTIONS:
        assert any(new in keys_of(cls) for cls in SECTIONS[section][1])
    else:
        assert new in ExploreConfig.model_fields[section].annotation.model_fields


def test_structures_cannot_name_classes_from_outside():
    """A trigger or ensemble may come with a structure's file, which is only read."""
    for annotation in (AnyTrigger, AnyEnsemble):
        (choice,) = (mark for mark in annotation.__metadata__ if isinstance(mark, OneOf))
        with pytest.raises(ValueError, match="is none of"):
            TypeAdapter(annotation).validate_python({"kind": "os:system"})
        assert "os:system" not in choice.kinds


def test_surfaces_of_a_check(tmp_path):
    raw = {"crystal": {"name": "Si"}, "surfaces": [{"miller": [0, 0, 0], "layers": 3, "depth": 1}]}
    with pytest.raises(
        ConfigError, match=r"surfaces\.0\.depth: no such key; the keys are miller, layers"
    ):
        validate_config(raw, "check.yaml", tmp_path, CheckConfig)
    del raw["surfaces"][0]["depth"]
    with pytest.raises(ConfigError, match=r"surfaces\.0: miller: 0 0 0 is no plane"):
        validate_config(raw, "check.yaml", tmp_path, CheckConfig)
