"""Go on, stop, or enlarge the model: the rule that docs/stopping.md states, on rounds' reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..io.words import counted, rounded
from ..surrogate.scales import Scales
from .error_bars import FLAT, OVER, ErrorBar, error_bars
from .events import RoundReport

WORTH = 0.2
"""A batch that adds the share x of labels is to lower the error by this times x, or more."""
NOISE_LEADS = 1.0
"""So many times the deviation, and the noise of the fit is what is left."""


@dataclass(frozen=True)
class Prospect:
    """What a further batch like the last would do to one property, eV/atom or eV/A.

    Attributes
    ----------
    prop
        ``energy`` or ``forces``.
    error
        Deviation over the intended structures, as large as errors: times the scale.
    deviation, noise
        What the coefficients leave open, and the noise of the fit.
    gain
        The share of the error by which the batch lowers it.
    """

    prop: str
    error: float
    deviation: float
    noise: float
    gain: float

    @property
    def noise_leads(self) -> bool:
        """Whether the noise of the fit, and not what the coefficients leave open, is left."""
        return self.noise > NOISE_LEADS * self.deviation


@dataclass(frozen=True)
class Advice:
    """What to do next, in a few words, the rule behind it, and what to change for it, if known."""

    what: str
    why: str
    how: str = ""


def prospects(report: RoundReport) -> dict[str, Prospect]:
    """By property; empty where the round's report holds no outlook."""
    scales = Scales.from_json(report.scales)
    return {
        prop: Prospect(
            prop,
            getattr(scales, prop).value * outlook.now,
            outlook.now,
            outlook.noise,
            outlook.gain,
        )
        for prop, outlook in report.outlook.items()
    }


def leading(report: RoundReport) -> Prospect | None:
    """The prospect that decides: of forces, or else of energies; None for no outlook."""
    found = prospects(report)
    return found.get("forces", found.get("energy"))


def trigger_rate(report: RoundReport) -> float | None:
    """The share of a round's checks at which a trigger had fired; None without checks."""
    return report.fires / report.checks if report.checks else None


def bound_rate(report: RoundReport) -> float | None:
    """Returns at the bound of trust over the checks of a round; None without checks."""
    return report.returns / report.checks if report.checks else None


def change(reports: Sequence[RoundReport]) -> float | None:
    """Error now over that of `OVER` rounds ago, of forces or else energies; None if unknown."""
    for prop in ("forces_rmse", "energy_rmse"):
        found = [e for r in reports if (e := getattr(r, prop)) is not None]
        if len(found) > OVER and found[-1 - OVER] > 0:
            return found[-1] / found[-1 - OVER]
    return None


def advice(
    reports: Sequence[RoundReport],
    waiting: bool,
    linear: bool,
    wanted: Mapping[str, float] | None = None,
) -> Advice:
    """What to do next. The first rule that holds decides.

    Parameters
    ----------
    reports
        Of the finished rounds, in order.
    waiting
        Whether a batch waits for labels by hand.
    linear
        Whether the surrogate is the potential: outlook and error bars of properties say nothing of
        another one's errors.
    wanted
        Error bars that suffice, by property.
    """
    if waiting:
        return Advice("label the batch", "the next fit waits for its labels")
    if len(reports) < 2:
        done = "only round 0, the first fit, is" if reports else "the first fit is not"
        return Advice("go on", f"{done} done, so there is nothing to judge by yet")
    last = reports[-1]
    if last.picks == 0 and last.stopped:
        return Advice(
            "look at what stopped the walkers",
            f"nothing triggered in the steps that were made, but not all were ({last.stopped[0]}): "
            "a guard that is too tight or a temperature that is too high hides what lies beyond",
        )
    if last.picks == 0:
        return Advice(
            "stop, or explore elsewhere",
            "nothing triggered: within reach of these walkers no uncertainty is above the "
            "trigger's threshold. Other starts, a higher temperature or a lower threshold look "
            "further",
        )
    ratio = change(reports)
    if ratio is not None and ratio > 1 + FLAT:
        return Advice(
            "look at the last labels before going on",
            f"{_changed(ratio)}: look at what was set aside, at warnings and at the picks below",
        )
    bars = error_bars(reports, wanted or {}) if linear else []
    asked = [bar for bar in bars if bar.wanted is not None]
    short = [bar for bar in asked if bar.short]
    prospect = leading(last) if linear else None
    if wanted and len(asked) == len(wanted) and not short:
        reached = f"all error bars of properties are as wanted ({_listed(asked)})"
        foretold = "" if prospect is None else f". Of the rest, {told(prospect)}"
        return Advice("stop, if the errors suffice", reached + foretold)
    found = _by_trend(last, ratio) if prospect is None else _by_prospect(prospect, last, ratio)
    return _by_error_bars(found, short) if short else found


