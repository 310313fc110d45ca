"""Structures: reading and writing, property keys, reference energies, identity, sanity."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from ase import Atoms
from ase.constraints import FixAtoms, FixCartesian, FixConstraint, dict2constraint
from ase.io import iread, read, write
from ase.io.jsonio import decode, encode
from ase.stress import voigt_6_to_full_3x3_stress
from matscipy.neighbours import neighbour_list
from scipy.spatial import cKDTree

from .errors import StructureError
from .xyz import check_headers

POSITION_DECIMALS = 8
"""Decimals of a position in extended XYZ; structures are identified to this precision."""

LARGEST_A = 1e6
"""Of coordinates and cell vectors: beyond, double precision does not hold these decimals well."""

SMALLEST_A = 0.5
"""Height of a periodic cell; below, an atom has its own images as neighbours by the thousands."""

LARGEST_A3 = 1e9
"""Volume of a periodic cell: neighbour lists take memory in proportion to it."""

PROPERTIES = ("energy", "forces", "virial")

REF_ENERGY, REF_FORCES, REF_VIRIAL, REF_STRESS = (
    f"REF_{name}" for name in ("energy", "forces", "virial", "stress")
)
"""Keys of labels in files that this package writes: eV, eV/A, eV, eV/A^3."""

CONSTRAINTS_KEY = "bayesel_constraints"
"""Where ``atoms.info`` holds in a file what extended XYZ does not: all constraints but FixAtoms
and FixCartesian, as ASE's dictionaries."""


@dataclass(frozen=True)
class PropertyKeys:
    """Where labels are found: ``atoms.info`` for energy and virial, ``atoms.arrays`` for forces.

    Energies in eV (force-consistent), forces in eV/A, the virial (-volume times
    stress) in eV as a symmetric 3x3 tensor. None means that the property is not used.
    """

    energy: str | None = "energy"
    forces: str | None = "forces"
    virial: str | None = None


@dataclass(frozen=True)
class Targets:
    """Labels of one structure; None where it has none.

    ``energy`` eV, ``forces (n_atoms, 3)`` eV/A, ``virial (6,)`` eV in ASE's Voigt order.
    """

    energy: float | None = None
    forces: np.ndarray | None = None
    virial: np.ndarray | None = None


def read_frames(path: str | PathLike) -> list[Atoms]:
    """All structures of a file that ASE reads, each checked by `check_structure`.

    Raises
    ------
    StructureError
        Naming the file, and the frame where one is at fault.
    """
    path = _existing(path)
    try:
        frames = read(path, index=":")
    except Exception as error:  # ASE's readers raise anything from KeyError to their own
        raise StructureError(f"{path}: cannot be read as structures ({error})") from error
    if not frames:
        raise StructureError(f"{path}: holds no structure")
    for number, atoms in enumerate(frames):
        _check_read(atoms, f"{path}, frame {number}")
    return list(frames)


def iterate_frames(path: str | PathLike) -> Iterator[Atoms]:
    """The structures of a file one by one, each checked; the file is never held as a whole.

    Raises
    ------
    StructureError
        Naming the file, and the frame where one is at fault.
    """
    path, number = _existing(path), 0
    stream = iread(path, index=":")
    while True:
        try:
            atoms = next(stream)
        except StopIteration:
            return
        except Exception as error:  # ASE's readers raise anything from KeyError to their own
            raise StructureError(f"{path}, frame {number}: cannot be read ({error})") from error
        _check_read(atoms, f"{path}, frame {number}")
        yield atoms
        number += 1


def _existing(path: str | PathLike) -> Path:
    path = Path(path)
    if not path.is_file():
        raise StructureError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise StructureError(f"{path}: the file is empty")
    check_headers(path)
    return path


def write_frames(path: str | Path | TextIO, frames: Sequence[Atoms]) -> None:
    """Write extended XYZ, with all constraints: see `CONSTRAINTS_KEY`."""
    write(path, [_with_constraints(atoms) for atoms in frames], format="extxyz")


def _with_constraints(atoms: Atoms) -> Atoms:
    """The structure, with constraints that extended XYZ would lose in its comment line."""
    if all(isinstance(c, FixAtoms | FixCartesian) for c in atoms.constraints):
        return atoms
    try:
        described = json.loads(encode([c.todict() for c in atoms.constraints]))
        _constraints(described)
    except (*UNREADABLE, NotImplementedError) as error:
        names = ", ".join(type(c).__name__ for c in atoms.constraints)
        raise StructureError(f"a constraint cannot be written to a file ({names})") from error
    out = atoms.copy()
    out.calc = atoms.calc
    out.set_constraint()
    out.info[CONSTRAINTS_KEY] = described
    return out


