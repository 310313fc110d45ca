"""Errors on the test set: of each round, and of each structure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes

from ..campaign.history import History
from ..surrogate.scales import Scales
from ..validation.parity import Parity
from .canvas import GREY, MANY_POINTS, Campaign, count_axis, error_scale, on

Property = Literal["energy", "forces"]
UNITS = {"energy": "meV/atom", "forces": "meV/A"}
NAMES = {"energy": "energy", "forces": "force"}


def error_against_labels(
    campaign: Campaign, prop: Property = "forces", axes: Axes | None = None
) -> Axes | None:
    """Root mean square error on the test set after each round, against labels paid for.

    Parameters
    ----------
    campaign
        Its directory or records.
    prop
        ``"energy"`` (meV/atom) or ``"forces"`` (meV/A).
    axes
        To draw on.

    Returns
    -------
    None without a test set.
    """
    history = History.of(campaign)
    axes = _errors(history, prop, axes, [r.n_labels for r in history.reports], "labels")
    if axes is not None:
        count_axis(axes)
    return axes


def error_against_hours(
    campaign: Campaign, prop: Property = "forces", axes: Axes | None = None
) -> Axes | None:
    """The same against hours of the engine; None also where no label says how long it took.

    Parameters as of `error_against_labels`.
    """
    history = History.of(campaign)
    hours = history.hours()
    if not hours or hours[-1] == 0:
        return None
    unit, factor = ("hours", 1.0) if hours[-1] >= 0.1 else ("seconds", 3600.0)
    return _errors(history, prop, axes, [factor * h for h in hours], f"{unit} of the engine")


def _errors(
    history: History, prop: Property, axes: Axes | None, places: Sequence[float], label: str
) -> Axes | None:
    found = [getattr(report, f"{prop}_rmse") for report in history.reports]
    points = [(x, 1e3 * y) for x, y in zip(places, found, strict=True) if y is not None]
    if not points:
        return None
    axes = on(axes)
    axes.plot(*zip(*points, strict=True), "o-", ms=4, color="C0" if prop == "energy" else "C1")
    axes.set(xlabel=label, ylabel=f"{NAMES[prop]} RMSE ({UNITS[prop]})")
    axes.margins(y=0.15)
    error_scale(axes, np.array([y for _, y in points]))
    return axes


def parity(
    campaign: Campaign | Parity,
    prop: Property = "forces",
    axes: Axes | None = None,
    scale: float = 1.0,
) -> Axes | None:
    """Prediction against reference, of a campaign's test set after its last round.

    Parameters
    ----------
    campaign
        Its directory or records, or the numbers themselves.
    prop
        ``"energy"`` (eV/atom), with deviations as error bars, or ``"forces"`` (eV/A).
    axes
        To draw on.
    scale
        Makes deviations as large as errors; a campaign brings that of its last round.

    Returns
    -------
    None without a test set.
    """
    found, scale = _of(campaign, scale)
    if found is None or not len(getattr(found, prop)):
        return None
    reference, predicted = getattr(found, prop), getattr(found, f"{prop}_predicted")
    axes = _against_reference(axes, predicted, found, prop, scale)
    ends = [reference.min(), reference.max()]
    axes.plot(ends, ends, color=GREY, lw=1, zorder=0)
    axes.set(ylabel=f"predicted {_label(prop)}")
    return axes


def residuals(
    campaign: Campaign | Parity,
    prop: Property = "forces",
    axes: Axes | None = None,
    scale: float = 1.0,
) -> Axes | None:
    """Prediction less reference, against the reference; parameters as of `parity`.

    Parameters
    ----------
    campaign, prop, axes, scale
        As of `parity`; errors are in meV/atom or meV/A.
    """
    found, scale = _of(campaign, scale)
    if found is None or not len(getattr(found, prop)):
        return None
    difference = getattr(found, f"{prop}_predicted") - getattr(found, prop)
    axes = _against_reference(axes, 1e3 * difference, found, prop, 1e3 * scale)
    axes.axhline(0.0, color=GREY, lw=1, zorder=0)
    axes.set(ylabel=f"{NAMES[prop]} error ({UNITS[prop]})")
    return axes


def _of(campaign: Campaign | Parity, scale: float) -> tuple[Parity | None, float]:
    if isinstance(campaign, Parity):
        return campaign, scale
    history = History.of(campaign)
    if not history.reports:
        return None, scale
    last = history.reports[-1]
    scale = Scales.from_json(last.scales).energy.value
    return history.store.read_parity(last.round_number), scale


def _against_reference(
    axes: Axes | None, y: np.ndarray, found: Parity, prop: Property, scale: float
) -> Axes:
    axes, x = on(axes), getattr(found, prop)
    many = len(x) > MANY_POINTS
    if prop == "energy":
        bars = scale * found.energy_std
        axes.errorbar(x, y, yerr=bars, fmt="o", ms=4, lw=1, color="C0", rasterized=many)
    else:
        axes.plot(x, y, ".", ms=3, color="C1", rasterized=many)
    axes.set(xlabel=f"reference {_label(prop)}")
    axes.ticklabel_format(useOffset=False)
    axes.locator_params(axis="x", nbins=4)
    return axes


def _label(prop: Property) -> str:
    return "energy (eV/atom)" if prop == "energy" else "force (eV/A)"
