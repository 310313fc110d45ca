"""What the conformance checks compare with: numbers, differences, changed structures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike

from ..descriptors.base import VOIGT

N_DIRECTIONS = 3


class ConformanceError(AssertionError):
    """A descriptor or calculator does not keep the promises of its interface."""


class Precision(NamedTuple):
    """Largest relative deviation from differences, their step (A), and rounding (relative)."""

    tolerance: float
    step_A: float
    rounding: float


def precision_of(checked: object, tolerance: float | None, step_A: float | None) -> Precision:
    """What a descriptor is to be checked by: as given, or by its ``dtype``, double if it has none.

    Values of single precision have seven digits: a difference of them is best with a large step,
    and turning a structure changes the last two.
    """
    single = "float32" in str(getattr(checked, "dtype", ""))
    usual = Precision(1e-2, 1e-2, 1e-4) if single else Precision(1e-5, 1e-4, 1e-8)
    rounding = usual.rounding if tolerance is None else max(1e-3 * tolerance, usual.rounding)
    return Precision(
        usual.tolerance if tolerance is None else tolerance,
        usual.step_A if step_A is None else step_A,
        rounding,
    )


class Checker:
    """Compares arrays and names the frame where they differ.

    Parameters
    ----------
    where
        What an error begins with.
    tolerance
        Largest relative deviation.
    rng
        Draws what is compared.
    rounding
        The same for what differs by rounding only; by default a thousandth of the tolerance.
    """

    def __init__(
        self,
        where: str,
        tolerance: float,
        rng: np.random.Generator,
        rounding: float | None = None,
    ) -> None:
        self.where, self.tolerance, self.rng = where, tolerance, rng
        self.rounding = 1e-3 * tolerance if rounding is None else rounding

    def close(self, actual: ArrayLike, expected: ArrayLike, what: str, scale: float = 0.0) -> None:
        """Within the tolerance of the largest magnitude of either, or of ``scale``.

        Parameters
        ----------
        actual, expected
            Of one shape.
        what
            What an error says that differs.
        scale
            A magnitude that either is a part of.
        """
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
        """The same up to rounding."""
        Checker(self.where, self.rounding, self.rng).close(actual, expected, what)


@contextmanager
def untouched(frames: Sequence[Atoms]) -> Iterator[None]:
    """Refuse what changes the structures within."""
    before = [atoms.copy() for atoms in frames]
    calculators = [atoms.calc for atoms in frames]
    yield
    for number, (atoms, copy) in enumerate(zip(frames, before, strict=True)):
        same = atoms == copy and atoms.calc is calculators[number]
        same = same and set(atoms.info) == set(copy.info) and set(atoms.arrays) == set(copy.arrays)
        if not same:
            raise ConformanceError(f"frame {number} was changed by the evaluation")


def slope_of(
    function: Callable[[Atoms], Any],
    changed: Callable[[Atoms, np.ndarray], Atoms],
    atoms: Atoms,
    change: np.ndarray,
    step: float,
) -> Any:
    """Central difference of a function of a structure along a change of it.

    Parameters
    ----------
    function
        Of a structure.
    changed
        `moved` or `strained_by`.
    atoms, change
        The structure, and what of it changes.
    step
        By how much, each way.
    """
    ahead, behind = changed(atoms, step * change), changed(atoms, -step * change)
    return (function(ahead) - function(behind)) / (2.0 * step)


def moved(atoms: Atoms, move: np.ndarray) -> Atoms:
    """A copy with displacements ``(n_atoms, 3)``, or ``(3,)`` for all, A."""
    out = atoms.copy()
    out.positions += move
    return out


def strained_by(atoms: Atoms, strain: np.ndarray) -> Atoms:
    """A copy under a symmetric strain in Voigt order, e_yz = e_zy = strain / 2."""
    tensor = np.zeros((3, 3))
    for component, (a, b) in enumerate(VOIGT):
        tensor[a, b] += strain[component] / 2
        tensor[b, a] += strain[component] / 2
    out = atoms.copy()
    out.set_cell(atoms.cell.array @ (np.eye(3) + tensor))
    out.positions = atoms.positions @ (np.eye(3) + tensor)
    return out
