"""Selection from a pool of structures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from os import PathLike
from typing import Any

import numpy as np
from ase import Atoms

from ..descriptors.base import Descriptor
from ..errors import SelectionError
from ..structures.checks import check_structure
from ..structures.copies import Copies
from ..structures.frames import iterate_frames
from ..structures.labels import PROPERTIES, PropertyKeys
from ..surrogate.fitting import fit_surrogate
from ..surrogate.steps import OnProgress
from ..surrogate.surrogate import Surrogate
from .arguments import BAYESIAN, check_arguments, check_core
from .candidates import (
    TARGETED,
    WITH_FORCE_ROWS,
    Aim,
    Candidates,
    select_bayesian,
    select_by_features,
)
from .feature_store import FeatureStore, Frames, pool_features
from .methods import Selection
from .methods.greedy import OnPicking
from .methods.result import check_vector

FORCE_PROJECTIONS = 32
"""Random combinations of force rows in the fit of a core with features of a network."""


def select(
    frames: Frames,
    n: int,
    method: str = "energy_variance",
    descriptor: Descriptor | None = None,
    core: Surrogate | Sequence[Atoms] | None = None,
    rng: np.random.Generator | None = None,
    *,
    keys: PropertyKeys = PropertyKeys(),
    e0s: Mapping[str, float] | str = "isolated",
    properties: Sequence[str] | None = None,
    scored: Sequence[str] | None = None,
    weights: Mapping[str, float] | None = None,
    targets: Sequence[Atoms] | None = None,
    coefficients: Sequence[float] | np.ndarray | None = None,
    costs: Callable[[Atoms], float] | Sequence[float] | None = None,
    budget: float | None = None,
    store: FeatureStore | None = None,
    processes: int = 1,
    on_progress: Callable[[int], None] | None = None,
    fitted: Surrogate | None = None,
    on_picking: OnPicking | None = None,
) -> Selection:
    """Pick ``n`` structures of a pool that deserve a label.

    Bayesian methods score with the posterior of ``core``; after each pick it takes up exactly
    the rows that the label will hold. Feature rows phi are sums over atoms, not scaled: the
    prior gives them their scale.

    =================  =====================================================================
    energy_variance    variance of the energy per atom, eV^2 (Eq. 5 of Rocke and Kermode)
    force_variance     largest variance of an atom's force, (eV/A)^2 (Eq. 6)
    information_gain   log det: what the whole label says of the coefficients (Eq. 4)
    weighted_sum       ``weights`` times these, each over its largest value in the pool
    i_optimal          fall of the mean variance of the energy per atom over ``targets``,
                       by default the pool, eV^2
    c_optimal          fall of the variance of sum_t coefficients_t E(targets_t), eV^2
    =================  =====================================================================

    The others look at features alone: means over the atoms of a structure (entropy and
    atomic_cur: atomic features), centred and scaled to unit standard deviation over pool and
    core. Those after the line do not look at the core; in them, structures that are near
    copies of one of the core (root mean square difference of these features below
    `selection.candidates.NEAR_CORE`) come last, in the order of the pool.

    =================  =====================================================================
    fps                farthest points, from the core on
    max_volume         extrapolation grade (MaxVol, D-optimality)
    entropy            information entropy of the atomic environments
    -----------------  ---------------------------------------------------------------------
    k_medoids          PAM
    cur                CUR on structure features
    atomic_cur         CUR, mean score of a structure's atoms
    direct             principal components, BIRCH, stratified sampling
    random             simple random sampling
    =================  =====================================================================

    In all but k_medoids and direct fewer picks are a prefix of more. `ase_bayesel.selection`
    states the details. A copy of an earlier structure of the pool, or of one of the core's frames,
    is never picked, also where its atoms are wrapped into the cell otherwise.

    Parameters
    ----------
    frames
        The pool: structures, or the path of a file, which is streamed where the method needs
        feature rows only. They are not changed.
    n
        How many to pick; fewer come back where a budget ends.
    method
        One of the above.
    descriptor
        Not needed where ``core`` is a surrogate.
    core
        What is labelled already: structures, or for Bayesian methods a surrogate fitted to
        them. Structures are fitted by `fit_surrogate` under ``keys`` and ``e0s``, features of a
        network with ``FORCE_PROJECTIONS``; for an unlabelled core give a surrogate made of a
        prior and a noise, conditioned on it. Where it has weights by energy (`EnergyWeights`) and a
        mean, a candidate counts the less the higher its predicted energy lies.
    rng
        For random.
    keys, e0s
        Where the core's labels are found, and its reference energies.
    properties
        What the labels will hold, some of energy, forces, virial; by default those of the
        surrogate. With energies alone a pick costs O(M D). The rows of forces and virials are
        computed on demand: for the whole pool before the first pick, then for few structures
        a pick (lazy), but for i_optimal and c_optimal for the whole pool at each pick.
    scored
        What of a label i_optimal and c_optimal count when they score a candidate, by default
        all ``properties``; a pick always enters the posterior with all of them. Energies alone
        need derivatives of the picks only.
    weights
        Names of scores and positive weights, for weighted_sum.
    targets, coefficients
        T structures and, for c_optimal, ``(T,)`` or for P properties ``(P, T)`` numbers.
    costs
        Predicted costs of the labels, ``(M,)`` or a function of a structure, by which
        Bayesian scores are divided. With a budget the default is
        n_atoms^3, how the time of plane-wave DFT grows.
    budget
        Largest sum of costs.
    store, processes, on_progress
        See `selection.feature_store.pool_features`.
    fitted
        A surrogate fitted to ``core`` already (`fit_core`), which is then not fitted again.
    on_picking
        Called with (``"candidates"`` scored or ``"picks"`` made, how many, of how many) by
        Bayesian methods that score whole labels.

    Returns
    -------
    Indices into ``frames`` and scores.

    Raises
    ------
    SelectionError
        For an unknown method, an empty pool, more picks than there are distinct structures,
        or an argument that is missing or not used by the method.
    StructureError
        Naming a structure of the pool, core or targets that cannot be used.
    """
    check_arguments(
        method,
        weights=weights,
        targets=targets,
        coefficients=coefficients,
        scored=scored,
        costs=costs,
        budget=budget,
    )
    if descriptor is None and isinstance(core, Surrogate):
        descriptor = core.descriptor
    if descriptor is None:
        raise SelectionError("descriptor: give one, or a surrogate as core")
    check_core(method, core is not None or fitted is not None, isinstance(core, Surrogate))
    surrogate, named = None, "pool"
    if method in BAYESIAN:
        surrogate = _surrogate(fitted or core, descriptor, keys, e0s, properties)
    if isinstance(frames, str | PathLike) and _needs_frames(method, surrogate, costs):
        named, frames = f"{frames},", list(iterate_frames(frames))

    core_frames = () if core is None or isinstance(core, Surrogate) else core
    for number, atoms in enumerate(core_frames):
        check_structure(atoms, f"core frame {number}")
    copies = Copies()
    known = [copies.first(atoms) for atoms in core_frames]
    compute = partial(_candidates, descriptor, store, processes)
    pool, names = compute(frames, named, on_progress, copies)
    chosen = _distinct(names, known)
    _check_number(n, len(chosen), len(names))
    goals = None if targets is None else compute(targets, "targets")[0]
    aim = Aim(
        weights,
        _target_rows(method, pool, coefficients, goals),
        _costs(costs, budget, pool),
        budget,
        None if scored is None else _in_order("scored", scored),
    )
    if len(chosen) < len(names):
        pool, aim = pool.take(chosen), aim.take(chosen)
    if surrogate is not None:
        picks = select_bayesian(pool, n, method, surrogate, aim, on_picking)
    else:
        core_rows = compute(core_frames, "core")[0] if core_frames else None
        picks = select_by_features(pool, n, method, core_rows, rng)
    return replace(picks, indices=chosen[picks.indices])


def _surrogate(
    core: Surrogate | Sequence[Atoms] | None,
    descriptor: Descriptor,
    keys: PropertyKeys,
    e0s: Mapping[str, float] | str,
    properties: Sequence[str] | None,
) -> Surrogate:
    assert core is not None
    if not isinstance(core, Surrogate):
        core = fit_core(core, descriptor, keys, e0s)
    elif descriptor is not core.descriptor and descriptor.spec() != core.descriptor.spec():
        raise SelectionError("descriptor: differs from that of the surrogate; leave it out")
    return with_properties(core, properties)


def with_properties(surrogate: Surrogate, properties: Sequence[str] | None) -> Surrogate:
    """The surrogate for labels that hold these ``properties``; None for its own."""
    if properties is None:
        return surrogate
    return replace(surrogate, properties=_in_order("properties", properties))


def fit_core(
    core: Sequence[Atoms],
    descriptor: Descriptor,
    keys: PropertyKeys,
    e0s: Mapping[str, float] | str,
    on_progress: OnProgress | None = None,
) -> Surrogate:
    """The fit of a core as `select` makes it; errors as of `fit_surrogate`.

    Parameters
    ----------
    core, descriptor, keys, e0s
        As of `select`.
    on_progress
        As of `fit_surrogate`.
    """
    labels = keys.energy, keys.forces, keys.virial
    return fit_surrogate(
        *(core, descriptor, *labels, e0s),
        on_progress=on_progress,
        force_projections=FORCE_PROJECTIONS,
    )


def _in_order(argument: str, properties: Sequence[str]) -> tuple[str, ...]:
    if not properties or not set(properties) <= set(PROPERTIES):
        raise SelectionError(f"{argument}: expected some of {', '.join(PROPERTIES)}")
    return tuple(name for name in PROPERTIES if name in properties)


def _needs_frames(method: str, surrogate: Surrogate | None, costs: Any) -> bool:
    if surrogate is None:
        return method in ("entropy", "atomic_cur")
    return (
        surrogate.properties != ("energy",)
        or surrogate.energy_weights is not None
        or method in WITH_FORCE_ROWS
        or callable(costs)
    )


def _candidates(
    descriptor: Descriptor,
    store: FeatureStore | None,
    processes: int,
    source: Frames,
    where: str,
    on_progress: Callable[[int], None] | None = None,
    copies: Copies | None = None,
) -> tuple[Candidates, tuple[str, ...]]:
    """Structures with their feature rows, and of which ids they are copies; no file is kept."""
    kept = None if isinstance(source, str | PathLike) else list(source)
    features = pool_features(
        *(source if kept is None else kept, descriptor, store, processes, on_progress, where),
        copies=copies,
    )
    return Candidates(kept, features.rows, features.n_atoms, descriptor), features.firsts


def _distinct(names: Sequence[str], excluded: Sequence[str]) -> np.ndarray:
    """Indices of the first structure of each name that is not excluded."""
    taken = set(excluded)
    chosen = []
    for index, name in enumerate(names):
        if name not in taken:
            taken.add(name)
            chosen.append(index)
    return np.array(chosen, int)


def _check_number(n: int, n_distinct: int, n_pool: int) -> None:
    if n_pool == 0:
        raise SelectionError("the pool is empty")
    if not 0 <= n <= n_distinct:
        raise SelectionError(
            f"n = {n}, but of the {n_pool} structures of the pool {n_distinct} can be picked: "
            "copies of others or of the core cannot"
        )


def _target_rows(
    method: str, pool: Candidates, coefficients: Any, targets: Candidates | None
) -> np.ndarray | None:
    """Linear functionals of the coefficients whose summed variance is to fall, ``(T, D)``."""
    if method not in TARGETED:
        return None
    if method == "i_optimal":
        over = pool if targets is None else targets
        return over.means / np.sqrt(len(over.rows))
    assert targets is not None
    factors = np.atleast_2d(np.asarray(coefficients, float))
    if factors.ndim != 2 or factors.shape[1] != len(targets.rows):
        raise SelectionError(
            f"coefficients: expected {len(targets.rows)} numbers, one for each target"
        )
    return factors @ targets.rows


def _costs(costs: Any, budget: float | None, pool: Candidates) -> np.ndarray | None:
    if costs is None:
        return None if budget is None else pool.n_atoms.astype(float) ** 3
    if callable(costs):
        costs = [costs(atoms) for atoms in pool.frames or ()]
    return check_vector("costs", costs, len(pool.rows))
