"""The linear ACE descriptor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from ase import Atoms
from ase.data import chemical_symbols

from ...errors import DescriptorError
from ..base import Features, Gradient, Pullback, as_frames, voigt6
from .basis import many_body_basis
from .edges import EdgeBasis, Edges, with_centre_and_strain
from .neighbours import Neighbours, find_neighbours
from .polynomial import SitePolynomial

CONVENTION = "ACEpotentials-v0.6"
CHUNK_BYTES = 48e6
"""Working memory of one chunk of atoms when Jacobians are formed."""
LARGEST_DEGREE = 50
LARGEST_CUTOFF_A = 30.0
"""Beyond, the basis or the neighbour list would take all memory."""
CHUNK_ATOMS = 64
"""Atoms evaluated together otherwise: enough to be vectorised, few enough for the cache."""


class _Site(NamedTuple):
    """What a pullback needs of a chunk of atoms, ``rows`` of the structure."""

    rows: np.ndarray
    ours: Neighbours
    edges: Edges
    a: torch.Tensor
    pairs: torch.Tensor
    block: slice


class ACEDescriptor:
    """Linear atomic cluster expansion features, ACEpotentials v0.6 conventions.

    The basis of ``ACE1x.ace_basis(elements, order, totaldegree, rcut)`` (Drautz
    2019; Witt et al., J. Chem. Phys. 159, 164101, 2023): all functions with
    sum_i (n_i + 1.5 l_i) <= totaldegree, purified of self-interaction in their
    two-body part, and a shared pair block. Features are invariant under
    rotation, reflection and permutation of equal atoms, and continuously
    differentiable (the cutoff is C1: the Hessian jumps there).

    A feature row holds the pair block (element pairs in the order of
    ``elements``, n = 1 .. totaldegree), then one many-body block per centre element.

    Parameters
    ----------
    elements
        Chemical symbols, in the order of the feature blocks.
    order
        Correlation order, 2 or 3 (body order minus one).
    totaldegree
        Largest total degree T; for one element and order 3, T = 12, 16, 19 give
        211, 668, 1429 features.
    cutoff
        Cutoff radius, A.
    r0
        Length scale of element pairs, A, such as ``{("Si", "O"): 1.6}``; by
        default `radial.bond_length`.
    """

    def __init__(
        self,
        elements: Sequence[str],
        order: int = 3,
        totaldegree: int = 12,
        cutoff: float = 5.0,
        r0: Mapping[tuple[str, str], float] | None = None,
    ) -> None:
        self.elements = tuple([elements] if isinstance(elements, str) else elements)
        self.order, self.totaldegree, self.cutoff = int(order), int(totaldegree), float(cutoff)
        self.r0: dict[tuple[str, ...], float] = {
            tuple(pair): float(length) for pair, length in (r0 or {}).items()
        }
        self._check_arguments()
        basis = many_body_basis(len(self.elements), self.order, self.totaldegree)
        self._smoothness = basis.smoothness
        self._polynomial = SitePolynomial(basis)
        self._edges = EdgeBasis(self.elements, self.totaldegree, self.cutoff, basis.nmax, self.r0)
        self._species_of = {symbol: k for k, symbol in enumerate(self.elements)}
        self._n_pair = self._edges.n_pair_types * self.totaldegree

    def _check_arguments(self) -> None:
        unknown = [symbol for symbol in self.elements if symbol not in chemical_symbols[1:]]
        if unknown or not self.elements or len(set(self.elements)) < len(self.elements):
            raise DescriptorError(
                f"elements: expected different chemical symbols, got {list(self.elements)}"
            )
        if self.order not in (2, 3):
            raise DescriptorError(f"order: must be 2 or 3, got {self.order}")
        if not 2 <= self.totaldegree <= LARGEST_DEGREE:
            raise DescriptorError(
                f"totaldegree: must be from 2 to {LARGEST_DEGREE}, got {self.totaldegree}"
            )
        if not 0 < self.cutoff <= LARGEST_CUTOFF_A:
            raise DescriptorError(
                f"cutoff: must be positive and at most {LARGEST_CUTOFF_A} A, got {self.cutoff}"
            )
        for pair, length in self.r0.items():
            if not 0 < length < float("inf"):
                raise DescriptorError(f"r0: length of {pair} must be positive (A), got {length}")
            if len(pair) != 2 or not set(pair) <= set(self.elements):
                raise DescriptorError(f"r0: {pair} is not a pair of the elements {self.elements}")

    @property
    def n_features(self) -> int:
        """Length D of a feature row."""
        return self._n_pair + len(self.elements) * self._polynomial.n_functions

    def compute(self, frames: Atoms | Iterable[Atoms], derivatives: bool = False) -> list[Features]:
        """Features of one or more structures of any sizes.

        Parameters
        ----------
        frames
            One structure or several.
        derivatives
            Also form the Jacobian and the strain derivative of the structure sum.

        Returns
        -------
        One `Features` per structure, float64.

        Raises
        ------
        DescriptorError
            For an element outside ``elements`` or a position that is not finite.
        """
        frames = as_frames(frames)
        if not frames:
            return []
        neighbours = self._neighbours(frames)
        values = np.empty((neighbours.n_atoms, self.n_features))
        jacobian = strain = None
        if derivatives:
            jacobian = np.zeros((neighbours.n_atoms, 3, self.n_features))
            strain = np.zeros((len(frames), 6, self.n_features))
        size = self._jacobian_chunk(neighbours) if derivatives else CHUNK_ATOMS
        for rows in self._chunks(neighbours, size):
            ours = neighbours.take(rows)
            edges = self._edges.evaluate(ours, neighbours.species)
            a = self._edges.one_particle(edges)
            values[rows] = 0.0
            values[rows, : self._n_pair] = self._pair_values(edges)
            values[rows, self._block(ours)] = self._polynomial.values(a).T
            if jacobian is not None and strain is not None:
                self._add_derivatives(edges, a, ours, rows, jacobian, strain)
        ends = np.cumsum([len(atoms) for atoms in frames])
        parts = [slice(end - len(atoms), end) for atoms, end in zip(frames, ends, strict=True)]
        if jacobian is None or strain is None:
            return [Features(values[part]) for part in parts]
        return [
            Features(values[part], jacobian[part].transpose(2, 0, 1), strain[k].T)
            for k, part in enumerate(parts)
        ]

    def linearize(
        self, atoms: Atoms, weights: np.ndarray | None = None
    ) -> tuple[np.ndarray, Pullback]:
        """The feature row ``(D,)`` and a function from cotangents to gradients.

        With ``weights (G, n_atoms)`` that many weighted sums, as in `Descriptor`.
        """
        neighbours = self._neighbours([atoms])
        shape = (self.n_features,) if weights is None else (len(weights), self.n_features)
        phi = np.zeros(shape)
        sites = []
        for rows in self._chunks(neighbours, CHUNK_ATOMS):
            ours = neighbours.take(rows)
            edges = self._edges.evaluate(ours, neighbours.species)
            a = self._edges.one_particle(edges)
            pairs = self._polynomial.pairs(a)
            site = _Site(rows, ours, edges, a, pairs, self._block(ours))
            if weights is None:
                phi[: self._n_pair] += self._pair_values(edges).sum(axis=0)
                phi[site.block] += self._polynomial.totals(a, pairs)
            else:
                shares = weights[:, rows]
                totals = self._polynomial.totals(a, pairs, torch.from_numpy(shares.T))
                phi[:, : self._n_pair] += shares @ self._pair_values(edges)
                phi[:, site.block] += totals.T
            sites.append(site)

        def pullback(cotangent: np.ndarray) -> Gradient:
            cotangent = np.asarray(cotangent, float)
            if cotangent.shape != shape:
                raise DescriptorError(f"cotangent: expected shape {shape}, got {cotangent.shape}")
            positions = torch.zeros((neighbours.n_atoms, 3), dtype=torch.float64)
            strain = torch.zeros((3, 3), dtype=torch.float64)
            for site in sites:
                shares = None if weights is None else torch.from_numpy(weights[:, site.rows])
                d_edges = self._edge_gradient(site, np.atleast_2d(cotangent), shares)
                per_edge = d_edges.permute(1, 2, 0)
                positions[site.rows] -= per_edge.sum(dim=1)
                targets = torch.from_numpy(site.ours.index.ravel())
                positions.index_add_(0, targets, per_edge.reshape(-1, 3))
                strain += torch.einsum("nka,nkb->ab", per_edge, site.edges.vectors)
            return Gradient(positions.numpy(), voigt6(strain.numpy()))

        return phi, pullback

    def vjp(self, atoms: Atoms, cotangent: np.ndarray) -> Gradient:
        """Gradient of ``cotangent . phi``: positions ``(n_atoms, 3)`` and strain ``(6,)``."""
        return self.linearize(atoms)[1](cotangent)

    def prior_std(self) -> np.ndarray:
        """1 / P of the ACE smoothness prior, ``(D,)``: P = 1 + n^4 (pair), 1 + d (many-body)."""
        pair = 1.0 + np.tile(np.arange(1.0, self.totaldegree + 1) ** 4, self._edges.n_pair_types)
        many = np.tile(1.0 + self._smoothness, len(self.elements))
        return 1.0 / np.concatenate([pair, many])

    def spec(self) -> dict[str, Any]:
        """Everything needed to build the same descriptor again."""
        return {
            "kind": "ace",
            "convention": CONVENTION,
            "elements": list(self.elements),
            "order": self.order,
            "totaldegree": self.totaldegree,
            "cutoff": self.cutoff,
            "r0": [[*pair, length] for pair, length in sorted(self.r0.items())],
        }

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> ACEDescriptor:
        """The descriptor that `spec` describes."""
        if spec.get("convention") != CONVENTION:
            raise DescriptorError(
                f"convention: this version evaluates {CONVENTION!r}, the file was written "
                f"with {spec.get('convention')!r}"
            )
        r0 = {(a, b): length for a, b, length in spec["r0"]}
        return cls(spec["elements"], spec["order"], spec["totaldegree"], spec["cutoff"], r0)

    def __repr__(self) -> str:
        return (
            f"ACEDescriptor(elements={list(self.elements)}, order={self.order}, "
            f"totaldegree={self.totaldegree}, cutoff={self.cutoff})"
        )

    def _neighbours(self, frames: Sequence[Atoms]) -> Neighbours:
        return find_neighbours(frames, [self._species(atoms) for atoms in frames], self.cutoff)

    def _species(self, atoms: Atoms) -> np.ndarray:
        if not np.isfinite(atoms.positions).all() or not np.isfinite(atoms.cell.array).all():
            raise DescriptorError("positions or cell: not finite (NaN or infinite)")
        try:
            return np.array([self._species_of[symbol] for symbol in atoms.symbols], int)
        except KeyError as error:
            raise DescriptorError(
                f"element {error.args[0]!r} is not one of the descriptor's {list(self.elements)}"
            ) from None

    def _chunks(self, neighbours: Neighbours, size: int) -> Iterator[np.ndarray]:
        """Rows of up to ``size`` atoms of one centre species."""
        for k in np.unique(neighbours.species):
            members = np.flatnonzero(neighbours.species == k)
            for start in range(0, len(members), size):
                yield members[start : start + size]

    def _jacobian_chunk(self, neighbours: Neighbours) -> int:
        """How many atoms' dense Jacobians fit into `CHUNK_BYTES`."""
        width = neighbours.index.shape[1]
        k, v = self._polynomial.n_functions, self._polynomial.n_one_particle
        return max(1, int(CHUNK_BYTES / (8 * (v * k + 3 * width * (v + k)))))

    def _block(self, centres: Neighbours) -> slice:
        """Features of the many-body block of these centres, all of one species."""
        start = self._n_pair + int(centres.species[0]) * self._polynomial.n_functions
        return slice(start, start + self._polynomial.n_functions)

    def _pair_values(self, edges: Edges) -> np.ndarray:
        """Half sums over neighbours of the pair functions, ``(N, pair features)``."""
        columns = [
            (edges.pair * (edges.pair_type == number)).sum(dim=2).T
            for number in range(self._edges.n_pair_types)
        ]
        return 0.5 * torch.cat(columns, dim=1).numpy()

    def _pair_pullback(self, edges: Edges, cotangent: np.ndarray) -> torch.Tensor:
        weights = torch.from_numpy(0.5 * cotangent).view(self._edges.n_pair_types, -1)
        if len(weights) == 1:
            return torch.einsum("t,tnk->nk", weights[0], edges.pair_slope)
        return torch.einsum("nkt,tnk->nk", weights[edges.pair_type], edges.pair_slope)

    def _edge_gradient(
        self, site: _Site, cotangents: np.ndarray, weights: torch.Tensor | None
    ) -> torch.Tensor:
        """Gradient of the sum of ``cotangents (G, D) . rows`` by edge vectors, ``(3, N, K)``.

        The rows are sums over the site's atoms, weighted by ``weights (G, N)`` where given.
        """
        d_a = d_pair = torch.zeros((), dtype=torch.float64)
        for number, cotangent in enumerate(cotangents):
            by_a = self._polynomial.adjoint(site.a, site.pairs, cotangent[site.block])
            by_pair = self._pair_pullback(site.edges, cotangent[: self._n_pair])
            if weights is not None:
                by_a, by_pair = by_a * weights[number], by_pair * weights[number][:, None]
            d_a, d_pair = d_a + by_a, d_pair + by_pair
        d_edges = self._edges.one_particle_pullback(site.edges, d_a)
        return d_edges.add_(d_pair * site.edges.unit)

    def _add_derivatives(
        self,
        edges: Edges,
        a: torch.Tensor,
        ours: Neighbours,
        rows: np.ndarray,
        jacobian: np.ndarray,
        strain: np.ndarray,
    ) -> None:
        """Add what these atoms' sites contribute to every atom's Jacobian and to the strain."""
        width = edges.vectors.shape[1]
        targets = np.concatenate([ours.index, rows[:, None]], axis=1).ravel()
        target_rows, frames = torch.from_numpy(targets), torch.from_numpy(ours.frame)
        every_atom, every_frame = torch.from_numpy(jacobian), torch.from_numpy(strain)

        def add(columns: slice, by_position: torch.Tensor, by_strain: torch.Tensor) -> None:
            by_position = by_position.view(len(targets), 3, -1)
            every_atom[:, :, columns].index_add_(0, target_rows, by_position)
            every_frame[:, :, columns].index_add_(0, frames, by_strain)

        by_position, by_strain = with_centre_and_strain(
            self._edges.one_particle_jacobian(edges), edges
        )
        by_position = by_position.view(len(rows), 3 * (width + 1), -1)
        start = self._block(ours).start
        for block, prefix, slopes in self._polynomial.jacobian(a):
            add(
                slice(start + block.start, start + block.stop),
                torch.bmm(by_position[:, :, :prefix], slopes),
                torch.bmm(by_strain[:, :, :prefix], slopes),
            )
        unit = edges.unit.permute(1, 2, 0)
        pair_slopes = 0.5 * edges.pair_slope.permute(1, 2, 0)[:, :, None] * unit[..., None]
        for number in range(self._edges.n_pair_types):
            columns = slice(number * self.totaldegree, (number + 1) * self.totaldegree)
            chosen = (edges.pair_type == number)[:, :, None, None]
            if chosen.any():
                add(columns, *with_centre_and_strain(pair_slopes * chosen, edges))
