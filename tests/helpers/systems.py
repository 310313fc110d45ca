"""Small structures, reference labels, campaigns and wrappers that the tests share."""

import hashlib
import os
import shutil
import signal
import subprocess
import sysconfig
import time
from copy import deepcopy
from pathlib import Path

import numpy as np
import yaml
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.io import read, write
from ase.stress import voigt_6_to_full_3x3_stress

from ase_bayesel.structures.identity import structure_id

VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


def jittered(atoms: Atoms, std: float = 0.1, seed: int = 0) -> Atoms:
    """A copy with normal displacements (A)."""
    moved = atoms.copy()
    moved.positions += np.random.default_rng(seed).normal(0, std, moved.positions.shape)
    return moved


def cluster(symbols, seed: int = 0, spacing: float = 2.4) -> Atoms:
    """Up to 27 atoms on random sites of a jittered grid, pbc=False and zero cell."""
    rng = np.random.default_rng(seed)
    atoms = Atoms("".join(symbols))
    grid = np.indices((3, 3, 3)).reshape(3, -1).T * spacing
    atoms.positions = grid[rng.choice(len(grid), len(atoms), replace=False)]
    atoms.positions += rng.uniform(-0.3, 0.3, atoms.positions.shape)
    return atoms


def sheared(atoms: Atoms) -> Atoms:
    """A copy under a general deformation of a few per cent."""
    deformation = np.array([[1.03, 0.05, -0.02], [0.01, 0.98, 0.04], [-0.03, 0.02, 1.01]])
    out = atoms.copy()
    out.set_cell(atoms.cell.array @ deformation, scale_atoms=True)
    return out


def silicon(std: float = 0.1, seed: int = 0) -> Atoms:
    """Eight distorted atoms."""
    return jittered(sheared(bulk("Si", cubic=True)), std, seed)


def alloy(symbols="CuAuAlCu", std: float = 0.1, seed: int = 0) -> Atoms:
    """Four distorted fcc atoms."""
    atoms = sheared(bulk("Cu", cubic=True, a=3.8))
    atoms.symbols = symbols
    return jittered(atoms, std, seed)


def with_pbc(atoms: Atoms, pbc, keep_cell: bool = True) -> Atoms:
    """A copy with other periodicity; without ``keep_cell`` the other cell vectors are zero."""
    out = atoms.copy()
    out.pbc = pbc
    if not keep_cell:
        out.cell[~out.pbc] = 0.0
    return out


def strained(atoms: Atoms, component: int, strain: float) -> Atoms:
    """A copy under one Voigt component of a symmetric strain, e_yz = e_zy = strain / 2."""
    a, b = VOIGT[component]
    tensor = np.zeros((3, 3))
    tensor[a, b] += strain / 2
    tensor[b, a] += strain / 2
    out = atoms.copy()
    out.cell[:] = atoms.cell.array @ (np.eye(3) + tensor)
    out.positions = atoms.positions @ (np.eye(3) + tensor)
    return out


def displaced(atoms: Atoms, atom: int, axis: int, step: float) -> Atoms:
    out = atoms.copy()
    out.positions[atom, axis] += step
    return out


def position_differences(function, atoms: Atoms, step: float = 1e-4) -> np.ndarray:
    """Central differences of ``function(atoms)`` by positions, ``(n_atoms, 3, ...)``."""
    return np.array(
        [
            [
                (function(displaced(atoms, i, k, step)) - function(displaced(atoms, i, k, -step)))
                / (2 * step)
                for k in range(3)
            ]
            for i in range(len(atoms))
        ]
    )


def strain_differences(function, atoms: Atoms, step: float = 1e-4) -> np.ndarray:
    """Central differences of ``function(atoms)`` by strain in Voigt order, ``(6, ...)``."""
    return np.array(
        [
            (function(strained(atoms, k, step)) - function(strained(atoms, k, -step))) / (2 * step)
            for k in range(6)
        ]
    )


def emt_labelled(atoms: Atoms) -> Atoms:
    """A copy with EMT's energy, forces and, if periodic, virial."""
    out = atoms.copy()
    out.calc = EMT()
    out.info["energy"] = out.get_potential_energy()
    out.arrays["forces"] = out.get_forces()
    if out.pbc.all():
        out.info["virial"] = -out.get_volume() * voigt_6_to_full_3x3_stress(out.get_stress())
    out.calc = None
    return out


def copper(seed: int = 0, std: float = 0.1, a: float = 3.61, repeat=(1, 1, 1)) -> Atoms:
    return jittered(bulk("Cu", cubic=True, a=a) * repeat, std, seed)


def copper_training() -> list[Atoms]:
    """An isolated atom and nine four-atom cells, labelled by EMT."""
    volumes = np.linspace(3.45, 3.85, 9)
    cells = [copper(k, 0.08 + 0.01 * k, a) for k, a in enumerate(volumes)]
    return [emt_labelled(atoms) for atoms in (Atoms("Cu"), *cells)]


def assert_close(actual, expected, relative: float) -> None:
    """Largest difference at most ``relative`` times the largest magnitude, plus rounding."""
    expected = np.asarray(expected)
    scale = np.abs(expected).max(initial=0.0)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=relative * scale + 1e-14)


class Opaque(Calculator):
    """Another calculator behind a type that nobody recognises; stress only when asked for."""

    implemented_properties = ["energy", "forces", "stress"]

    def __init__(self, inner: Calculator) -> None:
        super().__init__()
        self.inner = inner

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        wanted = {"energy", "forces", *properties}
        self.results = {p: self.inner.get_property(p, self.atoms) for p in wanted}


# campaigns: 98 features, two rounds in about a second

