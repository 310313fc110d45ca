"""What a campaign has done, read from its directory: for reports and plots.

Nothing is computed but sums, no code of a config runs, and no model is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np

from ..labelling.store import BY_HAND, LabelStore
from ..structures.labels import PropertyKeys
from ..surrogate.scales import HeldOut, Scales
from .decisions import read_decisions
from .exploration.choice import CHOSEN
from .exploration.picks import START_ENERGY, Pick
from .exploration.trace import STEP, WALKER
from .pick_labels import PickLabel
from .prequential import PickErrors, read_pick_errors
from .rounds import Rounds
from .set_aside import entered, left_out, read_verdicts
from .store import Store
from .training_set import TrainingSet

Kind = Literal["trigger", "start", "bound", "offer", "chosen"]


@dataclass(frozen=True)
class Foretold:
    """What the model before the refit said of a pick, beside its label.

    Attributes
    ----------
    error, deviation
        Root mean square over the rows of the property, eV or eV/A: prediction less label, and the
        deviation, as large as errors (`HeldOut.scaled`).
    """

    error: float
    deviation: float


@dataclass(frozen=True, eq=False)
class PickRecord:
    """A pick and what became of it.

    Attributes
    ----------
    round_number, pick
        Where it belongs, and what was picked.
    kind
        ``"trigger"``: a trigger fired; ``"start"``: the energy of the walker's start is uncertain
        (`exploration.rules.StartEnergy`); ``"bound"``: where the walker met its bound of trust;
        ``"offer"``: the most uncertain frame of a window; ``"chosen"``: of a joint choice.
    biased
        Whether its walker felt the bias at all.
    fate
        What became of the label, in words.
    in_fit
        Whether a fit takes the label.
    foretold
        By property; empty where nothing was compared.
    wall_s
        Seconds of the calculation; None where nothing says so.
    """

    round_number: int
    pick: Pick
    kind: Kind
    biased: bool
    fate: str
    in_fit: bool
    foretold: Mapping[str, Foretold]
    wall_s: float | None


class History(Rounds):
    """The records of a campaign, opened as `Rounds` are; what is asked for is read once."""

    def __init__(self, campaign: str | Path | Store) -> None:
        super().__init__(campaign)
        self._errors: dict[int, PickErrors | None] = {}

    @classmethod
    def of(cls, campaign: str | Path | Store | History) -> History:
        """The records themselves, or those of a directory."""
        return campaign if isinstance(campaign, History) else cls(campaign)

    @cached_property
    def decisions(self) -> Mapping[str, str]:
        """What users have decided of labels, by identity."""
        return read_decisions(self.store)

    @cached_property
    def _labels(self) -> LabelStore:
        return self.store.used_labels()

    @cached_property
    def _aside(self) -> frozenset[str]:
        """Identities of the labels that the next fit does not take, but for new decisions."""
        limit = self.setting("labels", "set_aside_force")
        return left_out(self.store, len(self.reports), limit)

    # -- picks ---------------------------------------------------------------

    @cached_property
    def picks(self) -> list[PickRecord]:
        """All picks in order, those of the round under way included."""
        rounds = range(1, len(self.reports) + 1)
        return [record for number in rounds for record in self._picks_of(number)]

    def foretold(self, number: int) -> dict[str, HeldOut]:
        """Errors of a round's picks under the model before, by property; deviations are scaled."""
        errors = self.errors(number)
        scales = Scales.from_json(self.reports[number - 1].scales)
        rows = {} if errors is None else errors.fitted
        return {prop: own.scaled(getattr(scales, prop).value) for prop, own in rows.items()}

    def all_foretold(self) -> dict[str, HeldOut]:
        """`foretold` of all rounds together."""
        parts: dict[str, list[HeldOut]] = {}
        for _, report in pairwise(self.reports):
            for prop, rows in self.foretold(report.round_number).items():
                parts.setdefault(prop, []).append(rows)
        return {prop: HeldOut.joined(rows) for prop, rows in parts.items()}

    def foretold_per_atom(self, prop: str) -> HeldOut:
        """Energies or virials of picks, eV/atom: of each pick its root mean squares as one row."""
        own = [
            (record.foretold[prop], len(record.pick.structure))
            for record in self.picks
            if prop in record.foretold
        ]
        errors = np.array([told.error / n_atoms for told, n_atoms in own])
        deviations = np.array([told.deviation / n_atoms for told, n_atoms in own])
        return HeldOut(errors, deviations, np.arange(len(own)))

    def errors(self, number: int) -> PickErrors | None:
        """`read_pick_errors` of a round."""
        if number not in self._errors:
            self._errors[number] = read_pick_errors(self.store, number)
        return self._errors[number]

    def hours(self) -> list[float]:
        """Hours of the engine up to the end of each round, failures not counted.

        Round 0 holds those of a bootstrapped training set.
        """
        spent = np.zeros(len(self.reports))
        if len(spent):
            first = map(self._wall_s, self.store.read_labelled(0))
            spent[0] = sum(seconds for seconds in first if seconds is not None)
        for record in self.picks:
            if record.round_number < len(spent) and record.wall_s is not None:
                spent[record.round_number] += record.wall_s
        return (np.cumsum(spent) / 3600).tolist()

    def returns(self, number: int) -> np.ndarray:
        """``(n, 2)`` walker and step at which walkers of a round met their bound of trust."""
        drivers = enumerate(self.store.exploration(number).read_drivers())
        found = [(k, step) for k, driver in drivers for step in driver.returns]
        return np.array(found, int).reshape(-1, 2)

    def thermostat_warnings(self, number: int) -> list[str]:
        """What the thermostats of a round's walkers have told."""
        drivers = enumerate(self.store.exploration(number).read_drivers())
        return [
            f"walker {k}: {driver.thermostat.warning}"
            for k, driver in drivers
            if driver.thermostat.warning
        ]

    def _picks_of(self, number: int) -> list[PickRecord]:
        picks = self.store.exploration(number).read_picks()
        if not picks:
            return []
        labelled = {label.identity: label for label in self.store.read_labelled(number)}
        foretold = self._foretold_by_pick(number)
        returns = {(int(walker), int(step)) for walker, step in self.returns(number)}
        n_biased = self.setting("explore", "walkers")
        records = []
        for pick in picks:
            label = labelled.get(pick.structure_id)
            fate, in_fit = self._fate(number, pick.structure_id, label)
            records.append(
                PickRecord(
                    number,
                    pick,
                    _kind(pick, returns),
                    not isinstance(n_biased, int) or pick.walker < n_biased,
                    fate,
                    in_fit,
                    foretold.get(pick.structure_id, {}),
                    self._wall_s(label),
                )
            )
        return records

    def _fate(self, number: int, identity: str, label: PickLabel | None) -> tuple[str, bool]:
        """What became of a label, and whether a fit takes it."""
        if label is None:
            return "waits for its label", False
        if label.settings is None:
            return f"failed: {'; '.join(self._labels.reasons(identity))}", False
        decision = self.decisions.get(identity)
        if identity not in self._aside:
            return "accepted by you" if decision == "accepted" else "in the fit", True
        if decision is not None:
            return f"{decision} by you", False
        verdict = read_verdicts(self.store, number).get(identity)
        if verdict is not None and verdict.found:
            return f"set aside: {verdict.cause} ({verdict.found})", False
        return f"set aside: its largest force is {label.max_force:.4g} eV/A", False

    def _wall_s(self, label: PickLabel | None) -> float | None:
        if label is None or label.settings is None or label.settings == BY_HAND:
            return None
        return self._labels.wall_s(label.identity, label.settings)

    def _foretold_by_pick(self, number: int) -> dict[str, dict[str, Foretold]]:
        """By identity and property; a property that some of the labels lack says of none."""
        if number >= len(self.reports) or self.errors(number) is None:
            return {}
        limit = self.setting("labels", "set_aside_force")
        aside, late = left_out(self.store, number, limit), entered(self.store, number, limit)
        known = TrainingSet(self.store, number, self._labels, (), PropertyKeys(), aside, late)
        names = known.new_identities
        found: dict[str, dict[str, Foretold]] = {name: {} for name in names}
        for prop, rows in self.foretold(number).items():
            if int(rows.structures.max(initial=-1)) + 1 != len(names):
                continue
            for k, name in enumerate(names):
                own = rows.structures == k
                found[name][prop] = Foretold(_rms(rows.errors[own]), _rms(rows.deviations[own]))
        return found


def _kind(pick: Pick, returns: set[tuple[int, int]]) -> Kind:
    if (pick.walker, pick.step) in returns:
        return "bound"
    if pick.reason.startswith(CHOSEN):
        return "chosen"
    if not pick.report.fired:
        return "offer"
    return "start" if pick.report.name == START_ENERGY else "trigger"


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) if len(values) else 0.0


def rows_at(trace: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The rows of a trace at some ``(n, 2)`` walkers and steps."""
    wanted = {(int(walker), int(step)) for walker, step in places}
    kept = [(int(walker), int(step)) in wanted for walker, step in trace[:, [WALKER, STEP]]]
    return trace[np.array(kept, bool)]
