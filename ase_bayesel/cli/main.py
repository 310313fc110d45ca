"""The command ``bayesel``: parses, calls, and shows what happens."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import BayeselError
from ..io.words import counted
from . import decisions, exporting, init, label, model_commands, schema  # noqa: F401, their commands
from .shared import (
    CampaignArgument,
    ConfigArgument,
    DirectoryOption,
    EnergyKeyOption,
    ForcesKeyOption,
    MethodsOption,
    TrustOption,
    VirialKeyOption,
    app,
    campaign_directory,
    console,
    existing_campaign,
    keys_asked_for,
    named_errors,
    say,
)
from .stopping import EXIT_RUN_AGAIN, StopRequested, stop_requests

if TYPE_CHECKING:
    from ..campaign.config.campaign import CampaignConfig
    from ..generation import PoolProgress

ROUNDS_SHOWN = 20


@app.command()
@named_errors
def validate(
    config: ConfigArgument,
    directory: DirectoryOption = None,
    only_files: Annotated[
        bool, typer.Option("--files", help="Read files only: import and evaluate nothing.")
    ] = False,
) -> None:
    """Check a config, every file that it names, and the potential on a start.

    Where the campaign has begun, its own copies of the files, and what has changed since.
    """
    from ..campaign.changes import accepted_changes, edited_files
    from ..campaign.config.loading import load_config
    from ..campaign.cost import label_plan, measured_cost, open_points
    from ..campaign.first_labels import FIRST
    from ..campaign.inputs import check_inputs, label_survey
    from ..campaign.own_copies import check_as_before, of_own_copies
    from ..campaign.rounds import Rounds
    from ..campaign.store import Store
    from ..campaign.trial import to_train_on, try_engine, try_potential
    from ..resources.threads import cpu_threads

    settings: CampaignConfig = load_config(config, run_code=not only_files)
    store, edited = Store(campaign_directory(config, directory)), list[str]()
    if store.exists:
        accepted_changes(settings, store)
        edited = edited_files(settings, store)
        settings = of_own_copies(settings, store)
    inputs, told = check_inputs(settings, not only_files), list[str]()
    notes = open_points(settings)
    if not only_files:
        with cpu_threads(settings.threads):
            try_engine(settings.engine)
            if store.exists:
                check_as_before(settings, store, inputs["starts"])
            notes += try_potential(settings, inputs["starts"], to_train_on(settings, inputs))
            train = inputs["train"] if "train" in inputs else inputs.get(FIRST[0], [])
            if train:
                cost = measured_cost(settings, train, inputs["starts"])
                done = Rounds(store).reports if store.exists else []
                told = [*label_plan(settings, inputs, done), *cost.lines()]
                notes += cost.notes()
    survey = label_survey(settings, inputs)
    if survey is not None:
        told, notes = [*survey.lines(), *told], [*survey.notes(), *notes]
    notes += edited
    for line in (*told, *(f"note: {note}" for note in notes)):
        say(line)
    counts = {name: len(frames) for name, frames in inputs.items()}
    summary = ", ".join(f"{name} {count}" for name, count in counts.items())
    say(f"{config}: valid; structures: {summary}")


@app.command()
@named_errors
def run(
    config: ConfigArgument,
    directory: DirectoryOption = None,
    retry_failed: Annotated[
        bool,
        typer.Option("--retry-failed", help="Make failed calculations of this round again."),
    ] = False,
) -> None:
    """Run a campaign to its report, or continue one where it stopped.

    On SIGTERM or SIGINT it saves, and ends with exit code 75: run it again.
    """
    from ..campaign.beginning import round_0
    from ..campaign.campaign import Campaign
    from ..campaign.changes import edited_files
    from ..campaign.config.loading import load_config
    from ..campaign.inputs import label_survey
    from ..campaign.store import Store
    from ..resources.threads import cpu_threads
    from .ending import model_lines
    from .progress import show
    from .report import reported, write_report

    # a cluster that closes on a busy machine tells of every connection that breaks
    os.environ.setdefault("DASK_LOGGING__DISTRIBUTED", "error")
    settings: CampaignConfig = load_config(config)
    with cpu_threads(settings.threads), stop_requests() as requests:
        try:
            new = not Store(campaign_directory(config, directory)).exists
            campaign = Campaign(settings, campaign_directory(config, directory))
            survey = label_survey(settings) if new else None
            notes = [*(survey.notes() if survey else ()), *round_0(settings)] if new else []
            for note in notes if new else edited_files(settings, campaign.store):
                say(f"note: {note}")
            for change in campaign.changes:
                say(f"changed since the last run: {change}")
            if campaign.reopened is not None:
                say(f"round {campaign.reopened}, in which nothing triggered, is explored again")
            events = reported(campaign.run(retry_failed), campaign.store)
            reason = show(events, requests, console)
        except StopRequested:
            reason = None
        except (BayeselError, OSError) as error:
            if requests.signal is None:
                raise
            say(f"after {requests.signal}: {error}")  # a scheduler signals all programs at once
            reason = None
    if reason is None:
        say(f"stopped on {requests.signal}; all that is needed is on disk: run again to go on")
        raise typer.Exit(EXIT_RUN_AGAIN)
    say(reason)
    say(f"report: {write_report(campaign.store)}")
    for line in model_lines(campaign.store):
        say(line)


@app.command()
@named_errors
def status(
    config: CampaignArgument,
    directory: DirectoryOption = None,
    every: Annotated[bool, typer.Option("--all", help="All rounds, not the last only.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON: docs/running.md.")] = False,
    watch: Annotated[
        float | None,
        typer.Option(min=0.1, help="Again every so many seconds, until the campaign has ended."),
    ] = None,
) -> None:
    """Show the last rounds and what comes next."""
    from .status import rounds_table, status_lines, watched
    from .status_json import status_values

    store = existing_campaign(config, directory)
    for _ in watched(store, watch):
        done = store.completed_rounds()
        shown = range(0 if every else max(0, done - ROUNDS_SHOWN), done)
        if as_json:
            say(json.dumps(status_values(store, shown), indent=None if watch else 2))
            continue
        if watch and console.is_terminal:
            console.clear()
        console.print(rounds_table(store, shown))
        for line in status_lines(store, shown):
            say(line)


@app.command()
@named_errors
def report(config: CampaignArgument, directory: DirectoryOption = None) -> None:
    """Write the campaign's HTML page."""
    from .report import write_report

    say(f"wrote {write_report(existing_campaign(config, directory))}")


