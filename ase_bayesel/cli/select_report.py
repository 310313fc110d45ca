"""What a selection from a pool says of itself: a JSON record and an HTML page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
from jinja2 import Environment
from matplotlib.figure import Figure

from ..io.formats import KEY, SELECTION
from ..selection.methods import Selection
from ..selection.methods.distances import standardised
from .report import png


@dataclass(frozen=True)
class PickedPool:
    """A selection beside the pool that it came from.

    Attributes
    ----------
    method, descriptor, seed
        How it was made; ``descriptor`` is the spec.
    selection
        The picks.
    ids, config_types, n_atoms
        Of all M structures of the pool; an empty config_type where there is none.
    features
        ``(M, D)`` mean features of the atoms of each structure.
    """

    method: str
    descriptor: Mapping[str, Any]
    seed: int
    selection: Selection
    ids: Sequence[str]
    config_types: Sequence[str]
    n_atoms: np.ndarray
    features: np.ndarray


def record(picked: PickedPool) -> dict[str, Any]:
    """The selection as plain values for JSON; scores that do not exist are None."""
    selection = picked.selection
    picks = [
        {
            "index": k,
            "id": picked.ids[k],
            "config_type": picked.config_types[k],
            "n_atoms": int(picked.n_atoms[k]),
            "score": float(score) if np.isfinite(score) else None,
        }
        for k, score in zip(selection.indices.tolist(), selection.scores, strict=True)
    ]
    return {
        KEY: str(SELECTION),
        "method": picked.method,
        "descriptor": dict(picked.descriptor),
        "seed": picked.seed,
        "n_pool": len(picked.ids),
        "config_types": count_config_types(picked),
        "picks": picks,
    }


def count_config_types(picked: PickedPool) -> dict[str, dict[str, int]]:
    """Structures of each config_type in the pool and among the picks, common ones first."""
    chosen = Counter(picked.config_types[k] for k in picked.selection.indices)
    in_pool = Counter(picked.config_types).most_common()
    return {name: {"pool": count, "picked": chosen[name]} for name, count in in_pool}


def page(picked: PickedPool, title: str) -> str:
    """A self-contained HTML page: counts, scores, and a map of the pool."""
    figures = {
        "Score of each pick": score_figure(picked.selection),
        "The pool, and the picks in their order": map_figure(picked),
    }
    template = Environment(autoescape=True).from_string(
        files("ase_bayesel").joinpath("templates/pool.html").read_text()
    )
    return template.render(
        title=title,
        picked=record(picked),
        figures=[(name, png(figure)) for name, figure in figures.items() if figure is not None],
    )


def score_figure(selection: Selection) -> Figure | None:
    """Scores in the order of picking; None for a method that gives none."""
    known = np.isfinite(selection.scores)
    if not known.any():
        return None
    figure = Figure(figsize=(6.4, 3.2), layout="constrained")
    panel = figure.subplots()
    panel.plot(np.flatnonzero(known) + 1, selection.scores[known], "o-", ms=3, lw=1)
    panel.set(xlabel="pick", ylabel="score")
    if selection.scores[known].min() > 0:
        panel.set_yscale("log")
    return figure


def map_figure(picked: PickedPool) -> Figure:
    """The pool in its first two principal components, coloured by config_type."""
    points, explained = principal_components(picked.features)
    kinds = np.array(picked.config_types)
    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    panel = figure.subplots()
    for kind in count_config_types(picked):
        label = _plain(kind) or "no config_type"
        panel.plot(*points[kinds == kind].T, ".", ms=5, alpha=0.6, label=label)
    chosen = points[picked.selection.indices]
    panel.plot(*chosen.T, "o", ms=9, mfc="none", mec="k", label="picked")
    for number, point in enumerate(chosen[:MAX_NUMBERS], start=1):
        panel.annotate(str(number), point, xytext=(5, 5), textcoords="offset points", fontsize=7)
    first, second = (f"principal component {k + 1} ({100 * explained[k]:.0f}%)" for k in (0, 1))
    panel.set(xlabel=first, ylabel=second)
    panel.legend(fontsize="x-small")
    return figure


def _plain(text: str) -> str:
    """A text that a legend shows as it is: no formula, and nothing that hides it."""
    return text.replace("$", r"\$").replace("\n", " ").replace("_", " _", text.startswith("_"))


MAX_NUMBERS = 20
"""Only the first picks carry their number."""


def principal_components(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First two components ``(M, 2)`` of standardised columns, and the parts of the variance.

    Components that do not exist are 0. Each points to where the structure farthest from the
    middle lies, so that equal features give equal maps.
    """
    scaled, _ = standardised(features)
    points, explained = np.zeros((len(features), 2)), np.zeros(2)
    spread, directions = np.linalg.eigh(scaled.T @ scaled)
    for k in range(min(2, len(spread))):
        points[:, k] = scaled @ directions[:, -1 - k]
        points[:, k] *= np.sign(points[np.argmax(np.abs(points[:, k])), k])
        explained[k] = spread[-1 - k] / max(spread.sum(), np.finfo(float).tiny)
    return points, explained
