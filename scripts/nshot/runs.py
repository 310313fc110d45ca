"""Runs of arms, each of which ends as one JSON line; runs that are in the file are skipped."""

from __future__ import annotations

import hashlib
import json
import subprocess
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from ase_bayesel import Campaign, CampaignConfig
from ase_bayesel.campaign.events import Ended, Progress, RoundReport
from ase_bayesel.campaign.round_model import load_model
from ase_bayesel.campaign.set_aside import left_out
from ase_bayesel.campaign.store import Store
from ase_bayesel.campaign.training_set import TrainingSet
from ase_bayesel.errors import ConfigError
from ase_bayesel.resources.threads import cpu_threads
from ase_bayesel.structures.frames import write_frames
from ase_bayesel.surrogate.surrogate import Surrogate

from .arms import ARMS, FLOOR, TELLING, Arm, config_of
from .judge import errors, on_policy, redundancy
from .keeping import keep_picks
from .pools import fitted, pool_rounds
from .systems import KEYS, System

Record = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """One run to do.

    Attributes
    ----------
    system, start, arm, seed
        What is run; ``arm`` by name.
    labels
        At most so many.
    policy_ps
        Length of on-policy MD; 0 for none.
    picks
        Folder for picks and labels of the telling arms, None to keep none.
    """

    system: System
    start: str
    arm: str
    seed: int
    labels: int
    policy_ps: float = 2.0
    picks: Path | None = None

    @property
    def name(self) -> str:
        """For file names and messages."""
        return f"{self.system.name}_{self.start}_{self.arm}_{self.seed}"

    def config(self, folder: Path) -> CampaignConfig:
        """The campaign of the arm; for the floor that of the default."""
        arm = ARMS["default" if self.arm == FLOOR else self.arm]
        return config_of(arm, self.system, self.start, self.seed, self.labels, folder)

    def digest(self) -> str:
        """Names all settings of the run but the seed: a changed default is another run.

        Raises
        ------
        ConfigError
            Where this version does not know a field of the arm.
        """
        dumped = self.config(Path("/")).model_dump(mode="json")
        for name in ("seed", "data", "labelling", "workers", "labels"):
            dumped.pop(name)
        dumped["explore"].pop("starts")
        arm = ARMS.get(self.arm, Arm(FLOOR, ""))
        said = [dumped, arm.pool, arm.select, self.arm == FLOOR, self.system.version]
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:12]

    def key(self) -> tuple[Any, ...]:
        """What a finished run is known by."""
        names = self.system.name, self.start, self.arm, self.seed, self.labels
        return (*names, self.policy_ps, self.digest())


def key_of(record: Mapping[str, Any]) -> tuple[Any, ...]:
    """`Task.key` of a line of the results."""
    names = ("system", "start", "arm", "seed", "max_labels", "policy_ps", "digest")
    return tuple(record[name] for name in names)


def read_records(path: Path) -> list[Record]:
    """The finished runs; a line that a kill has cut is left out."""
    records = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            records.append(json.loads(line))
        except ValueError:
            continue
    return records


def run_all(
    tasks: Iterable[Task], path: Path, processes: int, tell: Callable[[str], None]
) -> list[str]:
    """Do what is not in the file yet; returns the names of runs that have failed."""
    done = {key_of(record) for record in read_records(path)}
    todo, refused = [], set()
    for task in tasks:
        try:
            key = task.key()
        except ConfigError as error:
            if task.arm not in refused:
                tell(f"{task.arm} is skipped: {' '.join(str(error).split())}")
            refused.add(task.arm)
            continue
        if key not in done:
            todo.append(task)
            done.add(key)
    tell(f"{len(todo)} runs to do")
    for system in {task.system.name: task.system for task in todo}.values():
        system.test()
    failed = []
    for task, record in _done(todo, processes):
        if isinstance(record, str):
            failed.append(task.name)
            tell(f"{task.name} failed: {record}")
            continue
        append_record(path, record)
        tell(summary(record))
    return failed


