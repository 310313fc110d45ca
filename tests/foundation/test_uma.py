"""Tasks, charges and spins of UMA reach the network, and what it cannot take is refused."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from helpers.differences import assert_close
from helpers.foundation import uma_calculator, uma_file
from helpers.structures import copper, jittered

from ase_bayesel.descriptors.states import check_states
from ase_bayesel.errors import DescriptorError, StructureError
from ase_bayesel.io.importing import imported
from ase_bayesel.structures.mlip import mlip_results

pytestmark = [pytest.mark.slow, pytest.mark.optional("fairchem")]
STATES = [{}, {"charge": 1, "spin": 2}, {"charge": -2}, {"spin": 3}]


def descriptor(task="omol", dtype="float32"):
    factory = "ase_bayesel.descriptors.foundation.fairchem:FAIRChemDescriptor"
    return imported(factory, "factory")(uma_file(), task, dtype)


def water(state):
    atoms = jittered(molecule("H2O"), 0.05, 2)
    atoms.info.update(state)
    return atoms


@pytest.mark.parametrize("task", ["omol", "omat"])
def test_each_state_has_the_packages_energy(task):
    ours, theirs = descriptor(task), uma_calculator(task)
    frames = [water(state) for state in STATES]
    energies = [mlip_results(theirs, atoms.copy(), True).energy for atoms in frames]
    assert len(set(np.round(energies, 4))) == len(STATES)
    batch = ours.forward_batch(frames)  # of all states at once
    np.testing.assert_allclose(batch.energies, energies, atol=1e-5)
    check_states(frames, ours)  # a training set of these is told apart
    rows = [ours.forward(atoms).phi for atoms in frames]
    assert_close(batch.phi, np.array(rows), 1e-5)
    assert np.ptp(rows, axis=0).max() > 1e-3


def test_tasks_differ_and_have_to_be_known():
    atoms = jittered(bulk("NaCl", "rocksalt", 5.6), 0.1, 1)
    energies = [descriptor(task).forward(atoms).energy for task in ("omat", "omol")]
    assert abs(energies[0] - energies[1]) > 1e-3
    assert not descriptor("omat").serves(uma_calculator("omol"))
    for task in (None, "oc20"):
        with pytest.raises(DescriptorError, match=r"task_name: expected one of omat, omol, got"):
            descriptor(task)


def test_a_calculator_of_merged_experts_is_the_same_model():
    merged, ours = uma_calculator("omat", merge_mole=True), descriptor("omat")
    atoms = copper(1)
    theirs = mlip_results(merged, atoms.copy(), True)
    assert ours.serves(merged)
    found = mlip_results(ours.calculator(), atoms.copy(), True)
    assert found.energy == pytest.approx(theirs.energy, abs=1e-5 * len(atoms))
    assert_close(found.forces, theirs.forces, 2e-4)
    assert not ours.serves(uma_calculator("omat", tf32=True))


def test_atoms_without_neighbours_beside_others():
    ours = descriptor("omat", "float64")
    pair = Atoms("Cu2", positions=[[0, 0, 0], [0, 0, 30.0]])
    frames = [pair, copper(1), pair]
    together = ours.forward_batch(frames)
    alone = [ours.forward(atoms) for atoms in frames]
    np.testing.assert_allclose(together.energies, [one.energy for one in alone], atol=1e-10)
    gradient = ours.forward(pair).gradient(1.0, last=True)
    assert not gradient.positions.any()


def test_single_atoms_have_the_energies_of_the_table(monkeypatch):
    from fairchem.core.calculate import pretrained_mlip

    tables = {"omol_elem_refs": {29: {0: -3.0, 1: 4.0}}, "omat_elem_refs": {29: -2.0}}
    known = pretrained_mlip.ResolvedCheckpoint(str(uma_file()), atom_refs=tables)
    monkeypatch.setattr(pretrained_mlip, "resolve_checkpoint", lambda *_: known)
    atom = Atoms("Cu")
    ion = Atoms("Cu", info={"charge": 1, "spin": 1})
    ours, theirs = descriptor("omol", "float64"), uma_calculator("omol")
    batch = ours.forward_batch([atom, copper(1), ion])
    np.testing.assert_allclose(batch.energies[[0, 2]], [-3.0, 4.0])
    assert batch.energies[1] == pytest.approx(ours.forward(copper(1)).energy, abs=1e-10)
    assert [mlip_results(theirs, one.copy(), False).energy for one in (atom, ion)] == [-3.0, 4.0]
    assert descriptor("omat").forward(atom).energy == -2.0
    assert np.isnan(ours.forward(Atoms("Al")).energy)


def test_spin_balanced_over_the_structure_is_extensive_for_singlets():
    """Its channels add up to 2S of the structure, which is -1 where no spin is given but omol's."""
    ours = descriptor("omat", "float64")
    off = {}
    for spin in (0, 1):
        one = jittered(bulk("NaCl", "rocksalt", 5.6), 0.1, 1)
        one.info["spin"] = spin
        off[spin] = np.abs(ours.forward(one * (2, 1, 1)).phi - 2.0 * ours.forward(one).phi).max()
    assert off[1] < 1e-8
    assert off[0] > 1e-3


def test_what_it_cannot_take():
    ours = descriptor()
    with pytest.raises(DescriptorError, match="more than 300 neighbours"):
        ours.forward(bulk("Cu", a=1.6))
    with pytest.raises(StructureError, match=r"'spin' is 1\.5"):
        ours.forward(water({"spin": 1.5}))
