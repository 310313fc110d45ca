"""Which of the frames that fired is picked: the first one, or the one at the peak."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Generic, Literal, TypeVar

from ...io.magnitudes import FemtosecondsOrNone, Steps, StepsOrNone
from .base import TriggerReport

MODES = ("crossing", "peak")
T = TypeVar("T")


@dataclass(frozen=True)
class PickState(Generic[T]):
    """What a `PickRule` remembers of one walker.

    ``last`` is the step of the walker's last pick, None before the first. ``peak`` is the frame
    with the largest criterion since the trigger fired, None where nothing waits; ``peak_step``
    and ``ratio`` belong to it.
    """

    last: int | None = None
    peak: T | None = None
    peak_step: int = 0
    ratio: float = 0.0


@dataclass(frozen=True)
class PickRule:
    """When a frame that fired becomes a pick; pure state to state.

    Attributes
    ----------
    at
        ``"crossing"`` picks the first frame that fires. ``"peak"`` waits until the criterion
        (value over threshold) has had no new maximum for ``patience`` steps, or until the
        trajectory ends, and picks the frame of the maximum.
    patience
        MD steps without a new maximum, for ``"peak"``. Smaller than the interval of the
        checks it means one check.
    spacing
        Smallest distance in MD steps between two picks of a walker.
    settling_fs
        No pick (fs) before a walker has moved for so long from its start or restart, unless it
        meets its bound of trust: a pick near the start says little that is new. For campaigns,
        see `exploration.RoundRules`.
    """

    at: Literal["crossing", "peak"] = "crossing"
    patience: Steps = 25
    spacing: StepsOrNone = 0
    settling_fs: FemtosecondsOrNone = 50.0

    def __post_init__(self) -> None:
        if self.at not in MODES:
            raise ValueError(f"at: must be one of {MODES}, got {self.at!r}")
        if self.patience < 1 or self.spacing < 0 or self.settling_fs < 0:
            raise ValueError(
                "patience must be at least 1, spacing and settling_fs must not be negative"
            )

    def after_frame(
        self, state: PickState[T], frame: T | None, step: int, report: TriggerReport | None
    ) -> tuple[PickState[T], T | None]:
        """The next state and the pick, if any, after a frame that passed all guards.

        The pick is this frame or an earlier one. A new surrogate changes what the criterion
        means: go on from ``PickState(state.last)`` then.

        Parameters
        ----------
        state
            What the rule remembers of the walker.
        frame
            Stands for the frame where it becomes a pick; None where nothing has fired.
        step
            Absolute number of the frame.
        report
            The trigger's at this step, None where it was not evaluated.
        """
        spaced = state.last is None or step - state.last >= self.spacing
        if frame is not None and report is not None and report.fired and spaced:
            if self.at == "crossing":
                return PickState(step), frame
            if state.peak is None or report.ratio > state.ratio:
                return replace(state, peak=frame, peak_step=step, ratio=report.ratio), None
        if state.peak is not None and step - state.peak_step >= self.patience:
            return PickState(state.peak_step), state.peak
        return state, None

    def at_end(self, state: PickState[T]) -> T | None:
        """The pick at the end of a trajectory: the frame that was waiting, if any."""
        return state.peak
