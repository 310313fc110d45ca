"""The figure of docs/how-to/restraints.md: butane with a moving restraint, and with sigma alone.

    python examples/restraint/prepare.py
    python scripts/restraint_figure.py WORK

Runs the campaign of examples/restraint and the same one with a stiffness of zero, which records the
dihedral alone, in the folder WORK; about two minutes. What is there already is only drawn. Prints
the numbers of the page.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib
import numpy as np

from ase_bayesel import Campaign, Surrogate
from ase_bayesel.campaign.config.loading import load_config, validate_config
from ase_bayesel.campaign.store import Store
from ase_bayesel.structures import read_frames

matplotlib.use("Agg")

from matplotlib import pyplot as plt

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "examples" / "restraint" / "config.yaml"
PICTURE = ROOT / "docs" / "restraint_butane.png"
CHAIN = (0, 1, 2, 3)
COLUMN = "cv_dihedral_0_1_2_3"
ARMS = {"with the restraint": 3.0, "sigma alone": 0.0}
GAUCHE = 90.0
"""Degrees from cis within which a conformer counts as gauche."""


def ran(folder: Path, k: float) -> Store:
    """The campaign with this stiffness."""
    raw = load_config(CONFIG).model_dump(mode="json")
    (restraint,) = raw["explore"]["restraints"]
    restraint["k"] = k
    campaign = Campaign(validate_config(raw, CONFIG), folder / f"k{k:g}")
    for event in campaign.run():
        print(event, file=sys.stderr)
    return campaign.store


def from_cis(angles: np.ndarray) -> np.ndarray:
    """Degrees, 0 to 180."""
    return np.abs((np.asarray(angles) + 180.0) % 360.0 - 180.0)


def errors(store: Store, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Dihedral and error of the energy (meV/atom) of each test frame, by the model of a round."""
    calculator = Surrogate.load(store.model_path(number)).calculator()
    frames = read_frames(CONFIG.parent / "data" / "test.extxyz")
    found = [calculator.get_potential_energy(frame) for frame in frames]
    wrong = [(e - f.info["REF_energy"]) / len(f) for e, f in zip(found, frames, strict=True)]
    return from_cis([f.get_dihedral(*CHAIN) for f in frames]), 1e3 * np.array(wrong)


def main(folder: Path) -> None:
    """Run, draw and tell."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for color, (arm, k) in zip(("C0", "C1"), ARMS.items(), strict=True):
        store = ran(folder, k)
        last = store.completed_rounds() - 1
        for number in range(1, last + 1):
            rows = store.read_log(number)
            for walker in np.unique(rows["walker"]):
                mine = rows[rows["walker"] == walker]
                label = arm if (number, walker) == (1, 0) else None
                left.plot(
                    mine["step"] * 0.5, from_cis(mine[COLUMN]), color=color, lw=0.8, label=label
                )
            lowest = from_cis(rows[COLUMN]).min()
            steps, picks = len(rows), len(store.read_batch(number))
            print(f"{arm}: round {number}: {steps} steps, {picks} picks, {lowest:.0f} degrees")
        angles, before = errors(store, 0)
        _, after = errors(store, last)
        if k:
            right.plot(angles, np.abs(before), "x", color="grey", label="before")
            print(f"before: RMSE {rms(before):.2f} meV/atom")
        right.plot(angles, np.abs(after), "o", ms=4, color=color, label=f"after, {arm}")
        near = angles < GAUCHE
        print(f"{arm}: RMSE {rms(after):.2f}, gauche {rms(after[near]):.2f} meV/atom")
    left.axhline(60.0, color="grey", ls="--", lw=1)
    left.set(xlabel="time (fs)", ylabel="dihedral (degrees)", title="walkers of all rounds")
    right.set(xlabel="dihedral (degrees)", ylabel="energy error (meV/atom)", title="test frames")
    right.set_yscale("log")
    for axes in (left, right):
        axes.legend(fontsize="small")
    figure.savefig(PICTURE, dpi=110)


def rms(values: np.ndarray) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(values**2)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
