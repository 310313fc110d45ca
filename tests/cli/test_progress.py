"""What `bayesel run` shows: a line a round, warnings on lines of their own, bars on a terminal."""

import io
import re
import signal
import subprocess
import sys
import warnings

import pytest
from helpers.processes import wait_for
from rich.console import Console

from ase_bayesel.campaign.events import (
    Ended,
    Progress,
    RoundReport,
    SuspectLabel,
    WalkerNow,
)
from ase_bayesel.cli.progress import MOST_WALKERS, round_line, show, walker_lines
from ase_bayesel.cli.stages import Stages
from ase_bayesel.cli.stopping import StopRequests
from ase_bayesel.errors import ThermostatWarning
from ase_bayesel.labelling.labeller import LabelTally
from ase_bayesel.structures.energy_shift import EnergyShift

WALKER = WalkerNow(120, 2000, "running", 612.4, 0.0812, 0.12, 0.36, 2)
REPORT = RoundReport(
    1,
    9,
    3,
    3,
    1,
    energy_rmse=0.0123456,
    forces_rmse=0.1234567,
    stopped=("walker 1 stopped at step 7 (nan)",),
    suspects=(SuspectLabel("s1", "energy off by 3 eV", "another unit"),),
    warnings=("fit: the noise is at its bound",),
    energy_shift=EnergyShift({"Cu": 0.5}, "given"),
)


def shown(events, terminal):
    """Why the events ended, and all that was shown of them."""
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=120)
    return show(events, StopRequests(), console), out.getvalue()


def steps(*warned):
    yield Progress(1, "explore", 10, 100, "1 of 1 walkers", (WALKER,), None, warned)
    yield Progress(1, "label", 1, 3, labels=LabelTally(1, 1, 1, 0))


def a_round():
    yield from steps()
    yield from steps("walker 0: mean temperature 999 K")
    yield from steps("walker 0: mean temperature 999 K")
    yield REPORT
    yield Ended("all done")


@pytest.mark.parametrize("terminal", [False, True])
def test_lines_of_a_round(terminal):
    reason, text = shown(a_round(), terminal)
    assert reason == "all done"
    for line in (
        "round 1: 3 picks, 1 failed; 3 labels, 9 fitted; test RMSE 12.35 meV/atom, 123.5 meV/A",
        "warning: round 1: walker 0: mean temperature 999 K",
        "warning: round 1: walker 1 stopped at step 7 (nan)",
        "warning: round 1: s1 set aside from the fit: another unit (energy off by 3 eV)",
        "warning: round 1: fit: the noise is at its bound",
        "note: round 1: energy shift Cu +0.5 eV per atom, given",
    ):
        assert text.count(line) == 1


def test_bars_are_those_of_the_round_under_way():
    _, text = shown(a_round(), True)
    assert "walker 0: step 120/2000, 612 K, criterion 0.0812 of 0.12 (bound 0.36, met 2 times)" in (
        text
    )
    assert "labels: 1 queued, 1 running, 1 done, 0 failed" in text
    _, text = shown((e for e in [*steps(), REPORT, Progress(2, "fit", 1, 9), Ended("")]), True)
    after = text[text.rindex("round 2 fit") :]
    assert "round 1" not in after
    assert "walker" not in after
    assert "labels:" not in after


def test_a_long_word_squeezes_nothing_at_80_columns():
    """Of a line longer than that, round, stage, bar and counts are whole; so is what mace tells."""
    told, out = "E 10.1 meV/atom, F 598 meV/A", io.StringIO()
    console = Console(file=out, force_terminal=True, width=80)
    for detail in (told, "x" * 200):
        events = (event for event in [Progress(2, "refit", 12, 50, detail), Ended("")])
        show(events, StopRequests(), console)
    text = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", out.getvalue())
    whole, cut = (line for line in re.split(r"[\r\n]+", text) if "12/50" in line)
    assert re.fullmatch(rf"round 2 refit +\S{{3,}}[━╸╺ ]+ 12/50 -:--:-- {told} *", whole)
    assert re.fullmatch(r"round 2 refit +\S{3,}[━╸╺ ]+ 12/50 -:--:-- x{20,}… *", cut)
    assert len(cut) <= 80


