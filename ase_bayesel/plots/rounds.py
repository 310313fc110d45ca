"""Rounds beside each other: why picks were made, and how well they were foretold."""

from __future__ import annotations

from collections import Counter

import numpy as np
from matplotlib.axes import Axes

from ..campaign.history import History
from ..surrogate.scales import Scales
from ..validation.reliability import reliability
from .canvas import GREY, Campaign, count_axis, error_scale, on, plain

KINDS = {
    "trigger": "a trigger fired",
    "bound": "at the bound of trust",
    "offer": "most uncertain of a window",
    "chosen": "chosen together",
    "start": "energy of the start uncertain",
}


def fires(campaign: Campaign, axes: Axes | None = None) -> Axes | None:
    """Picks of each round by their reason, and how often walkers met their bound of trust.

    Parameters
    ----------
    campaign
        Its directory or records.
    axes
        To draw on.

    Returns
    -------
    None before the first round.
    """
    history = History.of(campaign)
    rounds = range(1, len(history.reports))
    if not rounds:
        return None
    axes = on(axes)
    counts: Counter[tuple[int, str]] = Counter(
        (record.round_number, record.kind) for record in history.picks
    )
    below = np.zeros(len(rounds))
    for k, (kind, label) in enumerate(KINDS.items()):
        heights = np.array([counts[number, kind] for number in rounds], np.float64)
        if heights.any():
            axes.bar(rounds, heights, 0.7, below, color=f"C{k}", label=f"picks: {label}")
        below += heights
    returns = [history.reports[number].returns for number in rounds]
    axes.plot(rounds, returns, "v-", ms=4, lw=1, color=GREY, label="returns at the bound of trust")
    axes.set(xlabel="round", ylabel="number")
    axes.set_ylim(0, 1.4 * max(1.0, *below, *returns))  # for the legend
    count_axis(axes)
    axes.legend(fontsize="x-small")
    return axes


def z_of_rounds(campaign: Campaign, axes: Axes | None = None) -> Axes | None:
    """Root mean square of error over deviation of each round's picks; 1 is right.

    Parameters as of `fires`; None where no pick was foretold.
    """
    history = History.of(campaign)
    lines: dict[str, list[tuple[int, float]]] = {}
    for before, report in zip(history.reports, history.reports[1:], strict=False):
        errors, scales = history.errors(report.round_number), Scales.from_json(before.scales)
        for prop, rows in (errors.fitted if errors is not None else {}).items():
            found = reliability(rows, getattr(scales, prop))
            if found is not None:
                lines.setdefault(prop, []).append((report.round_number, found.z))
    if not lines:
        return None
    axes = on(axes)
    for prop, points in lines.items():
        axes.plot(*zip(*points, strict=True), "o-", ms=4, label=prop)
    axes.axhline(1.0, color=GREY, lw=1)
    sizes = [1.0, *(z for points in lines.values() for _, z in points)]
    error_scale(axes, np.array(sizes))
    axes.set(xlabel="round", ylabel="RMS of error / deviation")
    count_axis(axes)
    axes.legend(fontsize="small")
    return axes


def noise_and_deviation(campaign: Campaign, axes: Axes | None = None) -> Axes | None:
    """The noise of each fit's forces, and deviation and error of the picks that it has foretold.

    Where the noise lies above the deviations, the form of the model is what is left, and labels
    lower it no further. Parameters as of `fires`; None where no forces were foretold.
    """
    history = History.of(campaign)
    sizes = {number: force_sizes(history, number) for number in range(1, len(history.reports))}
    points = [(number, found) for number, found in sizes.items() if found is not None]
    if not points:
        return None
    axes = on(axes)
    rounds, found = zip(*points, strict=True)
    names = ("noise of the fit", "deviation of picks", "error of picks")
    for name, values in zip(names, zip(*found, strict=True), strict=True):
        axes.semilogy(rounds, np.maximum(values, 1e-12), "o-", ms=4, label=name)
    axes.set(xlabel="round", ylabel="force (eV/A)")
    count_axis(axes)
    axes.legend(fontsize="x-small")
    return axes


def force_sizes(campaign: Campaign, number: int) -> tuple[float, float, float] | None:
    """Noise of the fit before a round, raw deviation and error of its picks, eV/A.

    Root mean squares over force components; None where none were foretold.
    """
    history = History.of(campaign)
    errors, noise = history.errors(number), history.reports[number - 1].noise.get("forces")
    rows = None if errors is None else errors.fitted.get("forces")
    if rows is None or noise is None or not len(rows.errors):
        return None
    return noise, _rms(rows.deviations), _rms(rows.errors)


def property_error_bars(campaign: Campaign, axes: Axes | None = None) -> Axes | None:
    """Error bars of properties after each round over the last values, against labels paid for.

    Dashed lines are those wanted. Parameters as of `fires`; None where no property is followed.
    """
    history = History.of(campaign)
    last = {q.name: q for report in history.reports for q in report.properties}
    followed = {name: q for name, q in last.items() if q.value}
    if not followed:
        return None
    axes = on(axes)
    for k, (name, quantity) in enumerate(followed.items()):
        points = [
            (report.n_labels, q.std / abs(quantity.value))
            for report in history.reports
            for q in report.properties
            if q.name == name and q.std
        ]
        if not points:
            continue
        axes.semilogy(*zip(*points, strict=True), "o-", ms=4, color=f"C{k}", label=plain(name))
        if name in history.wanted:
            limit = history.wanted[name] / abs(quantity.value)
            axes.axhline(limit, color=f"C{k}", lw=0.8, ls="--")
    axes.set(xlabel="labels", ylabel="error bar / value")
    if axes.lines:
        axes.legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    return axes


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
