"""Features of one structure, its feature row and its pullback, by the compiled passes."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from ase import Atoms

from ....structures.neighbours import candidate_pairs
from ...base import Features, Gradient, Pullback, voigt6
from ..basis import ManyBodyBasis
from ..edges import EdgeBasis
from ..pullback import Linearized
from .edge_passes import edge_functions, edge_gradient, one_particle
from .edges import neighbourhood
from .jacobians import BLOCK, add_jacobian, many_body_values, slope_values
from .movements import movements
from .products import adjoint, totals
from .slope_tables import Slopes, slopes_of
from .tables import Neighbourhood, tables_of


class CompiledPasses:
    """What `ACEDescriptor.compute` and `linearize` do, compiled.

    Parameters
    ----------
    basis, edges
        The descriptor's.
    """

    def __init__(self, basis: ManyBodyBasis, edges: EdgeBasis) -> None:
        self._tables, self._basis = tables_of(basis, edges), basis

    @cached_property
    def _slopes(self) -> Slopes:
        return slopes_of(self._basis)

    def compute(self, atoms: Atoms, species: np.ndarray, derivatives: bool) -> Features:
        """Features of one structure, as `Descriptor.compute` gives them.

        Parameters
        ----------
        atoms, species
            As in `linearize`.
        derivatives
            Whether to form the Jacobian and the strain derivative.
        """
        tables, slopes, n_atoms = self._tables, self._slopes, len(atoms)
        edges = self._edges(atoms, np.array(atoms.positions, float), species)
        a, pairs = one_particle(tables, edges, species)
        n_pairs, n_functions = pairs.shape[1], len(slopes.starts) - 1
        firsts = n_pairs + species * n_functions
        values = np.zeros((n_atoms, n_pairs + len(tables.type_of) * n_functions))
        values[:, :n_pairs] = pairs
        columns = firsts[:, None] + np.arange(n_functions)
        values[np.arange(n_atoms)[:, None], columns] = many_body_values(tables.products, a)
        if not derivatives:
            return Features(values)
        jacobian = np.zeros((values.shape[1], n_atoms, 3))
        strain = np.zeros((values.shape[1], 6))
        for begin in range(0, n_atoms, BLOCK):
            end = min(begin + BLOCK, n_atoms)
            slope = slope_values(slopes, a[begin:end])
            for i in range(begin, end):
                functions = edge_functions(tables, edges, species, i)
                moved = movements(tables, edges, species, i, functions)
                given = slopes, slope[i - begin], *moved, n_pairs, firsts[i]
                add_jacobian(*given, jacobian, strain)
        return Features(values, jacobian, strain)

    def _edges(self, atoms: Atoms, positions: np.ndarray, species: np.ndarray) -> Neighbourhood:
        """The edges of a structure."""
        tables = self._tables
        first, second, offsets = candidate_pairs(atoms, tables.radials.cutoff)
        ends = first.astype(np.int64), second.astype(np.int64)
        ours = tables.radials.cutoff, len(tables.type_of), positions
        return neighbourhood(*ours, *ends, offsets, species)

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
        edges = self._edges(atoms, positions, species)
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
            return self.compute(same, species, True)

        phi = rows[0] if weights is None else rows
        return phi, Linearized(gradient, features, phi.shape)
