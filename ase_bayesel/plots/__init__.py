"""What a campaign, a model or a pool looks like: functions that return matplotlib axes.

Each takes ``axes``, on which it draws; without them it makes a figure of its own. A campaign is
its directory, or its records where several plots are made of one (`History`).

    from ase_bayesel.plots import History, error_against_labels, criterion

    history = History("my_campaign")
    error_against_labels(history).figure.savefig("errors.png")
    criterion(history, 1)

`calibration` draws reliability, z and error against deviation; `maps` structures by their features;
`errors` the errors of rounds, `walkers` what walkers saw, and `rounds` why picks were made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..io.faces import lazy_names

if TYPE_CHECKING:
    from ..campaign.history import History
    from .calibration import error_against_deviation, reliability_curve, z_histogram
    from .errors import error_against_hours, error_against_labels, parity, residuals
    from .maps import campaign_map, feature_map, principal_components, redundancy
    from .pools import error_left, scores
    from .rounds import fires, noise_and_deviation, property_error_bars, z_of_rounds
    from .walkers import criterion, deviation_log, temperature_log

_MODULES = {
    "History": "..campaign.history",
    "campaign_map": ".maps",
    "criterion": ".walkers",
    "deviation_log": ".walkers",
    "error_against_deviation": ".calibration",
    "error_against_hours": ".errors",
    "error_against_labels": ".errors",
    "error_left": ".pools",
    "feature_map": ".maps",
    "fires": ".rounds",
    "noise_and_deviation": ".rounds",
    "parity": ".errors",
    "principal_components": ".maps",
    "property_error_bars": ".rounds",
    "redundancy": ".maps",
    "reliability_curve": ".calibration",
    "residuals": ".errors",
    "scores": ".pools",
    "temperature_log": ".walkers",
    "z_histogram": ".calibration",
    "z_of_rounds": ".rounds",
}
__all__ = [
    "History",
    "campaign_map",
    "criterion",
    "deviation_log",
    "error_against_deviation",
    "error_against_hours",
    "error_against_labels",
    "error_left",
    "feature_map",
    "fires",
    "noise_and_deviation",
    "parity",
    "principal_components",
    "property_error_bars",
    "redundancy",
    "reliability_curve",
    "residuals",
    "scores",
    "temperature_log",
    "z_histogram",
    "z_of_rounds",
]
__getattr__ = lazy_names(__name__, _MODULES)


def __dir__() -> list[str]:
    return __all__
