"""Crystals of elements as ASE knows them, as structures to start from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.data import atomic_numbers, reference_states

from ..errors import GenerationError
from ..structures.identity import canonical
from ..structures.symbols import SYMBOLS, no_element

CUBIC = ("fcc", "bcc", "diamond", "sc")
LEAST_ATOMS, LEAST_A = 16, 5.0
"""Cells are repeated until they have so many atoms, and no edge is shorter."""
CLOSE = 0.2
"""By so much, of the smallest, may lattice constants of elements that share sites differ."""
MAJORITY = 0.75
"""Share of the element in which a start is rich."""


def crystals(elements: Sequence[str], seed: int = 0) -> list[Atoms]:
    """A supercell of an element's crystal, or several ones in which elements share its sites.

    Of several elements there is a random arrangement with equal shares, and one rich in each of
    them, at the mean lattice constant of its atoms. That is done where all have the same crystal
    structure and about the same size; a compound with a lattice of its own has to be given.

    Parameters
    ----------
    elements
        Chemical symbols.
    seed
        Of the arrangements.

    Raises
    ------
    GenerationError
        For a symbol that is none, an element without a simple crystal, or elements that do not fit
        together.
    """
    names = list(dict.fromkeys(elements))
    states = {symbol: _reference(symbol) for symbol in names}
    kinds = {symbol: str(state["symmetry"]) for symbol, state in states.items()}
    lengths = [state["a"] for state in states.values()]
    if len(set(kinds.values())) > 1 or max(lengths) > (1.0 + CLOSE) * min(lengths):
        told = ", ".join(f"{s} {kinds[s]} {states[s]['a']:g} A" for s in names)
        raise GenerationError(
            f"{', '.join(names)}: have no lattice in common ({told}); give a structure of the "
            "compound (--structure)"
        )
    ratios = [float(state.get("c/a") or np.sqrt(8 / 3)) for state in states.values()]
    if len(names) > LEAST_ATOMS // 2:
        raise GenerationError(f"{len(names)} elements: too many to share a cell; give a structure")
    rng, shares = np.random.default_rng(seed), [np.full(len(names), 1.0 / len(names))]
    if len(names) > 1:
        others = (1.0 - MAJORITY) / (len(names) - 1)
        shares += list(
            np.full((len(names), len(names)), others) + np.eye(len(names)) * (MAJORITY - others)
        )
    made = []
    for share in shares:
        a, ratio = float(share @ lengths), float(share @ ratios)
        made.append(_occupied(_supercell(names[0], kinds[names[0]], a, ratio), names, share, rng))
    return made


def _reference(symbol: str) -> dict[str, Any]:
    """ASE's crystal of an element, if `_supercell` can build it."""
    if symbol not in SYMBOLS:
        raise GenerationError(no_element(symbol))
    state = reference_states[atomic_numbers[symbol]]
    if state is None or state["symmetry"] not in (*CUBIC, "hcp"):
        kind = "none" if state is None else state["symmetry"]
        raise GenerationError(
            f"{symbol}: its crystal ({kind}) is none of {', '.join(CUBIC)}, hcp; give a structure "
            "(--structure)"
        )
    return dict(state)


def _supercell(symbol: str, kind: str, a: float, ratio: float) -> Atoms:
    if kind == "hcp":
        cell = bulk(symbol, kind, a=a, c=ratio * a, orthorhombic=True)
    else:
        cell = bulk(symbol, kind, a=a, cubic=True)
    repeat, edges = np.ones(3, int), cell.cell.lengths()
    while len(cell) * repeat.prod() < LEAST_ATOMS or (edges * repeat).min() < LEAST_A:
        repeat[np.argmin(edges * repeat)] += 1
    return cell * tuple(repeat.tolist())


def _occupied(
    cell: Atoms, names: Sequence[str], shares: np.ndarray, rng: np.random.Generator
) -> Atoms:
    """The sites of a cell shared among elements at random, each of which has at least one."""
    bounds = np.round(np.cumsum(shares) * len(cell)).astype(int)
    counts = np.maximum(np.diff(bounds, prepend=0), 1)
    counts[np.argmax(counts)] -= counts.sum() - len(cell)
    made = cell.copy()
    made.symbols = rng.permutation(np.repeat(names, counts)).tolist()
    return canonical(made)
