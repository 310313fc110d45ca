"""The quick way to read and check a file is the slow one's, to the last bit."""

import io
from itertools import islice

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from ase.io.extxyz import key_val_str_to_dict
from helpers.any_frames import frames
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ase_bayesel.errors import StructureError
from ase_bayesel.structures.checks import check_structure
from ase_bayesel.structures.extxyz import blocks
from ase_bayesel.structures.frames import CHUNK_FRAMES, extxyz_bytes, iterate_frames
from ase_bayesel.structures.plain_extxyz import plain_atoms, plain_info
from ase_bayesel.structures.quick_checks import surely_sound

PLAIN = "Properties=species:S:1:pos:R:3"
LATTICE = 'Lattice="5.0 0 0 0 5 0 0 0.5 5"'
ROWS = ["Si 0 0 0\n", "c 1.25 -0.0 1e-3\n"]


def identical(one, other):
    """Also in type, and in the layout of arrays in memory."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            identical(one[key], other[key])
    elif isinstance(one, np.ndarray):
        assert (one.dtype, one.shape, one.flags.f_contiguous) == (
            *(other.dtype, other.shape, other.flags.f_contiguous),
        )
        if one.dtype.kind == "O":
            assert one.tolist() == other.tolist()
        else:
            assert one.tobytes() == other.tobytes()
    else:
        assert one == other or (one != one and other != other)


def identical_atoms(one, other):
    identical(one.arrays, other.arrays)
    identical(one.info, other.info)
    identical(one.cell.array, other.cell.array)
    identical(one.pbc, other.pbc)
    assert (one.calc is None) == (other.calc is None)
    if one.calc is not None:
        identical(one.calc.results, other.calc.results)
        identical_atoms(one.calc.atoms, other.calc.atoms)


def by_both(comment, rows):
    """What is read in few steps, and what ASE reads, if anything."""
    text = f"{len(rows)}\n{comment}\n{''.join(rows)}"
    return plain_atoms(comment + "\n", rows), read(io.StringIO(text), format="extxyz", index=0)


@settings(max_examples=40)
@given(given=frames(), ours=st.booleans())
def test_whatever_is_read_in_few_steps_is_what_ase_reads(given, ours):
    text = extxyz_bytes([given]).decode()
    if not ours:
        out = io.StringIO()
        try:
            write(out, given, format="extxyz")
        except Exception:  # what ASE cannot write
            assume(False)
        text = out.getvalue()
    for block in blocks(io.StringIO(text), "given"):
        atoms = plain_atoms(block.comment, block.rows)
        if atoms is not None:
            identical_atoms(atoms, read(io.StringIO(block.text), format="extxyz", index=0))


def test_files_of_ours_are_read_in_few_steps():
    atoms = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    atoms.rattle(0.1, seed=1)
    n, rng = len(atoms), np.random.default_rng(0)
    atoms.info |= {"config_type": "rattled", "step": 3, "on": True, "weights": np.array([1.5, 2])}
    atoms.set_tags(range(n))
    atoms.set_momenta(rng.normal(size=(n, 3)))
    atoms.arrays["flag"] = np.arange(n) % 2 == 0
    atoms.arrays["where"] = np.array(["bulk"] * n, object)
    values = {"energy": -1.0, "forces": rng.normal(size=(n, 3)), "stress": rng.normal(size=6)}
    atoms.calc = SinglePointCalculator(atoms, **values)
    (block,) = blocks(io.StringIO(extxyz_bytes([atoms]).decode()), "given")
    again = plain_atoms(block.comment, block.rows)
    assert again is not None
    identical_atoms(again, read(io.StringIO(block.text), format="extxyz", index=0))


@pytest.mark.parametrize(
    "comment",
    [
        f"{LATTICE} {PLAIN}",
        f'{PLAIN} {LATTICE} pbc="T F T" energy=1 free_energy=-1e-3',
        f"{LATTICE} {PLAIN} pbc=F",
        f'{PLAIN} a=1 b=1.0 c="1 2" d="1, 2.5" e=nan f=+3 g=-inf h=T i="T F" j=true k=1e400',
        f"{PLAIN} a=12345678901234567890 b=x-1 c=1_000x d=1:2 e=a,b f=2026-11-27 g=2",
        f'{PLAIN} a=1764279000000000000 b=-123456789012345678 c="1 1764279000000000000"',
        f'{PLAIN} stress="1 2 3 4 5 6 7 8 9" virial="1 2 3 2 1 3 3 3 1"',
        "Properties=species:S:1:charge:R:1:pos:R:3",
        "Properties=symbols:S:1:magmoms:I:1:positions:R:3",
    ],
)
def test_comment_lines_that_are_plain(comment):
    rows = ROWS if PLAIN in comment else [f"Si 1 {row.split(None, 1)[1]}" for row in ROWS]
    plain, by_ase = by_both(comment, rows)
    assert plain is not None
    identical_atoms(plain, by_ase)


@pytest.mark.parametrize(
    "comment",
    [
        "",
        "plain text",
        f"{LATTICE} {PLAIN} flag",
        f"{PLAIN} a='x y'",
        f"{PLAIN} a={{1 2}}",
        rf'{PLAIN} a="b \" c"',
        f'{PLAIN} a=""',
        f'{PLAIN} a=" "',
        f"{PLAIN} a=1_0",
        f"{PLAIN} uid=12",
        f'{PLAIN} a="_JSON [1]"',
        f"{PLAIN} a=\u00e9",
        f"{PLAIN} a = 1",
        f"{PLAIN} a=b=c",
        'Properties=species:S:1:pos:R:3 "a b"=1',
        "Properties=pos:R:3:species:S:1:Z:I:1",
        "Properties=species:S:1:pos:R:2:pos:R:1",
        f"{PLAIN} pbc=1",
    ],
)
def test_other_comment_lines_are_left_to_ase(comment):
    assert plain_atoms(comment, ROWS) is None


WORDS = [
    "a",
    "bc=1",
    'd="1 2"',
    "=",
    '"',
    " ",
    "\t",
    "T",
    "1_0",
    "e=T",
    "[",
    "\\",
    "x=1,2",
    "k=1.5",
]


@settings(max_examples=200)
@given(parts=st.lists(st.sampled_from(WORDS), max_size=6), glue=st.sampled_from(["", " "]))
def test_a_comment_line_is_read_as_ase_does_or_left_to_it(parts, glue):
    comment = glue.join(parts)
    found = plain_info(comment)
    if comment.strip() and found is not None:
        identical(found, key_val_str_to_dict(comment))


@pytest.mark.parametrize(
    "rows",
    [
        ["Si 0 0 0\n", "Si 0 0\n"],
        ["Si 0 0 0 Si\n", "1 1 1\n"],
        ["Si 0 0 0 | 1\n", "Si 0 0\n"],
        ["Si 0 0 0 | Si 0 0 1\n", "\n"],
        ["Si 0 0 0\n", "Qq 0 0 1\n"],
        ["Si 0 0 0\n", "| 0 0 1\n"],
        ["Si 0 0 0\n", "Si 0 0 1.0D0\n"],
        ["Si 0 0 0\n", "\n"],
    ],
)
def test_rows_that_are_no_rows_are_left_to_the_slow_way(rows):
    assert plain_atoms(PLAIN, rows) is None


@st.composite
def crowds(draw):
    """Structures at the edge of what can be used."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    n = draw(st.integers(1, 40))
    cell = rng.normal(size=(3, 3)) * draw(st.sampled_from([0.5, 3.0, 12.0]))
    cell += draw(st.sampled_from([0.0, 6.0])) * np.eye(3)
    pbc = draw(st.sampled_from([True, False, (True, False, True)]))
    atoms = Atoms(f"Si{n}", rng.normal(size=(n, 3)) * 8.0, cell=cell, pbc=pbc)
    if draw(st.booleans()):
        shift = rng.integers(-2, 3, size=3) @ cell if atoms.pbc.all() else 0.0
        step = rng.normal(size=3)
        step *= draw(st.sampled_from([0.05, 0.0999, 0.1001, 0.3])) / np.linalg.norm(step)
        atoms.append("Si")
        atoms.positions[-1] = atoms.positions[0] + shift + step
    if draw(st.integers(0, 9)) == 0:
        atoms.positions[-1, 0] = draw(st.sampled_from([np.nan, np.inf, 1e7]))
    if draw(st.integers(0, 9)) == 0 and not atoms.pbc.any():
        atoms.cell = None
    return atoms


