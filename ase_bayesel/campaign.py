"""The N-shot campaign: explore, label, refit, round after round.

`Campaign.run` is a generator of events. Whatever happened is on disk before the
event that tells of it, and running again continues where the directory ends.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

from ase import Atoms

from .accuracy import compare
from .answers import read_answers
from .build import build_engine
from .config import CampaignConfig, changed_fields, validate_config
from .errors import ConfigError
from .exploration import calibrate, explore_round
from .explore import ExploreState, count_moves
from .inputs import check_inputs
from .labelling import label_structure
from .models import Progress, load_model, make_model
from .store import RoundReport, Store
from .structures import PropertyKeys, structure_id

MAY_CHANGE = ("stop.", "threads", "refit.time_limit_h", "workers.")
"""Fields of the config that a campaign may change on its way."""


@dataclass(frozen=True)
class Ended:
    """The last event. ``awaiting`` is the batch that waits for labels, if any."""

    reason: str
    awaiting: Path | None = None


Event = Progress | RoundReport | Ended


class Campaign:
    """One campaign directory and the config that drives it.

    Parameters
    ----------
    config
        A validated config with absolute paths (`load_config`).
    directory
        Where everything is kept. If it holds a campaign already, that one is
        continued; of the config only `MAY_CHANGE` may have changed.

    Raises
    ------
    ConfigError
        If the directory belongs to a different config, naming the fields.
    StructureError
        If an input file cannot be used.
    """

    def __init__(self, config: CampaignConfig, directory: str | Path) -> None:
        self.config = config
        self.store = Store(directory)
        self._keys = PropertyKeys(
            config.data.energy_key, config.data.forces_key, config.data.virial_key
        )
        self._engine = build_engine(config.labelling)
        if self.store.exists:
            self._check_same_config()
        else:
            self.store.create(config.model_dump(mode="json"), check_inputs(config))
        self._train = self.store.read_input("train")
        self._starts = self.store.read_input("starts")
        self._test = self.store.read_input("test")

    @classmethod
    def open(cls, directory: str | Path) -> Campaign:
        """Continue the campaign of a directory with the config that lies there."""
        store = Store(directory)
        return cls(validate_config(store.read_config(), str(store.config_path)), directory)

    def run(self) -> Iterator[Event]:
        """Go on until the campaign ends or waits for labels; one event at a time."""
        number = self.store.completed_rounds()
        if number == 0:
            yield from self._refit(0, ExploreState(()))
            number = 1
        while True:
            reason = self._reason_to_end(number)
            if reason is not None:
                yield Ended(reason)
                return
            state = yield from self._explore(number)
            missing = yield from self._label(number, state)
            if missing:
                yield Ended(
                    f"{missing} structures wait for labels: put them into "
                    f"{self.store.answer_path(number)} under the keys of the config and run again",
                    self.store.batch_path(number),
                )
                return
            yield from self._refit(number, state)
            number += 1

    # -- stages --------------------------------------------------------------

    def _explore(self, number: int) -> Generator[Event, None, ExploreState]:
        explore = self.config.explore
        first = (number - 1) * explore.walkers
        starts = list(islice(cycle(self._starts), first, first + explore.walkers))
        # once the batch is written the exploration is over, even if the budget has grown since
        limit = 0 if self.store.batch_path(number).exists() else self._pick_limit(number)
        yield from calibrate(
            self.config, self.store, number, self._train + self._labelled(number - 1), starts
        )
        state = yield from explore_round(self.config, self.store, number, starts, limit)
        self.store.write_batch(number, state.picks)
        return state

    def _label(self, number: int, state: ExploreState) -> Generator[Event, None, int]:
        """Label what is not labelled yet; returns how many structures wait for the user."""
        if self._engine is None:
            self._take_answers(number, state)
        waiting = [p for p in state.picks if not self._is_settled(p)]
        if self._engine is None:
            return len(waiting)
        settled = len(state.picks) - len(waiting)
        for k, pick in enumerate(waiting, start=settled + 1):
            label = label_structure(pick, self._engine, self._keys)
            self.store.save_label(label)
            detail = "" if label.status == "ok" else f"{label.structure_id} failed: {label.reason}"
            yield Progress(number, "label", k, len(state.picks), detail)
        return 0

    def _refit(self, number: int, state: ExploreState) -> Generator[Event, None, None]:
        labelled = self._labelled(number)
        frames = self._train + labelled
        known = len(self._labelled(number - 1))
        surrogate = yield from make_model(
            self.config, self.store, number, frames, len(self._train), len(labelled) - known
        )
        parity = None
        if self._test:
            _, potential = load_model(self.config, self.store, number)
            parity = compare(surrogate, self._test, self._keys, potential)
        failed = sum(self.store.label_failed(structure_id(pick)) for pick in state.picks)
        report = RoundReport(
            round_number=number,
            n_train=len(frames),
            n_labels=len(frames) - len(self._train),
            picks=len(state.picks),
            failed=failed,
            walkers=tuple(walker.status for walker in state.walkers),
            rollbacks=sum(w.driver.rollbacks for w in state.walkers if w.driver is not None),
            moves=count_moves(state, [move.kind for move in self.config.explore.moves]),
            noise=dict(vars(surrogate.noise)),
            energy_rmse=None if parity is None else parity.energy_rmse,
            forces_rmse=None if parity is None else parity.forces_rmse,
        )
        self.store.finish_round(report, parity)
        yield report

    # -- helpers -------------------------------------------------------------

    def _reason_to_end(self, number: int) -> str | None:
        stop = self.config.stop
        if number > stop.max_rounds:
            return f"all {stop.max_rounds} rounds are done"
        last = self.store.read_report(number - 1)
        if number > 1 and last.picks == 0:
            return f"nothing triggered in round {number - 1}"
        if self._pick_limit(number) == 0:
            return f"the budget of {stop.max_labels} labels is spent"
        return None

    def _pick_limit(self, number: int) -> int:
        limit = self.config.explore.picks
        if self.config.stop.max_labels is None:
            return limit
        asked = sum(self.store.read_report(k).picks for k in range(number))
        return max(0, min(limit, self.config.stop.max_labels - asked))

    def _labelled(self, number: int) -> list[Atoms]:
        """All good labels up to and including a round, in the order of the picks."""
        frames = []
        for k in range(1, number + 1):
            for pick in self.store.read_batch(k):
                label = self.store.load_label(structure_id(pick))
                if label is not None:
                    frames.append(label)
        return frames

    def _is_settled(self, pick: Atoms) -> bool:
        identity = structure_id(pick)
        return self.store.load_label(identity) is not None or self.store.label_failed(identity)

    def _take_answers(self, number: int, state: ExploreState) -> None:
        """Keep the labels that the user has put in place for a batch."""
        path = self.store.answer_path(number)
        if path.exists():
            for label in read_answers(path, state.picks, self._keys):
                self.store.save_label(label)

    def _check_same_config(self) -> None:
        ours = self.config.model_dump(mode="json")
        changed = changed_fields(ours, self.store.read_config())
        fixed = sorted(key for key in changed if not key.startswith(MAY_CHANGE))
        if fixed:
            raise ConfigError(
                f"{self.store.directory}: holds a campaign with another config; changed: "
                f"{', '.join(fixed)}. Only stop, threads and workers may change: "
                "undo that, or use a new directory"
            )
        if changed:
            self.store.write_config(ours)
