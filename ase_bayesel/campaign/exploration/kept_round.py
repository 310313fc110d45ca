"""What a process that advances walkers for another one keeps between two tasks."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace

from ...bias.calculator import BiasedCalculator
from ...surrogate.posterior import Posterior
from .blocks import BlockResult, WalkerSetup, advance_walker
from .state import WalkerState

OpenSetup = Callable[[], AbstractContextManager[WalkerSetup]]
"""Loads what walkers run with, and sets the process up for it meanwhile; can be pickled."""


class KeptRound:
    """A round's model, loaded with the first task, and a calculator with the newest posterior.

    Parameters
    ----------
    open_setup
        Called once.
    """

    def __init__(self, open_setup: OpenSetup) -> None:
        self._open_setup = open_setup
        self._stack = ExitStack()
        self._setup: WalkerSetup | None = None
        self._calculator: BiasedCalculator | None = None
        self._version = ""

    def advance(
        self,
        version: str,
        posterior: Callable[[], Posterior],
        number: int,
        walker: WalkerState,
        barrier: int,
    ) -> BlockResult:
        """A walker at the barrier (`advance_walker`).

        Parameters
        ----------
        version
            Names the posterior, which is asked for only where it is another one than before.
        """
        if self._setup is None:
            self._setup = self._stack.enter_context(self._open_setup())
        if self._calculator is None or version != self._version:
            surrogate = replace(self._setup.surrogate, posterior=posterior())
            self._calculator = self._setup.make_calculator(surrogate)
            self._version = version
        return advance_walker(self._setup, number, walker, self._calculator, barrier)

    def close(self) -> None:
        """Leave the process as it was before the round."""
        self._stack.close()
