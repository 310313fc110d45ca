"""The command ``bayesel label``: labels of a config's engine for the structures of a file."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import BayeselError, ConfigError
from ..io.words import counted
from .shared import DirectoryOption, app, campaign_directory, console, named_errors, say
from .stopping import EXIT_RUN_AGAIN, StopRequested, StopRequests, stop_requests

if TYPE_CHECKING:
    from ase import Atoms

    from ..campaign.config.campaign import CampaignConfig
    from ..campaign.events import Progress
    from ..labelling.reference import Reference
    from ..structures.labels import PropertyKeys


REPEATED = "does the engine return what it computed before?"


@dataclass(frozen=True)
class Labelled:
    """Structures of a file with their labels, and why others have none, by their frame there."""

    frames: dict[int, Atoms]
    failed: dict[int, str]


@app.command()
@named_errors
def label(
    frames: Annotated[Path, typer.Argument(help="Structures, in any format that ASE reads.")],
    config: Annotated[Path, typer.Option("--config", "-c", help="Whose engine labels them.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="With labels (extended XYZ).")],
    directory: DirectoryOption = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Make failed calculations again.")
    ] = False,
) -> None:
    """Label structures with the engine of a config, or go on where it stopped.

    Labels lie in the store of the campaign, so that none is computed twice. On SIGTERM or SIGINT
    it ends with exit code 75: run it again.
    """
    from ..campaign.config.loading import load_config
    from ..io.atomic import refuse_existing, write_atomically
    from ..resources.threads import cpu_threads
    from ..structures.frames import check_output, extxyz_bytes, read_frames

    check_output(output)
    refuse_existing(output)
    settings: CampaignConfig = load_config(config)
    place = campaign_directory(config, directory)
    structures = read_frames(frames)
    reference = _reference(settings, place, structures)
    with cpu_threads(settings.threads), stop_requests() as requests:
        steps = _labelling(settings, place, reference, structures, retry_failed)
        try:
            done = _shown(steps, requests)
        except StopRequested:
            done = False
        except (BayeselError, OSError):
            if requests.signal is None:
                raise
            done = False  # a scheduler signals the engine at once with this process
    if not done:
        say(f"stopped on {requests.signal}; labels so far are kept: run again to go on")
        raise typer.Exit(EXIT_RUN_AGAIN)
    labelled = collected(settings, reference, structures)
    for number, reason in labelled.failed.items():
        say(f"{frames}, frame {number} failed: {reason}")
    for told in doubts(labelled, settings.data.keys):
        say(f"warning: {frames}: {told}")
    if labelled.frames:
        write_atomically(output, extxyz_bytes([*labelled.frames.values()], str(output)))
        say(f"wrote {output}: {len(labelled.frames)} labelled, {len(labelled.failed)} failed")
    else:
        fate = counted(len(structures), "structure has failed", "structures have all failed")
        say(f"{fate}; bayesel check-engine {config}")
        raise typer.Exit(1)


def collected(
    settings: CampaignConfig, reference: Reference, structures: Sequence[Atoms]
) -> Labelled:
    """What the store holds for some structures, under the keys of the config.

    Parameters
    ----------
    settings, reference
        The config, and how it labels.
    structures
        All of which are labelled or have failed.

    Raises
    ------
    StoreError
        If a label is damaged.
    """
    from ..campaign.new_labels import note_labels, reasons_of_failures, with_known_labels

    labels, settings_of = reference.store, reference.settings_of
    notes = note_labels(structures, labels, settings_of)
    failed = reasons_of_failures(structures, notes, labels, settings_of)
    numbers = [k for k in range(len(structures)) if k not in failed]
    found = with_known_labels(structures, notes, labels, settings.data.keys)
    return Labelled(dict(zip(numbers, found, strict=True)), failed)


def doubts(labelled: Labelled, keys: PropertyKeys) -> list[str]:
    """Labels that no engine gives to different structures, in words.

    Parameters
    ----------
    labelled, keys
        The structures, and the keys of their labels.
    """
    from ..structures.labels import targets
    from ..structures.repeats import repeats, same_energy

    numbers, frames = [*labelled.frames], [*labelled.frames.values()]
    labels = [targets(atoms, keys, f"frame {k}") for k, atoms in labelled.frames.items()]
    told = [
        f"frame {numbers[k]} has the energy and forces of frame {numbers[first]} to the last "
        f"digit; {REPEATED}"
        for k, first in repeats(frames, labels).items()
    ]
    energy = None if told else same_energy(frames, labels)
    if energy is not None:
        told.append(f"all {len(frames)} energies are the same, {energy:.8g} eV; {REPEATED}")
    return told


def _reference(settings: CampaignConfig, directory: Path, structures: Sequence[Atoms]) -> Reference:
    """How the config labels, once all that its engine needs is there."""
    from ..campaign.build.engines import build_reference
    from ..campaign.store import Store

    reference = build_reference(settings, Store(directory))
    if reference is None:
        raise ConfigError("labelling: none labels nothing; name an engine (docs/engines.md)")
    elements = {symbol for atoms in structures for symbol in atoms.symbols}
    for problem in reference.engine.missing(sorted(elements)):
        raise ConfigError(f"labelling: {problem}")
    return reference


def _labelling(
    settings: CampaignConfig,
    directory: Path,
    reference: Reference,
    structures: Sequence[Atoms],
    retry_failed: bool,
) -> Generator[Progress, None, None]:
    """The calculations that are not on disk; a step for each."""
    from ..campaign.build.resources import build_resource
    from ..campaign.label_progress import until_all_ended
    from ..labelling.labeller import Labeller
    from ..resources import open_executor

    workers = build_resource(settings.workers.labelling, settings.threads, directory)
    with Labeller(reference, lambda: open_executor(workers), retry_failed) as labeller:
        labeller.submit(structures)
        yield from until_all_ended(0, labeller)


def _shown(steps: Generator[Progress, None, None], requests: StopRequests) -> bool:
    """Follow the calculations; False if it was asked to stop."""
    from .stages import Stages

    with Stages(console) as stages:
        try:
            for step in steps:
                stages.move("labels", step.done, step.total, step.detail)
                if requests.signal is not None:
                    requests.heard()
                    return False
        finally:
            steps.close()
    if not stages.moved:
        say("no calculation was left to make")
    return True
