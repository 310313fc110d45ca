"""Selection by clustering: k-medoids and DIRECT."""

from __future__ import annotations

import numpy as np

from ...errors import SelectionError
from .result import Selection, check_matrix, check_number, optional, selection

MAX_DISTANCES = 20_000
"""Largest pool of k-medoids, which needs all distances: 3.2 GB."""
MAX_TRIALS = 60


def k_medoids(features: np.ndarray, n: int) -> Selection:
    """The ``n`` medoids of PAM (Kaufman and Rousseeuw 1987) under the Euclidean distance.

    FastPAM1 of the package ``kmedoids`` from the BUILD start: PAM's own swaps, found faster
    (Schubert and Rousseeuw 2021). Not greedy: another ``n`` has other medoids. They come by
    falling size of their clusters, ties by index. No scores.

    Parameters
    ----------
    features
        ``(M, D)``, M <= 20,000, in the metric that is wanted.
    n
        How many to pick.

    Raises
    ------
    SelectionError
        If the pool is too large for all distances, or the package is missing.
    """
    check_number(n, len(check_matrix("features", features)))
    if n == 0:
        return selection([])
    if len(features) > MAX_DISTANCES:
        raise SelectionError(
            f"k-medoids needs the distances of all pairs: {len(features)} structures are more "
            f"than {MAX_DISTANCES}; thin the pool first (simple random or farthest points)"
        )
    package = optional("kmedoids", "kmedoids")
    lengths = np.sum(features**2, axis=1)
    distances = features @ features.T
    distances *= -2.0
    distances += lengths
    distances += lengths[:, None]
    np.sqrt(np.maximum(distances, 0.0, out=distances), out=distances)
    np.fill_diagonal(distances, 0.0)
    clusters = package.fastpam1(distances, n, init="build")
    return selection(_by_size(np.asarray(clusters.medoids, int), np.asarray(clusters.labels, int)))


def _by_size(members: np.ndarray, labels: np.ndarray) -> list[int]:
    """One member per label, those of large clusters first."""
    sizes = np.bincount(labels, minlength=len(members))
    return members[np.lexsort((members, -sizes))].tolist()


def direct(features: np.ndarray, n: int) -> Selection:
    """DIRECT sampling: PCA, BIRCH clustering, stratified sampling (Qi et al. 2024).

    Principal components of variance above 1 (Kaiser's rule), each multiplied by the part of
    the variance that it explains; BIRCH clusters in them, its threshold lowered until there
    are ``n``; of each cluster the member nearest to its mean. Where the pool has fewer
    distinct structures than ``n``, further rounds take the next nearest. Within a round large
    clusters come first. Not greedy. No scores.

    Parameters
    ----------
    features
        ``(M, D)``, standardised columns (`distances.standardised`), for which Kaiser's rule
        is made.
    n
        How many to pick.
    """
    check_number(n, len(check_matrix("features", features)))
    if n in (0, len(features)):
        return selection(range(n))
    labels = _birch_labels(components := _weighted_components(features), n)
    distance = np.empty(len(features))
    for label in np.unique(labels):
        members = labels == label
        centre = components[members].mean(axis=0)
        distance[members] = np.linalg.norm(components[members] - centre, axis=1)
    return selection(_stratified(labels, distance)[:n])


def _weighted_components(features: np.ndarray) -> np.ndarray:
    model = optional("sklearn.decomposition", "scikit-learn").PCA(svd_solver="full")
    components = model.fit_transform(features)
    kept = max(1, int(np.sum(model.explained_variance_ > 1.0)))
    return components[:, :kept] * model.explained_variance_ratio_[:kept]


def _birch_labels(components: np.ndarray, n: int) -> np.ndarray:
    birch = optional("sklearn.cluster", "scikit-learn").Birch
    threshold = float(np.linalg.norm(components.std(axis=0)))
    for _ in range(MAX_TRIALS):
        model = birch(n_clusters=None, threshold=threshold).fit(components)
        if len(model.subcluster_centers_) >= n:
            return birch(n_clusters=n, threshold=threshold).fit(components).labels_
        threshold /= 2.0
    return model.labels_


def _stratified(labels: np.ndarray, distance: np.ndarray) -> list[int]:
    """All indices: the nearest of each cluster, then the second nearest, and so on."""
    sizes = np.bincount(labels)
    order = np.lexsort((np.arange(len(labels)), distance, labels))
    starts = np.concatenate([[0], np.cumsum(sizes)])
    rank = np.arange(len(labels)) - starts[labels[order]]
    return order[np.lexsort((order, -sizes[labels[order]], rank))].tolist()
