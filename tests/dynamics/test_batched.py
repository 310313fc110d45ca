"""Walkers that torch-sim moves."""

from dataclasses import replace

import numpy as np
import pytest
from ase import units
from ase.constraints import FixAtoms
from helpers.calculators import Opaque
from helpers.differences import assert_close
from helpers.structures import cluster, copper, copper_training, with_pbc

from ase_bayesel import (
    NVE,
    BiasedCalculator,
    Bussi,
    CellMove,
    Deviation,
    Distance,
    Guards,
    Harmonic,
    Langevin,
    MACEDescriptor,
    RelativeForceTrigger,
    TauRule,
    TrustBound,
    fit_surrogate,
    run_walker,
    run_walkers,
)
from ase_bayesel.dynamics.batched import TorchSimEngine
from ase_bayesel.errors import DescriptorError, StructureError

pytest.importorskip("mace")
pytest.importorskip("torch_sim")

import torch
from helpers.mace_models import mace_calculator, needs_cuda, tiny_mace

from ase_bayesel.bias.torchsim import BiasedModel
from ase_bayesel.bias.torchsim_releases import PER_AXIS, MDState

pytestmark = pytest.mark.optional("mace", "torch_sim")

STARTS = [copper(21, 0.05), cluster("Cu5", 4), copper(23, 0.05, a=3.7)]
INTERVAL = 5


@pytest.fixture(scope="module")
def network():
    return tiny_mace()


@pytest.fixture(scope="module")
def surrogate(network):
    descriptor = MACEDescriptor(mace_calculator(network))
    return fit_surrogate(copper_training()[:3], descriptor, e0s="average")


def biased(network, surrogate, **options):
    return BiasedCalculator(mace_calculator(network), surrogate, **(options or {"tau": 0.3}))


def walker(calculator, atoms, seed=0, **options):
    settings = {
        "n_steps": 20,
        "temperature_K": 500.0,
        "rng": np.random.default_rng(seed),
        "check_interval": INTERVAL,
        "dynamics": "torch_sim",
        "guards": Guards(max_force=1e3),
    }
    return run_walker(atoms, calculator, **(settings | options))


def test_constant_energy_is_that_of_ase(network, surrogate):
    """Also where torch-sim 0.3 takes atoms back into the cell."""
    for atoms in STARTS[:2]:
        atoms = atoms.copy()
        atoms.positions -= 0.2
        options = {"ensemble": NVE(), "timestep_fs": 2.0}
        ours = list(walker(biased(network, surrogate), atoms, **options))
        theirs = list(walker(biased(network, surrogate), atoms, dynamics="ase", **options))
        assert [step.step for step in ours] == [0, 5, 10, 15, 20]
        for step in ours:
            expected = theirs[step.step]
            assert_close(step.atoms.positions, expected.atoms.positions, 1e-10)
            assert_close(step.atoms.get_momenta(), expected.atoms.get_momenta(), 1e-9)
            assert step.prediction.energy_std == pytest.approx(expected.prediction.energy_std)


def test_langevin_is_that_of_torch_sim(network, surrogate, monkeypatch):
    """With the same normal numbers: theirs come from one generator for all systems."""
    from torch_sim import integrators

    atoms, drawn = STARTS[0], np.random.default_rng(7)
    atoms.set_momenta(np.random.default_rng(1).normal(0, 1.5, (len(atoms), 3)))
    friction, n_steps = 0.05, 10
    *_, ours = walker(
        biased(network, surrogate), atoms, 7, n_steps=n_steps, ensemble=Langevin(friction)
    )
    noise = drawn.standard_normal((n_steps, len(atoms), 3))
    numbers = iter(torch.from_numpy(noise))
    for name in ("randn", "randn_like"):
        monkeypatch.setattr(torch, name, lambda *args, **options: next(numbers))
    model = BiasedModel(surrogate, 0.3)
    state = torch_state(atoms, model)
    settings = {
        "dt": torch.tensor(units.fs, dtype=torch.float64),
        "kT": torch.tensor(500.0 * units.kB, dtype=torch.float64),
        "gamma": torch.tensor(friction / units.fs, dtype=torch.float64),
    }
    update = None if PER_AXIS else integrators.nvt_langevin(model, **settings)[1]
    for _ in range(n_steps):
        if PER_AXIS:
            state = integrators.nvt_langevin_step(state, model, **settings)
        else:
            state = update(state)
    assert_close(ours.atoms.get_momenta(), state.momenta.numpy(), 1e-9)
    moved = ours.atoms.positions - state.positions.numpy()
    assert np.abs(moved - np.round(moved @ np.linalg.inv(atoms.cell)) @ atoms.cell).max() < 1e-10


