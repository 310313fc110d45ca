"""Errors beside uncertainties, of structures that a fit has not seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from matplotlib.axes import Axes
from scipy.stats import norm

from ..campaign.history import History
from ..surrogate.scales import HeldOut
from ..validation.reliability import binned
from .canvas import GREY, Campaign, error_scale, on

Errors = Campaign | Mapping[str, HeldOut]
"""A campaign, whose picks were foretold, or errors and scaled deviations by property."""
WIDEST = 4.0


def reliability_curve(errors: Errors, axes: Axes | None = None) -> Axes | None:
    """Share of the errors within central intervals, against the level of these.

    Parameters
    ----------
    errors
        Of a campaign's picks under the model before each refit, or any by property.
    axes
        To draw on.

    Returns
    -------
    None where no row tells anything.
    """
    shown = list(_shown(errors))
    if not shown:
        return None
    axes = on(axes)
    levels = np.linspace(0.02, 0.98, 49)
    for color, prop, held in shown:
        z = held.z()
        inside = np.mean(np.abs(z)[:, None] <= norm.ppf((1 + levels) / 2), axis=0)
        axes.plot(levels, inside, color=color, label=prop)
    axes.plot([0, 1], [0, 1], color=GREY, lw=1, zorder=0)
    axes.set(xlabel="level of the interval", ylabel="errors inside")
    axes.legend(fontsize="small")
    return axes


def z_histogram(errors: Errors, axes: Axes | None = None) -> Axes | None:
    """Errors over deviations beside a normal distribution; parameters as of `reliability_curve`."""
    shown = list(_shown(errors))
    if not shown:
        return None
    axes = on(axes)
    for color, prop, held in shown:
        z = np.clip(held.z(), -WIDEST, WIDEST)
        edges = np.linspace(-WIDEST, WIDEST, 34).tolist()
        axes.hist(z, edges, density=True, color=color, histtype="step", label=prop)
    grid = np.linspace(-WIDEST, WIDEST, 200)
    axes.plot(grid, norm.pdf(grid), color=GREY, lw=1)
    axes.set(xlabel="error / deviation", ylabel="density")
    axes.legend(fontsize="small")
    return axes


def error_against_deviation(
    errors: Errors, prop: str = "forces", axes: Axes | None = None
) -> Axes | None:
    """Root mean square errors of bins by deviation, of forces, or of energies with virials.

    Parameters
    ----------
    errors
        Of a campaign's picks under the model before each refit: energies and virials per atom, of
        each pick one root mean square. Or any by property, in the units of the axes.
    prop
        ``"forces"`` (eV/A), or ``"energy"`` with virials beside (eV/atom).
    axes
        To draw on.

    Returns
    -------
    None where no row tells anything.
    """
    shown = [(k, name, held) for k, name, held in _compared(errors, prop) if len(held.z())]
    if not shown:
        return None
    axes, drawn = on(axes), []
    for color, name, held in shown:
        deviations, sizes = binned(held, min(10, len(held.z())))
        drawn.append((deviations, np.maximum(sizes, 1e-12)))
        axes.plot(*drawn[-1], "o-", ms=3, color=color, label=name)
    across, up = np.concatenate(drawn, axis=1)
    error_scale(axes, across, "x")
    error_scale(axes, up)
    ends = np.array(axes.get_xlim())
    axes.plot(ends, ends, color=GREY, lw=1, zorder=0)
    unit = "eV/A" if prop == "forces" else "eV/atom"
    axes.set(xlabel=f"deviation ({unit})", ylabel=f"RMS error in a bin ({unit})")
    axes.legend(fontsize="small")
    return axes


def _compared(errors: Errors, prop: str) -> Iterator[tuple[str, str, HeldOut]]:
    """Colour, name and rows of what `error_against_deviation` draws."""
    names = {"forces": "C1"} if prop == "forces" else {"energy": "C0", "virial": "C2"}
    for name, color in names.items():
        if isinstance(errors, Mapping):
            rows = errors.get(name)
        elif name == "forces":
            rows = History.of(errors).all_foretold().get(name)
        else:
            rows = History.of(errors).foretold_per_atom(name)
        if rows is not None:
            yield color, name, rows


def _shown(errors: Errors) -> Iterator[tuple[str, str, HeldOut]]:
    """Colour, name and rows of each property that tells something."""
    rows = errors if isinstance(errors, Mapping) else History.of(errors).all_foretold()
    telling = ((prop, held) for prop, held in rows.items() if len(held.z()))
    for k, (prop, held) in enumerate(telling):
        yield f"C{k}", prop, held
