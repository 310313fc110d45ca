"""What is a label, an isolated atom and an E0: one answer, for whoever asks."""

import re

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc100
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress
from helpers.structures import copper, copper_training, emt_labelled

from ase_bayesel import ACEDescriptor, fit_surrogate
from ase_bayesel.errors import StructureError
from ase_bayesel.structures.frames import read_frames, write_frames
from ase_bayesel.structures.labels import PropertyKeys, lookalikes, targets
from ase_bayesel.structures.reference_energies import (
    fitted_targets,
    is_isolated,
    reference_energies,
    reference_energies_of,
)
from ase_bayesel.structures.repeats import repeats, same_energy
from ase_bayesel.structures.survey import survey_labels

KEYS = PropertyKeys("energy", "forces", "virial")
E_CU = 3.51


def fit(frames, virial=None, e0s="isolated"):
    descriptor = ACEDescriptor(["Cu"], order=2, totaldegree=6, cutoff=4.5)
    return fit_surrogate(frames, descriptor, "energy", "forces", virial, e0s=e0s)


def box(symbol="Cu", size=20.0, pbc=True, energy=None):
    atoms = emt_labelled(Atoms(symbol, cell=[size] * 3, pbc=pbc))
    if energy is not None:
        atoms.info["energy"] = energy
    return atoms


# isolated atoms


@pytest.mark.parametrize(
    ("atoms", "isolated"),
    [
        (Atoms("Cu"), True),
        (Atoms("Cu", cell=[2, 2, 2]), True),
        (Atoms("Cu", cell=[20, 20, 20], pbc=True), True),
        (Atoms("Cu", cell=[6.1, 6.1, 6.1], pbc=True), True),
        (Atoms("Cu", cell=[5.9, 20, 20], pbc=True), False),
        (Atoms("Cu", cell=[2.5, 20, 20], pbc=(True, False, False)), False),
        (Atoms("Cu", cell=[20, 2.5, 20], pbc=(True, False, True)), True),
        (bulk("Cu"), False),
        (bulk("Fe"), False),
        (Atoms("Cu2", [[0, 0, 0], [9, 9, 9]]), False),
        (Atoms("Na", info={"charge": 1}), False),
        (Atoms("Na", info={"charge": 0}), True),
    ],
)
def test_isolated_atoms(atoms, isolated):
    assert is_isolated(atoms) == isolated


@pytest.mark.parametrize("place", [0, 4, None])
def test_a_crystal_of_one_atom_is_no_isolated_atom(place):
    frames = copper_training()
    whole = fit(frames)
    cell = emt_labelled(bulk("Cu", a=3.7))
    frames.insert(len(frames) if place is None else place, cell)
    found = fit(frames)
    isolated = next(a for a in frames if is_isolated(a))
    assert found.e0s["Cu"] == isolated.info["energy"] == pytest.approx(E_CU, abs=1e-2)
    assert found.noise.energy < 2.0 * whole.noise.energy


def test_a_crystal_alone_is_refused_with_its_frame():
    frames = [copper_training()[1], emt_labelled(bulk("Cu", a=3.7))]
    with pytest.raises(StructureError, match=r"for Cu; .*training frame 1 has one atom.*crystal"):
        reference_energies(frames, "isolated", "energy")


@pytest.mark.parametrize("difference", [0.0, 1e-4, 0.02, 5.0])
def test_two_isolated_atoms(difference):
    frames = [box(energy=1.0), copper_training()[1], box(size=15.0, energy=1.0 + difference)]
    if difference > 1e-3:
        told = "two isolated atoms of Cu contradict .* training frame 0 .* training frame 2"
        with pytest.raises(StructureError, match=told):
            reference_energies(frames, "isolated", "energy")
    else:
        assert reference_energies(frames, "isolated", "energy") == {"Cu": 1.0}


