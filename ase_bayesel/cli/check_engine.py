"""What the command ``bayesel check-engine`` does: one calculation with a config's engine."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
from ase import Atoms
from ase.units import GPa
from rich.markup import escape
from rich.table import Table

from ..campaign.config.campaign import CampaignConfig
from ..errors import ConfigError
from ..labelling.engines import Engine, Evaluation, ProgramEngine, settings_hash
from ..labelling.engines.base import PROPERTIES
from ..resources.threads import cpu_threads
from ..structures.frames import read_frames
from ..structures.identity import structure_id


@dataclass(frozen=True)
class EngineCheck:
    """What one calculation has shown.

    Attributes
    ----------
    engine, program
        What labels will call it, and where it was found.
    atoms, attempt
        What was computed, with which settings.
    missing
        A sentence for each thing that is not there; nothing is computed then.
    settings
        Name of the settings of these labels, empty if something is missing.
    evaluation
        The results; None without any.
    wall_s
        Seconds of wall time.
    reason
        Why the calculation failed, empty if it did not.
    directory
        Its files, if they were kept.
    """

    engine: str
    program: str
    atoms: Atoms
    attempt: int
    missing: tuple[str, ...] = ()
    settings: str = ""
    evaluation: Evaluation | None = None
    wall_s: float = 0.0
    reason: str = ""
    directory: Path | None = None


def run_engine_check(
    config: CampaignConfig,
    structure: Path | None = None,
    attempt: int = 0,
    keep: Path | None = None,
) -> EngineCheck | None:
    """Compute one structure with a config's engine; None where labels come by hand.

    Parameters
    ----------
    structure
        A file, whose first frame is computed; None for the smallest of the starts.
    attempt
        0 for the engine's own settings, k for the k-th of its fallbacks.
    keep
        An empty or new directory to compute in. Without one, the files are kept only if the
        calculation fails.

    Raises
    ------
    BayeselError
        If a file cannot be read, there is no such attempt, or ``keep`` is not empty.
    """
    engine = config.engine
    if engine is None:
        return None
    if not 0 <= attempt < engine.n_attempts:
        raise ConfigError(f"attempt {attempt}: there are {engine.n_attempts}, counted from 0")
    starts = read_frames(config.explore.starts)
    atoms = min(starts, key=len) if structure is None else read_frames(structure)[0]
    elements = {symbol for frame in (*starts, atoms) for symbol in frame.symbols}
    program = _whereabouts(engine)
    missing = engine.missing(sorted(elements))
    if missing:
        return EngineCheck(engine.name, program, atoms, attempt, tuple(missing))
    data = config.data
    keys = zip(PROPERTIES, (data.energy_key, data.forces_key, data.virial_key), strict=True)
    properties = [name for name, key in keys if key is not None]
    settings = settings_hash(engine.only(atoms.symbols).identity(attempt), properties)
    directory = _fresh(keep)
    with cpu_threads(config.threads):
        found, reason, wall_s = _computed(engine, atoms, directory, attempt, properties)
    if keep is None and not reason:
        shutil.rmtree(directory)
    kept = directory if directory.exists() else None
    return EngineCheck(
        engine.name, program, atoms, attempt, (), settings, found, wall_s, reason, kept
    )


def notes(check: EngineCheck) -> list[str]:
    """A line for each missing thing, for a failure, and for files that were kept."""
    lines = [f"missing: {problem}" for problem in check.missing]
    if check.reason:
        lines.append(f"failed: {check.reason}")
    if check.directory is not None:
        lines.append(f"files: {check.directory}")
    return lines


def table(check: EngineCheck) -> Table:
    """Everything that is known, a row for each thing."""
    found = check.evaluation
    rows = {
        "engine": check.engine,
        "version": found and found.version,
        "program": check.program,
        "settings": check.settings and f"{check.settings}, attempt {check.attempt}",
        "structure": f"{check.atoms.symbols}, {structure_id(check.atoms)}",
    }
    if found is not None:
        rows |= {"wall time": f"{check.wall_s:.1f} s", "energy": f"{found.energy:.6f} eV"}
        if found.forces is not None:
            largest = np.linalg.norm(found.forces, axis=1).max()
            total = np.linalg.norm(found.forces.sum(axis=0))
            rows |= {"largest force": f"{largest:.4f} eV/A", "sum of forces": f"{total:.1e} eV/A"}
        if found.stress is not None:
            rows["pressure"] = f"{-found.stress[:3].mean() / GPa:.3f} GPa"
    shown = Table(show_header=False)
    for name, value in rows.items():
        if value:
            shown.add_row(name, escape(value))
    return shown


def _computed(
    engine: Engine, atoms: Atoms, directory: Path, attempt: int, properties: Sequence[str]
) -> tuple[Evaluation | None, str, float]:
    """Results, the reason of a failure, and seconds."""
    start, found, reason = time.perf_counter(), None, ""
    try:
        found = engine.evaluate(atoms, directory, attempt, properties)
        values = [getattr(found, name) for name in properties]
        if not all(np.isfinite(value).all() for value in values if value is not None):
            reason = "the engine returned values that are not finite"
    except Exception as error:  # engines raise anything
        reason = f"{type(error).__name__}: {error}"
    return found, reason, time.perf_counter() - start


def _fresh(keep: Path | None) -> Path:
    if keep is None:
        return Path(mkdtemp(prefix="check-engine-"))
    if keep.exists() and any(keep.iterdir()):
        raise ConfigError(f"{keep}: is not empty; a calculation needs a directory of its own")
    keep.mkdir(parents=True, exist_ok=True)
    return keep.absolute()


def _whereabouts(engine: Engine) -> str:
    if not isinstance(engine, ProgramEngine):
        return "in this process"
    return engine.program() or "not found"
