"""What a walker shows of one step."""

from __future__ import annotations

from dataclasses import dataclass

from ase import Atoms

from ..bias.prediction import Prediction
from .driver_state import DriverState
from .restraints import RestraintReport
from .triggers import LazyCheck, Reported, TriggerReport
from .trust import BoundFrame, Trust


@dataclass(frozen=True)
class WalkerStep(Reported):
    """One MD step.

    Attributes
    ----------
    step
        Absolute step number.
    atoms
        Snapshot with momenta. In the last step of a stopped trajectory this is
        the last sane frame.
    prediction
        The evaluation that belongs to ``atoms``; None where the start itself
        breaks a guard or cannot be evaluated.
    temperature_K
        Instantaneous temperature, over the degrees of freedom that the ensemble has.
    reports
        What the triggers saw; nothing of those that were not evaluated.
    status
        ``"running"``, or the reason for the stop: ``"calculator_error"``, ``"volume"`` (also
        of a barostat's step), or the name of a guard (see `Guards.violated`).
    driver
        The state with which this step is gone on from, see `run_walker`.
    message
        What the calculator said, where it is the reason for the stop or the rollback.
    rolled_back
        The reason, where this step is a rollback; ``driver.rollbacks`` counts them.
    checks
        The triggers with what they have learnt so far.
    beyond
        The frame at which the walker met its bound of trust in this step; ``atoms`` are back at
        the start then.
    trust
        The bound with what it has learnt so far.
    checked
        Whether the triggers were looked at, be it only to find that they cannot fire.
    restraints
        What restraints do at ``atoms``; None without any.
    """

    step: int
    atoms: Atoms
    prediction: Prediction | None
    temperature_K: float
    reports: tuple[TriggerReport, ...] = ()
    status: str = "running"
    driver: DriverState = DriverState()
    rolled_back: str | None = None
    checks: tuple[LazyCheck, ...] = ()
    beyond: BoundFrame | None = None
    trust: Trust | None = None
    checked: bool = False
    message: str = ""
    restraints: RestraintReport | None = None

    @property
    def warning(self) -> str:
        """What is wrong with the mean temperature (`ThermostatCheck`), empty if nothing is.

        It stays from the step at which a `ThermostatWarning` was given.
        """
        return self.driver.thermostat.warning