def test_no_bars_without_a_terminal():
    _, text = shown(a_round(), False)
    assert "criterion" not in text
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("numbers", "told"),
    [
        ((0.0000123456, 0.000987654), "0.01235 meV/atom, 0.9877 meV/A"),
        ((1.23456, 12.3456), "1235 meV/atom, 12346 meV/A"),
        ((0.00807, None), "8.070 meV/atom"),
        ((None, None), ""),
    ],
)
def test_lines_fit_and_have_enough_digits(numbers, told):
    line = round_line(RoundReport(100, 5500, 5000, 50, 10, (), {}, {}, {}, *numbers))
    assert line.endswith(told)
    assert ("RMSE" in line) == bool(told)
    assert len(line) <= 100


def test_labels_of_the_test_are_told_apart():
    first = RoundReport(0, 26, 36, n_test=10, forces_rmse=0.1)
    told = "36 labels (10 for the test), 26 fitted; test RMSE 100.0 meV/A"
    assert round_line(first) == f"round 0: 0 failed; {told}"
    assert round_line(RoundReport(1, 29, 39, 3, n_test=10)).endswith("39 labels, 29 fitted")


def test_lines_of_many_walkers():
    stopped = WalkerNow(7, 2000, "exploded", None, None, 0.12, None, 0)
    lines = list(walker_lines((stopped,) * (MOST_WALKERS + 3)))
    assert lines[0] == "walker 0: step 7/2000, criterion - of 0.12, exploded"
    assert lines[-1] == "and 3 more walkers"
    assert len(lines) == MOST_WALKERS + 1


def test_warnings_of_thermostats_are_told_by_the_exploration():
    """Those of the same walkers by Python would be a second line of the same."""
    caught = []

    def events():
        yield Progress(1, "calibrate", 0, 1)
        warnings.warn("calibrating", ThermostatWarning, stacklevel=1)
        yield from steps()
        yield Progress(1, "explore", 11, 100)
        warnings.warn("exploring", ThermostatWarning, stacklevel=1)
        warnings.warn("something else", UserWarning, stacklevel=1)
        yield Ended("")

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *rest: caught.append(str(message))
        shown(events(), False)
    assert caught == ["calibrating", "something else"]


def test_warnings_of_python_are_single_lines():
    """In any command, of any package, without a line of source."""
    code = (
        "import sys, warnings, ase_bayesel.cli.main as m, ase_bayesel.cli as c;"
        "m.app = lambda: warnings.warn('two\\nlines', UserWarning);"
        "sys.argv = ['bayesel', 'status']; c.app()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "warning: two lines\n"


def test_a_request_to_stop_is_shown_at_once(capfd):
    """Below the bars, where a line on standard error would spoil them."""
    out, requests = io.StringIO(), StopRequests()
    console = Console(file=out, force_terminal=True, width=80)

    def events():
        yield Progress(1, "explore", 10, 100, "1 of 1 walkers", (WALKER,))
        requests.take(signal.SIGTERM, None)
        wait_for(lambda: "stopping: the step under way is finished" in out.getvalue())
        yield Progress(1, "explore", 11, 100, "1 of 1 walkers", (WALKER,))

    assert show(events(), requests, console) is None
    assert "does not wait for it" in out.getvalue()
    assert capfd.readouterr().err == ""
    requests.tell("after the bars")
    assert capfd.readouterr().err == "after the bars\n"


def test_a_log_tells_now_and_then_how_much_time_is_left(caplog, monkeypatch):
    clock = iter([0.0, 1.0, 4.0, 8.0, 9.0, 14.0])
    monkeypatch.setattr("ase_bayesel.cli.stages.time.monotonic", lambda: next(clock))
    out = io.StringIO()
    with Stages(Console(file=out)) as stages:
        stages.move("features", 10)
        for done in (0, 2, 3, 5):
            stages.move("picks", done, 20, "word")
    assert out.getvalue() == ""
    assert caplog.messages == ["picks 2/20, 36 s left, word", "picks 5/20, 30 s left, word"]


def test_a_terminal_has_a_bar_of_the_stage(monkeypatch):
    out = io.StringIO()
    with Stages(Console(file=out, force_terminal=True, width=100)) as stages:
        stages.move("features", 10)
        stages.move("i_optimal: picks", 3, 20, "[3]")
        stages._bars.refresh()
        assert "i_optimal: picks" in out.getvalue()
        assert "3/20" in out.getvalue()
        assert "[3]" in out.getvalue()
    assert stages.moved
