"""Weighted design-matrix rows: structure + descriptor -> linear observations.

The rows of one structure are its energy (phi), its forces (minus the position
Jacobian) and its virial (minus the strain derivative). Divided by the standard
deviation of their noise they enter a posterior.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from ..descriptors.base import Descriptor, Features, Sketch, SketchingDescriptor
from ..structures.labels import FitTargets, whole_atoms
from .energy_weights import EnergyWeights, frame_weight

BATCH_ATOMS = 400
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
    """The properties that a structure can have: a virial needs three periodic directions.

    A cut-out has nothing but forces.
    """
    if whole_atoms(atoms) is not None:
        return tuple(p for p in properties if p == "forces")
    return tuple(p for p in properties if p != "virial" or bool(atoms.pbc.all()))


def property_rows(
    features: Features | Sketch, prop: str, whole: np.ndarray | None = None
) -> np.ndarray:
    """Unweighted rows: energy ``(1, D)``, forces ``(3 n, D)`` or virial ``(6, D)``.

    A sketch has its projections in place of the force rows. Of a cut-out ``whole (n_atoms,)``
    (`whole_atoms`) leaves only the force rows of its whole atoms.
    """
    if prop == "energy":
        return features.total[None]
    if isinstance(features, Sketch):
        if whole is not None and prop == "forces":
            raise ValueError("projections of a cut-out would mix atoms that are whole with others")
        return features.force_rows if prop == "forces" else -features.strain.T
    if features.jacobian is None or features.strain is None:
        raise ValueError(f"{prop} rows need features with derivatives")
    if prop == "forces":
        n_features, slopes = features.jacobian.shape[0], features.jacobian
        slopes = slopes if whole is None else slopes[:, whole]
        return -slopes.transpose(1, 2, 0).reshape(-1, n_features)
    return -features.strain.T


def weighted_rows(
    features: Features | Sketch,
    noise: Noise,
    properties: Sequence[str] = ("energy", "forces"),
    whole: np.ndarray | None = None,
) -> np.ndarray:
    """Rows ``(k, D)`` of the given properties, each divided by its noise.

    Parameters
    ----------
    features, whole
        As in `property_rows`.
    noise, properties
        The noise, and the properties in their order; none gives no rows.
    """
    n_atoms, n_features = features.values.shape
    if not properties:
        return np.empty((0, n_features))
    return np.concatenate(
        [property_rows(features, prop, whole) / noise.std(prop, n_atoms) for prop in properties]
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


def iterate_features(frames: Sequence[Atoms], descriptor: Descriptor) -> Iterator[Features]:
    """Features with derivatives of each structure in turn, computed in batches."""
    for batch in batches(frames):
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
    """Sketches of each structure in turn; features where those are no dearer, and of cut-outs.

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
    for batch in batches(frames):
        rng = np.random.default_rng((0, first))
        first += len(batch)
        small = [atoms for atoms in batch if not is_projected(atoms, n_projections)]
        large = [atoms for atoms in batch if is_projected(atoms, n_projections)]
        exact: Iterator[Features | Sketch] = iter(descriptor.compute(small, derivatives=True))
        sketched: Iterator[Features | Sketch] = iter(descriptor.sketch(large, n_projections, rng))
        yield from (next(sketched if is_projected(a, n_projections) else exact) for a in batch)


def is_projected(atoms: Atoms, n_projections: int) -> bool:
    """Whether projections stand for the force rows of a structure, where the descriptor can."""
    return 3 * len(atoms) > n_projections and whole_atoms(atoms) is None


def chunks(frames: Sequence[Atoms]) -> list[slice]:
    """Parts of the structures in their order, each of some `CHUNK_ATOMS` atoms.

    What `training_features` gives for one of them does not depend on the others.
    """
    parts, start, stop, n_atoms = [], 0, 0, 0
    for batch in batches(frames):
        stop, n_atoms = stop + len(batch), n_atoms + sum(map(len, batch))
        if n_atoms >= CHUNK_ATOMS or stop == len(frames):
            parts.append(slice(start, stop))
            start, n_atoms = stop, 0
    return parts


def batches(frames: Sequence[Atoms]) -> Iterator[list[Atoms]]:
    """The structures in their order, those of some `BATCH_ATOMS` atoms at a time."""
    batch: list[Atoms] = []
    for number, atoms in enumerate(frames, start=1):
        batch.append(atoms)
        if sum(map(len, batch)) >= BATCH_ATOMS or number == len(frames):
            yield batch
            batch = []
