"""Reading potentials of ML-PACE whose functions are ours: what `yace.write_yace` wrote.

Nothing in the file is taken for granted: which basis it is follows from its functions, the length
scales of the radial functions are fitted to their expansions where they are not the usual ones,
and then radial functions, couplings and pair functions all have to come out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations_with_replacement
from math import isfinite, pi, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from scipy.optimize import least_squares

from ...descriptors.ace import ACEDescriptor
from ...descriptors.ace.arguments import check_arguments
from ...descriptors.ace.basis import OneParticle, complex_terms
from ...descriptors.ace.radial import bond_length
from ...errors import DescriptorError, StoreError
from ...io.bounded_yaml import refuse_hostile
from ..surrogate import Surrogate
from .radials import base_functions, many_body_radials, pair_functions, purification
from .tables import LinearACE, coefficients, surrogate_of

TOLERANCE = 1e-8
"""Largest error of a function, over its largest value, with which it still is ours."""
NEAREST_A = (0.5, 0.8, 1.2, 1.6, 2.0)
"""Where the pair functions of a file may begin (``r_min``), tried in this order."""
N_POINTS = 400
FREE_FEATURES = 1000
"""A basis may have so many features, or as many as the file holds functions."""
Product = tuple[tuple[int, int, int, int], ...]
"""Sorted (l, species, n, m) of the factors."""


def read_yace(path: Path) -> Surrogate:
    """The surrogate of such a potential; see `read_ace_model`."""
    tree = _tree(path)
    try:
        return surrogate_of(_File(path, tree).model())
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise DescriptorError(
            f"{path}: no potential of ML-PACE ({type(error).__name__}: {error})"
        ) from error


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Takes keys that are lists, such as ``[0, 1]:``."""


def _mapping(loader: Any, node: yaml.MappingNode) -> dict[Any, Any]:
    pairs = [
        (loader.construct_object(key, deep=True), loader.construct_object(value, deep=True))
        for key, value in node.value
    ]
    return {tuple(key) if isinstance(key, list) else key: value for key, value in pairs}


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def _tree(path: Path) -> Any:
    try:
        text = path.read_text()
        refuse_hostile(text)
        return yaml.load(text, _Loader)  # of the safe loader, with another mapping
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error})") from error
    except (yaml.YAMLError, TypeError, ValueError, RecursionError) as error:
        raise StoreError(f"{path}: is damaged ({error}); restore it from a backup") from error


