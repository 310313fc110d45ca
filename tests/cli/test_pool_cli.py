"""``bayesel pool``: its config, what it says, and the way from a pool to picks."""

import json
from pathlib import Path

import pytest
import yaml
from ase.io import read, write
from helpers.campaigns import write_campaign
from helpers.command_line import assert_refused, call
from helpers.structures import copper, copper_training

from ase_bayesel import ACEDescriptor, fit_surrogate
from ase_bayesel.campaign.config import PoolConfig
from ase_bayesel.campaign.config.loading import load_config
from ase_bayesel.cli.pool import make_pool
from ase_bayesel.dynamics.ensembles import NPT, Bussi
from ase_bayesel.dynamics.schedules import Ramp
from ase_bayesel.generation import Bulk, Chain, Dynamics, Rattle, Slab

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = {
    "seed": 3,
    "starts": "starts.xyz",
    "descriptor": {"elements": ["Cu"], "totaldegree": 8},
    "potential": {"kind": "import", "factory": "ase.calculators.emt:EMT"},
    "recipes": [
        {"kind": "rattle", "amplitudes_A": [0.1], "copies": 4},
        {"kind": "md", "temperatures_K": [300, 900], "steps": 10, "interval": 5},
    ],
}


@pytest.fixture
def folder(tmp_path):
    """Starts, a labelled core and a saved surrogate."""
    write(tmp_path / "starts.xyz", [copper(k, 0.02) for k in range(2)])
    write(tmp_path / "core.xyz", copper_training())
    return tmp_path


def settings(folder, **changes):
    """Path of a config; a change to None leaves an entry out."""
    given = {key: value for key, value in (SETTINGS | changes).items() if value is not None}
    path = folder / "pool.yaml"
    path.write_text(yaml.safe_dump(given))
    return path


def built(*sections):
    config = PoolConfig.model_validate({"recipes": list(sections)})
    return [variant for recipe in config.recipes for variant in recipe.variants()]


@pytest.mark.parametrize("name", ["starts", "core"])
def test_structures_of_another_element_are_named(folder, name):
    other = copper(1)
    other.symbols[0] = "Au"
    write(folder / f"{name}.xyz", [copper(0), other])
    config = settings(folder, core="core.xyz")
    assert_refused(call("pool", config, "-o", folder / "p.xyz"), f"{name}.xyz, frame 1", "Au")


@pytest.mark.parametrize("saved", [False, True], ids=["fitted", "saved"])
def test_starts_without_a_reference_energy(folder, saved):
    """The mean of the surrogate, which is the potential of MD, has none."""
    other = copper(1)
    other.symbols[0] = "Au"
    write(folder / "starts.xyz", [copper(0), other])
    elements = {"elements": ["Cu", "Au"], "totaldegree": 4, "order": 2}
    changes = {"descriptor": elements, "potential": None}
    if saved:
        descriptor = ACEDescriptor(["Cu", "Au"], order=2, totaldegree=4)
        fit_surrogate(copper_training(), descriptor).save(folder / "s.npz")
        changes |= {"surrogate": "s.npz"}
    else:
        changes |= {"data": {"train": "core.xyz", "energy_key": "energy", "forces_key": "forces"}}
    told = call("pool", settings(folder, **changes), "-o", folder / "p.xyz")
    assert_refused(told, "starts.xyz, frame 1", "Au", "reference energy")


def test_from_a_config_to_a_pool_to_picks(folder):
    pool = folder / "pool.xyz"
    result = call("pool", settings(folder), "-o", pool)
    assert result.exit_code == 0, result.output
    assert "16 structures" in result.output
    for recipe in ("rattle", "md_300K", "md_900K"):
        assert recipe in result.output
    frames = read(pool, ":")
    assert len(frames) == 16
    given = ["--core", folder / "core.xyz", "-n", 5, "--descriptor", "ace:Cu,3,8"]
    picked = call("select", pool, *given, "-o", folder / "picked.xyz")
    assert picked.exit_code == 0, picked.output
    kinds = json.loads((folder / "picked.json").read_text())["config_types"]
    assert {kind: counts["pool"] for kind, counts in kinds.items()} == {
        "rattle": 8,
        "md_300K": 4,
        "md_900K": 4,
    }
    again = call("pool", settings(folder), "-o", pool)
    assert "16 structures" in again.output
    assert "complete before: nothing was left to make" in again.output
    assert "nothing was left to make" not in result.output
    assert read(pool, ":") == frames


