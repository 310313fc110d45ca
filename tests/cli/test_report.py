import base64
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import yaml
from helpers.campaigns import write_campaign
from helpers.files import hashes
from helpers.pages import ERRORS, FORETOLD, MAP, WALKERS, Page, assert_drawn

from ase_bayesel import Campaign, Surrogate
from ase_bayesel.campaign.config import StopConfig
from ase_bayesel.campaign.config.loading import load_config
from ase_bayesel.campaign.ending import way_on
from ase_bayesel.campaign.events import RoundReport, best_round
from ase_bayesel.campaign.exploration import TRACE_COLUMNS
from ase_bayesel.campaign.exploration.trace import PICKED, STEP, VALUE, WALKER
from ase_bayesel.campaign.prequential import read_pick_errors
from ase_bayesel.campaign.store import Store
from ase_bayesel.cli.calibration import COLUMNS
from ase_bayesel.cli.report import write_report
from ase_bayesel.cli.report.structures import embedded
from ase_bayesel.cli.report.tables import shift_rows, warning_lines
from ase_bayesel.cli.report.trust import LARGER, ratios, trust_in_words
from ase_bayesel.cli.report.verdict import verdict
from ase_bayesel.plots import (
    History,
    criterion,
    error_against_deviation,
    error_against_labels,
    parity,
    residuals,
)
from ase_bayesel.plots.canvas import count_axis, error_scale, on
from ase_bayesel.structures.energy_shift import EnergyShift
from ase_bayesel.surrogate.outlook import Outlook
from ase_bayesel.surrogate.scales import HeldOut


def store_of(folder, changes=None):
    """The store of a campaign that has ended."""
    campaign = Campaign(load_config(write_campaign(folder, changes)), folder / "campaign")
    for _ in campaign.run():
        pass
    return campaign.store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return store_of(tmp_path_factory.mktemp("reported"))


def page_of(store):
    path = write_report(store)
    assert path == store.directory / "report.html"
    return Page(path.read_text())


@pytest.fixture(scope="module")
def page(store):
    return page_of(store)


def test_table_of_rounds(store, page):
    head, *rows = page.tables["rounds"]
    assert len(head) == 10
    reports = [store.read_report(k) for k in range(3)]
    assert [row[:5] for row in rows] == [
        [str(n) for n in (r.round_number, r.n_train, r.n_labels, r.picks, r.failed)]
        for r in reports
    ]
    for row, report in zip(rows, reports, strict=True):
        assert float(row[5]) == pytest.approx(1e3 * report.energy_rmse, abs=0.01)
        assert float(row[6]) == pytest.approx(1e3 * report.forces_rmse, abs=0.1)
        ends = (part.split() for part in row[7].split(", ") if part)
        told = [word for number, word in ends for _ in range(int(number))]
        assert sorted(told) == sorted(report.walkers)
    assert [row[8:] for row in rows] == [
        [f"{100 * r.fires / r.checks:.1f}", f"{100 * r.outlook['forces'].gain:.1f}"]
        if r.checks
        else ["-", "-"]
        for r in reports
    ]


def test_no_gain_beside_a_network(store, tmp_path):
    shutil.copytree(store.directory, tmp_path / "campaign")
    path = Store(tmp_path / "campaign").config_path
    settings = yaml.safe_load(path.read_text())
    settings["potential"] = {"kind": "mace", "model": "my.model"}
    path.write_text(yaml.safe_dump(settings))
    head, *rows = page_of(Store(tmp_path / "campaign")).tables["rounds"]
    assert head[-1].startswith("checks that fired")
    assert {len(row) for row in rows} == {len(head)} == {9}


def test_energy_shifts_are_no_warnings(store, page):
    """They have a table of their own, with a column for each element."""
    history = History(store)
    assert "shifts" not in page.tables
    shift, other = (
        EnergyShift({"Cu": -0.5}, "fitted to 3"),
        EnergyShift({"Al": 1, "Cu": 2}, "given"),
    )
    for k, own in ((0, shift), (1, other)):
        history.reports[k] = replace(history.reports[k], energy_shift=own, warnings=("odd",))
    assert shift_rows(history) == (
        ["Al", "Cu"],
        [(0, ["-", "-0.50000", "fitted to 3"]), (1, ["+1.00000", "+2.00000", "given"])],
    )
    assert warning_lines(history)[:2] == [(0, "odd"), (1, "odd")]
    assert not any("shift" in told for _, told in warning_lines(history))


def test_figures(page):
    assert [t for t in page.titles if t in (ERRORS, FORETOLD, MAP, WALKERS)] == [
        *(ERRORS, FORETOLD, MAP, WALKERS)
    ]
    for figure in page.figures.values():
        assert_drawn(figure)
    assert len(set(page.figures.values())) == len(page.figures) > 12


