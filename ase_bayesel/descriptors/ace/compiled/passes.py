"""The feature row of one structure and its pullback, by the compiled passes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from ase import Atoms

from ....structures.neighbours import candidate_pairs
from ...base import Features, Gradient, Pullback, voigt6
from ..basis import ManyBodyBasis
from ..edges import EdgeBasis
from ..pullback import Linearized
from .kernels import backward, forward
from .tables import tables_of


class CompiledPasses:
    """What `ACEDescriptor.linearize` does, compiled.

    Parameters
    ----------
    basis, edges
        The descriptor's.
    compute
        Features of one structure with derivatives, the other way.
    """

    def __init__(
        self, basis: ManyBodyBasis, edges: EdgeBasis, compute: Callable[[Atoms], Features]
    ) -> None:
        self._tables, self._compute = tables_of(basis, edges), compute

    def linearize(
        self, atoms: Atoms, species: np.ndarray, weights: np.ndarray | None
    ) -> tuple[np.ndarray, Pullback]:
        """The feature row ``(D,)`` and its pullback, or weighted rows, as in `Descriptor`.

        Parameters
        ----------
        atoms
            The structure.
        species
            ``(n_atoms,)`` the number of each atom's element.
        weights
            ``(G, n_atoms)``, None for the plain sum.
        """
        tables = self._tables
        shares = np.ones((1, len(atoms))) if weights is None else np.array(weights, float)
        order = np.argsort(species, kind="stable")
        positions = np.array(atoms.positions, float)
        edges, a, rows = forward(
            tables,
            positions,
            *candidate_pairs(atoms, tables.radials.cutoff),
            species,
            order,
            shares,
        )
        phi = rows[0] if weights is None else rows

        def gradient(cotangents: np.ndarray) -> Gradient:
            by_position, strain = backward(
                tables, edges, a, species, order, shares, np.array(cotangents)
            )
            return Gradient(by_position, voigt6(strain))

        same = partial(Atoms, atoms.numbers.copy(), positions, cell=atoms.cell.array.copy(), pbc=atoms.pbc.copy())
        return phi, Linearized(gradient, lambda: self._compute(same()), phi.shape)
