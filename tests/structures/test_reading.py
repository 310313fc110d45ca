"""Other people's files: all frames are read, or the file, frame and fault are named."""

import gzip
import os
import re
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.cell import Cell
from ase.constraints import FixAtoms, FixBondLengths
from ase.io import write
from helpers.structures import copper, emt_labelled, silicon

from ase_bayesel.errors import StructureError
from ase_bayesel.structures.frames import iterate_frames, read_frames, write_frames

LATTICE = 'Lattice="10 0 0 0 10 0 0 0 10" Properties=species:S:1:pos:R:3'
PLAIN = "2\nplain\nSi 0 0 0\nSi 0 0 2.4\n"


def frame(rows, comment=LATTICE, n=2):
    return f"{n}\n{comment}\n{rows}\n"


GOOD = frame("Si 0 0 0\nSi 0 0 2.4")


def streamed(path):
    return list(iterate_frames(path))


@pytest.fixture(params=[read_frames, streamed])
def reading(request):
    """The two ways to read a file."""
    return request.param


@pytest.mark.parametrize(
    "text",
    [
        GOOD + "\n" + GOOD,
        "\n" + GOOD + GOOD,
        "\n\n \t\n" + GOOD + "\n\n\n" + GOOD + "\n\n",
        GOOD.replace("\n", "\r\n") + "\r\n" + GOOD,
        GOOD + "\n" + PLAIN,
        frame("Si 0 0 0\nSi 0 0 2.4", "") + GOOD,
        GOOD.replace("2.4\n", "2.4\nVEC1 5 0 0\nVEC2 0 5 0\nVEC3 0 0 5\n") + "\n" + GOOD,
    ],
    ids=["between", "first", "everywhere", "windows", "plain", "empty comment", "VEC"],
)
def test_empty_lines_between_frames(tmp_path, reading, text):
    (tmp_path / "joined.extxyz").write_text(text)
    assert [len(atoms) for atoms in reading(tmp_path / "joined.extxyz")] == [2, 2]


@pytest.mark.parametrize("n_first", [1, 4, 8])
def test_files_put_together(tmp_path, reading, n_first):
    frames = [emt_labelled(copper(k)) for k in range(9)]
    write(tmp_path / "a.extxyz", frames[:n_first])
    write(tmp_path / "b.extxyz", frames[n_first:])
    texts = [(tmp_path / name).read_text() for name in ("a.extxyz", "b.extxyz")]
    (tmp_path / "joined.extxyz").write_text("\n".join(texts))
    assert len(reading(tmp_path / "joined.extxyz")) == 9


@pytest.mark.parametrize(
    ("second", "told"),
    [
        (frame("O 0 0 0\nD 0 0 1"), "atom 1: species 'D' is no element: write H"),
        (frame("Si1 0 0 0\nSi2 0 0 2.4"), "atom 0: species 'Si1' is no element: write Si"),
        (frame("14 0 0 0\n14 0 0 2.4"), "species '14' is no element: give atomic numbers"),
        (frame("O 0 0 0\nBq 0 0 1"), "'Bq' is no element: ghost atoms"),
        (frame("O 0 0 0\nGhO 0 0 1"), "'GhO' is no element: ghost atoms"),
        (frame("O 0 0 0\nQq 0 0 1"), "'Qq' is no element"),
        (frame("O 0 0 0\nX 0 0 1"), "no known element: atom 1 is 'X'"),
        (frame("Si 0 0 1.0D0\nSi 0 0 3.4"), "'1.0D0' in column 'pos' is no number; write 1.0e0"),
        (frame("Si 0 0 ****\nSi 0 0 3.4"), "'\\*\\*\\*\\*' in column 'pos' is no number"),
        (frame("O 0 0 0\nO 0 0 nan"), "position of atom 1 is not finite"),
        (frame("O 0 0 0\nO 0 0 1e9"), "reaches 1e\\+09 A"),
        (frame("O 0 0 0\nO 0 0"), "atom 1 has 3 values, and Properties names 4 columns"),
        (frame("O 0 0 0 7 7 7\nO 0 0 1 7 7 7"), "atom 0 has 7 values, and Properties names 4"),
        (frame("O 0 0 0\nO 0 0 1", LATTICE + ' stress="1 2 3 4 5 6"'), "stress.*3x3"),
        (frame("O 0 0 0\nO 0 0 1", "Properties=species:S:1:pos:R"), "Properties cannot be read"),
        (frame("O 0 0 0\nO 0 0 1", "Properties=species:Q:1:pos:R:3"), "property type: Q"),
        (frame("O 0 0 0\nO 0 0 1", LATTICE + " a=1 a=2"), r"\(line 7\): 'a' is there twice"),
        (frame("O 0 0 0\nO 0 0 1", LATTICE + " 'b c'=1 'b c' = \"2\""), "'b c' is there twice"),
        (frame("O 0 0 0\nO 0 0 1", "energy=-7.5, energy=-7.4"), "'energy' is there twice"),
        (frame("O 0 0 0\nO 0 0 1", LATTICE + " pbc=T pbc='T T F'"), "'pbc' is there twice"),
        (frame("O 0 0 0 1 2\nO 0 0 1 1 2", LATTICE + ":a:R:1:a:R:1"), "cannot be read"),
        (frame("O 0 0 0\nO 0 0 0"), "atoms 0 and 1 lie on top of each other"),
        (frame("O 0 0 0.02\nO 0 0 9.99"), "atoms 0 and 1 lie on top of each other"),
        (frame("O 0 0 0\nO 0 0 1", LATTICE, n=7), "claims 7 atoms, more than the file can hold"),
        (frame("O 0 0 0\nO 0 0 1", LATTICE, n=0), "has no atoms"),
        (frame("O 0 0 0\nO 0 0 1", LATTICE, n="two"), "number of atoms, here is 'two'"),
    ],
)
def test_faults_are_named_with_file_and_frame(tmp_path, reading, second, told):
    path = tmp_path / "given.extxyz"
    path.write_text(GOOD + "\n" + second)
    with pytest.raises(StructureError, match=rf"given\.extxyz, frame 1\b.*{told}"):
        reading(path)
    path.write_text(GOOD + "\n" + second + GOOD)
    with pytest.raises(StructureError, match=r"given\.extxyz, frame 1\b"):
        reading(path)


