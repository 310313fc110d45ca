"""Whether a descriptor can tell the charges and multiplicities of its structures apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ase import Atoms

from ..errors import StructureError
from ..structures.electronic import CHARGE, SPIN, different_states, electronic_state
from .base import Descriptor, StateReader


def check_states(
    frames: Sequence[Atoms],
    descriptor: Descriptor,
    name: Callable[[int], str] = "training frame {}".format,
) -> None:
    """Refuse a training set of several charges or multiplicities for a descriptor that is blind.

    Parameters
    ----------
    frames
        The structures.
    descriptor
        A `StateReader`, or one that reads no state.
    name
        What an error calls a structure, by its number.

    Raises
    ------
    StructureError
        Naming two structures of different states.
    """
    read = descriptor.states_read if isinstance(descriptor, StateReader) else ()
    pair = different_states(frames, [key for key in (CHARGE, SPIN) if key not in read])
    if pair is not None:
        first, second = (f"{name(k)} has {electronic_state(frames[k])}" for k in pair)
        raise StructureError(
            f"{second}, {first}: {type(descriptor).__name__} cannot tell these apart; train on "
            "structures of one state, or take a model that reads info['charge'] and info['spin']"
        )
