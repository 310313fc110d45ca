"""The map of a pool."""

from itertools import combinations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from ase_bayesel.plots import feature_map


@pytest.mark.parametrize("seed", [3, 4])
def test_numbers_of_close_picks_do_not_lie_on_each_other(seed):
    rng = np.random.default_rng(seed)
    features = np.concatenate([rng.normal(size=(80, 6)), 0.3 * rng.normal(size=(60, 6)) + 2])
    picks = [*range(8), *range(85, 97)]
    axes = Figure(figsize=(6.4, 3.8), layout="constrained").subplots()
    feature_map(features, ["wide"] * 80 + ["narrow"] * 60, picks, axes)
    canvas = FigureCanvasAgg(axes.figure)
    canvas.draw()
    assert [text.get_text() for text in axes.texts] == [str(k) for k in range(1, 21)]
    extents = [Text.get_window_extent(text, canvas.get_renderer()) for text in axes.texts]
    assert not any(one.overlaps(other) for one, other in combinations(extents, 2))


def test_numbers_of_equal_structures_are_apart():
    axes = feature_map(np.ones((4, 3)), [""] * 4, [0, 1, 2, 3])
    assert len({text.xyann for text in axes.texts}) == 4