def test_a_config_of_another_command_is_called_so(folder):
    config, output = settings(folder), folder / "o.xyz"
    for words in (("validate", config), ("run", config), ("label", output, "-c", config)):
        result = call(*words, *(["-o", output] if words[0] == "label" else []))
        assert_refused(result, f"{config}: this is a config for bayesel pool; here one for a camp")
    campaign = write_campaign(folder / "c")
    told = f"{campaign}: this is a config for a campaign (bayesel run); here one for bayesel pool"
    assert_refused(call("pool", campaign, "-o", output), told)
    assert_refused(call("check", "m.npz", "-c", config), "bayesel pool; here one for bayesel check")


@pytest.mark.parametrize("saved", [True, False])
def test_a_surrogate_that_is_saved_or_fitted(folder, saved, cu_ace):
    surrogate = fit_surrogate(copper_training(), cu_ace)
    if saved:
        surrogate.save(folder / "model.npz")
        changes = {"surrogate": "model.npz", "descriptor": None}
    else:
        keys = {"energy_key": "energy", "forces_key": "forces"}
        changes = {"data": {"train": "core.xyz", **keys}}
    dynamics = {"kind": "md", "temperatures_K": [600], "steps": 10, "interval": 5, "tau": 0.5}
    config = settings(folder, potential=None, recipes=[dynamics], **changes)
    summary = make_pool(load_config(config, PoolConfig), folder / "p.xyz")
    assert [recipe.recipe for recipe in summary.recipes] == ["biased_md_600K"]
    for frame in read(folder / "p.xyz", ":"):
        found = surrogate.uncertainty(frame)
        assert frame.info["bayesel_max_force_std"] == pytest.approx(found.forces.max(), rel=1e-5)


def test_copies_of_the_training_set_are_left_out(folder):
    keys = {"energy_key": "energy", "forces_key": "forces"}
    same = {"kind": "volume_scan", "smallest": 1.0, "largest": 1.0, "points": 1}
    config = settings(folder, starts="core.xyz", data={"train": "core.xyz", **keys}, recipes=[same])
    (recipe,) = make_pool(load_config(config, PoolConfig), folder / "p.xyz").recipes
    assert recipe.kept == 0
    assert dict(recipe.left_out) == {"copy_of_core": 9, "not_periodic": 1}


def test_conditions_are_multiplied_out():
    npt = {"kind": "npt", "cell": "full"}
    ramp = [[0, 300.0], [100, 900.0]]
    recipes = built(
        {
            "kind": "md",
            "temperatures_K": [300, ramp],
            "pressures_GPa": [0, 5],
            "ensemble": npt,
            "steps": 100,
            "interval": 10,
            "tau_rel": 0.1,
        },
        {
            "kind": "chain",
            "steps": [
                {"kind": "bulk", "element": "Si", "cubic": True},
                {"kind": "slab", "miller": [1, 0, 0], "layers": [2, 3]},
                {
                    "kind": "md",
                    "temperatures_K": [300, 600],
                    "ensemble": {"kind": "bussi"},
                    "steps": 5,
                    "interval": 5,
                },
            ],
        },
    )
    conditions = [(recipe.temperatures_K, recipe.pressures_GPa) for recipe in recipes[:4]]
    heating = Ramp(((0, 300.0), (100, 900.0)))
    assert conditions == [(300.0, 0.0), (300.0, 5.0), (heating, 0.0), (heating, 5.0)]
    assert all(recipe.ensemble == NPT("full") for recipe in recipes[:4])
    steps = (Bulk("Si", cubic=True), Slab((1, 0, 0), (2, 3)))
    assert recipes[4:] == [
        Chain((*steps, Dynamics(temperature, 5, 5, ensemble=Bussi())))
        for temperature in (300.0, 600.0)
    ]


