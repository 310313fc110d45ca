"""What a wrong label probably is: the units, signs and shifts that would make it right."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from ase import units

from ..structures.labels import FitTargets
from ..structures.reference_energies import energies_per_element
from ..surrogate.expectation import Expectation

KCAL, KJ = units.kcal / units.mol, units.kJ / units.mol
KBAR = 0.1 * units.GPa
ENERGY_FACTORS = {
    "the energy is in Hartree": units.Hartree,
    "the energy is in Rydberg": units.Rydberg,
    "the energy is in kcal/mol": KCAL,
    "the energy is in kJ/mol": KJ,
}
FORCE_FACTORS = {
    "the forces have the wrong sign": -1.0,
    "the forces are in Hartree/Bohr": units.Hartree / units.Bohr,
    "the forces are in Rydberg/Bohr": units.Rydberg / units.Bohr,
    "the forces are in kcal/mol/A": KCAL,
    "the forces are in kJ/mol/A": KJ,
    "the forces are half of what they should be, or in eV/Bohr": 2.0,
    "the forces are twice what they should be": 0.5,
}
STRESS_FACTORS = {
    "the stress has the wrong sign": -1.0,
    "the stress is in GPa": units.GPa,
    "the stress is in GPa, with the wrong sign": -units.GPa,
    "the stress is in kbar": KBAR,
    "the stress is in kbar, with the wrong sign": -KBAR,
}
ENERGY_OFF = "the energy is off by"
NO_FORCES = (
    "the forces fit by no unit or sign: those of another structure, in another order of the atoms, "
    "of a failed electronic state, or right ones of a kind that the model knows too little of"
)
CLEARLY = 0.5
"""A change explains a label that surprises less than this share of what no label at all would."""
ALIKE = 0.05
"""Energies that shifts per element explain have errors no larger than this share of them."""

Fits = Callable[[FitTargets, str], bool]
"""Whether a property of a label may be right, the properties before it being as they are."""


def likely_cause(
    labels: FitTargets, expected: Expectation, volume: float, fits: Fits, usual: Fits
) -> str:
    """The change that makes a label fit, property by property; else what that looks like.

    Parameters
    ----------
    labels, expected
        A label that does not fit, and what was expected.
    volume
        Of the structure, A^3; zero without three periodic directions.
    fits, usual
        Whether labels may be right; and whether they are as most of the right ones.
    """
    causes = []
    for prop in expected.predicted:
        if fits(labels, prop):
            continue
        if prop == "forces" and not np.any(labels.forces):
            return "the forces are missing: all are zero"
        changes = _changes(labels, prop, expected, volume)
        sizes = {name: expected.surprise(new).sizes[prop] for name, new in changes.items()}
        most = CLEARLY * expected.surprise(_without(labels, prop, expected)).sizes[prop]
        right = [name for name in sizes if sizes[name] < most and usual(changes[name], prop)]
        if right:
            best = min(right, key=sizes.__getitem__)
            labels = changes[best]
            causes.append(best)
        elif prop == "energy" and not causes:
            return f"{ENERGY_OFF} {expected.surprise(labels).energy_eV:+.3g} eV"
        elif prop == "energy" and causes[-1] == NO_FORCES:
            return "a failed electronic state, or the label of another structure"
        else:
            causes.append(NO_FORCES if prop == "forces" else f"the {prop} fits by no unit or sign")
    return "; ".join(causes)


def _without(labels: FitTargets, prop: str, expected: Expectation) -> FitTargets:
    """The label with nothing of a property but reference energies, which too small a unit means."""
    if prop == "energy":
        return replace(labels, energy=expected.baseline)
    return replace(labels, **{prop: 0.0 * getattr(labels, prop)})


def per_element(
    errors_eV: Sequence[float], counts: Sequence[Mapping[str, int]]
) -> dict[str, float] | None:
    """Shifts of the reference energies, eV, that explain the errors of several energies.

    Parameters
    ----------
    errors_eV
        Label less what was expected, of each structure.
    counts
        Numbers of its atoms by element.

    Returns
    -------
    By element; None where they explain no more than chance does.
    """
    shifts, rank = energies_per_element(counts, errors_eV)
    if len(errors_eV) <= rank:
        return None
    left = [
        error - sum(shifts[symbol] * n for symbol, n in count.items())
        for error, count in zip(errors_eV, counts, strict=True)
    ]
    return None if np.abs(left).max() > ALIKE * np.abs(errors_eV).max() else shifts


def _changes(
    labels: FitTargets, prop: str, expected: Expectation, volume: float
) -> dict[str, FitTargets]:
    """The label with each change of a property that would undo a known mistake."""
    if prop == "forces":
        assert labels.forces is not None
        return {n: replace(labels, forces=f * labels.forces) for n, f in FORCE_FACTORS.items()}
    if prop == "virial":
        virial = labels.virial
        assert virial is not None
        changes = {n: replace(labels, virial=virial * f) for n, f in STRESS_FACTORS.items()}
        for name, factor in {"eV/A^3": 1.0, "GPa": units.GPa, "kbar": KBAR}.items():
            told = f"the virial is a stress, in {name}"
            changes[told] = replace(labels, virial=-volume * factor * virial)
            changes[f"{told}, with the wrong sign"] = replace(
                labels, virial=volume * factor * virial
            )
        return changes
    energy = labels.energy
    assert energy is not None
    changes = {n: replace(labels, energy=f * energy) for n, f in ENERGY_FACTORS.items()}
    changes["the energy is that of one atom"] = replace(labels, energy=expected.n_atoms * energy)
    if expected.baseline:
        added = replace(labels, energy=energy + expected.baseline)
        changes["the reference energies (E0) are taken off already"] = added
    return changes
