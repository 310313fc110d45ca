import weakref
from collections.abc import Sequence

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import (
    FixAtoms,
    FixBondLengths,
    FixCartesian,
    FixCom,
    FixConstraint,
    FixedLine,
    FixedPlane,
    FixInternals,
    Hookean,
)
from ase.io import write
from ase.neighborlist import neighbor_list
from helpers.structures import alloy, copper, emt_labelled, silicon, with_pbc
from hypothesis import given, reject
from hypothesis import strategies as st

from ase_bayesel.errors import StructureError
from ase_bayesel.structures.checks import check_structure
from ase_bayesel.structures.frames import iterate_frames, read_frames, write_frames
from ase_bayesel.structures.identity import canonical, structure_id
from ase_bayesel.structures.labels import PropertyKeys, targets
from ase_bayesel.structures.neighbours import neighbour_pairs
from ase_bayesel.structures.reference_energies import composition_energy, reference_energies

SEEDS = st.integers(0, 2**32 - 1)
KEYS = PropertyKeys("energy", "forces", "virial")


def round_trip(atoms, folder):
    path = folder / "frames.extxyz"
    write_frames(path, [atoms])
    return read_frames(path)[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("structures")


# reading


def streamed(path):
    return list(iterate_frames(path))


@pytest.fixture(params=[read_frames, streamed])
def reading(request):
    """The two ways to read a file."""
    return request.param


def test_reads_what_it_wrote(tmp_path, reading):
    frames = [emt_labelled(copper(k)) for k in range(3)] + [molecule("H2O")]
    write_frames(tmp_path / "frames.extxyz", frames)
    again = reading(tmp_path / "frames.extxyz")
    assert [len(a) for a in again] == [4, 4, 4, 3]
    for before, after in zip(frames, again, strict=True):
        np.testing.assert_allclose(after.positions, before.positions, atol=1e-8)
        assert (after.pbc == before.pbc).all()
    for before, after in zip(frames[:3], again, strict=False):
        expected, found = targets(before, KEYS), targets(after, KEYS)
        assert found.energy == pytest.approx(expected.energy, abs=1e-8)
        np.testing.assert_allclose(found.forces, expected.forces, atol=1e-8)
        np.testing.assert_allclose(found.virial, expected.virial, atol=1e-8)


def test_missing_and_empty_file(tmp_path, reading):
    with pytest.raises(StructureError, match=r"nowhere\.xyz: no such file"):
        reading(tmp_path / "nowhere.xyz")
    (tmp_path / "empty.extxyz").touch()
    with pytest.raises(StructureError, match=r"empty\.extxyz: the file is empty"):
        reading(tmp_path / "empty.extxyz")
    with pytest.raises(StructureError):
        reading(tmp_path)


def test_torn_file_is_named(tmp_path, reading):
    path = tmp_path / "torn.extxyz"
    write_frames(path, [silicon(), silicon()])
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-3]))
    with pytest.raises(StructureError, match=r"torn\.extxyz"):
        reading(path)
    path.write_bytes(b"\x00\x01 not a structure \xff")
    with pytest.raises(StructureError, match=r"torn\.extxyz"):
        reading(path)


def test_faulty_frame_is_named(tmp_path, reading):
    broken = silicon()
    broken.positions[5, 2] = np.nan
    path = tmp_path / "nan.extxyz"
    write(path, [silicon(), broken], format="extxyz")
    with pytest.raises(StructureError, match=r"nan\.extxyz, frame 1: position of atom 5"):
        reading(path)


def test_periodic_without_a_cell_is_named(tmp_path, reading):
    header = 'Properties=species:S:1:pos:R:3 pbc="T T T"'
    path = tmp_path / "cell.extxyz"
    path.write_text(f'1\nLattice="0 0 0 0 0 0 0 0 0" {header}\nSi 0.0 0.0 0.0\n')
    with pytest.raises(StructureError, match=r"cell\.extxyz, frame 0: periodic .* cell is zero"):
        reading(path)


@pytest.mark.parametrize(
    ("atoms", "message"),
    [
        (Atoms(), "has no atoms"),
        (Atoms("X"), "no known element"),
        (Atoms("Si", [[np.inf, 0, 0]]), "position of atom 0"),
        (Atoms("Si", cell=[np.nan, 1, 1]), "cell is not finite"),
        (Atoms("Si", cell=[4, 4, 0], pbc=True), "cell is zero"),
        (Atoms("Si", cell=[4, 0, 4], pbc=(False, True, False)), "cell is zero"),
        (Atoms("Si", cell=[[4, 0, 0], [4, 0, 0], [0, 0, 4]], pbc=(True, True, False)), "flat"),
    ],
)
def test_unusable_structures(atoms, message):
    with pytest.raises(StructureError, match=f"^here: .*{message}"):
        check_structure(atoms, "here")


