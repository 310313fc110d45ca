"""What a reference engine gives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

REFERENCE_PROPERTIES = ("energy", "forces", "stress")
"""What an engine can compute; a fit has `structures.labels.PROPERTIES`."""


@dataclass(frozen=True)
class ReferenceResult:
    """What an engine computed.

    Attributes
    ----------
    energy
        eV; the one that the forces derive from (free energy with smearing). None only where
        a user has labelled without energies.
    forces
        ``(n_atoms, 3)``, eV/A, raw: no constraint applied. None if not asked for.
    stress
        ``(6,)``, eV/A^3, in ASE's Voigt order and sign. None if not asked for, or without
        three periodic directions.
    version
        Of the program, as it calls itself; empty where it does not say.
    """

    energy: float | None
    forces: np.ndarray | None = None
    stress: np.ndarray | None = None
    version: str = ""
