"""Monte Carlo moves within walkers, campaigns and the alloy example."""

import json
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.campaigns import campaign_settings, write_campaign
from helpers.structures import alloy_cells, emt_labelled
from numpy.testing import assert_array_equal

from ase_bayesel import (
    NPT,
    NVE,
    ACEDescriptor,
    BiasedCalculator,
    Bussi,
    Campaign,
    Guards,
    Langevin,
    NoseHooverChain,
    Ramp,
    TauRule,
    fit_surrogate,
    load_config,
    run_walker,
    run_walkers,
)
from ase_bayesel.campaign.config.loading import validate_config
from ase_bayesel.campaign.inputs import check_inputs
from ase_bayesel.campaign.store import Store
from ase_bayesel.dynamics.driver_state import DriverState
from ase_bayesel.dynamics.moves import CellMove, MoveState, SwapMove
from ase_bayesel.errors import ConfigError, StructureError

ROOT = Path(__file__).resolve().parents[2]
START = alloy_cells(1, 0.05, 7)[0]
MOVES = (CellMove(interval=2, shape="full"), SwapMove(interval=3))
LOOSE = Guards(close_contact=0.3, max_force=None, max_temperature_K=None)


@pytest.fixture(scope="module")
def surrogate():
    frames = [emt_labelled(atoms) for atoms in alloy_cells(6, 0.05, 0)]
    ace = ACEDescriptor(["Cu", "Al"], order=2, totaldegree=6, cutoff=4.5)
    return fit_surrogate(frames, ace, e0s="average", virial_key="virial")


def walk(surrogate, atoms=START, seed=0, rule=None, **options):
    strength = {"tau": 0.2} if rule is None else {"tau_rel": rule}
    calculator = BiasedCalculator(surrogate.calculator(), surrogate, **strength)
    defaults = {
        "n_steps": 36,
        "temperature_K": Ramp(((0, 600.0), (40, 1200.0))),
        "pressure_GPa": Ramp(((0, 0.0), (40, 4.0))),
        "rng": np.random.default_rng(seed),
        "guards": LOOSE,
        "moves": MOVES,
    }
    return run_walker(atoms, calculator, **(defaults | options))


@pytest.mark.parametrize("left_at", [16, 17])
@pytest.mark.parametrize(
    "ensemble",
    [NVE(), Langevin(), Bussi(), NoseHooverChain(), NPT(), NPT("full")],
    ids=lambda ensemble: type(ensemble).__name__,
)
def test_two_runs_equal_one(surrogate, ensemble, left_at):
    """Left after a step with a cell move, and after one without; swaps change masses."""
    options = {"ensemble": ensemble, "rule": TauRule(0.3, delay=2)}
    whole = list(walk(surrogate, **options))
    assert whole[-1].status == "running"
    assert all(state.accepted for state in whole[left_at].driver.moves)
    rng = np.random.default_rng(0)
    first = list(walk(surrogate, n_steps=left_at, rng=rng, **options))[-1]
    stored = DriverState.from_json(json.loads(json.dumps(first.driver.to_json())))
    again = walk(surrogate, first.atoms, first_step=left_at, state=stored, rng=rng, **options)
    for one, two in zip(again, whole[left_at:], strict=True):
        for name in ("numbers", "positions", "momenta"):
            assert_array_equal(one.atoms.arrays[name], two.atoms.arrays[name])
        assert_array_equal(one.atoms.cell, two.atoms.cell)
        assert (one.driver.moves, one.driver.tau) == (two.driver.moves, two.driver.tau)


