"""Labels of structures: keys in files, targets of a fit. What a label is, is decided here alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.stress import voigt_6_to_full_3x3_stress

from ..errors import StructureError

PROPERTIES = ("energy", "forces", "virial")
REF_ENERGY, REF_FORCES, REF_VIRIAL, REF_STRESS = (
    f"REF_{name}" for name in ("energy", "forces", "virial", "stress")
)
"""Keys of labels in files that this package writes: eV, eV/A, eV, eV/A^3."""
OWN_PREFIX = "bayesel_"
"""Of keys under which this package writes what is no label."""
WHOLE = f"{OWN_PREFIX}whole"
"""Array of a cut-out (`environments`): true for atoms whose surroundings are those of the structure
that it was cut out of. Only their forces are labels, and nothing else of it is."""
NO_LABEL = ("weight", "std", "error", "variance", "cutoff", "kinetic", "unit", "kin_")
"""Parts of the names of numbers that belong to a label, or to a calculation, but are none."""
ASYMMETRY = 0.1
"""Largest difference of mirrored components of a virial, over its largest component."""
MOST_EV, MOST_EV_A = 1e7, 1e6
"""Energies and virials per atom, and components of forces, beyond which no calculation ends: all
electrons of the heaviest atom are bound by 1.5e6 eV."""


@dataclass(frozen=True)
class PropertyKeys:
    """Where labels are found: ``atoms.info`` for energy and virial, ``atoms.arrays`` for forces.

    Energies in eV (force-consistent), forces in eV/A, the virial (-volume times
    stress) in eV as a symmetric 3x3 tensor. A ``virial`` key with the word stress in it
    (`is_stress`) is that of a stress in eV/A^3, and is taken times -volume. None means that the
    property is not used. Where ``info`` or ``arrays`` lack a key, the results of an attached
    calculator serve.
    """

    energy: str | None = "energy"
    forces: str | None = "forces"
    virial: str | None = None

    def __str__(self) -> str:
        return ", ".join(repr(key) for key in vars(self).values() if key is not None)


OWN_KEYS = PropertyKeys(REF_ENERGY, REF_FORCES)
"""Of energies and forces in files that this package writes."""


@dataclass(frozen=True)
class FitTargets:
    """Labels of one structure; None where it has none.

    ``energy`` eV, ``forces (n_atoms, 3)`` eV/A, ``virial (6,)`` eV in ASE's Voigt order. Of a
    cut-out (`WHOLE`) there are no others than ``forces (n_whole, 3)``, those of its whole atoms.
    """

    energy: float | None = None
    forces: np.ndarray | None = None
    virial: np.ndarray | None = None

    @property
    def properties(self) -> tuple[str, ...]:
        """Names of the labels that are there."""
        return tuple(name for name in PROPERTIES if getattr(self, name) is not None)


def is_stress(key: str | None) -> bool:
    """Whether a key names a stress (eV/A^3), not a virial (eV)."""
    return key is not None and "stress" in key.lower() and "virial" not in key.lower()


def whole_atoms(atoms: Atoms, where: str = "structure") -> np.ndarray | None:
    """``(n_atoms,)`` booleans, which atoms of a cut-out are whole (`WHOLE`); None of others.

    Raises
    ------
    StructureError
        Which begins with ``where``, for what is no mask of its atoms, or where none is whole.
    """
    raw = atoms.arrays.get(WHOLE)
    if raw is None:
        return None
    if shape_of(raw) != (len(atoms),) or not np.isin(raw, (0, 1)).all():
        raise StructureError(f"{where}: {WHOLE!r} must be true or false (T, F) for each atom")
    whole = np.asarray(raw, bool)
    if not whole.any():
        raise StructureError(f"{where}: no atom is {WHOLE!r}, so that nothing of it is a label")
    return whole


def of_whole_atoms(atoms: Atoms, values: np.ndarray) -> np.ndarray:
    """Of ``values (n_atoms, ...)``, forces say, those that labels tell of: of a cut-out the ones of
    whole atoms."""
    whole = whole_atoms(atoms)
    return values if whole is None else values[whole]


def targets(atoms: Atoms, keys: PropertyKeys, where: str = "structure") -> FitTargets:
    """The labels that a structure carries under ``keys``; missing ones are None.

    A virial is there only with three periodic directions: what a file says of a molecule or a
    slab, zeros for the most part, belongs to no volume. Of a cut-out only the forces of its whole
    atoms are there.

    Raises
    ------
    StructureError
        Which begins with ``where``: for a label that is not numeric, finite and of its shape, one
        beyond all that is possible (`absurd`), a virial that is not symmetric, or where an energy
        or forces are missing and stand under a key that is not used, as if it were misspelt.
    """
    energy = forces = virial = None
    whole = whole_atoms(atoms, where)
    if whole is not None:
        keys = PropertyKeys(None, keys.forces)
    if keys.energy is not None:
        raw = raw_label(atoms, keys.energy, "energy")
        if raw is not None:
            raw = raw[0] if shape_of(raw) == (1,) else raw
            energy = float(_checked(raw, (), where, keys.energy))
    if keys.forces is not None:
        raw = raw_label(atoms, keys.forces, "forces")
        if raw is not None:
            forces = _checked(raw, (len(atoms), 3), where, keys.forces, whole)
    if keys.virial is not None and atoms.pbc.all():
        raw = raw_label(atoms, keys.virial, "virial")
        if raw is not None:
            tensor = _tensor(atoms, raw, where, keys.virial)
            virial = tensor[(0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1)]
    found = FitTargets(energy, forces, virial)
    for prop in found.properties:
        if told := absurd(prop, getattr(found, prop), len(atoms)):
            raise StructureError(f"{where}: {getattr(keys, prop)!r} is {told}; remove or mend it")
    for prop, key, value in (("energy", keys.energy, energy), ("forces", keys.forces, forces)):
        if key is not None and value is None and (others := lookalikes(atoms, prop)):
            raise StructureError(
                f"{where}: has no {key!r}, but {', '.join(map(repr, others))}; if that is the "
                f"label, name it by {prop}_key (option --{prop}-key) or rename it; remove it if "
                "the structure is to be without one"
            )
    return found


def keys_in(
    frames: Sequence[Atoms], keys: PropertyKeys | None, where: str
) -> tuple[PropertyKeys, list[str]]:
    """Where labels of a file are looked for, and, where nobody said so, a note that tells it.

    Parameters
    ----------
    frames
        The structures of the file.
    keys
        Those that are asked for; None for the keys of ASE, or `OWN_KEYS`, those of files that
        this package writes, where no structure has an energy under the first and all have one
        under the second.
    where
        Name of the file.
    """
    if keys is not None:
        return keys, []
    usual, own = PropertyKeys(), OWN_KEYS
    has = [
        [raw_label(atoms, str(key.energy), "energy") is not None for atoms in frames]
        for key in (usual, own)
    ]
    if frames and all(has[1]) and not any(has[0]):
        return own, [f"{where}: labels are taken from {own.energy!r} and {own.forces!r}"]
    return usual, []


def absurd(prop: str, values: float | np.ndarray, n_atoms: int) -> str:
    """What is beyond all that is possible (`MOST_EV`, `MOST_EV_A`) in a label, in words; empty
    where nothing is.

    Parameters
    ----------
    prop
        ``"energy"``, ``"virial"`` (both eV) or ``"forces"`` (eV/A).
    values
        The numbers.
    n_atoms
        Of the structure.
    """
    most, unit, each = (MOST_EV_A, "eV/A", 1) if prop == "forces" else (MOST_EV, "eV/atom", n_atoms)
    size = float(np.max(np.abs(values))) / each
    return f"{size:.3g} {unit}, more than any calculation gives ({most:.0e})" if size > most else ""


def raw_label(atoms: Atoms, key: str, prop: str) -> Any:
    """What a structure carries under the key of a property, unchecked; None for nothing."""
    own = atoms.arrays if prop == "forces" else atoms.info
    return own.get(key, _results(atoms).get(key))


def lookalikes(atoms: Atoms, prop: str) -> list[str]:
    """Keys of a structure under which a property, energy or forces, seems to stand, sorted."""
    results = _results(atoms)
    if prop == "energy":
        found = {**results, **atoms.info}
        return sorted(k for k, v in found.items() if _is_named(k, "energy") and _is_number(v))
    if prop != "forces":
        return []
    return sorted(
        key
        for key, value in {**results, **atoms.arrays}.items()
        if (_is_named(key, "force") or str(key).lower().startswith("f_"))
        and np.shape(value) == (len(atoms), 3)
    )


def force_consistent(atoms: Atoms, keys: PropertyKeys) -> float | None:
    """How far the energy of an attached calculator lies from the one that its forces derive from.

    In eV, where ``keys`` name the first (with smearing: extrapolated to zero width) and both are
    there; else None.
    """
    results = _results(atoms)
    both = _is_number(results.get("energy")) and _is_number(results.get("free_energy"))
    if keys.energy != "energy" or "energy" in atoms.info or not both:
        return None
    return float(results["energy"] - results["free_energy"])


def shape_of(value: Any) -> tuple[int, ...] | None:
    """The shape of a value; None of lists of unequal lengths, which have none."""
    try:
        return np.shape(value)
    except ValueError:
        return None


def _results(atoms: Atoms) -> Mapping[str, Any]:
    return {} if atoms.calc is None else atoms.calc.results


def _is_named(key: Any, word: str) -> bool:
    name = str(key).lower()
    return word in name and not name.startswith(OWN_PREFIX) and not any(p in name for p in NO_LABEL)


def _is_number(value: Any) -> bool:
    number = isinstance(value, int | float | np.integer | np.floating)
    return number and not isinstance(value, bool) and bool(np.isfinite(value))


def _tensor(atoms: Atoms, raw: Any, where: str, key: str) -> np.ndarray:
    """A virial ``(3, 3)``, eV, of what stands under its key."""
    if shape_of(raw) == (6,) and key not in atoms.info and key == "stress":
        raw = voigt_6_to_full_3x3_stress(raw)  # in the order of ASE's calculators
    if shape_of(raw) == (6,):
        raise StructureError(
            f"{where}: {key!r} has six numbers, whose order programs do not agree on; "
            "give the nine of the tensor"
        )
    flat = np.reshape(raw, -1) if shape_of(raw) == (3, 3) else raw
    tensor = _checked(flat, (9,), where, key).reshape(3, 3)
    if np.abs(tensor - tensor.T).max() > ASYMMETRY * np.abs(tensor).max():
        raise StructureError(f"{where}: {key!r} is not symmetric; is it a virial or a stress?")
    tensor = (tensor + tensor.T) / 2
    return -atoms.get_volume() * tensor if is_stress(key) else tensor


def _checked(
    raw: Any, shape: tuple[int, ...], where: str, key: str, kept: np.ndarray | None = None
) -> np.ndarray:
    """Numbers of a shape, all finite: those that are ``kept``, where that is given."""
    try:
        if np.asarray(raw).dtype.kind in "bc":
            raise TypeError("real numbers are expected")
        value = np.asarray(raw, float)
    except (TypeError, ValueError) as error:
        raise StructureError(f"{where}: {key!r} is not numeric ({error})") from error
    if value.shape != shape:
        raise StructureError(f"{where}: {key!r} has shape {value.shape}, expected {shape}")
    value = value if kept is None else value[kept]
    if not np.isfinite(value).all():
        raise StructureError(f"{where}: {key!r} is not finite")
    return value
