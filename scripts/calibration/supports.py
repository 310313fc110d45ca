"""Other forms of the support, and the scale of clusters beside it: energies of kinds never seen.

The default takes (1 - reach / d) of the change of energy from the nearest known environment, d its
relative distance. Here this share is one of several, and the scale that of structures or clusters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from nshot.tables import markdown
from numpy.typing import ArrayLike

from ase_bayesel.surrogate.scales import HeldOut, Scale
from ase_bayesel.surrogate.support import SHARE
from ase_bayesel.surrogate.surrogate import Surrogate

from .curves import curve_fits, labelled
from .fit import KEYS, Fit
from .materials import SAME

Record = Mapping[str, Any]
SCALES = ("left out", "clusters")
CHOSEN_ON = ("alloy", "hydrocarbons")
"""A form is chosen on the kinds of these, and tried on those of the others."""


def _beyond(distances: np.ndarray, reach: np.ndarray) -> np.ndarray:
    shares = np.zeros_like(distances)
    outside = distances > reach
    shares[outside] = 1.0 - reach[outside] / distances[outside]
    return shares


def _ramp(distances: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """From nothing at the reach to all where the features have vanished."""
    return np.clip((distances - reach) / np.maximum(1.0 - reach, 1e-9), 0.0, 1.0)


FORMS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "none": lambda distances, reach: np.zeros_like(distances),
    "1 - r/d (the default)": _beyond,
    "(1 - r/d)^2": lambda distances, reach: _beyond(distances, reach) ** 2,
    "(1 - r/d)^4": lambda distances, reach: _beyond(distances, reach) ** 4,
    "(d - r)/(1 - r)": _ramp,
}
"""By relative distances and reaches ``(n_atoms,)``: the share that is extrapolated."""


@dataclass(frozen=True)
class Outside:
    """``(n_atoms,)`` each: relative distance to the nearest known environment, its reach, eV."""

    distances: np.ndarray
    reach: np.ndarray
    changes: np.ndarray

    @classmethod
    def of(cls, surrogate: Surrogate, atoms: Atoms, values: np.ndarray) -> Outside:
        """Of a structure, from its features ``(n_atoms, D)``; its elements are all known."""
        assert surrogate.support is not None
        scale = surrogate.descriptor.prior_std()
        features, mean = values * scale, surrogate.posterior.mean / scale
        result = cls(*np.zeros((3, len(atoms))))
        for known, own, distances, places in surrogate.support.nearest(atoms.numbers, features):
            result.distances[own], result.reach[own] = distances, known.reach
            result.changes[own] = (features[own] - known.features[places]) @ mean
        return result

    def extrapolated(self, form: str) -> float:
        """What of the energy is, eV."""
        return abs(float(FORMS[form](self.distances, self.reach) @ self.changes))


def support_record(fit: Fit, clusters: Scale) -> dict[str, dict[str, dict[str, float]]]:
    """Rms z of energies by kind, scale and form; ``clusters`` is the scale of that method."""
    scales = {"left out": fit.calibrated.scales.energy.value, "clusters": clusters.value}
    found = {}
    for kind, frames in fit.kinds.items():
        features = fit.features(frames)
        outside = [
            Outside.of(fit.calibrated, atoms, values)
            for atoms, values in zip(frames, features, strict=True)
        ]
        found[kind] = rms_z(fit.tested[kind]["energy"], outside, scales)
    return found


def rms_z(
    rows: HeldOut, outside: Sequence[Outside], scales: Mapping[str, float]
) -> dict[str, dict[str, float]]:
    """By scale and form, of the energies of as many structures."""
    added = {form: np.array([SHARE * one.extrapolated(form) for one in outside]) for form in FORMS}
    return {
        name: {
            form: _rms(rows.errors / np.hypot(scale * rows.deviations, extra))
            for form, extra in added.items()
        }
        for name, scale in scales.items()
    }


def along_curves(seed: int = 0) -> Iterator[Record]:
    """The largest error over deviation along each curve by form, with the scale of structures."""
    for system, surrogate, teacher, curves in curve_fits(seed):
        for curve in curves:
            worst = dict.fromkeys(FORMS, 0.0)
            for atoms in curve.structures():
                atoms = labelled(atoms, teacher())
                values = surrogate.descriptor.compute([atoms])[0].values
                own = Outside.of(surrogate, atoms, values)
                error = abs(surrogate.energy(atoms) - atoms.info[KEYS.energy])
                scaled = surrogate.scales.energy.value * surrogate.energy_std(atoms)
                for form in FORMS:
                    deviation = max(np.hypot(scaled, SHARE * own.extrapolated(form)), 1e-9)
                    worst[form] = max(worst[form], float(error / deviation))
            yield {"system": system, "curve": curve.name, "worst": worst}


def support_tables(records: Sequence[Record], good: tuple[float, float]) -> str:
    """Kinds within a range of rms z by scale and form, the curves, and the kinds beyond."""
    splits = [r for r in records if "z" in r]
    curves = [r for r in records if "worst" in r]
    kinds = sorted({(r["material"], kind) for r in splits for kind in r["z"] if kind != SAME})
    ways = [(scale, form) for scale in SCALES for form in FORMS]
    over_splits = {
        way: [
            _rms([r["z"][kind][way[0]][way[1]] for r in splits if r["material"] == m])
            for m, kind in kinds
        ]
        for way in ways
    }
    chosen_on = np.array([material in CHOSEN_ON for material, _ in kinds])
    lines = []
    for scale, form in ways:
        inside = np.array([good[0] <= z <= good[1] for z in over_splits[scale, form]])
        worst = max((r["worst"][form] for r in curves), default=np.nan)
        cells = [f"{inside[part].sum()} of {part.sum()}" for part in (chosen_on, ~chosen_on)]
        cells.append(f"{worst:.1f}" if scale == SCALES[0] else "")
        missed = (
            f"{' '.join(pair)} {z:.2g}"
            for pair, z, kept in zip(kinds, over_splits[scale, form], inside, strict=True)
            if not kept
        )
        lines.append([scale, form, *cells, "; ".join(missed)])
    header = ["scale", "share extrapolated", ", ".join(CHOSEN_ON), "the others", "curves", "missed"]
    counts = Counter(f"{r['material']} {r['degree']}" for r in splits)
    numbers = ", ".join(f"{name}: {count}" for name, count in sorted(counts.items()))
    told = (
        f"Energies of {len(splits)} splits (by degree: {numbers}): kinds whose rms z over all "
        f"splits lies between {good[0]} and {good[1]:g}, the largest error over deviation along "
        "the curves above, and the kinds missed. r is the reach of the training set and d the "
        "distance of an atom's environment from the nearest one in it "
        "([internals.md](internals.md)).\n\n"
    )
    return told + markdown(header, lines)


def _rms(values: ArrayLike) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
