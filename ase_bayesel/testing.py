"""Conformance checks for descriptors and calculators, also those of third parties.

Each check raises `ConformanceError`, an AssertionError whose message says what
was expected; nothing is returned. They cost some dozens of evaluations.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_properties
from numpy.typing import ArrayLike
from scipy.spatial.transform import Rotation

from .descriptors.base import VOIGT, Descriptor, Features, as_frames
from .errors import DescriptorError

ALIEN = "Og"
"""An element that no descriptor is expected to know."""
N_DIRECTIONS = 3


class ConformanceError(AssertionError):
    """A descriptor or calculator does not keep the promises of its interface."""


def check_descriptor(
    descriptor: Descriptor,
    frames: Atoms | Sequence[Atoms],
    *,
    rotations: bool = True,
    tolerance: float = 1e-5,
    step_A: float = 1e-4,
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
    rotations
        Also demand invariance under rotations and reflections.
    tolerance
        Largest relative deviation, of the largest magnitude. 1e-5 suits float64;
        float32 needs about 1e-2 with a ``step_A`` of 1e-2.
    step_A
        Displacement of the central differences, A; strains use the same number.

    Raises
    ------
    ConformanceError
        At the first promise that is broken.
    """
    frames = as_frames(frames)
    if not frames:
        raise ValueError("frames: give at least one structure")
    rng = np.random.default_rng(0)
    _check_static(descriptor, frames)
    with _untouched(frames):
        together = descriptor.compute(frames, derivatives=True)
    if not isinstance(together, list) or len(together) != len(frames):
        raise ConformanceError(f"compute: expected a list of {len(frames)} Features")
    if list(descriptor.compute([])) != []:
        raise ConformanceError("compute: expected an empty list for no frames")
    for number, (atoms, features) in enumerate(zip(frames, together, strict=True)):
        where = f"frame {number} ({atoms.get_chemical_formula()}): "
        check = _Checker(where, tolerance, rng)
        _check_arrays(descriptor, atoms, features, where)
        alone = descriptor.compute([atoms])[0]
        if alone.jacobian is not None or alone.strain is not None:
            raise ConformanceError(f"{where}derivatives that nobody asked for")
        check.equal(alone.values, features.values, "values alone and within a batch")
        _check_derivatives(descriptor, atoms, features, check, step_A)
        _check_pullback(descriptor, atoms, features, check)
        _check_symmetry(descriptor, atoms, features, check, rotations)
        _check_extensivity(descriptor, atoms, features, check)
    _check_refusals(descriptor, frames[0])


def check_calculator(
    calculator: Calculator,
    atoms: Atoms,
    *,
    tolerance: float = 1e-4,
    step_A: float = 1e-3,
) -> None:
    """Check an ASE calculator: energy, forces and stress that belong together.

    Forces and, with three periodic directions, the stress (where implemented)
    against central differences of the energy; only ASE's names in ``results``;
    the same answer to the same question; untouched input. A `BiasedCalculator`
    must have a fixed tau, or each evaluation has another energy surface.

    Parameters
    ----------
    calculator
        What to check.
    atoms
        A distorted structure that it can evaluate; a calculator on it is not used.
    tolerance
        Largest relative deviation from the differences.
    step_A
        Displacement of the central differences, A; strains use a tenth of the number.

    Raises
    ------
    ConformanceError
        At the first promise that is broken.
    """
    atoms = atoms.copy()
    rng = np.random.default_rng(0)
    check = _Checker(f"{type(calculator).__name__}: ", tolerance, rng)
    with _untouched([atoms]):
        energy = calculator.get_potential_energy(atoms)
        forces = np.array(calculator.get_forces(atoms))
    if not np.isscalar(energy) or not np.isfinite(energy):
        raise ConformanceError(f"{check.where}energy: expected a finite number, got {energy!r}")
    if forces.shape != (len(atoms), 3) or not np.isfinite(forces).all():
        raise ConformanceError(f"{check.where}forces: expected finite {(len(atoms), 3)}")

    def surface(moved: Atoms) -> float:
        if "free_energy" in calculator.implemented_properties:
            return calculator.get_potential_energy(moved, force_consistent=True)
        return calculator.get_potential_energy(moved)

    for _ in range(N_DIRECTIONS):
        move = rng.standard_normal((len(atoms), 3))
        slope = _slope(surface, _moved, atoms, move, step_A)
        scale = float(np.linalg.norm(forces))
        check.close(-np.sum(forces * move), slope, "forces and differences of the energy", scale)
    if atoms.pbc.all() and "stress" in calculator.implemented_properties:
        stress, volume = np.array(calculator.get_stress(atoms)), atoms.get_volume()
        if stress.shape != (6,):
            raise ConformanceError(f"{check.where}stress: expected (6,), got {stress.shape}")
        for _ in range(N_DIRECTIONS):
            strain = rng.standard_normal(6)
            slope = _slope(surface, _strained, atoms, strain, step_A / 10)
            work, scale = stress @ strain, float(np.linalg.norm(stress))
            check.close(work, slope / volume, "stress and differences of the energy", scale)
    again = calculator.get_potential_energy(atoms)
    check.close(again, energy, "energy of the same structure, asked for again")
    unknown = sorted(set(calculator.results) - set(all_properties))
    if unknown:
        raise ConformanceError(f"{check.where}results: names that ASE does not know: {unknown}")


