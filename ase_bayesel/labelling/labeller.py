"""Labels for many structures, on whatever runs the tasks, while other things go on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import AbstractContextManager, ExitStack
from typing import Any, NamedTuple

from ase import Atoms

from ..errors import LostTaskError, TerminatedError
from ..resources import TaskExecutor
from ..structures.identity import structure_id
from .reference import Reference
from .store import Label
from .task import LabellingResult, is_settled, label_of, label_task

OpenExecutor = Callable[[], AbstractContextManager[TaskExecutor]]
HEARTBEAT_S = 1.0
"""Longest time for which waiting for labels tells nothing."""
MAX_TERMINATED = 3
"""How often a calculation is started again that was terminated from outside."""


class LabelTally(NamedTuple):
    """How many structures wait, are being computed, have a label, and have failed for good."""

    queued: int
    running: int
    done: int
    failed: int


class Labeller:
    """Labels structures as they come; to be used in a ``with`` block, which ends all that runs.

    Parameters
    ----------
    reference
        How.
    open_executor
        Gives what runs the tasks; called when there is a first one.
    retry_failed
        Make calculations again that failed before, by whichever campaign.

    Attributes
    ----------
    n_done
        How many structures are labelled or given up.
    """

    def __init__(
        self, reference: Reference, open_executor: OpenExecutor, retry_failed: bool = False
    ) -> None:
        self.reference = reference
        self._retry_failed = retry_failed
        self.n_done = 0
        self._n_failed = 0
        self._open_executor = open_executor
        self._stack = ExitStack()
        self._executor: TaskExecutor | None = None
        self._running: dict[Future, Atoms] = {}
        self._asked: set[str] = set()
        self._terminated: Counter[str] = Counter()

    def __enter__(self) -> Labeller:
        return self

    def __exit__(self, *raised: Any) -> None:
        self._stack.close()

    def submit(self, structures: Sequence[Atoms]) -> None:
        """Have structures labelled, but those that were asked for before or are settled."""
        for atoms in structures:
            identity = structure_id(atoms)
            if identity in self._asked:
                continue
            self._asked.add(identity)
            if self._retry_failed:
                for name in self.reference.settings_of(atoms):
                    self.reference.store.forget_failure(identity, name)
            if is_settled(self.reference.store, self.reference.settings_of(atoms), identity):
                self.n_done += 1
                found = label_of(self.reference.store, self.reference.settings_of(atoms), identity)
                self._n_failed += found is None
            else:
                self.reference.describe(atoms.symbols)
                self._start(atoms)

    def beforehand(self, atoms: Atoms) -> Iterator[None]:
        """Label a structure before all others, uncounted; yields while it is under way.

        Parameters
        ----------
        atoms
            The structure. It may be asked for again, and is settled then.

        Raises
        ------
        BayeselError
            As of `ended`.
        """
        self.submit([atoms])
        while self._running:
            self.ended(HEARTBEAT_S)
            yield
        self._asked.clear()
        self.n_done = self._n_failed = 0

    def _start(self, atoms: Atoms) -> None:
        if self._executor is None:
            self._executor = self._stack.enter_context(self._open_executor())
        future = self._executor.submit(
            label_task, atoms, self.reference, self.reference.settings_of(atoms)
        )
        self._running[future] = atoms

    @property
    def n_asked(self) -> int:
        """How many structures are to be labelled."""
        return len(self._asked)

    @property
    def n_running(self) -> int:
        """How many structures are under way."""
        return len(self._running)

    def tally(self) -> LabelTally:
        """Where the structures are that are to be labelled."""
        running = sum(future.running() for future in self._running)
        done = self.n_done - self._n_failed
        return LabelTally(self.n_running - running, running, done, self._n_failed)

    def ended(self, timeout_s: float = 0.0) -> list[LabellingResult]:
        """Results since the last call; waits for the first one as long as the timeout.

        Raises
        ------
        BayeselError
            If a task could not do its work: see `label_task`.
        """
        done, _ = wait(self._running, timeout_s, FIRST_COMPLETED)
        ended = [self._result(future, self._running.pop(future)) for future in done]
        results = [result for result in ended if result is not None]
        self.n_done += len(results)
        self._n_failed += sum(not result.ok for result in results)
        return results

    def _result(self, future: Future, atoms: Atoms) -> LabellingResult | None:
        """None where it goes on with the next attempt."""
        try:
            return future.result()
        except LostTaskError as error:
            return self._deadly(atoms, error)
        except TerminatedError:
            self._terminated[structure_id(atoms)] += 1
            if self._terminated[structure_id(atoms)] > MAX_TERMINATED:
                raise
            self._start(atoms)
            return None
        except Exception as error:
            error.add_note(f"raised by the labelling of {structure_id(atoms)}")
            raise

    def _deadly(self, atoms: Atoms, error: LostTaskError) -> LabellingResult | None:
        """A calculation that ends its process is a failed one; the next attempt may do better."""
        store, identity = self.reference.store, structure_id(atoms)
        settings = self.reference.settings_of(atoms)
        if is_settled(store, settings, identity):  # by another campaign, or just before
            done = label_of(store, settings, identity) is not None
            return LabellingResult(identity, done, "" if done else str(error))
        untried = ((k, s) for k, s in enumerate(settings) if not store.failed(identity, s))
        attempt, name = next(untried)
        store.save(Label(atoms, name, self.reference.engine.name, None, str(error), attempt))
        if name != settings[-1]:
            self._start(atoms)
            return None
        return LabellingResult(identity, False, str(error))
