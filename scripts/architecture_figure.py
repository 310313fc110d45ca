"""Draw the wings of docs/architecture.md and what they import, as docs/architecture.png."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

DOCS = Path(__file__).resolve().parents[1] / "docs"
WIDTH, HEIGHT, COLOR = 1.9, 0.62, "#33526e"
PLACES = {
    "cli": (0.0, 10),
    "plots": (0.0, 9),
    "campaign": (0.0, 8),
    "generation": (-1.9, 7),
    "testing": (-5.7, 6),
    "dynamics": (-3.2, 6),
    "selection": (-0.7, 6),
    "labelling": (1.8, 6),
    "validation": (4.3, 6),
    "bias": (-3.2, 5),
    "surrogate": (0.0, 4),
    "descriptors": (0.0, 3),
    "structures": (-1.3, 2),
    "resources": (1.3, 2),
    "io": (0.0, 1),
    "errors": (0.0, 0),
}
"""Column and row of each wing, so that no arrow runs through a box."""


def read_table(page: str) -> dict[str, list[str]]:
    """What each wing imports, by the rows of the page's first table."""
    wings: dict[str, list[str]] = {}
    for line in page.split("## The path")[0].splitlines():
        if line.startswith("| `"):
            name, _, below = line.strip("|").split("|")
            wings[name.strip(" `/")] = [
                part.strip(" `") for part in below.split(",") if part.strip()
            ]
    return wings


def draw(wings: dict[str, list[str]]) -> Figure:
    """A box per wing, an arrow to each wing that it imports."""
    places = {name: (PLACES[_short(name)][0], 1.15 * PLACES[_short(name)][1]) for name in wings}
    by_name = {_short(name): place for name, place in places.items()}
    figure = Figure(figsize=(9, 7), layout="constrained")
    axes = figure.subplots()
    for name, (x, y) in places.items():
        corner = (x - WIDTH / 2, y - HEIGHT / 2)
        box = FancyBboxPatch(
            corner, WIDTH, HEIGHT, "round,pad=0.05", fc="#e8eff7", ec=COLOR, zorder=2
        )
        axes.add_patch(box)
        axes.text(x, y, name, ha="center", va="center", fontsize=11, family="monospace", zorder=3)
        for part in wings[name]:
            x_below, y_below = by_name[part]
            ends = (x, y - HEIGHT / 2 - 0.05), (x_below, y_below + HEIGHT / 2 + 0.05)
            arrow = FancyArrowPatch(
                *ends, arrowstyle="-|>", mutation_scale=11, color=COLOR, zorder=1
            )
            axes.add_patch(arrow)
    xs, ys = zip(*places.values(), strict=True)
    axes.set_xlim(min(xs) - 1.3, max(xs) + 1.3)
    axes.set_ylim(min(ys) - 0.6, max(ys) + 0.6)
    axes.set_axis_off()
    return figure


def _short(name: str) -> str:
    return name.removesuffix(".py")


if __name__ == "__main__":
    draw(read_table((DOCS / "architecture.md").read_text())).savefig(
        DOCS / "architecture.png", dpi=110
    )