def torch_state(atoms, model):
    import torch_sim

    state = torch_sim.io.atoms_to_state([atoms], model.device, model.dtype)
    found = model(state)
    names = ("positions", "masses", "cell", "pbc", "atomic_numbers", "system_idx")
    return MDState(
        **{name: getattr(state, name) for name in names},
        momenta=torch.from_numpy(atoms.get_momenta()),
        energy=found["energy"],
        forces=found["forces"],
    )


def test_walkers_in_a_batch_go_as_they_go_alone(network, surrogate, monkeypatch):
    batches = []

    def forward(self, state, known=BiasedModel.forward):
        batches.append(len(state.cell))
        return known(self, state)

    monkeypatch.setattr(BiasedModel, "forward", forward)
    starts = [STARTS[0], STARTS[2], STARTS[1]]
    lengths = [20, 10, 15]
    rule = TauRule(0.4, delay=1, interval=1)
    alone = [
        list(walker(biased(network, surrogate, tau_rel=rule), atoms, k, n_steps=n_steps))
        for k, (atoms, n_steps) in enumerate(zip(starts, lengths, strict=True))
    ]
    assert set(batches) == {1}
    batches.clear()
    calculators = [biased(network, surrogate, tau_rel=rule) for _ in starts]
    walkers = [
        walker(calculator, atoms, k, n_steps=lengths[k])
        for k, (calculator, atoms) in enumerate(zip(calculators, starts, strict=True))
    ]
    found = [[], [], []]
    for steps in run_walkers(walkers, calculators):
        for k, step in steps.items():
            found[k].append(step)
    assert max(batches) == 2  # the cluster is not periodic
    for ours, theirs in zip(found, alone, strict=True):
        assert [step.step for step in ours] == [step.step for step in theirs]
        assert_close(ours[-1].atoms.positions, theirs[-1].atoms.positions, 1e-8)
        assert ours[-1].prediction.tau == pytest.approx(theirs[-1].prediction.tau, rel=1e-6)
        assert ours[-1].prediction.tau > 0


def test_taken_up_again_bit_for_bit(network, surrogate):
    rng, options = np.random.default_rng(3), {"max_rollbacks": 1}
    whole = list(walker(biased(network, surrogate), STARTS[0], rng=rng, **options))
    rng = np.random.default_rng(3)
    for step in walker(biased(network, surrogate), STARTS[0], rng=rng, **options):
        if step.step == 10:
            break
    again = walker(
        biased(network, surrogate),
        step.atoms,
        rng=rng,
        first_step=10,
        state=step.driver,
        guards=Guards(max_force=1e3).against(STARTS[0]),
        **options,
    )
    *_, last = again
    np.testing.assert_array_equal(last.atoms.positions, whole[-1].atoms.positions)
    np.testing.assert_array_equal(last.atoms.get_momenta(), whole[-1].atoms.get_momenta())
    assert last.driver.to_json() == whole[-1].driver.to_json()


def test_triggers_and_guards_act_at_checks(network, surrogate):
    trigger = RelativeForceTrigger(1e-6)
    steps = list(walker(biased(network, surrogate), STARTS[0], triggers=[trigger]))
    assert [step.checked for step in steps] == [False, True, True, True, True]
    assert all(step.reports[0].fired for step in steps[1:])
    bound = TrustBound(relative=1e-6, factor=None, energy=None).against(surrogate, STARTS[0])
    *_, last = walker(biased(network, surrogate), STARTS[0], n_steps=10, trust=bound)
    assert last.driver.returns == (5, 10)
    hot = Guards(max_force=1e3, max_temperature_K=1.0)
    still = STARTS[0].copy()
    still.set_momenta(np.full((len(still), 3), 1e-6))
    *_, last = walker(biased(network, surrogate), still, guards=hot)
    assert (last.step, last.status) == (INTERVAL, "temperature")


