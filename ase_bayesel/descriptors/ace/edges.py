"""Edge functions of the linear ACE basis and their contraction to one-particle functions.

A_(z,n,l,m) of an atom is the sum over its neighbours of species z of
J_n(r) Y_lm; the pair functions are sums of env(r) P_n(x(r)).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
import torch

from ..base import VOIGT
from .angular import spherical_harmonics
from .neighbours import Neighbours
from .radial import (
    AgnesiTransform,
    bond_length,
    chebyshev,
    many_body_polynomials,
    pair_envelope,
    pair_polynomials,
    transform_with_derivative,
)

MANY_BODY_PQ = (2, 4)
PAIR_PQ = (1, 3)


@dataclass(frozen=True)
class Edges:
    """Functions of every padded edge of N atoms with K neighbours each.

    ``radial`` and ``radial_slope`` are ``(n, N, K)``; ``angular`` is ``(lm, N, K)``
    and ``angular_gradient`` ``(lm, 3, N, K)`` (derivative with respect to the edge
    vector); ``pair`` and ``pair_slope`` are ``(T, N, K)``. ``unit`` is ``(3, N, K)``
    and ``vectors`` ``(N, K, 3)``. ``masks`` is ``(NZ, N, K)``, one where the
    neighbour has that species; None for a single element. ``pair_type`` is ``(N, K)``.
    """

    vectors: torch.Tensor
    unit: torch.Tensor
    radial: torch.Tensor
    radial_slope: torch.Tensor
    angular: torch.Tensor
    angular_gradient: torch.Tensor
    pair: torch.Tensor
    pair_slope: torch.Tensor
    masks: torch.Tensor | None
    pair_type: torch.Tensor

    def by_species(self, radial: torch.Tensor) -> torch.Tensor:
        """Radial functions split by the neighbour's species, ``(N, NZ n, K)``."""
        if self.masks is None:
            return radial.permute(1, 0, 2)
        split = radial[None] * self.masks[:, None]
        return split.flatten(0, 1).permute(1, 0, 2)


