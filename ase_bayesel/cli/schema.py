"""The command ``bayesel schema``: what a config may hold, for editors."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .shared import app, named_errors

if TYPE_CHECKING:
    from pydantic import BaseModel


class Config(StrEnum):
    """The files that the command line reads."""

    CAMPAIGN = "campaign"
    POOL = "pool"
    CHECK = "check"


@app.command()
@named_errors
def schema(
    config: Annotated[Config, typer.Argument(help="Of which config.")] = Config.CAMPAIGN,
) -> None:
    """Print the JSON schema of a config: editors complete and check keys by it."""
    typer.echo(json.dumps(config_schema(config), indent=2))


def config_schema(config: Config) -> dict[str, Any]:
    """The JSON schema of a config."""
    from ..campaign.config import PoolConfig
    from ..campaign.config.campaign import CampaignConfig
    from ..io.json_schema import json_schema
    from .check import CheckConfig

    models: dict[Config, type[BaseModel]] = {
        Config.CAMPAIGN: CampaignConfig,
        Config.POOL: PoolConfig,
        Config.CHECK: CheckConfig,
    }
    return json_schema(models[config], f"ase_bayesel: config of a {config.value}")
