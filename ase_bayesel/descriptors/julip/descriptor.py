"""Linear ACE features of ACEpotentials, computed by Julia."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from ase import Atoms

from ...errors import DescriptorError
from ..base import Features, Gradient, LinearizedFeatures, Pullback, as_frames, voigt6
from .bridge import Bridge, live_bridge

CONVENTION = "ACE1x-0.1"


class JulipDescriptor:
    """Features ``ACE1x.ace_basis(elements, order, totaldegree, rcut)`` with forces and virials.

    They are the functions of `ACEDescriptor` up to order and sign, and of any correlation order;
    `surrogate.exchange.in_functions_of` takes a surrogate from one to the other. Julia gives
    derivatives of all functions at once, so that a gradient costs as much as the whole Jacobian.

    Parameters
    ----------
    elements, order, totaldegree, cutoff
        As of `ACEDescriptor`; cutoff in A.
    r0
        Length scales (A) of pairs of elements; those of ACE1x where a pair is missing.
    bridge
        What evaluates; Julia by juliacall by default, started by the first use.

    Raises
    ------
    DescriptorError
        If Julia or its packages cannot be had, or refuse the basis.
    """

    def __init__(
        self,
        elements: Sequence[str],
        order: int = 3,
        totaldegree: int = 12,
        cutoff: float = 5.0,
        r0: Mapping[tuple[str, ...], float] | None = None,
        bridge: Bridge | None = None,
    ) -> None:
        self.elements = tuple([elements] if isinstance(elements, str) else elements)
        self.order, self.totaldegree, self.cutoff = int(order), int(totaldegree), float(cutoff)
        self.r0 = {tuple(pair): float(length) for pair, length in (r0 or {}).items()}
        self._bridge: Bridge = live_bridge() if bridge is None else bridge
        self._basis = self._bridge.make_basis(
            self.elements, self.order, self.totaldegree, self.cutoff, self.r0
        )
        self._penalty = self._bridge.penalty(self._basis)

    @property
    def n_features(self) -> int:
        """Length D of a feature row."""
        return len(self._penalty)

    def compute(self, frames: Atoms | Iterable[Atoms], derivatives: bool = False) -> list[Features]:
        """Features of one or more structures, as `Descriptor.compute`.

        Raises
        ------
        DescriptorError
            For an element outside ``elements``, a position that is not finite, or a fault in Julia.
        """
        return [self._features(atoms, derivatives) for atoms in as_frames(frames)]

    def linearize(
        self, atoms: Atoms, weights: np.ndarray | None = None
    ) -> tuple[np.ndarray, Pullback]:
        """The feature row ``(D,)`` and its pullback; no ``weights``, see `Descriptor`."""
        if weights is not None:
            raise DescriptorError(
                "kind julip: Julia gives derivatives of whole structures only, so that no bias "
                "over a region of atoms is possible; use kind ace"
            )
        features = self._features(atoms, derivatives=True)
        return features.total, _Linearized(features)

    def vjp(self, atoms: Atoms, cotangent: np.ndarray) -> Gradient:
        """Gradient of ``cotangent . phi``: positions ``(n_atoms, 3)`` and strain ``(6,)``."""
        return self.linearize(atoms)[1](cotangent)

    def prior_std(self) -> np.ndarray:
        """``(D,)`` 1 over ACE1x's smoothness prior with p = 4."""
        return 1.0 / self._penalty

    def acefit(self, rows: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Coefficients ``(D,)`` by ACEfit's Bayesian linear regression with the smoothness prior.

        In place of `fit_surrogate`, say to compare the two evidences.

        Parameters
        ----------
        rows
            ``(n, D)`` rows over their noise, such as `Surrogate.rows` gives.
        targets
            ``(n,)`` observations less the reference energies, over the same noise.
        """
        return self._bridge.fit(rows, targets, self._penalty)

    def spec(self) -> dict[str, Any]:
        """Everything needed to build the same descriptor again, and the signs of its functions."""
        return {
            "kind": "julip",
            "convention": CONVENTION,
            "elements": list(self.elements),
            "order": self.order,
            "totaldegree": self.totaldegree,
            "cutoff": self.cutoff,
            "r0": [[*pair, length] for pair, length in sorted(self.r0.items())],
            "n_features": self.n_features,
            "signs": self._signs,
        }

    @classmethod
    def from_spec(
        cls, spec: Mapping[str, Any], n_features: int | None = None, bridge: Bridge | None = None
    ) -> JulipDescriptor:
        """The descriptor that `spec` describes.

        Parameters
        ----------
        spec
            As `spec` gave it.
        n_features
            All that it may have.
        bridge
            As of the class.

        Raises
        ------
        DescriptorError
            If this Julia gives the functions other signs than the one that wrote it, which comes
            from another version of it or its LAPACK: coefficients would mean something else.
        """
        if spec.get("convention") != CONVENTION:
            raise DescriptorError(
                f"convention: this version evaluates {CONVENTION!r}, the file was written with "
                f"{spec.get('convention')!r}"
            )
        if n_features is not None and spec["n_features"] != n_features:
            raise DescriptorError(f"n_features: {spec['n_features']} do not fit to {n_features}")
        r0: dict[tuple[str, ...], float] = {(a, b): length for a, b, length in spec["r0"]}
        settings = (spec["elements"], spec["order"], spec["totaldegree"], spec["cutoff"])
        descriptor = cls(*settings, r0, bridge)
        if descriptor._signs != spec["signs"]:
            raise DescriptorError(
                f"{descriptor}: Julia gives the functions other signs or another order than when "
                "the file was written; use the same versions of Julia and its packages, or fit "
                "again"
            )
        return descriptor

    def __repr__(self) -> str:
        return (
            f"JulipDescriptor(elements={list(self.elements)}, order={self.order}, "
            f"totaldegree={self.totaldegree}, cutoff={self.cutoff})"
        )

    @cached_property
    def _signs(self) -> str:
        """A hash of the functions' signs at a fixed cluster of all elements."""
        values = self._features(probe(self.elements, self.cutoff), False).values
        seen = np.abs(values) > 1e-9 * np.abs(values).max(axis=0)
        return hashlib.sha256(np.sign(values * seen).astype(np.int8).tobytes()).hexdigest()[:16]

    def _features(self, atoms: Atoms, derivatives: bool) -> Features:
        boxed = self._boxed(atoms)
        values = self._bridge.basis_values(self._basis, boxed)
        self._check(values, (len(atoms), self.n_features), "basis_values")
        if not derivatives:
            return Features(values)
        forces = self._bridge.basis_forces(self._basis, boxed)
        virial = self._bridge.basis_virial(self._basis, boxed)
        self._check(forces, (self.n_features, len(atoms), 3), "basis_forces")
        self._check(virial, (self.n_features, 3, 3), "basis_virial")
        return Features(values, -forces, -voigt6(virial))

    def _check(self, found: np.ndarray, shape: tuple[int, ...], what: str) -> None:
        if found.shape != shape:
            raise DescriptorError(
                f"Julia: {what}: gives the shape {found.shape} in place of {shape}"
            )

    def _boxed(self, atoms: Atoms) -> Atoms:
        unknown = set(atoms.symbols) - set(self.elements)
        if unknown:
            raise DescriptorError(
                f"element {min(unknown)!r} is not one of the descriptor's {list(self.elements)}"
            )
        return boxed(atoms, self.cutoff)


class _Linearized(LinearizedFeatures):
    """The pullback of a structure's feature row: its Jacobian is at hand."""

    def __init__(self, features: Features) -> None:
        self._features = features

    def __call__(self, cotangent: np.ndarray) -> Gradient:
        jacobian, strain = self._features.jacobian, self._features.strain
        assert jacobian is not None
        assert strain is not None
        cotangent = np.asarray(cotangent, float)
        if cotangent.shape != (len(strain),):
            raise DescriptorError(
                f"cotangent: expected shape {(len(strain),)}, got {cotangent.shape}"
            )
        return Gradient(np.tensordot(cotangent, jacobian, 1), cotangent @ strain)

    def features(self) -> Features:
        """Features with derivatives from the same evaluation."""
        return self._features


def boxed(atoms: Atoms, cutoff: float) -> Atoms:
    """The same atoms in a cell that is not singular, as NeighbourLists.jl wants it.

    Along directions that are not periodic the cell reaches ``cutoff`` (A) beyond the atoms.

    Raises
    ------
    DescriptorError
        For positions or cells that are not finite.
    """
    if not np.isfinite(atoms.positions).all() or not np.isfinite(atoms.cell.array).all():
        raise DescriptorError("positions or cell: not finite (NaN or infinite)")
    bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    open_axes = tuple(np.flatnonzero(~bare.pbc).tolist())
    if open_axes:
        bare.center(vacuum=cutoff, axis=open_axes)
    return bare


def probe(elements: Sequence[str], cutoff: float) -> Atoms:
    """A cluster without symmetry, of some atoms of each element within ``cutoff`` (A)."""
    count = 3 * len(elements) + 2
    k = np.arange(count)
    directions = np.stack([np.cos(2.4 * k), np.sin(2.4 * k), 1.7 * k / count - 0.8], axis=1)
    symbols = [elements[number % len(elements)] for number in range(count)]
    return Atoms(symbols, 0.22 * cutoff * (1.0 + 0.5 * np.sin(k + 1.0))[:, None] * directions)