class EdgeBasis:
    """Radial, angular and pair functions for a set of elements.

    Parameters
    ----------
    elements
        Chemical symbols; species are numbered in their order.
    totaldegree
        Number T of pair functions of each pair of elements.
    cutoff
        Cutoff radius, A.
    nmax
        Number of radial functions for each degree l = 0 .. lmax.
    r0
        Length scale of pairs of elements, A; `radial.bond_length` where a pair is missing.
    """

    def __init__(
        self,
        elements: tuple[str, ...],
        totaldegree: int,
        cutoff: float,
        nmax: tuple[int, ...],
        r0: Mapping[tuple[str, ...], float],
    ) -> None:
        self.nmax, self.lmax, self.n_species = nmax, len(nmax) - 1, len(elements)
        self._cutoff = cutoff
        species_pairs = list(combinations_with_replacement(range(len(elements)), 2))
        names = [(elements[a], elements[b]) for a, b in species_pairs]
        self.n_pair_types = len(names)
        table = np.zeros((len(elements), len(elements)), int)
        for number, (a, b) in enumerate(species_pairs):
            table[a, b] = table[b, a] = number
        self._type_of = torch.from_numpy(table)
        lengths = [r0.get(n, r0.get(n[::-1], bond_length(*n))) for n in names]
        self._r0 = torch.tensor(lengths, dtype=torch.float64)
        self._x_cutoff = torch.tensor(
            [AgnesiTransform(length, *MANY_BODY_PQ)(cutoff) for length in lengths],
            dtype=torch.float64,
        )
        many = many_body_polynomials(max(nmax))
        self._many = torch.from_numpy(many.chebyshev_matrix(-1.0, 1.0))
        lows = [AgnesiTransform(length, *PAIR_PQ)(cutoff) for length in lengths]
        self._x_low = torch.tensor(lows, dtype=torch.float64)
        # the measure is uniform, so on [-1, 1] the pair polynomials of all pairs are the same
        pair = pair_polynomials(totaldegree, -1.0, 1.0)
        self._pairs = torch.from_numpy(pair.chebyshev_matrix(-1.0, 1.0))
        degrees = [degree for degree in range(self.lmax + 1) for _ in range(2 * degree + 1)]
        self._degree = torch.tensor(degrees, dtype=torch.float64)

    def evaluate(self, neighbours: Neighbours, all_species: np.ndarray) -> Edges:
        """All edge functions; ``all_species`` holds the species that ``index`` points into."""
        vectors = torch.from_numpy(neighbours.vectors)
        shape = vectors.shape[:2]
        r = torch.linalg.vector_norm(vectors, dim=2).reshape(-1)
        unit = (vectors.reshape(-1, 3) / r[:, None]).T.contiguous()
        neighbour_species = torch.from_numpy(all_species[neighbours.index])
        pair_type = self._type_of[torch.from_numpy(neighbours.species)[:, None], neighbour_species]
        flat_type = pair_type.reshape(-1) if self.n_pair_types > 1 else 0

        radial, radial_slope = self._many_body(r, flat_type)
        pair, pair_slope = self._pair(r, flat_type)
        angular, gradient = spherical_harmonics(unit, self.lmax)
        gradient.addcmul_(
            (self._degree[:, None] * angular)[:, None], unit[None].expand_as(gradient), value=-1.0
        )
        gradient.div_(r)
        masks = None
        if self.n_species > 1:
            species = torch.arange(self.n_species)[:, None, None]
            masks = (neighbour_species == species).to(torch.float64)
        return Edges(
            vectors=vectors,
            unit=unit.view(3, *shape),
            radial=radial.view(-1, *shape),
            radial_slope=radial_slope.view(-1, *shape),
            angular=angular.view(-1, *shape),
            angular_gradient=gradient.view(-1, 3, *shape),
            pair=pair.view(-1, *shape),
            pair_slope=pair_slope.view(-1, *shape),
            masks=masks,
            pair_type=pair_type,
        )

    def _many_body(
        self, r: torch.Tensor, pair_type: torch.Tensor | int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        x, slope = transform_with_derivative(r, self._r0[pair_type], *MANY_BODY_PQ)
        scale = 2.0 / (self._x_cutoff[pair_type] - 1.0)
        y, dy = (-1.0 + (x - 1.0) * scale).clamp_(-1.0, 1.0), slope * scale
        p, dp = _polynomials(self._many, y)
        inside = 1.0 - y**2
        dp.mul_(inside).addcmul_(p, (-4.0 * y).expand_as(p)).mul_(inside * dy)
        return p.mul_(inside**2), dp

    def _pair(
        self, r: torch.Tensor, pair_type: torch.Tensor | int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        r0 = self._r0[pair_type]
        x, slope = transform_with_derivative(r, r0, *PAIR_PQ)
        scale = 2.0 / (1.0 - self._x_low[pair_type])
        p, dp = _polynomials(self._pairs, (1.0 + (x - 1.0) * scale).clamp_(-1.0, 1.0))
        slope = slope * scale
        envelope, d_envelope = pair_envelope(r, r0, self._cutoff)
        dp.mul_(slope * envelope).addcmul_(p, d_envelope.expand_as(p))
        return p.mul_(envelope), dp

    def one_particle(self, edges: Edges) -> torch.Tensor:
        """A of every atom, ``(V, N)``."""
        radial = edges.by_species(edges.radial)
        full = torch.bmm(radial, edges.angular.permute(1, 2, 0))
        full = full.view(len(full), self.n_species, -1, full.shape[2])
        return torch.cat([full[block].flatten(1) for block in self._blocks()], dim=1).T.contiguous()

    def one_particle_pullback(self, edges: Edges, cotangent: torch.Tensor) -> torch.Tensor:
        """Gradient of ``cotangent (V, N) . A`` with respect to the edge vectors, ``(3, N, K)``."""
        n_atoms, n_radial = cotangent.shape[1], edges.radial.shape[0]
        full = torch.zeros(
            (n_atoms, self.n_species, n_radial, len(self._degree)), dtype=torch.float64
        )
        start = 0
        for block in self._blocks():
            target = full[block]
            stop = start + target[0].numel()
            target.copy_(cotangent[start:stop].T.view(target.shape))
            start = stop
        full = full.flatten(1, 2)
        d_radial = torch.bmm(full, edges.angular.permute(1, 0, 2))
        slope = edges.by_species(edges.radial_slope)
        d_angular = torch.bmm(full.transpose(1, 2), edges.by_species(edges.radial))
        along = (d_radial * slope).sum(dim=1)
        d_angular = d_angular.permute(1, 0, 2)
        across = (d_angular[:, None] * edges.angular_gradient).sum(dim=0)
        return along * edges.unit + across

    def one_particle_jacobian(self, edges: Edges) -> torch.Tensor:
        """dA/d(edge vector), ``(N, K, 3, V)``."""
        n_atoms, width = edges.vectors.shape[:2]
        shape = (n_atoms, width, self.n_species, -1)
        radial = edges.by_species(edges.radial).transpose(1, 2).reshape(shape)
        slope = edges.by_species(edges.radial_slope).transpose(1, 2).reshape(shape)
        angular = edges.angular.permute(1, 2, 0)
        gradient = edges.angular_gradient.permute(2, 3, 1, 0)
        along = edges.unit.permute(1, 2, 0)[..., None] * angular[:, :, None]
        n_total = self.n_species * sum(n * (2 * d + 1) for d, n in enumerate(self.nmax))
        out = torch.empty((n_atoms, width, 3, n_total), dtype=torch.float64)
        start = 0
        for degree, n in enumerate(self.nmax):
            lm = slice(degree**2, (degree + 1) ** 2)
            stop = start + self.n_species * n * (2 * degree + 1)
            view = out[..., start:stop].view(n_atoms, width, 3, self.n_species, n, 2 * degree + 1)
            torch.mul(slope[:, :, None, :, :n, None], along[:, :, :, None, None, lm], out=view)
            view.addcmul_(radial[:, :, None, :, :n, None], gradient[:, :, :, None, None, lm])
            start = stop
        return out

    def _blocks(self) -> Iterator[tuple[slice, slice, slice, slice]]:
        """Where the functions of each degree lie in ``(N, NZ, n, lm)``."""
        for degree, n in enumerate(self.nmax):
            yield (slice(None), slice(None), slice(0, n), slice(degree**2, (degree + 1) ** 2))


def _polynomials(matrix: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Values and slopes ``(n, k)`` of the polynomials behind a `chebyshev_matrix`."""
    n = matrix.shape[1]
    return (matrix @ chebyshev(y, n)).split(n)


def with_centre_and_strain(
    d_edges: torch.Tensor, edges: Edges
) -> tuple[torch.Tensor, torch.Tensor]:
    """Derivatives by position and by strain from those by edge vector.

    ``d_edges`` is ``(N, K, 3, V)``. Returns ``(N, K + 1, 3, V)``, whose last slot
    is the centre atom itself, and ``(N, 6, V)``.
    """
    n, width, _, v = d_edges.shape
    by_position = torch.empty((n, width + 1, 3, v), dtype=d_edges.dtype)
    by_position[:, :width] = d_edges
    torch.sum(d_edges, dim=1, out=by_position[:, width]).neg_()
    tensor = torch.bmm(edges.vectors.transpose(1, 2), d_edges.flatten(2)).view(n, 3, 3, v)
    by_strain = torch.stack([(tensor[:, a, b] + tensor[:, b, a]) / 2 for a, b in VOIGT], dim=1)
    return by_position, by_strain
