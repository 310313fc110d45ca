"""A fit with what tells how large its errors are: scales, and the environments that it knows."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace

from ase import Atoms
from ase.calculators.calculator import Calculator

from ..descriptors.base import as_frames
from ..structures.labels import PropertyKeys
from .held_out import MOST, Chosen, leaving_out
from .row_store import RowStore
from .scales import Scales
from .steps import finished
from .support import Support
from .surrogate import Surrogate
from .training_rows import TrainingRows

FEWEST_UNSEEN = 3
"""With fewer structures that a network has not seen, its forces have the larger scale."""


def calibrated(
    surrogate: Surrogate,
    frames: Sequence[Atoms],
    energy_key: str | None = "energy",
    forces_key: str | None = "forces",
    virial_key: str | None = None,
    store: RowStore | None = None,
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
    store
        That of the fit, if it had one.
    """
    keys = PropertyKeys(energy_key, forces_key, virial_key)
    frames = as_frames(frames)
    rows = TrainingRows(frames, surrogate.descriptor, store=store)
    return finished(calibrating(surrogate, frames, keys, chosen=rows.chosen))


def calibrating(
    surrogate: Surrogate,
    frames: Sequence[Atoms],
    keys: PropertyKeys,
    force_projections: int | None = None,
    potential: Calculator | None = None,
    unseen: Sequence[int] = (),
    chosen: Chosen | None = None,
) -> Generator[int, None, Surrogate]:
    """`calibrated` step by step: yields how many structures are left out.

    Parameters
    ----------
    surrogate, frames, keys, force_projections
        As in `leaving_out`.
    potential
        A network that predicts in place of the mean: see `Scales.of_network` and `Support`.
    unseen
        Numbers of the frames that the network was not trained on.
    chosen
        As in `leaving_out`.
    """
    found = yield from leaving_out(frames, surrogate, keys, force_projections, chosen=chosen)
    scales, widens = Scales.of(found), False
    if potential is not None and len(unseen):
        groups = [[k] for k in unseen[:: -(-len(unseen) // MOST)]]
        steps = leaving_out(frames, surrogate, keys, force_projections, groups, potential, chosen)
        own = Scales.of(finished(steps))
        widens = own.forces.n_structures >= FEWEST_UNSEEN
        scales = scales.of_network(own)
        scales = scales if widens else scales.in_campaign
    known = Support.of([frames[k] for k in _telling(frames)], surrogate.descriptor)
    known = replace(known, network=potential is not None, widens=widens)
    return replace(surrogate, scales=scales, support=known)


def _telling(frames: Sequence[Atoms]) -> list[int]:
    """Numbers of `MOST` frames for each element, evenly spread over those that hold it."""
    holding: dict[str, list[int]] = {}
    for k, atoms in enumerate(frames):
        for symbol in sorted(set(atoms.symbols)):
            holding.setdefault(symbol, []).append(k)
    return sorted({k for own in holding.values() for k in own[:: -(-len(own) // MOST)]})
