"""Weighted design-matrix rows: structure + descriptor -> linear observations.

The rows of one structure are its energy (phi), its forces (minus the position
Jacobian) and its virial (minus the strain derivative). Divided by the standard
deviation of their noise they enter a posterior.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms

from ..descriptors.base import Descriptor, Features, Sketch, SketchingDescriptor
from ..structures.labels import PROPERTIES, FitTargets, PropertyKeys
from ..structures.reference_energies import composition_energy, fitted_targets
from .energy_weights import EnergyWeights, force_growth, frame_weight
from .triangular import append_rows, merge

BATCH_ATOMS = 400
BATCH_ROWS = 512
CHUNK_ATOMS = 2000


@dataclass(frozen=True)
class Noise:
    """Standard deviations of the observations.

    ``energy`` eV per sqrt(atom): a structure of N atoms has energy noise
    ``energy * sqrt(N)``. ``forces`` eV/A. ``virial`` eV per sqrt(atom).
    """

    energy: float = 0.01
    forces: float = 0.1
    virial: float = 0.1

    def std(self, prop: str, n_atoms: int) -> float:
        """Noise of one row of a property of a structure with ``n_atoms`` atoms."""
        value = float(getattr(self, prop))
        return value if prop == "forces" else value * float(np.sqrt(n_atoms))


def usable_properties(atoms: Atoms, properties: Sequence[str]) -> tuple[str, ...]:
    """The properties that a structure can have: a virial needs three periodic directions."""
    return tuple(p for p in properties if p != "virial" or bool(atoms.pbc.all()))


def property_rows(features: Features | Sketch, prop: str) -> np.ndarray:
    """Unweighted rows: energy ``(1, D)``, forces ``(3 n, D)`` or virial ``(6, D)``.

    A sketch has its projections in place of the force rows.
    """
    if prop == "energy":
        return features.total[None]
    if isinstance(features, Sketch):
        return features.force_rows if prop == "forces" else -features.strain.T
    if features.jacobian is None or features.strain is None:
        raise ValueError(f"{prop} rows need features with derivatives")
    if prop == "forces":
        n_features = features.jacobian.shape[0]
        return -features.jacobian.transpose(1, 2, 0).reshape(-1, n_features)
    return -features.strain.T


def weighted_rows(
    features: Features | Sketch, noise: Noise, properties: Sequence[str] = ("energy", "forces")
) -> np.ndarray:
    """Rows ``(k, D)`` of the given properties, each divided by its noise."""
    n_atoms = len(features.values)
    return np.concatenate(
        [property_rows(features, prop) / noise.std(prop, n_atoms) for prop in properties]
    )


def contributed_properties(
    atoms: Atoms, labels: FitTargets, properties: Sequence[str]
) -> tuple[str, ...]:
    """The properties whose rows a training structure brings: those labelled, or all if none is."""
    labelled = [p for p in properties if getattr(labels, p) is not None]
    return tuple(p for p in usable_properties(atoms, properties) if p in (labelled or properties))


def row_scales(
    atoms: Atoms,
    labels: FitTargets,
    properties: Sequence[str],
    baseline: float,
    energy_weights: EnergyWeights | None,
    where: str = "structure",
) -> dict[str, float]:
    """By what the rows of a training structure are multiplied, beside their noise.

    The properties are those that it contributes, without those of weight 0.

    Parameters
    ----------
    atoms, labels
        The structure, whose file may give weights (`frame_weight`), and its labels.
    properties
        Of the fit.
    baseline
        Sum of its reference energies, eV.
    energy_weights
        Those of the fit, if any.
    where
        What an error begins with.
    """
    growth = 1.0
    if energy_weights is not None and labels.energy is not None:
        growth = energy_weights.factor(atoms, labels.energy - baseline)
    scales = {
        prop: frame_weight(atoms, prop, where) / growth
        for prop in contributed_properties(atoms, labels, properties)
    }
    return {prop: scale for prop, scale in scales.items() if scale > 0}


def property_targets(labels: FitTargets, prop: str, baseline: float) -> np.ndarray | None:
    """Observed values that belong to `property_rows`; ``baseline`` (eV) is taken off the energy."""
    if prop == "energy":
        return None if labels.energy is None else np.array([labels.energy - baseline])
    value = labels.forces if prop == "forces" else labels.virial
    return None if value is None else value.reshape(-1)


@dataclass
class RowFactor:
    """QR factor ``triangle (D+1, D+1)`` of all [rows, targets] of one kind, and their count.

    The rows carry the weight 1 / sqrt(n_atoms) where the property has one, and
    each column is multiplied by ``column_scale (D,)``.
    """

    column_scale: np.ndarray
    n_rows: int = 0
    _waiting: list[np.ndarray] = field(default_factory=list)
    _triangle: np.ndarray | None = None

    def add(self, rows: np.ndarray, values: np.ndarray, n_rows: int | None = None) -> None:
        """Append rows ``(k, D)`` and their targets ``(k,)``.

        ``n_rows`` is how many observations they stand for, k by default.
        """
        self._waiting.append(np.column_stack([rows * self.column_scale, values]))
        self.n_rows += len(rows) if n_rows is None else n_rows
        if sum(len(block) for block in self._waiting) >= BATCH_ROWS:
            self._flush()

    def absorb(self, other: RowFactor) -> None:
        """Append all rows of another."""
        self.n_rows += other.n_rows
        self._waiting += other._waiting
        if other._triangle is not None:
            self._flush()
            self._triangle = merge(self.triangle, other._triangle)

    @property
    def triangle(self) -> np.ndarray:
        """The factor of all rows so far, ``(D+1, D+1)``."""
        self._flush()
        assert self._triangle is not None
        return self._triangle

    def _flush(self) -> None:
        if self._triangle is None:
            width = len(self.column_scale) + 1
            self._triangle = np.zeros((width, width))
        if self._waiting:
            self._triangle = append_rows(self._triangle, np.concatenate(self._waiting))
            self._waiting = []


@dataclass(frozen=True)
class DesignFactors:
    """The whole design matrix, reduced to one triangular factor per property.

    ``labelled`` maps a property to the rows that have targets; ``unlabelled``
    to the rows of structures without any label, which only shape the covariance.
    """

    labelled: Mapping[str, RowFactor]
    unlabelled: Mapping[str, RowFactor]

    def absorb(self, other: DesignFactors) -> None:
        """Append the rows of further structures."""
        for ours, theirs in (
            (self.labelled, other.labelled),
            (self.unlabelled, other.unlabelled),
        ):
            for prop, factor in theirs.items():
                ours[prop].absorb(factor)


def iterate_features(frames: Sequence[Atoms], descriptor: Descriptor) -> Iterator[Features]:
    """Features with derivatives of each structure in turn, computed in batches."""
    for batch in _batches(frames):
        yield from descriptor.compute(batch, derivatives=True)


def training_features(
    frames: Sequence[Atoms],
    descriptor: Descriptor,
    force_projections: int | None = None,
    first: int = 0,
) -> Iterator[Features | Sketch]:
    """What a fit takes of each structure in turn: features, or sketches (`iterate_sketches`).

    Parameters
    ----------
    frames
        The structures.
    descriptor
        Gives their features.
    force_projections
        Random combinations that stand for the force rows of a structure; None for all rows.
    first
        Number of the first structure in the training set.
    """
    if force_projections is None:
        return iterate_features(frames, descriptor)
    return iterate_sketches(frames, descriptor, force_projections, first)


def iterate_sketches(
    frames: Sequence[Atoms], descriptor: Descriptor, n_projections: int, first: int = 0
) -> Iterator[Features | Sketch]:
    """Sketches of each structure in turn; features where those are no dearer.

    The random numbers are the same in every call, and in a call for one of the `chunks`.

    Parameters
    ----------
    frames
        The structures.
    descriptor
        Gives their features.
    n_projections
        Random combinations of the force rows of each structure.
    first
        Number of the first structure, where they are one of the chunks of a training set.
    """
    if not isinstance(descriptor, SketchingDescriptor) or descriptor.n_features <= n_projections:
        yield from iterate_features(frames, descriptor)
        return
    for batch in _batches(frames):
        rng = np.random.default_rng((0, first))
        first += len(batch)
        small = [atoms for atoms in batch if 3 * len(atoms) <= n_projections]
        large = [atoms for atoms in batch if 3 * len(atoms) > n_projections]
        exact: Iterator[Features | Sketch] = iter(descriptor.compute(small, derivatives=True))
        sketched: Iterator[Features | Sketch] = iter(descriptor.sketch(large, n_projections, rng))
        yield from (next(exact if 3 * len(a) <= n_projections else sketched) for a in batch)


def chunks(frames: Sequence[Atoms]) -> list[slice]:
    """Parts of the structures in their order, each of some `CHUNK_ATOMS` atoms.

    What `training_features` gives for one of them does not depend on the others.
    """
    parts, start, stop, n_atoms = [], 0, 0, 0
    for batch in _batches(frames):
        stop, n_atoms = stop + len(batch), n_atoms + sum(map(len, batch))
        if n_atoms >= CHUNK_ATOMS or stop == len(frames):
            parts.append(slice(start, stop))
            start, n_atoms = stop, 0
    return parts


def _batches(frames: Sequence[Atoms]) -> Iterator[list[Atoms]]:
    batch: list[Atoms] = []
    for number, atoms in enumerate(frames, start=1):
        batch.append(atoms)
        if sum(map(len, batch)) >= BATCH_ATOMS or number == len(frames):
            yield batch
            batch = []


def assembling(
    frames: Sequence[Atoms],
    descriptor: Descriptor,
    keys: PropertyKeys,
    e0s: Mapping[str, float],
    column_scale: np.ndarray,
    force_projections: int | None = None,
    first: int = 0,
    energy_weights: EnergyWeights | None = None,
    max_force: float | None = None,
) -> Generator[int, None, DesignFactors]:
    """Stream all structures into triangular factors, a few megabytes whatever their number.

    A structure with some labels contributes the rows that are labelled; one
    without any contributes the rows of every property in ``keys`` to the
    unlabelled factors. Yields how many structures are done.

    Parameters
    ----------
    frames
        The training structures.
    descriptor
        Gives their rows.
    keys
        Where their labels are.
    e0s
        Reference energy of each element, eV.
    column_scale
        ``(D,)`` what each column is multiplied by.
    force_projections, first
        As in `training_features`.
    energy_weights
        Structures with an energy count less the higher it lies; None for no such weights.
    max_force
        eV/A: labels with larger forces count less (`force_growth`), but not in the covariance.

    Raises
    ------
    StructureError
        For a label that is not of its shape, or a weight of a file that is no number, naming the
        structure.
    """
    properties = [prop for prop in PROPERTIES if getattr(keys, prop) is not None]
    labelled = {prop: RowFactor(column_scale) for prop in properties}
    unlabelled = {prop: RowFactor(column_scale) for prop in properties}
    stream = training_features(frames, descriptor, force_projections, first)
    for number, (atoms, features) in enumerate(zip(frames, stream, strict=True)):
        where = f"training frame {first + number}"
        labels = fitted_targets(atoms, keys, e0s, where)
        baseline = composition_energy(atoms, e0s)
        scales = row_scales(atoms, labels, properties, baseline, energy_weights, where)
        growth = force_growth(labels.forces, max_force)
        for prop, scale in scales.items():
            weight = Noise(1.0, 1.0, 1.0).std(prop, len(atoms)) / scale
            values = property_targets(labels, prop, baseline)
            rows = property_rows(features, prop) / weight
            if values is None:
                unlabelled[prop].add(rows, np.zeros(len(rows)))
                continue
            n_rows = len(values)
            if prop == "forces" and isinstance(features, Sketch):
                values = features.project(values.reshape(-1, 3))
            labelled[prop].add(rows / growth, values / weight / growth, n_rows)
            if growth > 1.0:
                unlabelled[prop].add(rows * np.sqrt(1.0 - growth**-2), np.zeros(len(rows)))
        yield number + 1
    return DesignFactors(labelled, unlabelled)
