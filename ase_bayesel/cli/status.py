"""What ``bayesel status`` shows of a campaign."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from rich import box
from rich.markup import escape
from rich.table import Table

from ..campaign.decisions import read_decisions
from ..campaign.events import named
from ..campaign.rounds import Rounds
from ..campaign.stopping import leading, trigger_rate
from ..campaign.store import Store
from ..io.words import counted
from ..validation.parity import milli

GAIN = "gain\n%"
COLUMNS = (
    *("round", "train", "labels", "picks", "failed", "returns"),
    *("fired\n%", GAIN, "E\nmeV/atom", "F\nmeV/A"),
)


def rounds_table(store: Store, shown: Sequence[int]) -> Table:
    """Counts and errors of some rounds; ``returns`` are those of walkers at their bound.

    ``fired`` are checks at which a trigger had fired, ``gain`` is what the next batch is to lower:
    of a linear model, so that it has no column beside a network.
    """
    linear = Rounds(store).linear
    title = escape(str(store.directory))
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in COLUMNS if linear else (name for name in COLUMNS if name != GAIN):
        table.add_column(column, justify="right")
    for number in shown:
        r = store.read_report(number)
        counts = (r.round_number, r.n_train, r.n_labels, r.picks, r.failed, r.returns)
        found = leading(r)
        gain = None if found is None else found.gain
        shares = (trigger_rate(r), gain) if linear else (trigger_rate(r),)
        errors = (milli(e) for e in (r.energy_rmse, r.forces_rmse))
        table.add_row(*map(str, counts), *map(_percent, shares), *errors)
    return table


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


def status_lines(store: Store, shown: Sequence[int]) -> Iterator[str]:
    """Where the round under way is, the labels in the store, and what became of odd ones."""
    done, rounds = store.completed_rounds(), Rounds(store)
    standing = f"round {done}: {stage_told(rounds)}"
    yield standing if rounds.ended is None else f"ended: {rounds.ended}"
    endings = store.exploration(done).read_endings() if done else ()
    for ending in named(endings):
        yield f"round {done}: {ending}"
    if done and store.exploration(done).has_failed():
        yield f"round {done}: all walkers have failed, and nothing was picked"
    labels = store.used_labels()
    tally = labels.counts()
    yield (
        f"{labels.directory}: {counted(tally.labels, 'label')}, "
        f"{counted(tally.failures, 'failed calculation')}, "
        f"{tally.running} under way or killed"
    )
    n_test = rounds.reports[-1].n_test if rounds.reports else 0
    if n_test:
        yield f"note: {counted(n_test, 'label is', 'labels are')} for the test, and in no fit"
    for number in shown:
        for identity in store.set_aside(number):
            reasons = "; ".join(labels.reasons(identity))
            yield f"warning: round {number}: {identity} set aside: {reasons}"
        report = store.read_report(number)
        for told in (*report.stopped, *report.warned()):
            yield f"warning: round {number}: {told}"
    if rounds.reports and (shift := rounds.reports[-1].energy_shift) is not None:
        yield f"note: round {len(rounds.reports) - 1}: {shift}"
    yield from decision_lines(store, shown)
    for bar in rounds.error_bars:
        yield f"property after round {len(rounds.reports) - 1}: {bar}"
    yield f"next: {rounds.advice.what}, because {rounds.advice.why}"
    if rounds.advice.how:
        yield f"to go on, {rounds.advice.how}"


def stage_told(rounds: Rounds) -> str:
    """What the round that is not done yet is at, in words."""
    store, number, stage = rounds.store, len(rounds.reports), rounds.stage
    if number == 0:
        return f"now {'the first fit is made' if stage == 'refit' else 'the engine labels'}"
    picks = counted(store.exploration(number).count_picks(), "pick")
    if stage == "explore":
        return f"{picks} so far"
    if stage == "refit":
        return f"{picks}, whose labels have come; now the model is refitted"
    if rounds.by_hand:
        return (
            f"{picks} in {store.batch_path(number)}; their labels, by hand, go to "
            f"{store.by_hand_path(number)}"
        )
    return f"{picks}; now the engine labels those that have no label yet"


def decision_lines(store: Store, shown: Sequence[int]) -> Iterator[str]:
    """What was decided of labels, and which wait for a decision."""
    for identity, decision in read_decisions(store).items():
        yield f"{identity}: {decision} by you"
    open_ones = open_labels(store, shown)
    if open_ones:
        yield (
            f"to decide by bayesel accept or bayesel reject: {', '.join(open_ones)}; "
            "no fit takes them until they are accepted"
        )


def open_labels(store: Store, shown: Sequence[int]) -> list[str]:
    """Labels of some rounds that are set aside and wait for a decision."""
    decisions = read_decisions(store)
    suspects = (suspect for number in shown for suspect in store.read_report(number).suspects)
    return [suspect.name for suspect in suspects if suspect.name not in decisions]


def watched(store: Store, seconds: float | None) -> Iterator[None]:
    """Whenever the status is to be shown: once, or every so many seconds until the campaign ends.

    Ctrl-C ends it too.
    """
    yield
    while seconds is not None and Rounds(store).ended is None:
        try:
            time.sleep(seconds)
        except KeyboardInterrupt:
            return
        yield
