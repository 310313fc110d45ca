"""Thresholds that are yet to be found, and how a config describes a trigger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, is_dataclass, replace
from typing import Annotated, Any, Literal

from ase import Atoms
from pydantic import (
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    PlainValidator,
    TypeAdapter,
    ValidationInfo,
    WithJsonSchema,
)

from ...bias.prediction import Prediction
from ...errors import ConfigError
from ...io.kinds import VALUE, OneOf, made, values_of
from ...io.magnitudes import Fraction, Positive, Steps
from ...io.numbers import no_boolean
from .base import Trigger, TriggerReport


@dataclass(frozen=True)
class Calibration:
    """A threshold as ``factor`` times a quantile of the criterion where all is normal.

    Attributes
    ----------
    calibrate
        ``"training"``: on the training structures, each left out in turn. ``"md"``: in the first
        ``steps`` of unbiased MD from the walkers' starts.
    quantile, factor
        See `quantile_threshold`.
    steps
        For ``"md"`` only.

    A campaign does this once, before the first round explores; the number is stored and stays.
    """

    calibrate: Literal["training", "md"]
    quantile: Fraction = 0.99
    factor: Positive = 1.0
    steps: Steps | None = None

    def __post_init__(self) -> None:
        if (self.steps is not None) != (self.calibrate == "md"):
            raise ValueError("calibrate: md needs steps, and nothing else has them")


_NUMBER: TypeAdapter[float] = TypeAdapter(
    Annotated[Positive, BeforeValidator(no_boolean)], config=ConfigDict(allow_inf_nan=False)
)
_CALIBRATION: TypeAdapter[Calibration] = TypeAdapter(Annotated[Calibration, VALUE])


def _threshold(given: Any, info: ValidationInfo) -> float | Calibration:
    if isinstance(given, Mapping | Calibration):
        return _CALIBRATION.validate_python(given, context=info.context)
    return _NUMBER.validate_python(given)


def _dumped(threshold: float | Calibration) -> Any:
    return asdict(threshold) if isinstance(threshold, Calibration) else threshold


Threshold = Annotated[
    float,
    PlainValidator(_threshold),
    PlainSerializer(_dumped),
    WithJsonSchema({"anyOf": [_NUMBER.json_schema(), {"type": "object"}]}),
]
"""A number; in a config also a `Calibration`, which makes the trigger an `Uncalibrated` one."""


@dataclass(frozen=True)
class Uncalibrated:
    """A single trigger whose threshold is to be calibrated; it cannot be evaluated before.

    Attributes
    ----------
    probe
        The same with the threshold 0, at which it is evaluated to find the threshold.
    how
        How that is found.
    """

    probe: Trigger
    how: Calibration

    @property
    def kind(self) -> str:
        """That of the trigger."""
        return str(getattr(self.probe, "kind", type(self.probe).__name__))

    @property
    def threshold(self) -> float:
        """Infinite, so that it never fires."""
        return float("inf")

    def __call__(self, prediction: Prediction, atoms: Atoms) -> TriggerReport:
        """Raise a `ConfigError`."""
        raise ConfigError(f"trigger {self.kind}: its threshold has not been calibrated")

    def calibrated(self, threshold: float) -> Trigger:
        """The trigger with its threshold."""
        assert is_dataclass(self.probe)
        assert not isinstance(self.probe, type)
        return replace(self.probe, threshold=threshold)


class TriggerKinds(OneOf):
    """`OneOf` for triggers, in which a threshold may be a `Calibration`."""

    def is_made(self, value: Any) -> bool:
        """Whether it is a trigger already."""
        return isinstance(value, Uncalibrated) or super().is_made(value)

    def made(self, cls: type, values: dict[str, Any]) -> Any:
        """The trigger, or one that is to be calibrated."""
        threshold = values.get("threshold")
        if isinstance(threshold, Calibration):
            return Uncalibrated(made(cls, {**values, "threshold": 0.0}), threshold)
        return made(cls, values)

    def parts(self, value: Any) -> tuple[type, dict[str, Any]]:
        """Class and values, the calibration in place of the threshold."""
        if isinstance(value, Uncalibrated):
            return type(value.probe), {**values_of(value.probe), "threshold": value.how}
        return super().parts(value)