def _constraints(described: list[Any]) -> list[FixConstraint]:
    return [dict2constraint(entry) for entry in decode(json.dumps(described))]


UNREADABLE = (AttributeError, KeyError, TypeError, ValueError)
"""What ASE raises on descriptions of constraints that it does not know."""


def _check_read(atoms: Atoms, where: str) -> None:
    """`check_structure`, and the constraints that the comment line holds."""
    described = atoms.info.pop(CONSTRAINTS_KEY, None)
    if described is not None:
        try:
            atoms.set_constraint(_constraints(described))
        except UNREADABLE as error:
            raise StructureError(f"{where}: {CONSTRAINTS_KEY} cannot be read ({error})") from error
    check_structure(atoms, where)


def check_structure(atoms: Atoms, where: str) -> None:
    """Raise a `StructureError` that begins with ``where`` if a structure cannot be used.

    It needs atoms, all of known elements; coordinates that are finite and at most `LARGEST_A`;
    and where it is periodic a cell that is neither flat (`SMALLEST_A`) nor huge (`LARGEST_A3`).
    """
    if len(atoms) == 0:
        raise StructureError(f"{where}: has no atoms")
    if (atoms.numbers < 1).any():
        raise StructureError(f"{where}: holds atoms of no known element")
    if not np.isfinite(atoms.positions).all():
        atom = int(np.argwhere(~np.isfinite(atoms.positions))[0, 0])
        raise StructureError(f"{where}: position of atom {atom} is not finite")
    if not np.isfinite(atoms.cell.array).all():
        raise StructureError(f"{where}: the cell is not finite")
    largest = max(np.abs(atoms.positions).max(), np.abs(atoms.cell.array).max())
    if largest > LARGEST_A:
        raise StructureError(f"{where}: {largest:.3g} A, in a position or the cell, is too far")
    if atoms.pbc.any():
        periodic = atoms.cell.array[atoms.pbc]
        if np.linalg.matrix_rank(periodic) < len(periodic):
            raise StructureError(
                f"{where}: periodic along {int(atoms.pbc.sum())} directions but the cell is zero "
                "or flat there; set the cell or pbc=False"
            )
        height = 1.0 / np.linalg.norm(np.linalg.pinv(periodic), axis=0).max()
        if height < SMALLEST_A:
            raise StructureError(f"{where}: the cell is flat, {height:.3g} A at its thinnest")
        if atoms.pbc.all() and atoms.get_volume() > LARGEST_A3:
            raise StructureError(f"{where}: the periodic cell is huge; cut vacuum or set pbc=False")


def canonical(atoms: Atoms) -> Atoms:
    """A copy rounded as extended XYZ rounds it; of all else only tags and constraints stay."""
    return Atoms(
        numbers=atoms.numbers,
        positions=np.round(atoms.positions, POSITION_DECIMALS) + 0.0,
        cell=np.round(atoms.cell.array, POSITION_DECIMALS) + 0.0,
        pbc=atoms.pbc,
        tags=atoms.get_tags(),
        constraint=atoms.constraints,
    )


def structure_id(atoms: Atoms) -> str:
    """Content hash of elements, positions, cell and pbc to 1e-8 A.

    The letter s and 15 hexadecimal digits, so that no file format takes it for a number.
    """

    def fixed(values: np.ndarray) -> bytes:
        return np.rint(np.asarray(values) * 10**POSITION_DECIMALS).astype("<i8").tobytes()

    digest = hashlib.sha256()
    digest.update(atoms.numbers.astype("<i8").tobytes())
    digest.update(fixed(atoms.positions))
    digest.update(fixed(atoms.cell.array))
    digest.update(atoms.pbc.astype("u1").tobytes())
    return f"s{digest.hexdigest()[:15]}"


def targets(atoms: Atoms, keys: PropertyKeys, where: str = "structure") -> Targets:
    """The labels that a structure carries under ``keys``; missing ones are None.

    A single-point calculator attached by ASE's reader serves the keys
    ``energy``, ``forces`` and, as -volume times it, ``stress``.
    """
    results = atoms.calc.results if atoms.calc is not None else {}
    energy = forces = virial = None
    if keys.energy is not None:
        raw = atoms.info.get(keys.energy, results.get(keys.energy))
        energy = None if raw is None else float(_checked(raw, (), where, keys.energy))
    if keys.forces is not None:
        raw = atoms.arrays.get(keys.forces, results.get(keys.forces))
        forces = None if raw is None else _checked(raw, (len(atoms), 3), where, keys.forces)
    if keys.virial is not None:
        raw = atoms.info.get(keys.virial)
        if raw is None and keys.virial == "stress" and "stress" in results:
            raw = -atoms.get_volume() * voigt_6_to_full_3x3_stress(results["stress"])
        if raw is not None:
            tensor = _checked(np.reshape(raw, -1), (9,), where, keys.virial).reshape(3, 3)
            tensor = (tensor + tensor.T) / 2
            virial = tensor[(0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1)]
    return Targets(energy, forces, virial)


