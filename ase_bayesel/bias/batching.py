"""Evaluations of several walkers in batches: many passes through one network become one.

ASE's integrators ask for forces in the middle of a step. Each walker's step
therefore runs in a thread of its own, which stands still wherever it needs the
network; once all stand still, one batch serves them. Only one thread runs at any
time, as with coroutines, so nothing needs a lock and the order is always the same.
All passes are made in the thread of the caller, and no thread outlives the step.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, NamedTuple, Protocol

import numpy as np
from ase import Atoms

from ..descriptors.base import (
    BatchedPass,
    Combination,
    EnergyAndFeatures,
    Gradient,
    JointDescriptor,
    OnePass,
)

_here = threading.local()


class CallResult(NamedTuple):
    """What a call returned, or what it raised."""

    value: Any = None
    error: BaseException | None = None

    @classmethod
    def of(cls, call: Callable[[], Any]) -> CallResult:
        """Call, and catch whatever is raised."""
        try:
            return cls(call())
        except Exception as error:
            return cls(error=error)

    def unwrap(self) -> Any:
        """The value; raises the error if there is one."""
        if self.error is not None:
            raise self.error
        return self.value


def call_batched(calls: Mapping[int, Callable[[], Any]]) -> dict[int, CallResult]:
    """Make calls whose uses of `forward` share passes.

    A call that fails does not disturb the others. Whatever interrupts the caller
    (Ctrl-C, say) ends all threads before it gets out.
    """
    if len(calls) == 1:
        return {key: CallResult.of(call) for key, call in calls.items()}
    coroutines = {key: _Coroutine(call) for key, call in calls.items()}
    try:
        waiting = {key: coroutine.start() for key, coroutine in coroutines.items()}
        while waiting := {key: want for key, want in waiting.items() if want is not None}:
            for key, answer in _answers(waiting).items():
                waiting[key] = coroutines[key].resume(answer)
    finally:
        for coroutine in coroutines.values():
            coroutine.abandon()
        for coroutine in coroutines.values():
            coroutine.join()
    return {key: coroutine.result for key, coroutine in coroutines.items()}


def forward(descriptor: JointDescriptor, atoms: Atoms) -> EnergyAndFeatures:
    """Energy and features of a structure; within `call_batched` from one pass for all who ask."""
    coroutine = _current()
    if coroutine is None:
        return OnePass(descriptor.forward_batch([atoms]))
    batch, index = coroutine.ask(_Forward(descriptor, atoms))
    return _SharedPass(batch, index)


class Work(Protocol):
    """Something that several calls want at once, and that is done for all of one kind."""

    @property
    def kind(self) -> Hashable:
        """What they have in common."""
        ...

    def done(self, wants: Mapping[int, Any]) -> dict[int, CallResult]:
        """What comes of these, which are of this kind, or of some of them."""
        ...


def together(work: Work) -> Any:
    """What comes of work; within `call_batched` it is done for all who want its kind.

    It is begun once nobody wants a pass any more.
    """
    coroutine = _current()
    if coroutine is None:
        return work.done({0: work})[0].unwrap()
    return coroutine.ask(work)


class _SharedPass(OnePass):
    """One structure of a pass for several, whose backward passes are shared as well."""

    def gradient(
        self, energy_weight: float, cotangent: np.ndarray | None = None, last: bool = False
    ) -> Gradient:
        coroutine = _current()
        if coroutine is None:
            return super().gradient(energy_weight, cotangent, last=False)
        return coroutine.ask(
            _Backward(self.batch, self.index, Combination(energy_weight, cotangent), last)
        )


@dataclass(frozen=True)
class _Forward:
    descriptor: JointDescriptor
    atoms: Atoms


@dataclass(frozen=True)
class _Backward:
    batch: BatchedPass
    index: int
    wanted: Combination
    last: bool


def _answers(waiting: Mapping[int, Any]) -> dict[int, CallResult]:
    """Serve all backward passes, else the first batch of forward passes, else the first work."""
    backward = {key: want for key, want in waiting.items() if isinstance(want, _Backward)}
    if not backward:
        forward = {key: want for key, want in waiting.items() if isinstance(want, _Forward)}
        if forward:
            return _serve_forward(forward)
        work: Work = next(iter(waiting.values()))
        return work.done({key: want for key, want in waiting.items() if want.kind == work.kind})
    batches = {id(want.batch): want.batch for want in backward.values()}
    answers: dict[int, CallResult] = {}
    for batch in batches.values():
        answers |= _serve_backward({k: w for k, w in backward.items() if w.batch is batch})
    return answers


def _serve_backward(wants: Mapping[int, _Backward]) -> dict[int, CallResult]:
    """One backward pass for all who share a forward pass."""
    batch = next(iter(wants.values())).batch
    last = len(wants) == len(batch.energies) and all(want.last for want in wants.values())
    wanted = {want.index: want.wanted for want in wants.values()}
    result = CallResult.of(lambda: batch.gradients(wanted, last))
    if result.error is not None:
        return dict.fromkeys(wants, result)
    return {key: CallResult(result.value[want.index]) for key, want in wants.items()}


def _serve_forward(wants: Mapping[int, _Forward]) -> dict[int, CallResult]:
    """One forward pass for as many as pays; the others wait, so that memory stays bounded.

    Where it fails each structure is tried alone, so that only the faulty ones fail.
    """
    descriptor = next(iter(wants.values())).descriptor
    frames: dict[int, Atoms] = {}
    for key, want in wants.items():
        n_atoms = sum(map(len, frames.values())) + len(want.atoms)
        if want.descriptor is descriptor and (not frames or n_atoms <= descriptor.batch_atoms):
            frames[key] = want.atoms
    result = CallResult.of(lambda: descriptor.forward_batch(list(frames.values())))
    if result.error is None:
        return {key: CallResult((result.value, index)) for index, key in enumerate(frames)}
    if len(frames) == 1:
        return dict.fromkeys(frames, result)
    return {key: _serve_forward({key: wants[key]})[key] for key in frames}


class _Coroutine:
    """A call in a thread of its own that runs only while its owner waits for it."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.result = CallResult()
        self._call = call
        self._wants: SimpleQueue[Any] = SimpleQueue()
        self._answers: SimpleQueue[CallResult] = SimpleQueue()
        self._abandoned = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> Any:
        """Run to the first thing it wants; None at the end of the call."""
        self._thread.start()
        return self._wants.get()

    def resume(self, answer: CallResult) -> Any:
        """Run to the next thing it wants; None at the end of the call."""
        self._answers.put(answer)
        return self._wants.get()

    def ask(self, want: Any) -> Any:
        """From within: stand still until the owner answers."""
        if not self._abandoned:
            self._wants.put(want)
            answer = self._answers.get()
        if self._abandoned:
            raise GeneratorExit
        return answer.unwrap()

    def abandon(self) -> None:
        """Let the call end wherever it stands, or at the next thing it wants."""
        self._abandoned = True
        self._answers.put(CallResult())

    def join(self) -> None:
        """Wait for the end of the thread."""
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        _here.coroutine = self
        try:
            self.result = CallResult(self._call())
        except BaseException as error:
            self.result = CallResult(error=error)
        finally:
            self._wants.put(None)


def _current() -> _Coroutine | None:
    """The coroutine in whose thread this is called, if any."""
    return getattr(_here, "coroutine", None)
