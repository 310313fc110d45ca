"""The report in a real browser: nothing fails, all is seen, the structure turns, nothing is cut."""

import pytest
from helpers.browser import browser, needs_browser
from helpers.campaigns import ended, write_campaign

from ase_bayesel.cli.report import write_report

pytestmark = [needs_browser, pytest.mark.slow]
MANY = {"explore.picks": 1, "explore.steps": 12, "explore.trigger.threshold": 1e-6}
PIXELS = "document.querySelector('#viewer canvas').toDataURL()"


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("browser")) as page:
        yield page


@pytest.fixture(scope="module", params=[1, 10, 50], ids=lambda n: f"rounds{n}")
def report(request, tmp_path_factory):
    n = request.param
    changes = {"stop.max_rounds": n, **(MANY if n > 1 else {})}
    store, _ = ended(write_campaign(tmp_path_factory.mktemp("reported"), changes))
    assert store.completed_rounds() == n + 1
    return write_report(store)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1600])
def test_a_page_that_is_whole(opened, report, width, scheme):
    opened.open(report, width, scheme=scheme)
    assert opened.complaints() == []
    assert opened.value("document.documentElement.scrollWidth") <= width
    if width == 320:  # what lies beyond the edge takes no height
        rows = "document.querySelectorAll('#rounds tbody tr:not([hidden])')"
        assert opened.value(f"Math.max(...[...{rows}].map((row) => row.clientHeight))") < 40
    shown = opened.value(
        "[...document.querySelectorAll('.grid figure svg')].map((f) => [f.clientWidth, "
        "f.clientHeight, f.querySelectorAll('path').length, f.querySelectorAll('text').length])"
    )
    assert len(shown) > 12
    for across, high, paths, texts in shown:
        assert across > 250
        assert high > 150
        assert paths > 5
        assert texts > 3
    ink, paper = (
        opened.value(f"getComputedStyle(document.{of}).{what}")
        for of, what in (("querySelector('figure svg text')", "fill"), ("body", "backgroundColor"))
    )
    light = [sum(map(int, color.strip("rgb()").split(","))) > 382 for color in (ink, paper)]
    assert light == ([False, True] if scheme == "light" else [True, False])
    assert report.stat().st_size < 2e6


def test_the_structure_turns(opened, report):
    opened.open(report, 1000)
    opened.value("document.querySelector('#viewer canvas').scrollIntoView({block: 'center'})")
    x, y = opened.value(
        "(() => { const r = document.querySelector('#viewer canvas').getBoundingClientRect();"
        " return [r.x + r.width / 2, r.y + r.height / 2]; })()"
    )
    pictures = [opened.value(PIXELS)]
    opened.mouse("mousePressed", x, y, button="left", clickCount=1)
    opened.mouse("mouseMoved", x + 60, y + 30, button="left", buttons=1)
    opened.mouse("mouseReleased", x + 60, y + 30, button="left", clickCount=1)
    pictures.append(opened.value(PIXELS))
    opened.mouse("mouseWheel", x, y, deltaX=0, deltaY=-200)
    pictures.append(opened.value(PIXELS))
    assert len(set(pictures)) == 3
    assert opened.complaints() == []


def test_rows_are_turned_over_and_open_structures(opened, report):
    opened.open(report, 1000)
    rows = "document.querySelectorAll('#picks tbody tr:not([hidden])')"
    n = opened.value("document.querySelectorAll('#picks tbody tr').length")
    assert opened.value(f"{rows}.length") == min(n, 15)
    first = opened.value(PIXELS)
    title = opened.value("document.querySelector('#viewer figcaption').textContent")
    if n > 15:
        opened.value(
            "document.querySelector('#picks').parentElement.previousElementSibling"
            ".querySelector('button').click()"
        )
        assert opened.value(f"{rows}[0].dataset.pick") == "0"
    opened.value(f"{rows}[0].click()")
    assert opened.value("document.querySelector('#viewer figcaption').textContent") != title
    assert opened.value(PIXELS) != first
    cells = opened.value(f"[...{rows}[0].cells].map((cell) => cell.textContent).filter(Boolean)")
    told = opened.value(
        "[...document.querySelectorAll('#numbers dd')].map((own) => own.textContent)"
    )
    identity = opened.value(f"{rows}[0].cells[1].title")
    assert [text for text in cells if text in told] == cells
    assert identity in told


def test_the_button_changes_between_light_and_dark(opened, report):
    opened.open(report, 1000)
    paper = "getComputedStyle(document.body).backgroundColor"
    before = opened.value(paper)
    opened.value("document.getElementById('theme').click()")
    assert opened.value(paper) != before
    opened.value("document.getElementById('theme').click()")
    assert opened.value(paper) == before