def _checked(raw: Any, shape: tuple[int, ...], where: str, key: str) -> np.ndarray:
    try:
        value = np.asarray(raw, float)
    except (TypeError, ValueError) as error:
        raise StructureError(f"{where}: {key!r} is not numeric ({error})") from error
    if value.shape != shape:
        raise StructureError(f"{where}: {key!r} has shape {value.shape}, expected {shape}")
    if not np.isfinite(value).all():
        raise StructureError(f"{where}: {key!r} is not finite")
    return value


def reference_energies(
    frames: Sequence[Atoms], e0s: Mapping[str, float] | str, energy_key: str | None
) -> dict[str, float]:
    """Energy E0 of each element's isolated atom, eV.

    Parameters
    ----------
    frames
        The training structures.
    e0s
        A mapping from symbol to energy; ``"isolated"`` to read single-atom
        structures among the frames; or ``"average"`` for a least-squares fit of
        the total energies to the composition.
    energy_key
        Key of the energies in ``atoms.info``.
    """
    compositions = [Counter(atoms.symbols) for atoms in frames]
    elements = sorted(set().union(*compositions))
    if isinstance(e0s, str):
        if e0s not in ("isolated", "average"):
            raise StructureError(f"e0s: expected a mapping, 'isolated' or 'average', got {e0s!r}")
        energies = [
            targets(atoms, PropertyKeys(energy_key, None), f"training frame {k}").energy
            for k, atoms in enumerate(frames)
        ]
        pairs = zip(compositions, energies, strict=True)
        labelled = [(counts, energy) for counts, energy in pairs if energy is not None]
        if not labelled:
            raise StructureError(
                f"e0s: no structure carries an energy under the key {energy_key!r}; check the key"
            )
        if e0s == "isolated":
            found = {next(iter(c)): energy for c, energy in labelled if c.total() == 1}
        else:
            found = _average_energies(labelled, elements)
    else:
        found = {symbol: float(energy) for symbol, energy in e0s.items()}
    missing = [symbol for symbol in elements if symbol not in found]
    if missing:
        hint = (
            "add a single-atom structure with its energy to the training set, or give e0s"
            if e0s == "isolated"
            else "add it to e0s"
        )
        raise StructureError(f"e0s: no reference energy for {', '.join(missing)}; {hint}")
    return found


def _average_energies(
    labelled: Sequence[tuple[Counter[str], float]], elements: Sequence[str]
) -> dict[str, float]:
    counts = np.array([[found[s] for s in elements] for found, _ in labelled], float)
    solution, *_ = np.linalg.lstsq(counts, np.array([e for _, e in labelled]), rcond=None)
    return dict(zip(elements, solution.tolist(), strict=True))


def composition_energy(atoms: Atoms, e0s: Mapping[str, float]) -> float:
    """Sum of the reference energies of all atoms, eV."""
    return float(sum(e0s[symbol] * count for symbol, count in Counter(atoms.symbols).items()))


def neighbour_pairs(atoms: Atoms, cutoff: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All pairs within ``cutoff`` (A), images included, sorted by the first atom.

    Returns indices i ``(n,)`` and j ``(n,)`` and vectors from i to j ``(n, 3)``, A.
    Directions without periodicity may have any cell, also none, and any extent.
    """
    axes = np.flatnonzero(atoms.pbc)
    vectors = atoms.cell.array[axes]
    dual = np.linalg.pinv(vectors)
    home = atoms.positions - np.floor(atoms.positions @ dual) @ vectors
    if len(axes) == 3:
        return neighbour_list("ijD", positions=home, cell=vectors, pbc=atoms.pbc, cutoff=cutoff)
    reach = np.ceil(1.0 + cutoff * np.linalg.norm(dual, axis=0)).astype(int)
    grid = np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij")
    shifts = np.stack(grid, axis=-1).reshape(-1, len(axes)) if len(axes) else np.zeros((1, 0))
    points = (home[None] + (shifts @ vectors)[:, None]).reshape(-1, 3)

    near = cKDTree(points).query_ball_point(home, cutoff, return_sorted=True)
    first = np.repeat(np.arange(len(atoms)), [len(found) for found in near])
    second = np.concatenate([np.asarray(found, int) for found in near])
    itself = len(shifts) // 2 * len(atoms) + first
    first, second = first[second != itself], second[second != itself]
    return first, second % len(atoms), points[second] - home[first]
