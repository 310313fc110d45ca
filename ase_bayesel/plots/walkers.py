"""What the walkers of a round saw: the trigger's criterion at each check, and every step."""

from __future__ import annotations

from typing import Literal

import numpy as np
from matplotlib.axes import Axes

from ..campaign.exploration.trace import PICKED, STEP, VALUE, WALKER
from ..campaign.history import History, rows_at
from .canvas import GREY, Campaign, ink, on, thinned
from .rounds import KINDS

LABELS = {"energy_std": "sigma_E (eV)", "temperature_K": "temperature (K)"}
MARKS: tuple[tuple[tuple[str, ...], str, int, Literal["full", "none"], str], ...] = (
    (("trigger", "bound"), "*", 8, "full", "picked"),
    (("offer",), "*", 8, "none", f"picked: {KINDS['offer']}"),
    (("chosen",), "*", 8, "none", f"picked: {KINDS['chosen']}"),
    (("start",), "D", 5, "none", f"picked: {KINDS['start']}"),
)
"""Of picks, by their kinds; only those of the first lie above the threshold, or at the bound."""
MOST_NAMED = 8
"""More walkers than this have no names in the legend."""


def criterion(campaign: Campaign, number: int, axes: Axes | None = None) -> Axes | None:
    """The trigger's criterion along every walker of a round, with its threshold.

    Lines are broken where checks evaluated nothing. Picks are marked by `MARKS`, those without an
    evaluation at 0, and where walkers met their bound of trust. The dotted line is the bound's
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
    if not np.isfinite(trace[:, VALUE]).any():
        return None
    axes = on(axes)
    walkers = np.unique(trace[:, WALKER])
    for walker in walkers:
        steps, values = _broken(trace[trace[:, WALKER] == walker])
        # points, or those between two gaps were not seen
        axes.plot(steps, values, ".-", ms=2, lw=1, label=f"walker {int(walker)}")
    _mark_picks(history, number, trace, axes)
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


def _broken(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Steps and criterion of a walker, thinned, with NaN where checks evaluated nothing."""
    known = np.isfinite(rows[:, VALUE])
    gaps = np.cumsum(~known)[known]  # how many checks before a row have no value
    kept = thinned(np.column_stack([rows[known][:, [STEP, VALUE]], gaps]), rows[known][:, VALUE])
    places = np.flatnonzero(np.diff(kept[:, 2])) + 1
    return np.insert(kept[:, 0], places, np.nan), np.insert(kept[:, 1], places, np.nan)


def _mark_picks(history: History, number: int, trace: np.ndarray, axes: Axes) -> None:
    """Mark the picks of a round by why they were picked."""
    picked = trace[trace[:, PICKED] > 0]
    records = [record for record in history.picks if record.round_number == number]
    for kinds, mark, size, fill, label in MARKS:
        places = [(r.pick.walker, r.pick.step) for r in records if r.kind in kinds]
        rows = rows_at(picked, np.array(places, int).reshape(-1, 2))
        if len(rows):
            steps, values = rows[:, STEP], np.nan_to_num(rows[:, VALUE])
            axes.plot(steps, values, mark, color=ink(), ms=size, fillstyle=fill, label=label)


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
