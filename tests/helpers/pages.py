"""HTML pages of reports, and the images in them."""

import base64
import io
from html.parser import HTMLParser

import numpy as np
from matplotlib.image import imread

PICKS = "Errors of picks beside their uncertainties"
TITLES = [
    "Uncertainty along the walkers",
    "Error against number of labels",
    "Parity on the test set after the last round",
]


class Page(HTMLParser):
    """Cells of the table's rows, titles, and images of a page."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.titles, self.images, self.tag = [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tag = tag
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag == "img":
            self.images.append(dict(attributes)["src"])

    def handle_endtag(self, tag):
        self.tag = ""

    def handle_data(self, data):
        if self.tag in ("td", "th"):
            self.rows[-1][-1] += data
        if self.tag == "h2":
            self.titles.append(data)


def assert_drawn(source):
    """A PNG of some size with something on it."""
    head, _, data = source.partition(",")
    assert head == "data:image/png;base64"
    png = base64.b64decode(data, validate=True)
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    pixels = imread(io.BytesIO(png))[..., :3]
    assert min(pixels.shape[:2]) > 200
    ink = (pixels < 0.9).any(axis=-1).mean()
    assert 0.005 < ink < 0.9
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20
