"""Refits of linear ACE to the silicon set: core and any picks, in about two seconds each.

The design matrix is computed once and kept on disk: triangular factors of the core and of all
structures, and the rows of the pool. A refit appends the rows of the picks to the core's factor
and is then `fit_surrogate`'s own last step. Force errors over all structures follow from the
factor of all: |A c - y| = |R (c, -1)|.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator
from silicon_fit import FACETS, KEYS, WEIGHTS

from ase_bayesel.descriptors.ace import ACEDescriptor
from ase_bayesel.errors import ValidationError
from ase_bayesel.io.atomic import npz_bytes, reading, write_atomically
from ase_bayesel.structures.frames import read_frames
from ase_bayesel.structures.labels import PROPERTIES, targets
from ase_bayesel.structures.reference_energies import composition_energy, reference_energies
from ase_bayesel.surrogate.design import Noise, iterate_features, property_rows, property_targets
from ase_bayesel.surrogate.fitting import surrogate_from_factors
from ase_bayesel.surrogate.row_factors import DesignFactors, RowFactor
from ase_bayesel.surrogate.surrogate import Surrogate
from ase_bayesel.validation import Facet, relax, surface_functional
from ase_bayesel.validation.surfaces import J_PER_M2

SURFACES = ("100", "111")
RESULTS = ("energy_rmse", "forces_rmse", "gamma_100", "gamma_111")
"""What a refit is judged by: eV/atom, eV/A, J/m^2 and J/m^2."""


@dataclass(frozen=True)
class SiliconSet:
    """The labelled structures: ``core`` is always trained on, picks come from ``pool``."""

    core: list[Atoms]
    pool: list[Atoms]

    @classmethod
    def read(cls, directory: Path) -> SiliconSet:
        """core.extxyz and surfaces.extxyz of a folder."""
        files = (directory / "core.extxyz", directory / "surfaces.extxyz")
        return cls(*map(read_frames, files))

    @property
    def frames(self) -> list[Atoms]:
        """Core, then pool."""
        return [*self.core, *self.pool]


@dataclass(frozen=True)
class Design:
    """The reduced design matrix; columns not scaled, rows divided by sqrt(n_atoms) as usual.

    Attributes
    ----------
    descriptor, e0s
        Features, and reference energies in eV.
    core, whole
        Property to the triangle ``(D+1, D+1)`` of [rows, targets] and their number.
    pool
        Property to [rows, targets] of all pool structures, ``(k, D+1)``, memory-mapped.
    starts
        Property to ``(M+1,)`` where the rows of each pool structure begin.
    energies
        ``(n, D+1)`` [phi, energy - E0s] per atom of all structures.
    """

    descriptor: ACEDescriptor
    e0s: dict[str, float]
    core: dict[str, tuple[np.ndarray, int]]
    whole: dict[str, tuple[np.ndarray, int]]
    pool: dict[str, np.ndarray]
    starts: dict[str, np.ndarray]
    energies: np.ndarray


def load_design(structures: SiliconSet, descriptor: ACEDescriptor, directory: Path) -> Design:
    """The design of a folder, made where it is not there yet."""
    done = directory / "factors.npz"
    if not done.exists():
        _make_design(structures, descriptor, directory)
    with reading(done) as data:
        counts = {name: dict(zip(PROPERTIES, data[f"n_{name}"], strict=True)) for name in PARTS}
        factors = {
            name: {p: (data[f"{name}_{p}"], int(counts[name][p])) for p in PROPERTIES}
            for name in PARTS
        }
        starts = {p: data[f"starts_{p}"] for p in PROPERTIES}
        energies = data["energies"]
    e0s = reference_energies(structures.core, "isolated", KEYS.energy)
    pool = {p: np.load(directory / f"{p}.npy", mmap_mode="r") for p in PROPERTIES}
    return Design(descriptor, e0s, factors["core"], factors["whole"], pool, starts, energies)


PARTS = ("core", "whole")


def _make_design(structures: SiliconSet, descriptor: ACEDescriptor, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    frames, n_core = structures.frames, len(structures.core)
    e0s = reference_energies(structures.core, "isolated", KEYS.energy)
    width = descriptor.n_features
    whole = {p: RowFactor(np.ones(width)) for p in PROPERTIES}
    pool: dict[str, list[np.ndarray]] = {p: [np.empty((0, width + 1))] for p in PROPERTIES}
    arrays, energies = {}, []
    stream = zip(frames, iterate_features(frames, descriptor), strict=True)
    for number, (atoms, features) in enumerate(stream):
        if number == n_core:
            arrays |= _as_arrays("core", whole)
        labels = targets(atoms, KEYS, f"structure {number}")
        for p in PROPERTIES:
            values = property_targets(labels, p, composition_energy(atoms, e0s))
            rows = np.empty((0, width + 1))
            if values is not None:
                rows = np.column_stack([property_rows(features, p), values])
                rows /= Noise(1.0, 1.0, 1.0).std(p, len(atoms))
                whole[p].add(rows[:, :-1], rows[:, -1])
            if p == "energy":
                energies.append(rows / np.sqrt(len(atoms)))
            if number >= n_core:
                pool[p].append(rows)
    arrays |= _as_arrays("whole", whole)
    for p, parts in pool.items():
        np.save(directory / f"{p}.npy", np.concatenate(parts))
        arrays[f"starts_{p}"] = np.cumsum([len(rows) for rows in parts])
    arrays["energies"] = np.concatenate(energies)
    write_atomically(directory / "factors.npz", npz_bytes(arrays))


def _as_arrays(name: str, factors: dict[str, RowFactor]) -> dict[str, np.ndarray]:
    arrays = {f"{name}_{p}": factor.triangle for p, factor in factors.items()}
    arrays[f"n_{name}"] = np.array([factors[p].n_rows for p in PROPERTIES])
    return arrays


def refit(design: Design, picks: Sequence[int]) -> Surrogate:
    """Linear ACE fitted to the core and some structures of the pool."""
    factors = {p: RowFactor(design.descriptor.prior_std()) for p in PROPERTIES}
    for p, factor in factors.items():
        triangle, n_rows = design.core[p]
        factor.add(triangle[:, :-1], triangle[:, -1], n_rows)
        for pick in sorted(picks):
            rows = design.pool[p][design.starts[p][pick] : design.starts[p][pick + 1]]
            factor.add(rows[:, :-1], rows[:, -1])
    reduced = DesignFactors(factors, {})
    return surrogate_from_factors(reduced, design.descriptor, KEYS, design.e0s, WEIGHTS)


def judge(design: Design, surrogate: Surrogate) -> dict[str, float | None]:
    """`RESULTS` of a model; None for a property that it does not have."""
    coefficients = np.append(surrogate.posterior.mean, -1.0)
    triangle, n_rows = design.whole["forces"]
    values: dict[str, float | None] = {
        "energy_rmse": float(np.sqrt(np.mean((design.energies @ coefficients) ** 2))),
        "forces_rmse": float(np.linalg.norm(triangle @ coefficients) / np.sqrt(n_rows)),
    }
    return values | {f"gamma_{k}": gamma for k, gamma in _surface_energies(surrogate).items()}


def _surface_energies(surrogate: Surrogate) -> dict[str, float | None]:
    calculator = surrogate.calculator()
    try:
        crystal = relax(bulk("Si", a=5.43), calculator, cell=True)
    except ValidationError:
        return dict.fromkeys(SURFACES)
    return {name: _surface_energy(crystal, calculator, facet_named(name)) for name in SURFACES}


def facet_named(name: str) -> Facet:
    """The facet of `silicon_fit` with these Miller indices."""
    return next(facet for facet in FACETS if facet.name == f"gamma ({name})")


def _surface_energy(crystal: Atoms, calculator: Calculator, facet: Facet) -> float | None:
    """J/m^2; None if the slab does not come to rest."""
    try:
        functional = surface_functional(crystal, calculator, facet, np.random.default_rng(0))
    except ValidationError:
        return None
    return functional.value(calculator) / J_PER_M2
