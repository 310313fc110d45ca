"""The command ``bayesel init``: a config to start from, for a material or with every key."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import BayeselError, ConfigError
from ..io.atomic import refuse_existing
from ..io.words import listed
from .shared import app, named_errors, say

if TYPE_CHECKING:
    from ase import Atoms

    from .init_text import Labelled


ENGINES_NAMED = (
    *("emt", "tblite", "espresso", "abinit", "cp2k", "vasp", "gpaw", "castep", "orca", "aims"),
    *("lammps", "mace", "surrogate", "import"),
)
"""`init_text.engine_names`, which reads a file, for the help."""


class Job(StrEnum):
    """What a config is for."""

    ACE = "ace"
    MACE = "mace"
    POOL = "pool"
    BY_HAND = "by-hand"


@dataclass(frozen=True)
class Wanted:
    """What a config is asked to be: the options of the command.

    Attributes
    ----------
    path
        Where it goes; starts go beside it.
    elements, structure
        Chemical symbols, of whose crystals starts are made; or a file of starts.
    engine
        See `init_text.engine_names`.
    mace
        A MACE model, a file or a name.
    job
        What for; by default a linear ACE, or fine-tuning where there is a model.
    train, test
        Files of labelled structures to train and to test on; without the first a recipe makes them.
    """

    path: Path
    elements: str | None = None
    structure: Path | None = None
    engine: str | None = None
    mace: str | None = None
    job: Job | None = None
    train: Path | None = None
    test: Path | None = None

    @property
    def is_plain(self) -> bool:
        """Whether no material is asked for."""
        return self == Wanted(self.path)


@app.command()
@named_errors
def init(
    path: Annotated[Path, typer.Argument()] = Path("bayesel.yaml"),
    elements: Annotated[
        str | None, typer.Option(help="Cu, or Cu,Au: start from crystals of these elements.")
    ] = None,
    structure: Annotated[
        Path | None, typer.Option(help="Start from the structures of this file.")
    ] = None,
    engine: Annotated[
        str | None, typer.Option(help=f"What labels: {', '.join(ENGINES_NAMED)}.")
    ] = None,
    mace: Annotated[
        str | None,
        typer.Option(help="A MACE model to explore with and to fine-tune: a file or a name."),
    ] = None,
    job: Annotated[Job | None, typer.Option(help="What the config is for.")] = None,
    train: Annotated[
        Path | None,
        typer.Option(help="Labelled structures to train on; default: made and labelled first."),
    ] = None,
    test: Annotated[
        Path | None, typer.Option(help="Labelled structures to measure errors on, with --train.")
    ] = None,
) -> None:
    """Write a commented config to start from.

    With a material it comes with start structures beside it and runs as it is; without one it
    shows every key. At a terminal it asks for what is not given.
    """
    wanted = Wanted(path, elements, structure, engine, mace, job, train, test)
    refuse_existing(path)
    if wanted.is_plain and sys.stdin.isatty():
        wanted = _asked(wanted)
    lines = _write_plain(path) if wanted.is_plain else write_for_material(wanted)
    for line in lines:
        say(line)


def write_for_material(wanted: Wanted) -> list[str]:
    """Write a config for a material, and its starts; returns what is to be said.

    Raises
    ------
    BayeselError
        If options do not fit together or to the structures; nothing is written then.
    """
    from ..campaign.config import PoolConfig
    from ..campaign.config.campaign import CampaignConfig
    from ..campaign.config.loading import load_config
    from ..campaign.inputs import check_elements
    from ..dynamics.triggers import Guards
    from ..structures.frames import read_frames, write_frames
    from . import init_text
    from .material import Material

    job = _job(wanted)
    given = _labelled(wanted)
    material = Material(_starts(wanted), () if given is None else given.train)
    for file in (wanted.train, wanted.test):
        if file is not None:
            check_elements(read_frames(file), file, material.elements)
    starts, first, train = (
        wanted.path.with_name(f"{wanted.path.stem}_{name}.extxyz")
        for name in ("starts", "first", "train")
    )
    if wanted.mace is not None:
        _check_model(wanted.mace, material.elements)
    outputs: dict[Path, Sequence[Atoms]] = {starts: material.starts}
    model = None if wanted.mace is None else _relative(wanted.mace, wanted.path.parent)
    name = wanted.path.name
    if job is Job.POOL:
        text = init_text.pool_text(name, starts.name, material)
    elif job is Job.BY_HAND:
        outputs[first] = material.bootstrap(test=0).training(material.starts, 0, Guards())
        by_hand = init_text.Labelled(train.name)
        text = init_text.campaign_text(name, starts.name, material, None, by_hand, model)
    else:
        engine = _engine(wanted, init_text.recommended_engines(material))
        init_text.check_engine(engine, material)
        labels = None if given is None else given.labels
        text = init_text.campaign_text(name, starts.name, material, engine, labels, model)
    for path in outputs:
        refuse_existing(path)
    wanted.path.write_text(text)
    try:
        load_config(wanted.path, PoolConfig if job is Job.POOL else CampaignConfig, run_code=False)
        for path, frames in outputs.items():
            write_frames(path, frames)
    except BayeselError:
        wanted.path.unlink()
        raise
    said = [f"wrote {wanted.path}: {text.splitlines()[0].removeprefix('# ')}"]
    said += [
        f"wrote {path}: {len(frames)} structure{'s' if len(frames) > 1 else ''} "
        f"({_formulas(frames)})"
        for path, frames in outputs.items()
    ]
    said += [f"note: {note}" for note in material.notes()]
    if "# edit" in text:
        said.append(f"edit what is marked so in {wanted.path}")
    return [*said, _next(job, wanted.path, first, train)]


def _next(job: Job, config: Path, first: Path, train: Path) -> str:
    if job is Job.POOL:
        names = chain(["pool.xyz"], (f"pool_{k}.xyz" for k in count(2)))
        free = next(name for name in names if not Path(name).exists())
        return f"next: bayesel pool {config} -o {free}"
    then = f"bayesel validate {config}, then bayesel run {config}"
    if job is Job.BY_HAND:
        return (
            f"next: label the structures of {first} (REF_energy in eV, REF_forces in eV/A), write "
            f"them to {train}, and {then}"
        )
    return f"next: {then}"


def _job(wanted: Wanted) -> Job:
    job = wanted.job or (Job.ACE if wanted.mace is None else Job.MACE)
    if job is Job.MACE and wanted.mace is None:
        raise ConfigError("--job mace: needs --mace, a file or a name such as mace_mp:medium")
    if job in (Job.ACE, Job.POOL) and wanted.mace is not None:
        raise ConfigError(f"--mace: has no use with --job {job.value}")
    if job in (Job.POOL, Job.BY_HAND) and wanted.train is not None:
        raise ConfigError(f"--train: has no use with --job {job.value}")
    if job in (Job.POOL, Job.BY_HAND) and wanted.engine is not None:
        raise ConfigError(f"--engine: has no use with --job {job.value}, which labels nothing")
    return job


@dataclass(frozen=True)
class _Given:
    """Labelled structures that a config starts from, and what it says of them."""

    train: Sequence[Atoms]
    labels: Labelled


def _labelled(wanted: Wanted) -> _Given | None:
    """The labelled structures that are given, once they have labels."""
    from ..structures.frames import read_frames
    from ..structures.labels import REF_VIRIAL, PropertyKeys, keys_in, raw_label
    from ..structures.reference_energies import is_isolated, reference_energies_of
    from .init_text import Labelled

    if wanted.train is None:
        if wanted.test is not None:
            raise ConfigError("--test: needs --train; first structures that are made come with one")
        return None
    frames = read_frames(wanted.train)
    found, _ = keys_in(frames, None, str(wanted.train))
    forces, virial = (
        key if any(raw_label(atoms, str(key), name) is not None for atoms in frames) else None
        for name, key in (("forces", found.forces), ("virial", REF_VIRIAL))
    )
    keys = PropertyKeys(found.energy, forces, virial)
    elements = [*dict.fromkeys(symbol for atoms in frames for symbol in atoms.symbols)]
    alone = {symbol for atoms in frames if is_isolated(atoms) for symbol in atoms.symbols}
    e0s = "isolated" if alone.issuperset(elements) else "average"
    reference_energies_of(frames, e0s, keys.energy, f"{wanted.train},")
    folder = wanted.path.parent
    test = None if wanted.test is None else _relative_to(wanted.test, folder)
    return _Given(frames, Labelled(_relative_to(wanted.train, folder), test, keys, e0s))


def _engine(wanted: Wanted, recommended: str) -> str:
    if wanted.engine is None:
        raise ConfigError(
            f"--engine: say what labels: {recommended}; or --job by-hand. All engines: "
            f"{', '.join(ENGINES_NAMED)}"
        )
    return wanted.engine


def _starts(wanted: Wanted) -> list[Atoms]:
    from ..generation.crystals import crystals
    from ..structures.frames import read_frames
    from ..structures.identity import canonical

    if (wanted.elements is None) == (wanted.structure is None):
        raise ConfigError("give one of --elements and --structure, and not both")
    if wanted.structure is not None:
        return [canonical(atoms) for atoms in read_frames(wanted.structure)]
    assert wanted.elements is not None
    symbols = [symbol for symbol in wanted.elements.replace(",", " ").split() if symbol]
    if not symbols:
        raise ConfigError("--elements: names none; give chemical symbols, as Cu,Au")
    return crystals(symbols)


def _check_model(model: str, elements: Sequence[str]) -> None:
    """Refuse a model file that does not know all elements, where it can be read without trust."""
    from ..descriptors.mace.loading import known_elements
    from ..io.fields import MODEL_NAME

    if MODEL_NAME.fullmatch(model) or not Path(model).is_file():
        return
    known = known_elements(Path(model))
    unknown = [] if known is None else [symbol for symbol in elements if symbol not in known]
    if unknown:
        raise ConfigError(
            f"--mace {model}: knows {listed(known or ())}, but not {listed(unknown)} of the "
            "starts; take another model, or starts of its elements"
        )


def _relative(model: str, folder: Path) -> str:
    """A model as a config in a folder names it; the name of one that is downloaded stays."""
    from ..io.fields import MODEL_NAME

    if MODEL_NAME.fullmatch(model):
        return model
    if not Path(model).is_file():
        raise ConfigError(f"--mace {model}: no such file")
    return _relative_to(model, folder)


def _relative_to(file: str | Path, folder: Path) -> str:
    """A file as a config in a folder names it: from there where it lies within, else in full."""
    path, inside = os.path.realpath(file), os.path.realpath(folder)
    return os.path.relpath(path, inside) if Path(path).is_relative_to(inside) else path


def _formulas(frames: Sequence[Atoms]) -> str:
    formulas = dict.fromkeys(atoms.get_chemical_formula() for atoms in frames)
    return ", ".join([*formulas][:5]) + (", ..." if len(formulas) > 5 else "")


def _write_plain(path: Path) -> list[str]:
    from importlib.resources import files

    template = files("ase_bayesel").joinpath("templates/config.yaml").read_text()
    path.write_text(template.format(name=path.name))
    return [f"wrote {path}; edit it, then: bayesel validate {path}"]


def _asked(wanted: Wanted) -> Wanted:
    """The options, asked for one by one; an empty first answer asks for no material."""
    from .init_text import engine_names

    material = typer.prompt(
        "Elements (Cu, or Cu,Au) or a file of structures; nothing for a config with every key",
        default="",
        show_default=False,
    ).strip()
    if not material:
        return wanted
    if Path(material).is_file():
        wanted = replace(wanted, structure=Path(material))
    else:
        wanted = replace(wanted, elements=material)
    job = typer.prompt("What for: ace, mace, pool or by-hand", default="ace", type=Job)
    wanted = replace(wanted, job=job)
    if job is Job.MACE:
        wanted = replace(wanted, mace=typer.prompt("MACE model (a file, or mace_mp:medium)"))
    if job in (Job.ACE, Job.MACE):
        engine = typer.prompt(f"What labels: {', '.join(engine_names())}", default="tblite")
        wanted = replace(wanted, engine=engine)
    return wanted
