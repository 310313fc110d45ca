"""Phonons by finite displacements, through phonopy, with error bars from the posterior.

Forces are linear in the coefficients at fixed positions. Members of the posterior
therefore share one forward pass through the descriptor for each displaced supercell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from ..errors import ValidationError
from ..surrogate.surrogate import Surrogate

DISPLACEMENT = 0.01


@dataclass(frozen=True)
class Frequencies:
    """Phonon frequencies at q-points.

    Attributes
    ----------
    qpoints
        ``(Q, 3)`` in units of the reciprocal cell.
    values
        ``(Q, 3 n_atoms)`` THz, ascending; a negative one stands for an imaginary mode.
    std
        The same shape: standard deviations over the posterior, of the k-th lowest
        frequency. None where the model has no posterior.
    """

    qpoints: np.ndarray
    values: np.ndarray
    std: np.ndarray | None


@dataclass(frozen=True)
class ForceConstants:
    """Second derivatives of the energy of a supercell, in phonopy's compact form.

    Attributes
    ----------
    crystal
        The unit cell; no smaller cell is looked for.
    supercell
        Repetitions along its three vectors.
    mean
        ``(n_atoms, n_atoms_of_supercell, 3, 3)`` eV/A^2, of the calculator or of the
        surrogate's mean; obeys the sum rule and the crystal's symmetry.
    members
        ``(M, ...)`` of coefficients drawn from the posterior; M = 0 without one.
    """

    crystal: Atoms
    supercell: tuple[int, int, int]
    mean: np.ndarray
    members: np.ndarray

    def frequencies(self, qpoints: Sequence[Sequence[float]] | np.ndarray) -> Frequencies:
        """Frequencies at q-points ``(Q, 3)`` in units of the reciprocal cell."""
        phonon = _phonopy(self.crystal, self.supercell)
        qpoints = np.atleast_2d(np.asarray(qpoints, float))

        def solve(force_constants: np.ndarray) -> np.ndarray:
            phonon.force_constants = force_constants
            return np.array(phonon.run_qpoints(qpoints).frequencies)

        sampled = [solve(member) for member in self.members]
        std = np.std(sampled, axis=0, ddof=1) if sampled else None
        return Frequencies(qpoints, solve(self.mean), std)


def force_constants(
    crystal: Atoms,
    model: Surrogate | Calculator,
    supercell: tuple[int, int, int],
    n_members: int,
    rng: np.random.Generator,
) -> ForceConstants:
    """Force constants by central differences over displacements of 0.01 A.

    Parameters
    ----------
    crystal
        Relaxed with its cell; all members keep it.
    model
        A surrogate, or an ASE calculator, which has no members.
    supercell
        Repetitions along the three cell vectors. Interactions that reach beyond half of
        it are folded back.
    n_members
        How many members to draw, at least 2.
    rng
        Draws them.

    Raises
    ------
    ValidationError
        If phonopy is not installed.
    """
    phonon = _phonopy(crystal, supercell)
    phonon.generate_displacements(distance=DISPLACEMENT, is_plusminus=True)
    frames = [_atoms(displaced) for displaced in phonon.supercells_with_displacements]
    if isinstance(model, Surrogate):
        drawn = model.posterior.sample(n_members, rng)
        forces = _forces_of(model, frames, np.vstack([model.posterior.mean, drawn]))
    else:
        forces = np.array([model.get_forces(atoms) for atoms in frames])[None]

    def solve(forces: np.ndarray) -> np.ndarray:
        phonon.forces = forces
        phonon.produce_force_constants(calculate_full_force_constants=False, show_drift=False)
        phonon.symmetrize_force_constants(show_drift=False)
        return phonon.force_constants.copy()

    mean, *sampled = map(solve, forces)
    empty = np.empty((0, *mean.shape))
    return ForceConstants(crystal, supercell, mean, np.array(sampled) if sampled else empty)


def _forces_of(
    surrogate: Surrogate, frames: Sequence[Atoms], coefficients: np.ndarray
) -> np.ndarray:
    """``(M, n_frames, n_atoms, 3)`` of coefficient vectors ``(M, D)``; one forward pass each."""
    forces = np.empty((len(coefficients), len(frames), len(frames[0]), 3))
    for k, atoms in enumerate(frames):
        _, pullback = surrogate.descriptor.linearize(atoms)
        forces[:, k] = [-pullback(vector).positions for vector in coefficients]
    return forces


def import_phonopy() -> tuple[Any, Any]:
    """The classes `Phonopy` and `PhonopyAtoms`.

    Raises
    ------
    ValidationError
        If phonopy is not installed.
    """
    try:
        from phonopy import Phonopy
        from phonopy.structure.atoms import PhonopyAtoms
    except ImportError as error:
        raise ValidationError(
            f"phonons need phonopy ({error}); install it by pip install ase_bayesel[validation]"
        ) from error
    return Phonopy, PhonopyAtoms


def _phonopy(crystal: Atoms, supercell: tuple[int, int, int]) -> Any:
    Phonopy, PhonopyAtoms = import_phonopy()
    cell = PhonopyAtoms(
        symbols=crystal.get_chemical_symbols(),
        masses=crystal.get_masses(),
        cell=crystal.cell.array,
        scaled_positions=crystal.get_scaled_positions(),
    )
    return Phonopy(cell, supercell_matrix=np.diag(supercell), primitive_matrix=np.eye(3))


def _atoms(cell: Any) -> Atoms:
    return Atoms(cell.symbols, cell=cell.cell, scaled_positions=cell.scaled_positions, pbc=True)
