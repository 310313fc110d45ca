"""Walkers that torch-sim moves, several steps at a time: all that share a potential in one batch.

States, kicks and drifts are torch-sim's, in float64 on the model's device. The noise of Langevin
dynamics is each walker's own, so that its path is a function of its own state, whoever else is
in the batch. Between two checks nothing but positions leaves the device with MACE, for the
neighbour list. A walker's last kick before a check is by the forces of the evaluation that is
looked at there, so that no step is evaluated twice.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from ase import Atoms, units

from ..bias.batching import CallResult, together
from ..bias.calculator import BiasedCalculator
from ..bias.kinds import Bias
from ..descriptors.base import is_joint
from ..errors import ConfigError, DescriptorError, StructureError
from ..surrogate.surrogate import Surrogate
from .engine import Engine
from .ensembles import NVE, Ensemble, IntegratorStart, Langevin
from .integrators import Variables
from .moves import Move
from .restraints import Restraint


@dataclass(frozen=True)
class Stretch:
    """Some steps of one walker, up to the last kick.

    Attributes
    ----------
    atoms, forces
        The frame with its momenta, and its biased forces ``(n_atoms, 3)`` in eV/A.
    surrogate, tau, bias
        Of the biased surface, whose potential is the network of the surrogate's descriptor.
    batch_atoms
        Atoms in a batch beyond which more walkers in it no longer pay.
    timestep
        In ASE's units.
    kT
        eV.
    noise
        ``(n_steps, n_atoms, 3)`` standard normal numbers, which are not used without friction.
    friction
        In ASE's units; None for constant energy.
    """

    atoms: Atoms
    forces: np.ndarray
    surrogate: Surrogate
    tau: float
    bias: Bias
    batch_atoms: int
    timestep: float
    kT: float
    noise: np.ndarray
    friction: float | None

    @property
    def kind(self) -> Hashable:
        """What those of one batch have in common."""
        axes = tuple(self.atoms.pbc.tolist())
        steps = len(self.noise), self.timestep, self.friction
        return "torch_sim", id(self.surrogate), self.bias, axes, steps

    def done(self, wants: Mapping[int, Stretch]) -> dict[int, CallResult]:
        """Positions and momenta of as many as one batch pays for; the others wait.

        Where a batch fails each is tried alone, so that only the faulty ones fail.
        """
        from .torchsim_steps import moved

        chosen = dict[int, Stretch]()
        for key, one in wants.items():
            n_atoms = sum(len(other.atoms) for other in chosen.values()) + len(one.atoms)
            if not chosen or n_atoms <= self.batch_atoms:
                chosen[key] = one
        result = CallResult.of(lambda: moved(list(chosen.values())))
        if result.error is None:
            return {key: CallResult(end) for key, end in zip(chosen, result.value, strict=True)}
        if len(chosen) == 1:
            return dict.fromkeys(chosen, result)
        return {key: one.done({key: one})[key] for key, one in chosen.items()}


class BatchedIntegrator:
    """Moves one walker as ASE's integrators do, but ``stride`` steps at a time.

    It has no variables beyond those of the atoms.

    Parameters
    ----------
    atoms
        With a `BiasedCalculator`; moved in place.
    ensemble, start
        What is sampled, and with what it begins.
    stride
        Steps from check to check.
    """

    variables: dict[str, tuple[float, ...]] = {}

    def __init__(
        self, atoms: Atoms, ensemble: NVE | Langevin, start: IntegratorStart, stride: int
    ) -> None:
        self._atoms, self._start, self._stride = atoms, start, stride
        self._friction = (
            ensemble.friction_per_fs / units.fs if isinstance(ensemble, Langevin) else None
        )
        self._temperature_K = start.temperature_K

    def restore(self, variables: Variables) -> None:
        """Refuse a state: there is none."""
        raise ValueError(f"the state of another ensemble: it holds {sorted(variables)}")

    def aim(self, temperature_K: float, pressure: float) -> None:
        """Set the temperature of the bath in all steps up to the next check."""
        self._temperature_K = temperature_K

    def irun(self, steps: int) -> Iterator[None]:
        """Make ``stride`` steps at a time; only an evaluation before the first ones."""
        atoms, timestep = self._atoms, self._start.timestep
        atoms.get_forces()
        yield
        for _ in range(steps):
            positions, momenta = together(self._stretch())
            atoms.set_positions(positions)
            atoms.set_momenta(momenta + 0.5 * timestep * atoms.get_forces())
            yield

    def _stretch(self) -> Stretch:
        calculator: BiasedCalculator = self._atoms.calc
        descriptor = calculator.surrogate.descriptor
        assert is_joint(descriptor)
        shape = (self._stride, len(self._atoms), 3)
        draw = np.zeros if self._friction is None else self._start.rng.standard_normal
        return Stretch(
            self._atoms,
            self._atoms.get_forces(),
            calculator.surrogate,
            calculator.tau,
            calculator.bias,
            descriptor.batch_atoms,
            self._start.timestep,
            units.kB * self._temperature_K,
            draw(shape),
            self._friction,
        )


@dataclass(frozen=True)
class TorchSimEngine(Engine):
    """Steps by torch-sim, ``stride`` at a time."""

    stride: int
    name: ClassVar[str] = "torch_sim"

    def refusal(
        self,
        ensemble: Ensemble,
        moves: Sequence[Move] = (),
        restraints: Sequence[Restraint] = (),
    ) -> str | None:
        """Why these are not to be had, None where they are."""
        if not isinstance(ensemble, NVE | Langevin):
            return f"torch_sim takes the ensembles nve and langevin, not {ensemble.kind}"
        for what, given in {"moves": moves, "restraints": restraints}.items():
            if given:
                return f"torch_sim has no {what}; dynamics: ase has them"
        return None

    def _check_atoms(self, atoms: Atoms, where: str) -> None:
        if atoms.constraints:
            raise StructureError(
                f"{where}: dynamics: torch_sim has no constraints; dynamics: ase has them"
            )
        try:
            from ..bias.torchsim_releases import periodicity
        except ImportError as error:
            raise ConfigError(
                f"dynamics: torch_sim needs torch-sim ({error}): "
                "pip install 'ase_bayesel[torchsim]'"
            ) from error
        try:
            periodicity(atoms.pbc)
        except StructureError as error:
            raise StructureError(f"{where}: {error}") from None

    def check_walker(self, calculator: BiasedCalculator, ends: Sequence[int]) -> None:
        """Raise if torch-sim cannot evaluate what the calculator does, or end where it is to.

        ``ends`` are the first and the last step.
        """
        odd = [step for step in ends if step % self.stride]
        if odd:
            raise ValueError(
                f"dynamics: torch_sim makes {self.stride} steps at a time (check_interval); "
                f"{odd[0]} is no multiple of that"
            )
        if not calculator.batchable:
            raise DescriptorError(
                "dynamics: torch_sim needs a potential whose own network gives the features"
            )
        if tuple(getattr(calculator.surrogate.descriptor, "states_read", ())):
            raise DescriptorError("dynamics: torch_sim knows no charges and multiplicities")
        if calculator.bias.region is not None or calculator.bias.energy_limit is not None:
            raise DescriptorError("dynamics: torch_sim knows no bias with a region or energy_limit")

    def integrator(
        self, ensemble: Ensemble, atoms: Atoms, start: IntegratorStart
    ) -> BatchedIntegrator:
        """The integrator of atoms."""
        assert isinstance(ensemble, NVE | Langevin)
        return BatchedIntegrator(atoms, ensemble, start, self.stride)
