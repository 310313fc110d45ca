"""The heat of an update: what a pick lifts the biased surface is taken out of the momenta."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.lockstep import RULES, explored, setup_for, started
from helpers.structures import copper, copper_training

from ase_bayesel import ACEDescriptor, BiasedCalculator, ForceTrigger, fit_surrogate
from ase_bayesel.campaign.exploration.blocks import LEFT, advance_walker
from ase_bayesel.surrogate.design import Noise

START = copper(1, 0.02, repeat=(1, 1, 2))


@pytest.fixture(scope="module")
def little_data():
    fitted = fit_surrogate(copper_training()[:5], ACEDescriptor("Cu", totaldegree=8))
    return replace(fitted, noise=Noise(0.1, 0.1, 0.1))


def after_a_pick(surrogate, tau, absorb_heat=True):
    """The setup, and state and surrogate at the barrier with the first pick."""
    rules = replace(RULES, absorb_heat=absorb_heat)
    setup = setup_for(surrogate, ForceTrigger(0.1), rules=rules, tau=tau)
    states, updated = explored(setup, started([START, copper(2, 0.05)]), limit=1)
    return setup, states[-1], updated


@pytest.mark.parametrize("tau", [0.05, 0.5, 50.0])
def test_what_the_surface_rises_is_taken_out_down_to_a_share(little_data, tau):
    setup, state, updated = after_a_pick(little_data, tau)
    for walker in state.walkers:
        before, after = (s.energy_std(walker.atoms) for s in (little_data, updated))
        heat, kinetic = tau * (before - after), walker.atoms.get_kinetic_energy()
        assert walker.bias_energy == pytest.approx(-tau * before, rel=1e-6)
        assert heat > 0
        calculator = setup.make_calculator(updated)
        cooled = []

        def run(atoms, calculator, cooled=cooled, **options):
            cooled.append(atoms)
            return iter(())

        plans = tuple(replace(plan, run=run) for plan in setup.plans)
        advance_walker(replace(setup, plans=plans), 0, walker, calculator, walker.step + 4)
        expected = max(LEFT * kinetic, kinetic - heat)
        assert cooled[0].get_kinetic_energy() == pytest.approx(expected, rel=1e-6)
        np.testing.assert_array_equal(cooled[0].positions, walker.atoms.positions)


def test_nothing_is_taken_where_it_is_not_asked_for(little_data):
    _, state, _ = after_a_pick(little_data, 0.5, absorb_heat=False)
    assert [walker.bias_energy for walker in state.walkers] == [None, None]


def test_the_frame_is_evaluated_once(little_data):
    counts = []

    class Counting(BiasedCalculator):
        def calculate(self, *args, **kwargs):
            counts.append(1)
            super().calculate(*args, **kwargs)

    setup, state, updated = after_a_pick(little_data, 0.5)
    calculator = Counting(little_data.calculator(), updated, tau=0.5)
    advance_walker(setup, 0, state.walkers[0], calculator, state.walkers[0].step + 4)
    assert len(counts) == 5