COLUMNS = "Properties=species:S:1:pos:R:3"
CELL = '"10 0 0 0 10 0 0 0 10"'


@pytest.mark.parametrize(
    ("comment", "told"),
    [
        (LATTICE + ' PBC="T T F"', "'PBC' means nothing; write pbc"),
        (LATTICE + ' Pbc="T T F" energy=-1', "'Pbc' means nothing"),
        (f"lattice={CELL} {COLUMNS}", "'lattice' means nothing; write Lattice"),
        (f"LATTICE={CELL} {COLUMNS}", "'LATTICE' means nothing; write Lattice"),
        (f"Lattice={CELL} properties=species:S:1:pos:R:3", "'properties' means nothing"),
        (f"cell={CELL} {COLUMNS}", "'cell' is no cell; write the nine numbers as Lattice"),
        (f"Latice={CELL} {COLUMNS}", "'Latice' is no cell"),
        (f"box='10 10 10' {COLUMNS}", "'box' is no cell"),
        (f'{LATTICE} pbc="yes yes no"', "pbc='yes yes no' must be three of T and F"),
        (f'{LATTICE} pbc="t t f"', "pbc='t t f' must be"),
        (f'{LATTICE} pbc="TTF"', "pbc='TTF' must be"),
        (f'{LATTICE} pbc="T T"', "pbc='T T' must be"),
        (f"{LATTICE} pbc=yes", "pbc='yes' must be"),
        (f'{LATTICE} pbc="2 2 0"', "pbc='2 2 0' must be"),
        (f'{LATTICE} note="abc energy=-1.0', "a quote or bracket is not closed, and takes in"),
        (f"{LATTICE} note=[1,2 energy=-1.0", "a quote or bracket is not closed"),
    ],
)
def test_comments_that_would_mean_something_else(tmp_path, reading, comment, told):
    path = tmp_path / "given.extxyz"
    path.write_text(GOOD + frame("Si 0 0 0\nSi 0 0 2.4", comment))
    with pytest.raises(StructureError, match=rf"given\.extxyz, frame 1 \(line 6\): .*{told}"):
        reading(path)


@pytest.mark.parametrize(
    ("comment", "pbc"),
    [
        (LATTICE + ' pbc="1 1 0"', (True, True, False)),
        (LATTICE + " pbc=F", (False, False, False)),
        (LATTICE + " pbc=[T,T,F]", (True, True, False)),
        (LATTICE + ' pbc="True true FALSE"', (True, True, False)),
        (LATTICE + ' pbc="T T F" PBC="F F F"', (True, True, False)),
        (f'{COLUMNS} cell={CELL} pbc="F F F"', (False, False, False)),
        (f"{LATTICE} cell={CELL}", (True, True, True)),
        ("it's 5 o'clock \"now", (False, False, False)),
        ("cellulose box=large", (False, False, False)),
    ],
)
def test_comments_that_mean_what_they_say(tmp_path, reading, comment, pbc):
    path = tmp_path / "given.extxyz"
    path.write_text(frame("Si 0 0 0\nSi 0 0 2.4", comment))
    assert tuple(reading(path)[0].pbc) == pbc


