"""What an ACE descriptor may be asked for: checked before any of it is built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ase.data import chemical_symbols

from ...errors import DescriptorError
from ..embedding import Embedding
from .basis import count_functions

LARGEST_DEGREE = 50
LARGEST_CUTOFF_A = 30.0
"""Beyond, the basis or the neighbour list would take all memory."""
LARGEST_FEATURES = 100_000
"""A posterior of more takes 80 GB."""


def check_arguments(
    elements: Sequence[str],
    order: int,
    totaldegree: int,
    cutoff: float,
    r0: Mapping[tuple[str, ...], float],
    embedding: Embedding | None = None,
    most: int = LARGEST_FEATURES,
) -> None:
    """Refuse arguments of an `ACEDescriptor` that make no sense or ask for too much.

    Parameters
    ----------
    elements, order, totaldegree, cutoff, r0, embedding
        As of `ACEDescriptor`.
    most
        So many features it may have.

    Raises
    ------
    DescriptorError
        Naming the argument.
    """
    unknown = [symbol for symbol in elements if symbol not in chemical_symbols[1:]]
    if unknown or not elements or len(set(elements)) < len(elements):
        raise DescriptorError(
            f"elements: expected different chemical symbols, got {_told(elements)}"
        )
    if order not in (2, 3):
        raise DescriptorError(f"order: must be 2 or 3, got {order}")
    if not 2 <= totaldegree <= LARGEST_DEGREE:
        raise DescriptorError(f"totaldegree: must be from 2 to {LARGEST_DEGREE}, got {totaldegree}")
    if not 0 < cutoff <= LARGEST_CUTOFF_A:
        raise DescriptorError(
            f"cutoff: must be positive and at most {LARGEST_CUTOFF_A} A, got {cutoff}"
        )
    for pair, length in r0.items():
        if not 0 < length < float("inf"):
            raise DescriptorError(f"r0: length of {pair} must be positive (A), got {length}")
        if len(pair) != 2 or not set(pair) <= set(elements):
            raise DescriptorError(f"r0: {pair} is not a pair of the elements {elements}")
    if embedding is not None:
        embedding.check(elements)
    if has_more_features(most, elements, order, totaldegree, embedding):
        several = len(elements) > 1 and embedding is None
        raise DescriptorError(
            f"totaldegree: {totaldegree} with order {order} and {len(elements)} elements gives "
            f"more than {most} features; take a lower one, or fewer "
            f"{'elements, or an embedding of them' if several else 'elements or channels'}"
        )


def has_more_features(
    most: int,
    elements: Sequence[str],
    order: int,
    totaldegree: int,
    embedding: Embedding | None = None,
) -> bool:
    """Whether an `ACEDescriptor` would have more than so many features.

    Parameters
    ----------
    most
        So many; it counts no further.
    elements, order, totaldegree, embedding
        As of `ACEDescriptor`, and such that it takes them.
    """
    pairs = len(elements) * (len(elements) + 1) // 2 * totaldegree
    left = (most - pairs) // len(elements)
    costs = (0.0,) * len(elements) if embedding is None else embedding.costs
    return left < 0 or count_functions(costs, order, totaldegree, left) > left


def _told(elements: Sequence[str]) -> str:
    shown = ", ".join(map(repr, elements[:8]))
    return f"[{shown}{', ...' if len(elements) > 8 else ''}]"
