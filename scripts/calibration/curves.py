"""Curves that leave the training set: volumes, a cleavage, an atom pulled off, bonds stretched.

Deviations vanish with the features where atoms come apart; what is extrapolated does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc100, molecule
from ase.calculators.calculator import Calculator
from matplotlib.figure import Figure
from nshot.tables import markdown
from nshot.teachers import bare, snapshots

from ase_bayesel import ACEDescriptor, calibrated, fit_surrogate
from ase_bayesel.surrogate.surrogate import Surrogate

from .fit import KEYS

Record = dict[str, Any]
POINTS = 25
LENGTH = "length over that at rest"


@dataclass(frozen=True)
class Curve:
    """Structures along one coordinate.

    Attributes
    ----------
    name, coordinate
        What is drawn, and what it is drawn against.
    ends
        Of the coordinate.
    make
        The structure at a value of it.
    """

    name: str
    coordinate: str
    ends: tuple[float, float]
    make: Callable[[float], Atoms]

    def structures(self) -> list[Atoms]:
        """At `POINTS` values."""
        return [self.make(float(x)) for x in np.linspace(*self.ends, POINTS)]


def curve_fits(
    seed: int,
) -> Iterator[tuple[str, Surrogate, Callable[[], Calculator], Sequence[Curve]]]:
    """Each system: its name, a calibrated fit, what makes its reference, and its curves."""
    for name, (teacher, train, descriptor, e0s, curves) in _systems(seed).items():
        frames = [labelled(atoms, teacher()) for atoms in train]
        surrogate = fit_surrogate(frames, descriptor, KEYS.energy, KEYS.forces, e0s=e0s)
        yield name, calibrated(surrogate, frames, KEYS.energy, KEYS.forces), teacher, curves


def curve_records(seed: int = 0) -> Iterator[Record]:
    """Errors and deviations along all curves, energies in eV per atom."""
    for name, surrogate, teacher, curves in curve_fits(seed):
        for curve in curves:
            yield {
                "system": name,
                "curve": curve.name,
                "coordinate": curve.coordinate,
                "points": [
                    _point(surrogate, curve, float(x), teacher())
                    for x in np.linspace(*curve.ends, POINTS)
                ],
            }


def _point(surrogate: Surrogate, curve: Curve, x: float, teacher: Calculator) -> list[float]:
    """Coordinate, error, raw deviation, with scale, and with what is extrapolated."""
    atoms = labelled(curve.make(x), teacher)
    raw, n = surrogate.uncertainty(atoms), len(atoms)
    error = surrogate.energy(atoms) - atoms.info[KEYS.energy]
    scaled = surrogate.scales.energy.value * raw.energy
    whole = np.hypot(scaled, raw.extrapolated)
    return [x, *(float(f"{value / n:.6g}") for value in (error, raw.energy, scaled, whole))]


def draw_curves(records: Sequence[Record], path: Path) -> None:
    """Error and deviations along each curve."""
    columns = 3
    rows = -(-len(records) // columns)
    figure = Figure(figsize=(3.6 * columns, 2.7 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel, record in zip(panels, records, strict=False):
        x, error, raw, scaled, whole = 1e3 * np.array(record["points"]).T
        panel.plot(x / 1e3, np.abs(error), "k.", ms=4, label="error")
        panel.plot(x / 1e3, raw, color="0.7", label="raw deviation")
        panel.plot(x / 1e3, scaled, "C0", label="with scale")
        panel.plot(x / 1e3, whole, "C3", label="with scale and support")
        panel.set(yscale="log", title=f"{record['system']}: {record['curve']}")
        panel.set(xlabel=record["coordinate"], ylabel="meV/atom")
        panel.set_ylim(max(1e-2, 0.3 * np.abs(error).min()))
    for panel in panels[len(records) :]:
        panel.set_axis_off()
    panels[0].legend(fontsize="x-small")
    figure.savefig(path, dpi=110)


def curve_table(records: Sequence[Record]) -> str:
    """The largest error over deviation along each curve."""
    lines = []
    for record in records:
        _, error, *deviations = np.array(record["points"]).T
        worst = [f"{np.max(np.abs(error) / np.maximum(d, 1e-12)):.3g}" for d in deviations]
        lines.append([record["system"], record["curve"], *worst])
    header = ["system", "curve", "raw", "with scale", "with scale and support"]
    return "Largest error over deviation along a curve:\n\n" + markdown(header, lines)


def labelled(atoms: Atoms, teacher: Calculator) -> Atoms:
    """A copy with the labels of a calculator."""
    frame = bare(atoms)
    frame.calc = teacher
    frame.info[KEYS.energy] = frame.get_potential_energy()
    frame.arrays[KEYS.forces] = frame.get_forces()
    frame.calc = None
    return frame


def _systems(seed: int) -> dict[str, tuple[Any, ...]]:
    """Reference, training structures, descriptor, reference energies and curves."""
    from ase.calculators.emt import EMT
    from tblite.ase import TBLite

    def xtb() -> Calculator:
        return TBLite(method="GFN2-xTB", verbosity=0)

    rng = np.random.default_rng(seed)
    copper = bulk("Cu", cubic=True) * (2, 2, 2)
    train = snapshots(copper, EMT(), 600.0, 4.0, rng, 15, 30, 50)
    for scale in (0.98, 1.02):
        train += snapshots(_scaled(copper, scale), EMT(), 300.0, 4.0, rng, 5, 30, 50)
    butane = molecule("trans-butane")
    molecules = snapshots(butane, xtb(), 300.0, 0.5, rng, 30, 60, 200)
    return {
        "copper": (
            EMT,
            train,
            ACEDescriptor("Cu", totaldegree=10, cutoff=5.0),
            {"Cu": 3.51},
            (
                Curve(
                    "volume", "length over that at rest", (0.8, 1.95), lambda x: _scaled(copper, x)
                ),
                Curve("cleavage", "gap, A", (0.0, 5.0), _cleaved),
                Curve("adatom pulled off", "height, A", (1.2, 5.5), _pulled),
            ),
        ),
        "butane": (
            xtb,
            molecules,
            ACEDescriptor(["C", "H"], totaldegree=9, cutoff=4.5),
            "average",
            (
                Curve(
                    "middle bond",
                    "length over that at rest",
                    (0.75, 2.8),
                    lambda x: _torn(butane, x),
                ),
                Curve(
                    "all lengths",
                    "length over that at rest",
                    (0.8, 1.6),
                    lambda x: _scaled(butane, x),
                ),
            ),
        ),
    }


def _scaled(atoms: Atoms, factor: float) -> Atoms:
    scaled = bare(atoms)
    scaled.set_cell(factor * atoms.cell, scale_atoms=False)
    scaled.positions *= factor
    return scaled


def _cleaved(gap: float) -> Atoms:
    slab = fcc100("Cu", (2, 2, 4), vacuum=12.0)
    upper = slab.positions[:, 2] > slab.positions[:, 2].mean()
    slab.positions[upper, 2] += gap
    return slab


def _pulled(height: float) -> Atoms:
    slab = fcc100("Cu", (3, 3, 3), vacuum=10.0)
    add_adsorbate(slab, "Cu", height, "hollow")
    return slab


def _torn(butane: Atoms, factor: float) -> Atoms:
    """The halves of the molecule apart, along the bond in its middle."""
    atoms = bare(butane)
    carbon = np.flatnonzero(atoms.numbers == 6)
    middle = atoms.positions[carbon].mean(axis=0)
    order = np.argsort(np.linalg.norm(atoms.positions[carbon] - middle, axis=1))
    first, second = carbon[order[:2]]
    bond = atoms.positions[second] - atoms.positions[first]
    beyond = (atoms.positions - middle) @ bond > 0
    atoms.positions[beyond] += (factor - 1.0) * bond
    return atoms
