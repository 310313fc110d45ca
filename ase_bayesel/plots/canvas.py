"""Axes to draw on, and what all plots share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure

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


def on(axes: Axes | None, width: float = 4.2, height: float = 3.1) -> Axes:
    """The axes themselves, or those of a new figure (inches)."""
    if axes is not None:
        return axes
    return Figure(figsize=(width, height), layout="constrained").subplots()


def ink() -> str:
    """The colour of text, for what is to be seen on any paper."""
    return str(rcParams["text.color"])


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
