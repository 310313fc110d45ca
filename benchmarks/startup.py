"""Start-up of the command line: CPU seconds of whole processes, beside another checkout.

    git worktree add /somewhere/else 40e0e20
    python benchmarks/startup.py [/somewhere/else] [--repeats 7]

``bayesel --help``, ``bayesel status`` of a campaign of one round, and a resume: the config is
read, the campaign opened and its second round begun, up to the third event. Imports of torch,
numba and numpy are beside them. Each checkout has made
its own campaign. User and system seconds of each process are taken in turn (ABBA), and the median
is shown; bytecode is on disk. The last column is what each process has loaded in the end.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from _sides import HERE
from _timing import machine_line, markdown_table, use_one_thread

SET_UP = """
import sys
from pathlib import Path
try:
    from helpers.campaigns import write_campaign, write_config
except ImportError:  # before the tests had helpers
    from systems import write_campaign, write_config
from ase_bayesel import Campaign
try:
    from ase_bayesel.campaign.config.loading import load_config
except ImportError:
    from ase_bayesel.config import load_config
first = write_campaign(Path(sys.argv[1]), {"stop.max_rounds": 1})
list(Campaign(load_config(first), first.with_name("campaign")).run())
endless = {"stop.max_rounds": 10_000, "explore.trigger.threshold": 1e9, "explore.steps": 1_000_000}
write_config(first.parent, endless)
"""
COMMAND = "from ase_bayesel.cli import app\nsys.argv[1:] = {}\napp()"
RESUME = """
from itertools import islice
from pathlib import Path
from ase_bayesel import Campaign
try:
    from ase_bayesel.campaign.config.loading import load_config
except ImportError:
    from ase_bayesel.config import load_config
events = Campaign(load_config(Path(sys.argv[1])), sys.argv[2]).run()
list(islice(events, 3))
events.close()
"""
ACTIONS = {
    "bayesel --help": COMMAND.format("['--help']"),
    "bayesel status": COMMAND.format("['status', sys.argv[1], '-d', sys.argv[2]]"),
    "resume": RESUME,
    "import torch": "import torch",
    "import numba": "import numba",
    "import numpy": "import numpy",
}
LOADED = """
import atexit, sys
heavy = ("torch", "scipy", "matplotlib", "ase", "numba")
tell = lambda: print("LOADED", *(n for n in heavy if n in sys.modules), file=sys.stderr)
atexit.register(tell)
"""


def process(checkout: Path, code: str, folder: Path) -> tuple[float, str]:
    """CPU seconds of a process of its own, and which heavy packages it has loaded."""
    searched = os.pathsep.join([str(checkout), str(checkout / "tests")])
    environment = {**os.environ, "PYTHONPATH": searched}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-W", "ignore", "-c", LOADED + code]
    command += [str(folder / "config.yaml"), str(folder / "campaign")]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, check=False
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if run.returncode:
        raise SystemExit(f"{checkout}: a process has failed\n{run.stderr}")
    told = [line for line in run.stderr.splitlines() if line.startswith("LOADED")]
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, ", ".join(told[-1].split()[1:]) or "none"


def set_up(checkout: Path, folder: Path) -> None:
    """A campaign of one round, made by a checkout, that goes on without an end."""
    folder.mkdir()
    code = SET_UP.replace("sys.argv[1]", repr(str(folder)))
    process(checkout, code, folder)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("other", type=Path, nargs="?", help="another checkout")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args(arguments)
    use_one_thread()
    checkouts = [HERE, *([] if options.other is None else [options.other.resolve()])]
    with tempfile.TemporaryDirectory() as folder:
        sides = [(checkout, Path(folder) / f"side_{k}") for k, checkout in enumerate(checkouts)]
        for side in sides:
            set_up(*side)
        rows = [
            _row(name, measured(code, sides, options.repeats)) for name, code in ACTIONS.items()
        ]
    print(f"{machine_line()}\n\nCPU seconds of a process, median of {options.repeats}.\n")
    header = ["", "seconds", *(["other", "ratio"] if len(sides) > 1 else []), "loaded"]
    print(markdown_table(header, rows))


def measured(
    code: str, sides: Sequence[tuple[Path, Path]], repeats: int
) -> list[list[tuple[float, str]]]:
    """Of each side, seconds and what was loaded, by repeat; one more before is not counted."""
    found: list[list[tuple[float, str]]] = [[] for _ in sides]
    for repeat in range(repeats + 1):
        for k in range(len(sides))[:: 1 if repeat % 2 == 0 else -1]:
            checkout, folder = sides[k]
            found[k].append(process(checkout, code, folder))
    return [own[1:] for own in found]


def _row(name: str, found: Sequence[Sequence[tuple[float, str]]]) -> list[object]:
    seconds = [statistics.median(s for s, _ in own) for own in found]
    ratio = [seconds[0] / seconds[1]] if len(seconds) > 1 else []
    return [name, *seconds, *ratio, found[0][-1][1]]


if __name__ == "__main__":
    main()
