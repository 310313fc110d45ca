"""Collective variables and restraints: gradients, and the surface that they make."""

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from ase.md.verlet import VelocityVerlet
from helpers.differences import assert_close, position_differences, strain_differences
from helpers.structures import cluster, copper, silicon, with_pbc
from hypothesis import given
from hypothesis import strategies as st

from ase_bayesel import (
    NPT,
    Angle,
    BiasedCalculator,
    CellAngle,
    CellLength,
    CellMove,
    Coordination,
    Dihedral,
    Distance,
    Harmonic,
    Langevin,
    LowerWall,
    Ramp,
    RestrainedCalculator,
    UpperWall,
    annotate,
)
from ase_bayesel.dynamics.restraints import check_restraints
from ase_bayesel.dynamics.restraints.kinds import effect_of
from ase_bayesel.errors import StructureError

PLACES = {
    "bulk": silicon(0.1, 3),
    "slab": with_pbc(silicon(0.1, 4), (True, True, False)),
    "open": cluster("Si6", 2),
}
OF_ATOMS = [
    Distance((0, 5)),
    Angle((1, 0, 4)),
    Dihedral((3, 1, 0, 5)),
    Coordination((0, 2), "Si", 2.9),
    Coordination((1,), (0, 3, 4), 2.6, power=9),
]
OF_CELLS = [CellLength(1), CellAngle((0, 2))]


def called(variable):
    return variable.name


def turned(seed):
    """A proper rotation."""
    q = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    return q * np.linalg.det(q)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("variable", OF_ATOMS + OF_CELLS, ids=called)
def test_gradients_against_differences(variable, place):
    atoms = PLACES[place]
    if isinstance(variable, CellLength | CellAngle) and place != "bulk":
        with pytest.raises(StructureError, match="three periodic directions"):
            variable.check(atoms)
        return
    variable.check(atoms)
    gradient = variable.evaluate(atoms).gradient
    expected = position_differences(lambda a: variable.evaluate(a).value, atoms)
    assert_close(gradient.positions, expected, 1e-6)
    expected = strain_differences(lambda a: variable.evaluate(a).value, atoms)
    assert_close(gradient.strain, expected, 1e-6)


@pytest.mark.parametrize("place", ["bulk", "slab", "open"])
def test_values_are_those_of_ase(place):
    atoms = PLACES[place]
    values = [variable.evaluate(atoms).value / variable.unit for variable in OF_ATOMS[:3]]
    expected = [
        atoms.get_distance(0, 5, mic=True),
        atoms.get_angle(1, 0, 4, mic=True),
        atoms.get_dihedral(3, 1, 0, 5, mic=True),
    ]
    np.testing.assert_allclose(values, expected, rtol=1e-12)
    distances = atoms.get_all_distances(mic=True)[[0, 2]]
    count = (1 / (1 + (distances / 2.9) ** 6)).sum() - 2  # without the atoms themselves
    assert OF_ATOMS[3].evaluate(atoms).value == pytest.approx(count)


def test_values_of_cells():
    atoms = PLACES["bulk"]
    a, _, gamma = atoms.cell.cellpar()[[1, 3, 4]]
    assert CellLength(1).evaluate(atoms).value == pytest.approx(a)
    assert CellAngle((0, 2)).evaluate(atoms).value == pytest.approx(np.radians(gamma))


@given(st.integers(0, 2**32 - 1), st.sampled_from(OF_ATOMS + OF_CELLS))
def test_variables_do_not_see_rotations_translations_or_wrapping(seed, variable):
    """Gradients turn along; their sum, the total force, is zero, and so is the torque."""
    rng = np.random.default_rng(seed)
    atoms, rotation = PLACES["bulk"].copy(), turned(seed)
    moved = atoms.copy()
    moved.set_cell(atoms.cell.array @ rotation)
    moved.positions = atoms.positions @ rotation + rng.normal(size=3)
    moved.positions += rng.integers(-2, 3, (len(atoms), 3)) @ moved.cell.array
    before, after = variable.evaluate(atoms), variable.evaluate(moved)
    assert after.value == pytest.approx(before.value, rel=1e-9)
    np.testing.assert_allclose(
        after.gradient.positions, before.gradient.positions @ rotation, atol=1e-9
    )
    np.testing.assert_allclose(after.gradient.positions.sum(axis=0), 0.0, atol=1e-12)


