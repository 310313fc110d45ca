"""What a campaign has come to, and what to do next, from numbers that are on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaincinv

from ...campaign.final_round import final_round, made_test_set, ranked_best
from ...campaign.history import History
from ...campaign.loading_lines import round_lines
from ...io.words import counted
from ...surrogate.scales import HeldOut
from ...validation.parity import milli
from ...validation.reliability import reliability

MADE = (
    " That set holds small displacements of the starts; walkers go further, so look at the errors "
    "of picks too."
)
GOOD_Z = (0.67, 1.5)
"""Within these, uncertainties are as large as errors."""
CHANCE = 0.025, 0.975
"""Quantiles between which a ratio may be 1."""


@dataclass(frozen=True)
class Verdict:
    """The head of a report.

    Attributes
    ----------
    standing
        Why the campaign ended, or where it stands.
    trend, trust
        How errors went, and whether uncertainties are as large as errors.
    advice, why, how
        What to do next, in a few words, the rule behind it, and what to change for it
        (`campaign.stopping`).
    open_labels
        Labels that wait for a decision.
    model, chosen, lines
        The surrogate's path of the round to use (`final_round`), which round that is and
        why, and the lines of Python that load its potential; None and empty before the first fit.
    """

    standing: str
    trend: str
    trust: str
    advice: str
    why: str
    how: str
    open_labels: tuple[str, ...]
    model: str | None
    chosen: str
    lines: tuple[str, ...]


def verdict(history: History) -> Verdict:
    """The verdict on a campaign."""
    number, store, found = final_round(history), history.store, history.advice
    return Verdict(
        _standing(history),
        _trend(history),
        _trust(history),
        found.what,
        found.why,
        found.how,
        tuple(
            suspect.name
            for report in history.reports
            for suspect in report.suspects
            if suspect.name not in history.decisions
        ),
        None if number < 0 else str(store.model_path(number)),
        _chosen(history),
        () if number < 0 else round_lines(store, number),
    )


def _chosen(history: History) -> str:
    best = ranked_best(history)
    if best is not None:
        return f"that of round {best}, with the smallest error on the test set"
    return f"that of round {final_round(history)}, the last one"


def _standing(history: History) -> str:
    done = len(history.reports)
    if not done:
        return "The first fit is not done yet."
    if history.ended is not None:
        return f"Ended after round {done - 1}: {history.ended}."
    if history.store.batch_path(done).exists():
        return f"Round {done}: its picks are in {history.store.batch_path(done)}."
    picks = history.store.exploration(done).count_picks()
    return f"Under way: round {done - 1} is done, round {done} has {counted(picks, 'pick')} so far."


def _trend(history: History) -> str:
    parts = []
    for name, prop, unit in (
        ("energy", "energy_rmse", "meV/atom"),
        ("force", "forces_rmse", "meV/A"),
    ):
        found = [e for r in history.reports if (e := getattr(r, prop)) is not None]
        if found:
            parts.append(f"{name} RMSE {milli(found[0])} → {milli(found[-1])} {unit}")
    if parts:
        told = f"On the test set, from the first fit to the last: {'; '.join(parts)}"
        return f"{told}{_share(history)}.{MADE if made_test_set(history) else ''}"
    last = history.all_foretold()
    if not last:
        return "There is no test set and no labelled pick, so nothing is known of errors."
    sizes = [
        f"{prop} RMSE {compared.rmse:.3g} {'eV/A' if prop == 'forces' else 'eV'}"
        for prop, rows in last.items()
        if (compared := reliability(rows)) is not None
    ]
    return (
        f"There is no test set. Picks were foretold with {'; '.join(sizes)}; they lie at the weak "
        "spots of the model, so that these errors are larger than elsewhere."
    )


def _share(history: History) -> str:
    """The last error of forces beside their size; empty where the test set has none."""
    found = history.store.read_parity(len(history.reports) - 1)
    if found is None or found.forces_rmse is None:
        return ""
    size = float(np.sqrt(np.mean(np.square(found.forces))))
    return f", {100 * found.forces_rmse / size:.2g}% of forces of {size:.2g} eV/A" if size else ""


def _trust(history: History) -> str:
    # of the last round that has picks
    number = max((k for k, r in enumerate(history.reports) if r.picks), default=0)
    return trust_in_words(history.foretold(number) if number > 0 else {})


def trust_in_words(foretold: Mapping[str, HeldOut]) -> str:
    """Whether uncertainties are as large as errors, for each property on its own.

    Ratios within `GOOD_Z` are as they should be, and so are those that a few picks show by chance:
    the squares of n independent ratios have a mean within the quantiles of chi squared over n. The
    numbers of one pick are not independent, so that n is the number of picks.

    Parameters
    ----------
    foretold
        Errors of picks and their calibrated deviations, by property.
    """
    said: dict[str, list[str]] = {}
    sizes = []
    for prop, rows in foretold.items():
        compared = reliability(rows)
        if compared is None:
            continue
        n = len(np.unique(rows.telling().structures))
        sizes.append(f"{compared.z:.2f} ({prop})")
        said.setdefault(_told_of(compared.z, n), []).append(prop)
    if not sizes:
        return "No pick was compared with its label, so uncertainties are untried."
    parts = [f"{' and '.join(props).capitalize()}: {told}." for told, props in said.items()]
    return " ".join(
        [f"Errors of the last picks over their calibrated deviations: {', '.join(sizes)}.", *parts]
    )


def _told_of(z: float, n_picks: int) -> str:
    """What a root mean square ratio of errors to deviations says."""
    low, high = np.sqrt(2.0 / n_picks * gammaincinv(n_picks / 2.0, CHANCE))
    if z > max(GOOD_Z[1], high):
        return "errors are larger than the uncertainties say; do not rely on the error bars"
    if z < min(GOOD_Z[0], low):
        return "errors are smaller than the uncertainties say; error bars are cautious"
    if not GOOD_Z[0] <= z <= GOOD_Z[1]:
        return f"{counted(n_picks, 'pick is', 'picks are')} too few to tell that from 1"
    return "uncertainties are as large as errors"