CAMPAIGN = {
    "seed": 0,
    "descriptor": {"elements": ["Cu", "Al"], "order": 2, "totaldegree": 6, "cutoff": 4.5},
    "data": {"train": "train.extxyz", "test": "test.extxyz", "e0s": "average"},
    "explore": {
        "starts": "starts.extxyz",
        "walkers": 2,
        "steps": 40,
        "picks": 3,
        "temperature_K": 1200.0,
        "timestep_fs": 4.0,
        "ensemble": {"kind": "langevin", "friction_per_fs": 0.02},
        "tau_rel": 0.3,
        "tau_delay": 2,
        "check_interval": 2,
        "trigger": {"kind": "relative_force", "threshold": 0.01},
    },
    "labelling": {"kind": "import", "factory": "ase.calculators.emt:EMT"},
    "workers": {"labelling": {"kind": "here"}},
    "stop": {"max_rounds": 2},
}


def reference(atoms: Atoms) -> Atoms:
    """A copy with EMT's labels under the default keys, and a virial if it is periodic."""
    out, labelled = atoms.copy(), emt_labelled(atoms)
    if "virial" in labelled.info:
        out.info["REF_virial"] = labelled.info["virial"]
    out.info["REF_energy"] = labelled.info["energy"]
    out.arrays["REF_forces"] = labelled.arrays["forces"]
    return out


def alloy_cells(n: int, std: float, seed: int) -> list[Atoms]:
    """Distorted four-atom fcc cells, Cu3Al and CuAl in turn."""
    perfect = bulk("Cu", cubic=True, a=3.75)
    cells = [jittered(perfect, std, seed + k) for k in range(n)]
    for k, atoms in enumerate(cells):
        atoms.symbols = ("Cu3Al", "CuAlCuAl")[k % 2]
    return cells


def campaign_settings(changes=None) -> dict:
    """`CAMPAIGN` with changes by dotted name, as ``{"explore.picks": 2}``."""
    settings = deepcopy(CAMPAIGN)
    for name, value in (changes or {}).items():
        *sections, key = name.split(".")
        section = settings
        for part in sections:
            section = section[part]
        section[key] = value
    return settings


def write_campaign(folder: Path, changes=None) -> Path:
    """Write the structures and the config of a campaign; returns the config's path."""
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "train.extxyz", [reference(a) for a in alloy_cells(6, 0.05, 0)])
    write(folder / "test.extxyz", [reference(a) for a in alloy_cells(6, 0.15, 100)])
    write(folder / "starts.extxyz", alloy_cells(2, 0.02, 200))
    return write_config(folder, changes)


def write_config(folder: Path, changes=None) -> Path:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(campaign_settings(changes)))
    return path


def copy_campaign(config: Path, folder: Path) -> Path:
    """Copy a config, its files and its campaign directories; returns the copy's path."""
    shutil.copytree(config.parent, folder, dirs_exist_ok=True)
    for stored in folder.glob("*/config.yaml"):
        stored.write_text(stored.read_text().replace(str(config.parent), str(folder)))
    return folder / config.name


def label_of(directory: Path, pick: Atoms) -> Atoms | None:
    """The label of a pick as it lies in a campaign directory; None if it has none."""
    paths = list(directory.glob(f"labels/*/{structure_id(pick)}.extxyz"))
    assert len(paths) <= 1
    return read(paths[0]) if paths else None


def set_aside(directory: Path, pick: Atoms) -> bool:
    """Whether the record of a failed calculation lies in a campaign directory, and no label."""
    failed = list(directory.glob(f"labels/*/{structure_id(pick)}.failed.json"))
    return bool(failed) and label_of(directory, pick) is None


def hashes(folder: Path) -> dict[str, str]:
    """Content hash of every file below a folder, by its name."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


class CountingEMT(EMT):
    """Notes the positions of every structure that it really computes, one line each."""

    def __init__(self, log: str, delay_s: float = 0.0) -> None:
        super().__init__()
        self.log, self.delay_s = log, delay_s

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        with open(self.log, "a") as handle:
            handle.write(atoms.positions.tobytes().hex() + "\n")
        time.sleep(self.delay_s)
        super().calculate(atoms, properties, system_changes)


class FragileEMT(EMT):
    """Fails for CuAl, half of the structures of `alloy_cells`."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        if atoms.symbols.count("Al") == 2:
            raise RuntimeError("the SCF cycle did not converge")
        super().calculate(atoms, properties, system_changes)


def no_such_engine_works() -> Calculator:
    """A factory that fails for every structure."""
    raise RuntimeError("no licence")


def emt_once_there_is(file: str) -> Calculator:
    """A factory that fails until a file is there."""
    if not Path(file).exists():
        raise RuntimeError(f"no file {file}")
    return EMT()


# the command line, in a process of its own

BAYESEL = str(Path(sysconfig.get_path("scripts")) / "bayesel")
TESTS = Path(__file__).parents[1]
SEARCHED = filter(None, [*map(str, [TESTS, *TESTS.glob("[a-z]*/")]), os.environ.get("PYTHONPATH")])
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(SEARCHED)}


def bayesel(*arguments) -> subprocess.CompletedProcess:
    """Run the command ``bayesel`` to its end."""
    command = [BAYESEL, *map(str, arguments)]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)


def start(config, out=subprocess.DEVNULL):
    """``bayesel run`` in a process of its own."""
    return subprocess.Popen(
        [BAYESEL, "run", str(config)],
        env=os.environ | ENVIRONMENT,
        stdout=out,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert "Traceback" not in errors


def kill_when(process, directory, pattern, count, delay_s):
    """SIGKILL ``delay_s`` after so many files match; False if it ended before that."""
    while len(list(directory.glob(pattern))) < count:
        if process.poll() is not None:
            return False
        time.sleep(0.002)
    time.sleep(delay_s)
    alive = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return alive