def append_record(path: Path, record: Mapping[str, Any]) -> None:
    """Add one line to a file of results; after a line that a kill has cut, on a new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as handle:
        if handle.tell():
            handle.seek(-1, 2)
            if handle.read(1) != b"\n":
                handle.write(b"\n")
        handle.write(json.dumps(record).encode() + b"\n")


def _done(tasks: list[Task], processes: int) -> Iterator[tuple[Task, Record | str]]:
    if processes == 1:
        for task in tasks:
            yield task, _attempt(task)
        return
    with ProcessPoolExecutor(processes, get_context("spawn")) as executor:
        futures = {executor.submit(_attempt, task): task for task in tasks}
        for future in as_completed(futures):
            yield futures[future], future.result()


def _attempt(task: Task) -> Record | str:
    try:
        with cpu_threads(1):
            return run(task)
    except Exception:
        return traceback.format_exc()


def run(task: Task) -> Record:
    """One run from its start to its judgement."""
    clock = _Clock()
    train = task.system.training(task.seed, task.start)
    digest = task.digest()
    clock.lap("start")
    with tempfile.TemporaryDirectory(prefix="nshot_") as scratch:
        folder = Path(scratch)
        write_frames(folder / "train.extxyz", train)
        write_frames(folder / "starts.extxyz", task.system.starts())
        config = task.config(folder)
        if task.arm == FLOOR:
            found = _floor(task, config, train, clock)
        elif ARMS[task.arm].pool is not None:
            found = _pool(task, config, train, clock)
        else:
            found = _campaign(task, config, folder / "campaign", clock)
    model, picks = found.pop("model"), found.pop("picks")
    spread = redundancy(task.system, picks)
    clock.lap("judge")
    policy = None
    if task.policy_ps > 0:
        policy = on_policy(task.system, model, task.start, task.seed, task.policy_ps)
        clock.lap("policy")
    return {
        "system": task.system.name,
        "start": task.start,
        "arm": task.arm,
        "seed": task.seed,
        "max_labels": task.labels,
        "policy_ps": task.policy_ps,
        "digest": digest,
        "version": _version(),
        "overrides": {} if task.arm == FLOOR else dict(ARMS[task.arm].overrides),
        "temperature_K": config.explore.temperature_K,
        "n_first": len(train),
        **found,
        "redundancy": spread,
        "on_policy": policy,
        "seconds": clock.seconds,
    }


def _campaign(task: Task, config: CampaignConfig, folder: Path, clock: _Clock) -> Record:
    campaign = Campaign(config, folder)
    rounds: list[Record] = []
    steps: dict[int, int] = defaultdict(int)
    ended = ""
    for event in campaign.run():
        clock.lap(event.stage if isinstance(event, Progress) else "fit")
        if isinstance(event, Progress) and event.stage == "explore":
            steps[event.round_number] = max(steps[event.round_number], event.done)
        elif isinstance(event, RoundReport):
            number = event.round_number
            model, _ = load_model(config, campaign.store, number)
            rounds.append(
                {
                    "labels": event.n_labels,
                    "refits": number,
                    "errors": errors(task.system, model),
                    "steps": steps[number],
                    "picks": event.picks,
                    "failed": event.failed,
                    "suspects": len(event.suspects),
                    "returns": event.returns,
                    "rollbacks": event.rollbacks,
                    "walkers": dict(Counter(event.walkers)),
                }
            )
            clock.lap("judge")
        elif isinstance(event, Ended):
            ended = event.reason
    batches = [campaign.store.read_batch(k) for k in range(1, len(rounds))]
    facts = [atoms.info for batch in batches for atoms in batch]
    aside = left_out(campaign.store, len(rounds) - 1, config.labels.set_aside_force)
    picks = _labelled_picks(campaign.store, len(rounds) - 1, aside)
    if task.picks is not None and task.arm in TELLING:
        paid = _labelled_picks(campaign.store, len(rounds) - 1)
        keep_picks(task.picks / f"{task.name}.npz", campaign.store, paid, batches)
    return {
        "rounds": rounds,
        "ended": ended,
        "pick_steps": [int(info["bayesel_step"]) for info in facts],
        "pick_reasons": dict(Counter(str(info["bayesel_reason"]) for info in facts)),
        "model": model,
        "picks": picks,
    }


def _labelled_picks(store: Store, number: int, aside: frozenset[str] = frozenset()) -> list[Atoms]:
    """All of them, but for those that fits do not take."""
    given = store.read_input("train")
    whole = TrainingSet(store, number, store.used_labels(), given, KEYS, aside)
    return whole[len(given) :]


def _pool(task: Task, config: CampaignConfig, train: list[Atoms], clock: _Clock) -> Record:
    rounds: list[Record] = []
    for model, picks, steps in pool_rounds(ARMS[task.arm], task.system, config, train):
        clock.lap("explore")
        before = sum(r["steps"] for r in rounds)
        known = rounds[-1]["labels"] if rounds else 0
        rounds.append(_round(task.system, model, len(picks), len(rounds), steps - before))
        rounds[-1]["picks"] = len(picks) - known
        clock.lap("judge")
    return {"rounds": rounds, "ended": "", "pick_steps": [], "model": model, "picks": picks}


def _floor(task: Task, config: CampaignConfig, train: list[Atoms], clock: _Clock) -> Record:
    frames = task.system.floor()
    model = fitted(task.system, [*train, *frames], config)
    clock.lap("fit")
    rounds = [_round(task.system, model, len(frames), 1, 0)]
    return {"rounds": rounds, "ended": "", "pick_steps": [], "model": model, "picks": []}


def _round(system: System, model: Surrogate, labels: int, refits: int, steps: int) -> Record:
    return {
        "labels": labels,
        "refits": refits,
        "errors": errors(system, model),
        "steps": steps,
        "picks": labels,
    }


class _Clock:
    """CPU seconds by stage; of one thread, so other processes do not count."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.process_time()

    def lap(self, stage: str) -> None:
        """The time since the last lap was this stage's."""
        now = time.process_time()
        self.seconds[stage] = round(self.seconds.get(stage, 0.0) + now - self._last, 3)
        self._last = now


def _version() -> str:
    try:
        command = ["git", "describe", "--always", "--dirty"]
        folder = Path(__file__).parent
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
        return done.stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def summary(record: Record) -> str:
    """A run as one line."""
    shown = [
        r for k, r in enumerate(record["rounds"]) if k == 0 or r["labels"] % 10 == 0
    ] or record["rounds"][-1:]
    curve = ", ".join(
        f"{r['labels']}: {r['errors']['all'][0]:.1f}/{r['errors']['all'][1]:.0f}" for r in shown
    )
    names = "system", "start", "arm", "seed"
    steps = record["pick_steps"]
    median = f", median pick at step {np.median(steps):.0f}" if steps else ""
    return (
        f"{' '.join(str(record[name]) for name in names)} | {curve} | "
        f"{record['rounds'][-1]['refits']} refits{median} | "
        f"{sum(record['seconds'].values()):.0f} s {record['seconds']} {record['ended'][:60]}"
    )