def test_verdict(store, page):
    found = verdict(History(store))
    assert found.standing == "Ended after round 2: all 2 rounds are done."
    reports = [store.read_report(k) for k in range(3)]
    best = best_round(reports)
    assert found.model == str(store.model_path(best))
    assert found.chosen == f"that of round {best}, with the smallest errors on the test set"
    assert found.model in found.lines[1]
    assert found.model in page.text
    known = store.read_parity(2)
    share = 100 * known.forces_rmse / np.sqrt(np.mean(known.forces**2))
    assert f", {share:.2g}% of forces of " in found.trend
    energy = [1e3 * store.read_report(k).energy_rmse for k in (0, 2)]
    assert "energy RMSE {:.1f} → {:.1f} meV/atom".format(*energy) in found.trend
    assert found.advice == History(store).advice.what
    assert f"<strong>{found.advice}</strong>" in page.text
    assert Surrogate.load(found.model).properties == ("energy", "forces")


def ratios_of(z, n_picks, n_rows=1):
    """Picks with rows whose errors are all of one ratio to their deviations."""
    n = n_picks * n_rows
    return HeldOut(np.full(n, z), np.ones(n), np.arange(n) // n_rows)


@pytest.mark.parametrize(
    ("energy", "forces", "told"),
    [
        ((1.0, 20), (0.9, 20), ["Energy and forces: uncertainties are as large as errors."]),
        (
            (0.4, 20),
            (1.1, 20),
            ["Energy: errors are smaller than", "Forces: uncertainties are as large as errors."],
        ),
        (
            (2.0, 20),
            (0.4, 20),
            ["Energy: errors are larger than", "Forces: errors are smaller than"],
        ),
        (
            (1.55, 4),
            (1.0, 4),
            [
                "0.35 to 1.67: within a factor of 1.5, or what 4 picks show by chance. ",
                "Energy and forces: uncertainties are as large as errors, as far as 4 picks tell.",
            ],
        ),
        (
            (0.1, 1),
            (3.0, 1),
            ["0.03 to 2.24", "as far as 1 pick tells.", "Forces: errors are larger than"],
        ),
        ((1.0, 20), (1.0, 20), ["Right is 0.67 to 1.50: within a factor of 1.5. "]),
        (
            (1.0, 20),
            (1.8, 4),
            ["Right is 0.67 to 1.50 for energy: ", "Right is 0.35 to 1.67 for forces: "],
        ),
    ],
)
def test_trust_is_told_of_each_property(energy, forces, told):
    """A cautious energy says nothing of forces, and few picks say little."""
    rows = {"energy": ratios_of(*energy), "forces": ratios_of(*forces, n_rows=24)}
    found = trust_in_words(ratios(rows))
    assert f"deviations: {energy[0]:.2f} (energy), {forces[0]:.2f} (forces). " in found
    for part in told:
        assert part in found


def test_uncertainties_that_nothing_was_compared_with_are_untried():
    assert "untried" in trust_in_words([])


@pytest.mark.parametrize(("n_picks", "z"), [(5, 2.0), (50, 2.0)])
def test_limits_by_chance_hold_what_they_say(n_picks, z):
    """Normal errors are within them as often as the quantiles say, for a sum of n squares."""
    (own,) = ratios({"forces": ratios_of(z, n_picks, n_rows=3)})
    assert own.told == LARGER
    sample = np.random.default_rng(0).normal(size=(20000, n_picks))
    low, high = own.chance
    rms = np.sqrt(np.mean(sample**2, axis=1))
    assert np.mean(rms < low) == pytest.approx(0.025, abs=0.004)
    assert np.mean(rms > high) == pytest.approx(0.025, abs=0.004)


def with_last_round(store, monkeypatch, scale, **changes):
    """A verdict where errors of picks are so many times as large, and the last round another."""
    history = History(store)
    history.reports[-1] = replace(history.reports[-1], **changes)
    rows = {p: held.scaled(1 / scale) for p, held in history.foretold(1).items()}
    monkeypatch.setattr(history, "foretold", lambda number: rows)
    return history


def test_a_trigger_that_rests_on_error_bars_too_small(store, monkeypatch):
    """The advice to stop says so itself, with a threshold as much lower as errors are larger."""
    history = with_last_round(store, monkeypatch, 1e3, picks=0)
    trigger = history.config["explore"]["trigger"]
    trigger["calibrated"] = True
    found = verdict(history)
    (forces,) = [ratio for ratio in ratios(history.foretold(1)) if ratio.prop == "forces"]
    assert found.advice == "stop, or explore elsewhere"
    assert "no uncertainty is above the trigger's threshold" in found.why
    assert found.caution.startswith("the trigger rests on error bars, and force errors of the")
    lower = f"{trigger['threshold'] / forces.z:.2g} in place of {trigger['threshold']:g}"
    assert f"a lower threshold ({lower}, say) is worth a round" in found.caution


@pytest.mark.parametrize(("scale", "calibrated"), [(1e3, False), (1e-6, True)])
def test_no_caution_without_error_bars_too_small(store, monkeypatch, scale, calibrated):
    """A trigger on raw deviations has a threshold of its own; and cautious error bars are well."""
    history = with_last_round(store, monkeypatch, scale, picks=0)
    history.config["explore"]["trigger"]["calibrated"] = calibrated
    assert verdict(history).caution == ""


def test_foretold_errors_that_are_too_small(store, monkeypatch):
    """They are error bars too; test errors are not."""
    outlook = {"forces": Outlook(1e-3, 1e-3, 1.0)}
    history = with_last_round(store, monkeypatch, 1e3, outlook=outlook)
    found = verdict(history)
    assert found.advice.startswith("enlarge the model")
    assert found.caution.startswith("this rests on error bars, and force errors of the last")
    history = with_last_round(store, monkeypatch, 1e3, outlook={}, forces_rmse=0.1)
    history.reports[0] = replace(history.reports[0], forces_rmse=0.1)
    found = verdict(history)
    assert (found.advice, found.caution) == ("stop, if the errors suffice", "")


def test_a_test_set_of_the_bootstrap_ranks_no_rounds(store):
    """It is drawn like the first labels, not by walkers."""
    history = History(store)
    history.config["data"] |= {"test": None, "train": {"bootstrap": {"test": 6}}}
    found = verdict(history)
    assert found.model == str(store.model_path(2))
    assert found.chosen == "that of round 2, the last one"
    assert "drawn like the first labels, not by walkers: the errors of picks" in found.trend


def test_how_to_go_on(store):
    history = History(store)
    stop = StopConfig.model_validate(history.config["stop"])
    assert way_on(stop, store, 3) == "raise stop.max_rounds (now 2) in the config and run again"
    few = stop.model_copy(update={"max_labels": 6, "max_rounds": 9})
    assert way_on(few, store, 3) == "raise stop.max_labels (now 6) in the config and run again"
    assert way_on(few.model_copy(update={"max_labels": None}), store, 3) == ""


def test_marks_of_axes_are_plain_numbers():
    axes = error_scale_of([59.6, 40.9])
    assert not any("$" in label.get_text() for label in axes.get_yticklabels())
    assert len(axes.get_yticks()) > 2
    assert any("$" in label.get_text() for label in error_scale_of([1.0, 1e4]).get_yticklabels())
    assert error_scale_of([0.0, 1.0]).get_yscale() == "linear"


def error_scale_of(sizes):
    axes = on(None)
    axes.plot([1, 1], sizes)
    error_scale(axes, np.array(sizes))
    count_axis(axes)
    assert axes.get_xticks().tolist() == [int(x) for x in axes.get_xticks()]
    axes.figure.canvas.draw()
    return axes


def test_picks_beside_their_labels(store, page):
    rows, batch = page.tables["picks"][1:], [*store.read_batch(1), *store.read_batch(2)]
    assert len(rows) == 6
    errors = np.concatenate([read_pick_errors(store, k).fitted["energy"].errors for k in (1, 2)])
    for row, pick, error in zip(rows, batch, errors, strict=True):
        assert row[1] == pick.get_chemical_formula()
        assert row[4:6] == [str(pick.info["bayesel_walker"]), str(pick.info["bayesel_step"])]
        assert float(row[9].split(" / ")[1]) == pytest.approx(250 * abs(error), rel=0.01)
        assert row[8].endswith(f" {pick.info['bayesel_atom']}")
        assert float(row[11]) > 0
        assert row[12] == "in the fit"


def test_structures_in_the_page_are_the_picks(store):
    history = History(store)
    raw, outside = embedded(history.picks, history.reports)["picks"], False
    assert len(raw) == 6
    for k, record in enumerate(history.picks):
        places = np.frombuffer(base64.b64decode(raw[k]["xyz"]), "<u2").reshape(-1, 3)
        atoms = record.pick.structure
        shown = raw[k]["low"] + raw[k]["step"] * places
        np.testing.assert_allclose(shown, atoms.positions, atol=1e-3)
        scale = history.reports[record.round_number - 1].scales["energy"]["value"]
        deviations = record.pick.deviations
        whole = np.hypot(scale * deviations.local_energy_std, deviations.extrapolated)
        assert raw[k]["largest"] == pytest.approx(1e3 * whole.max(), rel=1e-3)
        outside |= deviations.extrapolated.any()
    assert outside


def test_page_needs_nothing_from_outside(store, page):
    text = (store.directory / "report.html").read_text()
    assert not re.search(r"""(src|href)\s*=\s*["'](?!data:|#)""", text)
    assert not re.search(r"url\((?!#)", text)
    assert "relative_force above 0.01" in text
    assert "at a start, energy_per_atom above" in text


def test_same_campaign_same_page_and_nothing_else(store, page):
    before = hashes(store.directory)
    assert "report.html" in before
    write_report(store)
    assert hashes(store.directory) == before


@pytest.mark.parametrize("number", [1, 2])
def test_picks_are_marked_where_they_were_made(store, number):
    panel = criterion(store, number)
    columns = [TRACE_COLUMNS.index(name) for name in ("step", "value", "picked")]
    step, value, picked = store.exploration(number).read_trace()[:, columns].T
    lines = {line.get_label(): line for line in panel.lines}
    stars = lines["picked"]
    np.testing.assert_array_equal(stars.get_xdata(), step[picked > 0])
    np.testing.assert_array_equal(stars.get_ydata(), value[picked > 0])
    assert len(stars.get_xdata()) == 3
    assert {"walker 0", "walker 1"} <= lines.keys()
    drawn = sum(len(lines[f"walker {k}"].get_xdata()) for k in range(2))
    assert drawn == len(step)
    assert panel.get_title() == f"round {number}"


def test_lines_are_broken_where_nothing_was_evaluated(store, tmp_path):
    """Two rows without a value make one gap, and the others stay."""
    shutil.copytree(store.directory, tmp_path / "campaign")
    copied = Store(tmp_path / "campaign")
    saved, starts = copied.exploration(1), copied.read_input("starts")[:2]
    state, posterior = saved.load(starts)
    skipped = state.trace[[0, 0]].copy()
    skipped[:, [STEP, VALUE, PICKED]] = [[1, np.nan, 0], [2, np.nan, 0]]
    trace = np.concatenate([state.trace[:1], skipped, state.trace[1:]])
    saved.save(replace(state, trace=trace), posterior)
    walker = f"walker {int(state.trace[0, WALKER])}"
    for line, other in zip(criterion(copied, 1).lines, criterion(store, 1).lines, strict=True):
        drawn, expected = line.get_xydata(), other.get_xydata()
        if line.get_label() == walker:
            expected = np.insert(expected, 1, np.nan, axis=0)
        np.testing.assert_array_equal(drawn, expected)


def test_picks_for_the_energy_of_their_start(tmp_path):
    """Whatever the trigger says: in words with numbers, and with a mark of their own."""
    changes = {"explore.start_energy": 1e-6, "explore.trigger.threshold": 1e9}
    store = store_of(tmp_path, {**changes, "stop.max_rounds": 1, "explore.offers": "never"})
    history = History(store)
    assert {record.kind for record in history.picks} == {"start"}
    rows = page_of(store).tables["picks"][1:]
    for row, record in zip(rows, history.picks, strict=True):
        value = f"{1e3 * record.pick.report.value:.3g}"
        told = f"energy of the start uncertain: {value} of 0.001 meV/atom allowed"
        assert row[7:9] == [told, "-"]
    lines = {line.get_label(): line for line in criterion(store, 1).lines}
    assert "picked" not in lines
    marks = lines["picked: energy of the start uncertain"]
    assert sorted(marks.get_xdata()) == sorted(record.pick.step for record in history.picks)


def test_marks_of_offers_are_hollow(tmp_path):
    """They lie below the threshold."""
    changes = {"explore.trigger.threshold": 1e9, "explore.offers": "always"}
    store = store_of(tmp_path, {**changes, "stop.max_rounds": 1, "explore.start_energy": None})
    lines = {line.get_label(): line for line in criterion(store, 1).lines}
    assert "picked" not in lines
    offers = lines["picked: most uncertain of a window"]
    assert offers.get_fillstyle() == "none"
    assert max(offers.get_ydata()) < 1e9


def test_errors_are_drawn_against_labels(store):
    reports = [store.read_report(k) for k in range(3)]
    energy, forces = (error_against_labels(store, prop) for prop in ("energy", "forces"))
    assert energy.lines[0].get_xdata().tolist() == [0, 3, 6]
    np.testing.assert_allclose(energy.lines[0].get_ydata(), [1e3 * r.energy_rmse for r in reports])
    np.testing.assert_allclose(forces.lines[0].get_ydata(), [1e3 * r.forces_rmse for r in reports])


def test_table_of_picks(store, page):
    head, *rows = page.tables["foretold"]
    assert head == ["round", "property", *COLUMNS]
    assert [row[:2] for row in rows] == [
        [k, prop] for k in ("1", "2") for prop in ("energy, eV", "forces, eV/A")
    ]
    errors = read_pick_errors(store, 2).fitted["energy"].errors
    assert float(rows[2][3]) == pytest.approx(np.sqrt(np.mean(errors**2)), rel=1e-3)
    assert rows[2][2] == str(len(errors))


def test_errors_against_deviations_have_an_axis_for_each_unit(store):
    """Energies per atom in one panel, forces in the other."""
    history = History(store)
    energy, forces = (error_against_deviation(history, prop) for prop in ("energy", "forces"))
    assert energy.get_xlabel() == "deviation (eV/atom)"
    assert forces.get_xlabel() == "deviation (eV/A)"
    foretold = [record.foretold["energy"] for record in history.picks]
    drawn = {line.get_label(): line for line in energy.lines}["energy"]  # a pick in each bin
    order = np.argsort([own.deviation for own in foretold])
    np.testing.assert_allclose(drawn.get_xdata(), [foretold[k].deviation / 4 for k in order])
    np.testing.assert_allclose(drawn.get_ydata(), [foretold[k].error / 4 for k in order])
    bins = {line.get_label(): line for line in forces.lines}["forces"]
    rows = history.all_foretold()["forces"]
    mean = np.sqrt(np.mean(np.square(bins.get_ydata())))
    assert mean == pytest.approx(np.sqrt(np.mean(rows.errors**2)), rel=0.05)
    assert error_against_deviation({"virial": rows}, "forces") is None


def test_parity_is_that_of_the_last_round(store):
    energy, forces = (parity(store, prop) for prop in ("energy", "forces"))
    found = store.read_parity(2)
    np.testing.assert_array_equal(forces.lines[0].get_xdata(), found.forces)
    np.testing.assert_array_equal(forces.lines[0].get_ydata(), found.forces_predicted)
    np.testing.assert_array_equal(energy.lines[0].get_ydata(), found.energy_predicted)
    np.testing.assert_allclose(
        residuals(found).lines[0].get_ydata(), 1e3 * (found.forces_predicted - found.forces)
    )
    assert len(found.energy) == 6
    assert len(found.forces) == 6 * 4 * 3


def test_without_a_test_set(tmp_path):
    page = page_of(store_of(tmp_path, {"data.test": None, "stop.max_rounds": 1}))
    assert ERRORS not in page.titles
    assert FORETOLD in page.titles
    assert "There is no test set. Picks were foretold with energy RMSE" in page.text
    assert [row[5:7] for row in page.tables["rounds"][1:]] == [["-", "-"]] * 2


def test_without_picks(tmp_path):
    changes = {"explore.trigger.threshold": 1e9, "explore.steps": 6}
    page = page_of(store_of(tmp_path, changes))
    assert "Ended after round 1: nothing triggered in round 1." in page.text
    assert "picks" not in page.tables
    for figure in page.figures.values():
        assert_drawn(figure)
    assert [row[3] for row in page.tables["rounds"][1:]] == ["0", "0"]


def test_without_forces(tmp_path):
    page = page_of(store_of(tmp_path, {"data.forces_key": None, "stop.max_rounds": 1}))
    assert "Forces: parity" not in page.figures
    assert "Energies: parity" in page.figures
    assert [row[6] for row in page.tables["rounds"][1:]] == ["-", "-"]


def test_after_the_first_fit_only(tmp_path):
    campaign = Campaign(load_config(write_campaign(tmp_path)), tmp_path / "campaign")
    for event in campaign.run():
        if isinstance(event, RoundReport):
            break
    page = page_of(campaign.store)
    assert len(page.tables["rounds"]) == 2
    assert "only round 0, the first fit, is done" in page.text
    assert ERRORS in page.titles


def test_before_anything_is_done(tmp_path):
    campaign = Campaign(load_config(write_campaign(tmp_path)), tmp_path / "campaign")
    page = page_of(campaign.store)
    assert page.figures == {}
    assert "The first fit is not done yet." in page.text


def test_names_are_escaped(tmp_path):
    campaign = Campaign(load_config(write_campaign(tmp_path)), tmp_path / "<b>si & co")
    text = write_report(campaign.store).read_text()
    assert "<b>si" not in text
    assert "&lt;b&gt;si" in text
