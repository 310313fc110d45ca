"""What a config may hold is what a campaign can do: every other value is refused by its name."""

from pathlib import Path

import pytest
import yaml
from helpers.campaigns import campaign_settings

from ase_bayesel.campaign.config import PoolConfig
from ase_bayesel.campaign.config.loading import load_config, validate_config
from ase_bayesel.cli.check import CheckConfig
from ase_bayesel.errors import ConfigError

NPT = {"kind": "npt", "thermostat_fs": 100.0}


def refusal(changes):
    with pytest.raises(ConfigError) as caught:
        validate_config(campaign_settings(changes), "here.yaml")
    return str(caught.value).splitlines()


NUMBERS = {
    "seed": {},
    "threads": {},
    "descriptor.order": {},
    "descriptor.cutoff": {},
    "descriptor.totaldegree": {},
    "explore.walkers": {},
    "explore.steps": {},
    "explore.picks": {},
    "explore.temperature_K": {},
    "explore.pressure_GPa": {},
    "explore.timestep_fs": {},
    "explore.tau_rel": {},
    "explore.tau": {"explore.tau_rel": None},
    "explore.tau_delay": {},
    "explore.check_interval": {},
    "explore.trigger.threshold": {},
    "explore.ensemble.friction_per_fs": {},
    "explore.max_rollbacks": {},
    "explore.pick.settling_fs": {},
    "explore.bias.force_max": {"explore.bias": {}},
    "explore.guards.close_contact": {"explore.guards": {}},
    "explore.guards.max_force": {"explore.guards": {}},
    "explore.trust_bound.factor": {"explore.trust_bound": {}},
    "data.e0s.Cu": {"data.e0s": {"Cu": 1.0, "Al": 1.0}},
    "weights.energy": {},
    "workers.labelling.n_workers": {"workers.labelling": {"kind": "processes"}},
    "labels.max_force": {"labels": {}},
    "stop.max_rounds": {},
    "stop.max_labels": {},
}
WHOLE = ("seed", "threads", "order", "totaldegree", "walkers", "steps", "picks", "max_rounds")


@pytest.mark.parametrize("value", [True, False])
@pytest.mark.parametrize("field", NUMBERS)
def test_truth_values_are_no_numbers(field, value):
    lines = refusal({**NUMBERS[field], field: value})
    assert any(field in line for line in lines[1:]), lines
    assert any("number" in line or "2 or 3" in line for line in lines), lines


@pytest.mark.parametrize("field", ["explore.absorb_heat", "explore.log", "labels.keep_output"])
@pytest.mark.parametrize("value", [True, False])
def test_truth_values_where_they_belong(field, value):
    section, key = field.split(".")
    changes = {"labels": {}} if section == "labels" else {}
    config = validate_config(campaign_settings({**changes, field: value}), "here.yaml")
    assert getattr(getattr(config, section), key) is value


def test_parameters_of_engines_may_hold_truth_values():
    parameters = {"asap_cutoff": True, "inner": [False, 1]}
    config = validate_config(campaign_settings({"labelling.parameters": parameters}), "here.yaml")
    assert config.engine.parameters == parameters


@pytest.mark.parametrize("point", [[True, 300], [0, True], [False, 300.0]])
def test_truth_values_in_a_ramp(point):
    lines = refusal({"explore.temperature_K": [point, [10, 300]]})
    assert any("explore.temperature_K" in line for line in lines)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("field", [f for f in NUMBERS if f.split(".")[-1] not in WHOLE])
