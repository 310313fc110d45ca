"""A walker from one barrier to the next: a function of values, wherever it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from ase import Atoms

from ...bias.calculator import BiasedCalculator
from ...dynamics.recording import Recording, StepRecord
from ...dynamics.triggers import LazyCheck
from ...dynamics.trust import Trust
from ...dynamics.walker_step import WalkerStep
from ...surrogate.surrogate import Surrogate
from .picks import Candidate, Pick, TriggerEvent, event_of
from .rules import RoundRules, StartEnergy
from .state import WalkerState

LEFT = 0.5
"""Share of the kinetic energy that is left when the heat of an update is taken out."""


@dataclass(frozen=True)
class WalkerPlan:
    """How one walker runs.

    Attributes
    ----------
    run
        `run_walker` with everything filled in but ``atoms``, ``calculator``, ``rng``,
        ``triggers``, ``trust``, ``first_step`` and ``state``.
    checks
        Its triggers, having learnt nothing.
    start
        Where it begins, and goes back to.
    n_steps
        Its last step.
    trust
        Its bound of trust, having learnt nothing; None for none.
    """

    run: Callable[..., Iterator[WalkerStep]]
    start: Atoms
    checks: tuple[LazyCheck, ...]
    n_steps: int
    trust: Trust | None = None


@dataclass(frozen=True)
class WalkerSetup:
    """What the walkers of a round run with.

    Attributes
    ----------
    surrogate
        The round's, before the first pick.
    make_calculator
        A new calculator on a surrogate, for one walker.
    plans
        One per walker.
    check_interval
        Steps between two barriers, where the triggers are evaluated.
    rules
        How frames become picks.
    recording
        What of the steps is to be written.
    """

    surrogate: Surrogate
    make_calculator: Callable[[Surrogate], BiasedCalculator]
    plans: tuple[WalkerPlan, ...]
    check_interval: int
    rules: RoundRules
    recording: Recording = Recording()


@dataclass(frozen=True)
class BlockResult:
    """A walker at the next barrier, or where it ended before, and what its triggers saw.

    ``record`` is what is to be written of the steps in between.
    """

    walker: WalkerState
    event: TriggerEvent | None = None
    record: StepRecord = StepRecord()


def advance_walker(
    setup: WalkerSetup,
    number: int,
    walker: WalkerState,
    calculator: BiasedCalculator,
    barrier: int,
) -> BlockResult:
    """Run a walker up to the absolute step ``barrier``.

    The result depends on the arguments alone. A chain of blocks is the trajectory that
    `run_walker` makes in one go, bit for bit, where the potential keeps no memory of its own.

    Parameters
    ----------
    number, walker
        Which walker it is, and its state; not changed.
    calculator
        Holds the posterior in use; all else that it remembers is replaced by the walker's.
    """
    rng = walker.generator()
    atoms = walker.atoms
    calculator.restore(atoms, walker.evaluated)
    if walker.bias_energy is not None and walker.driver is not None:
        calculator.restore(atoms, walker.driver.tau)
        atoms = _cooled(atoms, calculator, walker.bias_energy)
    plan = setup.plans[number]
    steps = plan.run(
        atoms,
        calculator,
        rng=rng,
        triggers=_checks(plan, walker),
        trust=plan.trust and plan.trust.with_ratios(walker.trust_ratios),
        first_step=walker.step,
        state=walker.driver,
    )
    last: WalkerStep | None = None
    status = "finished"
    buffer = setup.recording.buffer(number, walker.step)
    for last in steps:
        buffer.add(last)
        if last.status != "running" or last.step == barrier:
            status = last.status
            break
    if last is None:
        return BlockResult(replace(walker, status=status))
    running = status == "running"
    arrived = replace(
        walker,
        atoms=last.atoms,
        rng_state=dict(rng.bit_generator.state),
        step=last.step,
        status=status,
        message="" if running else last.message,
        driver=last.driver,
        evaluated=calculator.evaluated(last.atoms) if running else None,
        ratios=tuple(check.ratios for check in last.checks) if running else (),
        trust_ratios=() if last.trust is None or not running else last.trust.ratios,
        bias_energy=None,
    )
    start = setup.rules.at_start(walker, last.step, setup.check_interval)
    if start is not None and running and last.beyond is None:
        last = _with_start(last, start)
    event = event_of(last, _worth_offering(setup.rules, walker))
    if calculator.last_prediction is not None:
        calculator.last_prediction.release()
    return BlockResult(arrived, event, buffer.take())


def _with_start(step: WalkerStep, start: StartEnergy) -> WalkerStep:
    """The step with what fires at a start: first, so that a second look is for it too."""
    assert step.prediction is not None
    report = start(step.prediction, step.atoms)
    return replace(step, reports=(report, *step.reports)) if report.fired else step


def _cooled(atoms: Atoms, calculator: BiasedCalculator, bias_energy: float) -> Atoms:
    """The atoms without the heat that a new surrogate would bring them.

    A pick lowers sigma_E under a walker, so that E - tau sigma_E jumps up; the difference comes
    out of the kinetic energy, of which at least the share `LEFT` stays.
    """
    calculator.get_potential_energy(atoms)
    heat, kinetic = calculator.prediction.bias_energy - bias_energy, atoms.get_kinetic_energy()
    if not 0 < heat < np.inf or kinetic <= 0:
        return atoms
    cooled = atoms.copy()
    cooled.set_momenta(np.sqrt(max(LEFT, 1.0 - heat / kinetic)) * atoms.get_momenta())
    return cooled


def _worth_offering(rules: RoundRules, walker: WalkerState) -> float:
    """Above which ratio of value and threshold a frame may be one that the walker offers."""
    if rules.batch == "joint" or rules.offers == "never":
        return float("inf")
    last = rules.last_offer(walker)
    return 0.0 if last is None else last.report.ratio


def look_again(setup: WalkerSetup, pick: Pick | Candidate, surrogate: Surrogate) -> TriggerEvent:
    """What the triggers see at a structure with another surrogate, and its atoms' deviations.

    Its temperature and tau are not known any more.
    """
    calculator = setup.make_calculator(surrogate)
    calculator.get_forces(pick.structure)
    prediction = calculator.prediction
    checks = setup.plans[pick.walker].checks
    triggers = [check.trigger for check in checks]
    if isinstance(pick, Pick) and pick.report.name == StartEnergy.kind:
        triggers.insert(0, StartEnergy(pick.report.threshold))
    reports = tuple(trigger(prediction, pick.structure) for trigger in triggers)
    step = WalkerStep(pick.step, pick.structure, prediction, float("nan"), reports, checked=True)
    return TriggerEvent.of(step, beyond=-1.0)


def _checks(plan: WalkerPlan, walker: WalkerState) -> tuple[LazyCheck, ...]:
    if not walker.ratios:
        return plan.checks
    pairs = zip(plan.checks, walker.ratios, strict=True)
    return tuple(replace(check, ratios=ratios) for check, ratios in pairs)