def test_options_reach_the_recipes():
    (recipe,) = built({"kind": "rattle", "amplitudes_A": [0.1, 0.2], "copies": 3})
    assert recipe == Rattle((0.1, 0.2), 3)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"recipes": []}, ["recipes"]),
        ({"recipes": [{"kind": "stir"}]}, ["recipes.0", "stir"]),
        ({"recipes": [{"kind": "rattle", "amplitudes_A": []}]}, ["recipes.0", "amplitudes_A"]),
        ({"recipes": [{"kind": "rattle", "amplitudes_A": [-1]}]}, ["amplitudes_A"]),
        ({"recipes": [{"kind": "strain", "limit": 0.9}]}, ["recipes.0", "limit"]),
        ({"recipes": [{"kind": "slab", "miller": [0, 0, 0], "layers": [2]}]}, ["miller"]),
        ({"recipes": [SETTINGS["recipes"][1] | {"ensemble": {"kind": "npt"}}]}, ["pressures_GPa"]),
        ({"recipes": [SETTINGS["recipes"][1] | {"tau": 1, "tau_rel": 1}]}, ["not both"]),
        ({"recipes": [SETTINGS["recipes"][1] | {"tau": 1}]}, ["bias", "surrogate"]),
        ({"potential": None}, ["md_300K", "potential"]),
        ({"starts": None}, ["rattle", "starts"]),
        ({"starts": "absent.xyz"}, ["absent.xyz"]),
        ({"surrogate": "absent.npz"}, ["absent.npz"]),
        ({"surrogate": "m.npz", "data": {"train": "core.xyz"}}, ["not both"]),
        ({"data": {"train": "core.xyz"}, "descriptor": None}, ["descriptor"]),
        ({"data": {"train": "core.xyz", "test": "core.xyz"}}, ["data.test"]),
        ({"descriptor": {"elements": ["Si"]}}, ["Cu"]),
        ({"seed": -1}, ["seed"]),
        ({"colour": "blue"}, ["colour"]),
    ],
)
def test_bad_input(folder, changes, named):
    before = sorted(folder.iterdir())
    config = settings(folder, **changes)
    assert_refused(call("pool", config, "-o", folder / "p.xyz"), *named)
    left = {path.name for path in folder.iterdir()} - {path.name for path in before}
    assert left <= {"pool.yaml", "p.xyz", "p.jsonl"}
    assert not (folder / "p.xyz").exists() or (folder / "p.xyz").stat().st_size == 0


@pytest.mark.parametrize("name", ["starts.xyz", "core.xyz"])
def test_inputs_are_never_overwritten(folder, name):
    before = (folder / name).read_bytes()
    assert_refused(call("pool", settings(folder), "-o", folder / name), name, "journal")
    assert (folder / name).read_bytes() == before


def test_the_example_is_valid():
    config = load_config(ROOT / "examples/silicon/pool.yaml", PoolConfig)
    recipes = [variant for recipe in config.recipes for variant in recipe.variants()]
    assert len({recipe.name for recipe in recipes}) == len(recipes)


@pytest.mark.slow
def test_the_example_as_a_newcomer_runs_it(tmp_path):
    pool = tmp_path / "pool.xyz"
    result = call("pool", ROOT / "examples/silicon/pool.yaml", "-o", pool)
    assert result.exit_code == 0, result.output
    frames = read(pool, ":")
    assert len(frames) > 150
    given = ["--core", ROOT / "examples/silicon/test.extxyz", "--descriptor", "ace:Si,3,10,5.0"]
    keys = ["--e0s", "average", "--energy-key", "REF_energy", "--forces-key", "REF_forces"]
    options = ["-n", 10, "--method", "information_gain", "-o", tmp_path / "picked.xyz"]
    picked = call("select", pool, *given, *keys, *options)
    assert picked.exit_code == 0, picked.output
    assert len(read(tmp_path / "picked.xyz", ":")) == 10
