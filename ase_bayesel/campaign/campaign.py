"""The N-shot campaign: explore, label, refit, round after round.

`Campaign.run` is a generator of events. Whatever happened is on disk before the
event that tells of it, and running again continues where the directory ends.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from ase import Atoms

from ..io.words import counted
from ..labelling.labeller import Labeller
from ..labelling.store import BY_HAND
from ..resources import TaskExecutor, open_executor
from ..surrogate.steps import Steps
from ..validation.comparison import compare
from .beginning import begin
from .build.engines import build_reference
from .build.resources import build_resource
from .canary import check_canary
from .changes import Change, accepted_changes, recalibrates, reopened_round, settings_as_before
from .closest import closest_to_firing
from .config.campaign import CampaignConfig
from .config.loading import validate_config
from .decisions import read_decisions, take_decisions
from .ending import labels_left, reason_to_end
from .energy_shift import read_shift
from .events import Ended, Event, ExtremeLabel, Progress, RoundReport, named
from .exploration import ExploreState, Pick, count_moves
from .explore_round import OnPicks, calibrate, explore_round
from .first_labels import label_first
from .label_progress import told, until_all_ended
from .new_labels import note_labels, refuse_failures, take_labels_by_hand
from .occupied import check_in_place
from .passes import same_passes
from .pick_labels import PickLabel, extreme_given, extreme_labels
from .prequential import record_pick_errors
from .round_model import load_model, make_model
from .round_outlook import round_outlook
from .round_properties import round_properties
from .set_aside import entered, left_out, screen_labels, suspects
from .store import Store
from .training_set import TrainingSet


class Campaign:
    """One campaign directory and the config that drives it.

    Parameters
    ----------
    config
        A validated config with absolute paths (`load_config`).
    directory
        Where everything is kept. If it holds a campaign already, that one is
        continued; what of the config may have changed is in `changes`.

    Attributes
    ----------
    changes
        Changes of the config since the last run.
    reopened
        The round, without picks, that is explored again under these changes; None for none.

    Raises
    ------
    ConfigError
        If the directory belongs to a different config, naming the fields.
    LockedError
        If another process works in the directory and this one would have to write.
    StructureError
        If an input file cannot be used.
    """

    def __init__(self, config: CampaignConfig, directory: str | Path) -> None:
        self.config = config
        self.store = Store(directory)
        self.changes: list[Change] = []
        self.reopened: int | None = None
        if not self.store.exists:
            begin(config, self.store)
        self._take_up()
        self._reference = build_reference(config, self.store)
        self._labels = self.store.labels if self._reference is None else self._reference.store
        self._train = self.store.read_input("train")
        self._starts = self.store.read_input("starts")
        self._test = self.store.read_input("test")

    @classmethod
    def open(cls, directory: str | Path) -> Campaign:
        """Continue the campaign of a directory with the config that lies there."""
        store = Store(directory)
        return cls(validate_config(store.read_config(), str(store.config_path)), directory)

    def run(self, retry_failed: bool = False) -> Generator[Event, None, None]:
        """Go on until the campaign ends or waits for labels; one event at a time.

        The iteration may be left at any event: what has happened is on disk, or is done again.

        Parameters
        ----------
        retry_failed
            Make the failed calculations of the round under way again.

        Raises
        ------
        LockedError
            If another process works on this campaign.
        StoreError
            If the directory was moved away meanwhile.
        ConfigError
            If files of the engine have changed since the first run, or it began with compiled
            passes of linear ACE, which are not here (`same_passes`).
        LabellingError
            If all structures of a round have failed, and so the last ``stop.max_failures``.
        """
        with self.store.lock() as held:
            settings = settings_as_before(self._reference, self._starts, self.store)
            if settings is not None and self.store.read_settings() is None:
                self.store.save_settings(settings)
            with same_passes(self.config, self.store), closing(self._run(retry_failed)) as events:
                for event in events:
                    check_in_place(self.store, held)
                    yield event

    def _run(self, retry_failed: bool) -> Generator[Event, None, None]:
        number = self.store.completed_rounds()
        if number == 0:
            yield from self._bootstrap(retry_failed)
            yield from self._refit(0, ExploreState(()))
            number = 1
        while True:
            reason = self._reason_to_end(number)
            if reason is not None:
                yield Ended(reason)
                return
            if self._reference is None:
                state = yield from self._explore(number, _ignore)
                keys = self.config.data.keys
                missing = take_labels_by_hand(self.store, number, state.picks, keys, self._settings)
            else:
                state = yield from self._explore_and_label(number, retry_failed)
                missing = 0
            if missing:
                yield Ended(
                    f"{counted(missing, 'structure waits', 'structures wait')} for labels: put "
                    f"them into {self.store.by_hand_path(number)} under the keys of the config "
                    "and run again",
                    self.store.batch_path(number),
                )
                return
            self._note_labels(number, state)
            yield from self._refit(number, state)
            number += 1

    # -- stages --------------------------------------------------------------

    def _bootstrap(self, retry_failed: bool) -> Generator[Progress, None, None]:
        """Label the first structures, where no training set was given, unless that is done."""
        if self._train or self._reference is None:
            return
        with Labeller(self._reference, self._open_executor, retry_failed) as labeller:
            yield from label_first(self.config, self.store, self._reference, labeller)
        self._train, self._test = self.store.read_input("train"), self.store.read_input("test")

    def _explore(self, number: int, on_picks: OnPicks) -> Generator[Progress, None, ExploreState]:
        starts = self._starts_of(number)
        # once the batch is written the exploration is over, even if the budget has grown since
        limit = 0 if self.store.batch_path(number).exists() else self._pick_limit(number)
        known = self._training_set(number - 1)
        yield from calibrate(self.config, self.store, number, known, starts)
        state = yield from explore_round(self.config, self.store, number, starts, limit, on_picks)
        self.store.write_batch(number, state.picks)
        return state

    def _explore_and_label(
        self, number: int, retry_failed: bool
    ) -> Generator[Event, None, ExploreState]:
        """Labels are computed while the walkers look for the next pick, unless told otherwise."""
        assert self._reference is not None
        at_once = self.config.labels.start == "at_once"

        def submit(picks: Sequence[Pick]) -> None:
            labeller.submit([pick.structure for pick in picks])

        with (
            Labeller(self._reference, self._open_executor, retry_failed) as labeller,
            closing(Steps(self._explore(number, submit if at_once else _ignore))) as steps,
        ):
            yield from check_canary(self.config, number, labeller, self._train, self._starts)
            for progress in steps:
                yield replace(progress, labels=labeller.tally())
                yield from told(number, labeller.ended(), labeller)
            submit(steps.value.picks)
            yield from until_all_ended(number, labeller)
        return steps.value

    def _refit(self, number: int, state: ExploreState) -> Generator[Event, None, None]:
        take_decisions(self.store, number)
        aside = left_out(self.store, number, self.config.labels.set_aside_force)
        frames = self._training_set(number)
        labels = self.store.read_labelled(number)
        batch = frames[len(frames) - frames.n_new :]
        record_pick_errors(self.config, self.store, number, batch)
        starts = self._starts_of(number) if number else []
        surrogate, warnings = yield from make_model(
            self.config, self.store, number, frames, len(self._train), frames.n_new, aside
        )
        properties, without = yield from round_properties(
            self.config, self.store, number, surrogate
        )
        parity = None
        if self._test:
            _, potential = load_model(self.config, self.store, number)
            parity = compare(surrogate, self._test, self.config.data.keys, potential)
        report = RoundReport(
            round_number=number,
            n_train=len(frames),
            n_labels=sum(
                label.settings is not None
                for k in range(number + 1)
                for label in self.store.read_labelled(k)
            ),
            n_test=len(self._test) if self.config.data.bootstrap else 0,
            picks=len(state.picks),
            failed=sum(label.settings is None for label in labels),
            walkers=tuple(walker.status for walker in state.walkers),
            rollbacks=sum(w.driver.rollbacks for w in state.walkers if w.driver is not None),
            returns=state.returns,
            moves=count_moves(state, [move.kind for move in self.config.explore.moves]),
            noise=dict(vars(surrogate.noise)),
            scales=surrogate.scales.in_campaign.to_json(),
            energy_rmse=None if parity is None else parity.energy_rmse,
            forces_rmse=None if parity is None else parity.forces_rmse,
            extreme=self._extreme(number, labels),
            stopped=tuple(named(state.endings)),
            suspects=suspects(self.store, number),
            warnings=warnings + without,
            properties=properties,
            energy_shift=read_shift(self.config, self.store, number),
            **round_outlook(self.config, self.store, state, starts, surrogate, batch),
        )
        self.store.finish_round(report, parity)
        yield report

    # -- helpers -------------------------------------------------------------

    def _open_executor(self) -> AbstractContextManager[TaskExecutor]:
        workers, threads = self.config.workers.labelling, self.config.threads
        return open_executor(build_resource(workers, threads, self.store.directory))

    def _take_up(self) -> None:
        """Accept the changes of the config, or refuse them."""
        self.changes = accepted_changes(self.config, self.store)
        if not self.changes:
            return
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with self.store.lock():
            self.reopened = reopened_round(self.changes, self.store)
            noted: dict[str, Any] = {"time": now, "round": self.store.completed_rounds()}
            if self.reopened is not None:
                noted |= {"round": self.reopened, "explored_again": True}
            self.store.log_changes([{**noted, **asdict(change)} for change in self.changes])
            if self.reopened is not None:
                self.store.reopen_round(self.reopened, recalibrates(self.changes))
            self.store.write_config(self.config.model_dump(mode="json"))

    def _reason_to_end(self, number: int) -> str | None:
        reason = reason_to_end(self.config.stop, self.store, number)
        if reason is None or number == 1 or self.store.read_report(number - 1).picks:
            return reason
        if number > self.config.stop.max_rounds:
            return reason
        trace = self.store.exploration(number - 1).read_trace()
        found, starts = self.store.read_thresholds() or (), self._starts_of(number - 1)
        return reason + closest_to_firing(self.config.explore, found, starts, trace)

    def _starts_of(self, number: int) -> list[Atoms]:
        """The starts of a round's walkers."""
        n_walkers = self.config.explore.walkers
        return list(islice(cycle(self._starts), (number - 1) * n_walkers, number * n_walkers))

    def _pick_limit(self, number: int) -> int:
        limit, left = self.config.explore.picks, labels_left(self.config.stop, self.store, number)
        return limit if left is None else min(limit, left)

    def _training_set(self, number: int) -> TrainingSet:
        keys, limit = self.config.data.keys, self.config.labels.set_aside_force
        aside, late = left_out(self.store, number, limit), entered(self.store, number, limit)
        return TrainingSet(self.store, number, self._labels, self._train, keys, aside, late)

    def _extreme(self, number: int, labels: Sequence[PickLabel]) -> tuple[ExtremeLabel, ...]:
        """Those of a round's labels that are extreme; in round 0 of the given training set."""
        limits = self.config.labels
        if number == 0:
            return extreme_given(self._train, self.config.data.keys, limits)
        return extreme_labels([(one.identity, one.max_force) for one in labels], limits)

    def _note_labels(self, number: int, state: ExploreState) -> None:
        """Note what became of the picks, and screen their labels."""
        labelled = note_labels(
            (pick.structure for pick in state.picks), self._labels, self._settings
        )
        self.store.save_labelled(number, labelled)
        limit_force = self.config.labels.set_aside_force
        within = [label.identity for label in labelled if label.fitted(limit_force)]
        aside = left_out(self.store, number - 1, limit_force)
        aside |= {label.identity for label in labelled if label.identity not in within}
        keys = self.config.data.keys
        frames = TrainingSet(self.store, number, self._labels, self._train, keys, aside)
        within = [identity for identity in within if identity not in aside]
        n_known = len(frames) - len(within)
        new = dict(zip(within, frames[n_known:], strict=True))
        screen_labels(self.config, self.store, number, new, frames[:n_known])
        undecided = left_out(self.store, number, limit_force) - read_decisions(self.store).keys()
        limit, reason = self.config.stop.max_failures, partial(self._reason, number, state)
        refuse_failures(self.store, number, undecided, limit, reason)

    def _reason(self, number: int, state: ExploreState) -> str:
        """Why no fit can take the label of the last pick of a batch."""
        last, label = state.picks[-1], self.store.read_labelled(number)[-1]
        if label.settings is None:
            return self._labels.reason(last.structure_id, self._settings(last.structure)[-1])
        found = {suspect.name: suspect.told for suspect in suspects(self.store, number)}
        if label.identity in found:
            return found[label.identity]
        return f"a force of {label.max_force:.4g} eV/A"

    def _settings(self, atoms: Atoms) -> tuple[str, ...]:
        """Where the labels of a structure may lie."""
        return (BY_HAND,) if self._reference is None else self._reference.settings_of(atoms)


def _ignore(picks: Sequence[Pick]) -> None:
    """Nobody waits for the picks."""
