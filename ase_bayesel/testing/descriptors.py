"""Whether a descriptor keeps the promises of `descriptors.base.Descriptor`."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from ase import Atoms
from scipy.spatial.transform import Rotation

from ..descriptors.base import Descriptor, Features, as_frames
from ..errors import DescriptorError
from .comparisons import (
    N_DIRECTIONS,
    Checker,
    ConformanceError,
    moved,
    precision_of,
    slope_of,
    strained_by,
    untouched,
)

ALIEN = "Og"
"""An element that no descriptor is expected to know."""


def check_descriptor(
    descriptor: Descriptor,
    frames: Atoms | Sequence[Atoms],
    *,
    rotations: bool = True,
    reflections: bool = True,
    tolerance: float | None = None,
    step_A: float | None = None,
) -> None:
    """Check that a descriptor keeps the promises of `descriptors.base.Descriptor`.

    Shapes, types and elements; batches of unequal sizes against single structures; the
    Jacobian, the strain derivative and every pullback against central
    differences; invariance under translation, permutation of atoms and rotation;
    extensivity; an error for an unknown element and for positions that are not
    finite; untouched input.

    Parameters
    ----------
    descriptor
        What to check.
    frames
        Distorted structures of elements that it knows; take unequal sizes and
        different periodicity. No features may be zero in all of them.
    rotations, reflections
        Also demand invariance under rotations, and under an inversion. A model may tell left
        from right; one that is not even invariant under rotations makes what is selected depend
        on how a structure lies in space.
    tolerance
        Largest relative deviation from the differences, of the largest magnitude. By default
        1e-5, or 1e-2 for a descriptor whose ``dtype`` is float32.
    step_A
        Displacement of the central differences, A; strains use the same number. By default
        1e-4, or 1e-2 for float32.

    Raises
    ------
    ConformanceError
        At the first promise that is broken.
    """
    frames = as_frames(frames)
    if not frames:
        raise ValueError("frames: give at least one structure")
    rng, precision = np.random.default_rng(0), precision_of(descriptor, tolerance, step_A)
    _check_static(descriptor, frames)
    with untouched(frames):
        together = descriptor.compute(frames, derivatives=True)
    if not isinstance(together, list) or len(together) != len(frames):
        raise ConformanceError(f"compute: expected a list of {len(frames)} Features")
    if list(descriptor.compute([])) != []:
        raise ConformanceError("compute: expected an empty list for no frames")
    for number, (atoms, features) in enumerate(zip(frames, together, strict=True)):
        where = f"frame {number} ({atoms.get_chemical_formula()}): "
        check = Checker(where, precision.tolerance, rng, precision.rounding)
        _check_arrays(descriptor, atoms, features, where)
        alone = descriptor.compute([atoms])[0]
        if alone.jacobian is not None or alone.strain is not None:
            raise ConformanceError(f"{where}derivatives that nobody asked for")
        check.equal(alone.values, features.values, "values alone and within a batch")
        _check_derivatives(descriptor, atoms, features, check, precision.step_A)
        _check_pullback(descriptor, atoms, features, check)
        _check_symmetry(descriptor, atoms, features, check, rotations, reflections)
        _check_extensivity(descriptor, atoms, features, check)
    _check_refusals(descriptor, frames[0])


def _check_static(descriptor: Descriptor, frames: Sequence[Atoms]) -> None:
    if not set(descriptor.elements) >= {symbol for atoms in frames for symbol in atoms.symbols}:
        raise ConformanceError(f"elements: {descriptor.elements} lack some that the frames hold")
    n = descriptor.n_features
    std = np.asarray(descriptor.prior_std())
    if std.shape != (n,) or not np.isfinite(std).all() or (std <= 0).any():
        raise ConformanceError(f"prior_std: expected ({n},) finite positive numbers")
    try:
        spec = descriptor.spec()
    except DescriptorError:  # allowed: a descriptor that says why it cannot be saved
        return
    if not isinstance(spec, dict) or "kind" not in spec:
        raise ConformanceError("spec: expected a dict with a 'kind'")
    try:
        back = json.loads(json.dumps(spec))
    except (TypeError, ValueError) as error:
        raise ConformanceError(f"spec: not JSON-serialisable ({error})") from error
    if back != spec:
        raise ConformanceError("spec: changes on its way through JSON (tuples, integer keys?)")


def _check_arrays(descriptor: Descriptor, atoms: Atoms, features: Features, where: str) -> None:
    n, d = len(atoms), descriptor.n_features
    shapes = {"values": (n, d), "jacobian": (d, n, 3), "strain": (d, 6)}
    for name, shape in shapes.items():
        array = getattr(features, name)
        if not isinstance(array, np.ndarray) or array.shape != shape:
            found = getattr(array, "shape", array)
            raise ConformanceError(f"{where}{name}: expected shape {shape}, got {found}")
        if array.dtype != np.float64:
            raise ConformanceError(f"{where}{name}: expected float64, got {array.dtype}")
        if not np.isfinite(array).all():
            raise ConformanceError(f"{where}{name}: holds values that are not finite")


def _check_derivatives(
    descriptor: Descriptor, atoms: Atoms, features: Features, check: Checker, step: float
) -> None:
    assert features.jacobian is not None
    assert features.strain is not None

    def total(moved: Atoms) -> np.ndarray:
        return descriptor.compute([moved])[0].total

    for _ in range(N_DIRECTIONS):
        move, strain = check.rng.standard_normal((len(atoms), 3)), check.rng.standard_normal(6)
        slope = slope_of(total, moved, atoms, move, step)
        analytic = np.einsum("dna,na->d", features.jacobian, move)
        check.close(analytic, slope, "jacobian and differences of the values")
        slope = slope_of(total, strained_by, atoms, strain, step)
        check.close(features.strain @ strain, slope, "strain derivative and differences")


def _check_pullback(
    descriptor: Descriptor, atoms: Atoms, features: Features, check: Checker
) -> None:
    assert features.jacobian is not None
    assert features.strain is not None
    with untouched([atoms]):
        phi, pullback = descriptor.linearize(atoms)
    check.equal(phi, features.total, "phi of linearize and the sum of the values")
    first, second = check.rng.standard_normal((2, descriptor.n_features))
    for cotangent in (first, second, first):
        expected = np.einsum("d,dna->na", cotangent, features.jacobian)
        both = {"pullback": pullback(cotangent), "vjp": descriptor.vjp(atoms, cotangent)}
        for name, found in both.items():
            check.close(found.positions, expected, f"{name} by positions and the jacobian")
            check.close(found.strain, cotangent @ features.strain, f"{name} by strain")
    share = check.rng.uniform(size=len(atoms))
    rows, pullback = descriptor.linearize(atoms, np.stack([share, 1.0 - share]))
    check.equal(rows[0], share @ features.values, "a weighted row and the values")
    check.close(pullback(np.stack([first, first]))[0], expected, "pullback of two shares")


def _check_symmetry(
    descriptor: Descriptor,
    atoms: Atoms,
    features: Features,
    check: Checker,
    rotations: bool,
    reflections: bool,
) -> None:
    shifted = moved(atoms, check.rng.uniform(-3.0, 3.0, 3))
    check.equal(descriptor.compute([shifted])[0].values, features.values, "values after a shift")
    order = check.rng.permutation(len(atoms))
    permuted = descriptor.compute([atoms[order]])[0].values
    check.equal(permuted, features.values[order], "values after a permutation of the atoms")
    rotation = Rotation.random(random_state=1).as_matrix() if rotations else np.eye(3)
    asked = {"rotation": rotations, "reflection": reflections}
    for name, matrix in (("rotation", rotation), ("reflection", -rotation)):
        if not asked[name]:
            continue
        turned = atoms.copy()
        turned.set_cell(atoms.cell.array @ matrix.T)
        turned.positions = atoms.positions @ matrix.T
        found = descriptor.compute([turned])[0].values
        check.equal(found, features.values, f"values after a {name}")


def _check_extensivity(
    descriptor: Descriptor, atoms: Atoms, features: Features, check: Checker
) -> None:
    if atoms.pbc.any():
        direction = int(np.argmax(atoms.pbc))
        double = atoms.repeat(np.where(np.arange(3) == direction, 2, 1))
    else:
        extent = float(np.ptp(atoms.positions, axis=0).max())
        double = atoms + moved(atoms, np.array([extent + 30.0, 0.0, 0.0]))
    found = descriptor.compute([double])[0].total
    check.equal(found, 2.0 * features.total, "the row of two copies and twice the row of one")


def _check_refusals(descriptor: Descriptor, atoms: Atoms) -> None:
    alien, broken = atoms.copy(), atoms.copy()
    alien.symbols[0] = ALIEN
    broken.positions[-1, 0] = np.nan
    for what, bad in (("an unknown element", alien), ("positions that are NaN", broken)):
        for name, call in (
            ("compute", lambda bad=bad: descriptor.compute([bad])),
            ("linearize", lambda bad=bad: descriptor.linearize(bad)),
        ):
            try:
                call()
            except DescriptorError:
                continue
            except Exception as error:
                raise ConformanceError(
                    f"{name}: expected a DescriptorError for {what}, got {error!r}"
                ) from error
            raise ConformanceError(f"{name}: expected a DescriptorError for {what}")
