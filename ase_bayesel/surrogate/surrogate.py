"""The linear surrogate: descriptor + posterior + reference energies.

E(A) = sum_i E0(z_i) + c . phi(A), with c ~ N(mean, Sigma). Its mean is a linear
interatomic potential; its covariance is the uncertainty that drives selection.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import BinaryIO

import numpy as np
from ase import Atoms

from ..descriptors.base import (
    Descriptor,
    Features,
    JointDescriptor,
    Sketch,
    SketchingDescriptor,
    as_frames,
)
from ..errors import PosteriorError, StructureError
from ..structures.labels import FitTargets, whole_atoms
from ..structures.reference_energies import composition_energy
from .design import (
    Noise,
    iterate_features,
    property_rows,
    row_scales,
    usable_properties,
    weighted_rows,
)
from .energy_weights import EnergyWeights
from .force_uncertainty import leading_force_rows
from .mean import SurrogateCalculator
from .posterior import Posterior
from .saved import read_parts, write_parts
from .scales import Scales
from .support import Support
from .uncertainty import LocalUncertainty, Uncertainty

SURROGATE_SUFFIX = ".npz"
"""By which a saved surrogate is told from a file of structures, where both can be given."""


@dataclass(frozen=True)
class Surrogate:
    """An immutable linear model with its uncertainty.

    Attributes
    ----------
    descriptor, posterior
        Features phi and the Gaussian over their coefficients.
    e0s
        Reference energy of each element, eV.
    noise
        Noise of the labels that a structure will bring, in their units.
    properties
        What a label will hold: some of ``energy``, ``forces``, ``virial``; `condition` adds these.
    energy_weights
        Make structures far up in energy count less, as they did in the fit; None for no weights.
    scales
        Errors over deviations of structures that the fit has not seen, by property; plain ones
        where nothing is known. Deviations are given without them, and without what the support
        widens: see `Uncertainty.scaled`.
    support
        The environments that the fit knows; None where they were not looked at.
    """

    descriptor: Descriptor
    posterior: Posterior
    e0s: Mapping[str, float]
    noise: Noise
    properties: tuple[str, ...] = ("energy", "forces")
    energy_weights: EnergyWeights | None = None
    scales: Scales = Scales()
    support: Support | None = None

    def __post_init__(self) -> None:
        if self.posterior.n_features != self.descriptor.n_features:
            raise PosteriorError(
                f"the posterior has {self.posterior.n_features} coefficients but the descriptor "
                f"{self.descriptor.n_features} features"
            )

    @property
    def in_campaign(self) -> Surrogate:
        """As triggers and records of picks count: by `Scales.in_campaign`, nothing widened."""
        support = self.support and replace(self.support, widens=False)
        return replace(self, scales=self.scales.in_campaign, support=support)

    def condition(
        self,
        atoms: Atoms | Sequence[Atoms],
        force_rows: int | None = None,
        energies: Sequence[float] | None = None,
    ) -> Surrogate:
        """The surrogate as it will be once these structures are labelled; no label is needed.

        The covariance takes up the rows of `properties`; the mean stays.

        Parameters
        ----------
        atoms
            One structure or several.
        force_rows
            For features of a network: the energy row and only this many leading
            combinations of the force rows (`leading_force_rows`) of each structure, which
            costs a fraction and forgets much. No variance is then smaller than with all
            rows. By default all rows.
        energies
            Total energies of the structures as the potential predicts them, eV, by which
            `energy_weights` weigh them: else the covariance believes to know what the fit will
            ignore. By default those of the surrogate's own mean.
        """
        frames = as_frames(atoms)
        growth = self._growth(frames, energies)
        if force_rows is not None:
            return self._condition_on_few(frames, force_rows, growth)
        posterior = self.posterior
        for (features, frame), factor in zip(self._features(frames), growth, strict=True):
            posterior = posterior.condition(self.rows(frame, features) / factor)
        return replace(self, posterior=posterior)

    def _growth(self, frames: Sequence[Atoms], energies: Sequence[float] | None) -> list[float]:
        """By what the noise of each structure grows with its energy."""
        if self.energy_weights is None:
            return [1.0] * len(frames)
        if energies is None:
            phi = [self.descriptor.compute([atoms])[0].total for atoms in frames]
            return self.noise_growth(frames, np.array(phi)).tolist()
        return [
            self.energy_weights.factor(atoms, energy - self.baseline(atoms))
            for atoms, energy in zip(frames, energies, strict=True)
        ]

    def noise_growth(self, frames: Sequence[Atoms], rows: np.ndarray) -> np.ndarray:
        """By what the noise of structures grows with the energies that the mean gives them.

        All ones without `energy_weights`, and where the mean was never fitted.

        Parameters
        ----------
        frames
            M structures; not looked at where all are ones.
        rows
            ``(M, D)`` their feature rows.
        """
        if self.energy_weights is None or not self.posterior.mean.any():
            return np.ones(len(rows))
        energies = (rows @ self.posterior.mean).tolist()
        return np.array([*map(self.energy_weights.factor, frames, energies)])

    def rows(self, atoms: Atoms, features: Features | None = None) -> np.ndarray:
        """Rows ``(k, D)`` of all that a label will hold, over their noise, no `energy_weights`."""
        features = self.features(atoms) if features is None else features
        used = usable_properties(atoms, self.properties)
        return weighted_rows(features, self.noise, used, whole_atoms(atoms))

    def _condition_on_few(
        self, frames: Sequence[Atoms], n_rows: int, growth: Sequence[float]
    ) -> Surrogate:
        descriptor, posterior = self.descriptor, self.posterior
        if not isinstance(descriptor, JointDescriptor) or "forces" not in self.properties:
            raise ValueError("force_rows: needs features of a network and labels with forces")
        for atoms, factor in zip(frames, growth, strict=True):
            rows = leading_force_rows(descriptor, posterior, atoms, n_rows)
            posterior = posterior.condition(rows / (self.noise.forces * factor))
            if "energy" in usable_properties(atoms, self.properties):
                own = weighted_rows(descriptor.compute([atoms])[0], self.noise, ["energy"])
                posterior = posterior.condition(own / factor)
        return replace(self, posterior=posterior)

    def energy(self, atoms: Atoms) -> float:
        """Mean energy, eV."""
        phi = self.descriptor.compute([atoms])[0].total
        return self.baseline(atoms) + float(self.posterior.mean @ phi)

    def energy_std(self, atoms: Atoms, phi: np.ndarray | None = None) -> float:
        """sigma_E = sqrt(phi^T Sigma phi), eV; ``phi (D,)`` where the row is at hand."""
        row = self.descriptor.compute([atoms])[0].total if phi is None else phi
        return float(np.sqrt(self.posterior.variance(row)))

    def local_energy_std(self, atoms: Atoms, values: np.ndarray | None = None) -> np.ndarray:
        """``(n_atoms,)`` sqrt(b_i^T Sigma b_i), eV; ``values (n_atoms, D)`` of b_i if at hand."""
        rows = self.descriptor.compute([atoms])[0].values if values is None else values
        return np.sqrt(self.posterior.variance(rows))

    def stress_std(self, atoms: Atoms, features: Features | None = None) -> np.ndarray | None:
        """``(6,)`` eV/A^3 as in `Uncertainty`; without force rows where the descriptor can.

        ``features`` are those of the structure with derivatives, where they are at hand.
        """
        if not atoms.pbc.all():
            return None
        if features is not None:
            return self._stress_std(features, atoms)
        if isinstance(self.descriptor, SketchingDescriptor):
            sketch = self.descriptor.sketch([atoms], 1, np.random.default_rng(0))[0]
            return self._stress_std(sketch, atoms)
        return self._stress_std(self.descriptor.compute([atoms], derivatives=True)[0], atoms)

    def information_gain(self, atoms: Atoms, energy: float | None = None) -> float:
        """What a label would add to log det Sigma^-1: log det(I + A Sigma A^T), A its rows.

        They are weighted by ``energy`` (eV) as in `condition`.
        """
        (factor,) = self._growth([atoms], None if energy is None else [energy])
        return self.posterior.information_gain(self.rows(atoms) / factor)

    def features(self, atoms: Atoms) -> Features:
        """Features of a structure with the Jacobian and the strain derivative of their sum."""
        return self.descriptor.compute([atoms], derivatives=True)[0]

    def uncertainty(self, atoms: Atoms, features: Features | None = None) -> Uncertainty:
        """Exact standard deviations of energy, forces and stress, from the full Jacobian.

        ``features`` are those of the structure with derivatives, where they are at hand.
        """
        features = self.features(atoms) if features is None else features
        return Uncertainty(
            self.energy_std(atoms, features.total),
            self.force_std(features),
            self.stress_std(atoms, features),
            abs(float(self.extrapolated(atoms, features.values).sum())),
            self.widening(atoms, features.values),
        )

    def local_uncertainty(self, atoms: Atoms) -> LocalUncertainty:
        """Of each atom, as large as errors: for colours, and for cutting environments out."""
        features = self.features(atoms)
        energies = self.local_energy_std(atoms, features.values)
        changes = self.extrapolated(atoms, features.values)
        forces = self.widening(atoms, features.values) * self.force_std(features)
        return LocalUncertainty.of(energies, forces, changes, self.scales)

    def extrapolated(self, atoms: Atoms, values: np.ndarray) -> np.ndarray:
        """``(n_atoms,)`` eV as of `Support.extrapolated`, from features ``(n_atoms, D)``."""
        if self.support is None:
            return np.zeros(len(atoms))
        scale = self.descriptor.prior_std()
        mean = self.posterior.mean / scale
        return self.support.extrapolated(atoms.numbers, values * scale, mean)

    def widening(self, atoms: Atoms, values: np.ndarray) -> np.ndarray:
        """``(n_atoms,)`` as of `Support.widening`, from features ``(n_atoms, D)``."""
        if self.support is None:
            return np.ones(len(atoms))
        return self.support.widening(atoms, values * self.descriptor.prior_std())

    def force_std(self, features: Features) -> np.ndarray:
        """``(n_atoms,)`` eV/A as in `Uncertainty`, from features with derivatives."""
        variance = self.posterior.variance(property_rows(features, "forces"))
        return np.sqrt(variance.reshape(-1, 3).sum(axis=1))

    def _stress_std(self, features: Features | Sketch, atoms: Atoms) -> np.ndarray:
        variances = self.posterior.variance(property_rows(features, "virial"))
        return np.sqrt(variances) / atoms.get_volume()

    def calculator(self) -> SurrogateCalculator:
        """The mean as an ASE calculator: energy, forces and stress."""
        return SurrogateCalculator(self)

    def baseline(self, atoms: Atoms) -> float:
        """Sum of the reference energies of a structure's atoms, eV."""
        try:
            return composition_energy(atoms, self.e0s)
        except KeyError as error:
            raise StructureError(f"no reference energy for element {error.args[0]!r}") from None

    def row_scales(
        self, atoms: Atoms, labels: FitTargets, where: str = "structure"
    ) -> dict[str, float]:
        """`design.row_scales` of a labelled structure, as in the fit."""
        known = self.properties, self.baseline(atoms), self.energy_weights
        return row_scales(atoms, labels, *known, where)

    def _features(self, frames: Sequence[Atoms]) -> Iterator[tuple[Features, Atoms]]:
        return zip(iterate_features(frames, self.descriptor), frames, strict=True)

    def save(self, file: str | PathLike | BinaryIO) -> None:
        """Write one npz file without pickle: posterior, descriptor, E0s and noise."""
        write_parts(vars(self), file)

    @classmethod
    def load(
        cls, path: str | PathLike, descriptor: Descriptor | None = None, trust: bool = False
    ) -> Surrogate:
        """Read what `save` wrote; no code of the file runs.

        Parameters
        ----------
        path
            The file.
        descriptor
            Used instead of the one that the file describes, whose model may have
            moved; everything but the place of the model must agree.
        trust
            That of `descriptor_from_spec`: run the code that the file names.

        Raises
        ------
        PosteriorError
            If the file is missing, torn, not a saved surrogate, or of another descriptor; also
            where the descriptor's own model is gone, changed or refused.
        """
        return cls(**read_parts(path, descriptor, trust))
