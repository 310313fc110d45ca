"""Run copper from its name and picture what the terminal shows, for docs/quick_start.md.

python scripts/terminal_pictures.py
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from io import StringIO
from pathlib import Path

from rich.console import Console, RenderableType
from rich.text import Text

from ase_bayesel import Campaign, load_config
from ase_bayesel.campaign.events import Ended, Progress
from ase_bayesel.cli.progress import _Bars
from ase_bayesel.cli.stopping import StopRequests
from ase_bayesel.resources.threads import cpu_threads

DOCS = Path(__file__).resolve().parent.parent / "docs"
WIDTH = 100
ENVIRONMENT = os.environ | {"FORCE_COLOR": "1", "COLUMNS": str(WIDTH), "TERM": "xterm-256color"}
_REMOTE_FONTS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


def picture(name: str, command: str, shown: Iterable[RenderableType]) -> None:
    """Write docs/terminal_NAME.svg: a prompt with the command, and what it shows."""
    console = Console(record=True, width=WIDTH, file=StringIO(), force_terminal=True)
    console.print(Text(f"$ {command}"))
    for part in shown:
        console.print(part, highlight=False)
    svg = console.export_svg(title=command, unique_id=f"terminal-{name}")
    (DOCS / f"terminal_{name}.svg").write_text(_REMOTE_FONTS.sub("", svg))


def output(command: str, folder: Path) -> Text:
    """What a command prints on a terminal of this width; the folder's path is left out."""
    program, *arguments = command.split()
    process = [str(Path(sys.executable).with_name(program)), *arguments]
    done = subprocess.run(
        process, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    path = re.compile(rf"\s*{re.escape(str(folder))}/(\S+)(?= *$)", re.MULTILINE)
    centred = path.sub(lambda found: found[1].center(len(found[0])), done.stdout)
    return Text.from_ansi(centred.replace(f"{folder}/", ""))


def run_to_the_end(config: Path) -> None:
    """Run the campaign; picture it where walkers are half way in its first round."""
    lines: list[Text] = []
    shown = _Bars(Console(file=StringIO(), force_terminal=True, width=WIDTH), StopRequests())
    shown._say = lambda line: lines.append(Text(line))  # type: ignore[method-assign]
    pictured = False
    with shown:
        for event in Campaign(load_config(config), config.with_name("copper_campaign")).run():
            if isinstance(event, Ended):
                return
            shown.take(event)
            exploring = isinstance(event, Progress) and event.stage == "explore" and event.walkers
            if exploring and not pictured and 2 * event.done > event.total:
                pictured = True
                parts = [*lines, *shown._bars.get_renderables()]
                picture("run", "bayesel run copper.yaml", parts)


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        output("bayesel init copper.yaml --elements Cu --engine emt", folder)
        with cpu_threads(1):
            run_to_the_end(folder / "copper.yaml")
        command = "bayesel status copper.yaml"
        picture("status", command, [output(command, folder)])


if __name__ == "__main__":
    main()
