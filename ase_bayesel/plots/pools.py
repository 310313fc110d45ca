"""Selections from pools."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from ..selection.methods import Selection
from .canvas import on


def scores(selection: Selection, axes: Axes | None = None) -> Axes | None:
    """Scores in the order of picking; None for a method that gives none."""
    known = np.isfinite(selection.scores)
    if not known.any():
        return None
    axes = on(axes, 6.4, 3.2)
    axes.plot(np.flatnonzero(known) + 1, selection.scores[known], "o-", ms=3, lw=1)
    axes.set(xlabel="pick", ylabel="score")
    if selection.scores[known].min() > 0:
        axes.set_yscale("log")
    return axes