@app.command()
@named_errors
def select(
    pool: Annotated[Path, typer.Argument(help="Structures to pick from.")],
    n: Annotated[int, typer.Option("-n", help="How many to pick.")],
    descriptor: Annotated[
        str,
        typer.Option(
            help="ace:Si,3,12,5.0, mace:FILE or import:package.module:callable,model=FILE"
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The picks (extended XYZ).")],
    core: Annotated[
        Path | None, typer.Option(help="Structures that are labelled, or a surrogate (.npz).")
    ] = None,
    method: Annotated[
        str, typer.Option(help="One, or several with commas: --methods tells them.")
    ] = "energy_variance",
    methods: MethodsOption = False,
    energy_key: EnergyKeyOption = None,
    forces_key: ForcesKeyOption = None,
    virial_key: VirialKeyOption = None,
    e0s: Annotated[str, typer.Option(help="isolated, or average")] = "isolated",
    properties: Annotated[
        str | None, typer.Option(help="What labels will hold, as energy,forces.")
    ] = None,
    scored: Annotated[
        str | None, typer.Option(help="What of a label i_optimal and c_optimal score: energy")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="For weighted_sum: energy_variance=1,force_variance=2")
    ] = None,
    targets: Annotated[
        Path | None, typer.Option(help="Structures that i_optimal and c_optimal aim at.")
    ] = None,
    coefficients: Annotated[
        str | None, typer.Option(help="One for each target, for c_optimal: 1,-6")
    ] = None,
    budget: Annotated[
        float | None, typer.Option(help="Largest sum of n_atoms^3 over the picks.")
    ] = None,
    seed: Annotated[int, typer.Option(help="For random.")] = 0,
    store: Annotated[Path | None, typer.Option(help="Folder that keeps the features.")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace picks that are there.")
    ] = False,
    curve: Annotated[
        bool,
        typer.Option(help="What the picks leave of the predicted errors over the pool."),
    ] = True,
    trust: TrustOption = False,
) -> None:
    """Pick structures of a pool that deserve a label, and report on them."""
    from ..descriptors.text import descriptor_from_text
    from .select import SelectionRequest, select_from_file
    from .select_options import parse_named_numbers, parse_numbers, parse_words
    from .stages import Stages

    request = SelectionRequest(
        pool,
        n,
        parse_words(method) or (),
        descriptor_from_text(descriptor, trust),
        output,
        core,
        keys_asked_for(energy_key, forces_key, virial_key),
        e0s,
        parse_words(properties),
        parse_words(scored),
        parse_named_numbers("weights", weights),
        targets,
        parse_numbers("coefficients", coefficients),
        budget,
        seed,
        store,
        overwrite,
        curve,
    )
    with Stages(console) as stages:
        written = select_from_file(request, stages.move)
    for n_picked, path in zip(written.n_picked, written.picks, strict=True):
        say(f"{counted(n_picked, 'pick')}: {path}")
    say(f"report: {written.page} and {written.record}")
    for line in (*written.enough, *(f"note: {note}" for note in written.notes)):
        say(line)


@app.command()
@named_errors
def pool(
    config: Annotated[Path, typer.Argument(help="What to generate (YAML).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The pool (extended XYZ).")],
) -> None:
    """Generate candidate structures, or continue where it stopped."""
    from ..campaign.config import PoolConfig
    from ..campaign.config.loading import load_config
    from .pool import make_pool, summary_table
    from .stages import Stages

    settings = load_config(config, PoolConfig)
    with Stages(console) as stages:

        def show(progress: PoolProgress) -> None:
            detail = f"{progress.kept} kept, {progress.recipe}"
            stages.move("candidates", progress.done, progress.total, detail)

        summary = make_pool(settings, output, show)
    console.print(summary_table(summary))
    complete = "" if stages.moved else ", complete before: nothing was left to make"
    say(f"{counted(summary.kept, 'structure')}: {summary.path}{complete}")