def test_moves_are_counted_at_absolute_steps(surrogate):
    steps = list(walk(surrogate))
    for step in steps:
        attempts = [state.attempts for state in step.driver.moves]
        assert attempts == [step.step // 2, step.step // 3]
    cell, swap = steps[-1].driver.moves
    assert 0 < cell.accepted < cell.attempts
    assert swap.accepted > 0
    assert sum(START.numbers) == sum(steps[-1].atoms.numbers)


def test_the_prediction_belongs_to_the_moved_atoms(surrogate):
    for step in walk(surrogate, n_steps=12):
        assert step.prediction.energy == pytest.approx(surrogate.energy(step.atoms), rel=1e-12)


def test_walkers_in_lockstep_move_too(surrogate):
    calculators = [BiasedCalculator(surrogate.calculator(), surrogate, tau=0.2) for _ in "ab"]
    options = {"n_steps": 12, "temperature_K": 600.0, "pressure_GPa": 1.0, "moves": MOVES}
    walkers = [
        run_walker(START, c, rng=np.random.default_rng(k), **options)
        for k, c in enumerate(calculators)
    ]
    last = list(run_walkers(walkers, calculators))[-1]
    for k, step in last.items():
        (*_, alone) = walk(surrogate, seed=k, **options, guards=Guards())
        assert_array_equal(step.atoms.positions, alone.atoms.positions)
        assert step.driver.moves == alone.driver.moves


@pytest.mark.slow
def test_rolled_back_walkers_go_on_moving(surrogate):
    guards = Guards(close_contact=0.3, max_force=None, max_temperature_K=700.0)
    steps = list(walk(surrogate, guards=guards, max_rollbacks=50))
    assert steps[-1].driver.rollbacks > 0
    assert steps[-1].driver.moves[0].attempts == 18


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pressure_GPa": None}, "walker: cell move: needs pressure_GPa"),
        ({"ensemble": NPT("axes")}, "cell: axes"),
        ({"moves": [SwapMove(elements=("Cu", "Au"))]}, "walker: swap move: needs two elements"),
    ],
)
def test_moves_that_do_not_suit(surrogate, options, message):
    with pytest.raises(StructureError, match=message):
        next(walk(surrogate, **options))


def test_state_of_other_moves(surrogate):
    state = DriverState(moves=(MoveState(),))
    with pytest.raises(ValueError, match="other moves"):
        next(walk(surrogate, state=state))


# config and campaign

SECTION = [
    {"kind": "swap", "interval": 2, "elements": ["Cu", "Al"]},
    {"kind": "cell", "interval": 3, "shape": "full", "max_strain": 0.02},
]
CHANGES = {"explore.moves": SECTION, "explore.pressure_GPa": 1.0}


def test_moves_of_a_config():
    explore = validate_config(campaign_settings(CHANGES), "here").explore
    swap, cell = explore.moves
    assert swap == SwapMove(interval=2, elements=("Cu", "Al"))
    assert cell == CellMove(interval=3, shape="full", max_strain=0.02)
    defaults = [{"kind": "swap"}, {"kind": "cell"}]
    explore = validate_config(
        campaign_settings({**CHANGES, "explore.moves": defaults}), "here"
    ).explore
    assert explore.moves == (SwapMove(), CellMove())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"explore.moves": [{"kind": "cell"}]}, "a cell move needs pressure_GPa"),
        ({"explore.moves": [{"kind": "swap", "cutof": 3}]}, "explore.moves.0.cutof: "),
        ({"explore.moves": [{"kind": "swap", "elements": ["Cu"]}]}, "explore.moves.0.elements: "),
    ],
)
def test_moves_that_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        validate_config(campaign_settings(changes), "here")


def test_starts_that_do_not_suit(tmp_path):
    moves = [{"kind": "swap", "elements": ["Cu", "Au"]}]
    config = load_config(write_campaign(tmp_path, {"explore.moves": moves}))
    with pytest.raises(StructureError, match=r"starts.extxyz, frame 0: swap move"):
        check_inputs(config)


def test_a_campaign_reports_its_moves(tmp_path):
    config = load_config(write_campaign(tmp_path, {**CHANGES, "stop.max_rounds": 1}))
    (*_, last) = Campaign(config, tmp_path / "run").run()
    store = Store(tmp_path / "run")
    report = store.read_report(1)
    state, _ = store.exploration(1).load(store.read_input("starts"))
    swaps, cells = zip(*(walker.driver.moves for walker in state.walkers), strict=True)
    assert report.moves["swap"] == [
        sum(m.attempts for m in swaps),
        sum(m.accepted for m in swaps),
        sum(m.failed for m in swaps),
    ]
    assert report.moves["cell"][0] == sum(m.attempts for m in cells) > 0
    assert last.reason


@pytest.mark.slow
def test_alloy_example(tmp_path):
    """The whole campaign: it completes, moves were accepted, and it learned."""
    folder = tmp_path / "alloy"
    folder.mkdir()
    for name in ("prepare.py", "config.yaml"):
        shutil.copy(ROOT / "examples/alloy" / name, folder)
    runpy.run_path(str(folder / "prepare.py"), run_name="__main__")
    (*_, ended) = Campaign(load_config(folder / "config.yaml"), folder / "run").run()
    assert ended.awaiting is None
    store = Store(folder / "run")
    reports = [store.read_report(k) for k in range(store.completed_rounds())]
    assert len(reports) >= 3
    for kind in ("swap", "cell"):
        assert sum(report.moves[kind][1] for report in reports) > 0
    assert reports[-1].energy_rmse < reports[0].energy_rmse / 10
    assert reports[-1].forces_rmse < reports[0].forces_rmse / 5
