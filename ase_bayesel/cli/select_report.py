"""What a selection from a pool says of itself: a JSON record and an HTML page."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ..io.formats import KEY, SELECTION
from ..plots.maps import feature_map
from ..plots.pools import error_left, scores
from ..selection.guide import IN_WORDS
from ..selection.methods import Selection
from ..selection.remaining import MOST, ROUND, SMALL_GAIN, Left
from .pages import rendered, svg

WITHOUT_CURVE = (
    "Are these enough? A core with labels would tell what they leave of the predicted errors."
)
NOT_ASKED = "Are these enough? Without --no-curve the page tells."
MAP_HEIGHT = 3.8
"""Inches."""


@dataclass(frozen=True)
class MethodPicks:
    """What one method has picked.

    Attributes
    ----------
    method
        Its name.
    selection
        The picks.
    reasons
        One for each.
    file
        Name of the file of the picks.
    left
        What is left of the predicted errors; None where no surrogate tells.
    costs
        Whether scores are divided by costs.
    """

    method: str
    selection: Selection
    reasons: Sequence[str]
    file: str
    left: Left | None = None
    costs: bool = False


@dataclass(frozen=True)
class PickedPool:
    """Selections beside the pool that they came from.

    Attributes
    ----------
    methods
        What each has picked; at least one.
    descriptor, seed
        How it was made; ``descriptor`` is the spec.
    ids, config_types, n_atoms
        Of all M structures of the pool; an empty config_type where there is none.
    features
        ``(M, D)`` mean features of the atoms of each structure.
    core
        ``(C, D)`` of the core; None where its structures are not at hand.
    """

    methods: Sequence[MethodPicks]
    descriptor: Mapping[str, Any]
    seed: int
    ids: Sequence[str]
    config_types: Sequence[str]
    n_atoms: np.ndarray
    features: np.ndarray
    core: np.ndarray | None = None


def record(picked: PickedPool) -> dict[str, Any]:
    """The selection as plain values for JSON; scores that do not exist are None.

    Further methods are under ``compared``, with the keys that the first has at the top.
    """
    first, *others = (_method_record(picked, own) for own in picked.methods)
    return {
        KEY: str(SELECTION),
        "descriptor": dict(picked.descriptor),
        "seed": picked.seed,
        "n_pool": len(picked.ids),
        **first,
        **({"compared": others} if others else {}),
    }


def _method_record(picked: PickedPool, own: MethodPicks) -> dict[str, Any]:
    selection = own.selection
    picks = [
        {
            "index": k,
            "id": picked.ids[k],
            "config_type": picked.config_types[k],
            "n_atoms": int(picked.n_atoms[k]),
            "score": float(score) if np.isfinite(score) else None,
            "reason": reason,
        }
        for k, score, reason in zip(
            selection.indices.tolist(), selection.scores, own.reasons, strict=True
        )
    ]
    return {
        "method": own.method,
        "file": own.file,
        "config_types": count_config_types(picked, selection),
        "picks": picks,
        "left": None if own.left is None else _left_record(own.left),
    }


def _left_record(left: Left) -> dict[str, Any]:
    known = math.isfinite(left.relative_error)
    return {
        "picks": left.counts.tolist(),
        "error_eV_per_atom": left.errors.tolist(),
        "relative_error": left.relative_error if known else None,
        "most_eV_per_atom": None if left.most is None else left.most.tolist(),
        "floor_eV_per_atom": left.floor,
        "share": left.shares().tolist(),
        "enough": left.enough(),
        "n_looked_at": left.n_looked_at,
    }


def count_config_types(picked: PickedPool, selection: Selection) -> dict[str, dict[str, int]]:
    """Structures of each config_type in the pool and among the picks, common ones first."""
    chosen = Counter(picked.config_types[k] for k in selection.indices)
    in_pool = Counter(picked.config_types).most_common()
    return {name: {"pool": count, "picked": chosen[name]} for name, count in in_pool}


def enough_in_words(left: Left) -> str:
    """Whether the picks are enough, by the rule of `Left.enough` and the share of the fall."""
    n, share = int(left.counts[-1]), 100 * left.shares()[-1]
    told = (
        f"{_error(left, 0)} meV/atom before the first pick, and foretold to be {_error(left, -1)} "
        f"after {n}: {share:.0f}% of the fall to the {_plain(1e3 * left.floor, 2)} that would be "
        "left with all picks of this page and the energies of all structures known"
    )
    enough = left.enough()
    if enough is not None:
        few = "" if enough == n else f", and {enough} would be"
        return f"Are {n} enough? Yes{few}. The mean predicted error is {told}."
    last = 100 * left.gains()[-1] if n else 100.0
    more = left.extrapolated()
    ahead = "" if more is None else f"; if it goes on so, roughly {more} would be"
    if more is not None and left.n_looked_at < min(more, MOST):
        ahead = "; if it goes on so, not even all structures of the pool would be"
    return (
        f"Are {n} enough? Not yet: the last pick still lowers the mean predicted error by "
        f"{last:.{0 if last >= 10 else 1}f}%{ahead}. It is {told}."
    )


def _error(left: Left, place: int) -> str:
    """meV/atom: from what is foretold to what it may be, or with the error of its scale."""
    value, relative = 1e3 * left.errors[place], left.relative_error
    most = value if left.most is None else 1e3 * left.most[place]
    if _plain(most, 2) != _plain(value, 2):
        return f"{_plain(value, 2)} to {_plain(most, 2)}"
    bar = f" ± {_plain(value * relative, 1)}" if math.isfinite(relative) else ""
    return _plain(value, 2) + bar


def _plain(value: float, digits: int) -> str:
    """A number rounded to so many digits, without a power of ten where it is above 0.0001."""
    return f"{float(f'{value:.{digits}g}'):.15g}"


def left_rows(picked: PickedPool) -> list[tuple[int, list[str]]]:
    """After round numbers of picks, for each method with a curve: what is left, and the share."""
    curves = [own.left for own in picked.methods if own.left is not None]
    n = max((int(left.counts[-1]) for left in curves), default=-1)
    rows = []
    for count in sorted({0, n, *(k for k in ROUND if k < n)} - {-1}):
        cells = []
        for left in curves:
            place = np.flatnonzero(left.counts == count)
            cells += (
                [_error(left, place[0]), f"{100 * left.shares()[place[0]]:.0f}%"]
                if len(place)
                else ["-", "-"]
            )
        rows.append((count, cells))
    return rows


def overlaps(picked: PickedPool) -> list[tuple[str, list[int]]]:
    """For each method how many of its picks each has picked too."""
    chosen = {own.method: {*own.selection.indices.tolist()} for own in picked.methods}
    return [(name, [len(own & other) for other in chosen.values()]) for name, own in chosen.items()]


def page(picked: PickedPool, title: str, notes: Sequence[str] = (), asked: bool = True) -> str:
    """A self-contained HTML page: whether picks are enough, methods compared, maps, the picks.

    Parameters
    ----------
    picked
        The selections.
    title
        Of the page.
    notes
        Doubts that are told on top.
    asked
        Whether curves of what is left were asked for.
    """

    def draw_map(own: MethodPicks, axes: Axes) -> Axes:
        chosen = own.selection.indices.tolist()
        return feature_map(picked.features, picked.config_types, chosen, axes, picked.core)

    curves = {own.method: own.left for own in picked.methods if own.left is not None}
    several = len(picked.methods) > 1
    rows = []
    for own in picked.methods:
        of = f": {own.method}" if several else ""
        label = IN_WORDS[own.method].axis(own.costs)
        names = f"The pool, and the picks in their order{of}", f"Score of each pick{of}"
        drawn = (
            svg(partial(draw_map, own), names[0], height=MAP_HEIGHT),
            svg(partial(scores, own.selection, label=label), names[1], height=MAP_HEIGHT),
        )
        rows.append([pair for pair in zip(names, drawn, strict=True) if pair[1] is not None])
    curve_name = "Predicted error left over the pool"
    return rendered(
        "pool.html",
        name=title,
        picked=record(picked),
        methods=[
            record_of | {"line": IN_WORDS[record_of["method"]].line}
            for record_of in (_method_record(picked, own) for own in picked.methods)
        ],
        several=several,
        has_core=picked.core is not None,
        notes=notes,
        verdicts=[(name, enough_in_words(left)) for name, left in curves.items()],
        small_gain=f"{SMALL_GAIN:.0%}",
        without_curve=WITHOUT_CURVE if asked else NOT_ASKED,
        n_looked_at=next((left.n_looked_at for left in curves.values()), 0),
        curve_name=curve_name,
        curve=svg(partial(error_left, curves), curve_name),
        left=left_rows(picked),
        curves=list(curves),
        overlaps=overlaps(picked),
        rows=rows,
        config_types={
            name: counts["pool"]
            for name, counts in count_config_types(picked, picked.methods[0].selection).items()
        },
    )