class _Checker:
    """Compares arrays and names the frame where they differ; ``rng`` draws what is compared."""

    def __init__(self, where: str, tolerance: float, rng: np.random.Generator) -> None:
        self.where, self.tolerance, self.rng = where, tolerance, rng

    def close(self, actual: ArrayLike, expected: ArrayLike, what: str, scale: float = 0.0) -> None:
        """Within the tolerance of the largest magnitude of either, or of ``scale``."""
        actual, expected = np.asarray(actual, float), np.asarray(expected, float)
        if actual.shape != expected.shape:
            raise ConformanceError(f"{self.where}{what}: shapes {actual.shape}, {expected.shape}")
        scale = max(scale, np.abs(actual).max(initial=0.0), np.abs(expected).max(initial=0.0))
        deviation = np.abs(actual - expected).max(initial=0.0)
        if not deviation <= self.tolerance * scale + 1e-9:
            raise ConformanceError(
                f"{self.where}{what} differ by {deviation:.2e} (largest magnitude {scale:.2e}, "
                f"relative tolerance {self.tolerance:.0e})"
            )

    def equal(self, actual: ArrayLike, expected: ArrayLike, what: str) -> None:
        """The same up to rounding, a thousandth of the tolerance."""
        _Checker(self.where, 1e-3 * self.tolerance, self.rng).close(actual, expected, what)


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
    descriptor: Descriptor, atoms: Atoms, features: Features, check: _Checker, step: float
) -> None:
    assert features.jacobian is not None
    assert features.strain is not None

    def total(moved: Atoms) -> np.ndarray:
        return descriptor.compute([moved])[0].total

    for _ in range(N_DIRECTIONS):
        move, strain = check.rng.standard_normal((len(atoms), 3)), check.rng.standard_normal(6)
        slope = _slope(total, _moved, atoms, move, step)
        analytic = np.einsum("dna,na->d", features.jacobian, move)
        check.close(analytic, slope, "jacobian and differences of the values")
        slope = _slope(total, _strained, atoms, strain, step)
        check.close(features.strain @ strain, slope, "strain derivative and differences")


def _check_pullback(
    descriptor: Descriptor, atoms: Atoms, features: Features, check: _Checker
) -> None:
    assert features.jacobian is not None
    assert features.strain is not None
    with _untouched([atoms]):
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
    descriptor: Descriptor, atoms: Atoms, features: Features, check: _Checker, rotations: bool
) -> None:
    shifted = _moved(atoms, check.rng.uniform(-3.0, 3.0, 3))
    check.equal(descriptor.compute([shifted])[0].values, features.values, "values after a shift")
    order = check.rng.permutation(len(atoms))
    permuted = descriptor.compute([atoms[order]])[0].values
    check.equal(permuted, features.values[order], "values after a permutation of the atoms")
    if not rotations:
        return
    rotation = Rotation.random(random_state=1).as_matrix()
    for name, matrix in (("rotation", rotation), ("reflection", -rotation)):
        turned = atoms.copy()
        turned.set_cell(atoms.cell.array @ matrix.T)
        turned.positions = atoms.positions @ matrix.T
        found = descriptor.compute([turned])[0].values
        check.equal(found, features.values, f"values after a {name}")


def _check_extensivity(
    descriptor: Descriptor, atoms: Atoms, features: Features, check: _Checker
) -> None:
    if atoms.pbc.any():
        direction = int(np.argmax(atoms.pbc))
        double = atoms.repeat(np.where(np.arange(3) == direction, 2, 1))
    else:
        extent = float(np.ptp(atoms.positions, axis=0).max())
        double = atoms + _moved(atoms, np.array([extent + 30.0, 0.0, 0.0]))
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


@contextmanager
def _untouched(frames: Sequence[Atoms]) -> Iterator[None]:
    before = [atoms.copy() for atoms in frames]
    calculators = [atoms.calc for atoms in frames]
    yield
    for number, (atoms, copy) in enumerate(zip(frames, before, strict=True)):
        same = atoms == copy and atoms.calc is calculators[number]
        same = same and set(atoms.info) == set(copy.info) and set(atoms.arrays) == set(copy.arrays)
        if not same:
            raise ConformanceError(f"frame {number} was changed by the evaluation")


def _slope(
    function: Callable[[Atoms], Any],
    changed: Callable[[Atoms, np.ndarray], Atoms],
    atoms: Atoms,
    change: np.ndarray,
    step: float,
) -> Any:
    """Central difference of a function of a structure along a change of it."""
    ahead, behind = changed(atoms, step * change), changed(atoms, -step * change)
    return (function(ahead) - function(behind)) / (2.0 * step)


def _moved(atoms: Atoms, move: np.ndarray) -> Atoms:
    out = atoms.copy()
    out.positions += move
    return out


def _strained(atoms: Atoms, strain: np.ndarray) -> Atoms:
    """A copy under a symmetric strain in Voigt order, e_yz = e_zy = strain / 2."""
    tensor = np.zeros((3, 3))
    for component, (a, b) in enumerate(VOIGT):
        tensor[a, b] += strain[component] / 2
        tensor[b, a] += strain[component] / 2
    out = atoms.copy()
    out.set_cell(atoms.cell.array @ (np.eye(3) + tensor))
    out.positions = atoms.positions @ (np.eye(3) + tensor)
    return out
