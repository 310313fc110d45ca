"""One table for each system and start: the telling arms beside the default."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .arms import FLOOR, SUMMARY
from .tables import Record, by_seed, markdown, pair, paired_ratio, present_arms, ratio

DEFAULT = "default"
HEADER = ("arm", "seeds", "refits", "last errors", "energy over the default's", "forces")


def summary(records: Sequence[Record], unit: str) -> str:
    """Last errors and their ratios to those of the default.

    Parameters
    ----------
    records
        All of one system and start.
    unit
        Of the energies.
    """
    labels = max(r["max_labels"] for r in records)
    rows = []
    for arm in present_arms(records):
        if arm not in SUMMARY:
            continue
        own = [r for r in records if r["arm"] == arm]
        refits = np.median([r["rounds"][-1]["refits"] for r in own])
        cells = [pair([r["rounds"][-1]["errors"]["all"] for r in own])]
        for column in (0, 1):
            found = None
            if arm not in (DEFAULT, FLOOR):
                theirs, ours = (
                    by_seed(records, name, labels, "all", column) for name in (arm, DEFAULT)
                )
                found = paired_ratio(theirs, ours)
            cells.append(ratio(found))
        rows.append([arm, len(own), f"{refits:.0f}", *cells])
    return (
        f"After {labels} labels, energy RMSE ({unit}) / force RMSE (meV/A) of all test "
        f"frames:\n\n{markdown(HEADER, rows)}"
    )
