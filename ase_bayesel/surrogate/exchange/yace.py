"""Potentials of ML-PACE (``.yace``), which LAMMPS runs by ``pair_style pace``.

The format (pacemaker's C-tilde basis) sums products of complex A_nlm = sum_j R_nl(r_j) Y_lm, with
Y_00 = 1 and the phase of Condon and Shortley, times ``ctildes``; products of one factor are the
radial base functions g_k themselves. Its radial functions are R_nl = sum_k c_nlk g_k. Here g_k is
ChebPow with exponent 1, all polynomials of r that vanish at the cutoff, so that a file needs no
change of ML-PACE: our radial functions, which are smooth functions of r, are expanded in so many
of them that nothing is lost (`radials`). What one factor gives, the pair functions and the
purification, is one expansion for each pair of elements.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from math import pi, sqrt
from pathlib import Path

import numpy as np

from ...descriptors.ace.basis import OneParticle, complex_terms
from ...io.atomic import write_atomically
from ..surrogate import Surrogate
from .radials import BondRadials, expand_radials
from .tables import LinearACE

R_MIN_A = 0.5
Term = tuple[tuple[int, ...], float]
"""The m of each factor, and the coefficient."""


def write_yace(surrogate: Surrogate, path: Path, r_min: float) -> None:
    """The mean of a surrogate as a potential of ML-PACE; see `write_ace_model`."""
    model = LinearACE.of(surrogate)
    bonds = expand_radials(model, r_min)
    write_atomically(path, "".join(f"{line}\n" for line in _lines(model, bonds)).encode())


def _lines(model: LinearACE, bonds: dict[tuple[int, int], BondRadials]) -> Iterator[str]:
    species = range(model.n_species)
    yield f"elements: [{', '.join(model.descriptor.elements)}]"
    yield f"E0: {_numbers(model.e0s)}"
    yield "deltaSplineBins: 0.001"
    yield "embeddings:"
    for z in species:
        yield (
            f"  {z}: {{ndensity: 1, FS_parameters: [1.0, 1.0], npoti: FinnisSinclairShiftedScaled, "
            "rho_core_cutoff: 100000.0, drho_core_cutoff: 250.0}"
        )
    yield "bonds:"
    for (a, b), bond in bonds.items():
        yield f"  [{a}, {b}]: {_bond(model, bond)}"
    yield "functions:"
    for centre in species:
        yield f"  {centre}:"
        yield from (f"    - {line}" for line in _functions(model, bonds, centre))


def _bond(model: LinearACE, bond: BondRadials) -> str:
    lmax = _lmax(model)
    row = [_numbers(coefficients) for coefficients in bond.many_body]
    same = ", ".join("[" + ", ".join([text] * (lmax + 1)) + "]" for text in row)
    return (
        f"{{nradmax: {len(row)}, lmax: {lmax}, nradbasemax: {len(bond.pair)}, "
        f"radbasename: ChebPow, radparameters: [1.0], radcoefficients: [{same}], "
        f"prehc: 0.0, lambdahc: 1.0, rcut: {model.descriptor.cutoff!r}, dcut: 0.01, "
        "rcut_in: 0.0, dcut_in: 0.0, inner_cutoff_type: distance}"
    )


def _lmax(model: LinearACE) -> int:
    return max(degree for function in model.basis.functions for degree, _, _ in function)


def _functions(
    model: LinearACE, bonds: dict[tuple[int, int], BondRadials], centre: int
) -> Iterator[str]:
    for neighbour in range(model.n_species):
        for k, coefficient in enumerate(bonds[centre, neighbour].pair):
            yield _function(centre, [(0, neighbour, k + 1)], [((0,), float(coefficient))])
    for function, coefficient in zip(
        model.basis.functions, model.many_body[:, centre], strict=True
    ):
        scale = float(coefficient) / sqrt(4 * pi) ** len(function)
        terms = [(ms, scale * value) for ms, value in _half(function)]
        yield _function(centre, function, terms)


def _half(function: tuple[OneParticle, ...]) -> list[Term]:
    """One of each product and its conjugate, which have the same real part, as pacemaker does."""
    kept: dict[tuple[int, ...], float] = defaultdict(float)
    for key, value in complex_terms(function).items():
        conjugate = tuple(sorted((*radial, -m) for *radial, m in key))
        kept[tuple(m for *_, m in max(key, conjugate))] += value
    return sorted(kept.items())


def _function(centre: int, factors: Sequence[OneParticle], terms: Sequence[Term]) -> str:
    degrees, species, numbers = zip(*factors, strict=True)
    return (
        f"{{mu0: {centre}, rank: {len(factors)}, ndensity: 1, num_ms_combs: {len(terms)}, "
        f"mus: {list(species)}, ns: {list(numbers)}, ls: {list(degrees)}, "
        f"ms_combs: {[m for ms, _ in terms for m in ms]}, "
        f"ctildes: {_numbers(np.array([value for _, value in terms]))}}}"
    )


def _numbers(values: np.ndarray) -> str:
    """A list in YAML, every number to the last bit and with the point that YAML 1.1 asks for."""
    return "[" + ", ".join(f"{value:.16e}" for value in values) + "]"
