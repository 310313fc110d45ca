"""First labels of molecules: atoms displaced one by one, or whole molecules moved.

    OMP_NUM_THREADS=1 python scripts/water_first_labels.py

Clusters of three and four waters, relaxed with GFN2-xTB, are the starts of what `bayesel init`
writes; round 0 is run with three recipes of 40 structures and three seeds. Its errors on 60 frames
of MD at 300 K go into a table of docs/how-to/molecules.md. Some minutes on one core.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import yaml
from ase import Atoms, units
from ase.build import molecule
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import thermalize_momenta
from ase.optimize import BFGS
from tblite.ase import TBLite

from ase_bayesel import Campaign, load_config
from ase_bayesel.campaign.events import RoundReport
from ase_bayesel.cli.init_text import campaign_text
from ase_bayesel.cli.material import Material
from ase_bayesel.structures.frames import write_frames

PAGE = Path(__file__).resolve().parent.parent / "docs" / "how-to" / "molecules.md"
BEGIN, END = "<!-- written by scripts/water_first_labels.py -->\n", "<!-- end -->\n"
RECIPES = {
    "40 of displaced atoms": {"rattled": 40, "moved": 0},
    "20 and 20, as init has it": {"rattled": 20, "moved": 20},
    "40 of moved molecules": {"rattled": 0, "moved": 40},
}
ROW = "| {0} | {2:.1f} ({1:.1f} to {3:.1f}) | {5:.0f} ({4:.0f} to {6:.0f}) |"


def main() -> None:
    """Run round 0 of the nine campaigns and write the table."""
    starts = [relaxed_ring(n) for n in (3, 4)]
    frames = [frame for start in starts for seed in (0, 1) for frame in md_frames(start, seed)]
    rows = ["", "| first structures | meV/atom | meV/A |", "|---|---:|---:|"]
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        write_frames(directory / "starts.extxyz", starts)
        write_frames(directory / "md.extxyz", frames)
        text = campaign_text("water.yaml", "starts.extxyz", Material(starts), "tblite")
        for name, recipe in RECIPES.items():
            errors = np.array([round_0(text, recipe, seed, directory) for seed in range(3)])
            rows.append(ROW.format(name, *1e3 * np.sort(errors.T).ravel()))
            print(rows[-1], flush=True)
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(before + BEGIN + "\n".join([*rows, "", END]) + rest.partition(END)[2])


def relaxed_ring(n_molecules: int) -> Atoms:
    """A ring of water molecules at its minimum."""
    cluster, radius = Atoms(), 1.45 / np.sin(np.pi / n_molecules)  # A; neighbours 2.9 A apart
    for k, angle in enumerate(2 * np.pi * np.arange(n_molecules) / n_molecules):
        water = molecule("H2O")
        water.rotate(np.degrees(angle), "z", center="COM")
        water.translate([radius * np.cos(angle), radius * np.sin(angle), 0.2 * (-1) ** k])
        cluster += water
    cluster.calc = TBLite(method="GFN2-xTB", verbosity=0)
    BFGS(cluster, logfile=None).run(fmax=0.03, steps=200)
    return Atoms(cluster.numbers, cluster.positions)


def md_frames(start: Atoms, seed: int) -> list[Atoms]:
    """15 labelled frames, 20 fs apart, after 200 fs at 300 K."""
    rng, atoms, frames = np.random.default_rng(seed), start.copy(), []
    atoms.calc = TBLite(method="GFN2-xTB", verbosity=0)
    thermalize_momenta(atoms, temperature_K=300, rng=rng)
    bath = {"temperature_K": 300, "friction": 0.02 / units.fs, "fixcm": False, "rng": rng}
    md = Langevin(atoms, 0.5 * units.fs, **bath)
    md.run(400)
    for _ in range(15):
        md.run(40)
        frames.append(Atoms(atoms.numbers, atoms.positions))
        frames[-1].info["REF_energy"] = atoms.get_potential_energy()
        frames[-1].arrays["REF_forces"] = atoms.get_forces()
    return frames


def round_0(text: str, recipe: dict[str, int], seed: int, directory: Path) -> tuple[float, float]:
    """Errors of the first fit on the test frames: eV/atom and eV/A."""
    config = yaml.safe_load(text) | {"seed": seed}
    config["data"]["train"]["bootstrap"] |= {**recipe, "test": 0}
    config["data"]["test"] = "md.extxyz"
    file = directory / f"{recipe['rattled']}_{seed}.yaml"
    file.write_text(yaml.safe_dump(config))
    run = Campaign(load_config(file), file.with_suffix("")).run()
    report = next(event for event in run if isinstance(event, RoundReport))
    return report.energy_rmse, report.forces_rmse


if __name__ == "__main__":
    main()
