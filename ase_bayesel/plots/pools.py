"""Selections from pools."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from ..selection.methods import Selection
from ..selection.remaining import Left
from .canvas import GREY, count_axis, error_scale, on

DECADES = 20.0
"""Errors that fall by more are drawn on a logarithmic axis."""


def scores(selection: Selection, axes: Axes | None = None, label: str = "score") -> Axes | None:
    """Scores in the order of picking; None for a method that gives none.

    Parameters
    ----------
    selection
        The picks.
    axes
        To draw on.
    label
        What the scores are, with their unit.
    """
    known = np.isfinite(selection.scores)
    if not known.any():
        return None
    axes = on(axes, 6.4, 3.2)
    axes.plot(np.flatnonzero(known) + 1, selection.scores[known], "o-", ms=3, lw=1)
    axes.set(xlabel="number of the pick", ylabel=label)
    count_axis(axes)
    error_scale(axes, selection.scores[known])
    return axes


def error_left(left: Mapping[str, Left], axes: Axes | None = None) -> Axes | None:
    """What is left of the predicted error over a pool, against the number of picks.

    Bands are a standard error of the calibration to both sides, and reach up to what errors may be
    (`Left.most`); the dotted line is what would be left with the energies of all structures.

    Parameters
    ----------
    left
        By method.
    axes
        To draw on.

    Returns
    -------
    None where there is nothing to be drawn.
    """
    if not left:
        return None
    axes = on(axes, 6.4, 3.6)
    for k, (name, curve) in enumerate(left.items()):
        errors = 1e3 * curve.errors
        axes.plot(curve.counts, errors, "o-", ms=3, lw=1, color=f"C{k}", label=name)
        if np.isfinite(curve.relative_error):
            low, high = (errors * max(1 + sign * curve.relative_error, 0.0) for sign in (-1, 1))
            if curve.most is not None:
                high = np.maximum(high, 1e3 * curve.most)
            axes.fill_between(curve.counts, low, high, color=f"C{k}", alpha=0.2, lw=0)
    floor = 1e3 * min(curve.floor for curve in left.values())
    axes.axhline(floor, color=GREY, ls=":", label="energies of all structures known")
    axes.set(xlabel="picks labelled", ylabel="mean predicted error of\nenergies (meV/atom)")
    if max(curve.errors[0] for curve in left.values()) * 1e3 > DECADES * floor:
        axes.set_yscale("log")
    else:
        axes.set_ylim(0, None)
    count_axis(axes)
    axes.legend(fontsize="x-small", loc="upper right")
    return axes