@pytest.mark.parametrize("e0s", ["average", {"Cu": 0.0}], ids=["average", "given"])
@pytest.mark.parametrize("n_isolated", [1, 2])
def test_isolated_atoms_do_not_spoil_a_fit_to_other_e0s(e0s, n_isolated):
    bound = [a for a in copper_training() if not is_isolated(a)]
    without = fit(bound, e0s=e0s)
    again = fit([box(), *bound, box(size=15.0)][2 - n_isolated : 99], e0s=e0s)
    assert again.e0s == pytest.approx(without.e0s)
    assert again.noise.forces < 2.0 * without.noise.forces
    assert again.noise.energy < 2.0 * without.noise.energy


def test_a_set_of_isolated_atoms_alone_can_be_averaged():
    e0s = reference_energies([box(energy=2.0), box(energy=3.0)], "average", "energy")
    assert e0s == {"Cu": pytest.approx(2.5)}


def test_averages_of_elements_that_are_isolated_only():
    frames = [*copper_training()[1:4], box("Au")]
    with pytest.raises(StructureError, match="no reference energy for Au"):
        reference_energies(frames, "average", "energy")


def test_e0s_say_where_they_come_from():
    frames = copper_training()
    of = {kind: reference_energies_of(frames, kind, "energy")["Cu"].source
          for kind in ("isolated", "average")}  # fmt: skip
    assert of == {"isolated": "isolated atom, frame 0", "average": "average over 9 frames"}
    assert reference_energies_of(frames, {"Cu": 1}, None)["Cu"] == (1.0, "given")


def test_fitted_targets_leave_out_energies_that_are_no_e0():
    atom = box(energy=2.0)
    assert fitted_targets(atom, KEYS, {"Cu": 2.0}).energy == 2.0
    assert fitted_targets(atom, KEYS, {"Cu": 1.0}).energy is None
    assert fitted_targets(copper_training()[1], KEYS, {"Cu": 99.0}).energy is not None


# stresses and virials


@pytest.mark.parametrize(
    ("key", "is_stress"),
    [
        *(("REF_stress", True), ("stress", True), ("dft_stress", True), ("Stress_eV", True)),
        *(("REF_virial", False), ("virial", False), ("virial_stress", False), ("w", False)),
    ],
)
@pytest.mark.parametrize("form", ["3x3", "nine", "list"])
def test_stresses_and_virials(key, is_stress, form):
    atoms = emt_labelled(copper())
    virial = atoms.info.pop("virial")
    given = -virial / atoms.get_volume() if is_stress else virial
    atoms.info[key] = {"3x3": given, "nine": given.ravel(), "list": given.tolist()}[form]
    found = targets(atoms, PropertyKeys("energy", "forces", key)).virial
    np.testing.assert_allclose(found, full_3x3_to_voigt_6_stress(virial), atol=1e-12)


@pytest.mark.parametrize("form", ["voigt", "3x3"])
def test_stresses_of_a_calculator(form, tmp_path):
    """Of .traj files of other packages too, whose tensors are not ASE's six numbers."""
    atoms = emt_labelled(copper())
    virial = atoms.info.pop("virial")
    stress = -virial / atoms.get_volume()
    bare = atoms.copy()
    bare.info.clear()
    del bare.arrays["forces"]
    bare.calc = SinglePointCalculator(
        bare, energy=1.0, stress=full_3x3_to_voigt_6_stress(stress) if form == "voigt" else stress
    )
    bare.write(tmp_path / "a.traj")
    for again in (bare, *read_frames(tmp_path / "a.traj")):
        found = targets(again, PropertyKeys("energy", None, "stress")).virial
        np.testing.assert_allclose(found, full_3x3_to_voigt_6_stress(virial), atol=1e-12)


def test_a_fit_to_stresses_is_that_to_virials():
    frames = copper_training()
    of_virials = fit(frames, "virial")
    for atoms in frames:
        virial = atoms.info.pop("virial", None)
        if virial is not None:
            atoms.info["REF_stress"] = -virial / atoms.get_volume()
    of_stresses = fit(frames, "REF_stress")
    assert of_stresses.noise.energy == pytest.approx(of_virials.noise.energy, rel=1e-6)
    probe = bulk("Cu", a=3.4)
    pressures = []
    for calculator in (EMT(), of_virials.calculator(), of_stresses.calculator()):
        probe.calc = calculator
        pressures.append(probe.get_stress()[0])
    assert pressures[2] == pytest.approx(pressures[1], rel=1e-6)
    assert np.sign(pressures[2]) == np.sign(pressures[0])


