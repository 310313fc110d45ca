"""Walkers advanced in this process, sharing passes through a network where there is one."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from ...bias.batching import CallResult, call_batched
from ...bias.calculator import BiasedCalculator
from ...surrogate.surrogate import Surrogate
from .blocks import BlockResult, WalkerSetup, advance_walker
from .state import WalkerState


class LocalExecutor:
    """Advances walkers in this process.

    Parameters
    ----------
    setup
        How they run.
    batched
        Let small structures share each pass through a network (see `call_batched`), which
        changes trajectories within rounding. Otherwise one walker comes after the other.
    """

    def __init__(self, setup: WalkerSetup, batched: bool = True) -> None:
        self.setup, self.batched = setup, batched
        self._calculators: dict[int, BiasedCalculator] = {}

    def advance(
        self, walkers: Mapping[int, WalkerState], barrier: int, surrogate: Surrogate
    ) -> dict[int, BlockResult]:
        """All walkers at the barrier; see `barriers.Executor`."""
        calculators = {k: self._calculator(k, surrogate) for k in walkers}
        calls = {
            k: partial(advance_walker, self.setup, k, walker, calculators[k], barrier)
            for k, walker in walkers.items()
        }
        together = {k: c for k, c in calls.items() if self.batched and calculators[k].batchable}
        results = call_batched(together)
        results |= {k: CallResult.of(call) for k, call in calls.items() if k not in together}
        return {k: result_of(k, results[k]) for k in walkers}

    def _calculator(self, number: int, surrogate: Surrogate) -> BiasedCalculator:
        """The walker's own, with the surrogate."""
        if number not in self._calculators:
            self._calculators[number] = self.setup.make_calculator(surrogate)
        calculator = self._calculators[number]
        if calculator.surrogate is not surrogate:
            calculator.set_surrogate(surrogate, keep_averages=True)
        return calculator


def result_of(number: int, result: CallResult) -> BlockResult:
    """What a walker's block gave, or the error that it raised with the walker's number."""
    if result.error is not None:
        result.error.add_note(f"raised by walker {number}")
    return result.unwrap()
