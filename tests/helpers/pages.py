"""HTML pages of reports, and the figures in them."""

import re
from html.parser import HTMLParser

ERRORS = "Errors on the test set"
FORETOLD = "Uncertainties against errors of picks"
MAP = "Where the structures lie"
WALKERS = "What the walkers saw"


class Page(HTMLParser):
    """Cells of the tables by their id, titles, and figures by their names."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.titles, self.tag, self.text = {"": []}, [], "", text
        self.rows = []
        found = re.findall(r'<svg role="img" aria-label="([^"]*)" (.*?)</svg>', text, re.DOTALL)
        self.figures = dict(found)
        assert len(self.figures) == len(found)
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tag = tag
        if tag == "table":
            self.tables[dict(attributes).get("id", "")] = self.own = []
        if tag == "tr":
            self.rows.append([])
            self.own.append(self.rows[-1])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        self.tag = ""

    def handle_data(self, data):
        if self.tag in ("td", "th"):
            self.rows[-1][-1] += data
        if self.tag == "h2":
            self.titles.append(data)


def assert_drawn(figure):
    """SVG of some size with lines and text, in the colour of the page's text."""
    assert 'viewBox="0 0 ' in figure
    assert figure.count("<path") > 5
    assert figure.count("<text") > 3
    assert "currentColor" in figure