@pytest.mark.parametrize(
    "atoms",
    [
        Atoms("Cu2", [[0, 0, 0], [0, 0, 2.4]]),
        Atoms("Cu2", [[0, 0, 0], [0, 0, 2.4]], cell=[9, 9, 9]),
        fcc100("Cu", (2, 2, 2), vacuum=3.0, periodic=False),
        Atoms("Cu", cell=[3, 0, 0], pbc=(True, False, False)),
    ],
    ids=["molecule", "molecule in a cell", "slab", "chain"],
)
@pytest.mark.parametrize("key", ["virial", "stress"])
def test_no_virial_without_a_volume(atoms, key):
    atoms = atoms.copy()
    atoms.info[key] = np.zeros((3, 3))
    assert targets(atoms, PropertyKeys(None, None, key)).virial is None


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (np.ones(6), "six numbers"),
        (np.ones((2, 3)), "shape"),
        (np.arange(9.0), "not symmetric"),
        ("none", "not numeric"),
        (3.0, "shape"),
        (np.full((3, 3), np.nan), "not finite"),
    ],
)
@pytest.mark.parametrize("key", ["virial", "stress"])
def test_tensors_that_are_refused(value, told, key):
    atoms = copper()
    atoms.info[key] = value
    with pytest.raises(StructureError, match=f"f, frame 3: '{key}'.*{told}"):
        targets(atoms, PropertyKeys(None, None, key), "f, frame 3")


# magnitudes


@pytest.mark.parametrize(
    ("prop", "size", "refused"),
    [
        *(("energy", size, True) for size in (1e300, -1e300, 4.1e7, -1e12, 1.7e308)),
        *(("energy", size, False) for size in (3.9e7, -6e6, 0.0)),
        *(("forces", size, True) for size in (1e200, -1e200, 1.1e6)),
        *(("forces", size, False) for size in (9e5, -300.0)),
        *(("virial", size, True) for size in (1e300, -1e150, 4.1e7)),
        *(("stress", size, True) for size in (1e300, 1e7)),
        *(("virial", size, False) for size in (3e5,)),
        *(("stress", size, False) for size in (3.0,)),
    ],
)
def test_labels_beyond_all_that_is_possible(prop, size, refused):
    """All electrons of heavy atoms are far within."""
    atoms = copper()
    key = f"REF_{prop}"
    keys = {"stress": PropertyKeys(None, None, key)}.get(
        prop, PropertyKeys(*(key if prop == name else None for name in KEYS.__dict__))
    )
    if prop == "forces":
        atoms.arrays[key] = np.zeros((4, 3))
        atoms.arrays[key][2, 1] = size
    else:
        atoms.info[key] = size if prop == "energy" else size * np.eye(3)
    if not refused:
        assert targets(atoms, keys).properties
        return
    with pytest.raises(StructureError, match=rf"f, frame 3: '{key}' is .*more than any calc"):
        targets(atoms, keys, "f, frame 3")


# keys


@pytest.mark.parametrize(
    ("info", "arrays", "found"),
    [
        ({"energy_dft": 1.0}, {}, ["energy_dft"]),
        ({"REF_Energy": 1.0}, {}, ["REF_Energy"]),
        ({"total_energy": np.float64(1.0), "free_energy": 2}, {}, ["free_energy", "total_energy"]),
        ({"energy_weight": 1.0, "kinetic_energy": 2.0, "energy_std": 1.0}, {}, []),
        ({"config_energy_weight": 1.0, "energy_cutoff": 500.0}, {}, []),
        ({"bayesel_energy": 1.0, "energy_unit": "eV", "energies": [1.0]}, {}, []),
        ({"has_energy": True}, {}, []),
    ],
)
def test_keys_that_look_like_an_energy(info, arrays, found):
    atoms = copper()
    atoms.info = info
    assert lookalikes(atoms, "energy") == found
    if found:
        with pytest.raises(StructureError, match=f"x: has no 'REF_energy', but '{found[0]}'"):
            targets(atoms, PropertyKeys("REF_energy", None), "x")
    else:
        assert targets(atoms, PropertyKeys("REF_energy", None)).energy is None


