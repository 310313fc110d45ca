"""Trial changes of the periodic cell at constant pressure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import numpy as np
from ase import Atoms, units
from ase.constraints import FixCom
from pydantic import Field

from ...errors import StructureError
from ...io.magnitudes import Steps, StepsOrNone
from ..triggers import Guards
from .base import Decision, MoveState, counted, metropolis

STRAIN_LIMITS = (1e-6, 0.2)
"""Range of the adapted step size."""


@dataclass(frozen=True)
class CellMove:
    """Strain the cell and all positions with it: h' = h exp(e), x' = x exp(e).

    The strain e is drawn from a symmetric density. With ``shape="volume"`` it is
    isotropic; with ``shape="full"`` all six components of the symmetric tensor are drawn
    on their own. Such a proposal is symmetric in the measure dV / V = d ln V, and for the
    full shape in dh / V^3, the invariant measure of 3x3 matrices. The ensemble of constant
    pressure has the weight V^N exp(-(E + P V) / kT) in dV, and V^(N - 2) times the same
    exponential in dh (Martyna, Tobias and Klein 1994). In either case a trial is
    accepted with probability (Eppenga and Frenkel 1984; Frenkel and Smit, ch. 5)

        min(1, exp(-(dE + P dV) / kT + (N + 1) ln(V' / V)))

    with N the number of atoms. The common formula with N in place of N + 1 belongs to
    trials that are uniform in V. Momenta stay as they are.

    Constraints that hold atoms or their coordinates are refused, for the strain would move
    them; `FixCom` is not.

    Attributes
    ----------
    interval
        Absolute MD steps between two attempts.
    shape
        ``"volume"`` or ``"full"``.
    max_strain
        Components of e lie within this at first.
    target_acceptance
        Mean acceptance probability that the step size is adapted to.
    adaptation
        The first attempts, which alone change the step size (Robbins and Monro 1951). From
        then on it is fixed, and detailed balance holds. 0 keeps ``max_strain``.
    min_width
        Smallest allowed distance of opposite faces of the cell over the cube root of its
        volume, for the full shape. A cell beyond the limit may only become less flat.
    """

    kind: ClassVar[str] = "cell"

    interval: Steps = 10
    shape: Literal["volume", "full"] = "volume"
    max_strain: Annotated[float, Field(ge=STRAIN_LIMITS[0], le=STRAIN_LIMITS[1])] = 0.01
    target_acceptance: Annotated[float, Field(ge=0.001, le=0.999)] = 0.4
    adaptation: StepsOrNone = 100
    min_width: Annotated[float, Field(ge=0, lt=1)] = 0.4

    def __post_init__(self) -> None:
        if self.interval < 1 or self.adaptation < 0:
            raise ValueError("cell move: interval must be at least 1, adaptation not negative")
        if self.shape not in ("volume", "full"):
            raise ValueError(f"cell move: shape is 'volume' or 'full', got {self.shape!r}")
        if not STRAIN_LIMITS[0] <= self.max_strain <= STRAIN_LIMITS[1]:
            raise ValueError(f"cell move: max_strain must be within {STRAIN_LIMITS}")
        if not 0 < self.target_acceptance < 1 or not 0 <= self.min_width < 1:
            raise ValueError("cell move: target_acceptance and min_width must be between 0 and 1")

    def check(self, atoms: Atoms, pressure_given: bool = True) -> None:
        """Raise a `StructureError` unless the atoms are free, periodic in 3D, under a pressure."""
        if not atoms.pbc.all():
            raise StructureError("cell move: needs three periodic directions")
        held = [type(c).__name__ for c in atoms.constraints if type(c) is not FixCom]
        if held:
            raise StructureError(
                f"cell move: a strain would move atoms that {', '.join(held)} holds; "
                "remove the constraint or the move"
            )
        if not pressure_given:
            raise StructureError("cell move: needs pressure_GPa")

    def attempt(
        self,
        atoms: Atoms,
        *,
        temperature_K: float,
        pressure_GPa: float | None,
        rng: np.random.Generator,
        state: MoveState = MoveState(),
        guards: Guards = Guards(),
    ) -> MoveState:
        """One attempt on the surface of ``atoms.calc``; returns the next state.

        Parameters
        ----------
        atoms
            Changed in place if the trial is accepted.
        temperature_K, pressure_GPa
            Of the ensemble at this step.
        rng
            For trial and decision.
        state
            Counts and step size so far.
        guards
            A trial that breaks one is rejected.

        Raises
        ------
        StructureError
            As `check`.
        """
        self.check(atoms, pressure_GPa is not None)
        assert pressure_GPa is not None
        step = self.max_strain if state.step is None else state.step
        trial = strained(atoms, self._strain(step, rng))
        growth = trial.get_volume() - atoms.get_volume()
        log_ratio = np.log(trial.get_volume() / atoms.get_volume())
        work = pressure_GPa * units.GPa * growth / (units.kB * temperature_K)
        log_weight = (len(atoms) + 1) * log_ratio - work
        if self._too_flat(atoms, trial):
            decision = Decision(0.0, False)
        else:
            decision = metropolis(atoms, trial, log_weight, temperature_K, rng, guards)
        return self._adapted(replace(counted(state, decision), step=step), decision.probability)

    def _strain(self, step: float, rng: np.random.Generator) -> np.ndarray:
        """A symmetric logarithmic strain ``(3, 3)``."""
        if self.shape == "volume":
            return np.eye(3) * rng.uniform(-step, step)
        strain = np.zeros((3, 3))
        strain[np.triu_indices(3)] = rng.uniform(-step, step, 6)
        return strain + np.triu(strain, 1).T

    def _too_flat(self, atoms: Atoms, trial: Atoms) -> bool:
        if self.shape == "volume":
            return False
        width = relative_width(trial)
        return width < self.min_width and width < relative_width(atoms)

    def _adapted(self, state: MoveState, probability: float) -> MoveState:
        if state.attempts > self.adaptation:
            return state
        assert state.step is not None
        gain = (probability - self.target_acceptance) / np.sqrt(state.attempts)
        return replace(state, step=float(np.clip(state.step * np.exp(gain), *STRAIN_LIMITS)))


def strained(atoms: Atoms, strain: np.ndarray) -> Atoms:
    """A copy under exp(strain) of a symmetric logarithmic strain ``(3, 3)``."""
    values, vectors = np.linalg.eigh(strain)
    deformation = (vectors * np.exp(values)) @ vectors.T
    out = atoms.copy()
    out.cell[:] = atoms.cell.array @ deformation
    out.arrays["positions"][:] = atoms.positions @ deformation
    return out


def relative_width(atoms: Atoms) -> float:
    """Smallest distance of opposite faces of the cell over the cube root of its volume."""
    widths = 1.0 / np.linalg.norm(np.linalg.inv(atoms.cell.array), axis=0)
    return float(widths.min() / atoms.get_volume() ** (1.0 / 3.0))
