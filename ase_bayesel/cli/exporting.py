"""The command that writes the potential of a campaign for use elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .shared import (
    CampaignArgument,
    DirectoryOption,
    app,
    existing_campaign,
    named_errors,
    say,
)


@app.command()
@named_errors
def export(
    config: CampaignArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="The file; a new one.")],
    form: Annotated[
        str | None,
        typer.Option(
            "--format", help="surrogate, model, yace or ace-jax; default: by the file's name."
        ),
    ] = None,
    number: Annotated[
        str, typer.Option("--round", help="last, best (on the test set), or its number.")
    ] = "last",
    directory: DirectoryOption = None,
) -> None:
    """Write the potential of a campaign to a file, and say how to load it."""
    from ..campaign.export import export as write
    from ..campaign.export import form_for, round_named
    from ..campaign.final_round import ranked_best
    from ..campaign.history import History

    store = existing_campaign(config, directory)
    chosen = round_named(store, number)
    form = form_for(store, chosen, output, form)
    written = write(store, chosen, output, form)
    say(f"wrote {written.path}: {form} of round {chosen}")
    best = ranked_best(History(store))
    if number == "last" and best not in (None, chosen):
        say(f"note: round {best} had the smallest errors on the test set: --round best")
    for note in written.notes:
        say(f"note: {note}")
    for line in written.lines:
        say(line)