@pytest.mark.parametrize("pbc", [False, (True, True, False), (False, False, True)])
def test_usable_structures(pbc):
    check_structure(with_pbc(silicon(), pbc, keep_cell=False), "here")


# identity


@st.composite
def structures(draw):
    coordinate = st.floats(-100, 100, allow_nan=False)
    vectors = st.tuples(coordinate, coordinate, coordinate)
    symbols = draw(st.lists(st.sampled_from(["H", "Si", "Au"]), min_size=1, max_size=4))
    positions = draw(st.lists(vectors, min_size=len(symbols), max_size=len(symbols)))
    cell = 200 * np.eye(3) + np.array(draw(st.tuples(vectors, vectors, vectors))) / 2
    atoms = Atoms(symbols, positions, cell=cell, pbc=draw(st.tuples(*[st.booleans()] * 3)))
    try:
        check_structure(atoms, "drawn")
    except StructureError:
        reject()  # two atoms on top of each other
    return atoms


@given(atoms=structures())
def test_id_of_canonical_structures_survives_a_file(folder, atoms):
    kept = canonical(atoms)
    again = round_trip(kept, folder)
    assert structure_id(again) == structure_id(kept) == structure_id(atoms)
    np.testing.assert_array_equal(again.positions, kept.positions)
    assert structure_id(canonical(again)) == structure_id(kept)


@given(seed=SEEDS, periodic=st.booleans())
def test_id_of_any_structure_survives_a_file(folder, seed, periodic):
    atoms = with_pbc(alloy(seed=seed), periodic, keep_cell=periodic)
    assert structure_id(round_trip(atoms, folder)) == structure_id(atoms)


def test_id_sees_every_part_of_a_structure_and_nothing_else():
    atoms = silicon()
    same = atoms.copy()
    same.info["energy"] = 3.0
    same.set_momenta(np.ones((8, 3)))
    same.positions[0, 0] += 1e-12
    assert structure_id(same) == structure_id(atoms)
    changed = [atoms.copy() for _ in range(5)]
    changed[0].positions[7, 2] += 1e-7
    changed[1].cell[2, 2] += 1e-7
    changed[2].pbc = (True, True, False)
    changed[3].symbols[0] = "Ge"
    changed[4] = atoms[[1, 0, 2, 3, 4, 5, 6, 7]]
    assert len({structure_id(a) for a in [atoms, *changed]}) == 6
    assert len(structure_id(atoms)) == 16
    int(structure_id(atoms).removeprefix("s"), 16)


def test_negative_zero_is_zero():
    first, second = Atoms("Si", [[0.0, 0.0, 0.0]]), Atoms("Si", [[-0.0, -1e-12, 0.0]])
    assert structure_id(first) == structure_id(second)


def test_canonical_is_bare_and_keeps_constraints_and_tags():
    atoms = emt_labelled(copper())
    atoms.set_constraint(FixAtoms([1]))
    atoms.set_tags([0, 1, 2, 3])
    atoms.set_momenta(np.ones((4, 3)), apply_constraint=False)
    before = atoms.copy()
    bare = canonical(atoms)
    assert atoms == before
    assert bare.info == {}
    assert "forces" not in bare.arrays
    assert bare.calc is None
    assert bare.constraints[0].index.tolist() == [1]
    # as its docstring says
    assert bare.get_tags().tolist() == [0, 1, 2, 3]


# labels


@pytest.mark.parametrize(
    "constraints",
    [
        [FixCom()],
        [FixedLine([0, 3], [1, 1, 0])],
        [FixAtoms([1, 2]), FixedPlane([4], [0, 0, 1])],
        [FixBondLengths([(0, 1), (2, 3)])],
        [FixInternals(bonds=[[2.5, [0, 1]]])],
        [Hookean(0, 1, k=2.0, rt=3.0), FixCom()],
        [FixCartesian(2, [True, False, True])],
    ],
    ids=lambda constraints: "+".join(type(c).__name__ for c in constraints),
)
def test_constraints_survive_a_file(tmp_path, constraints):
    """What they do to forces and momenta is the same; other frames have none."""
    atoms = silicon()
    atoms.info["name"] = "held"
    atoms.set_constraint(constraints)
    write_frames(tmp_path / "frames.extxyz", [silicon(), atoms])
    assert atoms.constraints[0] is constraints[0]
    free, held = read_frames(tmp_path / "frames.extxyz")
    assert free.constraints == []
    assert held.info == {"name": "held"}
    dof = [a.get_number_of_degrees_of_freedom() for a in (held, atoms)]
    assert dof[0] == dof[1] < 24
    given = np.random.default_rng(0).normal(size=(8, 3))
    for one in (held, atoms):
        one.set_momenta(given)
    np.testing.assert_allclose(held.get_momenta(), atoms.get_momenta(), atol=1e-6)


