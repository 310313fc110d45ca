"""What the labels of a training set were taken for: counts, reference energies, units, doubts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms, units

from ..io.words import counted, rounded
from .identity import structure_id
from .labels import (
    PROPERTIES,
    WHOLE,
    FitTargets,
    PropertyKeys,
    force_consistent,
    is_stress,
    raw_label,
    targets,
)
from .reference_energies import E0, SAME_EV, composition_energy, is_isolated, reference_energies_of
from .repeats import repeats, same_energy

WEIGHTS = ("config_weight", "config_energy_weight", "config_forces_weight", "config_stress_weight")
MOST_NAMED = 8
"""So many frames are named in a line."""
HARTREE, BOHR_FORCE = units.Hartree, units.Hartree / units.Bohr
BINDING_EV = (0.35, 15.0)
"""What structures are usually bound by, eV/atom; in Hartree it would be less, in kcal/mol more."""
FORCE_EV_A = (0.02, 60.0)
"""Usual largest forces of frames."""
PRESSURE_GPA = 300.0
"""Usual pressures are below."""
SAME_LABEL_EV, SAME_LABEL_EV_A = 1e-3, 1e-2
"""Labels of one structure: energies per atom and forces that differ by more contradict."""
SMEARING_EV = 1e-4
"""Energies per atom of zero width and of the forces that differ by less are the same."""


@dataclass(frozen=True)
class LabelSurvey:
    """What a training set holds, frame by frame.

    Attributes
    ----------
    keys
        Under which labels were looked for.
    n_frames
        How many structures there are.
    counts
        Structures with a label, by property.
    e0s
        Reference energies and where they come from, by element.
    unlabelled, partial, apart, bare_virials
        Numbers of frames: without any label; with some of those that others have; isolated atoms
        whose energy is not their E0, which the fit leaves out; with a virial that is left aside,
        for want of three periodic directions.
    contradicting
        Pairs of frames that are one structure, with different labels.
    tested
        Frames of the test set that are structures of the training set.
    n_weighted
        Structures with a weight of their own.
    binding, max_forces, pressures
        Energies less the E0s, eV/atom; largest force of each frame, eV/A; GPa.
    smearing
        eV/atom, see `force_consistent`.
    same_energy
        eV, where all structures have this one.
    repeated
        Pairs of frames that are different structures, with one label.
    """

    keys: PropertyKeys
    n_frames: int
    counts: Mapping[str, int]
    e0s: Mapping[str, E0]
    unlabelled: Sequence[int] = ()
    partial: Sequence[int] = ()
    apart: Sequence[int] = ()
    bare_virials: Sequence[int] = ()
    contradicting: Sequence[tuple[int, int]] = ()
    tested: Sequence[int] = ()
    n_weighted: int = 0
    binding: np.ndarray = field(default_factory=lambda: np.empty(0))
    max_forces: np.ndarray = field(default_factory=lambda: np.empty(0))
    pressures: np.ndarray = field(default_factory=lambda: np.empty(0))
    smearing: np.ndarray = field(default_factory=lambda: np.empty(0))
    same_energy: float | None = None
    repeated: Sequence[tuple[int, int]] = ()

    def lines(self) -> list[str]:
        """What was decided, in words."""
        named = []
        for prop in PROPERTIES:
            key = getattr(self.keys, prop)
            if key is not None:
                how = ", a stress, taken times -volume" if is_stress(key) else ""
                unit = "eV/A" if prop == "forces" else "eV/A^3" if is_stress(key) else "eV"
                named.append(f"{prop} {self.counts[prop]} ({key}, {unit}{how})")
        told = [f"labels of {counted(self.n_frames, 'structure')}: {'; '.join(named)}"]
        told += [f"E0 of {s}: {e0.energy:.6g} eV, {e0.source}" for s, e0 in self.e0s.items()]
        scales = (
            ("energy over E0s {} eV/atom", self.binding),
            ("largest force of a structure {} eV/A", self.max_forces),
            ("pressure {} GPa", self.pressures),
        )
        ranges = [text.format(_range(values)) for text, values in scales if len(values)]
        told += ["; ".join(ranges)] if ranges else []
        if self.n_weighted:
            owners = counted(self.n_weighted, "structure has", "structures have")
            told.append(f"{owners} weights of their own")
        return told

    def notes(self) -> list[str]:
        """What may be wrong, and what is left aside, in words."""
        told = []
        if self.unlabelled:
            told.append(
                f"{counted(len(self.unlabelled), 'structure has', 'structures have')} no label, "
                f"for the covariance alone: {_frames(self.unlabelled)}"
            )
        if self.partial:
            told.append(
                f"{counted(len(self.partial), 'structure lacks', 'structures lack')} labels that "
                "others have: "
                f"{_frames(self.partial)}"
            )
        if self.bare_virials:
            told.append(
                "virials of structures without three periodic directions are left aside: "
                f"{_frames(self.bare_virials)}"
            )
        if self.apart:
            told.append(
                "isolated atoms whose energies are not the E0s are left out of the fit: "
                f"{_frames(self.apart)}"
            )
        if self.contradicting:
            pairs = [f"{one} and {other}" for one, other in self.contradicting]
            told.append(
                f"{counted(len(pairs), 'structure is', 'structures are')} there twice with "
                f"different labels, of which one must be wrong: {_frames(pairs)}"
            )
        if self.tested:
            shared = counted(len(self.tested), "structure is", "structures are")
            told.append(
                f"{shared} both in the training set and in the test set, so that errors on the "
                f"test set say little: {_frames(self.tested)} of the test set"
            )
        if len(self.smearing):
            told.append(
                f"{counted(len(self.smearing), 'structure holds', 'structures hold')} a free "
                f"energy too, up to {1e3 * np.abs(self.smearing).max():.3g} meV/atom away: forces "
                "derive from it; "
                "consider the key free_energy"
            )
        if self.repeated:
            pairs = [f"{one} and {other}" for one, other in self.repeated]
            told.append(
                f"{counted(len(pairs), 'structure has', 'structures have')} energy and forces of "
                f"another one to the last digit, of which one must be wrong: {_frames(pairs)}"
            )
        if self.same_energy is not None:
            told.append(
                f"all {self.counts['energy']} energies are the same, {self.same_energy:.8g} eV: "
                "are they those of the structures?"
            )
        return [*told, *self._units()]

    def _units(self) -> list[str]:
        """Magnitudes that no usual structure has, and what they would be in other units."""
        told = []
        if len(self.binding):
            middle, (low, high) = float(np.median(self.binding)), BINDING_EV
            if middle > low:
                told.append(
                    f"structures lie {middle:.3g} eV/atom above their isolated atoms: are sign, "
                    "units and E0s those of the same calculations?"
                )
            elif abs(middle) < low:
                told.append(
                    f"structures are bound by {abs(middle):.3g} eV/atom: little, unless they are "
                    f"held by weak forces; in Hartree it would be {abs(middle) * HARTREE:.3g}"
                )
            elif abs(middle) > high:
                told.append(
                    f"structures are bound by {abs(middle):.3g} eV/atom: much; are the E0s of the "
                    "same calculations, and the energies in eV (a kcal/mol is 0.0434 eV)?"
                )
        if len(self.max_forces) > 1:
            middle, (low, high) = float(np.median(self.max_forces)), FORCE_EV_A
            if middle > high:
                told.append(
                    f"the largest forces are {middle:.3g} eV/A in the median: are they in eV/A?"
                )
            elif middle < low:
                told.append(
                    f"the largest forces are {middle:.3g} eV/A in the median: relaxed structures? "
                    f"In Hartree/Bohr it would be {middle * BOHR_FORCE:.3g} eV/A"
                )
        if len(self.pressures) and np.median(np.abs(self.pressures)) > PRESSURE_GPA:
            told.append(
                f"pressures are {np.median(np.abs(self.pressures)):.3g} GPa in the median: a "
                "stress must be in eV/A^3 (a GPa is 0.00624), a virial in eV"
            )
        return told


def survey_labels(
    frames: Sequence[Atoms],
    keys: PropertyKeys,
    e0s: Mapping[str, float] | str,
    where: str,
    test: Sequence[Atoms] = (),
) -> LabelSurvey:
    """Look over the labels of a training set.

    Parameters
    ----------
    frames
        The structures.
    keys, e0s
        As in `fit_surrogate`.
    where
        What an error begins with, before the number of the frame.
    test
        Structures that models are to be tested on.

    Raises
    ------
    StructureError
        As `targets` and `reference_energies_of`.
    """
    found = reference_energies_of(frames, e0s, keys.energy, f"{where},")
    energies = {symbol: e0.energy for symbol, e0 in found.items()}
    labelled: dict[int, tuple[str, ...]] = {}
    found_labels = []
    numbers: dict[str, list[int]] = {"apart": [], "bare_virials": []}
    scales: dict[str, list[float]] = {
        name: [] for name in ("binding", "max_forces", "pressures", "smearing")
    }
    n_weighted = 0
    seen: dict[str, tuple[int, FitTargets]] = {}
    contradicting = []
    for k, atoms in enumerate(frames):
        labels = targets(atoms, keys, f"{where}, frame {k}")
        found_labels.append(labels)
        first, before = seen.setdefault(structure_id(atoms), (k, labels))
        if _contradict(before, labels, len(atoms)):
            contradicting.append((first, k))
        labelled[k] = labels.properties
        n_weighted += any(atoms.info.get(name, 1.0) != 1.0 for name in WEIGHTS)
        if labels.energy is not None:
            above = labels.energy - composition_energy(atoms, energies)
            if not is_isolated(atoms):
                scales["binding"].append(above / len(atoms))
            elif abs(above) > SAME_EV:
                numbers["apart"].append(k)
        if labels.forces is not None and len(atoms) > 1:
            scales["max_forces"].append(float(np.linalg.norm(labels.forces, axis=1).max()))
        if labels.virial is not None:
            scales["pressures"].append(
                float(labels.virial[:3].mean() / atoms.get_volume() / units.GPa)
            )
        elif (
            keys.virial is not None
            and WHOLE not in atoms.arrays
            and raw_label(atoms, keys.virial, "virial") is not None
        ):
            numbers["bare_virials"].append(k)
        shift = force_consistent(atoms, keys)
        if shift is not None and abs(shift) > SMEARING_EV * len(atoms):
            scales["smearing"].append(shift / len(atoms))
    if e0s == "average":  # what is bound to averages says nothing
        scales["binding"] = []
    usual = set().union(*map(set, labelled.values()))
    return LabelSurvey(
        keys,
        len(labelled),
        {prop: sum(prop in props for props in labelled.values()) for prop in PROPERTIES},
        {symbol: found[symbol] for symbol in sorted(found)},
        [k for k, props in labelled.items() if not props],
        [k for k, props in labelled.items() if props and _lacks(frames[k], props, usual)],
        numbers["apart"],
        numbers["bare_virials"],
        contradicting,
        [k for k, atoms in enumerate(test) if structure_id(atoms) in seen],
        n_weighted,
        np.array(scales["binding"]),
        np.array(scales["max_forces"]),
        np.array(scales["pressures"]),
        np.array(scales["smearing"]),
        same_energy(frames, found_labels),
        [(first, k) for k, first in repeats(frames, found_labels).items()],
    )


def _lacks(atoms: Atoms, properties: Sequence[str], usual: set[str]) -> bool:
    """Whether a structure lacks a label that others have and it could have."""
    lacking = usual - set(properties)
    if WHOLE in atoms.arrays:
        lacking -= {"energy", "virial"}
    if not atoms.pbc.all():
        lacking.discard("virial")
    if is_isolated(atoms):
        lacking -= {"forces", "virial"}
    return bool(lacking)


def _contradict(one: FitTargets, other: FitTargets, n_atoms: int) -> bool:
    """Whether two labels of one structure differ."""
    apart = 0.0
    if one.energy is not None and other.energy is not None:
        apart = abs(one.energy - other.energy) / n_atoms / SAME_LABEL_EV
    if one.forces is not None and other.forces is not None:
        apart = max(apart, float(np.abs(one.forces - other.forces).max()) / SAME_LABEL_EV_A)
    return apart > 1.0


def _range(values: np.ndarray) -> str:
    low, high = rounded(values.min(), 3), rounded(values.max(), 3)
    return f"{low} to {high}" if len(values) > 1 else low


def _frames(numbers: Sequence[int | str]) -> str:
    told = ", ".join(map(str, numbers[:MOST_NAMED]))
    more = len(numbers) - MOST_NAMED
    return f"frames {told}" + (f" and {more} more" if more > 0 else "")
