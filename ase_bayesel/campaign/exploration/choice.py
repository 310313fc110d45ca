"""The batch that is chosen together, of all candidates of a round."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ...selection.select import select
from .blocks import WalkerSetup, look_again
from .picks import Candidate, Pick
from .state import PICKED, TAU, TEMPERATURE, ExploreState, rows_of

CHOSEN = "chosen together"
"""The reason of such a pick."""


def choose_batch(
    state: ExploreState, setup: WalkerSetup, limit: int, is_target: Callable[[Candidate], bool]
) -> ExploreState:
    """The state with the picks: those candidates that most lower the variance of the targets.

    I-optimal design: greedily, the fall of the mean variance of the energy per atom over the
    target frames, with all rows that each label will hold (`select`). Redundancy is dealt with by
    the design itself. Nothing is chosen where no trigger and no bound has fired in the round.

    Parameters
    ----------
    state
        Of a round whose walkers have ended.
    setup
        With which they ran; its surrogate knows all labels.
    limit
        Largest number of picks.
    is_target
        Whether the batch aims at a candidate.
    """
    if not any(walker.fired for walker in state.walkers):
        return state
    distinct = list({c.structure_id: c for c in state.candidates}.values())
    targets = [c.structure for c in state.candidates if is_target(c)]
    structures, core = [c.structure for c in distinct], setup.surrogate
    n = min(limit, len(distinct))
    chosen = select(structures, n, "i_optimal", core=core, targets=targets or None)
    picks, trace = [], state.trace.copy()
    for number, index in enumerate(chosen.indices.tolist()):
        candidate = distinct[index]
        pick = Pick.of(look_again(setup, candidate, core), candidate.walker, CHOSEN)
        row = rows_of(trace, pick.walker, pick.step)[-1:]
        trace[row, PICKED] = 1
        for temperature_K, tau in trace[row][:, [TEMPERATURE, TAU]]:
            pick = replace(pick, temperature_K=float(temperature_K), tau=float(tau))
        picks.append(replace(pick, number=number))
    return replace(state, picks=tuple(picks), trace=trace)