@given(st.integers(0, 2**32 - 1), st.sampled_from(OF_ATOMS[:3]))
def test_any_image_far_away_in_any_cell_is_the_nearest(seed, variable):
    """Flat cells, where rounding alone does not find it."""
    rng = np.random.default_rng(seed)
    cell = np.diag([3.0, 3.5, 4.0]) + rng.normal(0, 1.0, (3, 3))
    atoms = Atoms("H6", rng.uniform(0, 1, (6, 3)) @ cell, cell=cell, pbc=rng.random(3) < 0.7)
    functions = {2: atoms.get_distance, 3: atoms.get_angle, 4: atoms.get_dihedral}
    expected = functions[len(variable.atoms)](*variable.atoms, mic=True)
    assert variable.evaluate(atoms).value / variable.unit == pytest.approx(expected, abs=1e-5)


def test_an_angle_of_atoms_in_a_line_pulls_nowhere_and_a_dihedral_of_them_is_an_error():
    atoms = Atoms("H4", [[0, 0, 0], [1, 0, 0], [2, 0, 0], [2, 1, 0]])
    value, gradient = Angle((0, 1, 2)).evaluate(atoms)
    assert value == np.pi
    assert not gradient.positions.any()
    with pytest.raises(StructureError, match=r"dihedral_0_1_2_3: .*in a line"):
        Dihedral((0, 1, 2, 3)).evaluate(atoms)
    with pytest.raises(StructureError, match="coincide"):
        Distance((0, 1)).evaluate(Atoms("H2"))


# restraints

LANGEVIN = Langevin()
BENT = Atoms("H4", [[1, 0, 0], [0, 0, 0], [0, 0, 1.5], [-1, 0.3, 1.5]])


@pytest.mark.parametrize(
    ("restraint", "energy"),
    [
        (Harmonic(Distance((1, 2)), 1.2, 4.0), 2.0 * 0.3**2),
        (Harmonic(Distance((1, 2)), 1.2, 4.0, flat=0.1), 2.0 * 0.2**2),
        (Harmonic(Distance((1, 2)), 1.45, 4.0, flat=0.1), 0.0),
        (UpperWall(Distance((1, 2)), 1.2, 4.0), 2.0 * 0.3**2),
        (UpperWall(Distance((1, 2)), 1.6, 4.0), 0.0),
        (LowerWall(Distance((1, 2)), 1.6, 4.0), 2.0 * 0.1**2),
        (LowerWall(Distance((1, 2)), 1.2, 4.0), 0.0),
        (Harmonic(Angle((0, 1, 2)), 60.0, 2.0), np.radians(30.0) ** 2),
        (Harmonic(Distance((1, 2)), Ramp(((0, 1.5), (20, 0.5))), 4.0), 2.0 * 0.5**2),
    ],
)
def test_energies(restraint, energy):
    report = effect_of([restraint], BENT, 10).report
    assert report.energy == pytest.approx(energy, abs=1e-14)
    assert report.values == {restraint.of.name: pytest.approx(1.5)} or restraint.of.kind == "angle"


def test_a_dihedral_is_pulled_the_shorter_way_round():
    now = BENT.get_dihedral(0, 1, 2, 3)
    for at in (now + 100, now - 100, now + 460):
        energy = effect_of([Harmonic(Dihedral((0, 1, 2, 3)), at, 1.0)], BENT, 0).report.energy
        assert energy == pytest.approx(np.radians(100) ** 2 / 2)


def test_restraints_add_up_and_a_variable_of_two_has_one_value():
    of = Distance((1, 2))
    both = [UpperWall(of, 1.2, 4.0), LowerWall(of, 1.6, 4.0), Harmonic(Angle((0, 1, 2)), 80.0, 1.0)]
    whole = effect_of(both, BENT, 0)
    single = [effect_of([restraint], BENT, 0) for restraint in both]
    assert whole.report.energy == pytest.approx(sum(e.report.energy for e in single))
    np.testing.assert_allclose(
        whole.gradient.positions, sum(e.gradient.positions for e in single), atol=1e-15
    )
    assert list(whole.report.values) == ["distance_1_2", "angle_0_1_2"]
    assert whole.report.values["angle_0_1_2"] == pytest.approx(90.0)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Distance((1, 1)), "2 different atoms"),
        (lambda: Angle((0, 1)), "3 different atoms"),
        (lambda: CellAngle((1, 1)), "two different"),
        (lambda: Coordination((0,), "O", 0.0), "r0 must be positive"),
        (lambda: Harmonic(Distance((0, 1)), 1.0, -1.0), "k: must be finite"),
        (lambda: Harmonic(Distance((0, 1)), np.nan, 1.0), "at: must be finite"),
        (lambda: Harmonic(Distance((0, 1)), 1.0, 1.0, flat=-1.0), "flat: must be finite"),
        (lambda: UpperWall(Dihedral((0, 1, 2, 3)), 90.0, 1.0), "kind: harmonic with flat"),
    ],
)
def test_what_makes_no_sense_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_restraints_are_checked_against_the_start():
    def check(*restraints, ensemble=LANGEVIN, moves=()):
        check_restraints(restraints, ensemble, moves, copper(), "start 3")

    with pytest.raises(StructureError, match=r"start 3: restraint distance_0_4: .* no atom 4"):
        check(Harmonic(Distance((0, 4)), 1.0, 1.0))
    with pytest.raises(StructureError, match="no pair of such atoms"):
        check(Harmonic(Coordination((0,), "O", 1.0), 1.0, 1.0))
    with pytest.raises(StructureError, match="two restraints are called bond"):
        check(*(Harmonic(Distance((0, k)), 1.0, 1.0, "bond") for k in (1, 2)))
    cell = Harmonic(CellLength(0), 3.6, 1.0)
    with pytest.raises(StructureError, match="nothing varies it"):
        check(cell)
    check(cell, ensemble=NPT())
    check(cell, moves=[CellMove()])
    second, angle = Harmonic(CellLength(1), 3.6, 1.0), Harmonic(CellAngle((0, 1)), 90.0, 1.0)
    held = NPT(cell="axes", axes=(True, False, False))
    check(cell, ensemble=held)
    for restraint, ensemble in ((second, held), (angle, held), (angle, NPT(cell="volume"))):
        with pytest.raises(StructureError, match="nothing varies it"):
            check(restraint, ensemble=ensemble)
    check(angle, ensemble=NPT(cell="full"))


