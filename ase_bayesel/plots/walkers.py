"""What the walkers of a round saw: the trigger's criterion at each check, and every step."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from ..campaign.exploration.trace import PICKED, STEP, VALUE, WALKER
from ..campaign.history import History, rows_at
from .canvas import GREY, Campaign, ink, on, thinned

LABELS = {"energy_std": "sigma_E (eV)", "temperature_K": "temperature (K)"}
MOST_NAMED = 8
"""More walkers than this have no names in the legend."""


def criterion(campaign: Campaign, number: int, axes: Axes | None = None) -> Axes | None:
    """The trigger's criterion along every walker of a round, with its threshold.

    Picks are marked, and where walkers met their bound of trust; the dotted line is the bound's
    limit of the criterion, which is compared under the model of the last fit.

    Parameters
    ----------
    campaign
        Its directory or records.
    number
        The round.
    axes
        To draw on.

    Returns
    -------
    None where nothing was evaluated.
    """
    history = History.of(campaign)
    trace = history.store.exploration(number).read_trace()
    # rows of checks in which nothing was evaluated have no value
    trace = trace[np.isfinite(trace[:, VALUE])]
    if not len(trace):
        return None
    axes = on(axes)
    walkers = np.unique(trace[:, WALKER])
    for walker in walkers:
        rows = trace[trace[:, WALKER] == walker]
        rows = thinned(rows, rows[:, VALUE])
        axes.plot(rows[:, STEP], rows[:, VALUE], lw=1, label=f"walker {int(walker)}")
    picked = trace[trace[:, PICKED] > 0]
    if len(picked):
        axes.plot(picked[:, STEP], picked[:, VALUE], "*", color=ink(), ms=8, label="picked")
    met = rows_at(trace, history.returns(number))
    if len(met):
        axes.plot(met[:, STEP], met[:, VALUE], "v", color="C3", mfc="none", label="bound of trust")
    threshold, factor = history.threshold, history.trust_factor
    if threshold is not None:
        axes.axhline(threshold, color=GREY, ls="--", lw=1)
        if factor is not None:
            axes.axhline(factor * threshold, color=GREY, ls=":", lw=1)
    axes.set(title=f"round {number}", xlabel="MD step", ylabel="trigger criterion")
    if len(walkers) <= MOST_NAMED:
        axes.legend(fontsize="x-small")
    return axes


def deviation_log(campaign: Campaign, number: int, axes: Axes | None = None) -> Axes | None:
    """sigma_E (eV) at every step of a round's walkers; parameters as of `criterion`.

    None where the campaign keeps no log (``explore.log``).
    """
    return _log(campaign, number, "energy_std", axes)


def temperature_log(campaign: Campaign, number: int, axes: Axes | None = None) -> Axes | None:
    """Temperature at every step of a round's walkers; as of `deviation_log`."""
    return _log(campaign, number, "temperature_K", axes)


def _log(campaign: Campaign, number: int, column: str, axes: Axes | None) -> Axes | None:
    rows = History.of(campaign).store.read_log(number)
    if not len(rows):
        return None
    axes = on(axes)
    walkers = np.unique(rows["walker"]).tolist()
    for walker in walkers:
        mine = rows[rows["walker"] == walker]
        mine = thinned(mine, np.nan_to_num(mine[column]))
        axes.plot(mine["step"], mine[column], lw=1, label=f"walker {walker}")
    axes.set(title=f"round {number}", xlabel="MD step", ylabel=LABELS[column])
    if len(walkers) <= MOST_NAMED:
        axes.legend(fontsize="x-small")
    return axes
