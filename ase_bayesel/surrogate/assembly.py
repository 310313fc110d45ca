"""Assembling a fit: the rows of all structures, weighted and reduced to triangular factors.

Features come from a `RowStore` where it has them. It also keeps the factors themselves, up to
the last whole batch: they serve the next fit where nothing that they are made of has changed, so
that the rows before need not be reduced again.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from ase import Atoms

from ..descriptors.base import Descriptor, Sketch
from ..structures.labels import PROPERTIES, PropertyKeys, whole_atoms
from ..structures.reference_energies import composition_energy, fitted_targets
from .design import Noise, property_rows, property_targets, row_scales
from .energy_weights import EnergyWeights, force_growth
from .row_factors import BATCH_ROWS, STATE, DesignFactors, RowFactor
from .row_store import RowStore
from .training_rows import Batch, Rows, TrainingRows

UNIT = Noise(1.0, 1.0, 1.0)
KINDS = ("labelled", "unlabelled")


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
    store: RowStore | None = None,
) -> Generator[int, None, DesignFactors]:
    """Stream all structures into triangular factors, a few megabytes beside the labels.

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
    store
        Keeps features and factors for later fits; the result has the same bits with it.

    Raises
    ------
    StructureError
        For a label that is not of its shape, or a weight of a file that is no number, naming the
        structure.
    """
    properties = [prop for prop in PROPERTIES if getattr(keys, prop) is not None]
    rows = TrainingRows(frames, descriptor, force_projections, first, store)
    plan: list[tuple[Batch, list[_Observed]]] = []
    for batch, structures in rows.planned():
        observed = []
        for number, atoms in enumerate(structures, start=first + batch.where.start):
            where = f"training frame {number}"
            labels = fitted_targets(atoms, keys, e0s, where)
            baseline = composition_energy(atoms, e0s)
            growth = force_growth(labels.forces, max_force)
            scales = row_scales(atoms, labels, properties, baseline, energy_weights, where)
            weights = {p: UNIT.std(p, len(atoms)) / scale for p, scale in scales.items()}
            values = {p: property_targets(labels, p, baseline) for p in weights}
            observed.append(_Observed(weights, values, growth, whole_atoms(atoms)))
        plan.append((batch, observed))
    known = {prop: _Known.of(prop, plan, column_scale, store) for prop in properties}
    last = max((k for k, (batch, _) in enumerate(plan) if batch.whole), default=-1)
    for k, (batch, observed) in enumerate(plan):
        wanted = [prop for prop in properties if known[prop].n_batches <= k]
        if wanted:
            for number, (features, own) in enumerate(zip(rows.of(batch), observed, strict=True)):
                for prop in wanted:
                    known[prop].add(prop, features, own)
                yield batch.where.start + number + 1
        else:
            rows.touch(batch)
            yield batch.where.stop
        if k == last and store is not None:
            for prop in wanted:
                known[prop].save(k, store)
    if store is not None:
        store.tidy()
    return DesignFactors(
        {prop: factor.labelled for prop, factor in known.items()},
        {prop: factor.unlabelled for prop, factor in known.items()},
    )


@dataclass(frozen=True)
class _Observed:
    """What a structure brings: weights and targets of its rows by property, and `force_growth`.

    ``whole`` are the atoms of a cut-out that are.
    """

    weights: Mapping[str, float]
    values: Mapping[str, np.ndarray | None]
    growth: float
    whole: np.ndarray | None = None

    def content(self, prop: str) -> bytes:
        """All of it that the rows of a property depend on."""
        if prop not in self.weights:
            return b"none"
        values = self.values[prop]
        told = b"" if values is None else values.tobytes()
        return np.array([self.weights[prop], self.growth]).tobytes() + told


@dataclass
class _Known:
    """The factors of a property, from the beginning up to a batch.

    ``names`` are those of the factors after each batch, by all that has entered them.
    """

    labelled: RowFactor
    unlabelled: RowFactor
    names: list[str]
    n_batches: int = 0

    @classmethod
    def of(
        cls,
        prop: str,
        plan: Sequence[tuple[Batch, Sequence[_Observed]]],
        column_scale: np.ndarray,
        store: RowStore | None,
    ) -> _Known:
        """As far as a store knows them."""
        empty = cls(RowFactor(column_scale), RowFactor(column_scale), [])
        if store is None:
            return empty
        entered = sha256(f"{prop} {BATCH_ROWS} ".encode() + column_scale.tobytes())
        for batch, observed in plan:
            if batch.name is None or not batch.whole:
                break
            entered.update(batch.name.encode())
            for own in observed:
                entered.update(own.content(prop))
            empty.names.append(f"factors_{entered.hexdigest()[:32]}")
        for k in reversed(range(len(empty.names))):
            found = store.load(empty.names[k])
            if found is None:
                continue
            with suppress(KeyError, ValueError):
                labelled, unlabelled = (
                    RowFactor.from_arrays(
                        column_scale, {name: found[f"{kind}.{name}"] for name in STATE}
                    )
                    for kind in KINDS
                )
                return cls(labelled, unlabelled, empty.names, k + 1)
        return empty

    def add(self, prop: str, features: Rows, observed: _Observed) -> None:
        """Append the rows of a structure."""
        if prop not in observed.weights:
            return
        weight, growth = observed.weights[prop], observed.growth
        values = observed.values[prop]
        rows = property_rows(features, prop, observed.whole) / weight
        if values is None:
            self.unlabelled.add(rows, np.zeros(len(rows)))
            return
        n_rows = len(values)
        if prop == "forces" and isinstance(features, Sketch):
            values = features.project(values.reshape(-1, 3))
        self.labelled.add(rows / growth, values / weight / growth, n_rows)
        if growth > 1.0:
            self.unlabelled.add(rows * np.sqrt(1.0 - growth**-2), np.zeros(len(rows)))

    def save(self, number: int, store: RowStore) -> None:
        """Keep the factors as they are after a batch."""
        if number < len(self.names):
            arrays = {
                f"{kind}.{name}": array
                for kind in KINDS
                for name, array in getattr(self, kind).to_arrays().items()
            }
            store.save(self.names[number], arrays)
