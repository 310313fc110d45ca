"""The selection methods that the reproduction compares, on the silicon set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from paper_refit import SURFACES, SiliconSet, facet_named
from scipy.linalg import block_diag
from silicon_fit import KEYS, WEIGHTS

from ase_bayesel import FeatureStore, select
from ase_bayesel.descriptors import Descriptor
from ase_bayesel.selection.arguments import BAYESIAN, METHODS
from ase_bayesel.selection.feature_store import pool_features
from ase_bayesel.structures.labels import PROPERTIES
from ase_bayesel.surrogate.fitting import fit_surrogate
from ase_bayesel.surrogate.surrogate import Surrogate
from ase_bayesel.validation import build_slab, relax

PROJECTIONS = 32
"""Force projections of the fit where the descriptor can project (features of a network)."""


@dataclass(frozen=True)
class Method:
    """One line of the tables.

    ``name`` is that of `ase_bayesel.select`; ``properties`` is what Bayesian methods take a
    label to hold, and ``scored`` what of it they score, all if empty; ``surfaces`` are the
    targets of c-optimal ones, and ``general`` the weight of the mean energy variance over the
    pool beside theirs, each in units of what it is before the first pick. ``nested`` says that
    fewer picks are a prefix of more.
    """

    title: str
    name: str
    properties: tuple[str, ...] = ()
    surfaces: tuple[str, ...] = ()
    scored: tuple[str, ...] = ()
    general: float = 0.0
    nested: bool = True

    def __post_init__(self) -> None:
        assert self.name in METHODS


ENERGY = ("energy",)
CATALOGUE = {
    "random": Method("simple random", "random"),
    "k_medoids": Method("k-medoids (PAM)", "k_medoids", nested=False),
    "fps": Method("farthest points", "fps"),
    "cur": Method("CUR, structures", "cur"),
    "atomic_cur": Method("CUR, atoms", "atomic_cur"),
    "variance": Method("Bayesian, energy variance, E rows", "energy_variance", ENERGY),
    "variance_efv": Method("Bayesian, energy variance, EFV rows", "energy_variance", PROPERTIES),
    "force": Method("Bayesian, force variance", "force_variance", PROPERTIES),
    "logdet": Method("Bayesian, log determinant", "information_gain", PROPERTIES),
    "i_opt": Method("I-optimal over the pool, E rows", "i_optimal", ENERGY),
    "i_opt_efv": Method("I-optimal over the pool, EFV rows", "i_optimal", PROPERTIES),
    "i_opt_mixed": Method(
        "I-optimal over the pool, E scored, EFV rows", "i_optimal", PROPERTIES, scored=ENERGY
    ),
    "c_100": Method("c-optimal for (100), E rows", "c_optimal", ENERGY, ("100",)),
    "c_111": Method("c-optimal for (111), E rows", "c_optimal", ENERGY, ("111",)),
    "c_opt": Method("c-optimal for both, E rows", "c_optimal", ENERGY, SURFACES),
    "c_opt_efv": Method("c-optimal for both, EFV rows", "c_optimal", PROPERTIES, SURFACES),
    "c_opt_mixed": Method(
        "c-optimal for both, E scored, EFV rows", "c_optimal", PROPERTIES, SURFACES, ENERGY
    ),
    "c_i_opt": Method(
        "c-optimal and 1/10 I-optimal, E scored, EFV rows",
        "c_optimal",
        PROPERTIES,
        SURFACES,
        ENERGY,
        general=0.1,
    ),
    "max_volume": Method("MaxVol", "max_volume"),
    "entropy": Method("information entropy", "entropy"),
    "direct": Method("DIRECT", "direct", nested=False),
}

EVERYTHING = "everything"
"""Name of the task without a selection: the whole pool is picked."""


@dataclass
class Selector:
    """Picks from the silicon pool with one descriptor; features and the core's fit are kept.

    ``directory`` holds the feature store and the fit.
    """

    structures: SiliconSet
    descriptor: Descriptor
    directory: Path
    _core_fit: list[Surrogate] = field(default_factory=list)

    def picks(
        self, method: Method, members: Sequence[int], numbers: Sequence[int], seed: int
    ) -> Mapping[int, list[int]]:
        """Indices into the pool for each number of picks; only ``members`` can be picked."""
        if method.nested:
            longest = self._select(method, members, max(numbers), seed)
            return {n: longest[:n] for n in numbers}
        return {n: self._select(method, members, n, seed) for n in numbers}

    def _select(self, method: Method, members: Sequence[int], n: int, seed: int) -> list[int]:
        bayesian = method.name in BAYESIAN
        pool = [self.structures.pool[k] for k in members]
        store = FeatureStore(self.directory / "features", self.descriptor)
        targets, coefficients = None, None
        if method.surfaces:
            targets, coefficients = surface_targets(self.core_fit(), method.surfaces)
        if method.general:
            targets, coefficients = self._with_pool(
                targets, coefficients, pool, store, method.general
            )
        found = select(
            pool,
            n,
            method.name,
            None if bayesian else self.descriptor,
            self.core_fit() if bayesian else self.structures.core,
            np.random.default_rng(seed),
            properties=method.properties or None,
            scored=method.scored or None,
            targets=targets,
            coefficients=coefficients,
            store=store,
        )
        return [int(members[k]) for k in found.indices]

    def _with_pool(
        self,
        targets: list[Atoms],
        coefficients: np.ndarray,
        pool: list[Atoms],
        store: FeatureStore,
        weight: float,
    ) -> tuple[list[Atoms], np.ndarray]:
        """The targets, and the energies per atom of the pool with a part of all weight."""
        energies = np.diag([1.0 / len(atoms) for atoms in pool])
        parts = ((targets, coefficients, 1.0 - weight), (pool, energies, weight))
        scaled = []
        for frames, factors, part in parts:
            rows = factors @ pool_features(frames, self.descriptor, store).rows
            total = self.core_fit().posterior.variance(rows).sum()
            scaled.append(factors * np.sqrt(part / total))
        return [*targets, *pool], block_diag(*scaled)

    def core_fit(self) -> Surrogate:
        """The surrogate fitted to the core."""
        if not self._core_fit:
            path = self.directory / f"core_{self.descriptor.n_features}.npz"
            if not path.exists():
                fit_surrogate(
                    self.structures.core,
                    self.descriptor,
                    KEYS.energy,
                    KEYS.forces,
                    KEYS.virial,
                    weights=WEIGHTS,
                    force_projections=PROJECTIONS,
                ).save(path)
            self._core_fit.append(Surrogate.load(path, self.descriptor))
        return self._core_fit[0]


def surface_targets(core_fit: Surrogate, surfaces: Sequence[str]) -> tuple[list[Atoms], np.ndarray]:
    """Surface energies as functionals of energies: structures and coefficients ``(P, P + 1)``.

    The unrelaxed slab of the protocol less its number of bulk atoms, over twice the area (A^2),
    at the lattice constant of the core's fit: what is known before any surface is labelled.
    """
    crystal = relax(bulk("Si", a=5.43), core_fit.calculator(), cell=True).copy()
    slabs = [build_slab(crystal, facet_named(name)) for name in surfaces]
    areas = [np.linalg.norm(np.cross(atoms.cell[0], atoms.cell[1])) for atoms in slabs]
    coefficients = np.zeros((len(slabs), len(slabs) + 1))
    for k, (atoms, area) in enumerate(zip(slabs, areas, strict=True)):
        coefficients[k, [k, -1]] = np.array([1.0, -len(atoms) / len(crystal)]) / (2.0 * area)
    return [*slabs, crystal], coefficients
