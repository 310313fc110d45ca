"""Picks as free tests: what the model before its refit said of them, beside their labels.

Picks lie where the biased walkers go, so the scale that they give holds for campaigns and not for
the use of the model in general.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from ..io.atomic import npz_bytes, reading, write_if_changed
from ..io.bounded_npz import real
from ..structures.labels import PropertyKeys
from ..surrogate.held_out import Rows, given_labels, held_out
from ..surrogate.mean import SurrogateCalculator
from ..surrogate.scales import HeldOut
from ..surrogate.surrogate import Surrogate
from .config.campaign import CampaignConfig
from .round_model import load_model
from .store import Store

FITTED, CONDITIONED = "fitted", "conditioned"


@dataclass(frozen=True)
class PickErrors:
    """Errors and deviations of the labelled picks of a round, by property, in their order.

    Attributes
    ----------
    fitted
        The potential and the posterior of the last fit.
    conditioned
        Of a linear potential: mean and posterior after the labels of the picks before in the
        batch; empty for other potentials, whose predictions no label changes before a refit.
    """

    fitted: Rows
    conditioned: Rows


def pick_errors(
    surrogate: Surrogate, picks: Sequence[Atoms], keys: PropertyKeys, potential: Calculator | None
) -> PickErrors:
    """Compare predictions with the labels of picks that have not entered the fit.

    Parameters
    ----------
    surrogate
        Of the last fit.
    picks
        Labelled, in the order in which they were picked.
    keys
        Where the labels are.
    potential
        Predicts; None for the mean of the surrogate.
    """
    fitted = held_out(surrogate, picks, keys, potential)
    if potential is not None:
        return PickErrors(fitted, {})
    parts: dict[str, list[HeldOut]] = {}
    for atoms in picks:
        for prop, rows in held_out(surrogate, [atoms], keys).items():
            parts.setdefault(prop, []).append(rows)
        surrogate = given_labels(surrogate, atoms, keys)
    return PickErrors(fitted, {prop: HeldOut.joined(rows) for prop, rows in parts.items()})


def record_pick_errors(
    config: CampaignConfig, store: Store, number: int, picks: Sequence[Atoms]
) -> None:
    """Keep the errors of a round's labelled picks under the model of the round before.

    Parameters
    ----------
    config, store, number
        The campaign and its round.
    picks
        With their labels, in their order; nothing is kept without any.
    """
    if not picks:
        return
    surrogate, potential = load_model(config, store, number - 1)
    linear = isinstance(potential, SurrogateCalculator)
    given = (surrogate.in_campaign, picks, config.data.keys)
    errors = pick_errors(*given, None if linear else potential)
    save_pick_errors(store, number, errors)


def save_pick_errors(store: Store, number: int, errors: PickErrors) -> None:
    """Keep them in the directory of the round; written once, and anew where labels came since."""
    arrays = {
        f"{of}.{prop}.{column}": values
        for of, by_property in vars(errors).items()
        for prop, rows in by_property.items()
        for column, values in vars(rows).items()
    }
    write_if_changed(store.pick_errors_path(number), npz_bytes(arrays))


def read_pick_errors(store: Store, number: int) -> PickErrors | None:
    """Those of a round; None if it has none.

    Raises
    ------
    StoreError
        If the file is damaged.
    """
    path = store.pick_errors_path(number)
    if not path.exists():
        return None
    columns: dict[str, dict[str, dict[str, np.ndarray]]] = {FITTED: {}, CONDITIONED: {}}
    with reading(path) as data:
        for name in data.files:
            of, prop, column = name.split(".")
            values = real(data[name], (None,))
            columns[of].setdefault(prop, {})[column] = values
    rows = {
        of: {prop: HeldOut(**parts) for prop, parts in by_property.items()}
        for of, by_property in columns.items()
    }
    return PickErrors(**rows)
