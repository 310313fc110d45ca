"""What a fit expects of the label of a structure that it has not seen, all of it together.

A label of a new region may be far from the mean, but only in directions of which the covariance
says that they are open, and its energy must then go with its forces. A wrong label errs where the
model is certain. The residuals r of a label, in units of the noise, have the covariance
K = I + A Sigma A^T with the rows A. With K = L L^T the numbers t = L^-1 r are independent, of unit
variance where the model is right, and each is what remains once those before it are known: forces
first, then the virial, then the energy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from ase import Atoms
from scipy.linalg import cholesky, solve_triangular

from ..descriptors.base import Features, Sketch
from ..structures.labels import FitTargets, whole_atoms
from .design import Noise, property_rows, property_targets, usable_properties
from .surrogate import Surrogate
from .triangular import factor_of_observed

IN_TURN = ("forces", "virial", "energy")
"""What of a label is compared first: the many forces tell what the energy can be."""


@dataclass(frozen=True)
class Surprise:
    """How far a label is from what a fit expects.

    Attributes
    ----------
    sizes
        By property, root mean square of t: one for a label that the posterior foretells.
    energy_eV
        Label less prediction of the energy with forces and virial known, eV; zero without one.
    """

    sizes: Mapping[str, float]
    energy_eV: float = 0.0


@dataclass(frozen=True)
class Expectation:
    """Prediction and covariance of the label of one structure.

    Attributes
    ----------
    n_atoms
        Of the structure.
    sketch
        Projects forces, where not all of their rows are at hand.
    predicted
        By property, in the order of `IN_TURN` and as `property_rows` order it.
    units
        Standard deviation of the noise of each property's rows.
    factor
        ``(k, k)`` upper triangular, L^T of the module's docstring.
    baseline
        Sum of the reference energies, eV.
    """

    n_atoms: int
    sketch: Sketch | None
    predicted: Mapping[str, np.ndarray]
    units: Mapping[str, float]
    factor: np.ndarray
    baseline: float

    @classmethod
    def of(
        cls, surrogate: Surrogate, atoms: Atoms, labels: FitTargets, features: Features | Sketch
    ) -> Expectation:
        """Of the properties that a label holds.

        Parameters
        ----------
        surrogate
            Its mean predicts, so that its covariance should hold no structure without a label.
        atoms, labels
            The structure and its label.
        features
            Of the structure, with derivatives.
        """
        usable = usable_properties(atoms, surrogate.properties)
        used = [p for p in IN_TURN if p in usable and getattr(labels, p) is not None]
        rows = {prop: property_rows(features, prop, whole_atoms(atoms)) for prop in used}
        units = {prop: surrogate.noise.std(prop, len(atoms)) for prop in used}
        white = surrogate.posterior.whiten(np.concatenate([rows[p] / units[p] for p in used]))
        return cls(
            len(atoms),
            features if isinstance(features, Sketch) else None,
            {prop: rows[prop] @ surrogate.posterior.mean for prop in used},
            units,
            factor_of_observed(white),
            surrogate.baseline(atoms),
        )

    @classmethod
    def left_out(
        cls, surrogate: Surrogate, atoms: Atoms, labels: FitTargets, features: Features | Sketch
    ) -> Expectation | None:
        """Of a structure of the fit, as the others foretell it; None where they do not.

        With H = A Sigma A^T of its weighted rows A, the others give the residuals (I - H)^-1 r and
        the covariance (I - H)^-1 H (`held_out.leaving_out`).

        Parameters
        ----------
        surrogate, atoms, labels, features
            As of `of`.
        """
        own = cls.of(surrogate, atoms, labels, features)
        scales = surrogate.row_scales(atoms, labels)
        if not own.predicted or own.predicted.keys() - scales.keys():
            return None
        sizes = {prop: len(predicted) for prop, predicted in own.predicted.items()}
        weights = np.concatenate([np.full(n, scales[prop]) for prop, n in sizes.items()])
        known = own.factor.T @ own.factor - np.eye(len(weights))
        residuals = [own.predicted[p] - own._observed(labels, p) for p in sizes]
        units = np.concatenate([np.full(n, own.units[prop]) for prop, n in sizes.items()])
        try:
            left = np.linalg.inv(np.eye(len(weights)) - weights[:, None] * known * weights)
            covariance = known @ (weights[:, None] * left / weights)
            factor = cholesky(np.eye(len(weights)) + (covariance + covariance.T) / 2)
        except np.linalg.LinAlgError:
            return None
        errors = left @ (weights * np.concatenate(residuals) / units) / weights * units
        ends = np.cumsum([*sizes.values()])[:-1]
        predicted = {
            prop: own._observed(labels, prop) + error
            for prop, error in zip(sizes, np.split(errors, ends), strict=True)
        }
        return replace(own, predicted=predicted, factor=factor)

    def with_noise(self, least: Noise) -> Expectation:
        """The same of a fit whose labels have this noise at the least."""
        units = {p: max(unit, least.std(p, self.n_atoms)) for p, unit in self.units.items()}
        ratios = np.concatenate(
            [np.full(len(self.predicted[p]), self.units[p] / unit) for p, unit in units.items()]
        )
        one = np.eye(len(ratios))
        known = ratios[:, None] * (self.factor.T @ self.factor - one) * ratios
        return replace(self, units=units, factor=cholesky(one + known))

    def surprise(self, labels: FitTargets) -> Surprise:
        """How far a label is from it; one that holds the properties of the first."""
        t = self._solved([self._observed(labels, p) - self.predicted[p] for p in self.predicted])
        sizes, start = {}, 0
        for prop, predicted in self.predicted.items():
            own = t[start : (start := start + len(predicted))]
            largest = float(np.abs(own).max(initial=0.0)) or 1.0
            sizes[prop] = largest * float(np.sqrt(np.mean((own / largest) ** 2)))
        if "energy" not in sizes:
            return Surprise(sizes)
        return Surprise(sizes, float(t[-1] * self.factor[-1, -1]) * self.units["energy"])

    def worst_force(self, labels: FitTargets) -> float:
        """The largest error of a force component with all others known, in its deviations."""
        size = len(self.predicted["forces"])
        inverse = solve_triangular(self.factor[:size, :size], np.eye(size), trans=1)
        t = self._solved([self._observed(labels, "forces") - self.predicted["forces"]])
        left = (inverse.T @ t) / np.linalg.norm(inverse, axis=0)
        return float(np.abs(left).max())

    def best_factor(self, labels: FitTargets) -> float:
        """By what the label's forces are to be multiplied to be as near as they can come.

        About one for a right label, whatever its region; one without forces.
        """
        if "forces" not in self.predicted or not np.any(labels.forces):
            return 1.0
        size = len(self.predicted["forces"])
        observed = self._solved([self._observed(labels, "forces")])[:size]
        predicted = self._solved([self.predicted["forces"]])[:size]
        return float(observed @ predicted / (observed @ observed))

    def _observed(self, labels: FitTargets, prop: str) -> np.ndarray:
        observed = property_targets(labels, prop, self.baseline)
        assert observed is not None
        if prop == "forces" and self.sketch is not None:
            return self.sketch.project(observed.reshape(-1, 3))
        return observed

    def _solved(self, blocks: list[np.ndarray]) -> np.ndarray:
        """L^-1 of the first properties' values, in units of the noise."""
        units = self.units.values()
        values = np.concatenate([block / unit for block, unit in zip(blocks, units, strict=False)])
        return np.asarray(
            solve_triangular(self.factor[: len(values), : len(values)], values, trans=1)
        )