class _File:
    """A file, and the parts of a linear ACE found in it one after the other."""

    def __init__(self, path: Path, tree: Mapping[str, Any]) -> None:
        self._path, self._tree = path, tree
        self._elements = list(tree["elements"])
        self._radial = {pair: _tensor(pair, bond) for pair, bond in tree["bonds"].items()}
        self._bonds = tree["bonds"]
        self._pairs: dict[tuple[int, int], dict[int, float]] = defaultdict(dict)
        self._products: list[dict[tuple[OneParticle, ...], dict[Product, float]]] = []

    def model(self) -> LinearACE:
        """The potential.

        Raises
        ------
        DescriptorError
            Naming what of the file is not ours.
        """
        self._check_form()
        self._sort_functions()
        degrees = self._degrees()
        self._check_cost(*degrees)
        descriptor = ACEDescriptor(self._elements, *degrees, self._cutoff, self._r0())
        e0s = np.array([_finite(value) for value in self._tree["E0"]])
        empty = LinearACE(descriptor, np.zeros(descriptor.n_features), e0s)
        self._check_radials(empty)
        many_body = self._many_body(empty)
        zero = np.zeros((descriptor.totaldegree, len(e0s), len(e0s)))
        model = LinearACE(descriptor, coefficients(zero, many_body), e0s)
        return LinearACE(descriptor, coefficients(self._pair(model), many_body), e0s)

    def _refuse(self, what: str) -> DescriptorError:
        return DescriptorError(
            f"{self._path}: {what}; only potentials with the functions of ACEDescriptor, as "
            "write_ace_model writes them, can be read"
        )

    def _check_form(self) -> None:
        for centre, form in self._tree["embeddings"].items():
            if form["ndensity"] != 1 or list(form["FS_parameters"]) != [1.0, 1.0]:
                raise self._refuse(f"embeddings: that of {centre} is not linear")
        if not self._bonds:
            raise self._refuse("bonds: there are none")
        self._cutoff = float(next(iter(self._bonds.values()))["rcut"])
        for pair, bond in self._bonds.items():
            if bond["radbasename"] != "ChebPow" or list(bond["radparameters"]) != [1.0]:
                raise self._refuse(
                    f"bonds: {list(pair)} has radial functions {bond['radbasename']} "
                    f"{bond['radparameters']}, not ChebPow [1.0]"
                )
            if bond["rcut"] != self._cutoff:
                raise self._refuse("bonds: cutoffs differ")
            if bond["prehc"] or bond["rcut_in"]:
                raise self._refuse(f"bonds: {list(pair)} has a core repulsion or an inner cutoff")

    def _sort_functions(self) -> None:
        for centre in range(len(self._elements)):
            found: dict[tuple[OneParticle, ...], dict[Product, float]] = {}
            for function in self._tree["functions"][centre]:
                rank, values = function["rank"], function["ctildes"]
                factors = list(zip(function["ls"], function["mus"], function["ns"], strict=True))
                self._check_factors(centre, factors, rank)
                if rank == 1:
                    ((degree, species, n),) = factors
                    if degree:
                        raise self._refuse("functions: one of rank 1 has a degree above 0")
                    sums = self._pairs[centre, species]
                    sums[n] = sums.get(n, 0.0) + _finite(values[0])
                    continue
                terms = found.setdefault(tuple(sorted(factors)), {})
                for ms, value in zip(
                    np.reshape(function["ms_combs"], (-1, rank)).tolist(), values, strict=True
                ):
                    key = _same_real_part([(*f, m) for f, m in zip(factors, ms, strict=True)])
                    terms[key] = terms.get(key, 0.0) + _finite(value)
            self._products.append(found)

    def _check_factors(self, centre: int, factors: Sequence[OneParticle], rank: int) -> None:
        """Refuse factors that the bonds have no radial functions of."""
        for degree, species, n in factors:
            n_max, l_max, n_base = self._radial[centre, species].shape
            largest = (1, n_base) if rank == 1 else (l_max, n_max)
            if not (0 <= degree < largest[0] and 1 <= n <= largest[1]):
                raise self._refuse(
                    f"functions: l = {degree}, n = {n} of {[centre, species]} is not among the "
                    "radial functions of bonds"
                )

    def _check_cost(self, order: int, totaldegree: int) -> None:
        """Refuse what asks for far more than the file holds, before any of it is built."""
        held = sum(map(len, self._products)) + sum(map(len, self._pairs.values()))
        most = max(FREE_FEATURES, held)
        try:
            check_arguments(self._elements, order, totaldegree, self._cutoff, {}, None, most)
        except DescriptorError as error:
            raise self._refuse(f"functions: {error}") from error

    def _degrees(self) -> tuple[int, int]:
        """Order and total degree of the smallest basis that the functions belong to."""
        functions = {function for found in self._products for function in found}
        order = max((len(function) for function in functions), default=0)
        if order not in (2, 3):
            raise self._refuse(f"functions: of rank up to {order}, not 2 or 3")
        degree = max(sum(n + 1.5 * l_ for l_, _, n in function) for function in functions)
        if degree != int(degree):
            raise self._refuse(f"functions: of degree {degree}")
        return order, int(degree)

    def _r0(self) -> dict[tuple[str, str], float]:
        """Length scales (A) by which the first radial function of each pair comes out."""
        scales = {}
        r = np.linspace(0.0, self._cutoff, N_POINTS + 2)[1:-1]
        for a, b in combinations_with_replacement(range(len(self._elements)), 2):
            wanted = self._radials(a, b, r)[0, 0]

            def off(r0: float, wanted: np.ndarray = wanted) -> np.ndarray:
                ours: np.ndarray = many_body_radials(float(r0), self._cutoff, r, 1)[0] - wanted
                return ours

            pair = (self._elements[a], self._elements[b])
            usual = bond_length(*pair)
            if np.abs(off(usual)).max() > TOLERANCE * np.abs(wanted).max():
                starts = np.linspace(0.1, 1.0, 40) * self._cutoff
                start = min(starts, key=lambda r0: float(np.sum(off(r0) ** 2)))
                tight = dict.fromkeys(("xtol", "ftol", "gtol"), 1e-15)
                fit = least_squares(lambda x, off=off: off(x[0]), [start], **tight)
                scales[pair] = round(float(fit.x[0]), 9)
        return scales

    def _radials(self, centre: int, neighbour: int, r: np.ndarray) -> np.ndarray:
        """``(nmax, lmax + 1, k)`` radial functions of the file at distances ``r (k,)``."""
        tensor = self._radial[centre, neighbour]
        values: np.ndarray = tensor @ base_functions(r, self._cutoff, tensor.shape[2])
        return values

    def _check_radials(self, model: LinearACE) -> None:
        r = np.linspace(0.0, self._cutoff, N_POINTS + 2)[1:-1]
        for a, b in self._bonds:
            found = self._radials(a, b, r)
            ours = many_body_radials(model.r0[a, b], self._cutoff, r, len(found))[:, None]
            if np.abs(found - ours).max() > TOLERANCE * np.abs(ours).max():
                raise self._refuse(f"bonds: the radial functions of {[a, b]} are others")

    def _many_body(self, model: LinearACE) -> np.ndarray:
        """``(K, NZ)`` coefficients of the functions of each centre."""
        basis = model.basis
        known = set(basis.functions)
        table = np.zeros((len(basis.functions), model.n_species))
        for centre, found in enumerate(self._products):
            for function in found:
                if function not in known:
                    raise self._refuse(f"functions: {list(function)} of {centre} (l, species, n)")
            for k, function in enumerate(basis.functions):
                terms = found.get(function, {})
                ours = _summed(complex_terms(function), sqrt(4 * pi) ** -len(function))
                keys = sorted({*terms, *ours})
                unit = np.array([ours.get(key, 0.0) for key in keys])
                theirs = np.array([terms.get(key, 0.0) for key in keys])
                value = unit @ theirs / (unit @ unit)
                off = np.abs(theirs - value * unit).max()
                if off > TOLERANCE * max(np.abs(theirs).max(), 1e-300):
                    raise self._refuse(f"functions: the couplings of {list(function)} are others")
                table[k, centre] = value
        return table

    def _pair(self, model: LinearACE) -> np.ndarray:
        """``(T, NZ, NZ)`` coefficients of the pair functions, of a model that has none yet."""
        degree, n = model.descriptor.totaldegree, model.n_species
        table = np.zeros((degree, n, n))
        for a, b in combinations_with_replacement(range(n), 2):
            for nearest in NEAREST_A:
                found, error = self._fitted_pair(model, a, b, nearest)
                if error < TOLERANCE:
                    break
            else:
                raise self._refuse(f"functions: the pair functions of {[a, b]} are others")
            table[:, a, b] = table[:, b, a] = found
        return table

    def _fitted_pair(
        self, model: LinearACE, a: int, b: int, nearest: float
    ) -> tuple[np.ndarray, float]:
        """Coefficients ``(T,)`` from the energy of a bond beyond a distance, and the error."""
        angles = (np.arange(N_POINTS) + 0.5) * pi / N_POINTS
        r = nearest + (1.0 - np.cos(angles)) / 2.0 * (self._cutoff - nearest)
        energy = np.zeros(len(r))
        for centre, neighbour in ((a, b), (b, a)):
            series = self._pairs[centre, neighbour]
            base = base_functions(r, self._cutoff, max(series, default=1))
            for k, value in series.items():
                energy += value * base[k - 1]
            lone = purification(model, centre, neighbour)
            radials = many_body_radials(model.r0[a, b], self._cutoff, r, len(lone))
            energy -= lone @ radials
        functions = pair_functions(model.r0[a, b], self._cutoff, r, model.descriptor.totaldegree)
        found = np.linalg.lstsq(functions.T, energy, rcond=None)[0]
        error = np.abs(found @ functions - energy).max()
        return found, float(error / max(np.abs(energy).max(), 1e-300))


