"""Pages that stand alone: templates with style and script in them, and figures as SVG."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK = "#010203"
"""Stands for the colour of the page's text while a figure is drawn."""
PAPER = "#fdfcfb"
"""Stands for that of its paper."""
COLORS = ("#3f86d8", "#e07b28", "#3aa55c", "#d64d57", "#8f6fd1", "#a0714f", "#d066a8", "#8a8f26")
"""Seen on light and on dark paper."""
STYLE: dict[Any, Any] = {
    "axes.prop_cycle": f"cycler('color', {list(COLORS)})",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "legend.facecolor": PAPER,
    "legend.framealpha": 0.8,
    "legend.edgecolor": "none",
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "none",
    "font.size": 9,
    "path.simplify_threshold": 0.5,
}
WIDTH, HEIGHT = 4.2, 3.1
"""Of a figure, inches."""


def rendered(template: str, **content: Any) -> str:
    """A template of the package with its content; all text is escaped."""
    environment = Environment(autoescape=True, loader=FunctionLoader(_data))
    environment.globals["data"] = lambda name: Markup(_data(name))
    return environment.get_template(template).render(**content)


def _data(name: str) -> str:
    return files("ase_bayesel").joinpath(f"templates/{name}").read_text()


def svg(
    draw: Callable[[Axes], Axes | None], name: str, width: float = WIDTH, height: float = HEIGHT
) -> Markup | None:
    """What a function draws on axes, as SVG within a page; its text has the page's colour.

    Parameters
    ----------
    draw
        Draws, and returns None where there is nothing to be drawn.
    name
        Of the figure, for readers who do not see it; names differ within a page.
    width, height
        Inches.
    """
    buffer = io.BytesIO()
    with rc_context({**STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(width, height), layout="constrained")
        if draw(figure.subplots()) is None:
            return None
        figure.savefig(buffer, format="svg", dpi=110, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue().decode()
    text = text[text.index("<svg") :].replace(INK, "currentColor").replace(PAPER, "var(--paper)")
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"\n\s*", "\n", text)
    # groups have the same names in all figures, and nothing refers to them
    text = re.sub(r'<g id="[^"]*">', "<g>", text)
    head = Markup('<svg role="img" aria-label="{}" ').format(name)
    return head + Markup(text.removeprefix("<svg "))