def test_numbers_are_finite(field, value):
    lines = refusal({**NUMBERS[field], field: value})
    assert any(field in line for line in lines), lines


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seed", -1),
        ("seed", 1.5),
        ("threads", 0),
        ("threads", 10**6),
        ("descriptor.cutoff", 0.0),
        ("descriptor.cutoff", 1e9),
        ("descriptor.totaldegree", 10**9),
        ("explore.walkers", 0),
        ("explore.walkers", 10**9),
        ("explore.steps", -5),
        ("explore.steps", 10**30),
        ("explore.picks", 10**12),
        ("explore.temperature_K", -300.0),
        ("explore.temperature_K", 0),
        ("explore.temperature_K", 1e30),
        ("explore.temperature_K", [[0, 300], [10, 1e12]]),
        ("explore.pressure_GPa", 1e12),
        ("explore.pressure_GPa", -1e12),
        ("explore.timestep_fs", 1e15),
        ("explore.timestep_fs", -1.0),
        ("explore.timestep_fs", 0.0),
        ("explore.tau_rel", 1e9),
        ("explore.check_interval", 0),
        ("explore.check_interval", 41),
        ("explore.trigger.threshold", 0),
        ("explore.trigger.threshold", -0.1),
        ("explore.ensemble.friction_per_fs", 1e6),
        ("explore.ensemble.friction_per_fs", 0),
        ("explore.pick.settling_fs", -1),
        ("weights.energy", 1e300),
        ("weights.forces", 1e-300),
        ("weights.virial", -1.0),
        ("labels.max_force", 1e-300),
        ("stop.max_rounds", 0),
        ("stop.max_rounds", 10**12),
        ("stop.max_labels", -1),
    ],
)
def test_absurd_numbers(field, value):
    parts = field.split(".")
    lines = refusal({**({"labels": {}} if parts[0] == "labels" else {}), field: value})
    assert any(parts[0] in line and parts[-1] in line for line in lines[1:]), lines


@pytest.mark.parametrize("name", ["Zz", "cu", "X", "29", ""])
def test_reference_energies_of_no_element(name):
    lines = refusal({"data.e0s": {"Cu": 0.0, "Al": 0.0, name: 1.0}})
    assert any("data" in line and f"{name!r} is no element" in line for line in lines), lines


@pytest.mark.parametrize(
    ("field", "key"),
    [
        *(("forces_key", key) for key in ("positions", "momenta", "REF_energy", "", "a b")),
        *(("energy_key", key) for key in ("pbc", "charge", "spin", "", 'a"b', "a=b", "1")),
        *(("virial_key", key) for key in ("REF_forces", "REF_energy", "Lattice", " ")),
    ],
)
def test_keys_that_hold_no_label(field, key):
    lines = refusal({f"data.{field}": key})
    assert any("data" in line and field in line for line in lines[1:]), lines


@pytest.mark.parametrize("value", [1e300, -1e8, 1.1e7])
def test_reference_energies_of_no_atom(value):
    lines = refusal({"data.e0s": {"Cu": 0.0, "Al": value}})
    assert any("data.e0s.Al: Input should be" in line for line in lines), lines


@pytest.mark.parametrize("hot", [20_000.0, [[0, 300], [30, 20_000.0]]])
def test_hotter_than_its_own_guard(hot):
    with pytest.raises(ConfigError, match=r"guards\.max_temperature_K"):
        validate_config(campaign_settings({"explore.temperature_K": hot}), "here.yaml")
    free = {"explore.temperature_K": hot, "explore.guards": {"max_temperature_K": None}}
    validate_config(campaign_settings(free), "here.yaml")


@pytest.mark.parametrize("value", ["1e-3", 1, 0.5])
def test_numbers_as_yaml_gives_them(value):
    config = validate_config(campaign_settings({"explore.timestep_fs": value}), "here.yaml")
    assert config.explore.timestep_fs == float(value)


@pytest.mark.parametrize(
    ("schema", "text", "field"),
    [
        (PoolConfig, "seed: true\nrecipes: [{kind: rattle, amplitudes_A: [0.1]}]", "seed"),
        (PoolConfig, "recipes: [{kind: rattle, amplitudes_A: [true]}]", "amplitudes_A"),
        (CheckConfig, "crystal: {name: Si, a: true}", "crystal.a"),
        (CheckConfig, "crystal: {name: Si}\nmembers: true", "members"),
        (CheckConfig, "crystal: {name: Si}\nreferences: {a: true}", "references"),
    ],
)
def test_other_configs(tmp_path, schema, text, field):
    path = tmp_path / "other.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match="expected a number") as caught:
        load_config(path, schema)
    assert field in str(caught.value)


