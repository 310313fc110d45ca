"""A fit with what tells how large its errors are: scales, and the environments that it knows."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace

from ase import Atoms

from ..descriptors.base import as_frames
from ..structures.labels import PropertyKeys
from .held_out import MOST, leaving_out
from .scales import Scales
from .steps import finished
from .support import Support
from .surrogate import Surrogate


def calibrated(
    surrogate: Surrogate,
    frames: Sequence[Atoms],
    energy_key: str | None = "energy",
    forces_key: str | None = "forces",
    virial_key: str | None = None,
) -> Surrogate:
    """The surrogate with `Surrogate.scales` and `Surrogate.support`, from its own training set.

    Each structure is left out in turn, in closed form; see docs/calibration.md.

    Parameters
    ----------
    surrogate
        Of `fit_surrogate`.
    frames
        What it was fitted to.
    energy_key, forces_key, virial_key
        As in the fit.
    """
    keys = PropertyKeys(energy_key, forces_key, virial_key)
    return finished(calibrating(surrogate, as_frames(frames), keys))


def calibrating(
    surrogate: Surrogate,
    frames: Sequence[Atoms],
    keys: PropertyKeys,
    force_projections: int | None = None,
) -> Generator[int, None, Surrogate]:
    """`calibrated` step by step: yields how many structures are left out.

    Parameters
    ----------
    surrogate, frames, keys, force_projections
        As in `leaving_out`.
    """
    found = yield from leaving_out(frames, surrogate, keys, force_projections)
    step = max(1, -(-len(frames) // MOST))
    known = Support.of(frames[::step], surrogate.descriptor)
    return replace(surrogate, scales=Scales.of(found), support=known)
