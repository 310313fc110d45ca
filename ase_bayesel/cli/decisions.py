"""Commands that decide about labels that were set aside."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .shared import (
    CampaignArgument,
    DirectoryOption,
    app,
    existing_campaign,
    named_errors,
    say,
)

if TYPE_CHECKING:
    from ..campaign.decisions import Decision

IdentityArgument = Annotated[str, typer.Argument(help="Of the label, as bayesel status names it.")]


@app.command()
@named_errors
def accept(
    config: CampaignArgument, identity: IdentityArgument, directory: DirectoryOption = None
) -> None:
    """Let the next fit take a label that was set aside."""
    _decide(config, identity, directory, "accepted")


@app.command()
@named_errors
def reject(
    config: CampaignArgument, identity: IdentityArgument, directory: DirectoryOption = None
) -> None:
    """Keep a label out of all fits from the next one on."""
    _decide(config, identity, directory, "rejected")


def _decide(config: Path, identity: str, directory: Path | None, decision: Decision) -> None:
    from ..campaign.decisions import decide

    decide(existing_campaign(config, directory), identity, decision)
    say(f"{identity}: {decision}, from the next fit on")