def told(prospect: Prospect) -> str:
    """A prospect in words."""
    name, unit = {"forces": ("forces", "meV/A")}.get(prospect.prop, ("energies", "meV/atom"))
    fall, error = prospect.gain * prospect.error, prospect.error
    return (
        f"a further batch like the last is to lower the error of {name} by "
        f"{rounded(1e3 * fall)} of {rounded(1e3 * error, 3)} {unit} "
        f"({100 * prospect.gain:.1f}%)"
    )


def _by_prospect(prospect: Prospect, last: RoundReport, ratio: float | None) -> Advice:
    foretold = told(prospect)
    if ratio is not None:
        foretold += f"; {_changed(ratio)}"
    least = WORTH * last.picks / max(last.n_labels, last.picks)
    if prospect.gain >= least:
        return Advice("go on", f"{foretold}; {_activity(last)}")
    foretold += f"; for so many labels more it is to be {100 * least:.1f}%"
    if prospect.noise_leads:
        return Advice(
            "enlarge the model, or stop if the errors suffice",
            f"{foretold}. The noise of the fit is larger than what the coefficients leave open: a "
            "few labels more hardly lower it, a higher order, degree or cutoff may",
        )
    return Advice(
        "stop, or explore elsewhere",
        f"{foretold}. Such structures hardly tell anything new of what the model is meant for; "
        "what the coefficients leave open is still larger than the noise of the fit",
    )


def _by_trend(last: RoundReport, ratio: float | None) -> Advice:
    if ratio is None:
        return Advice(
            "go on while labels can be paid for",
            f"{_activity(last)}; too few rounds with test errors to see a trend",
        )
    if ratio < 1 - FLAT:
        return Advice("go on", f"{_changed(ratio)}, and {_activity(last)}")
    return Advice(
        "stop, if the errors suffice",
        f"{_changed(ratio)}, less than {100 * FLAT:.0f}%. If they do not suffice, enlarge the "
        "model or explore elsewhere",
    )


def _by_error_bars(found: Advice, short: Sequence[ErrorBar]) -> Advice:
    """An advice, where error bars are larger than wanted: go on as long as one of them falls."""
    falling = [bar for bar in short if bar.falls]
    if falling and not found.what.startswith("go on"):
        return Advice("go on", f"error bars fall that are larger than wanted ({_listed(falling)})")
    why = f"{found.why}. Error bars are larger than wanted ({_listed(short)})"
    if all(bar.falls is False for bar in short):
        why += " and no longer fall: such structures tell little of these properties"
    return Advice(found.what, why)


def _listed(bars: Sequence[ErrorBar]) -> str:
    return "; ".join(map(str, bars))


def _changed(ratio: float) -> str:
    return f"test errors changed by {round(100 * (ratio - 1)):+d}% over the last {OVER} rounds"


def _activity(last: RoundReport) -> str:
    told = (
        f"{counted(last.picks, 'pick')} and {counted(last.returns, 'return')} at the bound of "
        "trust in the last round"
    )
    fired, bound = trigger_rate(last), bound_rate(last)
    if fired is None or bound is None:
        return told
    shares = rounded(100 * fired), rounded(100 * bound)
    return f"{told}, {shares[0]}% of its checks fired and {shares[1]}% met the bound"
