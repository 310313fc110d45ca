"""The HTML page of a campaign: a table of rounds and three plots. Reads the store only."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
from jinja2 import Environment
from matplotlib.figure import Figure
from pydantic import TypeAdapter

from ..campaign.events import RoundReport
from ..campaign.exploration.state import PICKED, STEP, VALUE, WALKER
from ..campaign.store import Store
from ..dynamics.triggers import UNITS, AllOf, AnyOf, AnyTrigger, Trigger, Uncalibrated
from ..errors import StoreError
from ..surrogate.scales import Scales
from .calibration import COLUMNS, calibration_figure, pick_table, scaled_pick_errors

ORIGINS = {"training": "of the training set left out in turn", "md": "in unbiased MD"}


def write_report(store: Store) -> Path:
    """Write ``report.html`` (self-contained) into the campaign directory; returns its path."""
    reports = [store.read_report(k) for k in range(store.completed_rounds())]
    figures = {
        "Uncertainty along the walkers": uncertainty_figure(store, len(reports)),
        "Every step of the walkers": motion_figure(store, len(reports)),
        "Error against number of labels": error_figure(reports),
        "Parity on the test set after the last round": parity_figure(store, reports),
        "Errors of picks beside their uncertainties": calibration_figure(
            scaled_pick_errors(store, reports)
        ),
    }
    template = Environment(autoescape=True).from_string(
        files("ase_bayesel").joinpath("templates/report.html").read_text()
    )
    criterion = trigger_text(_trigger(store), iter(store.read_thresholds() or ()))
    page = template.render(
        name=store.directory.resolve().name,
        reports=reports,
        trigger=criterion,
        columns=COLUMNS,
        picks=pick_table(store, reports),
        figures=[(title, png(figure)) for title, figure in figures.items() if figure is not None],
    )
    return store.write_page("report.html", page)


def _trigger(store: Store) -> Trigger:
    """The trigger of the stored config."""
    try:
        section = store.read_config()["explore"]["trigger"]
        return TypeAdapter[Trigger](AnyTrigger).validate_python(section)
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{store.config_path}: has no readable trigger ({error})") from error


def trigger_text(trigger: Trigger, calibrated: Iterator[float]) -> str:
    """A trigger in words; ``calibrated`` are the thresholds found, left to right."""
    if isinstance(trigger, AnyOf | AllOf):
        members = "; ".join(trigger_text(member, calibrated) for member in trigger.members)
        return f"{trigger.kind} of ({members})"
    if not isinstance(trigger, Uncalibrated):
        return f"{_kind(trigger)} above {trigger.threshold}{_unit(trigger)}"
    threshold, how = next(calibrated, None), trigger.how
    found = f"{threshold:.4g}{_unit(trigger.probe)}" if threshold is not None else None
    return (
        f"{trigger.kind} above {found or 'a number to be calibrated'} ({how.factor} times the "
        f"{how.quantile} quantile {ORIGINS[how.calibrate]})"
    )


def _kind(trigger: Trigger) -> str:
    return str(getattr(trigger, "kind", type(trigger).__name__))


def _unit(trigger: Trigger) -> str:
    """The unit of a threshold after a space; empty where it has none."""
    unit = UNITS.get(_kind(trigger))
    return f" {unit}" if unit else ""


def trigger_threshold(store: Store) -> float | None:
    """What the trace's criterion is compared with; 1 for combinations, None if not known yet."""
    trigger = _trigger(store)
    if isinstance(trigger, Uncalibrated):
        return next(iter(store.read_thresholds() or ()), None)
    return trigger.threshold


