"""Commands about a model or an engine alone, without a campaign."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .shared import (
    EXIT_BAD_INPUT,
    ConfigArgument,
    EnergyKeyOption,
    ForcesKeyOption,
    TrustOption,
    VirialKeyOption,
    app,
    console,
    keys_asked_for,
    named_errors,
    say,
)


@app.command()
@named_errors
def check(
    model: Annotated[str, typer.Argument(help="Surrogate (.npz), MACE model, or module:factory.")],
    config: Annotated[Path, typer.Option("--config", "-c", help="What to compute (YAML).")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Directory of results.")] = Path("check"),
    trust: TrustOption = False,
) -> None:
    """Compute lattice and elastic constants, surface energies and phonons of a model."""
    from ..campaign.config.loading import load_config
    from .check import CheckConfig, run_check, tables, write_check
    from .models import named_model

    settings = load_config(config, CheckConfig)
    named = named_model(model, settings.head, settings.device, trust)
    checked = run_check(named, settings)
    for table in tables(checked):
        console.print(table)
    for path in write_check(checked, out):
        say(f"wrote {path}")


@app.command("check-engine")
@named_errors
def check_engine(
    config: ConfigArgument,
    structure: Annotated[Path | None, typer.Option(help="Default: the smallest start.")] = None,
    attempt: Annotated[
        int, typer.Option(help="0: the settings as given; k: the k-th fallback.")
    ] = 0,
    keep: Annotated[Path | None, typer.Option(help="New directory for its files.")] = None,
) -> None:
    """Run one calculation with the labelling engine, or say what it lacks."""
    from ..campaign.config.loading import load_config
    from .check_engine import notes, run_engine_check, table

    result = run_engine_check(load_config(config), structure, attempt, keep)
    if result is None:
        say("labels come by hand (labelling: none), so there is nothing to run")
        return
    console.print(table(result))
    for note in notes(result):
        say(note)
    if result.missing or result.label.reason:
        raise typer.Exit(EXIT_BAD_INPUT if result.missing else 1)


@app.command()
@named_errors
def calibrate(
    model: Annotated[Path, typer.Argument(help="A saved surrogate (.npz).")],
    frames: Annotated[Path, typer.Argument(help="Labelled structures that it has not seen.")],
    energy_key: EnergyKeyOption = None,
    forces_key: ForcesKeyOption = None,
    virial_key: VirialKeyOption = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The surrogate with the new scales.")
    ] = None,
    potential: Annotated[
        str | None,
        typer.Option(
            help="MACE model (as exported: with its energy shift) or module:factory; predicts in "
            "place of the mean."
        ),
    ] = None,
    head: Annotated[str | None, typer.Option(help="Of a MACE model with several.")] = None,
    device: Annotated[str, typer.Option(help="On which it runs.")] = "cpu",
    trust: TrustOption = False,
) -> None:
    """Compare a model's uncertainties with its errors, and scale them."""
    from ..surrogate.surrogate import Surrogate
    from .calibration import calibrate as compare
    from .models import named_model

    keys = keys_asked_for(energy_key, forces_key, virial_key)
    named = None if potential is None else named_model(potential, head, device, trust)
    predicting = named.calculator() if isinstance(named, Surrogate) else named
    table, _ = compare(model, frames, keys, output, predicting, trust)
    console.print(table)
    if output is not None:
        say(f"wrote {output}")
