"""The energy shift of a campaign's potential, round by round: given, or fitted to the training set.

A fitted one is kept in ``energy_shift.json`` of the round that brought its potential. Without any,
a constant per element that explains most errors of the energies is told in the round's report.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from pydantic import TypeAdapter

from ..errors import RefitError, ResultError, StoreError
from ..io.atomic import write_atomically
from ..structures.energy_shift import EnergyShift
from ..structures.labels import PropertyKeys, targets
from ..structures.mlip import mlip_results
from ..structures.reference_energies import is_isolated
from ..surrogate.energy_weights import force_growth
from .build.potentials import build_potential, given_shift
from .config.campaign import CampaignConfig
from .store import Store

FILE = "energy_shift.json"
SHIFT = TypeAdapter(EnergyShift)
MOST_ASKED = 50
"""So many structures, evenly spread, tell whether a shift is missing where none is fitted."""
LARGE_EV = 0.05
"""Energies that err by less, eV per atom, are not said to lack a shift ..."""
EXPLAINED = 0.2
"""... and those of which more than this share is left under the best one neither."""


class Difference(NamedTuple):
    """Of a structure: its atoms by element, label less prediction of its energy, eV, and its kind.

    That of an isolated atom counts only where its element is in no other structure: potentials
    made for bound atoms are often far off there.
    """

    composition: Mapping[str, int]
    energy: float
    isolated: bool = False

    @property
    def per_atom(self) -> float:
        """eV."""
        return self.energy / sum(self.composition.values())


def take_shift(
    config: CampaignConfig, store: Store, number: int, frames: Sequence[Atoms]
) -> Generator[int, None, None]:
    """Fit and keep the shift of the potential that a round has brought, unless that is done.

    Yields how many structures are done.

    Parameters
    ----------
    config, store, number
        The campaign and its round.
    frames
        The labelled training set. Labels with extreme forces, and structures on which the
        potential fails, do not count.

    Raises
    ------
    RefitError
        If no structure tells anything.
    """
    wanted = config.potential is not None and config.potential.energy_shift == "fitted"
    if not wanted or _path(store, number).exists():
        return
    if number and not _is_new(store, number):
        return
    potential = build_potential(config, store.potential_path(number), None)
    found = []
    for difference in differences(potential, frames, config.data.keys, config.labels.max_force):
        found += [] if difference is None else [difference]
        yield len(found)
    if not found:
        raise RefitError(
            "potential.energy_shift: cannot be fitted, since the potential fails on all training "
            "structures with an energy; give it by element"
        )
    write_atomically(_path(store, number), SHIFT.dump_json(fitted(telling(found))))


def read_shift(config: CampaignConfig, store: Store, number: int) -> EnergyShift | None:
    """The shift of the potential that a round ended with; None for none.

    One that was not fitted anew lies with the round that brought it.

    Raises
    ------
    StoreError
        If its file is damaged.
    """
    if config.potential is None or config.potential.energy_shift != "fitted":
        return given_shift(config)
    for k in range(number, -1, -1):
        path = _path(store, k)
        if path.exists():
            try:
                return SHIFT.validate_json(path.read_bytes())
            except (OSError, ValueError) as error:
                raise StoreError(f"{path}: is damaged ({error})") from error
    return None


def missing_shift(
    config: CampaignConfig, store: Store, number: int, frames: Sequence[Atoms]
) -> list[str]:
    """A line that says how far a constant per element explains large errors; empty where not.

    Asked of a potential without a shift, in the round that brought it.

    Parameters
    ----------
    config, store, number, frames
        As of `take_shift`.
    """
    potential = config.potential
    if potential is None or potential.energy_shift != "none":
        return []
    if number and not _is_new(store, number):
        return []
    asked = frames[:: max(1, -(-len(frames) // MOST_ASKED))]
    calculator = build_potential(config, store.potential_path(number), None)
    keys, limit = config.data.keys, config.labels.max_force
    found = [one for one in differences(calculator, asked, keys, limit) if one is not None]
    return told_missing(found)


def told_missing(found: Sequence[Difference]) -> list[str]:
    """The line of `missing_shift`, from the differences of structures."""
    if not found:
        return []
    found = telling(found)
    shift = fitted(found)
    left = [
        one._replace(energy=one.energy - sum(shift.energies[s] * n for s, n in one[0].items()))
        for one in found
    ]
    before, after = (float(np.sqrt(np.mean([d.per_atom**2 for d in ds]))) for ds in (found, left))
    if len(found) <= len(shift.energies) or before < LARGE_EV or after > EXPLAINED * before:
        return []
    told = ", ".join(f"{symbol} {energy:+.4g}" for symbol, energy in shift.energies.items())
    return [
        f"potential: its energies err by {1e3 * before:.4g} meV/atom on the training set, and by "
        f"{1e3 * after:.4g} but for a constant per element ({told} eV): another reference of "
        "energies; potential.energy_shift: fitted takes it off"
    ]


def telling(found: Sequence[Difference]) -> list[Difference]:
    """Without isolated atoms of elements that are in other structures too."""
    bound = set().union(*(one.composition for one in found if not one.isolated))
    return [one for one in found if not (one.isolated and bound >= one.composition.keys())]


def fitted(found: Sequence[Difference]) -> EnergyShift:
    """The shift that takes most of some differences away."""
    return EnergyShift.fitted([one.composition for one in found], [one.energy for one in found])


def differences(
    potential: Calculator,
    frames: Sequence[Atoms],
    keys: PropertyKeys,
    max_force: float | None = None,
) -> Iterator[Difference | None]:
    """Label less prediction of each structure; None for those that say nothing.

    Parameters
    ----------
    potential
        Without a shift.
    frames, keys
        Labelled structures, and where their labels are.
    max_force
        eV/A; labels beyond it (`force_growth`) say nothing.
    """
    for atoms in frames:
        labels = targets(atoms, keys, "training structure")
        usual = force_growth(labels.forces, max_force) == 1.0
        found = None
        if labels.energy is not None and usual:
            with suppress(ResultError):
                off = labels.energy - mlip_results(potential, atoms, False).energy
                if np.isfinite(off):
                    found = Difference(Counter(atoms.symbols), off, is_isolated(atoms))
        yield found


def _is_new(store: Store, number: int) -> bool:
    """Whether a round has trained the potential."""
    model = store.potential_path(number)
    return model is not None and model.parent == store.round_directory(number)


def _path(store: Store, number: int) -> Path:
    return store.round_directory(number) / FILE
