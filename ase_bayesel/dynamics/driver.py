"""What drives one walker: integrator, targets, moves and rollback."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from ase import Atoms, units
from ase.md.velocitydistribution import thermalize_momenta

from ..errors import StructureError
from .driver_state import DriverState, Frame
from .engine import ASE, Engine
from .ensembles import NPT, Ensemble, IntegratorStart, bring_to_rest, degrees_of_freedom
from .moves import CellMove, Move, MoveState
from .restraints import RestrainedCalculator, Restraint, RestraintReport
from .schedules import Schedule, value_at, values_of
from .triggers import Guards

KEEP_INTERVAL = 50
"""Steps between frames that are kept to roll back to; a rollback goes back one to two of these."""
ENDLESS = 2**62
"""Steps of an integrator that runs until it is left."""


@dataclass(frozen=True)
class Targets:
    """What a walker aims at, by absolute step."""

    temperature_K: Schedule
    pressure_GPa: Schedule | None = None
    tau_rel: Schedule | None = None

    def __post_init__(self) -> None:
        if min(values_of(self.temperature_K)) <= 0:
            raise ValueError(f"temperature_K: must be positive, got {self.temperature_K}")

    def temperature(self, step: int) -> float:
        """K."""
        return value_at(self.temperature_K, step)

    def pressure(self, step: int) -> float:
        """eV/A^3; 0 where none is given."""
        return 0.0 if self.pressure_GPa is None else value_at(self.pressure_GPa, step) * units.GPa


def check_moves(
    moves: Sequence[Move], ensemble: Ensemble, atoms: Atoms, pressure_given: bool, where: str
) -> None:
    """Raise a `StructureError` if moves do not suit atoms.

    Parameters
    ----------
    moves, ensemble
        What the atoms are to be moved by.
    atoms
        The start.
    pressure_given
        Whether there is a target of the pressure.
    where
        With what the error begins.
    """
    try:
        for move in moves:
            move.check(atoms, pressure_given)
    except StructureError as error:
        raise StructureError(f"{where}: {error}") from None
    strains = any(isinstance(move, CellMove) for move in moves)
    if strains and isinstance(ensemble, NPT) and ensemble.cell == "axes":
        raise StructureError(f"{where}: a cell move strains what NPT with cell: axes holds")


class Driver:
    """One walker's atoms under an ensemble, step by step.

    Parameters
    ----------
    atoms
        With a calculator; moved in place.
    timestep_fs
        fs.
    rng
        For thermostat and momenta.
    first_step
        Absolute number of the frame that ``atoms`` are.
    state
        Where to go on. None for a start: momenta are drawn if all are zero, and the
        total momentum is removed where the ensemble conserves it.
    rolls_back
        Whether to keep frames for `rewind`.
    moves
        Monte Carlo moves between two steps.
    restraints
        On top of the calculator's energy.
    engine
        What makes the steps.
    """

    def __init__(
        self,
        atoms: Atoms,
        ensemble: Ensemble,
        targets: Targets,
        timestep_fs: float,
        rng: np.random.Generator,
        first_step: int,
        state: DriverState | None,
        rolls_back: bool,
        moves: Sequence[Move] = (),
        restraints: Sequence[Restraint] = (),
        engine: Engine = ASE,
    ) -> None:
        self.atoms, self._ensemble, self._targets = atoms, ensemble, targets
        self._engine, self.stride = engine, engine.stride
        self._calculator = calculator = atoms.calc
        self._timestep, self._rng = timestep_fs * units.fs, rng
        self._rolls_back, self._moves = rolls_back, tuple(moves)
        if not atoms.get_momenta().any():
            self._draw_momenta(first_step)
        elif state is None:
            bring_to_rest(atoms, ensemble)
        if targets.tau_rel is not None and calculator.tau_rel is None:
            raise ValueError("tau_rel: the calculator has a fixed tau; give it a tau_rel too")
        if state is not None:
            calculator.restore(atoms, state.tau)
        self.state = state or DriverState(tau=calculator.tau_state.after, left_start=first_step)
        if not self.state.moves:
            self.state = replace(self.state, moves=(MoveState(),) * len(self._moves))
        if len(self.state.moves) != len(self._moves):
            raise ValueError("state: belongs to other moves")
        self._resumed = None if state is None else first_step
        self._dof = degrees_of_freedom(atoms, ensemble)
        self._restrained: RestrainedCalculator | None = None
        if restraints:
            self._restrained = atoms.calc = RestrainedCalculator(calculator, restraints)
        self._begin(first_step, self.state.variables)

    @property
    def temperature_K(self) -> float:
        """Instantaneous temperature over the degrees of freedom that the ensemble has."""
        return float(2 * self.atoms.get_kinetic_energy() / (units.kB * max(self._dof, 1)))

    def restraint_report(self) -> RestraintReport | None:
        """What restraints do at the present frame; None without any."""
        return None if self._restrained is None else self._restrained.report(self.atoms)

    def attempt_moves(self, step: int, guards: Guards) -> None:
        """Attempt the moves that are due before this step, and evaluate what they changed.

        Restraints stand where this step has them before the first one is attempted.
        ``tau`` of the state then is that before the evaluation at the end of the step.
        """
        if self._restrained is not None:
            self._restrained.step = step - self.state.left_start
        if not self._moves or not self._started:
            return
        numbers = self.atoms.numbers.copy()
        states, pressure = list(self.state.moves), self._targets.pressure_GPa
        for k, move in enumerate(self._moves):
            if step % move.interval == 0:
                states[k] = move.attempt(
                    self.atoms,
                    temperature_K=self._targets.temperature(step),
                    pressure_GPa=None if pressure is None else value_at(pressure, step),
                    rng=self._rng,
                    state=states[k],
                    guards=guards,
                )
        self.state = replace(self.state, moves=tuple(states))
        if (self.atoms.numbers != numbers).any():
            self._begin(step, self._dynamics.variables)
            next(self._stream)
        self.atoms.get_forces()

    def advance(self, step: int) -> None:
        """Make all steps up to this one; only an evaluation at the first, and after a `rewind`."""
        temperature, pressure = self._targets.temperature(step), self._targets.pressure(step)
        if self._targets.tau_rel is not None:
            self._calculator.tau_rel = value_at(self._targets.tau_rel, step)
        self._dynamics.aim(temperature, pressure)
        next(self._stream)
        self._started = True

    def accept(self, step: int) -> None:
        """Take the present frame into the state, as a sane one, unless it came from there."""
        calculator = self._calculator
        if step != self._resumed:
            frames, thermostat = self.state.frames, self.state.thermostat
            if self._rolls_back and (step % KEEP_INTERVAL < self.stride or not frames):
                frames = (*frames, Frame.of(self.atoms))[-2:]
            if self._ensemble.thermostatted:
                thermostat = thermostat.after(
                    self.temperature_K, self._targets.temperature(step), self._dof
                )
            self.state = replace(
                self.state,
                variables=self._dynamics.variables,
                frames=frames,
                tau=calculator.tau_state.before,
                thermostat=thermostat,
            )
        if self._ensemble.thermostatted:
            excess = self.state.thermostat.recent - 1.0
            calculator.tau_state = calculator.tau_state.with_excess_temperature(excess)

    def rewind(self, step: int) -> None:
        """Go back to the oldest frame, with new momenta and without thermostat variables."""
        frame = self.state.frames[0]
        self.state = replace(self.state, frames=(frame,), rollbacks=self.state.rollbacks + 1)
        frame.put(self.atoms)
        self._calculator.restore(known=self.state.tau)
        self._draw_momenta(step)
        self._begin(step, None)

    def return_to(self, start: Atoms, step: int) -> None:
        """Go back to a start, with new momenta and without thermostat variables or averages."""
        frame = Frame.of(start)
        self.state = replace(
            self.state,
            frames=(frame,) if self._rolls_back else (),
            returns=(*self.state.returns, step),
            tau=self.state.tau.emptied(),
            left_start=step,
        )
        frame.put(self.atoms)
        self._calculator.restore(known=self.state.tau)
        self._draw_momenta(step)
        self._begin(step, None)

    def _draw_momenta(self, step: int) -> None:
        temperature = self._targets.temperature(step)
        thermalize_momenta(self.atoms, temperature_K=temperature, rng=self._rng)
        bring_to_rest(self.atoms, self._ensemble)

    def _begin(self, step: int, variables: Mapping[str, tuple[float, ...]] | None) -> None:
        targets = self._targets
        start = IntegratorStart(
            self._timestep, targets.temperature(step), targets.pressure(step), self._rng
        )
        self._dynamics = self._engine.integrator(self._ensemble, self.atoms, start)
        if variables:
            self._dynamics.restore(variables)
        self._stream = self._dynamics.irun(ENDLESS)
        self._started = False
