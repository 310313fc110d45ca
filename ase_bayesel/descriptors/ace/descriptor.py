"""The linear ACE descriptor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols

from ...errors import DescriptorError
from .. import compiled
from ..base import Features, Gradient, Pullback, as_frames, voigt6
from ..embedding import Embedding
from .arguments import check_arguments
from .basis import many_body_basis
from .channels import Channels
from .derivatives import Derivatives
from .edges import EdgeBasis, Edges
from .neighbours import Neighbours, find_neighbours
from .pullback import Linearized

if TYPE_CHECKING:
    from .compiled.passes import CompiledPasses
    from .polynomial import SitePolynomial

CONVENTION = "ACEpotentials-v0.6"
CHUNK_BYTES = 48e6
"""Working memory of one chunk of atoms when Jacobians are formed."""
CHUNK_ATOMS = 64
"""Atoms evaluated together otherwise: enough to be vectorised, few enough for the cache."""
SILENT = np.errstate(all="ignore")
"""Atoms on top of each other give numbers that are not finite, which others look for."""


class _Site(NamedTuple):
    """What derivatives need of a chunk of atoms of one species, ``rows`` of all."""

    rows: np.ndarray
    ours: Neighbours
    edges: Edges
    products: np.ndarray
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
    embedding
        For many elements: neighbours' species in products by an `Embedding`, or by that many
        channels of one. None for the elements themselves.
    """

    def __init__(
        self,
        elements: Sequence[str],
        order: int = 3,
        totaldegree: int = 12,
        cutoff: float = 5.0,
        r0: Mapping[tuple[str, str], float] | None = None,
        embedding: Embedding | int | None = None,
    ) -> None:
        self.elements = tuple([elements] if isinstance(elements, str) else elements)
        self.order, self.totaldegree, self.cutoff = int(order), int(totaldegree), float(cutoff)
        self.r0: dict[tuple[str, ...], float] = {
            tuple(pair): float(length) for pair, length in (r0 or {}).items()
        }
        self.embedding = Embedding.of(embedding)
        check_arguments(
            *(self.elements, self.order, self.totaldegree, self.cutoff, self.r0, self.embedding)
        )
        channels = Channels.of(self.elements, self.embedding)
        basis = many_body_basis(len(self.elements), self.order, self.totaldegree, channels)
        self._basis = basis
        self._edges = EdgeBasis(
            self.elements,
            self.totaldegree,
            self.cutoff,
            basis.nmax,
            basis.n_channels,
            np.array(channels.weights),
            self.r0,
        )
        self._species_of = np.full(len(chemical_symbols), -1)
        for k, symbol in enumerate(self.elements):
            self._species_of[atomic_numbers[symbol]] = k
        self._n_pair = self._edges.n_pair_types * self.totaldegree

    @cached_property
    def _polynomial(self) -> SitePolynomial:
        from .polynomial import SitePolynomial  # compiled passes do without

        return SitePolynomial(self._basis)

    @cached_property
    def _passes(self) -> CompiledPasses:
        from .compiled.passes import CompiledPasses  # where it is not wanted, numba is not needed

        return CompiledPasses(self._basis, self._edges)

    @property
    def n_features(self) -> int:
        """Length D of a feature row."""
        return self._n_pair + len(self.elements) * len(self._basis.functions)

    @SILENT
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
        if compiled.wanted():
            return [self._passes.compute(a, self._species(a), derivatives) for a in frames]
        neighbours = self._neighbours(frames)
        size = self._jacobian_chunk(neighbours) if derivatives else CHUNK_ATOMS
        values, sums = self._summed(
            self._sites(neighbours, size), neighbours.n_atoms, len(frames), derivatives
        )
        ends = np.cumsum([len(atoms) for atoms in frames])
        parts = [slice(end - len(atoms), end) for atoms, end in zip(frames, ends, strict=True)]
        if sums is None:
            return [Features(values[part]) for part in parts]
        return [
            Features(values[part], sums.jacobian[part].transpose(2, 0, 1), sums.strain[k].T)
            for k, part in enumerate(parts)
        ]

    @SILENT
    def _features(self, neighbours: Neighbours, sites: Sequence[_Site]) -> Features:
        """Features of one structure with derivatives, of sites that are evaluated."""
        size, again = self._jacobian_chunk(neighbours), iter(sites)
        if any(len(site.rows) > size for site in sites):
            again = self._sites(neighbours, size)
        values, sums = self._summed(again, neighbours.n_atoms, 1, derivatives=True)
        assert sums is not None
        return Features(values, sums.jacobian.transpose(2, 0, 1), sums.strain[0].T)

    def _summed(
        self, sites: Iterable[_Site], n_atoms: int, n_frames: int, derivatives: bool
    ) -> tuple[np.ndarray, Derivatives | None]:
        """Feature rows of all atoms ``(n_atoms, D)`` and the derivatives of their sums."""
        values = np.zeros((n_atoms, self.n_features))
        sums = Derivatives.zeros(n_atoms, n_frames, self.n_features) if derivatives else None
        for site in sites:
            values[site.rows, : self._n_pair] = self._edges.pair_values(site.edges)
            values[site.rows, site.block] = self._polynomial.values(site.products).T
            if sums is not None:
                sums.add(self._edges, self._polynomial, *site[2:4], *site[1::-1], site.block.start)
        return values, sums

    @SILENT
    def linearize(
        self, atoms: Atoms, weights: np.ndarray | None = None
    ) -> tuple[np.ndarray, Pullback]:
        """The feature row ``(D,)`` and a function from cotangents to gradients.

        With ``weights (G, n_atoms)`` that many weighted sums, as in `Descriptor`. By compiled
        passes where there are some (`compiled.wanted`).
        """
        if compiled.wanted():
            return self._passes.linearize(atoms, self._species(atoms), weights)
        neighbours = self._neighbours([atoms], again=True)
        shape = (self.n_features,) if weights is None else (len(weights), self.n_features)
        phi = np.zeros(shape)
        sites = list(self._sites(neighbours, CHUNK_ATOMS))
        for site in sites:
            if weights is None:
                phi[: self._n_pair] += self._edges.pair_totals(site.edges)
                phi[site.block] += self._polynomial.totals(site.products)
            else:
                shares = weights[:, site.rows]
                phi[:, : self._n_pair] += self._edges.pair_totals(site.edges, shares)
                phi[:, site.block] += self._polynomial.totals(site.products, shares.T).T

        gradient = partial(self._gradient, neighbours, sites, weights)
        return phi, Linearized(gradient, partial(self._features, neighbours, sites), phi.shape)

    @SILENT
    def _gradient(
        self,
        neighbours: Neighbours,
        sites: Sequence[_Site],
        weights: np.ndarray | None,
        cotangents: np.ndarray,
    ) -> Gradient:
        """Gradient of ``cotangents (G, D) . rows``, of sites that are evaluated."""
        positions = np.zeros((neighbours.n_atoms, 3))
        strain = np.zeros((3, 3))
        for site in sites:
            shares = None if weights is None else weights[:, site.rows]
            by_edge = self._edge_gradient(site, cotangents, shares)
            positions[site.rows] -= by_edge.sum(axis=2).T
            targets = site.ours.index.ravel()
            for axis in range(3):
                forces = by_edge[axis].ravel()
                positions[:, axis] += np.bincount(targets, forces, len(positions))
            strain += by_edge.reshape(3, -1) @ site.edges.vectors.reshape(3, -1).T
        return Gradient(positions, voigt6(strain))

    def vjp(self, atoms: Atoms, cotangent: np.ndarray) -> Gradient:
        """Gradient of ``cotangent . phi``: positions ``(n_atoms, 3)`` and strain ``(6,)``."""
        return self.linearize(atoms)[1](cotangent)

    def prior_std(self) -> np.ndarray:
        """1 / P of the ACE smoothness prior, ``(D,)``: P = 1 + n^4 (pair), 1 + d (many-body)."""
        pair = 1.0 + np.tile(np.arange(1.0, self.totaldegree + 1) ** 4, self._edges.n_pair_types)
        many = np.tile(1.0 + self._basis.smoothness, len(self.elements))
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
            **({"embedding": self.embedding.spec(self.elements)} if self.embedding else {}),
        }

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any], n_features: int | None = None) -> ACEDescriptor:
        """The descriptor that `spec` describes; ``n_features`` are all that it may have."""
        if spec.get("convention") != CONVENTION:
            raise DescriptorError(
                f"convention: this version evaluates {CONVENTION!r}, the file was written "
                f"with {spec.get('convention')!r}"
            )
        r0: dict[Any, float] = {(a, b): length for a, b, length in spec["r0"]}
        given = spec.get("embedding")
        embedding = None if given is None else Embedding.from_spec(given)
        arguments = (spec["elements"], spec["order"], spec["totaldegree"], spec["cutoff"], r0)
        if n_features is not None:
            check_arguments(*arguments, embedding, n_features)
        return cls(*arguments, embedding)

    def __repr__(self) -> str:
        embedding = "" if self.embedding is None else f", embedding={self.embedding}"
        return (
            f"ACEDescriptor(elements={list(self.elements)}, order={self.order}, "
            f"totaldegree={self.totaldegree}, cutoff={self.cutoff}{embedding})"
        )

    def _neighbours(self, frames: Sequence[Atoms], again: bool = False) -> Neighbours:
        species = [self._species(atoms) for atoms in frames]
        return find_neighbours(frames, species, self.cutoff, again)

    def _sites(self, neighbours: Neighbours, size: int) -> Iterator[_Site]:
        """The atoms in chunks of up to ``size``, evaluated."""
        for rows in self._chunks(neighbours, size):
            ours = neighbours.take(rows)
            edges = self._edges.evaluate(ours, neighbours.species)
            products = self._polynomial.products(self._edges.one_particle(edges))
            yield _Site(rows, ours, edges, products, self._block(ours))

    def _species(self, atoms: Atoms) -> np.ndarray:
        if not np.isfinite(atoms.positions).all() or not np.isfinite(atoms.cell.array).all():
            raise DescriptorError("positions or cell: not finite (NaN or infinite)")
        species = self._species_of[atoms.numbers]
        if (species < 0).any():
            symbol = atoms.symbols[int(np.argmax(species < 0))]
            raise DescriptorError(
                f"element {symbol!r} is not one of the descriptor's {list(self.elements)}"
            )
        return np.asarray(species)

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
        return max(1, min(CHUNK_ATOMS, int(CHUNK_BYTES / (8 * (v * k + 3 * width * (v + k))))))

    def _block(self, centres: Neighbours) -> slice:
        """Features of the many-body block of these centres, all of one species."""
        start = self._n_pair + int(centres.species[0]) * self._polynomial.n_functions
        return slice(start, start + self._polynomial.n_functions)

    def _edge_gradient(
        self, site: _Site, cotangents: np.ndarray, weights: np.ndarray | None
    ) -> np.ndarray:
        """Gradient of the sum of ``cotangents (G, D) . rows`` by edge vectors, ``(3, N, K)``.

        The rows are sums over the site's atoms, weighted by ``weights (G, N)`` where given.
        """
        by_a, by_length = np.zeros(()), np.zeros(())
        for number, cotangent in enumerate(cotangents):
            d_a = self._polynomial.adjoint(site.products, cotangent[site.block])
            d_pair = self._edges.pair_pullback(site.edges, cotangent[: self._n_pair])
            if weights is not None:
                d_a, d_pair = d_a * weights[number], d_pair * weights[number][:, None]
            by_a, by_length = by_a + d_a, by_length + d_pair
        by_edge = self._edges.one_particle_pullback(site.edges, by_a)
        by_edge += by_length * site.edges.unit
        return by_edge
