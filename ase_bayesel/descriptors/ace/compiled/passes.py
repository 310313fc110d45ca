"""The feature row of one structure and its pullback, by the compiled passes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from ase import Atoms

from ....structures.neighbours import candidate_pairs
from ...base import Features, Gradient, Pullback, voigt6
from ..basis import ManyBodyBasis
from ..edges import EdgeBasis
from ..pullback import Linearized
from .edge_passes import edge_gradient, one_particle
from .edges import neighbourhood
from .products import adjoint, totals
from .tables import tables_of


class CompiledPasses:
    """What `ACEDescriptor.linearize` does, compiled.

    Parameters
    ----------
    basis, edges
        The descriptor's.
    compute
        `Descriptor.compute`.
    """

    def __init__(
        self,
        basis: ManyBodyBasis,
        edges: EdgeBasis,
        compute: Callable[[Atoms, bool], list[Features]],
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
        positions = np.array(atoms.positions, float)
        first, second, offsets = candidate_pairs(atoms, tables.radials.cutoff)
        ends = first.astype(np.int64), second.astype(np.int64)
        ours = tables.radials.cutoff, len(tables.type_of), positions
        edges = neighbourhood(*ours, *ends, offsets, species)
        a, pairs = one_particle(tables, edges, species)
        order = np.argsort(species, kind="stable")
        starts = np.searchsorted(species[order], np.arange(len(tables.type_of) + 1))
        known = tables.products, a, shares, order, starts
        n_pairs, many = pairs.shape[1], totals(*known)
        rows = np.concatenate([shares @ pairs, many.reshape(len(shares), -1)], axis=1)

        def gradient(cotangents: np.ndarray) -> Gradient:
            by_a = adjoint(*known, cotangents[:, n_pairs:].reshape(many.shape).copy())
            by_pairs = shares.T @ cotangents[:, :n_pairs]
            by_position, strain = edge_gradient(tables, edges, species, by_a, by_pairs)
            return Gradient(by_position, voigt6(strain))

        numbers, cell, pbc = atoms.numbers.copy(), atoms.cell.array.copy(), atoms.pbc.copy()

        def features() -> Features:
            same = Atoms(numbers, positions, cell=cell, pbc=pbc)
            return self._compute(same, True)[0]

        phi = rows[0] if weights is None else rows
        return phi, Linearized(gradient, features, phi.shape)
