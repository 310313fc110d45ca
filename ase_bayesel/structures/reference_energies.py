"""Reference energies of the elements, E0s."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from ..errors import StructureError
from .labels import PropertyKeys, targets


def reference_energies(
    frames: Sequence[Atoms], e0s: Mapping[str, float] | str, energy_key: str | None
) -> dict[str, float]:
    """Energy E0 of each element's isolated atom, eV.

    Parameters
    ----------
    frames
        The training structures.
    e0s
        A mapping from symbol to energy; ``"isolated"`` to read single-atom
        structures among the frames; or ``"average"`` for a least-squares fit of
        the total energies to the composition.
    energy_key
        Key of the energies in ``atoms.info``.
    """
    compositions = [Counter(atoms.symbols) for atoms in frames]
    elements = sorted(set().union(*compositions))
    if isinstance(e0s, str):
        if e0s not in ("isolated", "average"):
            raise StructureError(f"e0s: expected a mapping, 'isolated' or 'average', got {e0s!r}")
        energies = [
            targets(atoms, PropertyKeys(energy_key, None), f"training frame {k}").energy
            for k, atoms in enumerate(frames)
        ]
        pairs = zip(compositions, energies, strict=True)
        labelled = [(counts, energy) for counts, energy in pairs if energy is not None]
        if not labelled:
            raise StructureError(
                f"e0s: no structure carries an energy under the key {energy_key!r}; check the key"
            )
        if e0s == "isolated":
            energy_of = {next(iter(c)): energy for c, energy in labelled if c.total() == 1}
        else:
            energy_of = _average_energies(labelled, elements)
    else:
        energy_of = {symbol: float(energy) for symbol, energy in e0s.items()}
    missing = [symbol for symbol in elements if symbol not in energy_of]
    if missing:
        hint = (
            "add a single-atom structure with its energy to the training set, or give e0s"
            if e0s == "isolated"
            else "add it to e0s"
        )
        raise StructureError(f"e0s: no reference energy for {', '.join(missing)}; {hint}")
    return energy_of


def _average_energies(
    labelled: Sequence[tuple[Counter[str], float]], elements: Sequence[str]
) -> dict[str, float]:
    counts = np.array([[composition[s] for s in elements] for composition, _ in labelled], float)
    solution, *_ = np.linalg.lstsq(counts, np.array([e for _, e in labelled]), rcond=None)
    return dict(zip(elements, solution.tolist(), strict=True))


def composition_energy(atoms: Atoms, e0s: Mapping[str, float]) -> float:
    """Sum of the reference energies of all atoms, eV."""
    counts = Counter(atoms.numbers.tolist())
    return float(sum(e0s[chemical_symbols[number]] * count for number, count in counts.items()))
