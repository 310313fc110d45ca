"""What looks wrong of a fit itself, beside its new labels: told in the report of its round."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence

import numpy as np
from ase import Atoms

from ..io.words import rounded
from ..structures.identity import structure_id
from ..structures.labels import PropertyKeys, of_whole_atoms, whole_atoms
from ..structures.reference_energies import fitted_targets
from ..surrogate.design import property_rows, property_targets
from ..surrogate.energy_weights import force_growth
from ..surrogate.hyperparameters import Hyperparameters
from ..surrogate.surrogate import Surrogate
from ..surrogate.training_rows import TrainingRows

JUMP = 3.0
"""By more than this factor the noise does not change from one round to the next."""
BEYOND = 10.0
"""So many times the noise, or the median over all structures, are residuals large ..."""
MOST_NAMED = 5
"""... and so many of their structures are named."""


def fit_warnings(
    found: Hyperparameters,
    surrogate: Surrogate,
    before: Mapping[str, float] | None,
    n_rows_before: int,
) -> list[str]:
    """Hyperparameters at a bound, and noise that jumps; a line each.

    Parameters
    ----------
    found, surrogate
        What the evidence chose, and the fit with it.
    before
        Noise of the round before, by property; None for the first.
    n_rows_before
        Energies and force components of its fit. With fewer than features the fit could follow
        them without any noise, and what was found says nothing.
    """
    told = [
        f"fit: {what}; look at units and keys of the labels, and whether there are enough"
        for what in found.at_bounds
    ]
    if before is None or n_rows_before < surrogate.descriptor.n_features:
        return told
    noise = {prop: float(getattr(surrogate.noise, prop)) for prop in surrogate.properties}
    growth = {prop: now / before[prop] for prop, now in noise.items() if before.get(prop)}
    prop = max(growth, key=lambda name: abs(np.log(growth[name])), default=None)
    if prop is not None and not 1 / JUMP <= growth[prop] <= JUMP:
        told.append(_jumped(prop, before[prop], noise[prop]))
    return told


def _jumped(prop: str, before: float, now: float) -> str:
    """What it may mean that the noise has jumped; in the units of `Noise`."""
    unit = "meV/A" if prop == "forces" else "meV/sqrt(atom)"
    way, meaning = "fell", "either the model follows its labels better, or too closely"
    if now > before:
        way = "rose"
        meaning = (
            "either the model describes the new structures less well than those before, or their "
            "labels are of another kind or accuracy"
        )
    return (
        f"fit: the noise of {prop}, which the fit leaves of the labels, {way} from "
        f"{rounded(1e3 * before, 3)} to {rounded(1e3 * now, 3)} {unit} in one round: {meaning}; "
        "look at the labels of this round"
    )


def large_residuals(
    surrogate: Surrogate,
    frames: Sequence[Atoms],
    keys: PropertyKeys,
    n_initial: int,
    max_force: float | None,
    rows: TrainingRows | None = None,
) -> Generator[int, None, list[str]]:
    """A line that names the training structures far from their fit; yields how many are done.

    Parameters
    ----------
    surrogate
        Of the fit.
    frames, n_initial
        Its structures, of which so many first ones were given.
    keys
        Where their labels are.
    max_force
        eV/A, beyond which labels count less (`force_growth`); None for no limit.
    rows
        Of the structures: what is kept of them, without projections, serves in place of an
        evaluation of the mean.
    """
    potential, sizes, kept = surrogate.calculator(), list[float](), list[int]()
    if rows is not None and rows.force_projections is None:
        kept = [k for k in range(len(frames)) if rows.kept(k)]
    known = iter(()) if rows is None else rows.chosen(kept)
    for k, atoms in enumerate(frames):
        features = next(known) if k < len(kept) else None
        labels, baseline = fitted_targets(atoms, keys, surrogate.e0s), surrogate.baseline(atoms)
        scales = surrogate.row_scales(atoms, labels)
        growth, own = force_growth(labels.forces, max_force), [0.0]
        for prop in scales.keys() & {"energy", "forces"}:
            label = getattr(labels, prop)
            if label is None:
                continue
            if features is not None:
                rows_of_label = property_rows(features, prop, whole_atoms(atoms))
                predicted = rows_of_label @ surrogate.posterior.mean
                label = property_targets(labels, prop, baseline)
            else:
                predicted = potential.get_property(prop, atoms)
                if prop == "forces":
                    predicted = of_whole_atoms(atoms, predicted)
            unit = growth * surrogate.noise.std(prop, len(atoms)) / scales[prop]
            own.append(float(np.sqrt(np.mean((predicted - label) ** 2))) / unit)
        sizes.append(max(own))
        yield k + 1
    limit = BEYOND * max(1.0, float(np.median(sizes)))
    large = sorted((k for k, size in enumerate(sizes) if size > limit), key=lambda k: -sizes[k])
    if not large:
        return []
    names = [
        f"{f'training frame {k}' if k < n_initial else structure_id(frames[k])} "
        f"({rounded(sizes[k], 3)})"
        for k in large[:MOST_NAMED]
    ]
    more = f" and {len(large) - MOST_NAMED} more" if len(large) > MOST_NAMED else ""
    return [
        f"fit: residuals beyond {rounded(limit, 3)} times the noise: {', '.join(names)}{more}; "
        "look at their labels"
    ]
