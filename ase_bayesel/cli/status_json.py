"""What ``bayesel status --json`` tells, under keys that stay; docs/running.md describes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from math import isfinite
from typing import Any

from ..campaign.events import RoundReport
from ..campaign.exploration.trace import STEP, TEMPERATURE, VALUE, WALKER
from ..campaign.final_round import final_round, ranked_best
from ..campaign.rounds import Rounds
from ..campaign.stopping import Prospect, prospects
from ..campaign.store import Store
from ..io.formats import KEY, STATUS
from .status import open_labels


def status_values(store: Store, shown: Sequence[int]) -> dict[str, Any]:
    """A campaign as values that JSON can hold; no number is NaN or infinite.

    Parameters
    ----------
    store
        The campaign.
    shown
        The rounds that are told one by one.
    """
    rounds, labels = Rounds(store), store.used_labels()
    done, model = len(rounds.reports), final_round(rounds)
    tally = labels.counts()
    return {
        KEY: str(STATUS),
        "directory": str(store.directory),
        "ended": rounds.ended,
        "rounds": [_round(store, rounds.reports[number]) for number in shown],
        "under_way": None if rounds.ended is not None else _under_way(rounds, done),
        "labels": {
            "directory": str(labels.directory),
            "done": tally.labels,
            "failed": tally.failures,
            "running": tally.running,
        },
        "to_decide": open_labels(store, range(done)),
        "advice": asdict(rounds.advice),
        "best_round": ranked_best(rounds),
        "model": str(store.model_path(model)) if done else None,
        "potential": str(path) if done and (path := store.potential_path(model)) else None,
    }


def _round(store: Store, report: RoundReport) -> dict[str, Any]:
    return {
        "round": report.round_number,
        "structures": report.n_train,
        "labels": report.n_labels,
        "test_labels": report.n_test,
        "picks": report.picks,
        "failed": report.failed,
        "returns": report.returns,
        "checks": report.checks,
        "fires": report.fires,
        "intended": report.intended or None,
        "outlook": {prop: _prospect(found) for prop, found in prospects(report).items()},
        "properties": {
            quantity.name: {"value": quantity.value, "std": quantity.std, "unit": quantity.unit}
            for quantity in report.properties
        },
        "energy_rmse": _finite(report.energy_rmse),
        "forces_rmse": _finite(report.forces_rmse),
        "without_label": store.set_aside(report.round_number),
        "set_aside": [suspect.name for suspect in report.suspects],
        "told": [*report.stopped, *report.labels_told()],
    }


def _prospect(found: Prospect) -> dict[str, float]:
    names = ("error", "deviation", "noise", "gain")
    return {name: getattr(found, name) for name in names}


def _under_way(rounds: Rounds, number: int) -> dict[str, Any]:
    """The round that is not done yet."""
    store, factor, threshold = rounds.store, rounds.trust_factor, rounds.threshold
    exploration, batch = store.exploration(number), store.batch_path(number)
    trace = exploration.read_trace()
    last = {int(row[WALKER]): row for row in trace}
    bound = None if factor is None or threshold is None else factor * threshold
    return {
        "round": number,
        "stage": rounds.stage,
        "picks": exploration.count_picks(),
        "batch": str(batch) if batch.exists() else None,
        "threshold": threshold,
        "bound": bound,
        "walkers": [
            {
                "walker": walker,
                "step": int(row[STEP]),
                "temperature_K": _finite(row[TEMPERATURE]),
                "value": _finite(row[VALUE]),
            }
            for walker, row in sorted(last.items())
        ],
        "stopped": [str(ending) for ending in exploration.read_endings()],
    }


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and isfinite(value) else None
