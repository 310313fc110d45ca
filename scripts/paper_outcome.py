"""Records of the reproduction, by metric, pool and method."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from paper_methods import CATALOGUE
from silicon_fit import DFT

PAPER_METHODS = ("random", "k_medoids", "fps", "cur", "atomic_cur", "variance")
BY_DESCRIPTOR = ("k_medoids", "variance", "variance_efv")

POOLS = {
    "Picks from all 186 structures": "full",
    "Picks from random sub-pools": "sub",
    "Picks from sub-pools that may hold the clean (001) slabs": "with",
    "Picks from sub-pools without the clean (001) slabs": "without",
}


@dataclass(frozen=True)
class Metric:
    """How a value of a refit is shown: times ``factor``, or its distance to the reference."""

    key: str
    title: str
    factor: float = 1.0
    reference: float = 0.0

    def of(self, record: Mapping[str, Any]) -> float:
        """NaN where the refit has no such value."""
        value = record["values"][self.key]
        return np.nan if value is None else abs(self.factor * value - self.reference)


METRICS = (
    Metric("energy_rmse", "energy RMSE (meV/atom)", 1e3),
    Metric("forces_rmse", "force RMSE (meV/A)", 1e3),
    Metric("gamma_100", "(100) error (J/m^2)", 1.0, DFT["gamma (100) (J/m^2)"]),
    Metric("gamma_111", "(111) error (J/m^2)", 1.0, DFT["gamma (111) (J/m^2)"]),
)
ENERGY, _, G100, G111 = METRICS
Rows = list[Mapping[str, Any]]


@dataclass(frozen=True)
class Outcome:
    """All records of a run; ``reference`` is the descriptor of the refits."""

    reference: str
    numbers: Sequence[int]
    records: Rows

    def where(self, pools: str, n: int | None = None, **task: str) -> Rows:
        """Records of a task's method or descriptor on ``full``, ``sub``, ``with`` or ``without``.

        The last two are the sub-pools that may, and cannot, hold the clean (001) slabs.
        """
        accepts: dict[str, Callable[[int | None], bool]] = {
            "full": lambda pool: pool is None,
            "sub": lambda pool: pool is not None,
            "with": lambda pool: pool is not None and pool % 2 == 0,
            "without": lambda pool: pool is not None and pool % 2 == 1,
        }
        task = {"descriptor": self.reference} | task
        return [
            r
            for r in self.records
            if accepts[pools](r["task"]["pool"])
            and n in (None, r["n"])
            and all(r["task"][key] == value for key, value in task.items())
        ]

    def values(self, metric: Metric, pools: str, n: int, **task: str) -> np.ndarray:
        """One number per pool and seed."""
        return np.array([metric.of(r) for r in self.where(pools, n, **task)])

    def per_pool(self, metric: Metric, method: str, n: int) -> dict[int, float]:
        """Mean over the seeds on each sub-pool."""
        found: dict[int, list[float]] = {}
        for record in self.where("sub", n, method=method):
            found.setdefault(record["task"]["pool"], []).append(metric.of(record))
        return {pool: float(np.mean(values)) for pool, values in found.items()}

    def descriptors(self) -> list[str]:
        """Those that have records."""
        return list(dict.fromkeys(r["task"]["descriptor"] for r in self.records))

    def methods(self, pools: str) -> list[str]:
        """Those that have records, in the order of the catalogue."""
        known = {r["task"]["method"] for r in self.where(pools)}
        return [method for method in CATALOGUE if method in known]


def mean(values: np.ndarray) -> float:
    """Over the finite ones; NaN without any."""
    good = values[np.isfinite(values)]
    return float(good.mean()) if len(good) else np.nan