# the calculator


class WithStress(EMT):
    """Gives a stress of molecules too, as mace's calculator does."""

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        self.results["stress"] = np.zeros(6)


def test_a_stress_of_a_molecule_is_left_as_it_is():
    atoms = cluster("Cu4", 1)
    atoms.calc = EMT()
    alone = atoms.get_forces()
    restraint = Harmonic(Distance((0, 1)), 3.0, 1.0)
    atoms.calc = RestrainedCalculator(WithStress(), [restraint])
    assert abs(atoms.get_forces() - alone)[:2].min() > 0
    np.testing.assert_array_equal(atoms.calc.results["stress"], np.zeros(6))


ON_COPPER = (
    Harmonic(Distance((0, 1)), Ramp(((0, 2.0), (10, 3.0))), 3.0),
    UpperWall(CellLength(0), 3.5, 2.0),
    LowerWall(Coordination((2,), "Cu", 3.0), 6.0, 1.0),
)


def test_forces_and_stress_are_gradients_of_the_energy():
    atoms = copper(5)
    calculator = RestrainedCalculator(EMT(), ON_COPPER, step=4)
    atoms.calc = calculator

    def energy(changed):
        changed.calc = RestrainedCalculator(EMT(), ON_COPPER, step=4)
        return changed.get_potential_energy()

    assert calculator.report(atoms).energy > 0.1
    assert_close(atoms.get_forces(), -position_differences(energy, atoms), 1e-6)
    stress = strain_differences(energy, atoms) / atoms.get_volume()
    assert_close(atoms.get_stress(), stress, 1e-5)
    assert atoms.get_potential_energy(force_consistent=True) == atoms.get_potential_energy()
    before = atoms.get_forces()
    calculator.step = 9
    assert np.abs(atoms.get_forces() - before).max() > 0.1


def test_predictions_of_a_biased_calculator_do_not_see_restraints(cu_surrogate):
    biased = BiasedCalculator(cu_surrogate.calculator(), cu_surrogate, tau=0.5)
    plain, atoms = copper(5), copper(5)
    plain.calc = biased
    forces, energy = plain.get_forces(), plain.get_potential_energy()
    expected = biased.prediction
    atoms.calc = RestrainedCalculator(
        BiasedCalculator(cu_surrogate.calculator(), cu_surrogate, tau=0.5), ON_COPPER
    )
    report = atoms.calc.report(atoms)
    assert atoms.get_potential_energy() == pytest.approx(energy + report.energy)
    assert np.abs(atoms.get_forces() - forces).max() > 0.1
    annotate(atoms, forces=False)
    assert atoms.info["bayesel_energy"] == expected.energy
    trial = copper(6)
    there = RestrainedCalculator(atoms.calc.unrestrained, ON_COPPER).report(trial).energy
    change = atoms.calc.energy_change(trial) - atoms.calc.unrestrained.energy_change(trial)
    assert change == pytest.approx(there - report.energy)


def test_energy_is_conserved_in_a_script_of_ones_own():
    atoms = copper(5, 0.05)
    atoms.calc = RestrainedCalculator(EMT(), ON_COPPER[2:])
    before = atoms.get_total_energy()
    VelocityVerlet(atoms, 0.1).run(40)
    assert atoms.get_kinetic_energy() > 0.01
    assert atoms.get_total_energy() == pytest.approx(before, abs=2e-3 * atoms.get_kinetic_energy())
