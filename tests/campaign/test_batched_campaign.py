"""Campaigns whose walkers torch-sim moves."""

from dataclasses import replace
from functools import partial

import pytest
from ase.constraints import FixAtoms
from helpers.campaigns import CAMPAIGN, write_campaign
from helpers.lockstep import assert_same_states, explored, setup_for, started
from helpers.mace_models import mace_calculator, tiny_mace
from helpers.structures import copper

from ase_bayesel import (
    ACEDescriptor,
    BiasedCalculator,
    Guards,
    MACEDescriptor,
    Posterior,
    RelativeForceTrigger,
    Surrogate,
)
from ase_bayesel.campaign import trial
from ase_bayesel.campaign.build.walkers import check_start, walker_options
from ase_bayesel.campaign.config.loading import load_config
from ase_bayesel.campaign.exploration import explore_to_barriers
from ase_bayesel.campaign.exploration.local import LocalExecutor
from ase_bayesel.campaign.exploration.saved import SavedExploration
from ase_bayesel.campaign.exploration.trace import STEP
from ase_bayesel.errors import ConfigError, StructureError
from ase_bayesel.surrogate.design import Noise

TORCH_SIM = {
    "potential": {"kind": "mace", "model": "start.model"},
    "descriptor": {"kind": "mace"},
    "explore.dynamics": "torch_sim",
    "explore.check_interval": 4,
}
HOLDING = {"kind": "harmonic", "of": {"kind": "distance", "atoms": [0, 1]}, "at": 2.5, "k": 1.0}
needs_torch_sim = pytest.mark.optional("mace", "torch_sim")


@needs_torch_sim
def test_goes_on_bit_for_bit(tmp_path):
    """From the saved state of every barrier, with picks by several walkers of one batch."""
    mlip = mace_calculator(tiny_mace())
    descriptor = MACEDescriptor(mlip)
    prior = Posterior.isotropic(descriptor.n_features, 0.3)
    first = Surrogate(descriptor, prior, {"Cu": 0.0}, Noise())
    driven = {"dynamics": "torch_sim", "guards": Guards(max_force=1e3)}
    setup = replace(
        setup_for(first, RelativeForceTrigger(0.02), 12, driven=driven),
        make_calculator=partial(BiasedCalculator, mlip, tau=0.3),
    )
    starts = [copper(21, 0.05), copper(23, 0.05, a=3.7)]
    states, _ = explored(setup, started(starts), 3)
    whole = states[-1]
    assert whole.trace[:, STEP].tolist()[:4] == [4, 4, 8, 8]
    assert len({pick.walker for pick in whole.picks}) == 2
    saved, state, surrogate = SavedExploration(tmp_path), started(starts), first
    while len(state.picks) < 3 and state.alive:
        barriers = explore_to_barriers(state, surrogate, setup, LocalExecutor(setup), 3)
        state, surrogate = next(barriers)
        saved.save(state, surrogate.posterior)
        state, posterior = saved.load(starts)
        surrogate = replace(first, posterior=posterior)
    assert_same_states(state, whole)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"explore.ensemble": {"kind": "bussi"}}, "dynamics: torch_sim takes .* not bussi"),
        (
            {"explore.moves": [{"kind": "swap", "elements": ["Al", "Cu"]}]},
            "dynamics: torch_sim has no moves",
        ),
        (
            {"explore.restraints": [HOLDING]},
            "dynamics: torch_sim has no restraints; dynamics: ase has them",
        ),
        ({"explore.bias": {"elements": {"Al": 1.0}}}, r"bias\.elements: dynamics: torch_sim"),
        ({"explore.steps": 42}, "steps: .* 42 is no multiple of check_interval, 4"),
        ({"explore.trajectory_interval": 2}, "trajectory_interval: .* 2 is no multiple"),
        (
            {"descriptor": CAMPAIGN["descriptor"]},
            r"explore\.dynamics: torch_sim needs",
        ),
        ({"workers.walkers": {"kind": "processes"}}, r"workers\.walkers: .* use kind: here"),
    ],
)
def test_what_validate_refuses(tmp_path, changes, match):
    config = write_campaign(tmp_path, TORCH_SIM | changes)
    with pytest.raises(ConfigError, match=match):
        load_config(config)


def test_a_potential_that_does_not_give_the_features(tmp_path, monkeypatch):
    (tmp_path / "scale.txt").write_text("1.0")
    given = {
        "potential": {
            "kind": "import",
            "factory": "helpers.calculators:ScaledEMT",
            "model": "scale.txt",
        },
        "descriptor": {
            "kind": "import",
            "factory": "adapter:PairNetDescriptor",
            "model": "potential",
        },
    }
    config = load_config(write_campaign(tmp_path, TORCH_SIM | given))
    features = ACEDescriptor("Cu", totaldegree=4)
    monkeypatch.setattr(trial, "build_descriptor", lambda *given: features)
    with pytest.raises(ConfigError, match="is_model_of"):
        trial.try_potential(config, [copper(1, 0.02)])


@needs_torch_sim
def test_what_a_start_may_not_ask_for(tmp_path):
    explore = load_config(write_campaign(tmp_path, TORCH_SIM)).explore
    start = copper(1, 0.02)
    assert walker_options(explore, start)["dynamics"] == "torch_sim"
    check_start(explore, start, "frame 2")
    start.info["bayesel"] = {"steps": 6}
    with pytest.raises(ConfigError, match=r"frame 2, .* steps: .* multiple of check_interval, 4"):
        check_start(explore, start, "frame 2")
    start.info["bayesel"] = {"ensemble": {"kind": "nose_hoover_chain"}}
    with pytest.raises(StructureError, match=r"frame 2: dynamics: .* not nose_hoover_chain"):
        check_start(explore, start, "frame 2")
    start.info["bayesel"] = {"restraints": [HOLDING]}
    with pytest.raises(StructureError, match=r"frame 2: dynamics: torch_sim has no restraints"):
        check_start(explore, start, "frame 2")
    start.info.clear()
    start.set_constraint(FixAtoms([0]))
    with pytest.raises(StructureError, match=r"frame 2: dynamics: .* has no constraints"):
        check_start(explore, start, "frame 2")
