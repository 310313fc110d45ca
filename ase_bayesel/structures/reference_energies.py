"""Reference energies of the elements, E0s: what an isolated atom is, is decided here alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from ..errors import StructureError
from ..io.words import counted
from .electronic import electronic_state
from .labels import FitTargets, PropertyKeys, targets

ISOLATED_A = 6.0
"""A single atom without images closer than this is an isolated one; else it is a crystal."""
UNDETERMINED = "which do not tell the elements apart"
"""Structures whose compositions are proportional, say."""
SAME_EV = 1e-3
"""Energies of isolated atoms that differ by less are the same."""


class E0(NamedTuple):
    """Reference energy of an element, eV, and where it comes from."""

    energy: float
    source: str


class _Known(NamedTuple):
    """What counts of a labelled structure."""

    number: int
    composition: Counter[str]
    isolated: bool
    energy: float


def is_isolated(atoms: Atoms) -> bool:
    """Whether a structure is one neutral atom without neighbours: not a crystal of one atom."""
    if len(atoms) != 1 or electronic_state(atoms).charge:
        return False
    from .neighbours import neighbour_pairs

    return len(neighbour_pairs(atoms, ISOLATED_A)[0]) == 0


def fitted_targets(
    atoms: Atoms, keys: PropertyKeys, e0s: Mapping[str, float], where: str = "structure"
) -> FitTargets:
    """The labels that a fit takes of a structure: `targets`, but of some isolated atoms none.

    An isolated atom whose energy is not its E0 (these are averages, say, or given) has an energy
    that no potential on top of the E0s can have: it would pass for noise of all the others.

    Parameters
    ----------
    atoms, keys, where
        As of `targets`.
    e0s
        Reference energies, eV, by element.
    """
    labels = targets(atoms, keys, where)
    if labels.energy is None or not is_isolated(atoms):
        return labels
    its_own = abs(labels.energy - composition_energy(atoms, e0s)) <= SAME_EV
    return labels if its_own else replace(labels, energy=None)


def reference_energies(
    frames: Sequence[Atoms], e0s: Mapping[str, float] | str, energy_key: str | None
) -> dict[str, float]:
    """Energy E0 of each element's isolated atom, eV; see `reference_energies_of`."""
    found = reference_energies_of(frames, e0s, energy_key)
    return {symbol: e0.energy for symbol, e0 in found.items()}


def reference_energies_of(
    frames: Sequence[Atoms],
    e0s: Mapping[str, float] | str,
    energy_key: str | None,
    where: str = "training",
) -> dict[str, E0]:
    """Energy E0 of each element's isolated atom, and where it comes from.

    Parameters
    ----------
    frames
        The training structures.
    e0s
        A mapping from symbol to energy; ``"isolated"`` to read isolated atoms
        (`is_isolated`) among the frames; or ``"average"`` for a least-squares fit of
        the total energies to the composition, of all but isolated atoms.
    energy_key
        Key of the energies in ``atoms.info``.
    where
        What stands before the number of a frame in an error.

    Raises
    ------
    StructureError
        For an element without an energy, or isolated atoms that contradict each other.
    """
    elements: set[str] = set()
    if isinstance(e0s, str):
        if e0s not in ("isolated", "average"):
            raise StructureError(f"e0s: expected a mapping, 'isolated' or 'average', got {e0s!r}")
        labelled = []
        for k, atoms in enumerate(frames):
            elements.update(atoms.symbols)
            energy = targets(atoms, PropertyKeys(energy_key, None), f"{where} frame {k}").energy
            if energy is not None:
                known = _Known(k, Counter(atoms.symbols), is_isolated(atoms), energy)
                labelled.append(known)
        if not labelled:
            raise StructureError(
                f"{where.rstrip(',')}: no structure carries an energy under the key "
                f"{energy_key!r}; label them (bayesel label), or name the key by energy_key "
                "(option --energy-key)"
            )
        found = _isolated(labelled, where) if e0s == "isolated" else _averages(labelled)
    else:
        elements = {symbol for atoms in frames for symbol in atoms.symbols}
        found = {symbol: E0(float(energy), "given") for symbol, energy in e0s.items()}
        labelled = []
    missing = sorted(elements - set(found))
    if missing:
        raise StructureError(
            f"e0s: no reference energy for {', '.join(missing)}; {_hint(e0s, labelled, where)}"
        )
    return found


def _hint(e0s: Mapping[str, float] | str, labelled: Sequence[_Known], where: str) -> str:
    """What to do about an element without an energy."""
    if e0s != "isolated":
        return "add it to e0s"
    crystals = [k.number for k in labelled if k.composition.total() == 1 and not k.isolated]
    told = ""
    if crystals:
        told = (
            f" ({where} frame {crystals[0]} has one atom, but its images are closer than "
            f"{ISOLATED_A:g} A, so that it is a crystal)"
        )
    return (
        "add a single-atom structure with its energy to the training set, in a box or without "
        f"periodicity, or give e0s; average (option --e0s average) fits them to the labels{told}"
    )


def _isolated(labelled: Sequence[_Known], where: str) -> dict[str, E0]:
    found: dict[str, tuple[int, float]] = {}
    for number, composition, isolated, energy in labelled:
        if not isolated:
            continue
        (symbol,) = composition
        first, known = found.setdefault(symbol, (number, energy))
        if abs(known - energy) > SAME_EV:
            raise StructureError(
                f"e0s: two isolated atoms of {symbol} contradict each other: {known:.6g} eV in "
                f"{where} frame {first} and {energy:.6g} eV in {where} frame {number}; "
                "keep one of them, or give e0s"
            )
    return {
        symbol: E0(energy, f"isolated atom, frame {number}")
        for symbol, (number, energy) in found.items()
    }


def _averages(labelled: Sequence[_Known]) -> dict[str, E0]:
    """Least squares over compositions; a set of isolated atoms alone is averaged as it is."""
    bound = [known for known in labelled if not known.isolated] or list(labelled)
    energies, rank = energies_per_element(
        [known.composition for known in bound], [known.energy for known in bound]
    )
    source = f"average over {counted(len(bound), 'frame')}"
    if rank < len(energies):
        source += f", {UNDETERMINED}"
    return {symbol: E0(energy, source) for symbol, energy in energies.items()}


def energies_per_element(
    compositions: Sequence[Mapping[str, int]], energies: Sequence[float]
) -> tuple[dict[str, float], int]:
    """Energy of each element whose sums over the atoms are nearest to some energies, eV.

    Parameters
    ----------
    compositions
        Numbers of atoms by element, of each structure.
    energies
        Of the structures, eV.

    Returns
    -------
    The least-squares solution, by element; of the smallest norm where the compositions leave it
    open. And the rank of the compositions, less than the number of elements in that case.
    """
    elements = sorted(set().union(*compositions))
    counts = np.array([[c.get(symbol, 0) for symbol in elements] for c in compositions], float)
    solution, _, rank, _ = np.linalg.lstsq(counts, np.array(energies, float), rcond=None)
    return dict(zip(elements, solution.tolist(), strict=True)), int(rank)


def composition_energy(atoms: Atoms, e0s: Mapping[str, float]) -> float:
    """Sum of the reference energies of all atoms, eV."""
    counts = Counter(atoms.numbers.tolist())
    return float(sum(e0s[chemical_symbols[number]] * count for number, count in counts.items()))
