"""Tables and the figure of docs/calibration.md, from the file of finished splits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from nshot.tables import markdown

from .curves import curve_table, draw_curves
from .fit import PROPERTIES
from .materials import SAME
from .materials_more import MATERIALS
from .methods import METHODS, NETWORK_METHODS
from .methods_network import FORMS_OF_NETWORK
from .supports import support_tables

BEGIN, END = "<!-- written by scripts/study_calibration.py report -->\n", "<!-- end -->\n"
INTRODUCTION = "# Do uncertainties mean what they say?\n\n"
DEFAULT = "left out and support"
GOOD = (0.3, 3.0)
"""Of rms z on kinds never trained on."""
COMMANDS = """```bash
python scripts/study_calibration.py run --materials silicon,alloy --seeds 0,1,2,3,4,5
python scripts/study_calibration.py run --materials hydrocarbons --seeds 0,1,2,3
python scripts/study_calibration.py run --materials si2018,si2018-surfaces --seeds 0,1,2,3
python scripts/study_calibration.py run --materials silicon-mace,alloy-mace --seeds 0,1,2,3
python scripts/study_calibration.py curves
python scripts/study_calibration.py supports --materials silicon,alloy --seeds 0,1,2,3,4,5
python scripts/study_calibration.py supports --materials hydrocarbons,si2018 --seeds 0,1,2,3
python scripts/study_calibration.py report
```"""
SCALED = ("left out", "folds", "clusters", "left out and support", "committee", "POPS")
"""Methods that take a scale, or none, from the training set and differ for energies."""
OF_NETWORK = ("left out", "left out and support", *FORMS_OF_NETWORK)
PLURAL = {"energy": "energies", "forces": "forces"}
Record = Mapping[str, Any]
Kind = tuple[str, str]
"""A material and a kind of structures."""


def write_report(
    records: Sequence[Record], curves: Sequence[Record], supports: Sequence[Record], page: Path
) -> None:
    """Write the page between its markers, and the figures beside it."""
    _figure(records).savefig(page.with_suffix(".png"), dpi=110)
    degrees = sorted({(r["material"], r["degree"]) for r in records})
    parts = [
        COMMANDS,
        f"{len(records)} splits: "
        + "; ".join(f"{name}, {MATERIALS[name].size} {degree}" for name, degree in degrees)
        + ".",
        "## Structures of the kinds that were trained on\n\n" + _on_the_same(records),
        f"## Kinds that were never trained on: rms z with the default (`{DEFAULT}`)\n\n"
        + _others(records),
        f"![rms z by kind]({page.stem}.png)",
    ]
    if curves:
        draw_curves(curves, page.with_name(f"{page.stem}_curves.png"))
        parts += ["## Atoms pulled apart and pressed together", curve_table(curves)]
        parts.append(f"![errors along curves]({page.stem}_curves.png)")
    if supports:
        parts += ["## Other forms of the support", support_tables(supports, GOOD)]
    old = page.read_text() if page.exists() else INTRODUCTION + BEGIN + END
    head, rest = old.split(BEGIN)
    text = "\n\n".join(parts) + "\n"
    page.write_text(f"{head}{BEGIN}{text}{END}{rest.split(END)[1]}")


def values(records: Sequence[Record], method: str, kind: str, prop: str, name: str) -> np.ndarray:
    """A score over the splits."""
    found = [r["scores"].get(method, {}).get(kind, {}).get(prop) for r in records]
    return np.array([entry[name] for entry in found if entry is not None])


def _on_the_same(records: Sequence[Record]) -> str:
    """Splits of linear ACE, and apart those of networks, for which fewer methods serve."""
    whole, networks = _apart(records)
    parts = [_same(whole, METHODS)] if whole else []
    if networks:
        told = f"Networks ({len(networks)} splits):\n\n"
        parts.append(told + _same(networks, NETWORK_METHODS))
    by_material = sorted({r["material"] for r in records})
    parts.append("With the default, by material:\n\n" + _same_by_material(records, by_material))
    return "\n\n".join(parts)


def _apart(records: Sequence[Record]) -> tuple[list[Record], list[Record]]:
    """Splits of linear ACE, and of networks."""
    linear = [set(METHODS) <= set(r["scores"]) for r in records]
    return [*compress(records, linear)], [*compress(records, np.logical_not(linear))]


def _same_by_material(records: Sequence[Record], materials: Sequence[str]) -> str:
    header = ["material", "splits"]
    header += [f"{p}: {name}" for p in PROPERTIES for name in ("rms z", "in 68%", "in 95%")]
    lines = []
    for material in materials:
        own = [r for r in records if r["material"] == material]
        cells: list[object] = [material, len(own)]
        for prop in PROPERTIES:
            shares = values(own, DEFAULT, SAME, prop, "coverage").mean(axis=0)
            cells.append(f"{np.median(values(own, DEFAULT, SAME, prop, 'z')):.2f}")
            cells += [f"{100 * share:.0f}" for share in shares[[1, 3]]]
        lines.append(cells)
    return markdown(header, lines)


def _same(records: Sequence[Record], methods: Iterable[str]) -> str:
    header = ["property", "method", "splits", "scale", "rms z", "in 68%", "in 95%", "NLL", "CRPS"]
    lines = []
    for prop in PROPERTIES:
        for method in methods:
            coverage = values(records, method, SAME, prop, "coverage")
            if len(coverage) < len(records):
                continue
            one = [
                f"{np.median(values(records, method, SAME, prop, name)):.2f}"
                for name in ("scale", "z")
            ]
            shares = [f"{100 * share:.0f}" for share in coverage.mean(axis=0)[[1, 3]]]
            nll = f"{np.median(values(records, method, SAME, prop, 'nll')):.2f}"
            crps = f"{1e3 * np.median(values(records, method, SAME, prop, 'crps')):.2f}"
            lines.append([prop, method, len(coverage), *one, *shares, nll, crps])
    return (
        markdown(header, lines)
        + "\n\nMedians over splits; shares in percent, their mean over splits; CRPS in meV, meV/A."
    )


def _others(records: Sequence[Record]) -> str:
    header = ["material", "kind", "energy: raw", "scaled", "and support", "by split"]
    header += ["forces: raw", "scaled", "and support", "by split"]
    lines = []
    for pair in _kinds(records):
        cells: list[str] = []
        for prop in PROPERTIES:
            for method in ("raw", "left out", DEFAULT):
                cells.append(f"{_over_splits(records, pair, method, prop):.2g}")
            splits = _of_splits(records, pair, DEFAULT, prop)
            cells.append(f"{np.median(splits):.2g} ({splits.min():.2g} to {splits.max():.2g})")
        lines.append([*pair, *cells])
    counts = _inside(records, _kinds(records), DEFAULT)
    told = (
        "By kind: over the structures of all splits; by split: median, smallest and largest. "
        f"Forces of linear ACE have no support. Between {GOOD[0]} and {GOOD[1]:g} are "
        f"{counts['energy'][0]} of {len(lines)} kinds for energies and {counts['forces'][0]} "
        f"for forces; of the medians over splits {counts['energy'][1]} and {counts['forces'][1]}."
    )
    whole, networks = _apart(records)
    parts = [told, markdown(header, lines), _within(whole, "linear ACE", METHODS)]
    parts.append(_beyond(whole, _kinds(whole), SCALED, PROPERTIES[:1]))
    if networks:
        parts.append(_within(networks, "networks", NETWORK_METHODS))
        parts.append(_beyond(networks, _kinds(networks), OF_NETWORK, PROPERTIES))
    return "\n\n".join(parts)


def _within(records: Sequence[Record], potential: str, methods: Iterable[str]) -> str:
    """How many kinds each method brings within `GOOD`."""
    kinds, lines = _kinds(records), []
    for method in methods:
        counts = _inside(records, kinds, method)
        cells = [counts.get(prop, ("", "")) for prop in PROPERTIES]
        lines.append([method, *(count for pair in cells for count in pair)])
    told = f"Of the {len(kinds)} kinds of {potential}, by method:\n\n"
    header = ["method"]
    header += [f"{prop}{way}" for prop in PROPERTIES for way in ("", ", by the median split")]
    return told + markdown(header, lines)


def _has(records: Sequence[Record], method: str, prop: str) -> bool:
    return len(values(records, method, SAME, prop, "z")) > 0


def _inside(
    records: Sequence[Record], kinds: Sequence[Kind], method: str
) -> dict[str, tuple[int, int]]:
    """By property: how many kinds are within `GOOD`, over all splits and by the median split.

    Without a property that the method says nothing of.
    """

    def count(found: Iterable[float]) -> int:
        return sum(GOOD[0] <= z <= GOOD[1] for z in found)

    return {
        prop: (
            count(_over_splits(records, pair, method, prop) for pair in kinds),
            count(float(np.median(_of_splits(records, pair, method, prop))) for pair in kinds),
        )
        for prop in PROPERTIES
        if _has(records, method, prop)
    }


def _beyond(
    records: Sequence[Record],
    kinds: Sequence[Kind],
    methods: Sequence[str],
    properties: Sequence[str],
) -> str:
    """Kinds of which one of some methods leaves `GOOD`, with all of these; for each property."""
    parts = []
    for prop in properties:
        own = [method for method in methods if _has(records, method, prop)]
        lines = []
        for pair in kinds:
            found = [_over_splits(records, pair, method, prop) for method in own]
            if not all(GOOD[0] <= z <= GOOD[1] for z in found):
                lines.append([*pair, *(f"{z:.2g}" for z in found)])
        told = f"rms z of {PLURAL[prop]}, where one of these methods is beyond that range:\n\n"
        parts.append(told + markdown(["material", "kind", *own], lines))
    return "\n\n".join(parts)


def _kinds(records: Sequence[Record]) -> list[Kind]:
    found = {
        (r["material"], kind): None for r in records for kind in r["scores"]["raw"] if kind != SAME
    }
    return sorted(found, key=lambda pair: pair[0])


def _of_splits(records: Sequence[Record], pair: Kind, method: str, prop: str) -> np.ndarray:
    """Rms z of each split of a material and kind."""
    material, kind = pair
    return values([r for r in records if r["material"] == material], method, kind, prop, "z")


def _over_splits(records: Sequence[Record], pair: Kind, method: str, prop: str) -> float:
    """Rms z over the splits, each of which holds as many structures."""
    return float(np.sqrt(np.mean(_of_splits(records, pair, method, prop) ** 2)))


def _figure(records: Sequence[Record]) -> Figure:
    kinds = _kinds(records)
    figure = Figure(figsize=(9.6, 1.2 + 0.19 * len(kinds)), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for panel, prop in zip(panels, PROPERTIES, strict=True):
        for method, marker in (("raw", "o"), (DEFAULT, "D"), ("constant", "x"), ("distance", "+")):
            found = [_over_splits(records, pair, method, prop) for pair in kinds]
            panel.plot(found, range(len(kinds)), marker, label=method, ms=5)
        panel.axvspan(*GOOD, color="0.9", zorder=0)
        panel.set(xscale="log", xlabel=f"rms z, {prop}")
    panels[0].set_yticks(range(len(kinds)), [f"{m}: {kind}" for m, kind in kinds])
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return figure
