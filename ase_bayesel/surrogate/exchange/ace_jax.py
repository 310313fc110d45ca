"""Models of ace-jax (npz, its schema 1) on exactly our basis.

ace-jax (ACEsuit's own, MIT) evaluates A = sum_j R_nl Y_lm, products of A by index, their linear
maps B, and a linear readout; radial functions are env(x) sum_q W_q P_q(x) on Agnesi coordinates.
Ours are of this form, purification included, so that nothing is lost. Its rows are one block of
B for each centre, then one block of pair functions for each centre, neighbours' species last.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers

from ...descriptors.ace import ACEDescriptor
from ...descriptors.ace.basis import EXTRA_RADIALS
from ...descriptors.ace.edges import MANY_BODY_PQ, PAIR_PQ
from ...descriptors.ace.radial import (
    AgnesiTransform,
    OrthonormalPolynomials,
    many_body_polynomials,
    pair_polynomials,
)
from ...errors import DescriptorError
from ...io.atomic import npz_bytes, reading, write_atomically
from ..surrogate import Surrogate
from .tables import LinearACE, coefficients, surrogate_of

SCHEMA = 1
KEY = "ase_bayesel"
"""Where the file's own description says which descriptor its functions are."""
FITTED = ("WB", "Wpair", "E0")
"""What a fit may change."""


def write_ace_jax(surrogate: Surrogate, path: Path) -> None:
    """The mean of a surrogate as an ace-jax model; see `write_ace_model`."""
    write_atomically(path, npz_bytes(model_arrays(LinearACE.of(surrogate))))


def read_ace_jax(path: Path) -> Surrogate:
    """The surrogate of such a model; see `read_ace_model`."""
    with reading(path) as data:
        arrays = {name: data[name] for name in data.files}
    try:
        meta = json.loads(bytes(arrays["meta_json"]).decode())
        spec = meta[KEY]
    except (KeyError, ValueError, TypeError) as error:
        raise DescriptorError(
            f"{path}: no model that ase_bayesel wrote (no {KEY!r} in its meta_json); radial "
            "functions of other ace-jax models differ from ours"
        ) from error
    descriptor = ACEDescriptor.from_spec(spec)
    model = LinearACE(descriptor, np.zeros(descriptor.n_features), np.zeros(len(spec["elements"])))
    for name, expected in model_arrays(model).items():
        if name in FITTED or name == "meta_json":
            continue
        if name not in arrays or not _equal(arrays[name], expected):
            raise DescriptorError(
                f"{path}: {name} is not that of {descriptor}; only the coefficients (WB, Wpair, "
                "E0) of a model may change, say by a fit without learned radial functions"
            )
    return _surrogate(path, model, *(np.asarray(arrays[name], float) for name in FITTED))


def model_arrays(model: LinearACE) -> dict[str, np.ndarray]:
    """All arrays of the file, by the names of ace-jax."""
    basis, n, cutoff = model.basis, model.n_species, model.descriptor.cutoff
    degree = model.descriptor.totaldegree
    columns, harmonics = _one_particle(model)
    products, couplings = _products(model)
    specs = {f"aa_spec_{k + 1}": rows for k, rows in enumerate(products)}
    n_products = sum(len(rows) for rows in products)
    n_functions, n_pair = len(basis.functions), n * degree
    radials = _polynomials(many_body_polynomials(max(basis.nmax)), 1.0)
    # the pair coordinate of ace-jax rises with r, ours falls
    pairs = _polynomials(pair_polynomials(degree, -1.0, 1.0), -1.0)
    weights = np.zeros((n, n, sum(n * k for k in basis.nmax), max(basis.nmax)))
    pair_weights = np.zeros((n, n, n_pair, degree))
    for z in range(n):
        for column, (_, species, k) in enumerate(_radial_columns(model)):
            weights[:, z, column, k] = float(species == z)
        pair_weights[:, z, np.arange(degree) * n + z, np.arange(degree)] = 1.0
    arrays = {
        "A2B_rows": couplings[0].astype(np.int32),
        "A2B_cols": couplings[1].astype(np.int32),
        "A2B_vals": basis.value,
        "A2B_shape": np.array([n_functions, n_products]),
        "aspec_r": columns,
        "aspec_y": harmonics,
        **specs,
        "elements": np.array([atomic_numbers[symbol] for symbol in model.descriptor.elements]),
        "rcuts": np.full(n, cutoff),
        "pair_rcuts": np.full((n, n), cutoff),
        "rnl_transform": _transforms(model, MANY_BODY_PQ),
        "rnl_envelope": np.tile([-1.0, 1.0, 2.0, 2.0, 1.0], (n, n, 1)),
        "rnl_Wnlq": weights,
        **dict(zip(("polys_A", "polys_B", "polys_C"), radials, strict=True)),
        "pair_transform": _transforms(model, PAIR_PQ),
        "pair_envelope": np.stack(
            [np.full((n, n), cutoff), model.r0, np.full((n, n), 2.0)], axis=-1
        ),
        "pair_Wnlq": pair_weights,
        **dict(zip(("pair_polys_A", "pair_polys_B", "pair_polys_C"), pairs, strict=True)),
        "gamma": _prior(model),
        "WB": model.many_body,
        "Wpair": 0.5 * model.pair.reshape(degree * n, n),
        "E0": model.e0s,
    }
    meta = _meta(model, [len(rows) for rows in products], arrays)
    return {**arrays, "meta_json": np.frombuffer(json.dumps(meta).encode(), np.uint8)}