def test_a_walker_is_rolled_back_and_goes_on(network, surrogate, monkeypatch):
    failing = iter([True])

    def forward(self, state, known=BiasedModel.forward):
        if next(failing, False):
            raise RuntimeError("exploded")
        return known(self, state)

    monkeypatch.setattr(BiasedModel, "forward", forward)
    steps = list(walker(biased(network, surrogate), STARTS[0], n_steps=10, max_rollbacks=1))
    assert [step.rolled_back for step in steps] == [None, "calculator_error", None]
    np.testing.assert_array_equal(steps[1].atoms.positions, STARTS[0].positions)
    assert (steps[2].status, steps[2].driver.rollbacks) == ("running", 1)
    assert np.abs(steps[2].atoms.positions - STARTS[0].positions).max() > 0.01


def test_a_walker_that_fails_leaves_the_others_alone(network, surrogate, monkeypatch):
    def forward(self, state, known=BiasedModel.forward):
        if 8 in state.n_atoms_per_system.tolist():
            raise RuntimeError("exploded")
        return known(self, state)

    monkeypatch.setattr(BiasedModel, "forward", forward)
    starts = [copper(23, 0.05, repeat=(1, 1, 2)), STARTS[0]]
    calculators = [biased(network, surrogate) for _ in starts]
    walkers = [
        walker(calculator, atoms, n_steps=10)
        for calculator, atoms in zip(calculators, starts, strict=True)
    ]
    last = {}
    for steps in run_walkers(walkers, calculators):
        last |= steps
    assert (last[0].status, last[0].step) == ("calculator_error", INTERVAL)
    assert "exploded" in last[0].message
    assert (last[1].status, last[1].step) == ("running", 10)


@pytest.mark.parametrize(
    ("what", "given"),
    [
        ("takes the ensembles nve and langevin, not bussi", {"ensemble": Bussi()}),
        ("has no moves", {"moves": [CellMove()]}),
        ("has no restraints", {"restraints": [Harmonic(Distance((0, 1)), 1.0, 2.5)]}),
        ("has no constraints", {"atoms": "fixed"}),
    ],
)
def test_what_is_refused(what, given):
    fixed = STARTS[0].copy()
    fixed.set_constraint(FixAtoms([0]))
    defaults = {"ensemble": NVE(), "atoms": STARTS[0], "moves": (), "restraints": ()}
    given = {key: fixed if value == "fixed" else value for key, value in given.items()}
    with pytest.raises(StructureError, match=f"start 3: dynamics: torch_sim {what}"):
        TorchSimEngine(INTERVAL).check(**(defaults | given), where="start 3")


def test_slabs(network, surrogate):
    slab = with_pbc(copper(22, 0.05), (True, True, False))
    if not PER_AXIS:
        with pytest.raises(StructureError, match=r"walker: pbc is \[True, True, False\]: .*0\.6"):
            list(walker(biased(network, surrogate), slab))
        return
    slab.cell[2] = 0.0
    options = {"ensemble": NVE()}
    *_, ours = walker(biased(network, surrogate), slab, **options)
    *_, theirs = walker(biased(network, surrogate), slab, dynamics="ase", **options)
    assert_close(ours.atoms.positions, theirs.atoms.positions, 1e-10)


def test_calculators_and_lengths_that_are_refused(network, surrogate):
    mlip = mace_calculator(network)
    with pytest.raises(ValueError, match="22 is no multiple"):
        next(walker(biased(network, surrogate), STARTS[0], n_steps=22))
    with pytest.raises(DescriptorError, match="own network"):
        next(walker(BiasedCalculator(Opaque(mlip), surrogate, tau=0.3), STARTS[0]))
    part = BiasedCalculator(mlip, surrogate, tau=0.3, bias=Deviation("Cu"))
    with pytest.raises(DescriptorError, match="region"):
        next(walker(part, STARTS[0]))


def test_models_that_read_charges_are_refused(network, surrogate, monkeypatch):
    monkeypatch.setattr(surrogate.descriptor, "states_read", ("charge",))
    with pytest.raises(DescriptorError, match="no charges and multiplicities"):
        next(walker(biased(network, surrogate), STARTS[0]))


@pytest.mark.gpu
@needs_cuda
def test_cuda(network, surrogate):
    descriptor = MACEDescriptor(mace_calculator(network), device="cuda")
    there = replace(surrogate, descriptor=descriptor)
    *_, ours = walker(BiasedCalculator(descriptor.calculator(), there, tau=0.3), STARTS[0])
    *_, theirs = walker(biased(network, surrogate), STARTS[0])
    assert_close(ours.atoms.positions, theirs.atoms.positions, 1e-8)
