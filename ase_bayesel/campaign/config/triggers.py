"""When to pick, which frame, and when to stop: triggers, the pick rule and guards."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import (
    Discriminator,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Tag,
    model_validator,
)

from .base import Section


class CalibrationConfig(Section):
    """A threshold as ``factor`` times a quantile of the criterion where all is normal.

    ``training``: on the training structures, each left out in turn. ``md``: in the first
    ``steps`` of unbiased MD from the walkers' starts. Done once, before the first round explores;
    the number is stored and stays.
    """

    calibrate: Literal["training", "md"]
    quantile: float = Field(0.99, gt=0, le=1)
    factor: PositiveFloat = 1.0
    steps: PositiveInt | None = None

    @model_validator(mode="after")
    def _steps_of_md(self) -> CalibrationConfig:
        if (self.steps is not None) != (self.calibrate == "md"):
            raise ValueError("calibrate: md needs steps, and nothing else has them")
        return self


def _kind_of_threshold(given: Any) -> str:
    return "calibrated" if isinstance(given, dict | CalibrationConfig) else "number"


Threshold = Annotated[
    Annotated[PositiveFloat, Tag("number")] | Annotated[CalibrationConfig, Tag("calibrated")],
    Discriminator(_kind_of_threshold),
]


class RelativeForceConfig(Section):
    """No unit. ``exact`` forms the force deviations of all atoms also for features of a network,
    where a `ForceSearch` would do."""

    kind: Literal["relative_force"] = "relative_force"
    threshold: Threshold
    eps: PositiveFloat = 0.2
    exact: bool = False


class ForceConfig(Section):
    """eV/A; ``exact`` as of relative_force."""

    kind: Literal["force"]
    threshold: Threshold
    exact: bool = False


class GlobalConfig(Section):
    """A criterion of the whole structure or its atomic features: eV/atom, GPa, eV, no unit."""

    kind: Literal["energy_per_atom", "stress", "local_energy", "information"]
    threshold: Threshold


class CombinedConfig(Section):
    """Fires when any or all of its members do; they may be combinations themselves."""

    kind: Literal["any", "all"]
    members: tuple[TriggerConfig, ...] = Field(min_length=1)


CLASSES = {
    "relative_force": "relative_force",
    "force": "force",
    **dict.fromkeys(("energy_per_atom", "stress", "local_energy", "information"), "global"),
    **dict.fromkeys(("any", "all"), "combined"),
}


def _class_of(given: Any) -> str | None:
    """Which section reads a trigger; relative_force where no kind is named."""
    if isinstance(given, dict):
        kind = given.get("kind", "relative_force")
        return CLASSES.get(kind) if isinstance(kind, str) else None
    return CLASSES.get(getattr(given, "kind", ""))


TriggerConfig = Annotated[
    Annotated[RelativeForceConfig, Tag("relative_force")]
    | Annotated[ForceConfig, Tag("force")]
    | Annotated[GlobalConfig, Tag("global")]
    | Annotated[CombinedConfig, Tag("combined")],
    Discriminator(
        _class_of,
        custom_error_type="trigger_kind",
        custom_error_message=f"kind must be one of {', '.join(CLASSES)}",
    ),
]
SingleConfig = RelativeForceConfig | ForceConfig | GlobalConfig
CombinedConfig.model_rebuild()


def single_triggers(trigger: TriggerConfig) -> Iterator[SingleConfig]:
    """The single triggers of a combination, from left to right."""
    if isinstance(trigger, CombinedConfig):
        for member in trigger.members:
            yield from single_triggers(member)
    else:
        yield trigger


class PickConfig(Section):
    """Which frame is picked, see `triggers.PickRule`; ``patience`` and ``spacing`` in MD steps."""

    at: Literal["crossing", "peak"] = "crossing"
    patience: PositiveInt = 25
    spacing: NonNegativeInt = 0

    @model_validator(mode="after")
    def _patience_only_where_used(self) -> PickConfig:
        if self.at == "crossing" and self.patience != 25:
            raise ValueError("patience belongs to at: peak only")
        return self


class GuardsConfig(Section):
    """Limits of a sane trajectory; see `triggers.Guards`. null switches one off."""

    close_contact: Annotated[float, Field(gt=0, le=10)] | None = 0.5
    max_force: PositiveFloat | None = 100.0
    max_temperature_K: PositiveFloat | None = 10000.0
    volume_ratio: Annotated[float, Field(gt=1)] | None = 4.0
    lost_atoms: Annotated[float, Field(gt=1, le=10)] | None = None
    escape_A: PositiveFloat | None = None
    melted: PositiveFloat | None = None
