"""What the command ``bayesel check-engine`` does: one calculation with a config's engine."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
from ase.units import GPa
from rich.markup import escape
from rich.table import Table

from ..campaign.config.campaign import CampaignConfig
from ..errors import BayeselError, ConfigError
from ..labelling.engines import Engine, ProgramEngine, settings_hash
from ..labelling.reference import properties_of
from ..labelling.store import Label
from ..labelling.task import compute
from ..resources.threads import cpu_threads
from ..structures.frames import read_frames


@dataclass(frozen=True)
class EngineCheck:
    """What one calculation has shown.

    Attributes
    ----------
    program
        Where the engine's program was found.
    label
        As a campaign would get it, or why it failed; without settings if something is missing.
    missing
        A sentence for each thing that is not there; nothing is computed then.
    directory
        The calculation's files, if they were kept.
    """

    program: str
    label: Label
    missing: tuple[str, ...] = ()
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
    config
        Says which engine, and which labels the structures get.
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
        return EngineCheck(program, Label(atoms, "", engine.name, attempt=attempt), tuple(missing))
    properties = properties_of(config.data.keys)
    settings = settings_hash(engine.only(atoms.symbols).identity(attempt), properties)
    directory = _fresh(keep)
    label = Label(atoms, settings, engine.name, attempt=attempt)
    try:
        with cpu_threads(config.threads):
            label = compute(atoms, engine, properties, attempt, directory)
    except BayeselError as error:  # it would end a campaign; here it is what is looked for
        label = replace(label, reason=f"{type(error).__name__}: {error}")
    if keep is None and label.ok:
        shutil.rmtree(directory)
    return EngineCheck(program, label, directory=directory if directory.exists() else None)


def notes(check: EngineCheck) -> list[str]:
    """A line for each missing thing, for a failure, and for files that were kept."""
    lines = [f"missing: {problem}" for problem in check.missing]
    if check.label.reason:
        lines.append(f"failed: {check.label.reason}")
    if check.directory is not None:
        lines.append(f"files: {check.directory}")
    return lines


def table(check: EngineCheck) -> Table:
    """Everything that is known, a row for each thing."""
    label, result = check.label, check.label.values
    rows = {
        "engine": label.engine,
        "version": "" if result is None else result.version,
        "program": check.program,
        "settings": label.settings and f"{label.settings}, attempt {label.attempt}",
        "structure": f"{label.atoms.symbols}, {label.structure_id}",
    }
    if result is not None:
        rows |= {"wall time": f"{label.wall_s:.1f} s", "energy": f"{result.energy:.6f} eV"}
        if result.forces is not None:
            largest = np.linalg.norm(result.forces, axis=1).max()
            total = np.linalg.norm(result.forces.sum(axis=0))
            rows |= {"largest force": f"{largest:.4f} eV/A", "sum of forces": f"{total:.1e} eV/A"}
        if result.stress is not None:
            rows["pressure"] = f"{-result.stress[:3].mean() / GPa:.3f} GPa"
    shown = Table(show_header=False)
    for name, value in rows.items():
        if value:
            shown.add_row(name, escape(value))
    return shown


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
