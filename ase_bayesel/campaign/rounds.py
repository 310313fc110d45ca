"""What a campaign's rounds have told, and what comes next; light, for `bayesel status`.

No code of a config runs, and no model is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import TypeAdapter

from ..errors import StoreError
from .config import StopConfig
from .ending import reason_to_end, way_on
from .error_bars import ErrorBar, error_bars
from .events import RoundReport
from .stopping import Advice, advice
from .store import Store

Stage = Literal["explore", "label", "refit"]

if TYPE_CHECKING:
    from ..dynamics.triggers import Trigger


class Rounds:
    """The rounds of a campaign: their reports, why it has ended, what to do next.

    Parameters
    ----------
    campaign
        A campaign directory, or its `Store`.

    Raises
    ------
    StoreError
        If the directory holds no campaign; on reading, if a file is damaged.
    """

    def __init__(self, campaign: str | Path | Store) -> None:
        self.store = campaign if isinstance(campaign, Store) else Store(campaign)
        if not self.store.exists:
            raise StoreError(f"{self.store.directory}: holds no campaign; name its directory")
        self.config = self.store.read_config()
        self.reports: list[RoundReport] = [
            self.store.read_report(k) for k in range(self.store.completed_rounds())
        ]

    def setting(self, section: str, key: str) -> Any:
        """A value of the stored config; None where it has none."""
        values = self.config.get(section)
        return values.get(key) if isinstance(values, dict) else None

    @cached_property
    def trigger(self) -> Trigger:
        """The trigger of the stored config."""
        from ..dynamics.triggers import AnyTrigger, Trigger

        try:
            section = self.config["explore"]["trigger"]
            return TypeAdapter[Trigger](AnyTrigger).validate_python(section)
        except (KeyError, TypeError, ValueError) as error:
            path = self.store.config_path
            raise StoreError(f"{path}: has no readable trigger ({error})") from error

    @cached_property
    def threshold(self) -> float | None:
        """What a trace's criterion is compared with; 1 for combinations, None if not known yet."""
        from ..dynamics.triggers import Uncalibrated

        if isinstance(self.trigger, Uncalibrated):
            return next(iter(self.store.read_thresholds() or ()), None)
        return self.trigger.threshold

    @property
    def trust_factor(self) -> float | None:
        """Limit of the criterion under the last fit, in thresholds; None for no such limit."""
        bound = self.setting("explore", "trust_bound")
        factor = bound.get("factor") if isinstance(bound, dict) else None
        return float(factor) if isinstance(factor, int | float) else None

    @cached_property
    def ended(self) -> str | None:
        """Why the campaign has ended; None where a run would go on.

        Raises
        ------
        StoreError
            If the config holds no readable section ``stop``.
        """
        if not self.reports:
            return None
        return reason_to_end(self._stop, self.store, len(self.reports))

    @property
    def _stop(self) -> StopConfig:
        try:
            return StopConfig.model_validate(self.config.get("stop", {}))
        except ValueError as error:
            raise StoreError(f"{self.store.config_path}: stop: {error}") from error

    @property
    def by_hand(self) -> bool:
        """Whether labels come by hand, and not from an engine."""
        return self.config.get("labelling") == "none"

    @cached_property
    def stage(self) -> Stage:
        """What the round that is not done yet is at: each stage begins where the last has ended."""
        store, number = self.store, len(self.reports)
        if number == 0:
            return "refit" if store.input_path("train").exists() else "label"
        if not store.batch_path(number).exists():
            return "explore"
        unlabelled = store.exploration(number).count_picks() and not store.read_labelled(number)
        return "label" if unlabelled else "refit"

    @property
    def advice(self) -> Advice:
        """What to do next (`stopping.advice`)."""
        waiting = self.by_hand and self.stage == "label"
        found = advice(self.reports, waiting, self.linear, self.wanted)
        if not self.reports or not found.what.startswith("go on"):
            return found
        return replace(found, how=way_on(self._stop, self.store, len(self.reports)))

    @property
    def linear(self) -> bool:
        """Whether the surrogate is the potential, and not a network with it beside."""
        return self.config.get("potential") is None

    @property
    def wanted(self) -> Mapping[str, float]:
        """Error bars of properties that suffice, by their names."""
        found = self.setting("properties", "wanted")
        values = found.items() if isinstance(found, dict) else ()
        return {name: float(value) for name, value in values if isinstance(value, int | float)}

    @property
    def error_bars(self) -> list[ErrorBar]:
        """Of properties, after the last round."""
        return error_bars(self.reports, self.wanted)