class Nameless(FixConstraint):
    """A user's own constraint, without ``todict``."""

    def adjust_positions(self, atoms, new):
        """Nothing."""


def test_constraints_that_cannot_be_kept_are_named(tmp_path):
    atoms = silicon()
    atoms.set_constraint(Nameless())
    with pytest.raises(StructureError, match="Nameless"):
        write_frames(tmp_path / "frames.extxyz", [atoms])
    atoms.set_constraint(FixCom())
    write_frames(tmp_path / "frames.extxyz", [atoms])
    text = (tmp_path / "frames.extxyz").read_text()
    (tmp_path / "frames.extxyz").write_text(text.replace("FixCom", "FixSpin"))
    with pytest.raises(StructureError, match="frame 0: bayesel_constraints"):
        read_frames(tmp_path / "frames.extxyz")


def test_targets_in_voigt_order():
    atoms = Atoms("Si", cell=[4, 4, 4], pbc=True)
    atoms.info["virial"] = np.array([[1, 6, 5], [6, 2, 4], [5, 4, 3.0]])
    assert targets(atoms, KEYS).virial.tolist() == [1, 2, 3, 4, 5, 6]
    atoms.info["virial"] = atoms.info["virial"].ravel()
    assert targets(atoms, KEYS).virial.tolist() == [1, 2, 3, 4, 5, 6]


def test_targets_that_are_missing():
    found = targets(Atoms("Si"), KEYS)
    assert (found.energy, found.forces, found.virial) == (None, None, None)
    labelled = emt_labelled(copper())
    found = targets(labelled, PropertyKeys(None, None, None))
    assert (found.energy, found.forces, found.virial) == (None, None, None)


def test_targets_under_other_keys():
    atoms = Atoms("Si", info={"dft_energy": 2, "energy": 1})
    atoms.arrays["dft_force"] = np.ones((1, 3))
    found = targets(atoms, PropertyKeys("dft_energy", "dft_force"))
    assert found.energy == 2.0
    assert found.forces.tolist() == [[1, 1, 1]]


def test_targets_of_an_attached_calculator():
    atoms = emt_labelled(copper())
    expected = targets(atoms, KEYS)
    bare = atoms.copy()
    bare.calc = EMT()
    results = {p: bare.calc.get_property(p, bare) for p in ("energy", "forces", "stress")}
    bare.info, bare.arrays = {}, {k: bare.arrays[k] for k in ("numbers", "positions")}
    bare.calc = SinglePointCalculator(bare, **results)
    found = targets(bare, PropertyKeys("energy", "forces", "stress"))
    assert found.energy == expected.energy
    np.testing.assert_array_equal(found.forces, expected.forces)
    np.testing.assert_allclose(found.virial, expected.virial, atol=1e-12)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("energy", "many", "not numeric"),
        ("energy", np.nan, "not finite"),
        ("energy", [1.0, 2.0], "shape"),
        ("energy", True, "not numeric"),
        ("energy", 1j, "not numeric"),
        ("energy", [[1.0], [2.0, 3.0]], "not numeric"),
        ("virial", [[1.0], [2.0, 3.0]], "not numeric"),
        ("virial", [1.0] * 6, "six numbers"),
        ("virial", [1.0] * 4, "shape"),
        ("virial", [[0, 1, 0], [0, 0, 0], [0, 0, 0]], "not symmetric"),
        ("virial", [[np.inf] * 3] * 3, "not finite"),
    ],
)
def test_faulty_targets_are_named(key, value, message):
    atoms = Atoms("Si", info={key: value}, cell=[4, 4, 4], pbc=True)
    with pytest.raises(StructureError, match=f"frame 7: '{key}'.*{message}"):
        targets(atoms, KEYS, "frame 7")


def test_faulty_forces_are_named():
    atoms = silicon()
    atoms.arrays["forces"] = np.ones((8, 2))
    with pytest.raises(StructureError, match=r"frame 7: 'forces' has shape \(8, 2\)"):
        targets(atoms, KEYS, "frame 7")


# reference energies


def test_isolated_reference_energies():
    frames = [emt_labelled(Atoms("Cu")), emt_labelled(Atoms("Au")), emt_labelled(alloy("CuAuCuAu"))]
    e0s = reference_energies(frames, "isolated", "energy")
    assert e0s == {s: a.info["energy"] for s, a in zip(("Cu", "Au"), frames, strict=False)}
    with pytest.raises(StructureError, match="no reference energy for Au; add a single-atom"):
        reference_energies([frames[0], frames[2]], "isolated", "energy")


