"""The batch that is chosen together, of all candidates of a round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from ase import Atoms

from ...errors import StructureError
from ...selection.select import select
from .blocks import WalkerSetup, look_again
from .picks import Candidate, Pick
from .state import ExploreState
from .trace import PICKED, TAU, TEMPERATURE, rows_of

CHOSEN = "chosen together"
"""The reason of such a pick."""
COEFFICIENT, PROPERTY = "coefficient", "property"
"""Keys of ``atoms.info`` of target frames."""


@dataclass(frozen=True)
class Targets:
    """What a batch that is chosen together aims at.

    Attributes
    ----------
    first_walker
        Candidates of the walkers from this number on are target frames, where there are no
        ``frames``.
    frames
        Given ones. If all have a number under ``info["coefficient"]``, what is to be known is not
        their energies but the property sum_t coefficient_t E_t; ``info["property"]`` tells
        properties apart.
    """

    first_walker: int = 0
    frames: tuple[Atoms, ...] = ()

    def structures(self, candidates: Sequence[Candidate]) -> list[Atoms]:
        """The target frames."""
        if self.frames:
            return list(self.frames)
        return [c.structure for c in candidates if c.walker >= self.first_walker]

    @property
    def coefficients(self) -> np.ndarray | None:
        """``(P, T)`` of the properties, None where there are none.

        Raises
        ------
        StructureError
            If some frames have a coefficient and others have none, or one is no number.
        """
        given = [COEFFICIENT in atoms.info for atoms in self.frames]
        if not any(given):
            return None
        if not all(given):
            raise StructureError(
                f"targets, frame {given.index(False)}: has no {COEFFICIENT!r}, which others have"
            )
        try:
            values = np.array([float(atoms.info[COEFFICIENT]) for atoms in self.frames])
        except (TypeError, ValueError) as error:
            raise StructureError(f"targets: a {COEFFICIENT!r} is no number ({error})") from None
        names = np.array([str(atoms.info.get(PROPERTY, "")) for atoms in self.frames])
        return np.array([np.where(names == name, values, 0.0) for name in sorted(set(names))])


def choose_batch(
    state: ExploreState, setup: WalkerSetup, limit: int, targets: Targets
) -> ExploreState:
    """The state with the picks: those candidates that most lower the variance of the targets.

    I-optimal design: greedily, the fall of the mean variance of the energy per atom over the
    target frames, or c-optimal for properties, with all rows that each label will hold
    (`select`). Redundancy is dealt with by the design itself. `RoundRules` says in which rounds
    nothing is chosen.

    Parameters
    ----------
    state
        Of a round whose walkers have ended.
    setup
        With which they ran; its surrogate knows all labels.
    limit
        Largest number of picks.
    targets
        What the batch aims at.
    """
    distinct = list({c.structure_id: c for c in state.candidates}.values())
    if not distinct or not setup.rules.fills_up(state):
        return state
    structures, core = [c.structure for c in distinct], setup.surrogate
    coefficients = targets.coefficients
    chosen = select(
        structures,
        min(limit, len(distinct)),
        "i_optimal" if coefficients is None else "c_optimal",
        core=core,
        targets=targets.structures(state.candidates) or None,
        coefficients=coefficients,
    )
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
