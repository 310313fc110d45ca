"""Channels of elements, so that a basis need not grow with the number of elements."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations_with_replacement
from typing import Annotated, Any

import numpy as np
from ase.data import atomic_numbers, covalent_radii
from pydantic import Field

from ..errors import DescriptorError
from ..io.fields import HIDDEN

NOBLE_GASES = (0, 2, 10, 18, 36, 54, 86, 118)
LARGEST_COST = 100.0
ORTHOGONAL = 1e-8
"""So far from orthogonal the weights of a saved embedding may be."""
NEW = 1e-3
"""A property that is so near a combination of those before it gives no channel."""


@dataclass(frozen=True)
class Embedding:
    """Elements in products of atomic densities, by channels in place of one species each.

    A neighbour of element z enters channel k with the weight u_k(z), frozen (Willatt, Musil and
    Ceriotti, Phys. Chem. Chem. Phys. 20, 29661, 2018; Darby et al., Phys. Rev. Lett. 131, 028001,
    2023). u_0 is 1: the density of all atoms alike. The further ones are polynomials of the
    element's covalent radius, period and group, of rising degree, made orthogonal over the
    elements, so that as many channels as elements are all that can be told of a neighbour.

    Products couple channels, and a factor of any channel but the first counts ``cost`` more
    towards the total degree: fine chemistry comes with coarse geometry. A cost of 0 with as many
    channels as elements spans the same functions as the elements themselves.

    Parameters
    ----------
    channels
        Number of channels, at most that of elements.
    cost
        What a factor of any channel but the first adds to the total degree of a product.
    weights
        Those of a saved embedding, one row for each channel and as many as elements, in the order
        of the elements; None to compute them.
    """

    channels: Annotated[int, Field(ge=1, le=100)]
    cost: Annotated[float, Field(ge=0, le=LARGEST_COST)] = 3.0
    weights: Annotated[tuple[tuple[float, ...], ...] | None, HIDDEN] = field(
        default=None, repr=False
    )

    @classmethod
    def of(cls, given: Embedding | int | None) -> Embedding | None:
        """The embedding itself, or that of a number of channels; None for none."""
        return given if given is None or isinstance(given, Embedding) else cls(int(given))

    @property
    def costs(self) -> tuple[float, ...]:
        """What a factor of each channel counts towards the total degree."""
        return (0.0, *[self.cost] * (self.channels - 1))

    def check(self, elements: Sequence[str]) -> None:
        """Refuse what makes no sense for these elements.

        Raises
        ------
        DescriptorError
            Naming the argument.
        """
        n = len(elements)
        if not 1 <= self.channels <= n:
            raise DescriptorError(
                f"embedding: channels must be from 1 to {n}, the number of elements, "
                f"got {self.channels}"
            )
        if not 0 <= self.cost <= LARGEST_COST:
            raise DescriptorError(
                f"embedding: cost must be from 0 to {LARGEST_COST:g}, got {self.cost}"
            )
        if self.weights is None:
            return
        rows = self.weights
        if len(rows) != n or any(len(row) != n for row in rows):
            raise DescriptorError(f"embedding: expected {n} rows of {n} weights")
        overlaps = np.array(rows) @ np.transpose(rows) / n
        if not np.abs(overlaps - np.eye(n)).max() < ORTHOGONAL:
            raise DescriptorError("embedding: the weights are not orthogonal")

    def spec(self, elements: Sequence[str]) -> dict[str, Any]:
        """What `from_spec` makes the same embedding of these elements from."""
        weights = self.rows(elements).tolist()
        return {"channels": self.channels, "cost": self.cost, "weights": weights}

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Embedding:
        """The embedding that `spec` describes; `check` tells whether it makes sense."""
        weights = tuple(tuple(map(float, row)) for row in spec["weights"])
        return cls(int(spec["channels"]), float(spec["cost"]), weights)

    def rows(self, elements: Sequence[str]) -> np.ndarray:
        """Weights ``(NZ, NZ)``: u_k of each of NZ elements, the channels beyond last."""
        return element_weights(elements) if self.weights is None else np.array(self.weights)


def element_weights(elements: Sequence[str]) -> np.ndarray:
    """``(NZ, NZ)`` orthogonal functions of NZ elements, each of mean square 1, the first all 1.

    The same for an element wherever it stands in the list, bit for bit on all machines. From Gram
    and Schmidt, on products of properties (`_candidates`) of degree 0, 1, 2, ...; last come
    elements by themselves, for those that no property tells apart.
    """
    numbers = np.array([atomic_numbers[symbol] for symbol in elements])
    order = np.argsort(numbers)
    found: list[np.ndarray] = []
    for candidate in _candidates(numbers[order]):
        rest = candidate
        for _ in range(2):  # the second time for the rounding of the first
            for row in found:
                rest = rest - row * (_dot(row, rest) / len(row))
        if _dot(rest, rest) > NEW**2 * _dot(candidate, candidate):
            found.append(rest * math.sqrt(len(rest) / _dot(rest, rest)))
        if len(found) == len(elements):
            break
    rows = np.empty((len(elements), len(elements)))
    rows[:, order] = found
    return rows


def _candidates(numbers: np.ndarray) -> Iterator[np.ndarray]:
    """Functions of elements of rising atomic number, coarse ones first."""
    properties = [_standardised(values) for values in _properties(numbers)]
    yield np.ones(len(numbers))
    for degree in range(1, 4):
        for factors in combinations_with_replacement(properties, degree):
            yield np.prod(factors, axis=0)
    yield from np.eye(len(numbers))


def _dot(first: np.ndarray, second: np.ndarray) -> float:
    """The scalar product, rounded once."""
    return math.fsum((first * second).tolist())


def _standardised(values: np.ndarray) -> np.ndarray:
    values = values - math.fsum(values.tolist()) / len(values)
    width = np.abs(values).max()
    return np.asarray(values / width if width > 0 else values)


def _properties(numbers: np.ndarray) -> tuple[np.ndarray, ...]:
    """Covalent radius (A), period and group of each element."""
    before = np.searchsorted(NOBLE_GASES, numbers) - 1
    return covalent_radii[numbers], before + 1.0, _group(numbers, before)


def _group(numbers: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Group of the periodic table, 1 to 18; 3 for all lanthanides and actinides."""
    starts = np.array(NOBLE_GASES)
    place, length = numbers - starts[before], np.diff(starts)[before]
    f_block = np.where(place <= 17, np.minimum(place, 3), place - 14)
    others = np.where(place <= np.where(length == 2, 1, 2), place, place + 18 - length)
    return np.where(length == 32, f_block, others).astype(float)
