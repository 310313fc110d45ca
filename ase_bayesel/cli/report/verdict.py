"""What a campaign has come to, and what to do next: plain rules on numbers that are on disk."""

from __future__ import annotations

from dataclasses import dataclass

from ...campaign.history import History
from ...plots.rounds import force_sizes
from ...validation.parity import milli
from ...validation.reliability import reliability

FLAT = 0.1
"""Errors that have changed by less than this share over `OVER` rounds no longer fall."""
OVER = 2
NOISE_LEADS = 2.0
"""So many times the deviation of picks, and the noise of the fit is what is left."""
OF_ERROR = 0.5
"""It is also so large a part of the error: on the test set, or without one of the picks."""
GOOD_Z = (0.67, 1.5)
"""Within these, uncertainties are as large as errors."""


@dataclass(frozen=True)
class Verdict:
    """The head of a report.

    Attributes
    ----------
    standing
        Why the campaign ended, or where it stands.
    trend, trust
        How errors went, and whether uncertainties are as large as errors.
    advice, why
        What to do next, in a few words, and the rule behind it.
    open_labels
        Labels that wait for a decision.
    model, potential
        Paths of the last model; the second is None for a linear potential.
    """

    standing: str
    trend: str
    trust: str
    advice: str
    why: str
    open_labels: tuple[str, ...]
    model: str | None
    potential: str | None


def verdict(history: History) -> Verdict:
    """The verdict on a campaign."""
    number = len(history.reports) - 1
    store = history.store
    potential = None if number < 0 else store.potential_path(number)
    advice, why = _advice(history)
    return Verdict(
        _standing(history),
        _trend(history),
        _trust(history),
        advice,
        why,
        tuple(
            suspect.name
            for report in history.reports
            for suspect in report.suspects
            if suspect.name not in history.decisions
        ),
        None if number < 0 else str(store.model_path(number)),
        None if potential is None else str(potential),
    )


def _standing(history: History) -> str:
    done = len(history.reports)
    if not done:
        return "The first fit is not done yet."
    if history.ended is not None:
        return f"Ended after round {done - 1}: {history.ended}."
    if history.store.batch_path(done).exists():
        return f"Round {done}: its picks are in {history.store.batch_path(done)}."
    picks = history.store.exploration(done).count_picks()
    return f"Under way: round {done - 1} is done, round {done} has {picks} picks so far."


def change(history: History) -> float | None:
    """Error now over that of `OVER` rounds ago, of forces or else energies; None if unknown."""
    for prop in ("forces_rmse", "energy_rmse"):
        found = [e for r in history.reports if (e := getattr(r, prop)) is not None]
        if len(found) > OVER and found[-1 - OVER] > 0:
            return found[-1] / found[-1 - OVER]
    return None


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
        return f"On the test set, from the first fit to the last: {'; '.join(parts)}."
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


def _trust(history: History) -> str:
    # of the last round that has picks
    number = max((k for k, r in enumerate(history.reports) if r.picks), default=0)
    found = {
        prop: compared.z
        for prop, rows in (history.foretold(number) if number > 0 else {}).items()
        if (compared := reliability(rows)) is not None
    }
    if not found:
        return "No pick was compared with its label, so uncertainties are untried."
    sizes = ", ".join(f"{z:.2f} ({prop})" for prop, z in found.items())
    if max(found.values()) > GOOD_Z[1]:
        told = "errors are larger than the uncertainties say; do not rely on the error bars"
    elif min(found.values()) < GOOD_Z[0]:
        told = "errors are smaller than the uncertainties say; error bars are cautious"
    else:
        told = "uncertainties are as large as errors"
    return f"Errors of the last picks over their calibrated deviations: {sizes}. So {told}."


def _advice(history: History) -> tuple[str, str]:
    """What to do next, and why."""
    done = len(history.reports)
    if done < 2:
        return "go on", "no round is done yet, so there is nothing to judge by"
    last = history.reports[-1]
    if history.store.batch_path(done).exists():
        return "label the batch", "the next fit waits for its labels"
    if last.picks == 0:
        return (
            "stop, or explore elsewhere",
            "nothing triggered: within reach of these walkers the model knows all that its trigger "
            "asks for. Other starts, a higher temperature or a lower threshold look further",
        )
    sizes = force_sizes(history, done - 1)
    if history.config.get("potential") is None and sizes is not None:
        noise, deviation, error = sizes
        left = error if last.forces_rmse is None else last.forces_rmse
        if noise > NOISE_LEADS * deviation and noise > OF_ERROR * left:
            return (
                "enlarge the model",
                f"the noise of the fit, {noise:.3g} eV/A, is more than {NOISE_LEADS:g} times what "
                f"the coefficients leave open of the last picks' forces, {deviation:.3g} eV/A, and "
                f"more than half of the error that is left, {left:.3g} eV/A. Labels lower the "
                "second alone; a higher order, degree or cutoff lowers the first",
            )
    ratio = change(history)
    shared = (
        f"{last.picks} picks and {last.returns} returns at the bound of trust in the last round"
    )
    if ratio is None:
        told = f"{shared}; too few rounds with test errors to see a trend"
        return "go on while labels can be paid for", told
    percent = f"test errors changed by {100 * (ratio - 1):+.0f}% over the last {OVER} rounds"
    if ratio < 1 - FLAT:
        return "go on", f"{percent}, and {shared}"
    if ratio > 1 + FLAT:
        return (
            "look at the last labels before going on",
            f"{percent}: look at what was set aside, at warnings and at the picks below",
        )
    return (
        "stop, if the errors suffice",
        f"{percent}, less than {100 * FLAT:.0f}%. If they do not suffice, enlarge the model or "
        "explore elsewhere",
    )
