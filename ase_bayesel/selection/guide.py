"""The methods of `select` in words: what each is, what its scores are, and why it picks."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .methods import Selection

RECOMMENDED = (
    "With a labelled core: i_optimal with energies scored (--scored energy). Without labels: "
    "k_medoids, up to 20,000 structures, and direct beyond."
)
"""After docs/reproduction.md; its last part says where other methods did better."""


@dataclass(frozen=True)
class Method:
    """One method in words.

    Attributes
    ----------
    line
        What it does, in a line.
    score
        What its scores are; empty where it gives none.
    unit
        Of the scores.
    reason
        Why a structure is picked, where there is no score to be told.
    """

    line: str
    score: str = ""
    unit: str = ""
    reason: str = ""

    def axis(self, costs: bool = False) -> str:
        """What an axis of scores says; ``costs`` where these divide the scores."""
        per = " / cost" if costs else ""
        return f"{self.score}{per}\n({self.unit or 'no unit'})"

    def why(self, number: int, score: float, costs: bool = False) -> str:
        """The reason of a pick.

        Parameters
        ----------
        number
            Of the pick, from 1.
        score
            NaN where there is none.
        costs
            Whether scores are divided by costs.
        """
        if math.isnan(score):
            return self.reason.format(number=number)
        per = " / cost" if costs else ""
        return f"largest {self.score}{per}: {score:.3g} {self.unit}".rstrip()


IN_WORDS = {
    "energy_variance": Method(
        "most uncertain energy per atom", "energy variance", "eV^2 per atom^2"
    ),
    "force_variance": Method("most uncertain force of an atom", "force variance", "(eV/A)^2"),
    "information_gain": Method("whose label says most of all coefficients", "log det of the label"),
    "weighted_sum": Method("weighted sum of the three above (--weights)", "weighted sum of scores"),
    "i_optimal": Method(
        "lowers the mean energy variance of the pool, or of --targets, most",
        "fall of the mean energy variance",
        "eV^2 per atom^2",
    ),
    "c_optimal": Method(
        "lowers the variance of a sum of energies most (--targets, --coefficients)",
        "fall of the variance of the sum",
        "eV^2",
    ),
    "fps": Method("farthest from core and earlier picks", "distance to the nearest before"),
    "max_volume": Method("extrapolation grade (MaxVol, D-optimality)", "extrapolation grade"),
    "entropy": Method("most new atomic environments", "gain of entropy", "nats"),
    "k_medoids": Method(
        "the middle of each of n clusters", reason="medoid of cluster {number}, by falling size"
    ),
    "cur": Method(
        "CUR on features of structures", reason="largest leverage in what earlier picks leave"
    ),
    "atomic_cur": Method("CUR on features of atoms", "mean leverage of its atoms"),
    "direct": Method(
        "one of each cluster of principal components (DIRECT)",
        reason="near the middle of a cluster, large ones first",
    ),
    "random": Method("drawn at random", reason="drawn at random"),
}
"""By the names that `select` knows."""
NEAR_CORE_REASON = "a near copy of the core: taken last, where nothing else is left"


def reasons_of(method: str, selection: Selection, costs: bool = False) -> list[str]:
    """Why each structure was picked.

    Parameters
    ----------
    method
        That picked.
    selection
        The picks.
    costs
        Whether scores are divided by costs.
    """
    last = len(selection) - selection.n_near_core
    why = IN_WORDS[method].why
    reasons = [why(k, score, costs) for k, score in enumerate(selection.scores[:last], start=1)]
    return [*reasons, *[NEAR_CORE_REASON] * selection.n_near_core]


def methods_text() -> str:
    """All methods with a line each, and which are recommended."""
    width = max(map(len, IN_WORDS))
    lines = [f"  {name:{width}}  {method.line}" for name, method in IN_WORDS.items()]
    return "\n".join([*lines, RECOMMENDED])
