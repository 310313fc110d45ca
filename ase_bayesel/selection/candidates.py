"""From the candidates of a pool to the arrays that each of `selection.methods` takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np
from ase import Atoms

from ..descriptors.base import Descriptor, Features
from ..errors import SelectionError
from ..resources.threads import one_blas_thread
from ..structures.labels import whole_atoms
from ..surrogate.design import property_rows
from ..surrogate.posterior import Posterior
from ..surrogate.surrogate import Surrogate
from ..surrogate.triangular import reduced
from . import methods as selection
from .methods import Selection, scores
from .methods.distances import nearest_distance, standardised
from .methods.greedy import OnPicking, Rows, Score
from .methods.label_grams import GainBound, LabelGrams, TargetBound
from .on_demand import OnDemand

TARGETED = ("i_optimal", "c_optimal")
"""Methods that look at targets."""
WITH_FORCE_ROWS = ("force_variance", "weighted_sum")
"""Methods that score by force rows, whatever the labels will hold."""
FEW_FEATURES = 500
"""Up to this many, the algebra of a candidate is done in one thread."""
NEAR_CORE = 0.01
"""Root mean square difference of standardised features below which a structure is a near copy."""
CACHE_BYTES = 2 << 30
"""Features, and rows, made on demand are kept up to this size each; the rest is made again."""


@dataclass(frozen=True)
class Candidates:
    """Structures that can be picked.

    Attributes
    ----------
    frames
        The M structures; None where only their feature rows are needed.
    rows
        ``(M, D)`` feature rows, sums over atoms.
    n_atoms
        ``(M,)``.
    descriptor
        Gives derivatives and atomic features on demand.
    """

    frames: Sequence[Atoms] | None
    rows: np.ndarray
    n_atoms: np.ndarray
    descriptor: Descriptor

    @property
    def means(self) -> np.ndarray:
        """``(M, D)`` features per atom."""
        return self.rows / self.n_atoms[:, None]

    def take(self, chosen: np.ndarray) -> Candidates:
        """Some of them."""
        frames = None if self.frames is None else [self.frames[k] for k in chosen]
        return Candidates(frames, self.rows[chosen], self.n_atoms[chosen], self.descriptor)


@dataclass(frozen=True)
class Aim:
    """What a Bayesian selection is for.

    ``weights`` of scores by name; ``targets (T, D)``, linear functionals of the coefficients;
    ``costs (M,)`` and ``budget`` in the same unit; ``scored`` properties of a label count in
    the score of a target's variance, all where it is None.
    """

    weights: Mapping[str, float] | None = None
    targets: np.ndarray | None = None
    costs: np.ndarray | None = None
    budget: float | None = None
    scored: tuple[str, ...] | None = None

    def take(self, chosen: np.ndarray) -> Aim:
        """The same for some of the candidates."""
        return self if self.costs is None else replace(self, costs=self.costs[chosen])


def select_bayesian(
    pool: Candidates,
    n: int,
    method: str,
    surrogate: Surrogate,
    aim: Aim,
    on_picking: OnPicking | None = None,
) -> Selection:
    """A Bayesian method of `select`; labels hold the properties of the surrogate.

    Parameters
    ----------
    pool
        The M candidates.
    n
        How many to pick.
    method
        ``energy_variance``, ``force_variance``, ``information_gain``, ``weighted_sum``,
        ``i_optimal`` or ``c_optimal``.
    surrogate
        The posterior before the first pick, the noise and the properties of the labels, and
        weights by energy (`Surrogate.noise_growth`).
    aim
        Weights, targets, costs and budget.
    on_picking
        As of `greedy`, where whole labels are scored; other ways are quick.

    Raises
    ------
    SelectionError
        For a weight of a score that does not exist.
    """
    rows, posterior, targets = pool.rows, surrogate.posterior, aim.targets
    growth = surrogate.noise_growth(pool.frames or (), rows)
    noise = growth * [surrogate.noise.std("energy", k) for k in pool.n_atoms.tolist()]
    limits = aim.costs, aim.budget
    if surrogate.properties == ("energy",):
        if method == "energy_variance":
            weights = 1.0 / pool.n_atoms**2
            return selection.energy_variance(rows, n, posterior, noise, weights, *limits)
        if targets is not None:
            return selection.target_variance(rows, n, posterior, noise, targets, *limits)
        if method == "information_gain" and aim.costs is None:
            picks = selection.energy_variance(rows, n, posterior, noise, 1.0 / noise**2)
            return Selection(picks.indices, np.log1p(picks.scores))
    features = _features(pool, kept=method in WITH_FORCE_ROWS)
    counted = surrogate if aim.scored is None else replace(surrogate, properties=aim.scored)
    by_grams = _many_rows(pool, counted) and method in (*TARGETED, "information_gain")
    label_rows = _label_rows(pool, surrogate, growth, features, kept=not by_grams)
    bound: Score | None = None
    small = posterior.n_features <= FEW_FEATURES
    with one_blas_thread() if small else nullcontext():
        if targets is not None:
            scored_rows = label_rows
            if counted is not surrogate:
                scored_rows = _label_rows(pool, counted, growth, features, kept=not by_grams)
            if counted.properties == ("energy",):
                score = scores.energy_target_reduction(rows, noise, targets)
            else:
                score = scores.target_reduction(scored_rows, targets)
            if by_grams:
                grams = LabelGrams(scored_rows, posterior, CACHE_BYTES)
                bound = TargetBound(grams, targets)
        else:
            score = _score(pool, method, posterior, aim, label_rows, features)
            if by_grams:
                bound = GainBound(LabelGrams(label_rows, posterior, CACHE_BYTES))
        return selection.greedy(
            *(len(rows), n, posterior, score, label_rows),
            *(*limits, targets is None, bound, on_picking),
        )


def _many_rows(pool: Candidates, surrogate: Surrogate) -> bool:
    """Whether a label has more numbers in its rows, as a rule, than in half of a D x D matrix."""
    n_rows = 3.0 * float(np.median(pool.n_atoms)) if "forces" in surrogate.properties else 0.0
    return 2.0 * n_rows > surrogate.posterior.n_features


def _features(pool: Candidates, kept: bool) -> OnDemand:
    """Features with derivatives of each candidate."""
    frames, compute = pool.frames or (), pool.descriptor.compute

    def make(index: int) -> Features:
        return compute([frames[index]], derivatives=True)[0]

    return OnDemand(len(frames), make, _bytes if kept else None, CACHE_BYTES)


def _label_rows(
    pool: Candidates, surrogate: Surrogate, growth: np.ndarray, features: OnDemand, kept: bool
) -> Rows:
    """The weighted rows of a candidate's label, or D rows that say the same (`reduced`)."""
    frames = pool.frames or ()

    def make(index: int) -> np.ndarray:
        if surrogate.properties == ("energy",):
            std = surrogate.noise.std("energy", int(pool.n_atoms[index]))
            return pool.rows[[index]] / (std * growth[index])
        return reduced(surrogate.rows(frames[index], features[index]) / growth[index])

    size = (lambda rows: rows.nbytes) if kept else None
    return OnDemand(len(pool.rows), make, size, CACHE_BYTES).__getitem__


