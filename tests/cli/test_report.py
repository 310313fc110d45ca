import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from helpers.campaigns import write_campaign
from helpers.files import hashes
from helpers.pages import PICKS, TITLES, Page, assert_drawn

from ase_bayesel import Campaign
from ase_bayesel.campaign.config.loading import load_config
from ase_bayesel.campaign.events import RoundReport
from ase_bayesel.campaign.exploration import TRACE_COLUMNS
from ase_bayesel.campaign.exploration.state import PICKED, STEP, VALUE
from ase_bayesel.campaign.prequential import read_pick_errors
from ase_bayesel.campaign.store import Store
from ase_bayesel.cli.calibration import COLUMNS
from ase_bayesel.cli.report import error_figure, parity_figure, uncertainty_figure, write_report


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
    head, *rows = page.rows[:4]
    assert len(head) == 8
    reports = [store.read_report(k) for k in range(3)]
    assert [row[:5] for row in rows] == [
        [str(n) for n in (r.round_number, r.n_train, r.n_labels, r.picks, r.failed)]
        for r in reports
    ]
    for row, report in zip(rows, reports, strict=True):
        assert float(row[5]) == pytest.approx(1e3 * report.energy_rmse, abs=0.01)
        assert float(row[6]) == pytest.approx(1e3 * report.forces_rmse, abs=0.1)
        assert row[7] == ", ".join(report.walkers)


def test_three_plots(page):
    assert page.titles == [*TITLES, PICKS]
    assert len(page.images) == 4
    for image in page.images:
        assert_drawn(image)
    assert len(set(page.images)) == 4


def test_page_needs_nothing_from_outside(store, page):
    text = (store.directory / "report.html").read_text()
    assert not re.search(r"""(src|href)\s*=\s*["'](?!data:)""", text)
    assert "relative_force above 0.01" in text


def test_same_campaign_same_page_and_nothing_else(store, page):
    before = hashes(store.directory)
    assert "report.html" in before
    write_report(store)
    assert hashes(store.directory) == before


def test_picks_are_marked_where_they_were_made(store):
    figure = uncertainty_figure(store, 3)
    assert len(figure.axes) == 2
    columns = [TRACE_COLUMNS.index(name) for name in ("step", "value", "picked")]
    for number, panel in enumerate(figure.axes, start=1):
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


def test_checks_without_an_evaluation_are_not_drawn(store, tmp_path):
    """Their rows have no value, which would cut the lines."""
    shutil.copytree(store.directory, tmp_path / "campaign")
    copied = Store(tmp_path / "campaign")
    saved, starts = copied.exploration(1), copied.read_input("starts")[:2]
    state, posterior = saved.load(starts)
    skipped = state.trace[:1].copy()
    skipped[:, [STEP, VALUE, PICKED]] = 3, np.nan, 0
    trace = np.concatenate([state.trace[:1], skipped, state.trace[1:]])
    saved.save(replace(state, trace=trace), posterior)
    for ours, expected in zip(
        uncertainty_figure(copied, 3).axes, uncertainty_figure(store, 3).axes, strict=True
    ):
        for line, other in zip(ours.lines, expected.lines, strict=True):
            np.testing.assert_array_equal(line.get_xydata(), other.get_xydata())


def test_errors_are_drawn_against_labels(store):
    reports = [store.read_report(k) for k in range(3)]
    energy, forces = error_figure(reports).axes
    assert energy.lines[0].get_xdata().tolist() == [0, 3, 6]
    np.testing.assert_allclose(energy.lines[0].get_ydata(), [1e3 * r.energy_rmse for r in reports])
    np.testing.assert_allclose(forces.lines[0].get_ydata(), [1e3 * r.forces_rmse for r in reports])


def test_table_of_picks(store, page):
    head, *rows = page.rows[4:]
    assert head == ["round", "property", *COLUMNS]
    assert [row[:2] for row in rows] == [
        [k, prop] for k in ("1", "2") for prop in ("energy", "forces")
    ]
    errors = read_pick_errors(store, 2).fitted["energy"].errors
    assert float(rows[2][3]) == pytest.approx(np.sqrt(np.mean(errors**2)), rel=1e-3)
    assert rows[2][2] == str(len(errors))


def test_parity_is_that_of_the_last_round(store):
    reports = [store.read_report(k) for k in range(3)]
    energy, forces = parity_figure(store, reports).axes
    parity = store.read_parity(2)
    np.testing.assert_array_equal(forces.lines[0].get_xdata(), parity.forces)
    np.testing.assert_array_equal(forces.lines[0].get_ydata(), parity.forces_predicted)
    np.testing.assert_array_equal(energy.lines[0].get_ydata(), parity.energy_predicted)
    assert len(parity.energy) == 6
    assert len(parity.forces) == 6 * 4 * 3


def test_without_a_test_set(tmp_path):
    page = page_of(store_of(tmp_path, {"data.test": None, "stop.max_rounds": 1}))
    assert page.titles == [TITLES[0], PICKS]
    assert_drawn(page.images[0])
    assert [row[5:7] for row in page.rows[1:3]] == [["-", "-"]] * 2


def test_without_picks(tmp_path):
    changes = {"explore.trigger.threshold": 1e9, "explore.steps": 6}
    page = page_of(store_of(tmp_path, changes))
    assert page.titles == TITLES
    for image in page.images:
        assert_drawn(image)
    assert [row[3] for row in page.rows[1:]] == ["0", "0"]


def test_without_forces(tmp_path):
    page = page_of(store_of(tmp_path, {"data.forces_key": None, "stop.max_rounds": 1}))
    assert page.titles == [*TITLES, PICKS]
    for image in page.images:
        assert_drawn(image)
    assert [row[6] for row in page.rows[1:3]] == ["-", "-"]


def test_one_test_structure(tmp_path):
    config = write_campaign(tmp_path, {"stop.max_rounds": 1})
    lines = (tmp_path / "test.extxyz").read_text().splitlines(keepends=True)
    (tmp_path / "test.extxyz").write_text("".join(lines[:6]))
    campaign = Campaign(load_config(config), tmp_path / "campaign")
    for _ in campaign.run():
        pass
    page = page_of(campaign.store)
    assert page.titles == [*TITLES, PICKS]
    for image in page.images:
        assert_drawn(image)


def test_after_the_first_fit_only(tmp_path):
    campaign = Campaign(load_config(write_campaign(tmp_path)), tmp_path / "campaign")
    for event in campaign.run():
        if isinstance(event, RoundReport):
            break
    page = page_of(campaign.store)
    assert page.titles == TITLES[1:]
    assert len(page.rows) == 2


def test_before_anything_is_done(tmp_path):
    campaign = Campaign(load_config(write_campaign(tmp_path)), tmp_path / "campaign")
    page = page_of(campaign.store)
    assert page.images == []
    assert len(page.rows) == 1


def test_names_are_escaped(tmp_path):
    campaign = Campaign(load_config(write_campaign(tmp_path)), tmp_path / "<b>si & co")
    text = write_report(campaign.store).read_text()
    assert "<b>si" not in text
    assert "&lt;b&gt;si" in text