@pytest.mark.parametrize("name", ["f_dft", "REF_Forces", "dft_force", "forces"])
def test_keys_that_look_like_forces(name):
    atoms = copper()
    atoms.info["REF_energy"] = 1.0
    atoms.arrays[name] = np.ones((4, 3))
    with pytest.raises(StructureError, match=f"x: has no 'REF_forces', but '{name}'"):
        targets(atoms, PropertyKeys("REF_energy", "REF_forces"), "x")
    atoms.arrays[name] = np.ones(4)
    assert targets(atoms, PropertyKeys("REF_energy", "REF_forces"), "x").forces is None


def test_results_of_a_calculator_look_like_labels_too():
    atoms = copper()
    atoms.calc = SinglePointCalculator(atoms, energy=1.0, forces=np.ones((4, 3)))
    for keys in (PropertyKeys("REF_energy", None), PropertyKeys(None, "REF_forces")):
        with pytest.raises(StructureError, match="has no 'REF_"):
            targets(atoms, keys)


def test_a_key_that_is_there_settles_it():
    """Energies of a cheaper method beside those of the fit are nobody's business."""
    atoms = emt_labelled(copper())
    atoms.info["energy_cheap"] = 1.0
    atoms.arrays["forces_cheap"] = np.ones((4, 3))
    assert targets(atoms, KEYS).energy == atoms.info["energy"]


# what was decided, in words


def survey(frames, keys=KEYS, e0s="isolated"):
    return survey_labels(frames, keys, e0s, "train.xyz")


def test_survey_of_a_training_set():
    frames = copper_training()
    frames[3].info["config_weight"] = 2.0
    found = survey(frames)
    assert found.counts == {"energy": 10, "forces": 10, "virial": 9}
    assert found.notes() == []
    told = "\n".join(found.lines())
    assert "labels of 10 structures: energy 10 (energy, eV); forces 10 (forces, eV/A)" in told
    assert "virial 9 (virial, eV)" in told
    assert "E0 of Cu: 3.5" in told
    assert "isolated atom, frame 0" in told
    assert "eV/atom; largest force of a structure" in told
    assert "1 structure has weights" in told


def test_survey_of_stresses():
    frames = copper_training()
    for atoms in frames:
        if "virial" in atoms.info:
            atoms.info["REF_stress"] = -atoms.info.pop("virial") / atoms.get_volume()
    (line, *_) = survey(frames, PropertyKeys("energy", "forces", "REF_stress")).lines()
    assert "virial 9 (REF_stress, eV/A^3, a stress, taken times -volume)" in line


def without_labels(frames):
    for atoms in frames[4:]:
        atoms.info.clear()
        del atoms.arrays["forces"]


def without_forces(frames):
    del frames[2].arrays["forces"]


def with_a_molecule(frames):
    frames.append(emt_labelled(Atoms("Cu2", [[0, 0, 0], [0, 0, 2.4]])))
    frames[-1].info["virial"] = np.zeros((3, 3))


def in_hartree(frames):
    for atoms in frames:
        atoms.info["energy"] /= 27.2


def in_kcal(frames):
    for atoms in frames:
        atoms.info["energy"] *= 23.06


def flipped(frames):
    for atoms in frames:
        atoms.info["energy"] *= -1


def large_forces(frames):
    for atoms in frames:
        atoms.arrays["forces"] *= 51.4


def small_forces(frames):
    for atoms in frames:
        atoms.arrays["forces"] /= 5140.0


def in_gpa(frames):
    for atoms in frames:
        if "virial" in atoms.info:
            atoms.info["virial"] *= 160.2


def smeared(frames):
    for atoms in frames:
        energy = atoms.info.pop("energy")
        forces = atoms.arrays.pop("forces")
        atoms.calc = SinglePointCalculator(
            atoms, energy=energy + 0.05 * (len(atoms) - 1), free_energy=energy, forces=forces
        )


def twice(frames):
    frames.append(frames[3].copy())
    frames[-1].info["energy"] += 1.0


