"""What all commands share: the application, its console, errors and options."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import cleandoc
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec, TypeVar

import typer
from rich.console import Console
from typer.core import TyperGroup

from .. import __version__
from ..errors import BayeselError, ConfigError
from .stopping import EXIT_RUN_AGAIN, StopRequested

if TYPE_CHECKING:
    from ..campaign.store import Store
    from ..structures.labels import PropertyKeys

TrustOption = Annotated[
    bool, typer.Option("--trust", help="Unpickle the MACE model, which runs code that it holds.")
]
ConfigArgument = Annotated[Path, typer.Argument(help="The campaign's YAML config.")]
CampaignArgument = Annotated[
    Path, typer.Argument(help="The campaign's YAML config, or its directory.")
]
DirectoryOption = Annotated[
    Path | None,
    typer.Option("--dir", "-d", help="Campaign directory; default: <config>_campaign beside it."),
]
EnergyKeyOption = Annotated[
    str | None,
    typer.Option(
        help="Energies of the labelled structures.",
        show_default="energy, or REF_energy where all have it",
    ),
]
ForcesKeyOption = Annotated[
    str | None,
    typer.Option(help="Their forces.", show_default="forces, or REF_forces with REF_energy"),
]
VirialKeyOption = Annotated[str | None, typer.Option(help="Their virials.")]


def keys_asked_for(
    energy: str | None, forces: str | None, virial: str | None
) -> PropertyKeys | None:
    """The keys of labels of a file that a command is given; None where it is given none."""
    from ..structures.labels import PropertyKeys

    if (energy, forces, virial) == (None, None, None):
        return None
    usual = PropertyKeys()
    return PropertyKeys(energy or usual.energy, forces or usual.forces, virial)


def _tell_methods(asked: bool) -> None:
    if asked:
        from ..selection.guide import methods_text

        say(methods_text())
        raise typer.Exit


MethodsOption = Annotated[
    bool,
    typer.Option("--methods", callback=_tell_methods, is_eager=True, help="Tell all methods."),
]
COMMANDS = (
    *("init", "validate", "check-engine", "run", "status", "report", "export"),
    *("accept", "reject", "label", "calibrate", "check", "pool", "select", "schema"),
)
"""In the order in which they are met."""


class InOrder(TyperGroup):
    """Lists commands in the order of `COMMANDS`."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(self.commands, key=COMMANDS.index)


app = typer.Typer(
    name="bayesel",
    cls=InOrder,
    no_args_is_help=True,
    add_completion=False,
)
console = Console()
EXIT_BAD_INPUT = 2


def _tell_version(asked: bool) -> None:
    if asked:
        say(f"bayesel {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_tell_version, is_eager=True, help="Say which it is."),
    ] = False,
) -> None:
    """Bayesian selection of training structures, while the MD is running."""


Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def named_errors(command: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """One clear message and exit code 2 for anything wrong with the input.

    The help has the docstring's paragraphs without their line breaks, and wraps them itself.
    """

    @wraps(command)
    def wrapped(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        try:
            return command(*args, **kwargs)
        except StopRequested:
            raise typer.Exit(EXIT_RUN_AGAIN) from None
        except BayeselError as error:
            message = str(error)
        except OSError as error:
            message = f"{error.filename}: {error.strerror}"
        typer.secho(f"error: {message}", err=True, fg="red")
        raise typer.Exit(EXIT_BAD_INPUT)

    paragraphs = cleandoc(command.__doc__ or "").split("\n\n")
    wrapped.__doc__ = "\n\n".join(" ".join(part.split()) for part in paragraphs)
    return wrapped


def say(text: str) -> None:
    """Print a line as it is: no markup, no wrapping."""
    console.print(text, soft_wrap=True, markup=False)


def campaign_directory(config: Path, directory: Path | None) -> Path:
    """Where a campaign lies."""
    return directory or config.resolve().with_name(f"{config.stem}_campaign")


def existing_campaign(config: Path, directory: Path | None) -> Store:
    """The store of a campaign that was begun, by its config or its directory."""
    from ..campaign.occupied import check_unoccupied
    from ..campaign.store import Store

    if directory is None and config.is_dir():
        directory = config
    elif directory is None and not config.is_file():
        raise ConfigError(f"{config}: no such file")
    store = Store(campaign_directory(config, directory))
    if not store.exists:
        check_unoccupied(store.directory)
        raise ConfigError(f"{store.directory}: holds no campaign yet; start it with bayesel run")
    return store
