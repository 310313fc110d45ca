"""Axes to draw on, and what all plots share."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import (
    LogLocator,
    MaxNLocator,
    NullFormatter,
    ScalarFormatter,
    StrMethodFormatter,
)

from ..campaign.history import History
from ..campaign.store import Store

Campaign = str | Path | Store | History
"""What plots take for a campaign."""
GREY = "0.5"
"""Of lines that guide the eye; seen on light and dark paper."""
MANY_POINTS = 1500
"""More points than this are drawn as an image, also in a vector figure."""
MOST_POINTS = 400
"""So many points of a long line are kept."""
FEW_DECADES = 1.5
"""An axis of errors that spans more is marked by powers of ten."""


def on(axes: Axes | None, width: float = 4.2, height: float = 3.1) -> Axes:
    """The axes themselves, or those of a new figure (inches)."""
    if axes is not None:
        return axes
    return Figure(figsize=(width, height), layout="constrained").subplots()


def ink() -> str:
    """The colour of text, for what is to be seen on any paper."""
    return str(rcParams["text.color"])


def count_axis(axes: Axes) -> None:
    """Mark the horizontal axis by whole numbers: rounds, picks, labels."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    low, high = axes.dataLim.intervalx
    if low == high:  # or its surroundings would be fractions
        axes.set_xlim(low - 1, high + 1)


def error_scale(axes: Axes, sizes: np.ndarray, which: Literal["x", "y"] = "y") -> None:
    """Make an axis logarithmic, marked by plain numbers where it spans little.

    Parameters
    ----------
    axes
        With its lines.
    sizes
        ``(n,)`` values on them; where one is not above 0 the axis stays linear.
    which
        The axis.
    """
    if not (np.isfinite(sizes).all() and sizes.min() > 0):
        return
    axis = axes.yaxis if which == "y" else axes.xaxis
    axes.set(**{f"{which}scale": "log"})
    if np.log10(sizes.max() / sizes.min()) > FEW_DECADES:
        return
    if sizes.max() < 3 * sizes.min():
        axis.set_major_locator(MaxNLocator(4, steps=(1, 2, 2.5, 5, 10)))
        axis.set_major_formatter(ScalarFormatter(useOffset=False))
    else:
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))  # short, or they touch
    axis.set_minor_formatter(NullFormatter())


def thinned(rows: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Some of many rows, with the least and the largest of a column in each stretch.

    Parameters
    ----------
    rows
        ``(n, ...)``
    column
        ``(n,)``
    """
    if len(rows) <= MOST_POINTS:
        return rows
    kept = set()
    for part in np.array_split(np.arange(len(rows)), MOST_POINTS // 2):
        kept |= {part[np.argmin(column[part])], part[np.argmax(column[part])]}
    return rows[sorted(kept)]


def plain(text: str) -> str:
    """A text that a legend shows as it is: no formula, and nothing that hides it."""
    return text.replace("$", r"\$").replace("\n", " ").replace("_", " _", text.startswith("_"))
