"""What a selection from a pool says of itself: a JSON record and an HTML page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ..io.formats import KEY, SELECTION
from ..plots.maps import feature_map
from ..plots.pools import scores
from ..selection.methods import Selection
from .pages import rendered, svg


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

    def draw_map(axes: Axes) -> Axes:
        chosen = picked.selection.indices.tolist()
        return feature_map(picked.features, picked.config_types, chosen, axes)

    names = "Score of each pick", "The pool, and the picks in their order"
    figures = {
        names[0]: svg(lambda axes: scores(picked.selection, axes), names[0], 6.4, 3.2),
        names[1]: svg(draw_map, names[1], 6.4, 4.8),
    }
    return rendered(
        "pool.html",
        name=title,
        picked=record(picked),
        figures=[(name, figure) for name, figure in figures.items() if figure is not None],
    )
