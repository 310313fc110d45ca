"""Molecular dynamics of one walker, or of several in lock-step, as a generator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import CalculatorError
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import thermalize_momenta

from .calculator import BiasedCalculator, Prediction
from .errors import BayeselError, DescriptorError, StructureError
from .gathering import Outcome, gathered, outcome_of
from .heat import HeatCheck
from .triggers import Guards, LazyCheck, Trigger, TriggerReport

EVALUATION_ERRORS = (
    BayeselError,
    CalculatorError,
    ArithmeticError,
    ValueError,
    RuntimeError,
    np.linalg.LinAlgError,
)
"""What a calculator may raise on a configuration that has lost all sense."""


@dataclass(frozen=True)
class WalkerStep:
    """One MD step.

    Attributes
    ----------
    step
        Absolute step number.
    atoms
        Snapshot with momenta. In the last step of a stopped trajectory this is
        the last sane frame.
    prediction
        The evaluation that belongs to ``atoms``; None where the start itself
        breaks a guard or cannot be evaluated.
    temperature_K
        Instantaneous temperature.
    reports
        What the triggers saw; nothing of those that were not evaluated.
    status
        ``"running"``, or the reason for the stop: ``"nan"``, ``"close_contact"``,
        ``"force"``, ``"temperature"`` or ``"calculator_error"``.
    warning
        What is wrong with the mean temperature (`HeatCheck`); empty if nothing is. It
        stays from the step at which a `ThermostatWarning` was given.
    """

    step: int
    atoms: Atoms
    prediction: Prediction | None
    temperature_K: float
    reports: tuple[TriggerReport, ...] = ()
    status: str = "running"
    warning: str = ""

    @property
    def fired(self) -> TriggerReport | None:
        """The first trigger that fired, if any."""
        return next((report for report in self.reports if report.fired), None)


def run_walker(
    atoms: Atoms,
    calculator: BiasedCalculator,
    *,
    n_steps: int,
    temperature_K: float,
    rng: np.random.Generator,
    timestep_fs: float = 1.0,
    friction_per_fs: float = 0.01,
    triggers: Sequence[Trigger] = (),
    guards: Guards = Guards(),
    check_interval: int = 1,
    lazy: bool = True,
    first_step: int = 0,
) -> Iterator[WalkerStep]:
    """Langevin dynamics (ASE's) on the biased surface, one `WalkerStep` per step.

    Guards act at every step, triggers at every ``check_interval``-th, from the
    unbiased prediction. The starting frame is yielded but never triggers. A broken
    guard, a criterion that is not finite or a failing calculator ends the trajectory
    with one step whose ``status`` names the reason; only a start that the calculator
    refuses as such (an unknown element, say) raises. The iteration can be left at any
    step and taken up again with a copy of that step's ``atoms``, the same ``rng`` and
    ``first_step``.

    Parameters
    ----------
    atoms
        Start; not changed. Momenta are drawn at ``temperature_K`` if all are zero.
    calculator
        Biased calculator, used as it is.
    n_steps
        Last absolute step number.
    rng
        Source of all randomness.
    timestep_fs, friction_per_fs
        Time step (fs) and friction (1/fs).
    triggers, guards, check_interval
        When to report a structure and when to stop.
    lazy
        Evaluate force triggers only where they may fire, see `LazyCheck`. It concerns
        predictions without exact force deviations; what it has learnt lasts until the
        iteration ends or the surrogate changes.
    first_step
        Absolute number of the starting frame.
    """
    atoms = atoms.copy()
    atoms.calc = calculator
    if not atoms.get_momenta().any():
        thermalize_momenta(atoms, temperature_K=temperature_K, rng=rng)
    broken = guards.violated(atoms)
    if broken is not None:
        yield _stopped(_unevaluated(atoms, first_step), first_step, broken)
        return
    dynamics = Langevin(
        atoms,
        timestep_fs * units.fs,
        temperature_K=temperature_K,
        friction=friction_per_fs / units.fs,
        fixcm=False,
        rng=rng,
    ).irun(n_steps - first_step)
    surrogate, checks, heat = None, [], HeatCheck()
    last: WalkerStep | None = None
    step = first_step
    while True:
        try:
            if next(dynamics, None) is None:
                return
        except EVALUATION_ERRORS as error:
            if last is None and isinstance(error, StructureError | DescriptorError):
                raise
            yield _stopped(last or _unevaluated(atoms, step), step, "calculator_error")
            return
        prediction = calculator.prediction
        broken = guards.violated(atoms, prediction)
        reports: tuple[TriggerReport, ...] = ()
        if broken is None and step > first_step and step % check_interval == 0:
            if calculator.surrogate is not surrogate:
                surrogate = calculator.surrogate
                checks = [LazyCheck(trigger, lazy) for trigger in triggers]
            checks, reports, broken = _checked(checks, prediction, atoms)
        if broken is not None and last is not None:
            yield _stopped(last, step, broken)
            return
        temperature = float(atoms.get_temperature())
        heat = heat.after(temperature, temperature_K, atoms.get_number_of_degrees_of_freedom())
        last = WalkerStep(
            step,
            _snapshot(atoms),
            prediction,
            temperature,
            reports,
            "running" if broken is None else broken,
            heat.warning,
        )
        yield last
        if broken is not None:
            return
        step += 1


def _checked(
    checks: Sequence[LazyCheck], prediction: Prediction, atoms: Atoms
) -> tuple[list[LazyCheck], tuple[TriggerReport, ...], str | None]:
    """The next checks, the reports of those triggers that were evaluated, and what is wrong."""
    try:
        pairs = [check(prediction, atoms) for check in checks]
    except BayeselError:
        return list(checks), (), "calculator_error"
    reports = tuple(report for report, _ in pairs if report is not None)
    sane = all(np.isfinite(report.value) for report in reports)
    return [check for _, check in pairs], reports, None if sane else "nan"


def run_walkers(
    walkers: Sequence[Iterator[WalkerStep]], calculators: Sequence[BiasedCalculator]
) -> Iterator[dict[int, WalkerStep]]:
    """Walkers in lock-step: one `WalkerStep` of each living walker at a time, by its number.

    Where the calculators' networks are one and the same (`MACEDescriptor` on the
    MLIP's own model) small structures share each pass through it. The trajectories
    are those of the single walkers up to rounding, whatever the sizes, lengths and
    periodicities. A walker that ends, for whatever reason, leaves the others alone.

    A pick by one walker is shared by giving all calculators the new surrogate
    between two steps, by `BiasedCalculator.adopt`. The iteration can be left at any
    step. After each step calculators release the memory of their passes, so
    ``prediction.forces`` and its like are cheapest within a trigger.

    Parameters
    ----------
    walkers
        What `run_walker` returned, each with a calculator and generator of its own.
    calculators
        The walkers' calculators, in the same order.

    Raises
    ------
    Exception
        What a walker raises (see `run_walker`), with its number as a note, once
        the others have made their step.
    """
    if len({id(calculator) for calculator in calculators}) < len(calculators):
        raise ValueError("calculators: each walker needs one of its own")
    living = dict(enumerate(zip(walkers, calculators, strict=True)))
    while living:
        together = {k: partial(_advance, *pair) for k, pair in living.items() if pair[1].gathers}
        outcomes = gathered(together)
        for k, pair in living.items():
            if k not in together:
                outcomes[k] = outcome_of(partial(_advance, *pair))
        found = {k: _step_of(k, outcomes[k]) for k in living}
        steps = {k: step for k, step in found.items() if step is not None}
        if steps:
            yield steps
        living = {k: living[k] for k in steps}


def _advance(walker: Iterator[WalkerStep], calculator: BiasedCalculator) -> WalkerStep | None:
    """The walker's next step, None at its end."""
    try:
        return next(walker, None)
    finally:
        calculator.release()


def _step_of(number: int, outcome: Outcome) -> WalkerStep | None:
    if outcome.error is not None:
        outcome.error.add_note(f"raised by walker {number}")
    return outcome.unwrap()


def _unevaluated(atoms: Atoms, step: int) -> WalkerStep:
    return WalkerStep(step, _snapshot(atoms), None, float(atoms.get_temperature()))


def _stopped(last: WalkerStep, step: int, status: str) -> WalkerStep:
    return WalkerStep(
        step, last.atoms, last.prediction, last.temperature_K, (), status, last.warning
    )


def _snapshot(atoms: Atoms) -> Atoms:
    copy = atoms.copy()
    copy.calc = None
    return copy
