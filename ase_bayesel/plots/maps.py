"""Structures by their features: a map in two dimensions, and how alike they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from ase import Atoms
from matplotlib.axes import Axes

from ..campaign.history import History
from ..descriptors.base import Descriptor
from ..selection.methods.distances import nearest_distance, standardised
from ..surrogate.surrogate import Surrogate
from .canvas import GREY, MANY_POINTS, Campaign, count_axis, ink, on, plain

MAX_NUMBERS = 20
"""Only the first picks carry their number."""
NUMBER_SIZE = np.array([10.0, 8.5])
"""Of a number with two digits and its margin, in points of print."""
NUMBER_RADII = 10.0, 18.0, 28.0, 40.0, 54.0
WAYS = [np.array([np.cos(angle), np.sin(angle)]) for angle in np.pi / 4 + np.arange(12) * np.pi / 6]
"""Distances and directions from a point at which its number is tried, in this order."""
AXES_SHARE = 0.85
"""Of the sides of a figure that its axes take up, about."""
MOST_OF_A_KIND = 300
"""So many structures of each input of a campaign are on its map, evenly spread."""


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


def mean_features(frames: Sequence[Atoms], descriptor: Descriptor) -> np.ndarray:
    """``(M, D)`` features of structures, in the mean over their atoms."""
    rows = [descriptor.compute([atoms])[0].values.mean(axis=0) for atoms in frames]
    return np.array(rows).reshape(len(frames), -1)


def feature_map(
    features: np.ndarray,
    groups: Sequence[str],
    picks: Sequence[int] = (),
    axes: Axes | None = None,
    core: np.ndarray | None = None,
) -> Axes:
    """Structures in their first two principal components, coloured by group.

    Parameters
    ----------
    features
        ``(M, D)``, as of `mean_features`.
    groups
        Of each structure; common ones are drawn first, colours follow the order here.
    picks
        Numbers of structures to be marked, in their order.
    axes
        To draw on.
    core
        ``(C, D)`` of structures that are labelled already, drawn as crosses.
    """
    known = features[:0] if core is None else core
    points, explained = principal_components(np.concatenate([features, known]))
    points, known = points[: len(features)], points[len(features) :]
    axes = on(axes, 6.4, 4.8)
    names = np.array(groups)
    kinds, counts = np.unique(names, return_counts=True)
    colors = {kind: f"C{k}" for k, kind in enumerate(dict.fromkeys(groups))}
    for kind in kinds[np.argsort(-counts, kind="stable")]:
        own = points[names == kind]
        label = plain(str(kind)) or "no config_type"
        (line,) = axes.plot(*own.T, ".", ms=6, alpha=0.6, color=colors[str(kind)], label=label)
        line.set_rasterized(len(own) > MANY_POINTS)
    if len(known):
        axes.plot(*known.T, "x", ms=6, mew=1.2, color=ink(), label="core")
    if len(picks):
        chosen = points[np.array(picks, int)]
        size, width = (9, 1.0) if len(picks) <= MAX_NUMBERS else (5, 0.6)
        axes.plot(*chosen.T, "o", ms=size, mew=width, mfc="none", mec=ink(), label="picked")
        _number(axes, chosen[:MAX_NUMBERS])
    first, second = (f"principal component {k + 1} ({100 * explained[k]:.0f}%)" for k in (0, 1))
    axes.set(xlabel=first, ylabel=second)
    axes.legend(fontsize="x-small")
    return axes


def _number(axes: Axes, points: np.ndarray) -> None:
    """Number points ``(n, 2)`` from 1, each where no other number and few other points are.

    A number that has to go far from its point is joined to it by a line.
    """
    spans = np.ptp(axes.dataLim.get_points(), axis=0)
    spans[spans == 0] = 1.0
    size = 72.0 * np.array(axes.get_figure(root=True).get_size_inches())  # type: ignore[union-attr]
    places = (points - axes.dataLim.min) / spans * size * AXES_SHARE  # in points of print
    taken: list[np.ndarray] = []
    for number, (point, place) in enumerate(zip(points, places, strict=True), start=1):
        spots = [place + radius * way for radius in NUMBER_RADII for way in WAYS]
        clear = [_clearance(spot, places, taken) for spot in spots]
        free = [k for k, room in enumerate(clear) if room >= 1.0]
        best = free[0] if free else int(np.argmax(clear))
        taken.append(spots[best])
        offset = spots[best] - place
        far = np.linalg.norm(offset) > 1.5 * NUMBER_RADII[0]
        axes.annotate(
            str(number),
            point,
            offset,
            textcoords="offset points",
            fontsize=7,
            ha="center",
            va="center",
            arrowprops={"arrowstyle": "-", "lw": 0.5, "color": GREY} if far else None,
        )


def _clearance(spot: np.ndarray, places: np.ndarray, taken: Sequence[np.ndarray]) -> float:
    """Of a number: the least distance to other numbers and to picks, in sizes of a number."""
    others = np.array([*taken, *places])
    return float(np.max(np.abs(others - spot) / NUMBER_SIZE, axis=1).min())


def campaign_structures(campaign: Campaign) -> Mapping[str, list[Atoms]]:
    """Training set, test set, starts and picks of a campaign, of each input only some."""
    history = History.of(campaign)
    inputs = {"training set": "train", "test set": "test", "starts of walkers": "starts"}
    found = {label: _some(history.store.read_input(name)) for label, name in inputs.items()}
    found["picks"] = [record.pick.structure for record in history.picks]
    return {label: frames for label, frames in found.items() if frames}


def campaign_map(
    campaign: Campaign, axes: Axes | None = None, features: Mapping[str, np.ndarray] | None = None
) -> Axes:
    """Training set, test set, starts and picks of a campaign on one map.

    Parameters
    ----------
    campaign
        Its directory or records.
    axes
        To draw on.
    features
        ``(M, D)`` by the names of `campaign_structures`, where they are at hand.
    """
    history = History.of(campaign)
    features = campaign_features(history) if features is None else features
    groups = [label for label, rows in features.items() for _ in rows]
    return feature_map(np.concatenate([*features.values()]), groups, axes=axes)


def campaign_features(campaign: Campaign) -> Mapping[str, np.ndarray]:
    """`mean_features` of `campaign_structures` in the descriptor of the last model."""
    history = History.of(campaign)
    path = history.store.model_path(len(history.reports) - 1)
    descriptor = Surrogate.load(path).descriptor
    frames = campaign_structures(history)
    return {label: mean_features(own, descriptor) for label, own in frames.items()}


def redundancy(
    features: np.ndarray, known: np.ndarray | None = None, axes: Axes | None = None
) -> Axes | None:
    """Distance of each structure to the nearest one before it: near 0, it is nearly a copy.

    Features are standardised, so that distances have no unit.

    Parameters
    ----------
    features
        ``(M, D)`` of structures in their order, as of `mean_features`.
    known
        ``(C, D)`` of structures that were there before.
    axes
        To draw on.

    Returns
    -------
    None where there is nothing to compare.
    """
    rows, core = standardised(features, known)
    distances = []
    for k in range(len(rows)):
        before = np.concatenate([core, rows[:k]])
        if len(before):
            distances.append((k + 1, float(nearest_distance(rows[k : k + 1], before)[0])))
    if not distances:
        return None
    axes = on(axes)
    axes.plot(*zip(*distances, strict=True), "o", ms=4)
    axes.set(xlabel="pick", ylabel="distance to the nearest before", ylim=(0, None))
    count_axis(axes)
    return axes


def _some(frames: Sequence[Atoms]) -> list[Atoms]:
    return [frames[k] for k in range(0, len(frames), max(1, -(-len(frames) // MOST_OF_A_KIND)))]