@pytest.mark.parametrize(
    ("text", "key", "line"),
    [
        ("seed: 1\nseed: 2\n", "seed", 2),
        ("explore:\n  steps: 1\n  walkers: 2\n  steps: 3\n", "steps", 4),
        ("seed: 1\n'seed': 2\n", "seed", 2),
        ("data: {train: a, train: b}\n", "train", 1),
        ("explore: {}\nseed: 1\nexplore: {}\n", "explore", 3),
        ("a: &x {b: 1}\nc:\n  <<: *x\n  d: 1\n  d: 2\n", "d", 5),
        ("labelling:\n  parameters:\n    1: a\n    1: b\n", "1", 4),
    ],
)
def test_keys_that_are_there_twice(tmp_path, text, key, line):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=f"line {line}: the key '{key}' is there twice"):
        load_config(path)


def test_merged_keys_may_be_overridden(tmp_path):
    path, settings = tmp_path / "config.yaml", campaign_settings()
    del settings["stop"]
    path.write_text(yaml.safe_dump(settings) + "stop: {<<: {max_rounds: 2}, max_rounds: 3}\n")
    assert load_config(path).stop.max_rounds == 3


PATHS = {
    "data.train": lambda config: config.data.train,
    "data.test": lambda config: config.data.test,
    "data.prior": lambda config: config.data.prior,
    "explore.starts": lambda config: config.explore.starts,
    "labels.store": lambda config: config.labels.store,
    "labels.scratch": lambda config: config.labels.scratch,
    "potential.model": lambda config: Path(config.potential.model),
    "descriptor.model": lambda config: Path(config.descriptor.model),
    "labelling.model": lambda config: Path(config.engine.model),
    "labelling.pseudo_dir": lambda config: config.engine.pseudo_dir,
    "labelling.command": lambda config: Path(config.engine.command[0]),
    "refit.command": lambda config: Path(config.refit.command[0]),
    "workers.labelling.log_directory": lambda config: config.workers.labelling.log_directory,
}
ESPRESSO = {
    "kind": "espresso",
    "kpts": [1, 1, 1],
    "pseudo_dir": "/p",
    "pseudopotentials": {"Cu": "Cu.upf"},
    "parameters": {"system": {"ecutwfc": 30}},
}
AROUND = {
    "labels.store": {"labels": {}},
    "labels.scratch": {"labels": {}},
    "potential.model": {"potential": {"kind": "mace"}},
    "descriptor.model": {"descriptor": {"kind": "mace"}},
    "labelling.model": {"labelling": {"kind": "mace"}},
    "labelling.pseudo_dir": {"labelling": ESPRESSO},
    "labelling.command": {"labelling": ESPRESSO},
    "refit.command": {
        "potential": {"kind": "import", "factory": "a:b", "model": "/m"},
        "refit": {"kind": "command"},
    },
    "workers.labelling.log_directory": {"workers": {"labelling": {"kind": "slurm"}}},
}


@pytest.mark.parametrize("field", PATHS)
def test_home_in_paths(field, monkeypatch):
    monkeypatch.setenv("HOME", "/home/of/mine")
    value = "~/some/file"
    given = [value, "{output}"] if field.endswith("command") else value
    config = validate_config(campaign_settings({**AROUND.get(field, {}), field: given}), "here")
    assert PATHS[field](config) == Path("/home/of/mine/some/file")


@pytest.mark.parametrize("field", ["data.train", "explore.starts"])
def test_home_of_nobody(field):
    lines = refusal({field: "~nobody-of-this-name/train.extxyz"})
    assert any(field in line and "no such user's home" in line for line in lines)
