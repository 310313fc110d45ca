"""Charge and spin multiplicity of a structure, as frames carry them: decided here alone.

``atoms.info["charge"]`` is the total charge, e, and ``atoms.info["spin"]`` the multiplicity 2S+1,
the keys that MACE, ORB and UMA read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms

from ..errors import StructureError

CHARGE, SPIN = "charge", "spin"


class ElectronicState(NamedTuple):
    """Total charge, e, and multiplicity 2S+1; the usual ones where a frame says nothing."""

    charge: int = 0
    spin: int = 1

    @property
    def own(self) -> dict[str, int]:
        """What is not the usual, by its key in ``atoms.info``."""
        usual = {CHARGE: 0, SPIN: 1}
        return {key: value for key, value in self._asdict().items() if value != usual[key]}

    def __str__(self) -> str:
        return f"charge {self.charge:+d}, multiplicity {self.spin}"


USUAL = ElectronicState()


def electronic_state(atoms: Atoms, where: str = "structure") -> ElectronicState:
    """The state that a structure asks for; charge 0 and multiplicity 0 or 1 are as none given.

    Raises
    ------
    StructureError
        Which begins with ``where``, if it is no state of these atoms: whole numbers, a charge that
        takes or brings no more electrons than the neutral atoms have, no more unpaired electrons
        than there are.
    """
    if CHARGE not in atoms.info and SPIN not in atoms.info:
        return USUAL
    neutral = int(atoms.numbers.sum())
    charge = _whole(atoms.info.get(CHARGE, 0), CHARGE, where)
    spin = _whole(atoms.info.get(SPIN, 1), SPIN, where)
    if abs(charge) > neutral:
        raise StructureError(
            f"{where}: {CHARGE!r} is {charge}, and the neutral atoms have {neutral} electrons; it "
            "is the total charge in e"
        )
    if not 0 <= spin <= neutral - charge + 1:
        raise StructureError(
            f"{where}: {SPIN!r} is {spin}, no multiplicity 2S+1 of {neutral - charge} electrons"
        )
    return ElectronicState(charge, spin or 1)


def _whole(value: Any, key: str, where: str) -> int:
    value = value.item() if isinstance(value, np.generic) else value
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not np.isfinite(value) or value != int(value):
        meant = "the total charge in e" if key == CHARGE else "the multiplicity 2S+1"
        raise StructureError(
            f"{where}: {key!r} is {value!r}, and has to be {meant}, a whole number; mend it, or "
            "rename the key if it stands for something else"
        )
    return int(value)


def different_states(
    frames: Sequence[Atoms], told: Sequence[str] = (CHARGE, SPIN)
) -> tuple[int, int] | None:
    """Numbers of the first two structures that differ in a charge or multiplicity; None if none do.

    Neutral single atoms do not count for their multiplicity: their energies are references.

    Parameters
    ----------
    frames
        The structures.
    told
        Which of `CHARGE` and `SPIN` count.
    """
    first: dict[str, tuple[int, int]] = {}
    for number, atoms in enumerate(frames):
        state = electronic_state(atoms, f"frame {number}")
        if len(atoms) == 1 and state.charge == 0:
            continue
        for key in told:
            value = getattr(state, key)
            before, known = first.setdefault(key, (number, value))
            if known != value:
                return before, number
    return None
