"""What the page of `bayesel select` foretells of a pool, beside the errors once picks are labelled.

    OMP_NUM_THREADS=1 python scripts/pool_forecast.py

The pool of Cu and Au of docs/how-to/choose_from_a_pool.md, labelled by EMT throughout. 20
structures by k-medoids are the core, then 20 more are picked, labelled and fitted together with it;
errors are those of all other structures of the pool. Three pools that differ by their seeds. The
table goes into the page. Needs the extra `selection`; some minutes on one core.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import yaml
from ase import Atoms
from ase.calculators.emt import EMT

from ase_bayesel import select
from ase_bayesel.campaign.build.models import build_descriptor
from ase_bayesel.campaign.config import PoolConfig
from ase_bayesel.campaign.config.loading import load_config
from ase_bayesel.cli.init_text import pool_text
from ase_bayesel.cli.material import Material
from ase_bayesel.cli.pool import make_pool
from ase_bayesel.descriptors.base import Descriptor
from ase_bayesel.generation.crystals import crystals
from ase_bayesel.selection.remaining import error_floor, error_left, halves_test
from ase_bayesel.selection.select import FORCE_PROJECTIONS, fit_core
from ase_bayesel.structures.frames import read_frames, write_frames
from ase_bayesel.structures.labels import OWN_KEYS
from ase_bayesel.structures.reference_energies import composition_energy
from ase_bayesel.surrogate.calibration import calibrating
from ase_bayesel.surrogate.steps import finished
from ase_bayesel.surrogate.surrogate import Surrogate

PAGE = Path(__file__).resolve().parent.parent / "docs" / "how-to" / "choose_from_a_pool.md"
BEGIN, END = "<!-- written by scripts/pool_forecast.py -->\n", "<!-- end -->\n"
N, SEEDS = 20, range(3)
METHODS = {"k_medoids": {}, "energy_variance": {}, "i_optimal": {"scored": ["energy"]}}
HEAD = (
    "| meV/atom | foretold | up to | mean error | RMSE | by the new fit |",
    "|---|---:|---:|---:|---:|---:|",
)


def main() -> None:
    """Pick, label and fit on three pools, and write the table."""
    found: dict[str, list[np.ndarray]] = {}
    for seed in SEEDS:
        for name, values in forecasts(seed):
            found.setdefault(name, []).append(values)
            print(seed, name, np.round(values, 2), flush=True)
    rows = []
    for name, of_seeds in found.items():
        low, high = np.min(of_seeds, axis=0), np.max(of_seeds, axis=0)
        cells = [f"{a:.2g} to {b:.2g}" for a, b in zip(low, high, strict=True)]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    before, _, rest = PAGE.read_text().partition(BEGIN)
    text = "\n".join(["", *HEAD, *rows, "", END])
    PAGE.write_text(before + BEGIN + text + rest.partition(END)[2])


def forecasts(seed: int) -> list[tuple[str, np.ndarray]]:
    """For the core alone and for each method: foretold and up to what, mean error and RMSE, and
    what the fit of core and picks says of itself; meV/atom."""
    descriptor, pool = labelled_pool(seed)
    rows = np.array([features.total for features in descriptor.compute(pool)])
    everyone = np.arange(len(pool))
    first = select(pool, N, "k_medoids", descriptor).indices
    core = fitted([pool[k] for k in first], descriptor)
    rest = np.setdiff1d(everyone, first)
    said = foretold(core, pool, rows, rest)
    sizes = np.array([len(atoms) for atoms in pool])
    tested = halves_test(
        lambda frames: fitted(frames, descriptor, core.e0s),
        *(core, [pool[k] for k in first], rows, sizes),
    )
    alone = np.array([said, said, *errors(core, pool, rows, rest), said])
    result = [("20 labels", alone)]
    for method, options in METHODS.items():
        known = [pool[k] for k in first]
        picked = select(
            pool, N, method, descriptor, known, keys=OWN_KEYS, e0s="average", **options
        ).indices
        picks = [pool[k] for k in picked]
        floor = error_floor(core, picks, rows, sizes)
        left = error_left(core, picks, rows, sizes, floor, tested=tested)
        most = left.errors if left.most is None else left.most
        before = 1e3 * left.errors[-1], 1e3 * most[-1]
        after, rest = (
            fitted([*known, *picks], descriptor),
            np.setdiff1d(everyone, [*first, *picked]),
        )
        values = [*before, *errors(after, pool, rows, rest), foretold(after, pool, rows, rest)]
        result.append((f"and 20 by {method}", np.array(values)))
    return result


def labelled_pool(seed: int) -> tuple[Descriptor, list[Atoms]]:
    """The pool that `bayesel init` and `bayesel pool` make of Cu and Au, with its labels."""
    material = Material(crystals(["Cu", "Au"]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pool.yaml"
        settings = yaml.safe_load(pool_text(path.name, "starts.xyz", material)) | {"seed": seed}
        path.write_text(yaml.safe_dump(settings))
        write_frames(path.with_name("starts.xyz"), material.starts)
        config = load_config(path, PoolConfig)
        make_pool(config, path.with_name("pool.xyz"))
        pool = read_frames(path.with_name("pool.xyz"))
    for atoms in pool:
        atoms.calc = EMT()
        atoms.info[OWN_KEYS.energy] = atoms.get_potential_energy()
        atoms.arrays[OWN_KEYS.forces] = atoms.get_forces()
        atoms.calc = None
    return build_descriptor(config, None), pool


def fitted(
    frames: Sequence[Atoms], descriptor: Descriptor, e0s: Mapping[str, float] | str = "average"
) -> Surrogate:
    """The fit of `bayesel select`, with its scales."""
    surrogate = fit_core(frames, descriptor, OWN_KEYS, e0s)
    return finished(calibrating(surrogate, frames, OWN_KEYS, FORCE_PROJECTIONS))


def foretold(
    surrogate: Surrogate, pool: Sequence[Atoms], rows: np.ndarray, chosen: np.ndarray
) -> float:
    """Mean predicted error of the energy of some structures, meV/atom.

    Parameters
    ----------
    surrogate
        With its scales.
    pool, rows
        All structures, and their feature rows ``(M, D)``.
    chosen
        Numbers of those that are looked at.
    """
    sizes = np.array([len(pool[k]) for k in chosen])
    deviations = np.sqrt(surrogate.posterior.variance(rows[chosen])) / sizes
    return float(1e3 * surrogate.scales.energy.value * deviations.mean())


def errors(
    surrogate: Surrogate, pool: Sequence[Atoms], rows: np.ndarray, chosen: np.ndarray
) -> tuple[float, float]:
    """Mean absolute and root mean square error of the energy, meV/atom; parameters as above."""
    off = np.empty(len(chosen))
    for place, k in enumerate(chosen):
        atoms, energy = pool[k], float(rows[k] @ surrogate.posterior.mean)
        energy += composition_energy(atoms, surrogate.e0s)
        off[place] = 1e3 * (energy - atoms.info[OWN_KEYS.energy]) / len(atoms)
    return float(np.abs(off).mean()), float(np.sqrt((off**2).mean()))


if __name__ == "__main__":
    main()
