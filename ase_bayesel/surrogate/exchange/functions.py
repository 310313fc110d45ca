"""Two descriptors with the same functions, up to their order, signs and normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from ase import Atoms

from ...descriptors.base import Descriptor
from ...errors import DescriptorError
from ..posterior import Posterior
from ..surrogate import Surrogate
from ..triangular import append_rows

TOLERANCE = 1e-6
"""So far from parallel, on the atoms that are looked at, two functions may be to count as one."""


class SameFunctions(NamedTuple):
    """Function k of the second basis is ``scales[k]`` times function ``places[k]`` of the first."""

    places: np.ndarray
    scales: np.ndarray


def same_functions(first: np.ndarray, second: np.ndarray) -> SameFunctions:
    """Which function of one basis each of another is, from the values of both at the same atoms.

    Parameters
    ----------
    first, second
        ``(n, D)`` values at n atoms, or any n rows of both; n of a few more than 1 are enough, as
        long as no two functions of a basis are parallel on them.

    Raises
    ------
    DescriptorError
        If a function of the second has no partner in the first, or two have the same.
    """
    if first.shape != second.shape:
        raise DescriptorError(
            f"the bases have {first.shape[1]} and {second.shape[1]} functions: not the same ones"
        )
    norms = [np.linalg.norm(values, axis=0) for values in (first, second)]
    if min(norm.min(initial=np.inf) for norm in norms) == 0:
        raise DescriptorError("a function is 0 at all of these atoms; take structures of all kinds")
    cosines = (first / norms[0]).T @ (second / norms[1])
    places = np.abs(cosines).argmax(axis=0)
    columns = np.arange(second.shape[1])
    scales = cosines[places, columns] * norms[1] / norms[0][places]
    lost = np.linalg.norm(second - first[:, places] * scales, axis=0) > TOLERANCE * norms[1]
    if lost.any():
        raise DescriptorError(
            f"{lost.sum()} of {len(columns)} functions (the first is number "
            f"{np.argmax(lost)}) are no multiple of one of the other basis: not the same functions"
        )
    if len(set(places.tolist())) < len(places):
        raise DescriptorError(
            "two functions have the same partner; take more structures, of more kinds"
        )
    return SameFunctions(places, scales)


def in_functions_of(
    surrogate: Surrogate, descriptor: Descriptor, frames: Sequence[Atoms]
) -> Surrogate:
    """The same surrogate, mean and covariance, on another descriptor of the same functions.

    Linear ACE of this package and of ACEpotentials (`JulipDescriptor`) are such a pair: the
    signs of Julia's functions are arbitrary, so that they are found by comparison.

    Parameters
    ----------
    surrogate
        On one of the two.
    descriptor
        The other.
    frames
        Structures at whose atoms both are compared: distorted ones of all elements, some tens of
        atoms.

    Raises
    ------
    DescriptorError
        If the functions are not the same ones.
    """
    first, second = (
        np.concatenate([features.values for features in each.compute(frames)])
        for each in (surrogate.descriptor, descriptor)
    )
    places, scales = same_functions(first, second)
    before = surrogate.posterior
    # phi' = scales phi[places], so that c[places] = scales c'
    rows = before.precision_factor[:, places] * scales
    factor = append_rows(np.zeros_like(rows), rows)
    posterior = Posterior(factor, before.mean[places] / scales)
    return replace(surrogate, descriptor=descriptor, posterior=posterior, support=None)