@pytest.mark.parametrize(
    ("column", "values", "told"),
    [
        ("Z:I:1", ("14", "29"), "atom 1 is Si by its species and 29 by Z"),
        ("masses:R:1", ("28.0", "0.0"), "the mass of atom 1 is 0"),
        ("masses:R:1", ("-1.0", "28.0"), "the mass of atom 0 is -1"),
        ("masses:R:1", ("28.0", "nan"), "'masses' of an atom is no finite number"),
        ("momenta:R:3", ("0 0 0", "0 nan 0"), "'momenta' of an atom is no finite number"),
        ("momenta:R:3", ("inf 0 0", "0 0 0"), "'momenta' of an atom is no finite number"),
        ("initial_magmoms:R:1", ("nan", "0"), "'initial_magmoms' of an atom"),
        ("initial_charges:R:1", ("nan", "0"), "'initial_charges' of an atom"),
    ],
)
def test_columns_that_contradict_or_make_no_sense(tmp_path, reading, column, values, told):
    rows = f"Si 0 0 0 {values[0]}\nSi 0 0 2.4 {values[1]}"
    path = tmp_path / "given.extxyz"
    path.write_text(GOOD + frame(rows, f"{LATTICE}:{column}"))
    with pytest.raises(StructureError, match=rf"given\.extxyz, frame 1.*: .*{told}"):
        reading(path)


@pytest.mark.parametrize(
    ("comment", "key", "value"),
    [
        ("a=1 a = '1'", "a", 1),
        ("a=1 note='a=2 a=3'", "a", 1),
        (r'a=1 note="a=2 \" a=3"', "note", 'a=2 " a=3'),
        ("a=1=2 b=[a=3]", "a", "1=2"),
        ("a a", "a", True),
    ],
)
def test_keys_that_are_not_there_twice(tmp_path, reading, comment, key, value):
    """Or say the same."""
    path = tmp_path / "given.extxyz"
    path.write_text(frame("O 0 0 0\nO 0 0 1", f"{LATTICE} {comment}"))
    assert reading(path)[0].info[key] == value


def test_what_is_no_file(tmp_path, reading):
    os.mkfifo(tmp_path / "pipe.extxyz")
    for path in (tmp_path, tmp_path / "pipe.extxyz", Path("/dev/null")):
        with pytest.raises(StructureError, match=f"{path}: is a folder or a device"):
            reading(path)


def test_the_line_is_named(tmp_path):
    path = tmp_path / "given.extxyz"
    path.write_text(GOOD + "\n\n" + frame("O 0 0 0\nD 0 0 1"))
    with pytest.raises(StructureError, match=r"frame 1 \(line 7\)"):
        read_frames(path)


@pytest.mark.parametrize("ending", [".txt", ".dat", "", ".300K"])
def test_endings_that_tell_nothing(tmp_path, reading, ending):
    path = tmp_path / f"frames{ending}"
    path.write_text(GOOD + "\n" + GOOD)
    assert len(reading(path)) == 2
    path.write_text("neither this\nnor that\n")
    with pytest.raises(StructureError, match=re.escape(str(path))):
        reading(path)


@pytest.mark.parametrize("suffix", [".extxyz.gz", ".xyz.gz"])
def test_compressed_files(tmp_path, reading, suffix):
    path = tmp_path / f"frames{suffix}"
    path.write_bytes(gzip.compress((GOOD + "\n" + GOOD).encode()))
    assert len(reading(path)) == 2
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(StructureError, match=r"frames.*gz: cannot be read"):
        reading(path)


@pytest.mark.parametrize(
    "name", ["cu@300K.extxyz", "run@1", "@.xyz", "a@:3.traj", "cu@300K.traj", "b@-1.json"]
)
def test_an_at_sign_is_part_of_a_name(tmp_path, reading, name):
    ending = {"traj": ".traj", "json": ".json"}.get(name.rpartition(".")[2], ".extxyz")
    write(tmp_path / f"other{ending}", [copper(k) for k in range(3)])
    (tmp_path / f"other{ending}").rename(tmp_path / name)
    before = name.partition("@")[0]
    if before:
        write(tmp_path / before, [copper()] * 9, format="extxyz")
    assert len(reading(tmp_path / name)) == 3


