"""Everything that runs on a GPU, in one run: a page of figures with the card's name.

    python benchmarks/gpu.py [--only step walkers ...] [--output FOLDER] [--device cuda]

Each part is a benchmark of its own, run here with the sizes of a GPU. The page
``gpu_<card>_<date>.md`` is written again after each part; parts of the same card and day that are
on it already stay unless they are run again. A part that fails is named on the page, and the
exit status is 1. With ``--device cpu --small`` all parts run in seconds, to see that they run.
"""

from __future__ import annotations

import argparse
import importlib
import io
import re
import shlex
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import redirect_stdout
from datetime import date
from pathlib import Path

from _timing import gpu_name, machine_line, use_one_thread

RESULTS = Path(__file__).parent / "results"
TITLES = {
    "step": "A biased MACE step over a stock step",
    "walkers": "Walkers in one batch",
    "chunks": "Rows of MACE features by the size of a batch",
    "ace": "Linear ACE on the CPU, MACE on the device",
    "selection": "Selection with MACE features",
    "uncertainty": "Force uncertainties, triggers and picks",
}
"""Parts, in the order in which they run and stand on the page."""
NOTES = (
    "Times of the wall, one CPU thread, medians of interleaved turns. On the CPU whatever the "
    "device: linear ACE, which has none, the algebra of the posterior and of selection, "
    "neighbour lists, and ASE's share of a step of MD."
)
PRECISIONS = ("float32", "float64")
_WAYS = "--ways evaluation MD 'torch-sim MD'"
FULL = {
    "step": [
        f"mace_step --atoms 8 64 512 4096 --ways combined separate --dtype {dtype}"
        for dtype in PRECISIONS
    ],
    "walkers": [
        "mace_batch --irreps 128x0e+128x1o --cutoff 6 --atoms 8 64 --walkers 1 4 16 64 256 "
        f"--rounds 3 --slot 0.2 {_WAYS} --dtype {dtype}"
        for dtype in PRECISIONS
    ],
    "chunks": [f"mace_chunks --dtype {dtype}" for dtype in PRECISIONS],
    "ace": ["ace --sizes 8 64 512 4096 --rounds 5"],
    "selection": ["mace_selection"],
    "uncertainty": ["mace_uncertainty --atoms 8 64 --training 30 --md-steps 8 --chunks 4"],
}
"""Benchmarks of a part with their arguments, but for the device."""
_TINY = "--channels 2 --cutoff 3"
SMALL = {
    "step": [
        f"mace_step {_TINY} --atoms 8 64 --rounds 1 --slot 0 --ways combined separate "
        f"--dtype {dtype}"
        for dtype in PRECISIONS
    ],
    "walkers": [
        f"mace_batch --irreps 2x0e --cutoff 3 --atoms 8 --walkers 1 2 --rounds 1 --slot 0 {_WAYS}"
    ],
    "chunks": [f"mace_chunks {_TINY} --chunks 64 128"],
    "ace": [
        "ace --totaldegree 6 --sizes 8 64 --rounds 1 --slot 0 --mace-channels 2 --mace-r-max 3"
    ],
    "selection": ["mace_selection --pool 4 --labelled-pool 4 --picks 2 --irreps 2x0e --cutoff 3"],
    "uncertainty": [
        "mace_uncertainty --atoms 8 --channels 2 --training 1 --md-steps 2 --chunks 1 --pilot 10 "
        "--seeds 1 --slot 0"
    ],
}
"""The same for a look at whether they run."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(TITLES), default=list(TITLES))
    parser.add_argument("--device", default="cuda", help="of PyTorch")
    parser.add_argument("--small", action="store_true", help="small models and sizes")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the page")
    options = parser.parse_args(arguments)
    use_one_thread()

    import torch

    from ase_bayesel.descriptors.mace.internals import import_mace
    from ase_bayesel.descriptors.torch.runtime import quiet

    with redirect_stdout(sys.stderr), quiet():  # what mace prints when it is imported
        import_mace()
        importlib.import_module("mace.calculators")
    if options.device != "cpu" and not torch.cuda.is_available():
        raise SystemExit(f"--device {options.device}: PyTorch finds no CUDA device; cpu --small")
    card = re.sub(r"[^a-z0-9]+", "_", gpu_name(options.device).lower())
    page = options.output / f"gpu_{card}_{date.today().isoformat()}.md"
    sections = _sections(page)
    failed = []
    for part in TITLES:
        if part not in options.only:
            continue
        start = time.perf_counter()
        text, good = _run((SMALL if options.small else FULL)[part], options.device)
        sections[TITLES[part]] = text
        failed += [] if good else [part]
        _write(page, sections, options.device)
        print(f"{part}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    print(f"{page}" + (f"; failed: {', '.join(failed)}" if failed else ""), file=sys.stderr)
    return 1 if failed else 0


def _run(lines: Sequence[str], device: str) -> tuple[str, bool]:
    """What benchmarks print, each under its command, and whether all came to their end."""
    texts, good = [], True
    for line in lines:
        name, *arguments = shlex.split(line)
        printed, error = io.StringIO(), ""
        try:
            with redirect_stdout(printed):
                importlib.import_module(name).main([*arguments, "--device", device])
        except (Exception, SystemExit) as failure:
            traceback.print_exc()
            good, error = False, f"\n\nFailed: {type(failure).__name__}: {failure}"
        found = re.sub(r"^# .*\n+", "", printed.getvalue().strip())
        texts.append(f"`benchmarks/{name}.py {line.partition(' ')[2]} --device {device}`\n\n")
        texts[-1] += found + error
    return "\n\n".join(texts), good


def _sections(page: Path) -> dict[str, str]:
    """Sections of a page by title; none where there is no page."""
    if not page.is_file():
        return {}
    _, *parts = page.read_text().split("\n## ")
    return {title: text.strip() for title, _, text in (part.partition("\n") for part in parts)}


def _write(page: Path, sections: dict[str, str], device: str) -> None:
    parts = [f"# Benchmarks on {gpu_name(device)}", machine_line(device), NOTES]
    parts += [f"## {title}\n\n{sections[title]}" for title in TITLES.values() if title in sections]
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    sys.exit(main())
