"""Whether one pass of a potential that is also a descriptor gives what both give alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from ..descriptors.base import (
    Combination,
    Descriptor,
    Features,
    JointDescriptor,
    PotentialDescriptor,
    SketchingDescriptor,
    as_frames,
)
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

N_PROJECTIONS = 4


def check_joint_descriptor(
    descriptor: Descriptor,
    frames: Atoms | Sequence[Atoms],
    calculator: Calculator | None = None,
    *,
    tolerance: float | None = None,
    step_A: float | None = None,
) -> None:
    """Check a descriptor that is also a potential: `descriptors.base.JointDescriptor`.

    Its passes, alone and in a batch, against the values and the Jacobian of `check_descriptor`,
    which is to be called too: rows, gradients of features of structures and of atoms, the
    pushforward that force uncertainties need, and random projections of force rows. The energies
    against their own differences, and against a calculator.

    Parameters
    ----------
    descriptor
        What to check.
    frames
        Distorted structures of elements that it knows, of unequal sizes.
    calculator
        The package's own; its energies, forces and stresses must be those of the passes, and
        the descriptor must serve it. By default that of the descriptor itself, if it has one.
    tolerance, step_A
        As in `check_descriptor`.

    Raises
    ------
    ConformanceError
        At the first promise that is broken.
    """
    frames = as_frames(frames)
    if not frames:
        raise ValueError("frames: give at least one structure")
    if not isinstance(descriptor, JointDescriptor):
        raise ConformanceError("expected forward, forward_batch, serves and batch_atoms")
    if descriptor.batch_atoms < 1:
        raise ConformanceError(f"batch_atoms: at least 1, got {descriptor.batch_atoms}")
    if calculator is None and isinstance(descriptor, PotentialDescriptor):
        calculator = descriptor.calculator()
    if calculator is not None and not descriptor.serves(calculator):
        raise ConformanceError("serves: says no to the calculator of this very model")
    precision = precision_of(descriptor, tolerance, step_A)
    rng = np.random.default_rng(0)
    checks = [
        Checker(
            f"frame {k} ({atoms.get_chemical_formula()}): ",
            precision.tolerance,
            rng,
            precision.rounding,
        )
        for k, atoms in enumerate(frames)
    ]
    computed = descriptor.compute(frames, derivatives=True)
    for atoms, features, check in zip(frames, computed, checks, strict=True):
        _check_pass(descriptor, atoms, features, check, precision.step_A)
        if calculator is not None:
            _check_same_potential(descriptor, atoms, calculator, check)
    _check_batch(descriptor, frames, computed, checks)
    if isinstance(descriptor, SketchingDescriptor):
        _check_sketch(descriptor, frames, computed, checks)


def _check_pass(
    descriptor: JointDescriptor, atoms: Atoms, features: Features, check: Checker, step: float
) -> None:
    assert features.jacobian is not None
    with untouched([atoms]):
        forward = descriptor.forward(atoms)
    if not np.isfinite(forward.energy):
        raise ConformanceError(f"{check.where}energy: expected a finite number")
    check.equal(forward.phi, features.total, "phi of a pass and the sum of the values")
    check.equal(forward.values, features.values, "values of a pass and those computed")
    unbiased = forward.gradient(1.0)
    for _ in range(N_DIRECTIONS):
        move, strain = check.rng.standard_normal((len(atoms), 3)), check.rng.standard_normal(6)
        slope = slope_of(lambda a: descriptor.forward(a).energy, moved, atoms, move, step)
        scale = float(np.linalg.norm(unbiased.positions))
        check.close(np.sum(unbiased.positions * move), slope, "gradient of the energy", scale)
        slope = slope_of(lambda a: descriptor.forward(a).energy, strained_by, atoms, strain, step)
        scale = float(np.linalg.norm(unbiased.strain))
        check.close(unbiased.strain @ strain, slope, "gradient of the energy by strain", scale)
    cotangent = check.rng.standard_normal(len(forward.phi))
    expected = np.einsum("d,dna->na", cotangent, features.jacobian)
    check.close(forward.gradient(0.0, cotangent).positions, expected, "gradient and the jacobian")
    rows = np.tile(cotangent, (len(atoms), 1))
    check.close(forward.gradient(0.0, rows).positions, expected, "one cotangent for each atom")
    moves = check.rng.standard_normal((2, len(atoms), 3))
    slopes = np.einsum("dna,tna->td", features.jacobian, moves)
    check.close(forward.pushforward(moves), slopes, "pushforward and the jacobian")
    both = forward.gradient(0.5, cotangent, last=True).positions
    check.close(both, 0.5 * unbiased.positions + expected, "gradient of energy and features")


def _check_same_potential(
    descriptor: JointDescriptor, atoms: Atoms, calculator: Calculator, check: Checker
) -> None:
    forward = descriptor.forward(atoms)
    gradient = forward.gradient(1.0)
    energy = calculator.get_potential_energy(atoms)
    check.equal(forward.energy, energy, "energies of a pass and of the calculator")
    forces = calculator.get_forces(atoms)
    check.equal(-gradient.positions, forces, "forces of a pass and of the calculator")
    if atoms.pbc.all() and "stress" in calculator.implemented_properties:
        stress = calculator.get_stress(atoms)
        found = gradient.strain / atoms.get_volume()
        check.equal(found, stress, "stresses of a pass and of the calculator")


def _check_batch(
    descriptor: JointDescriptor,
    frames: Sequence[Atoms],
    computed: Sequence[Features],
    checks: Sequence[Checker],
) -> None:
    with untouched(frames):
        batch = descriptor.forward_batch(frames)
    cotangents = checks[0].rng.standard_normal(batch.phi.shape)
    wanted = {k: Combination(1.0, cotangents[k]) for k in range(0, len(frames), 2)}
    gradients = batch.gradients(wanted)
    if set(gradients) != set(wanted):
        raise ConformanceError(f"gradients: asked for {sorted(wanted)}, got {sorted(gradients)}")
    for k, (atoms, features, check) in enumerate(zip(frames, computed, checks, strict=True)):
        assert features.jacobian is not None
        alone = descriptor.forward(atoms)
        check.equal(batch.energies[k], alone.energy, "energies in a batch and alone")
        check.equal(batch.phi[k], features.total, "phi in a batch and alone")
        check.equal(batch.values(k), features.values, "values in a batch and alone")
        if k in wanted:
            expected = alone.gradient(1.0, cotangents[k])
            check.close(gradients[k].positions, expected.positions, "gradients in a batch")
            check.close(gradients[k].strain, expected.strain, "strain gradients in a batch")
        moves = check.rng.standard_normal((1, len(atoms), 3))
        slopes = np.einsum("dna,tna->td", features.jacobian, moves)
        check.close(batch.pushforward(k, moves), slopes, "pushforward in a batch")


def _check_sketch(
    descriptor: SketchingDescriptor,
    frames: Sequence[Atoms],
    computed: Sequence[Features],
    checks: Sequence[Checker],
) -> None:
    sketches = descriptor.sketch(frames, N_PROJECTIONS, np.random.default_rng(0))
    for sketch, features, check in zip(sketches, computed, checks, strict=True):
        assert features.jacobian is not None
        assert features.strain is not None
        slopes = np.einsum("dna,tna->td", features.jacobian, sketch.moves)
        if set(np.unique(sketch.moves)) != {-1.0, 1.0}:
            raise ConformanceError(f"{check.where}moves of a sketch: expected signs")
        check.equal(sketch.values, features.values, "values of a sketch")
        check.close(sketch.slopes, slopes, "slopes of a sketch and the jacobian")
        check.close(sketch.strain, features.strain, "strain derivative of a sketch")
