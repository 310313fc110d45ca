"""What a campaign has come to, and what to do next, from numbers that are on disk."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...campaign.final_round import final_round, made_test_set, ranked_best
from ...campaign.history import History
from ...campaign.loading_lines import round_lines
from ...io.words import counted, rounded
from ...validation.parity import milli
from ...validation.reliability import reliability
from .trust import Ratio, caution, ratios, trust_in_words

MADE = (
    " That set is drawn like the first labels, not by walkers: the errors of picks are the test of "
    "where walkers go."
)


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
    caution
        What speaks against it; empty where nothing does.
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
    caution: str
    open_labels: tuple[str, ...]
    model: str | None
    chosen: str
    lines: tuple[str, ...]


def verdict(history: History) -> Verdict:
    """The verdict on a campaign."""
    number, store, found = final_round(history), history.store, history.advice
    compared = _ratios(history)
    return Verdict(
        _standing(history),
        _trend(history),
        trust_in_words(compared),
        found.what,
        found.why,
        found.how,
        caution(history, compared),
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
        return f"that of round {best}, with the smallest errors on the test set"
    return f"that of round {final_round(history)}, the last one"


def _standing(history: History) -> str:
    done = len(history.reports)
    if not done:
        return "The first fit is not done yet."
    if history.ended is not None:
        return f"Ended after round {done - 1}: {history.ended}."
    if history.stage != "explore":
        doing = "wait for labels" if history.stage == "label" else "are labelled, the refit is next"
        return f"Round {done}: its picks, in {history.store.batch_path(done)}, {doing}."
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
    sizes = []
    for prop, rows in last.items():
        per_atom = prop != "forces"
        compared = reliability(history.foretold_per_atom(prop) if per_atom else rows)
        if compared is not None:
            unit = "meV/atom" if per_atom else "meV/A"
            sizes.append(f"{prop} RMSE {rounded(1e3 * compared.rmse, 3)} {unit}")
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
    return (
        f", {rounded(100 * found.forces_rmse / size)}% of forces of {size:.2g} eV/A" if size else ""
    )


def _ratios(history: History) -> list[Ratio]:
    # of the last round that has picks
    number = max((k for k, r in enumerate(history.reports) if r.picks), default=0)
    return ratios(history.foretold(number) if number > 0 else {})