@settings(max_examples=60)
@given(given=st.lists(crowds(), min_size=1, max_size=6))
def test_what_is_surely_sound_passes_every_check(given):
    for atoms, sound in zip(given, surely_sound(given), strict=True):
        if sound:
            check_structure(atoms, "given")


def test_usual_structures_are_surely_sound():
    crystal = bulk("Cu", cubic=True).repeat(3)
    slab, molecule, noise = crystal.copy(), Atoms("H2O", np.eye(3)), crystal.copy()
    slab.pbc = (True, True, False)
    noise.rattle(0.1, seed=2)
    empty, twice = Atoms(), crystal.copy()
    twice.positions[5] = twice.positions[77] + [0.0, 0.0, 0.05]
    far = crystal.copy()
    far.positions += 1e7
    given = [crystal, empty, slab, twice, molecule, far, noise]
    assert surely_sound(given).tolist() == [True, False, True, False, True, False, True]
    assert surely_sound([]).shape == (0,)


@pytest.mark.parametrize("number", [0, 1, CHUNK_FRAMES - 1, CHUNK_FRAMES, CHUNK_FRAMES + 3])
@pytest.mark.parametrize("row", ["Qq 0 0 0\n", "Si 0 0 nan\n", "Si 0 0\n"])
def test_frames_before_a_fault_come_first(tmp_path, number, row):
    good = f"1\n{LATTICE} {PLAIN}\nSi 0 0 0\n"
    path = tmp_path / "given.extxyz"
    path.write_text(good * number + good.replace("Si 0 0 0\n", row) + good)
    stream = iterate_frames(path)
    assert len(list(islice(stream, number))) == number
    with pytest.raises(StructureError, match=rf"given\.extxyz, frame {number}\b"):
        next(stream)
