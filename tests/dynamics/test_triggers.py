import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from helpers.structures import copper, with_pbc

from ase_bayesel import (
    BiasedCalculator,
    EnergyTrigger,
    ForceTrigger,
    Guards,
    Prediction,
    RelativeForceTrigger,
)
from ase_bayesel.bias.kinds import BiasTerms
from ase_bayesel.bias.response import Parts, Response
from ase_bayesel.dynamics.triggers import LocalEnergyTrigger
from ase_bayesel.errors import GenerationError
from ase_bayesel.surrogate.surrogate import Uncertainty

ATOMS = copper(3)
FORCES = np.array([[3.0, 4.0, 0.0], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 2.0]])
FORCE_STD = np.array([1.0, 0.3, 0.9, 1.1])


class Known:
    """A surrogate that knows one answer."""

    descriptor = None

    def features(self, atoms):
        return None

    def uncertainty(self, atoms, features):
        return Uncertainty(0.4, FORCE_STD, None)

    def force_std(self, features):
        return FORCE_STD


KNOWN = Known()


def prediction(
    energy=-1.0, forces=FORCES, bias_forces=100 * FORCES, energy_std=0.4, surrogate=KNOWN
):
    return Prediction(
        ATOMS,
        energy,
        Response(forces + bias_forces, None),
        energy_std=energy_std,
        tau=0.5,
        terms=BiasTerms(-0.2, 0.0, 0.5),
        parts=Parts(Response(forces, None), Response(-2 * bias_forces, None)),
        surrogate=surrogate,
    )


@pytest.mark.parametrize(
    ("make", "name", "value", "atom"),
    [
        (lambda t: RelativeForceTrigger(t), "relative_force", 0.3 / 0.2, 1),
        (lambda t: RelativeForceTrigger(t, eps=1.0), "relative_force", 0.9 / 2.0, 2),
        (lambda t: ForceTrigger(t), "force", 1.1, 3),
        (lambda t: EnergyTrigger(t), "energy_per_atom", 0.1, None),
    ],
)
def test_value_atom_and_threshold(make, name, value, atom):
    """From the unbiased forces, however large the bias."""
    for threshold, fired in ((0.99 * value, True), (1.01 * value, False)):
        report = make(threshold)(prediction(), ATOMS)
        assert report.name == name
        assert report.value == pytest.approx(value)
        assert report.atom_index == atom
        assert report.threshold == threshold
        assert report.fired is fired or report.fired == fired


@pytest.mark.parametrize("make", [RelativeForceTrigger, ForceTrigger, EnergyTrigger])
def test_value_does_not_change_with_the_number_of_copies(cu_surrogate, make):
    """sigma_E grows with the number of coherent copies, so per atom it stays; forces are local."""
    calculator = BiasedCalculator(EMT(), cu_surrogate, tau=0.0)
    values = []
    for atoms in (copper(5, 0.2), copper(5, 0.2) * (2, 2, 1)):
        calculator.get_forces(atoms)
        values.append(make(0.1)(calculator.prediction, atoms).value)
    assert values[0] > 0
    if make is EnergyTrigger:
        assert values[1] == pytest.approx(values[0], rel=1e-6)


def test_sane_atoms_break_no_guard():
    assert Guards(max_force=1000.0).violated(ATOMS, prediction()) is None
    assert Guards().violated(ATOMS) is None
    assert Guards().violated(Atoms("Cu")) is None


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "guards", [Guards(), Guards(None, None, None)], ids=["default", "switched off"]
)
def test_values_that_are_not_finite_always_break_a_guard(guards, bad):
    faulty = np.where(np.arange(12).reshape(4, 3) == 7, bad, FORCES)
    assert guards.violated(ATOMS, prediction(energy=bad)) == "nan"
    assert guards.violated(ATOMS, prediction(energy_std=bad)) == "nan"
    assert guards.violated(ATOMS, prediction(forces=faulty)) == "nan"
    assert guards.violated(ATOMS, prediction(bias_forces=faulty)) == "nan"
    for name in ("positions", "momenta", "cell"):
        atoms = ATOMS.copy()
        if name == "cell":
            atoms.cell[1, 1] = bad
        else:
            atoms.set_array(name, faulty)
        assert guards.violated(atoms) == "nan"


@pytest.mark.parametrize("pbc", [True, False, (True, False, False)])
def test_close_contact(pbc):
    atoms = with_pbc(ATOMS, pbc, keep_cell=False)
    assert Guards().violated(atoms) is None
    atoms.positions[1] = atoms.positions[0] + [0.0, 0.0, 0.49 * 2 * 1.32]
    assert Guards().violated(atoms) == "close_contact"
    assert Guards(close_contact=0.48).violated(atoms) is None
    assert Guards(close_contact=None).violated(atoms) is None


def test_close_contact_with_an_image():
    atoms = Atoms("Cu", cell=[1.0, 9.0, 9.0], pbc=True)
    assert Guards().violated(atoms) == "close_contact"
    assert Guards().violated(with_pbc(atoms, (False, True, True))) is None


def test_close_contact_of_unequal_atoms():
    """Au-H: 0.5 (1.36 + 0.31) A."""
    atoms = Atoms("AuH", [[0, 0, 0], [0, 0, 0.85]])
    assert Guards().violated(atoms) is None
    atoms.positions[1, 2] = 0.82
    assert Guards().violated(atoms) == "close_contact"


def test_coincident_atoms():
    assert Guards().violated(Atoms("Cu2", np.zeros((2, 3)))) == "close_contact"


def test_force_guard_sees_unbiased_and_biased_forces():
    calm = prediction(bias_forces=0 * FORCES)
    assert Guards(max_force=5.1).violated(ATOMS, calm) is None
    assert Guards(max_force=4.9).violated(ATOMS, calm) == "force"
    assert Guards(max_force=5.1).violated(ATOMS, prediction()) == "force"
    cancelled = prediction(bias_forces=-FORCES)
    assert Guards(max_force=4.9).violated(ATOMS, cancelled) == "force"
    assert Guards(max_force=None).violated(ATOMS, prediction()) is None


def test_temperature_guard():
    atoms = ATOMS.copy()
    atoms.set_momenta(np.full((4, 3), 3.0))
    temperature = atoms.get_temperature()
    assert Guards(max_temperature_K=0.9 * temperature).violated(atoms) == "temperature"
    assert Guards(max_temperature_K=1.1 * temperature).violated(atoms) is None
    assert Guards(max_temperature_K=None).violated(atoms) is None


def test_without_a_surrogate_nothing_fires():
    with pytest.raises(GenerationError, match="without a surrogate"):
        LocalEnergyTrigger(1.0)(prediction(surrogate=None), ATOMS)