def _score(
    pool: Candidates,
    method: str,
    posterior: Posterior,
    aim: Aim,
    label_rows: Rows,
    features: OnDemand,
) -> Score:
    frames = pool.frames or ()
    known = {
        "energy_variance": scores.energy_variance(pool.rows, pool.n_atoms),
        "force_variance": scores.force_variance(
            lambda k: property_rows(features[k], "forces", whole_atoms(frames[k]))
        ),
        "information_gain": scores.information_gain(label_rows),
    }
    if method != "weighted_sum":
        return known[method]
    weights = aim.weights or {}
    unknown = sorted(set(weights) - set(known))
    if unknown:
        raise SelectionError(f"weights: unknown score {unknown[0]!r}; known: {', '.join(known)}")
    parts = [known[name] for name in weights]
    return scores.weighted_sum(parts, list(weights.values()), posterior, len(pool.rows))


def select_by_features(
    pool: Candidates,
    n: int,
    method: str,
    core: Candidates | None = None,
    rng: np.random.Generator | None = None,
) -> Selection:
    """A method of `select` that looks at features alone.

    Parameters
    ----------
    pool
        The M candidates.
    n
        How many to pick.
    method
        ``fps``, ``max_volume``, ``entropy``, ``atomic_cur``, ``k_medoids``, ``cur``,
        ``direct`` or ``random``.
    core
        Structures that are labelled already. The first three methods count them among the
        picks; the others take near copies of one of them last.
    rng
        For ``random``.

    Raises
    ------
    SelectionError
        If ``random`` gets no ``rng``.
    """
    features, core_features = standardised(pool.means, None if core is None else core.means)
    if method == "fps":
        return selection.farthest_points(features, n, core_features)
    if method == "max_volume":
        return selection.max_volume(features, n, core_features)
    if method == "entropy":
        atoms, core_atoms = _standard_atoms(pool, core)
        return selection.entropy(atoms, n, core_atoms)
    fresh = _not_near(features, core_features)
    rest = np.setdiff1d(np.arange(len(features)), fresh)[: max(n - len(fresh), 0)]
    first = Selection(np.empty(0, int), np.empty(0))
    if len(fresh):
        atoms = _standard_atoms(pool.take(fresh), core)[0] if method == "atomic_cur" else ()
        first = _blind(features[fresh], atoms, n - len(rest), method, rng)
    return Selection(
        np.concatenate([fresh[first.indices], rest]),
        np.concatenate([first.scores, np.full(len(rest), np.nan)]),
        len(rest),
    )