def uncertainty_figure(store: Store, n_rounds: int) -> Figure | None:
    """The trigger's criterion along every walker, one panel a round, picks marked."""
    traces = [(k, store.exploration(k).read_trace()) for k in range(1, n_rounds + 1)]
    # rows of checks in which nothing was evaluated have no value
    traces = [(k, trace[np.isfinite(trace[:, VALUE])]) for k, trace in traces]
    traces = [(k, trace) for k, trace in traces if len(trace)]
    if not traces:
        return None
    threshold = trigger_threshold(store)
    figure = Figure(figsize=(3.2 * max(len(traces), 2), 3.2), layout="constrained")
    panels = figure.subplots(1, len(traces), sharey=True, squeeze=False)[0]
    for (number, trace), panel in zip(traces, panels, strict=True):
        for walker in np.unique(trace[:, WALKER]):
            rows = trace[trace[:, WALKER] == walker]
            panel.plot(rows[:, STEP], rows[:, VALUE], lw=1, label=f"walker {int(walker)}")
        picked = trace[trace[:, PICKED] > 0]
        panel.plot(picked[:, STEP], picked[:, VALUE], "k*", ms=8, label="picked")
        if threshold is not None:
            panel.axhline(threshold, color="0.5", ls="--", lw=1)
        panel.set(title=f"round {number}", xlabel="MD step")
    panels[0].set_ylabel("trigger criterion")
    panels[0].legend(fontsize="x-small")
    return figure


def motion_figure(store: Store, n_rounds: int) -> Figure | None:
    """sigma_E and temperature at every step, one column a round, where there is a log."""
    logs = [(k, store.read_log(k)) for k in range(1, n_rounds + 1)]
    logs = [(k, rows) for k, rows in logs if len(rows)]
    if not logs:
        return None
    figure = Figure(figsize=(3.2 * max(len(logs), 2), 4.8), layout="constrained")
    panels = figure.subplots(2, len(logs), sharex="col", sharey="row", squeeze=False)
    for (number, rows), column in zip(logs, panels.T, strict=True):
        for walker in np.unique(rows["walker"]).tolist():
            mine = rows[rows["walker"] == walker]
            for panel, name in zip(column, ("energy_std", "temperature_K"), strict=True):
                panel.plot(mine["step"], mine[name], lw=1, label=f"walker {walker}")
        column[0].set(title=f"round {number}")
        column[1].set(xlabel="MD step")
    panels[0, 0].set_ylabel("sigma_E (eV)")
    panels[1, 0].set_ylabel("temperature (K)")
    panels[0, 0].legend(fontsize="x-small")
    return figure


def error_figure(reports: Sequence[RoundReport]) -> Figure | None:
    """Energy and force errors on the test set against the labels paid for."""
    energies = [(r.n_labels, 1e3 * r.energy_rmse) for r in reports if r.energy_rmse is not None]
    forces = [(r.n_labels, 1e3 * r.forces_rmse) for r in reports if r.forces_rmse is not None]
    if not energies:
        return None
    figure = Figure(figsize=(6.4, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(*zip(*energies, strict=True), "o-")
    left.set(xlabel="labels", ylabel="energy RMSE (meV/atom)")
    if forces:
        right.plot(*zip(*forces, strict=True), "o-", color="C1")
    right.set(xlabel="labels", ylabel="force RMSE (meV/A)")
    for panel in (left, right):
        if all(line.get_ydata().min() > 0 for line in panel.lines):
            panel.set_yscale("log")
    return figure


def parity_figure(store: Store, reports: Sequence[RoundReport]) -> Figure | None:
    """Prediction against reference after the last round; energies with their scaled deviation."""
    parity = store.read_parity(reports[-1].round_number) if reports else None
    if parity is None:
        return None
    scale = Scales.from_json(reports[-1].scales).energy.value
    figure = Figure(figsize=(6.4, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.errorbar(
        parity.energy, parity.energy_predicted, yerr=scale * parity.energy_std, fmt="o", ms=4, lw=1
    )
    left.set(xlabel="reference energy (eV/atom)", ylabel="predicted energy (eV/atom)")
    right.plot(parity.forces, parity.forces_predicted, ".", ms=3, color="C1")
    right.set(xlabel="reference force (eV/A)", ylabel="predicted force (eV/A)")
    for panel, values in ((left, parity.energy), (right, parity.forces)):
        if len(values):
            ends = [values.min(), values.max()]
            panel.plot(ends, ends, color="0.5", lw=1, zorder=0)
        panel.ticklabel_format(useOffset=False)
    return figure


def png(figure: Figure) -> str:
    """A figure as the base64 text of a PNG, for a page that stands alone."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return base64.b64encode(buffer.getvalue()).decode()