def twice_with_other_forces(frames):
    frames.append(frames[3].copy())
    frames[-1].arrays["forces"][0, 0] += 0.1


def repeated(frames):
    for name in ("energy", "virial"):
        frames[5].info[name] = frames[2].info[name]
    frames[5].arrays["forces"] = frames[2].arrays["forces"].copy()


def all_alike(frames):
    for atoms in frames:
        atoms.info["energy"] = -1.5


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (repeated, "1 structure has energy and forces of another .* wrong: frames 2 and 5"),
        (all_alike, "all 10 energies are the same, -1.5 eV"),
        (twice, "1 structure is there twice with different labels.*: frames 3 and 10"),
        (twice_with_other_forces, "twice with different labels.*: frames 3 and 10"),
        (without_labels, "6 structures have no label, .*: frames 4, 5, 6, 7, 8, 9"),
        (without_forces, "1 structure lacks labels that others have: frames 2"),
        (with_a_molecule, "three periodic directions are left aside: frames 10"),
        (in_hartree, "in Hartree it would be"),
        (in_kcal, "a kcal/mol is 0.0434 eV"),
        (flipped, "above their isolated atoms"),
        (large_forces, "are they in eV/A"),
        (small_forces, "In Hartree/Bohr it would be"),
        (in_gpa, "a GPa is 0.00624"),
        (smeared, "9 structures hold a free energy too, up to .*: forces derive from it"),
    ],
)
def test_doubts_are_told(change, told, tmp_path):
    frames = copper_training()
    change(frames)
    assert any(re.search(told, note) for note in survey(frames).notes())
    write_frames(tmp_path / "train.xyz", frames)  # and after a copy of the file
    again = survey(read_frames(tmp_path / "train.xyz")).notes()
    assert any(re.search(told, note) for note in again)


def test_the_same_label_of_what_is_the_same():
    """Shifted, or in another cell of the lattice; crystals at rest have no forces at all."""
    one, shifted, wrapped = (emt_labelled(copper()) for _ in range(3))
    shifted.positions += 0.3
    wrapped.positions[1] += wrapped.cell.array[2]
    rest = [emt_labelled(bulk("Cu", a=a, cubic=True)) for a in (3.6, 3.6, 3.7)]
    for atoms in rest:
        atoms.arrays["forces"] *= 0
        atoms.info["energy"] = rest[0].info["energy"]
    frames = [one, shifted, wrapped, *rest]
    labels = [targets(atoms, KEYS) for atoms in frames]
    assert repeats(frames, labels) == {}
    assert same_energy(frames, labels) is None
    assert same_energy(rest, labels[3:]) is None  # two of three are one structure
    other = copper(5)
    assert repeats([*frames, other], [*labels, labels[0]]) == {6: 0}
    assert same_energy([one, shifted, other], [labels[0]] * 3) == labels[0].energy


def test_copies_with_the_same_labels_are_no_doubt():
    """Nor are two spin states of one geometry."""
    frames = copper_training()
    frames.append(frames[3].copy())
    other = frames[3].copy()
    other.info["energy"] += 1.0
    other.set_initial_magnetic_moments([1.0] * len(other))
    assert survey([*frames, other]).notes() == []


def test_a_test_set_that_was_trained_on_is_told():
    frames = copper_training()
    other = [copper(99), frames[4], copper(98), frames[1]]
    found = survey_labels(frames, KEYS, "isolated", "train.xyz", other)
    assert found.tested == [1, 3]
    (told,) = found.notes()
    assert told.startswith("2 structures are both in the training set and in the test set")
    assert survey_labels(frames, KEYS, "isolated", "train.xyz", other[::2]).notes() == []


def test_isolated_atoms_that_a_fit_leaves_out_are_told():
    found = survey(copper_training(), e0s="average")
    assert found.apart == [0]
    assert any("left out of the fit: frames 0" in note for note in found.notes())


def test_a_faulty_label_is_named_by_the_survey():
    frames = copper_training()
    frames[4].info["energy"] = np.inf
    with pytest.raises(StructureError, match=r"4: 'energy' is not finite"):
        survey(frames)