def _blind(
    features: np.ndarray,
    atoms: Sequence[np.ndarray],
    n: int,
    method: str,
    rng: np.random.Generator | None,
) -> Selection:
    """A method that does not look at the core."""
    if method == "atomic_cur":
        return selection.atomic_cur(atoms, n)
    if method == "k_medoids":
        return selection.k_medoids(features, n)
    if method == "cur":
        return selection.cur(features, n)
    if method == "direct":
        return selection.direct(features, n)
    if rng is None:
        raise SelectionError("random: give rng, a numpy Generator")
    return selection.simple_random(len(features), n, rng)


def _not_near(features: np.ndarray, core: np.ndarray) -> np.ndarray:
    """Indices of the structures that are no near copies of one of the core."""
    if core.size == 0:
        return np.arange(len(features))
    distance = nearest_distance(features, core) / np.sqrt(features.shape[1])
    return np.flatnonzero(distance >= NEAR_CORE)


def _standard_atoms(
    pool: Candidates, core: Candidates | None
) -> tuple[Sequence[np.ndarray], Sequence[np.ndarray]]:
    """Atomic features of pool and core with mean 0 and variance 1 over all of their atoms."""
    raw = [_atoms(pool), *([] if core is None else [_atoms(core)])]
    moments = [(len(x), x.mean(axis=0), x.var(axis=0)) for part in raw for x in part]
    sizes, means, variances = (np.array(values) for values in zip(*moments, strict=True))
    mean = np.average(means, axis=0, weights=sizes)
    spread = np.sqrt(np.average(variances + (means - mean) ** 2, axis=0, weights=sizes))
    kept = spread > 1e-12 * np.abs(means).max(axis=0)

    def scaled(part: OnDemand) -> OnDemand:
        return OnDemand(len(part), lambda k: (part[k][:, kept] - mean[kept]) / spread[kept])

    return scaled(raw[0]), [] if core is None else scaled(raw[1])


def _atoms(pool: Candidates) -> OnDemand:
    frames = pool.frames
    assert frames is not None
    compute = pool.descriptor.compute

    def make(index: int) -> np.ndarray:
        return compute([frames[index]])[0].values

    return OnDemand(len(frames), make, lambda values: values.nbytes, CACHE_BYTES)


def _bytes(features: Features) -> int:
    arrays = (features.values, features.jacobian, features.strain)
    return sum(array.nbytes for array in arrays if array is not None)
