"""Potentials that ACEpotentials v0.6 has fitted, as ASE calculators."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ase import Atoms

from ...errors import DescriptorError
from ...structures.calculators import PotentialCalculator
from ..base import voigt6
from .bridge import Bridge, live_bridge
from .descriptor import boxed

BOX_A = 15.0
"""Free space around atoms along directions that are not periodic; more than any cutoff."""


class JulipCalculator(PotentialCalculator):
    """ASE calculator of a JSON model of ACEpotentials, ACE1pack or JuLIP.

    Parameters
    ----------
    model
        The file, as ``save_potential`` or ``export2json`` wrote it.
    bridge
        As of `JulipDescriptor`.

    Raises
    ------
    DescriptorError
        If the file is missing or Julia cannot read it.
    """

    def __init__(self, model: str | Path, bridge: Bridge | None = None) -> None:
        super().__init__()
        if not Path(model).is_file():
            raise DescriptorError(f"{model}: no such file")
        self._bridge: Bridge = live_bridge() if bridge is None else bridge
        self._model = self._bridge.load_model(str(model))

    def evaluate(self, atoms: Atoms) -> tuple[float, np.ndarray, np.ndarray]:
        """Of the model; see `PotentialCalculator.evaluate`."""
        energy, forces, virial = self._bridge.evaluate(self._model, boxed(atoms, BOX_A))
        return energy, forces, -voigt6(virial)
