"""The silicon example and the README, as a newcomer meets them."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.lockstep import RULES, explored, setup_for, started

from ase_bayesel import RelativeForceTrigger, fit_surrogate, load_config
from ase_bayesel.campaign.build.models import build_descriptor
from ase_bayesel.campaign.inputs import check_inputs

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples/silicon"


@pytest.fixture(scope="module")
def config():
    return load_config(EXAMPLE / "config.yaml")


@pytest.fixture(scope="module")
def surrogate(config):
    """Fitted to the example's training set and every second frame of its test set."""
    inputs = check_inputs(config)
    frames = inputs["train"] + inputs["test"][::2]
    data = config.data
    return fit_surrogate(
        frames, build_descriptor(config, None), data.energy_key, data.forces_key, e0s=data.e0s
    )


def five_picks(config, surrogate, batch, seed):
    """Picks of the example's walkers, with the covariance updated after each or left stale."""
    explore, starts = config.explore, check_inputs(config)["starts"]
    driven = {name: getattr(explore, name) for name in ("temperature_K", "timestep_fs", "ensemble")}
    setup = setup_for(
        surrogate,
        RelativeForceTrigger(0.12, eps=0.5),
        n_steps=2000,
        check_interval=5,
        driven={**driven, "guards": explore.guards},
        rules=replace(RULES, batch=batch, turns=True),
    )
    (*_, state), _ = explored(setup, started(starts, seed))
    assert len(state.picks) == 5
    return [pick.structure for pick in state.picks]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_five_picks_with_the_update_carry_more_information(config, surrogate, seed):
    gains = []
    for batch in ("first", "stale"):
        picks = five_picks(config, surrogate, batch, seed)
        rows = np.concatenate([surrogate.rows(pick) for pick in picks])
        gains.append(surrogate.posterior.information_gain(rows))
    assert gains[0] > gains[1]


def test_readme_code_runs(monkeypatch, tmp_path):
    """All Python blocks of the README, one after the other in one namespace."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(blocks) == 3
    namespace = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), namespace)
    before, after = surrogate_std(namespace["surrogate"], namespace["atoms"])
    assert after < before


def surrogate_std(surrogate, atoms):
    """sigma_E before and after the structure is taken up."""
    return surrogate.energy_std(atoms), surrogate.condition(atoms).energy_std(atoms)


def test_readme_commands_are_what_ci_runs():
    text = (ROOT / "README.md").read_text()
    first = re.search(r"```bash\n(.*?)```", text, re.DOTALL).group(1).strip().splitlines()
    assert len(first) == 2
    assert "bayesel run examples/silicon/config.yaml" in first[0]
    assert first[1].endswith("pytest")


def test_config_of_the_real_set_is_valid(monkeypatch, si2018):
    monkeypatch.setenv("ASE_BAYESEL_SI2018", str(si2018))
    config = load_config(EXAMPLE / "surface.yaml")
    counts = {name: len(frames) for name, frames in check_inputs(config).items()}
    assert counts == {"train": 490, "test": 186, "starts": 1}
    assert config == reread(config)


def reread(config):
    return type(config).model_validate(config.model_dump(mode="json"))
