"""Molecular dynamics of one walker, or of several in lock-step, as a generator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from ase import Atoms

from ..bias.batching import CallResult, call_batched
from ..bias.calculator import BiasedCalculator
from ..bias.evaluators import EVALUATION_ERRORS
from ..bias.prediction import Prediction
from ..errors import BayeselError, DescriptorError, StructureError
from .driver import Driver, Targets, check_moves
from .driver_state import DriverState
from .engines import EngineName, engine_of
from .ensembles import Ensemble, Langevin, check_ensemble
from .guards import Fault
from .integrators import CellExplosionError
from .moves import Move
from .restraints import Restraint, check_restraints
from .schedules import Schedule
from .statuses import CALCULATOR
from .triggers import Guards, LazyCheck, Trigger, TriggerReport
from .trust import RETURN, BoundFrame, Trust
from .walker_step import WalkerStep


def run_walker(
    atoms: Atoms,
    calculator: BiasedCalculator,
    *,
    n_steps: int,
    temperature_K: Schedule,
    rng: np.random.Generator,
    timestep_fs: float = 1.0,
    ensemble: Ensemble = Langevin(),
    dynamics: EngineName = "ase",
    pressure_GPa: Schedule | None = None,
    tau_rel: Schedule | None = None,
    moves: Sequence[Move] = (),
    restraints: Sequence[Restraint] = (),
    triggers: Sequence[Trigger | LazyCheck] = (),
    guards: Guards = Guards(),
    max_rollbacks: int = 0,
    trust: Trust | None = None,
    check_interval: int = 1,
    lazy: bool = True,
    first_step: int = 0,
    state: DriverState | None = None,
) -> Iterator[WalkerStep]:
    """MD on the biased surface, one `WalkerStep` per step.

    Guards act at every step, triggers at every ``check_interval``-th, from the
    unbiased prediction; a frame that fires has passed the guards with its unbiased forces
    too. The starting frame is yielded but never triggers. A broken
    guard, a criterion that is not finite or a failing calculator rolls the walker back:
    the step shows a sane frame from some steps before with new momenta, and time goes on.
    After ``max_rollbacks`` of these it ends the trajectory with one step whose ``status``
    names the reason, as a start does that breaks a guard. Where a walker meets its bound of
    ``trust`` the step shows its start with new momenta, and ``beyond`` the frame at the bound.
    Only a start that the calculator refuses as such (an unknown element, say) raises. The
    iteration can be left at any step and taken up again with a copy of that step's ``atoms``,
    its ``driver`` as ``state``, the same ``rng`` and ``first_step``.

    Parameters
    ----------
    atoms
        Start; not changed. Momenta are drawn at ``temperature_K`` if all are zero. Where
        the ensemble conserves the total momentum, that of a start is removed.
    calculator
        Biased calculator, used as it is.
    n_steps
        Last absolute step number.
    temperature_K, pressure_GPa, tau_rel
        Constants, or a `Ramp` in the absolute step. A pressure is needed by `NPT`, and
        is not that of the unbiased surface but of the biased one. ``tau_rel`` replaces
        that of the calculator's rule.
    rng
        Source of all randomness.
    timestep_fs
        Time step (fs).
    ensemble
        `NVE`, `Langevin`, `Bussi`, `NoseHooverChain` or `NPT`.
    dynamics
        What makes the steps: ``"ase"``, or ``"lammps"`` for the first three ensembles, or
        ``"torch_sim"`` for the first two: ``check_interval`` steps at a time, which
        `run_walkers` makes for all walkers in one batch. There is a `WalkerStep` of every check
        then, at which guards act, tau changes and averages are taken.
    moves
        Monte Carlo moves, each attempted before the steps that are multiples of its
        interval; their counts are in ``driver.moves``.
    restraints
        `Harmonic`, `UpperWall` and `LowerWall`, on top of the energy that the walker moves on.
        Predictions, triggers and guards do not see them.
    triggers, guards, check_interval
        When to report a structure and when a frame is not sane. The ``checks`` of an
        earlier step are triggers that remember. Guards that compare with a start and are
        not bound to one are bound to ``atoms``: to take a trajectory up again give
        ``guards.against(start)``.
    max_rollbacks
        How often the walker may be rolled back.
    trust
        Where the walker goes back to its start (`TrustBound.against`), looked at with the
        triggers; None for nowhere. It does not count as a rollback.
    lazy
        Evaluate force triggers only where they may fire, see `LazyCheck`. It concerns
        predictions without exact force deviations; what it has learnt lasts until the
        iteration ends or the surrogate changes.
    first_step
        Absolute number of the starting frame.
    state
        With which to go on; None for a start.

    Raises
    ------
    StructureError
        If the ensemble, ``dynamics``, a move or a restraint does not suit the atoms or their
        constraints.
    DescriptorError
        If torch-sim cannot evaluate what the calculator does.
    ValueError
        If ``tau_rel`` is given for a calculator with a fixed ``tau``, a temperature is not
        positive, or torch-sim is to end within a check interval.
    """
    check_ensemble(ensemble, atoms, pressure_GPa is not None, "walker")
    engine = engine_of(dynamics, check_interval)
    engine.check(ensemble, atoms, "walker", moves, restraints)
    check_moves(moves, ensemble, atoms, pressure_GPa is not None, "walker")
    check_restraints(restraints, ensemble, moves, atoms, "walker")
    engine.check_walker(calculator, (first_step, n_steps))
    atoms = atoms.copy()
    atoms.calc = calculator
    targets = Targets(temperature_K, pressure_GPa, tau_rel)
    driver = Driver(
        atoms,
        ensemble,
        targets,
        timestep_fs,
        rng,
        first_step,
        state,
        rolls_back=max_rollbacks > 0,
        moves=moves,
        restraints=restraints,
        engine=engine,
    )
    broken = Fault.of(guards.violated(atoms))
    if broken is not None:
        yield _stopped(_present_step(driver, first_step, None), broken)
        return
    guards = guards if guards.start is not None else guards.against(atoms)
    surrogate = calculator.surrogate
    checks = [t if isinstance(t, LazyCheck) else LazyCheck(t, lazy) for t in triggers]
    last: WalkerStep | None = None
    for step in range(first_step, max(n_steps, first_step) + 1, driver.stride):
        reports: tuple[TriggerReport, ...] = ()
        rolled_back: Fault | None = None
        beyond: BoundFrame | None = None
        while True:
            broken = _advanced(driver, calculator, step, guards, last is None)
            due = step > first_step and step % check_interval == 0 and rolled_back is None
            if broken is None and due:
                if calculator.surrogate is not surrogate:
                    surrogate = calculator.surrogate
                    checks = [check.forgotten() for check in checks]
                checks, reports, broken = _checked(checks, calculator.prediction, atoms)
                if broken is None and any(report.fired for report in reports):
                    broken = Fault.of(guards.unbiased_violated(calculator.prediction))
                if broken is None and trust is not None:
                    trust, bound, broken = trust.looked_at(calculator.prediction, atoms)
                    if broken is None and bound is not None and bound.fired:
                        beyond = _at_the_bound(driver, calculator.prediction, reports, bound)
                        rolled_back, reports = Fault(RETURN), ()
                        driver.return_to(trust.start, step)
                        continue
            if broken is None or last is None or driver.state.rollbacks >= max_rollbacks:
                break
            rolled_back, reports = broken, ()
            driver.rewind(step)
        if broken is not None and last is not None:
            over = replace(last, step=step, reports=(), rolled_back=None)
            yield _stopped(replace(over, beyond=None, checked=False), broken)
            return
        if broken is not None:
            prediction = None if broken.status == CALCULATOR else calculator.prediction
            yield _stopped(_present_step(driver, step, prediction), broken)
            return
        driver.accept(step)
        last = _present_step(
            driver,
            step,
            calculator.prediction,
            reports,
            rolled_back=rolled_back,
            checks=tuple(checks),
        )
        last = replace(last, beyond=beyond, trust=trust, checked=due)
        yield last


def _advanced(
    driver: Driver, calculator: BiasedCalculator, step: int, guards: Guards, starts: bool
) -> Fault | None:
    """Make a step; what is wrong with it. A start that the calculator refuses as such raises."""
    try:
        driver.attempt_moves(step, guards)
        driver.advance(step)
    except EVALUATION_ERRORS as error:
        if starts and isinstance(error, StructureError | DescriptorError):
            raise
        exploded = isinstance(error, CellExplosionError)
        return Fault.by(error, "volume" if exploded else CALCULATOR)
    return Fault.of(guards.violated(driver.atoms, calculator.prediction))


def _at_the_bound(
    driver: Driver,
    prediction: Prediction,
    reports: tuple[TriggerReport, ...],
    bound: TriggerReport,
) -> BoundFrame:
    snapshot = driver.atoms.copy()
    snapshot.calc = None
    prediction.release()  # the start is evaluated next
    return BoundFrame(snapshot, prediction, driver.temperature_K, reports, bound)


def _present_step(
    driver: Driver,
    step: int,
    prediction: Prediction | None,
    reports: tuple[TriggerReport, ...] = (),
    rolled_back: Fault | None = None,
    checks: tuple[LazyCheck, ...] = (),
) -> WalkerStep:
    """The step that shows the present frame of a driver."""
    snapshot = driver.atoms.copy()
    snapshot.calc = None
    return WalkerStep(
        step,
        snapshot,
        prediction,
        driver.temperature_K,
        reports,
        driver=driver.state,
        rolled_back=None if rolled_back is None else rolled_back.status,
        checks=checks,
        message="" if rolled_back is None else rolled_back.message,
        restraints=None if prediction is None else driver.restraint_report(),
    )


def _stopped(step: WalkerStep, fault: Fault) -> WalkerStep:
    """The step as the last one of its trajectory."""
    return replace(step, status=fault.status, message=fault.message)


def _checked(
    checks: Sequence[LazyCheck], prediction: Prediction, atoms: Atoms
) -> tuple[list[LazyCheck], tuple[TriggerReport, ...], Fault | None]:
    """The next checks, the reports of those triggers that were evaluated, and what is wrong."""
    try:
        pairs = [check(prediction, atoms) for check in checks]
    except BayeselError as error:
        return list(checks), (), Fault.by(error)
    reports = tuple(report for report, _ in pairs if report is not None)
    sane = all(np.isfinite(report.value) for report in reports)
    return [check for _, check in pairs], reports, None if sane else Fault("nan")


def run_walkers(
    walkers: Sequence[Iterator[WalkerStep]], calculators: Sequence[BiasedCalculator]
) -> Iterator[dict[int, WalkerStep]]:
    """Walkers in lock-step: one `WalkerStep` of each living walker at a time, by its number.

    Where the calculators' networks are one and the same (`MACEDescriptor` on the
    MLIP's own model) small structures share each pass through it. The trajectories
    are those of the single walkers up to rounding, whatever the sizes, lengths and
    periodicities. A walker that ends, for whatever reason, leaves the others alone.

    A pick by one walker is shared by giving all calculators the new surrogate
    between two steps, by `BiasedCalculator.set_surrogate`. The iteration can be left at any
    step. After each step predictions release the memory of their passes, so
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
        calls = {k: partial(_advance, *pair) for k, pair in living.items()}
        together = {k: call for k, call in calls.items() if living[k][1].batchable}
        results = call_batched(together)
        results |= {k: CallResult.of(call) for k, call in calls.items() if k not in together}
        advanced = {k: _step_of(k, results[k]) for k in living}
        steps = {k: step for k, step in advanced.items() if step is not None}
        if steps:
            yield steps
        living = {k: living[k] for k in steps}


def _advance(walker: Iterator[WalkerStep], calculator: BiasedCalculator) -> WalkerStep | None:
    """The walker's next step, None at its end."""
    try:
        return next(walker, None)
    finally:
        if calculator.last_prediction is not None:
            calculator.last_prediction.release()


def _step_of(number: int, result: CallResult) -> WalkerStep | None:
    if result.error is not None:
        result.error.add_note(f"raised by walker {number}")
    return result.unwrap()
