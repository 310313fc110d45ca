import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from systems import assert_close, cluster, copper, jittered, strain_differences, with_pbc

from ase_bayesel.errors import ConfigError
from ase_bayesel.labelling import imported_factory, label_structure, tblite_factory
from ase_bayesel.structures import PropertyKeys, structure_id, targets

KEYS = PropertyKeys("my_energy", "my_forces", "my_virial")


def label(atoms, factory=EMT, keys=KEYS):
    return label_structure(atoms, factory, keys, "engine")


def energy_with(factory):
    def energy(atoms):
        atoms = atoms.copy()
        atoms.calc = factory()
        return atoms.get_potential_energy()

    return energy


def test_label_of_a_crystal():
    atoms = copper(3)
    before = atoms.copy()
    found = label(atoms)
    assert atoms == before
    assert atoms.calc is None
    assert (found.status, found.reason, found.engine) == ("ok", "", "engine")
    assert found.structure_id == structure_id(atoms) == structure_id(found.atoms)
    assert found.atoms.calc is None
    assert found.wall_s >= 0
    atoms.calc = EMT()
    assert found.atoms.info["my_energy"] == pytest.approx(atoms.get_potential_energy())
    np.testing.assert_allclose(found.atoms.arrays["my_forces"], atoms.get_forces())


def test_virial_is_minus_the_strain_derivative():
    found = label(copper(3))
    assert found.atoms.info["my_virial"].shape == (3, 3)
    expected = -strain_differences(energy_with(EMT), copper(3), 1e-5)
    assert_close(targets(found.atoms, KEYS).virial, expected, 1e-5)


@pytest.mark.parametrize("pbc", [False, (True, True, False)])
def test_no_virial_without_three_periodic_directions(pbc):
    found = label(with_pbc(copper(3), pbc))
    assert found.status == "ok"
    assert "my_virial" not in found.atoms.info
    assert "my_forces" in found.atoms.arrays


def test_only_the_wanted_properties():
    found = label(copper(3), keys=PropertyKeys(None, "f", None))
    assert found.atoms.info == {}
    assert "f" in found.atoms.arrays


def test_forces_are_raw_and_constraints_kept():
    free, fixed = copper(3), copper(3)
    fixed.set_constraint(FixAtoms([0, 1, 2, 3]))
    found = label(fixed)
    np.testing.assert_array_equal(
        found.atoms.arrays["my_forces"], label(free).atoms.arrays["my_forces"]
    )
    np.testing.assert_array_equal(
        found.atoms.info["my_virial"], label(free).atoms.info["my_virial"]
    )
    assert np.abs(found.atoms.arrays["my_forces"]).max() > 0.01
    assert len(found.atoms.constraints) == 1


def test_what_an_engine_raises_is_kept_as_the_reason():
    atoms = bulk("Si")
    found = label(atoms)
    assert found.status == "failed"
    assert found.reason.startswith("NotImplementedError")
    assert found.structure_id == structure_id(atoms)
    assert "my_energy" not in found.atoms.info


def test_factory_that_fails():
    def factory():
        raise OSError("no licence")

    found = label(copper(), factory)
    assert (found.status, found.reason) == ("failed", "OSError: no licence")


class Fixed(Calculator):
    """A stand-in with given results: engines that return NaN or tell two energies apart."""

    implemented_properties = ["energy", "free_energy", "forces"]

    def __init__(self, **results):
        super().__init__()
        self.given = results

    def calculate(self, atoms=None, properties=("energy",), system_changes=()):
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": 1.0, "forces": np.zeros((len(atoms), 3))} | self.given


@pytest.mark.parametrize("results", [{"energy": np.nan}, {"forces": np.full((1, 3), np.inf)}])
def test_values_that_are_not_finite_are_a_failure(results):
    found = label(Atoms("Cu"), lambda: Fixed(**results))
    assert found.status == "failed"
    assert "not finite" in found.reason
    assert found.atoms.info == {}


def test_energy_is_consistent_with_the_forces():
    found = label(Atoms("Cu"), lambda: Fixed(free_energy=-3.0))
    assert found.atoms.info["my_energy"] == -3.0


def test_each_label_has_its_own_calculator():
    made = []

    def factory():
        made.append(EMT())
        return made[-1]

    label(copper(1), factory)
    label(copper(2), factory)
    assert len(made) == 2


def test_imported_factory():
    factory = imported_factory("ase.calculators.emt:EMT", "labelling.factory", asap_cutoff=True)
    assert isinstance(factory(), EMT)
    assert factory().parameters["asap_cutoff"] is True
    assert label(copper(), factory).status == "ok"


@pytest.mark.parametrize(
    "target",
    ["ase.calculators.emt", "nowhere.to_be:found", "ase.calculators.emt:Nothing", ":x", ""],
)
def test_factory_that_cannot_be_imported(target):
    with pytest.raises(ConfigError, match=r"labelling\.factory: .*package\.module:callable"):
        imported_factory(target, "labelling.factory")


def test_tblite_virial_sign():
    pytest.importorskip("tblite")
    factory = tblite_factory("GFN1-xTB", accuracy=0.01)
    atoms = jittered(bulk("Si", a=5.6), 0.1)
    found = label(atoms, factory)
    assert found.status == "ok", found.reason
    expected = -strain_differences(energy_with(factory), atoms, 2e-3)
    assert_close(targets(found.atoms, KEYS).virial, expected, 2e-3)


def test_tblite_failure_is_a_record():
    pytest.importorskip("tblite")
    overlapping = Atoms("Si2", np.zeros((2, 3)))
    found = label(overlapping, tblite_factory("GFN1-xTB"))
    assert found.status == "failed"
    assert found.reason
    assert label(cluster("H2"), tblite_factory("no such method")).status == "failed"
