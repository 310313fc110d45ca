"""A named number with its error bar, and the two ways to that error bar."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from ..errors import ValidationError
from ..surrogate.steps import finished
from ..surrogate.surrogate import Surrogate
from .quantity import Quantity


def members(surrogate: Surrogate, n: int, rng: np.random.Generator) -> Iterator[Surrogate]:
    """``n`` surrogates whose coefficients are drawn from the posterior, one at a time."""
    for coefficients in surrogate.posterior.sample(n, rng):
        yield replace(surrogate, posterior=replace(surrogate.posterior, mean=coefficients))


def evaluate(
    check: Callable[[Calculator], Sequence[Quantity]],
    model: Surrogate | Calculator,
    n_members: int,
    rng: np.random.Generator,
) -> tuple[Quantity, ...]:
    """The quantities of a model; of a surrogate's mean, with the spread over its members.

    Parameters
    ----------
    check
        Gives the same quantities, in the same order, for every calculator. It is called
        once for the mean and once for each member, and may relax structures each time.
    model
        A surrogate, or an ASE calculator, which has no error bars.
    n_members
        At least 2. The relative error of the standard deviations is 1 / sqrt(2 n).
    rng
        Draws the members.

    Raises
    ------
    ValidationError
        If a check fails; it names the member.
    """
    if not isinstance(model, Surrogate):
        return tuple(check(model))
    return finished(evaluating(check, model, n_members, rng))


def evaluating(
    check: Callable[[Calculator], Sequence[Quantity]],
    surrogate: Surrogate,
    n_members: int,
    rng: np.random.Generator,
) -> Generator[int, None, tuple[Quantity, ...]]:
    """What `evaluate` does for a surrogate; yields how many members are done.

    Parameters
    ----------
    check, surrogate, n_members, rng
        As of `evaluate`.
    """
    quantities = check(surrogate.calculator())
    sampled = []
    for number, member in enumerate(members(surrogate, n_members, rng), start=1):
        try:
            sampled.append([quantity.value for quantity in check(member.calculator())])
        except ValidationError as error:
            raise ValidationError(f"member {number} of {n_members}: {error}") from error
        yield number
    spread = np.std(sampled, axis=0, ddof=1)
    return tuple(replace(q, std=float(s)) for q, s in zip(quantities, spread, strict=True))


@dataclass(frozen=True)
class EnergyFunctional:
    """A property sum_s c_s E(A_s) that is linear in energies, at fixed structures.

    ``frames`` and ``coefficients`` are what `select` takes as targets of the method
    ``c_optimal``.
    """

    frames: tuple[Atoms, ...]
    coefficients: tuple[float, ...]

    def value(self, calculator: Calculator) -> float:
        """The property, in eV times the unit of the coefficients."""
        energies = [calculator.get_potential_energy(atoms) for atoms in self.frames]
        return float(np.dot(self.coefficients, energies))

    def std(self, surrogate: Surrogate) -> float:
        """sqrt(q^T Sigma q) with q = sum_s c_s phi(A_s): exact at these structures.

        Where they are minima of the energy, what members gain by relaxing further is of
        second order (envelope theorem).
        """
        features = surrogate.descriptor.compute(self.frames)
        row = np.array(self.coefficients) @ [structure.total for structure in features]
        return float(np.sqrt(surrogate.posterior.variance(row)))
