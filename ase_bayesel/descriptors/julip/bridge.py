"""What is asked of Julia: one small protocol, and juliacall behind it.

The Julia side is `bayesel_bridge.jl`, whose functions have the names of the protocol's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from ase import Atoms

from ...errors import DescriptorError
from ...io.failures import is_failure, reason_of

PROJECT = Path(__file__).parent / "Project.toml"
"""The versions of the Julia packages that this goes with."""
SOURCE = Path(__file__).parent / "bayesel_bridge.jl"
HOW_TO = "docs/how-to/ace_through_julia.md"


class ModelValues(NamedTuple):
    """What a potential gives: eV, eV/A ``(n_atoms, 3)``, and eV ``(3, 3)`` -dE/d(strain)."""

    energy: float
    forces: np.ndarray
    virial: np.ndarray


class Bridge(Protocol):
    """Bases and potentials of JuLIP; a basis and a model are whatever Julia makes of them.

    D is the length of a basis. Cells have their vectors in rows, and are not singular.
    """

    def make_basis(
        self,
        elements: Sequence[str],
        order: int,
        totaldegree: int,
        cutoff: float,
        r0: Mapping[tuple[str, ...], float],
    ) -> Any:
        """``ACE1x.ace_basis(elements, order, totaldegree, rcut, r0)``.

        Parameters
        ----------
        elements, order, totaldegree
            As of `JulipDescriptor`.
        cutoff
            Its ``rcut``, A.
        r0
            Length scales of pairs of elements, A; ACE1x's bond lengths where a pair is missing.
        """
        ...

    def penalty(self, basis: Any) -> np.ndarray:
        """``(D,)`` the diagonal of ``smoothness_prior(basis; p = 4)``."""
        ...

    def basis_values(self, basis: Any, atoms: Atoms) -> np.ndarray:
        """``(n_atoms, D)`` the basis at each atom."""
        ...

    def basis_forces(self, basis: Any, atoms: Atoms) -> np.ndarray:
        """``(D, n_atoms, 3)`` forces of each function, 1/A."""
        ...

    def basis_virial(self, basis: Any, atoms: Atoms) -> np.ndarray:
        """``(D, 3, 3)`` virial -dB/d(strain) of each function."""
        ...

    def load_model(self, path: str) -> Any:
        """A potential of a JSON file that ACEpotentials wrote."""
        ...

    def evaluate(self, model: Any, atoms: Atoms) -> ModelValues:
        """Energy, forces and virial of a potential."""
        ...

    def fit(self, rows: np.ndarray, targets: np.ndarray, penalty: np.ndarray) -> np.ndarray:
        """Coefficients ``(D,)`` by ACEfit's BLR of weighted rows ``(n, D)`` and their targets."""
        ...


class LiveBridge(Bridge):
    """Julia in this process, by juliacall."""

    def __init__(self) -> None:
        try:
            from juliacall import Main
        except ImportError as error:
            raise DescriptorError(
                f"Julia: juliacall is not installed (pip install 'ase_bayesel[julip]'; {HOW_TO})"
            ) from error
        self._julia = self._named("cannot load its packages", lambda: _loaded(Main))

    def make_basis(
        self,
        elements: Sequence[str],
        order: int,
        totaldegree: int,
        cutoff: float,
        r0: Mapping[tuple[str, ...], float],
    ) -> Any:
        # of Python's containers only strings and arrays become Julia's own by themselves
        pairs, lengths = ",".join("-".join(pair) for pair in r0), np.array([*r0.values()], float)
        return self._asked(
            "make_basis", ",".join(elements), order, totaldegree, cutoff, pairs, lengths
        )

    def penalty(self, basis: Any) -> np.ndarray:
        return _array(self._asked("penalty", basis))

    def basis_values(self, basis: Any, atoms: Atoms) -> np.ndarray:
        return _array(self._asked("basis_values", basis, *_numbers(atoms)))

    def basis_forces(self, basis: Any, atoms: Atoms) -> np.ndarray:
        return _array(self._asked("basis_forces", basis, *_numbers(atoms)))

    def basis_virial(self, basis: Any, atoms: Atoms) -> np.ndarray:
        return _array(self._asked("basis_virial", basis, *_numbers(atoms)))

    def load_model(self, path: str) -> Any:
        return self._asked("load_model", path)

    def evaluate(self, model: Any, atoms: Atoms) -> ModelValues:
        energy, forces, virial = self._asked("evaluate", model, *_numbers(atoms))
        return ModelValues(float(energy), _array(forces), _array(virial))

    def fit(self, rows: np.ndarray, targets: np.ndarray, penalty: np.ndarray) -> np.ndarray:
        return _array(self._asked("fit", rows, targets, penalty))

    def _asked(self, name: str, *arguments: Any) -> Any:
        return self._named(name, lambda: getattr(self._julia, name)(*arguments))

    @staticmethod
    def _named(what: str, call: Any) -> Any:
        """What a call gives; whatever Julia throws becomes an error that says where."""
        try:
            return call()
        except BaseException as error:
            if not is_failure(error):
                raise
            raise DescriptorError(f"Julia: {what}: {reason_of(error)} (see {HOW_TO})") from error


@cache
def live_bridge() -> LiveBridge:
    """Julia, started when it is first needed and then kept; `DescriptorError` where it cannot."""
    return LiveBridge()


def _loaded(main: Any) -> Any:
    main.include(str(SOURCE))
    return main.BayeselBridge


def _array(found: Any) -> np.ndarray:
    """A copy: Julia's own memory may be gone."""
    return np.array(found, dtype=float)


def _numbers(atoms: Atoms) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    return atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc
