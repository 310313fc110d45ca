"""What `bayesel validate` says of cost and of what a config leaves open."""

import re
import tracemalloc

import pytest
from helpers.campaigns import write_campaign
from helpers.command_line import call

from ase_bayesel.campaign.build.models import build_descriptor
from ase_bayesel.campaign.config.loading import load_config
from ase_bayesel.campaign.cost import label_plan, measured_cost, open_points
from ase_bayesel.campaign.events import RoundReport
from ase_bayesel.campaign.inputs import check_inputs
from ase_bayesel.descriptors.compiled import SWITCH
from ase_bayesel.surrogate.assembly import assembling
from ase_bayesel.surrogate.fitting import baseline_energies
from ase_bayesel.surrogate.steps import finished


def config_with(folder, changes=None):
    return load_config(write_campaign(folder, changes))


def cost_of(config):
    inputs = check_inputs(config)
    return measured_cost(config, inputs["train"], inputs["starts"])


def factors_of(config):
    """Those of the first fit."""
    frames, keys = check_inputs(config)["train"], config.data.keys
    descriptor = build_descriptor(config, None)
    e0s = baseline_energies(frames, keys, config.data.e0s, apart=False)
    return finished(assembling(frames, descriptor, keys, e0s, descriptor.prior_std()))


@pytest.mark.parametrize("virial_key", [None, "REF_virial"])
def test_rows_and_features_are_those_of_the_fit(tmp_path, virial_key):
    config = config_with(tmp_path, {"data.virial_key": virial_key})
    cost, factors = cost_of(config), factors_of(config)
    assert cost.n_rows == sum(factor.n_rows for factor in factors.labelled.values())
    assert cost.n_features == build_descriptor(config, None).n_features
    assert cost.n_structures == 6
    assert (cost.n_walkers, cost.steps) == (2, 40)
    assert cost.n_atoms == 4
    assert cost.steps_per_s > 0
    assert cost.assembly_s > 0


def test_the_memory_is_about_that_of_the_fit(tmp_path, monkeypatch):
    """Of arrays of NumPy, the only ones that grow with the square of the basis.

    What compiled passes allocate themselves is not traced.
    """
    monkeypatch.setenv(SWITCH, "0")
    config = config_with(tmp_path, {"descriptor.totaldegree": 12})
    factors_of(config)  # loads what it needs
    tracemalloc.start()
    factors_of(config)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 0.2 < peak / cost_of(config).memory_bytes < 2.0


def test_a_bootstrapped_training_set_has_a_cost_too(tmp_path):
    recipe = {"isolated": True, "strained": 2, "rattled": 3, "test": 2}
    path = write_campaign(tmp_path, {"data": {"train": {"bootstrap": recipe}, "e0s": "isolated"}})
    result = call("validate", path)
    assert result.exit_code == 0, result.output
    # two isolated atoms, whose forces count too, and five cells of four atoms
    rows = 2 * (1 + 3) + 5 * (1 + 12)
    assert f"fit: 98 features, {rows} rows of 7 structures" in result.stdout
    assert "labels: 9 before the first fit (2 of them a test set), then at most 3 in each of 2" in (
        result.stdout
    )
    assert "walkers: " in result.stdout


def test_labels_of_a_campaign_that_has_begun(tmp_path):
    config, inputs = config_with(tmp_path), {}
    first, second = RoundReport(0, 8, 11), RoundReport(1, 11, 14, 3)
    assert label_plan(config, inputs) == []
    (told,) = label_plan(config, inputs, [first])
    assert told == "labels: 11 so far, then at most 3 in each of 2 rounds more"
    (told,) = label_plan(config, inputs, [first, second])
    assert told == "labels: 14 so far, then at most 3 in the one round more"
    assert label_plan(config, inputs, [first, second, second]) == [
        "labels: 14 so far, in all rounds"
    ]


def test_a_fit_of_too_few_rows_is_told(tmp_path):
    (note,) = cost_of(config_with(tmp_path)).notes()
    assert "fewer rows (78) than features (98)" in note
    assert cost_of(config_with(tmp_path, {"descriptor.totaldegree": 3})).notes() == []


def test_another_potential_is_what_walkers_cost(tmp_path):
    potential = {"kind": "import", "factory": "helpers.calculators:CountingEMT"}
    potential["parameters"] = {"log": str(tmp_path / "calls")}
    cost_of(config_with(tmp_path, {"potential": potential}))
    assert len((tmp_path / "calls").read_text().splitlines()) == 4


def test_what_is_left_open(tmp_path):
    assert open_points(config_with(tmp_path)) == []
    threshold = {"calibrate": "training", "quantile": 0.8, "factor": 0.5}
    trigger = {"kind": "relative_force", "threshold": threshold}
    changes = {"data.test": None, "explore.trigger": trigger}
    test_set, threshold = open_points(config_with(tmp_path, changes))
    assert "data.test" in test_set
    assert "the threshold of relative_force" in threshold
    (pressure,) = open_points(config_with(tmp_path, {"explore.pressure_GPa": 1.0}))
    assert pressure.startswith("explore.pressure_GPa: nothing changes the cell")
    npt = {"explore.pressure_GPa": 1.0, "explore.ensemble": {"kind": "npt"}}
    assert open_points(config_with(tmp_path, npt)) == []


def test_validate_tells_it(tmp_path):
    config = write_campaign(tmp_path, {"data.test": None})
    told = call("validate", config).output
    assert re.search(r"fit: 98 features, 78 rows of 6 structures; its matrices take .* MiB", told)
    assert re.search(r"walkers: \S+ steps per second with 4 atoms", told)
    assert "for the 2 x 40 steps of a round" in told
    assert "note: the fit has fewer rows (78) than features (98)" in told
    assert "note: without a test set (data.test)" in told
    only_files = call("validate", config, "--files").output
    assert "steps per second" not in only_files
    assert "note: without a test set (data.test)" in only_files
