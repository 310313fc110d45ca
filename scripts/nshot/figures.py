"""One figure for each system and start: errors against labels, and ratios to the default."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .arms import ARMS, FLOOR, TELLING
from .tables import Record, at_labels, by_seed, paired_ratio

NAMES = ("energy RMSE (meV)", "force RMSE (meV/A)")


def draw(records: Sequence[Record], path: Path) -> None:
    """Write the figure.

    Parameters
    ----------
    records
        All of one system and start.
    path
        Of the picture.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    height = max(4.0, 0.15 * len({r["arm"] for r in records}))  # a line of text for each bar
    figure, axes = plt.subplots(1, 3, figsize=(13, height), layout="constrained")
    for column in (0, 1):
        _curves(axes[column], records, column)
    _bars(axes[2], records)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside left center", fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _curves(axis, records: Sequence[Record], column: int) -> None:
    """Median and spread of the telling arms, and the floor."""
    limit = max(r["max_labels"] for r in records)
    grid = np.arange(limit + 2)  # one more, so that the last model is seen
    for k, arm in enumerate(TELLING):
        own = [r for r in records if r["arm"] == arm]
        if not own:
            continue
        known = [[at_labels(r, min(n, limit)) or [np.nan] * 2 for n in grid] for r in own]
        lines = np.array(known)[..., column]
        axis.step(grid, np.median(lines, axis=0), where="post", color=f"C{k}", label=arm)
        if len(own) > 1:
            axis.fill_between(
                *(grid, lines.min(axis=0), lines.max(axis=0)),
                step="post",
                color=f"C{k}",
                alpha=0.15,
                lw=0,
            )
    floors = [r["rounds"][-1]["errors"]["all"][column] for r in records if r["arm"] == FLOOR]
    if floors:
        axis.axhline(np.median(floors), color="black", ls=":", label="floor")
    axis.set(yscale="log", xlabel="labels", ylabel=NAMES[column], xlim=(0, limit + 1))


def _bars(axis, records: Sequence[Record]) -> None:
    """Ratios of last force errors to those of the default."""
    labels = max(r["max_labels"] for r in records)
    ours = by_seed(records, "default", labels, "all", 1)
    found = {
        arm: ratio
        for arm in ARMS
        if arm != "default"
        and (ratio := paired_ratio(by_seed(records, arm, labels, "all", 1), ours)) is not None
    }
    for k, (middle, low, high) in enumerate(found.values()):
        axis.barh(k, middle, color="C7")
        axis.plot([low, high], [k, k], color="black", lw=1)
    axis.axvline(1.0, color="black", lw=0.8)
    axis.set_yticks(range(len(found)), list(found), fontsize=7)
    axis.invert_yaxis()
    axis.set(xlabel=f"force error over the default's, {labels} labels")