def _finite(value: Any) -> float:
    number = float(value)
    if not isfinite(number):
        raise ValueError(f"E0 and ctildes: must be finite, got {number}")
    return number


def _tensor(pair: object, bond: Mapping[str, Any]) -> np.ndarray:
    """``(nradmax, lmax + 1, nradbasemax)`` coefficients of the radial functions of a bond."""
    values = np.array(bond["radcoefficients"], float)
    stated = (bond["nradmax"], bond["lmax"] + 1, bond["nradbasemax"])
    if values.shape != stated:
        raise ValueError(
            f"bonds: radcoefficients of {pair} have the shape {values.shape}, but nradmax, "
            f"lmax + 1 and nradbasemax are {stated}"
        )
    if not (values.size and np.isfinite(values).all()):
        raise ValueError(f"bonds: radcoefficients of {pair} are not finite numbers")
    return values


def _same_real_part(factors: list[tuple[int, int, int, int]]) -> Product:
    """A product, or its conjugate if that comes later: as m sums to 0, one is both in real part."""
    conjugate = [(degree, z, n, -m) for degree, z, n, m in factors]
    return max(tuple(sorted(factors)), tuple(sorted(conjugate)))


def _summed(terms: Mapping[Product, float], scale: float) -> dict[Product, float]:
    sums: dict[Product, float] = defaultdict(float)
    for key, value in terms.items():
        sums[_same_real_part(list(key))] += scale * value
    return sums
