"""What a round tells of whether to go on: how often it fired, what a further batch brings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ase import Atoms

from ..surrogate.foresight import outlooks
from ..surrogate.surrogate import Surrogate
from .build.models import force_projections
from .closest import count_fires
from .config.campaign import CampaignConfig
from .exploration import ExploreState
from .exploration.trace import UNHARMED
from .store import Store

MOST = 20
"""So many intended structures are looked at, evenly spread."""


def round_outlook(
    config: CampaignConfig,
    store: Store,
    state: ExploreState,
    starts: Sequence[Atoms],
    surrogate: Surrogate,
    batch: Sequence[Atoms],
) -> dict[str, Any]:
    """The fields ``checks``, ``fires``, ``intended`` and ``outlook`` of a round's report.

    Parameters
    ----------
    config, store
        Of the campaign.
    state
        What the round's walkers ended with; without any there is nothing to tell.
    starts
        Of the round's biased walkers.
    surrogate
        After the round.
    batch
        The labelled picks of the round that are in its fit.
    """
    name, frames = intended_structures(config, store, state)
    projections, keys = force_projections(config.descriptor), config.data.keys
    found = outlooks(surrogate, frames, batch, projections, keys)
    thresholds = store.read_thresholds() or ()
    return {
        "checks": len(state.trace),
        "fires": count_fires(config.explore, thresholds, starts, state.trace),
        "intended": name if found else "",
        "outlook": found,
    }


def intended_structures(
    config: CampaignConfig, store: Store, state: ExploreState
) -> tuple[str, list[Atoms]]:
    """Structures like those that the potential is for, and where they come from.

    The file of targets, or else the test set, or else where the round's walkers ended unharmed: the
    unbiased ones where there are any. Labels are not looked at.
    """
    for name in ("targets", "test"):
        if frames := store.read_input(name):
            return name, frames[:: -(-len(frames) // MOST)]
    walkers = state.walkers[config.explore.walkers :] or state.walkers
    frames = [walker.atoms for walker in walkers if walker.status in UNHARMED]
    return "walkers", frames[:: -(-len(frames) // MOST) or 1]
