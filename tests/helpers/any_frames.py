"""Structures of any kind, for property tests: what a file may hold, and what it may not."""

import datetime

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import (
    FixAtoms,
    FixBondLengths,
    FixCartesian,
    FixCom,
    FixedLine,
    FixedPlane,
    FixInternals,
    Hookean,
)
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ase_bayesel.structures.packing import PACKED_KEY, same_value

KEYS = [
    "note", "a b", "", "ä", "1st", "a-b", "a=b", 'a"b', "pbc", "Lattice", "Properties", "comment",
    "energy", "forces", "stress", "virial", "magmom", "dipole", "free_energy", "uid", "UID",
    PACKED_KEY, "move_mask", "x:y", 5,
]  # fmt: skip
"""Names that a comment line of extended XYZ, or ASE's reader of it, may take for something else."""
TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
NUMBERS = st.one_of(st.booleans(), st.integers(), st.floats(), st.complex_numbers())
ODD_ARRAYS = arrays.arrays(
    st.sampled_from([np.dtype(t) for t in ("f8", "i8", "?", "c16", "u2")]),
    arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)
ANY_VALUE = st.recursive(
    st.one_of(TEXTS, NUMBERS, st.none(), ODD_ARRAYS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)
NAMES = st.one_of(TEXTS, st.sampled_from([str(key) for key in KEYS]))
FAR_A = (0.0, -1.0, 12345.678, -9.0e5)


@st.composite
def cells(draw, pbc):
    """Right- and left-handed, sheared, of huge height; zero where there is no periodicity."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    cell = np.diag(rng.uniform(6.5, 9.0, 3)) + rng.uniform(-0.3, 0.3, (3, 3))
    kind = draw(st.sampled_from(["plain", "left", "sheared", "zero"]))
    if kind == "left":
        cell = cell[[1, 0, 2]]
    elif kind == "sheared":
        cell[1] += cell[0]
    elif kind == "zero":
        cell[~np.array(pbc)] = 0.0
    return cell


@st.composite
def constraints(draw, n):
    """One constraint, or two, of any kind that ASE can describe."""
    some = sorted(draw(st.sets(st.integers(0, n - 1), min_size=1)))
    kinds = [
        *(FixAtoms(some), FixAtoms([-1]), FixCartesian(some, (True, False, True)), FixCom()),
        *(FixedLine(some, (1, 0, 0)), FixedPlane(some, (0, 1, 1))),
    ]
    if n > 1:
        kinds += [Hookean(0, n - 1, 2.0, 3.0), FixBondLengths([(0, n - 1)])]
    if n > 2:  # ASE's needs more coordinates than there are rotations and translations
        kinds += [FixInternals(bonds=[[3.0, [0, n - 1]]])]
    return draw(st.lists(st.sampled_from(kinds), max_size=2))


@st.composite
def frames(draw, beside=True):
    """Atoms on a jittered grid; ``beside`` them anything that a file can hold."""
    n = draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    grid = np.indices((2, 2, 2)).reshape(3, -1).T * 3.0
    positions = grid[rng.permutation(8)[:n]] + rng.uniform(-0.9, 0.9, (n, 3))
    positions += draw(st.sampled_from(FAR_A))
    pbc = draw(st.tuples(*[st.booleans()] * 3))
    numbers = draw(st.lists(st.integers(1, 100), min_size=n, max_size=n))
    atoms = Atoms(numbers, positions, cell=draw(cells(pbc)), pbc=pbc)
    if beside:
        _fill(draw, atoms)
    for name in draw(st.sets(st.sampled_from(["initial_magmoms", "initial_charges", "tags"]))):
        values = rng.integers(-3, 4, n)
        atoms.set_array(name, values if name == "tags" else values / 8)
    neutral = int(atoms.numbers.sum())
    if draw(st.booleans()):
        atoms.info["charge"] = draw(st.integers(-neutral, neutral).filter(lambda q: abs(q) < 6))
        highest = min(neutral - atoms.info["charge"] + 1, 7)
        atoms.info["spin"] = draw(st.integers(0, highest))
    atoms.set_constraint(draw(constraints(n)))
    return atoms


def _fill(draw, atoms):
    n = len(atoms)
    atoms.info = draw(st.dictionaries(NAMES, ANY_VALUE, max_size=4))
    for key in ("charge", "spin", "occupancy"):
        atoms.info.pop(key, None)
    for name in draw(st.lists(NAMES, max_size=3, unique=True)):
        kind = draw(st.sampled_from(["f8", "i8", "?", "c16"]))
        width = draw(st.sampled_from([(), (1,), (2,), (3,), (2, 2)]))
        elements = {"f8": st.floats(-1e6, 1e6), "c16": st.complex_numbers(max_magnitude=1e3)}
        array = draw(arrays.arrays(kind, (n, *width), elements=elements.get(kind)))
        if name not in ("numbers", "positions", *atoms.info):
            atoms.arrays[name] = array
    if draw(st.booleans()):
        stress = np.arange(6.0) / 8
        results = {"energy": 1.5, "forces": np.ones((n, 3)), "stress": stress}
        named = draw(st.sets(st.sampled_from([*results]), min_size=1))
        atoms.calc = SinglePointCalculator(atoms, **{name: results[name] for name in named})


def refused_structures():
    """What makes a structure unusable, by the words that say so."""

    def at(name, change):
        return st.just((name, change))

    return st.one_of(
        at("position of atom", lambda a: a.positions.__setitem__((0, 1), np.nan)),
        at("position of atom", lambda a: a.positions.__setitem__((-1, 2), -np.inf)),
        at("reaches", lambda a: a.positions.__setitem__((0, 0), 2e6)),
        at("no known element", lambda a: a.numbers.__setitem__(0, 0)),
        at("cell", _flat),
        at("on top of each other", _doubled),
        at("'charge'", lambda a: a.info.update(charge=0.5)),
        at("'charge'", lambda a: a.info.update(charge="many")),
        at("'spin'", lambda a: a.info.update(charge=0, spin=-1)),
        at("is of atom 77", lambda a: a.set_constraint(FixAtoms([77]))),
    )


def _flat(atoms):
    atoms.pbc, atoms.cell = True, [[4, 0, 0], [4, 0, 0], [0, 0, 4]]


def _doubled(atoms):
    state = atoms.info
    atoms += atoms[[0]]
    atoms.info = state


UNWRITABLE = [object(), b"bytes", {1, 2}, datetime.date(2024, 1, 1), len, np.datetime64("2024")]
"""Values that no file holds."""
NESTED = [lambda v: v, lambda v: [1, v], lambda v: {"a": {"b": v}}, lambda v: ("x", [v])]


def assert_same(again, atoms):
    """All of a structure but what files round: positions to 1e-8 A, as arrays of floats."""
    np.testing.assert_array_equal(again.numbers, atoms.numbers)
    np.testing.assert_allclose(again.positions, atoms.positions, rtol=1e-15, atol=1e-8)
    np.testing.assert_allclose(again.cell.array, atoms.cell.array, atol=1e-12)
    assert again.pbc.tolist() == atoms.pbc.tolist()
    ours, theirs = _contents(atoms), _contents(again)
    assert theirs.keys() == ours.keys()
    for key, value in ours.items():
        if isinstance(value, np.ndarray) and value.dtype.kind in "fc" and value.size:
            assert theirs[key].shape == value.shape
            np.testing.assert_allclose(theirs[key], value, rtol=1e-15, atol=1e-8)
        else:
            assert same_value(theirs[key], value), key
    assert bool(again.constraints) == bool(atoms.constraints)
    np.testing.assert_allclose(_held(again), _held(atoms), atol=1e-6)


def _held(atoms):
    """Some forces as the constraints leave them; a file may tell the same by other ones."""
    forces = np.random.default_rng(0).normal(size=(len(atoms), 3))
    for constraint in atoms.constraints:
        constraint.adjust_forces(atoms, forces)
    return forces


def _contents(atoms):
    """All of a structure by its keys; what a calculator gave beside ``info`` and ``arrays``."""
    results = {} if atoms.calc is None else atoms.calc.results
    arrays = {k: v for k, v in atoms.arrays.items() if k not in ("numbers", "positions")}
    return {**results, **atoms.info, **arrays}
