"""The figure of docs/how-to/large_cells.md: errors in a large cell, with labels of cut-outs of it.

    python examples/large_cell/prepare.py
    python scripts/large_cell_figure.py WORK

Runs the campaign of examples/large_cell in the folder WORK, some two minutes; one that is there
already is only drawn. Beside it stand fits with as many further cells of the crystal, of 108 atoms
with all of their labels. Prints the numbers of the page.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import matplotlib
import numpy as np
from ase import Atoms

from ase_bayesel import Campaign, Surrogate, fit_surrogate
from ase_bayesel.campaign.config.loading import load_config
from ase_bayesel.labelling.task import labelled
from ase_bayesel.structures import read_frames
from ase_bayesel.structures.labels import WHOLE

matplotlib.use("Agg")

from matplotlib import pyplot as plt

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "large_cell"
PICTURE = ROOT / "docs" / "large_cell_copper.png"


def force_errors(surrogate: Surrogate, frames: list[Atoms]) -> np.ndarray:
    """``(n_atoms,)`` meV/A, the length of each atom's error, in all frames."""
    calculator = surrogate.calculator()
    found = [
        calculator.get_property("forces", frame) - frame.arrays["REF_forces"] for frame in frames
    ]
    return 1e3 * np.linalg.norm(np.concatenate(found), axis=1)


def energy_error(surrogate: Surrogate, frames: list[Atoms]) -> float:
    """Root mean square, meV/atom."""
    wrong = [(surrogate.energy(frame) - frame.info["REF_energy"]) / len(frame) for frame in frames]
    return 1e3 * rms(np.array(wrong))


def rms(values: np.ndarray) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(values**2)))


def told(name: str, surrogate: Surrogate, frames: list[Atoms]) -> np.ndarray:
    """The errors of `force_errors`, after a line on them."""
    errors = force_errors(surrogate, frames)
    energy = energy_error(surrogate, frames)
    component = rms(errors) / np.sqrt(3)
    print(f"{name}: {component:.1f}, worst atom {errors.max():.0f} meV/A; {energy:.1f} meV/atom")
    return errors


def main(folder: Path) -> None:
    """Run, draw and tell."""
    config = load_config(EXAMPLE / "config.yaml")
    campaign = Campaign(config, folder)
    for event in campaign.run():
        print(event, file=sys.stderr)
    store, test = campaign.store, read_frames(EXAMPLE / "data" / "test.extxyz")
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    heights = np.concatenate([frame.get_scaled_positions()[:, 2] for frame in test])
    heights *= test[0].cell[2, 2]
    numbers, ours = [0], [told("before", Surrogate.load(store.model_path(0)), test)]
    for number in range(1, store.completed_rounds()):
        picks = store.read_batch(number)
        for pick in picks:
            print(f"round {number}: {len(pick)} atoms, {pick.arrays[WHOLE].sum()} whole")
        numbers.append(numbers[-1] + len(picks))
        model = Surrogate.load(store.model_path(number))
        ours.append(told(f"{numbers[-1]} cut-outs", model, test))
    theirs = [ours[0]]
    for number in numbers[1:]:
        model = with_crystals(campaign, number)
        theirs.append(told(f"{number} cells of the crystal", model, test))
    for color, name, found in (("C0", "cut-outs", ours), ("C1", "crystal", theirs)):
        components = [rms(errors) / np.sqrt(3) for errors in found]
        left.plot(numbers, components, "o-", color=color, label=f"{name}, RMSE")
        worst = [errors.max() for errors in found]
        left.plot(numbers, worst, "s--", color=color, label=f"{name}, worst atom")
    right.plot(heights, ours[0], ".", ms=2, color="grey", label="before")
    right.plot(heights, ours[-1], ".", ms=2, color="C0", label=f"after {numbers[-1]} cut-outs")
    left.set(xlabel="labels", ylabel="force error (meV/A)", title="test frames of 2,052 atoms")
    right.set(xlabel="height in the cell (A)", ylabel="force error (meV/A)", title="atom by atom")
    for axes in (left, right):
        axes.set_yscale("log")
        axes.legend(fontsize="small")
    right.set_ylim(bottom=0.3)
    figure.savefig(PICTURE, dpi=110)


def with_crystals(campaign: Campaign, count: int) -> Surrogate:
    """A fit to the training set and further cells of the crystal, with the campaign's settings."""
    config, example = campaign.config, runpy.run_path(str(EXAMPLE / "prepare.py"))
    cells = example["crystals"](count, 3, 0.08, np.random.default_rng(1))
    data, engine = config.data, config.engine
    assert engine is not None
    assert config.weights is not None
    frames = [*campaign.store.read_input("train"), *labelled(cells, engine, data.keys)]
    descriptor = Surrogate.load(campaign.store.model_path(0)).descriptor
    return fit_surrogate(
        frames,
        descriptor,
        data.energy_key,
        data.forces_key,
        e0s=data.e0s,
        weights=config.weights.at(config.hottest_K),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