def test_average_reference_energies():
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(6):
        atoms = alloy("".join(rng.choice(["Cu", "Au"], 4)))
        atoms.info["energy"] = composition_energy(atoms, {"Cu": -3.5, "Au": 2.25})
        frames.append(atoms)
    e0s = reference_energies(frames, "average", "energy")
    assert e0s == pytest.approx({"Cu": -3.5, "Au": 2.25}, abs=1e-12)
    with pytest.raises(StructureError, match="energy under the key"):
        reference_energies(frames, "average", None)


@pytest.mark.parametrize("e0s", ["isolated", "average"])
def test_structures_are_not_held_for_their_reference_energies(e0s):
    """They are read when they are needed, however many there are."""
    alive, most = weakref.WeakSet(), [0]

    class Read(Atoms):
        __hash__ = object.__hash__

    class FromDisk(Sequence):
        def __len__(self):
            return 40

        def __getitem__(self, index):
            if index >= 40:
                raise IndexError
            atoms = Read("Cu", info={"energy": -1.0})
            alive.add(atoms)
            most[0] = max(most[0], len(alive))
            return atoms

    assert reference_energies(FromDisk(), e0s, "energy")["Cu"] == pytest.approx(-1.0)
    assert most[0] < 10


def test_given_reference_energies():
    assert reference_energies([alloy("CuAuCuAu")], {"Cu": 1, "Au": 2}, None) == {"Cu": 1, "Au": 2}
    with pytest.raises(StructureError, match="Al; add it to e0s"):
        reference_energies([alloy("CuAlCuAl")], {"Cu": 1.0}, None)
    with pytest.raises(StructureError, match="'mean'"):
        reference_energies([], "mean", None)


def test_composition_energy():
    assert composition_energy(molecule("H2O"), {"H": 1.0, "O": 10.0}) == 12.0


# neighbours


def sorted_pairs(i, j, vectors):
    order = np.lexsort((*np.round(vectors, 5).T, j, i))
    return np.column_stack([i, j, vectors])[order]


@given(
    seed=SEEDS,
    n_atoms=st.integers(1, 6),
    pbc=st.tuples(*[st.booleans()] * 3),
    zero_cell=st.booleans(),
    cutoff=st.floats(0.5, 5.0),
)
def test_pairs_against_ase(seed, n_atoms, pbc, zero_cell, cutoff):
    rng = np.random.default_rng(seed)
    cell = np.diag(rng.uniform(2, 6, 3)) + rng.uniform(-0.9, 0.9, (3, 3))
    positions = rng.uniform(-8, 8, (n_atoms, 3))
    atoms = with_pbc(Atoms(f"Si{n_atoms}", positions, cell=cell), pbc, not zero_cell)
    ours = neighbour_pairs(atoms, cutoff)
    theirs = neighbor_list("ijD", atoms, cutoff)
    assert len(ours[0]) == len(theirs[0])
    assert (np.diff(ours[0]) >= 0).all()
    np.testing.assert_allclose(sorted_pairs(*ours), sorted_pairs(*theirs), atol=1e-8)


def test_pairs_with_many_images():
    atoms = bulk("Cu", "fcc", a=3.6)
    i, _, vectors = neighbour_pairs(atoms, 8.0)
    assert len(i) == len(neighbor_list("i", atoms, 8.0)) > 100
    assert np.linalg.norm(vectors, axis=1).max() <= 8.0


def test_pairs_of_a_molecule_with_a_flat_cell():
    atoms = molecule("CH4")
    atoms.cell[:] = [[5, 0, 0], [5, 0, 0], [0, 0, 0]]
    i, _, _ = neighbour_pairs(atoms, 1.5)
    assert np.bincount(i).tolist() == [4, 1, 1, 1, 1]


def test_pairs_of_fragments_far_apart():
    """An exploded cluster; the search must not fill the space between the fragments."""
    atoms = Atoms("Cu3", [[0, 0, 0], [0, 0, 2.5], [1e4, 1e4, 1e4]])
    i, j, _ = neighbour_pairs(atoms, 5.0)
    assert sorted(zip(i.tolist(), j.tolist(), strict=True)) == [(0, 1), (1, 0)]


# real data


def test_silicon_data(si2018, folder):
    frames = read_frames(si2018 / "core.extxyz")
    keys = PropertyKeys("dft_energy", "dft_force", "dft_virial")
    labels = [targets(atoms, keys) for atoms in frames]
    assert all(label.energy is not None and label.forces is not None for label in labels)
    e0s = reference_energies(frames, "isolated", "dft_energy")
    assert e0s == {"Si": -158.54496821}
    identities = [structure_id(atoms) for atoms in frames]
    assert len(set(identities)) == len(frames)
    write_frames(folder / "again.extxyz", frames)
    assert [structure_id(a) for a in read_frames(folder / "again.extxyz")] == identities
