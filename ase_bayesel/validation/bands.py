"""The picture of a phonon band structure."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from ase.dft.kpoints import BandPath

from .phonons import Frequencies

if TYPE_CHECKING:
    from matplotlib.figure import Figure


ERROR_BARS = 24
"""About how many q-points along the path get an error bar."""


def draw_bands(path: BandPath, frequencies: Frequencies) -> Figure:
    """Bands along a path, with error bars of one standard deviation where they have any.

    A second panel shows the standard deviations themselves, which are often smaller than
    a line is wide.
    """
    from matplotlib.figure import Figure

    x, ticks, labels = path.get_linear_kpoint_axis()
    std = frequencies.std
    figure = Figure(figsize=(6.4, 4.0 if std is None else 5.6), layout="constrained")
    heights = [1] if std is None else [3, 1]
    panels = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)
    bands, *below = panels[:, 0]
    for part in _pieces(x):
        bands.plot(x[part], frequencies.values[part], color="C0", lw=1.2)
    if std is not None:
        marked = slice(None, None, max(1, len(x) // ERROR_BARS))
        for values, deviations in zip(frequencies.values.T, std.T, strict=True):
            bars = bands.errorbar(
                x[marked], values[marked], deviations[marked], fmt="none", ecolor="C1", capsize=2
            )
        bands.legend([bars], ["± 1 std"], loc="lower right")
        for part in _pieces(x):
            below[0].plot(x[part], 1e3 * std[part], color="C1", lw=0.8)
        below[0].set_ylabel("std (GHz)")
        below[0].set_ylim(bottom=0.0)
    bands.set_ylabel("frequency (THz)")
    bands.axhline(0.0, color="0.5", lw=0.8)
    for panel in panels[:, 0]:
        for tick in ticks:
            panel.axvline(tick, color="0.8", lw=0.8, zorder=0)
        panel.set_xlim(x[0], x[-1])
    panels[-1, 0].set_xticks(*_merged(ticks, labels))
    return figure


def _pieces(x: np.ndarray) -> Iterator[slice]:
    """Parts of the path without a jump; a jump is drawn at one place."""
    ends = [0, *(np.flatnonzero(np.diff(x) < 1e-12) + 1), len(x)]
    for start, end in pairwise(ends):
        yield slice(start, end)


def _merged(ticks: np.ndarray, labels: list[str]) -> tuple[list[float], list[str]]:
    """Places and labels of the special points; both names where the path jumps."""
    places: list[float] = []
    names: list[str] = []
    for tick, label in zip(ticks, labels, strict=True):
        name = "Γ" if label == "G" else label
        if places and tick - places[-1] < 1e-12:
            names[-1] += f"|{name}"
        else:
            places.append(float(tick))
            names.append(name)
    return places, names