def _radial_columns(model: LinearACE) -> list[tuple[int, int, int]]:
    """(l, species, n - 1) of each radial function, in the order of our A."""
    return [
        (degree, z, k)
        for degree, nmax in enumerate(model.basis.nmax)
        for z in range(model.n_species)
        for k in range(nmax)
    ]


def _one_particle(model: LinearACE) -> tuple[np.ndarray, np.ndarray]:
    """Radial column and harmonic of each A, in our order."""
    found = [
        (column, degree**2 + m)
        for column, (degree, _, _) in enumerate(_radial_columns(model))
        for m in range(2 * degree + 1)
    ]
    columns, harmonics = np.array(found, np.int32).T
    return columns, harmonics


def _products(model: LinearACE) -> tuple[list[np.ndarray], np.ndarray]:
    """Products of A of each order, and the row and column of each value of the couplings."""
    basis = model.basis
    body = (basis.factors >= 0).sum(axis=1)
    column, products, before = np.zeros(len(body), int), [], 0
    for order in range(1, int(body.max()) + 1):
        rows, inverse = np.unique(
            np.sort(basis.factors[body == order][:, :order], axis=1), axis=0, return_inverse=True
        )
        column[body == order] = before + inverse.ravel()
        products.append(rows.astype(np.int32))
        before += len(rows)
    return products, np.stack([basis.feature, column])


def _polynomials(
    polynomials: OrthonormalPolynomials, sign: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Recursion P_k = (A_k x + B_k) P_(k-1) + C_k P_(k-2) of polynomials of ``sign * x``."""
    a, b = polynomials.a, polynomials.b
    slopes, constants, before = (np.zeros(len(a)) for _ in range(3))
    slopes[1:], constants[1:] = sign / b[1:], -a[:-1] / b[1:]
    before[2:] = -b[1:-1] / b[2:]
    slopes[0] = 1.0 / b[0]
    slopes[1:2] /= b[0]  # P_1 has no factor P_0
    constants[1:2] /= b[0]
    return slopes, constants, before


def _transforms(model: LinearACE, pq: tuple[int, int]) -> np.ndarray:
    """``(NZ, NZ, 7)``: p, q, a, rin, r0, and the values that become -1 and 1."""
    n, r0 = model.n_species, model.r0
    table = np.zeros((n, n, 7))
    for i in range(n):
        for j in range(n):
            transform = AgnesiTransform(r0[i, j], *pq)
            last = transform(model.descriptor.cutoff)
            table[i, j] = [*pq, transform.a, 0.0, r0[i, j], 1.0, last]
    return table


def _prior(model: LinearACE) -> np.ndarray:
    """Our smoothness prior P in the order of ace-jax's rows."""
    penalty = 1.0 / model.descriptor.prior_std()
    many_body = penalty[-len(model.basis.functions) :]
    pair = np.repeat(penalty[: model.descriptor.totaldegree], model.n_species)
    return np.concatenate([*[many_body] * model.n_species, *[pair] * model.n_species])


def _meta(model: LinearACE, lengths: list[int], arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    descriptor, basis, n = model.descriptor, model.basis, model.n_species
    n_pair = n * descriptor.totaldegree
    n_functions, n_products = arrays["A2B_shape"].tolist()
    return {
        "schema_version": SCHEMA,
        "source": "ase_bayesel",
        KEY: descriptor.spec(),
        "embedding": "",
        "elements": arrays["elements"].tolist(),
        "order": descriptor.order,
        "totaldegree": descriptor.totaldegree,
        "radial_kind": "analytic",
        "pair_radial_kind": "analytic",
        "transform_kind": "agnesi_normalized",
        "envelope_kind": "poly2sx",
        "pair_envelope_kind": "ace1_poly1sr",
        "ybasis_kind": "real_sphericalharmonics",
        "lmax": basis.lmax,
        "n_rnl": arrays["rnl_Wnlq"].shape[2],
        "n_pair": n_pair,
        "n_ylm": (basis.lmax + 1) ** 2,
        "n_A": basis.n_one_particle,
        "n_AA": n_products,
        "n_B": n_functions,
        "len_basis": n * (n_functions + n_pair),
        "aa_orders": list(range(1, len(lengths) + 1)),
        "aa_lens": lengths,
        "rnl_spline": None,
        "pair_spline": None,
        "rcut": descriptor.cutoff,
        "nnll": [[[(k - 1) * n + z + 1, l_] for l_, z, k in f] for f in basis.functions],
        "basis": {
            "wL": 1.5,
            "rcut": descriptor.cutoff,
            "r0": model.r0.tolist(),
            "rin": 0.0,
            "extra_radials": EXTRA_RADIALS,
            "with_gamma": True,
        },
    }


def _equal(found: np.ndarray, expected: np.ndarray) -> bool:
    """The same arrays, but for roundings of another library's arithmetic."""
    return found.shape == expected.shape and bool(
        np.allclose(found, expected, rtol=1e-12, atol=1e-12)
    )


def _surrogate(
    path: Path, model: LinearACE, many_body: np.ndarray, pair: np.ndarray, e0s: np.ndarray
) -> Surrogate:
    n, degree = model.n_species, model.descriptor.totaldegree
    shapes = ((len(model.basis.functions), n), (n * degree, n), (n,))
    for name, array, shape in zip(FITTED, (many_body, pair, e0s), shapes, strict=True):
        if array.shape != shape or not np.isfinite(array).all():
            raise DescriptorError(f"{path}: {name}: expected finite numbers in the shape {shape}")
    # a bond is seen from both of its ends: only the sum of both coefficients matters
    table = pair.reshape(degree, n, n)
    table = table + table.transpose(0, 2, 1)
    return surrogate_of(LinearACE(model.descriptor, coefficients(table, many_body), e0s))