def test_rows_beyond_the_number_of_atoms(tmp_path, reading):
    (tmp_path / "f.xyz").write_text(GOOD + frame("O 0 0 0\nO 0 0 1", n=1))
    with pytest.raises(StructureError, match="number of atoms, here is 'O 0 0 1'"):
        reading(tmp_path / "f.xyz")


def test_partial_occupancies(tmp_path, reading):
    atoms = bulk("Si", cubic=True)
    for sites, ok in (
        ({"0": {"Si": 1.0}}, True),
        ({"0": {"Si": 0.5}}, False),
        ({"0": {"Si": 0.5, "Ge": 0.5}}, False),
    ):
        atoms.info["occupancy"] = sites
        write(tmp_path / "sites.traj", [silicon(), atoms])
        if ok:
            assert len(reading(tmp_path / "sites.traj")) == 2
        else:
            with pytest.raises(StructureError, match=r"traj, frame 1: site 0 is partially"):
                reading(tmp_path / "sites.traj")


@pytest.mark.parametrize("constraint", [FixAtoms([8]), FixBondLengths([(0, 99)])])
def test_constraints_of_atoms_that_are_not_there(tmp_path, reading, constraint):
    atoms = silicon()
    atoms.constraints = [constraint]
    write(tmp_path / "held.json", [silicon(), atoms])
    with pytest.raises(StructureError, match=r"held\.json, frame 1: Fix\w+ is of atom (8|99)"):
        reading(tmp_path / "held.json")


@pytest.mark.parametrize("pbc", [True, False, (True, False, True)])
@pytest.mark.parametrize("close", [0.0, 0.05, 0.5])
def test_atoms_on_top_of_each_other(tmp_path, reading, pbc, close):
    atoms = silicon()
    atoms.pbc = pbc
    atoms.append("Si")
    atoms.positions[-1] = atoms.positions[3] + [0, close, 0]
    write(tmp_path / "twice.traj", [silicon(), atoms])
    if close > 0.1:
        assert len(reading(tmp_path / "twice.traj")) == 2
        return
    with pytest.raises(StructureError, match=r"twice\.traj, frame 1: atoms 3 and 8 lie on top"):
        reading(tmp_path / "twice.traj")


def test_atoms_on_top_of_an_image(tmp_path):
    """Where a cell is repeated with its border, say."""
    cell = np.array([[4.0, 0, 0], [1.0, 4, 0], [0.5, 0.5, 5.0]])
    for steps in np.ndindex(3, 3, 3):
        atoms = Atoms("Cu2", [[0.3, 0.2, 0.1], [0.3, 0.2, 0.1]], cell=cell, pbc=True)
        atoms.positions[1] += (np.array(steps) - 1) @ cell + 0.01
        with pytest.raises(StructureError, match="on top of each other"):
            write_and_read(tmp_path, atoms)
        atoms.positions[1] += [1.0, 0.5, 0.5]
        write_and_read(tmp_path, atoms)


def write_and_read(folder, atoms):
    write_frames(folder / "frames.extxyz", [atoms])
    return read_frames(folder / "frames.extxyz")[0]


def test_a_torn_trajectory_is_named(tmp_path, reading):
    write(tmp_path / "torn.traj", [silicon()] * 3)
    content = (tmp_path / "torn.traj").read_bytes()
    (tmp_path / "torn.traj").write_bytes(content[: len(content) // 2])
    with pytest.raises(StructureError, match=r"torn\.traj"):
        reading(tmp_path / "torn.traj")


def test_results_of_a_trajectory_are_read(tmp_path, reading):
    atoms = silicon()
    atoms.calc = SinglePointCalculator(atoms, energy=1.0, stress=np.eye(3))
    write(tmp_path / "a.traj", atoms)
    (again,) = reading(tmp_path / "a.traj")
    assert again.calc.results["stress"].shape == (3, 3)


@pytest.mark.parametrize(
    "value",
    [Cell.new([1, 2, 3]), [1, {"a": copper()}], datetime(2024, 1, 2, 3, 4, 5, 6)],
    ids=lambda value: type(value).__name__,
)
def test_what_no_file_of_ours_can_hold_is_refused_when_it_is_read(tmp_path, reading, value):
    """A trajectory of ASE holds more kinds of values."""
    good, odd = copper(), copper()
    odd.info["odd"] = value
    write(tmp_path / "a.traj", [good, odd])
    told = r"a\.traj, frame 1: info\['odd'\] of type \w+ cannot be written .*remove it"
    with pytest.raises(StructureError, match=told):
        reading(tmp_path / "a.traj")
