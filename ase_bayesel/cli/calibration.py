"""Errors beside uncertainties: the report's panel, and the command ``bayesel calibrate``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.table import Table
from scipy.stats import norm

from ..campaign.events import RoundReport
from ..campaign.prequential import read_pick_errors
from ..campaign.store import Store
from ..errors import StructureError
from ..structures.frames import read_frames
from ..structures.labels import PropertyKeys
from ..surrogate.held_out import Rows, held_out
from ..surrogate.scales import LEVELS, HeldOut, Scale, Scales
from ..surrogate.surrogate import Surrogate
from ..validation.reliability import Reliability, binned, reliability

UNITS = {"energy": "eV", "forces": "eV/A", "virial": "eV"}
COLUMNS = ("rows", "RMSE", "z raw", "z", *(f"in {level:.0%}" for level in LEVELS), "NLL", "CRPS")


def scaled_pick_errors(store: Store, reports: Sequence[RoundReport]) -> Rows:
    """All picks of a campaign under the model before each refit; deviations carry its scales."""
    parts: dict[str, list[HeldOut]] = {}
    for _, prop, rows, scale in _foretold(store, reports):
        parts.setdefault(prop, []).append(rows.scaled(scale.value))
    return {prop: HeldOut.joined(rows) for prop, rows in parts.items()}


def pick_table(store: Store, reports: Sequence[RoundReport]) -> list[tuple[str, str, list[str]]]:
    """Lines of round, property and numbers: how well each round's picks were foretold."""
    compared = [
        (str(number), prop, reliability(rows, scale))
        for number, prop, rows, scale in _foretold(store, reports)
    ]
    return [(number, prop, numbers(found)) for number, prop, found in compared if found is not None]


def _foretold(
    store: Store, reports: Sequence[RoundReport]
) -> Iterator[tuple[int, str, HeldOut, Scale]]:
    """Round and property of its picks, their errors, and the scale of the model before."""
    for before, report in pairwise(reports):
        errors = read_pick_errors(store, report.round_number)
        scales = Scales.from_json(before.scales)
        for prop, rows in (errors.fitted if errors is not None else {}).items():
            yield report.round_number, prop, rows, getattr(scales, prop)


def numbers(found: Reliability) -> list[str]:
    """The cells of `COLUMNS`."""
    shares = [f"{share:.0%}" for share in found.coverage]
    return [
        str(found.n),
        f"{found.rmse:.4g}",
        f"{found.raw_z:.2f}",
        f"{found.z:.2f}",
        *shares,
        f"{found.nll:.3f}",
        f"{found.crps:.4g}",
    ]


def calibration_figure(rows: Mapping[str, HeldOut]) -> Figure | None:
    """Coverage, z and error against deviation, of energies and forces; deviations are scaled."""
    shown = {prop: held for prop, held in rows.items() if len(held.z())}
    if not shown:
        return None
    figure = Figure(figsize=(9.6, 3.4), layout="constrained")
    coverage, histogram, errors = figure.subplots(1, 3)
    for k, (prop, held) in enumerate(shown.items()):
        _draw(prop, held, f"C{k}", coverage, histogram, errors)
    coverage.plot([0, 1], [0, 1], color="0.5", lw=1, zorder=0)
    coverage.set(xlabel="level of the interval", ylabel="errors inside")
    coverage.legend(fontsize="small")
    grid = np.linspace(-4, 4, 200)
    histogram.plot(grid, norm.pdf(grid), color="0.5", lw=1)
    histogram.set(xlabel="error / deviation", ylabel="density")
    ends = np.array(errors.get_xlim())
    errors.plot(ends, ends, color="0.5", lw=1, zorder=0)
    errors.set(xlabel="deviation (eV, eV/A)", ylabel="RMS error in a bin")
    return figure


def _draw(
    prop: str, held: HeldOut, color: str, coverage: Axes, histogram: Axes, errors: Axes
) -> None:
    z = held.z()
    levels = np.linspace(0.02, 0.98, 49)
    inside = np.mean(np.abs(z)[:, None] <= norm.ppf((1 + levels) / 2), axis=0)
    coverage.plot(levels, inside, color=color, label=prop)
    histogram.hist(
        np.clip(z, -4, 4), bins=33, range=(-4, 4), density=True, color=color, histtype="step"
    )
    deviations, sizes = binned(held, min(10, len(z)))
    errors.loglog(deviations, np.maximum(sizes, 1e-12), "o-", ms=3, color=color)


def calibrate(
    model: Path, frames: Path, keys: PropertyKeys, output: Path | None = None
) -> tuple[Table, Scales]:
    """Compare a saved surrogate with labelled structures that it was not fitted to.

    Parameters
    ----------
    model
        Written by `Surrogate.save`.
    frames
        The structures.
    keys
        Where their labels are.
    output
        Where the surrogate is saved with the scales of these structures; None for nowhere.

    Raises
    ------
    StructureError
        If no structure has a label under the keys, or one is not of its shape.
    """
    surrogate = Surrogate.load(model)
    try:
        found = held_out(surrogate, read_frames(frames), keys)
    except StructureError as error:
        raise StructureError(f"{frames}: {error}") from error
    if not found:
        raise StructureError(
            f"{frames}: no frame has a label under the keys {keys.energy!r}, {keys.forces!r}, "
            f"{keys.virial!r}; check the key names"
        )
    new = Scales.of(found)
    columns: dict[str, list[str]] = {}
    for label, scales in (("saved", surrogate.scales), ("new", new)):
        for prop, rows in found.items():
            scale: Scale = getattr(scales, prop)
            compared = reliability(rows, scale)
            if compared is not None:
                name = f"{prop}\n{UNITS[prop]}\n{label}"
                columns[name] = [f"{scale.value:.3g}", *numbers(compared)]
    table = Table("", title=f"{model.name} on {frames.name}: scales as saved, and of these frames")
    for name in columns:
        table.add_column(name, justify="right")
    for name, cells in zip(("scale", *COLUMNS), zip(*columns.values(), strict=True), strict=True):
        table.add_row(name, *cells)
    if output is not None:
        replace(surrogate, scales=new).save(output)
    return table, new
