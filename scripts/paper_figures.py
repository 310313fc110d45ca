"""Figures of the reproduction."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from paper_methods import CATALOGUE, EVERYTHING
from paper_outcome import BY_DESCRIPTOR, METRICS, PAPER_METHODS, POOLS, Metric, Outcome, mean


def figures(outcome: Outcome) -> dict[str, tuple[str, Figure]]:
    """All figures that there are records for: file name to caption and figure."""
    by_method = [m for m in PAPER_METHODS if m in outcome.methods("full")]
    rest = [m for m in outcome.methods("full") if m not in PAPER_METHODS]
    drawn = {
        "fig1": ("Fig. 1: errors, six methods", _panels(outcome, "full", METRICS[:2], by_method)),
        "fig2": ("Fig. 2: surface energies", _panels(outcome, "full", METRICS[2:], by_method)),
    }
    if len(outcome.descriptors()) > 1:
        drawn["fig3"] = ("Fig. 3: errors by descriptor", _by_descriptor(outcome, METRICS[:2]))
        drawn["fig4"] = ("Fig. 4: surfaces by descriptor", _by_descriptor(outcome, METRICS[2:]))
    if rest:
        lines = ["random", "k_medoids", *rest]
        drawn["fig5"] = ("Other methods", _panels(outcome, "full", METRICS, lines))
    for name, pools in (("fig6", "with"), ("fig7", "without")):
        if outcome.where(pools):
            caption = next(title for title, key in POOLS.items() if key == pools)
            drawn[name] = (caption, _panels(outcome, pools, METRICS, outcome.methods(pools)))
    return drawn


def _panels(
    outcome: Outcome, pools: str, metrics: Sequence[Metric], methods: Sequence[str]
) -> Figure:
    """One panel a metric, one line a method; dotted the fit to everything."""
    figure, panels = _figure(metrics)
    for metric, panel in zip(metrics, panels, strict=True):
        for place, method in enumerate(methods):
            style = {"color": f"C{place % 10}", "ls": "-" if place < 10 else "--"}
            found = [outcome.values(metric, pools, n, method=method) for n in outcome.numbers]
            _line(panel, outcome.numbers, found, CATALOGUE[method].title, style)
            if method == "random":
                low, high = np.transpose([_band(values) for values in found])
                panel.fill_between(outcome.numbers, low, high, alpha=0.15, lw=0)
        for record in outcome.where("full", method=EVERYTHING):
            panel.axhline(metric.of(record), color="0.5", ls=":", lw=1)
    figure.legend(*panels[0].get_legend_handles_labels(), **LEGEND)
    return figure


def _by_descriptor(outcome: Outcome, metrics: Sequence[Metric]) -> Figure:
    """k-medoids dashed, Bayesian full lines; one colour a descriptor."""
    figure, panels = _figure(metrics)
    for metric, panel in zip(metrics, panels, strict=True):
        for place, name in enumerate(outcome.descriptors()):
            for method, ls in zip(BY_DESCRIPTOR, ("--", "-", ":"), strict=True):
                task = {"descriptor": name, "method": method}
                found = [outcome.values(metric, "full", n, **task) for n in outcome.numbers]
                label = f"{name}, {CATALOGUE[method].title}"
                _line(panel, outcome.numbers, found, label, {"color": f"C{place}", "ls": ls})
    figure.legend(*panels[0].get_legend_handles_labels(), **LEGEND)
    return figure


BAND = (16, 84)
"""Percentiles of the random picks between which the band lies."""


def _band(values: np.ndarray) -> np.ndarray:
    good = values[np.isfinite(values)]
    return np.percentile(good, BAND) if len(good) else np.full(2, np.nan)


LEGEND = {"loc": "outside lower center", "ncols": 2, "fontsize": "x-small"}


def _figure(metrics: Sequence[Metric]) -> tuple[Figure, np.ndarray]:
    height = 3.6 * len(metrics) / 2 + 1.2
    figure = Figure(figsize=(8.0, height), layout="constrained")
    panels = figure.subplots(len(metrics) // 2, 2).ravel()
    for metric, panel in zip(metrics, panels, strict=True):
        panel.set(xlabel="picks N", ylabel=metric.title, xscale="log", yscale="log")
        panel.xaxis.set_minor_locator(NullLocator())
        panel.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        panel.yaxis.set_minor_locator(NullLocator())
    return figure, panels


def _line(panel, numbers, found: Sequence[np.ndarray], label: str, style: dict) -> None:
    if not any(map(len, found)):
        return
    means = np.array([mean(values) for values in found])
    panel.plot(numbers, means, marker="o", ms=3, lw=1.2, label=label, **style)
    panel.set_xticks(numbers, [str(n) for n in numbers])
