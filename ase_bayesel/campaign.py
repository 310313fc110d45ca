"""The N-shot campaign: explore, label, refit, round after round.

`Campaign.run` is a generator of events. Whatever happened is on disk before the
event that tells of it, and running again continues where the directory ends.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from ase import Atoms

from .accuracy import compare
from .answers import read_answers
from .build import build_engine, build_guards, build_tau_rule, build_trigger, engine_name
from .build_md import build_ensemble
from .calculator import BiasedCalculator
from .config import CampaignConfig, changed_fields, validate_config
from .driver import DriverState
from .errors import ConfigError
from .explore import ExploreState, start_exploration, take_turn
from .force_uncertainty import ForceSearch
from .inputs import check_inputs
from .labelling import label_structure
from .models import Progress, load_model, make_model
from .recording import RoundRecorder
from .store import RoundReport, Store
from .structures import PropertyKeys, structure_id
from .walkers import WalkerStep, run_walker

MAY_CHANGE = ("stop.", "threads", "refit.time_limit_h")
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
        self._factory = build_engine(config.labelling)
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
        surrogate, potential = load_model(self.config, self.store, number - 1)
        calculator = BiasedCalculator(
            potential,
            surrogate,
            tau=explore.tau,
            tau_rel=build_tau_rule(explore),
            force_search=None if explore.trigger.exact else ForceSearch(),
        )
        saved = self.store.load_exploration(number, starts)
        if saved is None:
            seeds = np.random.SeedSequence((self.config.seed, number)).spawn(explore.walkers)
            state = start_exploration(starts, [np.random.default_rng(seed) for seed in seeds])
        else:
            state, posterior = saved
            calculator.surrogate = replace(surrogate, posterior=posterior)
        # once the batch is written the exploration is over, even if the budget has grown since
        limit = 0 if self.store.batch_path(number).exists() else self._pick_limit(number)
        recorder = self.store.recorder(
            number, explore.trajectory_interval, explore.log, [w.step for w in state.walkers]
        )
        while len(state.picks) < limit and state.alive:
            start_walker = partial(self._start_walker, calculator, recorder, state.turn)
            turn = take_turn(state, calculator, start_walker)
            known, state = len(state.picks), (yield from self._watched(turn, number, state, limit))
            recorder.flush(state.picks[known:])
            self.store.save_exploration(number, state, calculator.surrogate.posterior)
        self.store.write_batch(number, state.picks)
        return state

    def _watched(
        self,
        turn: Generator[WalkerStep, None, ExploreState],
        number: int,
        state: ExploreState,
        limit: int,
    ) -> Generator[Event, None, ExploreState]:
        """A turn's steps as progress; returns the state after it."""
        total = self.config.explore.walkers * self.config.explore.steps
        others = sum(w.step for w in state.walkers) - state.walkers[state.turn].step
        detail = f"walker {state.turn}, {len(state.picks)}/{limit} picks"
        while True:
            try:
                step = next(turn)
            except StopIteration as end:
                return end.value
            yield Progress(number, "explore", others + step.step, total, detail)

    def _start_walker(
        self,
        calculator: BiasedCalculator,
        recorder: RoundRecorder,
        walker: int,
        atoms: Atoms,
        rng: np.random.Generator,
        first_step: int,
        state: DriverState | None,
    ) -> Iterator[WalkerStep]:
        explore = self.config.explore
        steps = run_walker(
            atoms,
            calculator,
            n_steps=explore.steps,
            temperature_K=explore.temperature_K,
            rng=rng,
            timestep_fs=explore.timestep_fs,
            ensemble=build_ensemble(explore.ensemble),
            pressure_GPa=explore.pressure_GPa,
            tau_rel=explore.tau_rel,
            triggers=[build_trigger(explore)],
            guards=build_guards(explore),
            max_rollbacks=explore.max_rollbacks,
            check_interval=explore.check_interval,
            first_step=first_step,
            state=state,
        )
        return recorder.watch(walker, first_step, steps)

    def _label(self, number: int, state: ExploreState) -> Generator[Event, None, int]:
        """Label what is not labelled yet; returns how many structures wait for the user."""
        if self._factory is None:
            self._take_answers(number, state)
        waiting = [p for p in state.picks if not self._is_settled(p)]
        if self._factory is None:
            return len(waiting)
        engine = engine_name(self.config.labelling)
        settled = len(state.picks) - len(waiting)
        for k, pick in enumerate(waiting, start=settled + 1):
            label = label_structure(pick, self._factory, self._keys, engine)
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
                f"{', '.join(fixed)}. Only stop and threads may change: undo that, "
                "or use a new directory"
            )
        if changed:
            self.store.write_config(ours)
