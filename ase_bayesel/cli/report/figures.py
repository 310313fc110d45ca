"""The figures of the report, in groups, each with what it shows in a sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes

from ...campaign.history import History
from ...plots import calibration, errors, maps, rounds, walkers
from ..pages import svg

MOST_ROUNDS = 12
"""So many rounds, the last ones, show what their walkers saw."""
Draw = Callable[[Axes], Axes | None]


@dataclass(frozen=True)
class Group:
    """Figures under one title, by their own names."""

    title: str
    note: str
    figures: dict[str, Markup]


def panels(history: History) -> list[Group]:
    """All groups in which there is something to be drawn."""
    found = []
    for title, note, drawings in _groups(history):
        drawn = {name: svg(draw, name) for name, draw in drawings.items()}
        figures = {name: figure for name, figure in drawn.items() if figure is not None}
        if figures:
            found.append(Group(title, note, figures))
    return found


def _groups(history: History) -> Iterator[tuple[str, str, dict[str, Draw]]]:
    yield (
        "Errors on the test set",
        "After each round, and of each structure after the last one. Error bars of energies are "
        "one calibrated deviation.",
        {
            "Energy error against labels": lambda a: errors.error_against_labels(
                history, "energy", a
            ),
            "Force error against labels": lambda a: errors.error_against_labels(
                history, "forces", a
            ),
            "Force error against time of the engine": lambda a: errors.error_against_hours(
                history, "forces", a
            ),
            "Energies: parity": lambda a: errors.parity(history, "energy", a),
            "Energies: residuals": lambda a: errors.residuals(history, "energy", a),
            "Forces: parity": lambda a: errors.parity(history, "forces", a),
            "Forces: residuals": lambda a: errors.residuals(history, "forces", a),
        },
    )
    foretold = history.all_foretold()
    yield (
        "Uncertainties against errors of picks",
        "Each pick is predicted by the model before its refit. On the diagonal, and at 1, "
        "uncertainties are as large as errors. Noise above the deviations means that the form of "
        "the model is what is left.",
        {
            "Errors within intervals": lambda a: calibration.reliability_curve(foretold, a),
            "Errors over deviations": lambda a: calibration.z_histogram(foretold, a),
            "Energy errors against deviations": lambda a: calibration.error_against_deviation(
                history, "energy", a
            ),
            "Force errors against deviations": lambda a: calibration.error_against_deviation(
                history, "forces", a
            ),
            "z of each round": lambda a: rounds.z_of_rounds(history, a),
            "Noise, deviations and errors of forces": lambda a: rounds.noise_and_deviation(
                history, a
            ),
            "Why structures were picked": lambda a: rounds.fires(history, a),
        },
    )
    yield (
        "How well properties are known",
        "Error bars that the last fits leave, as large as errors; those wanted are dashed.",
        {"Error bars of properties": lambda a: rounds.property_error_bars(history, a)},
    )
    yield _map(history)
    last = range(max(1, len(history.reports) - MOST_ROUNDS), len(history.reports))
    yield (
        "What the walkers saw",
        f"The trigger's criterion at each check of the last {MOST_ROUNDS} rounds at most, with "
        "gaps where an estimate told that nothing can fire; the dashed line is the threshold, the "
        "dotted one the bound of trust. Picks with hollow marks are not made by the criterion: "
        "diamonds are starts whose energy is uncertain. Triangles are where walkers met the bound "
        "and went back: it asks the last fit, which does not know the picks since, and limits the "
        "energy too, so that they may lie below its line.",
        {f"Criterion in round {k}": _of_round(walkers.criterion, history, k) for k in last},
    )
    logs: dict[str, Draw] = {}
    for k in last:
        logs[f"sigma_E in round {k}"] = _of_round(walkers.deviation_log, history, k)
        logs[f"Temperature in round {k}"] = _of_round(walkers.temperature_log, history, k)
    yield "Every step of the walkers", "From the log that `explore.log` keeps.", logs


def _of_round(
    draw: Callable[[History, int, Axes], Axes | None], history: History, number: int
) -> Draw:
    def drawn(axes: Axes) -> Axes | None:
        found = draw(history, number, axes)
        axes.set_title("")  # the panel's own says the round
        return found

    return drawn


def _map(history: History) -> tuple[str, str, dict[str, Draw]]:
    """Map and redundancy, for descriptors that no model file is needed for."""
    title = "Where the structures lie"
    if history.setting("descriptor", "kind") != "ace" or not history.reports:
        return title, "", {}
    features = maps.campaign_features(history)
    picks = features.get("picks", np.zeros((0, 1)))
    drawings: dict[str, Draw] = {
        "Map of the structures": lambda a: maps.campaign_map(history, a, features),
    }
    if len(picks):
        drawings["How near picks lie to those before"] = lambda a: maps.redundancy(
            picks, features.get("training set"), a
        )
    note = "Mean features of the atoms, standardised. A distance near 0 is nearly a copy."
    return title, note, drawings
