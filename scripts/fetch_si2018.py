"""Fetch the silicon set of 2018: 490 core and 186 surface structures with DFT labels.

The structures are those of Bartok, Kermode, Bernstein and Csanyi, Phys. Rev. X 8,
041048 (2018), as split by Rocke and Kermode, "Bayesian Selection for Efficient MLIP
Dataset Selection" (2025): core is diamond silicon and one isolated atom, surfaces
are (001), (110), (111) slabs and decohesion paths. Written are core.extxyz and
surfaces.extxyz with dft_energy (eV), dft_force (eV/A) and, where it exists,
dft_virial (eV).

    python scripts/fetch_si2018.py data/si2018
    python scripts/fetch_si2018.py data/si2018 --from-dir DIR    # files fetched by hand

The file paths and commits below were read from an index of the public repository;
the download address follows GitHub's pattern for raw files but was not tried from
the machine where this script was written (it had no network). Later commits of the
repository ignore *.xyz, hence the pinned ones.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms

from ase_bayesel.errors import StructureError
from ase_bayesel.structures.frames import read_frames, write_frames
from ase_bayesel.structures.identity import structure_id

REPOSITORY = "kermodegroup/BayesianSelectionMLIP"
RAW_URL = f"https://raw.githubusercontent.com/{REPOSITORY}"
FIRST, SECOND = (
    "2fb05e89a2fc4dae27ec03cf79f7bf75ac976c3f",
    "4a39988f22b6891ff8fe7788f302a811b2853c96",
)
TIMEOUT_S = 60

# (commit, path) of every file, in the order in which the structures are written
SOURCES = {
    "core.extxyz": ((SECOND, "Si_Surfaces/Si_Core_Data.xyz"),),
    "surfaces.extxyz": (
        (SECOND, "Si_Surfaces/Original_Dataset/surface_001.xyz"),
        (FIRST, "Si/Original_Dataset/surface_110.xyz"),
        (SECOND, "Si_Surfaces/Original_Dataset/surface_111.xyz"),
        (SECOND, "Si_Surfaces/Original_Dataset/surface_111_pandey.xyz"),
        (SECOND, "Si_Surfaces/Original_Dataset/surface_111_3x3_das.xyz"),
        (SECOND, "Si_Surfaces/Original_Dataset/decohesion.xyz"),
    ),
}
COUNTS = {"core.extxyz": 490, "surfaces.extxyz": 186}

# sha256 of the numbers (see `digest`) of the copy that this package's own results were
# computed with; the origin's raw files have no published checksums
DIGESTS = {
    "core.extxyz": "9f1ad033a5b2a76c987642312c653d5dddf420acfac5bbf8255fb5fe7b4dadd9",
    "surfaces.extxyz": "b40fb6644b1ab5fca47a06b2c44c57f1e361efe7947ecc5a70f7842c64a18ec0",
}


class FetchError(RuntimeError):
    """A file could not be had, or is not what it should be."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        options.destination.mkdir(parents=True, exist_ok=True)
        for name in SOURCES:
            frames = collect(name, options.from_dir, options.url)
            check(name, frames, any_digest=options.any_digest)
            write_frames(options.destination / name, frames)
            print(f"{options.destination / name}: {len(frames)} structures")
    except (FetchError, StructureError, OSError) as error:
        print(f"fetch_si2018: {error}", file=sys.stderr)
        return 1
    return 0


def collect(name: str, from_dir: Path | None = None, url: str = RAW_URL) -> list[Atoms]:
    """All structures of one output file, reduced to their labels."""
    frames: list[Atoms] = []
    for commit, path in SOURCES[name]:
        if from_dir is not None:
            source = read_frames(find_local(from_dir, path))
        else:
            source = _downloaded(f"{url.rstrip('/')}/{commit}/{path}")
        frames.extend(reduced(atoms) for atoms in source)
    return frames


def find_local(directory: Path, path: str) -> Path:
    """A file fetched by hand: at its path in the repository, or by its bare name."""
    candidates = (directory / path, directory / Path(path).name)
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise FetchError(f"none of these files exists: {', '.join(map(str, candidates))}")


def reduced(atoms: Atoms) -> Atoms:
    """A copy with the labels only; the origin also carries CASTEP settings and old fits."""
    kept = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    for key in ("config_type", "dft_energy", "dft_virial"):
        if key in atoms.info:
            kept.info[key] = atoms.info[key]
    if "dft_force" in atoms.arrays:
        kept.set_array("dft_force", atoms.arrays["dft_force"])
    return kept


def check(name: str, frames: Sequence[Atoms], any_digest: bool = False) -> None:
    """Raise a `FetchError` unless number, labels and numbers are those expected."""
    if len(frames) != COUNTS[name]:
        raise FetchError(f"{name}: {len(frames)} structures, expected {COUNTS[name]}")
    for number, atoms in enumerate(frames):
        if "dft_energy" not in atoms.info or "dft_force" not in atoms.arrays:
            raise FetchError(f"{name}, structure {number}: no dft_energy or dft_force")
    found = digest(frames)
    if found != DIGESTS[name] and not any_digest:
        raise FetchError(
            f"{name}: the contents differ from the reference copy (sha256 {found}, expected "
            f"{DIGESTS[name]}); --any-digest accepts them"
        )


def digest(frames: Sequence[Atoms]) -> str:
    """sha256 over geometries and labels to 1e-8, whatever the file's formatting."""
    total = hashlib.sha256()
    for atoms in frames:
        total.update(structure_id(atoms).encode())
        labels = [np.ravel(atoms.info["dft_energy"]), atoms.arrays["dft_force"].ravel()]
        labels.append(np.ravel(atoms.info.get("dft_virial", [])))
        total.update(np.rint(np.concatenate(labels) * 1e8).astype("<i8").tobytes())
    return total.hexdigest()


def _downloaded(url: str) -> list[Atoms]:
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / url.rsplit("/", 1)[1]
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT_S) as response:
                target.write_bytes(response.read())
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            raise FetchError(_by_hand(url, error)) from error
        return read_frames(target)


def _by_hand(url: str, error: Exception) -> str:
    lines = [
        f"cannot download {url} ({error}).",
        "Without network, get these files elsewhere (a clone of "
        f"https://github.com/{REPOSITORY} holds them at the commits given):",
    ]
    lines += [f"  {commit[:8]}  {path}" for files in SOURCES.values() for commit, path in files]
    lines.append(
        "put them into one folder, under these paths or their bare names, and run again with "
        "--from-dir FOLDER. The paths come from an index of the repository and the address "
        "could not be tried when this script was written; --url gives another one."
    )
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("destination", type=Path, help="folder for core.extxyz, surfaces.extxyz")
    parser.add_argument("--from-dir", type=Path, help="folder with the files fetched by hand")
    parser.add_argument(
        "--url", default=RAW_URL, help="other origin: files are taken from URL/COMMIT/PATH"
    )
    parser.add_argument(
        "--any-digest", action="store_true", help="accept contents other than the reference copy"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
