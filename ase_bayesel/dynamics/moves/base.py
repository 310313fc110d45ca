"""What a Monte Carlo move is, what it remembers, and the rule by which it is accepted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple, Protocol

import numpy as np
from ase import Atoms, units

from ...bias.evaluators import EVALUATION_ERRORS
from ..triggers import Guards


@dataclass(frozen=True)
class MoveState:
    """What a move carries from one attempt to the next.

    Attributes
    ----------
    attempts, accepted
        Counts of all attempts and of the accepted ones.
    failed
        Attempts rejected because the trial broke a guard, could not be evaluated or had
        an energy that is not finite.
    step
        Step size in use; None before the first attempt, and for a move without one.
    """

    attempts: int = 0
    accepted: int = 0
    failed: int = 0
    step: float | None = None

    @property
    def acceptance(self) -> float:
        """Accepted share of all attempts, 0 before the first."""
        return self.accepted / max(self.attempts, 1)


class Decision(NamedTuple):
    """The outcome of one attempt; ``probability`` is that of acceptance."""

    probability: float
    accepted: bool
    failed: bool = False


class Move(Protocol):
    """A Monte Carlo move, attempted at every ``interval``-th absolute step.

    It changes no atom's momentum: momenta are independent of positions and cell in every
    ensemble at a temperature, so that their distribution stays right.
    """

    kind: ClassVar[str]
    interval: int

    def check(self, atoms: Atoms, pressure_given: bool) -> None:
        """Raise a `StructureError` if this move makes no sense here."""
        ...

    def attempt(
        self,
        atoms: Atoms,
        *,
        temperature_K: float,
        pressure_GPa: float | None,
        rng: np.random.Generator,
        state: MoveState,
        guards: Guards,
    ) -> MoveState:
        """One attempt on the surface of ``atoms.calc``; returns the next state.

        ``atoms`` are changed in place if it is accepted. Otherwise they and all that the
        calculator knows about them stay as they are.

        Parameters
        ----------
        atoms
            With a `BiasedCalculator`, or any that has its ``energy_change``.
        temperature_K, pressure_GPa
            Of the ensemble at this step.
        guards
            A trial that breaks one is rejected.
        """
        ...


def metropolis(
    atoms: Atoms,
    trial: Atoms,
    log_weight: float,
    temperature_K: float,
    rng: np.random.Generator,
    guards: Guards,
) -> Decision:
    """Accept with probability min(1, exp(log_weight - dE / kT)) and change ``atoms`` if so.

    dE is the difference of two energies on one surface, see
    `BiasedCalculator.energy_change`. ``log_weight`` holds all the rest: the logarithm of
    the ratio of the two states' measures and of the chances to propose one from the other.

    Parameters
    ----------
    atoms
        With a `BiasedCalculator`, or any that has its ``energy_change``.
    trial
        A copy with what the move changes.
    log_weight
        No unit.
    temperature_K
        Of the ensemble, K.
    rng
        Gives one number, whatever the decision.
    guards
        A trial that breaks one is rejected.
    """
    fortune = rng.random()
    atoms.get_potential_energy()
    if guards.violated(trial) is not None:
        return Decision(0.0, False, failed=True)
    try:
        change = atoms.calc.energy_change(trial)
    except EVALUATION_ERRORS:
        return Decision(0.0, False, failed=True)
    if not np.isfinite(change):
        return Decision(0.0, False, failed=True)
    exponent = log_weight - change / (units.kB * temperature_K)
    probability = float(np.exp(min(0.0, exponent)))
    accepted = fortune < probability
    if accepted:
        atoms.cell[:] = trial.cell
        for name, array in trial.arrays.items():
            atoms.arrays[name][:] = array
    return Decision(probability, accepted)


def counted(state: MoveState, decision: Decision) -> MoveState:
    """The state after one more attempt."""
    return replace(
        state,
        attempts=state.attempts + 1,
        accepted=state.accepted + decision.accepted,
        failed=state.failed + decision.failed,
    )
