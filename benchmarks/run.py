"""All benchmarks, one after another: their figures on file, and the page of the docs.

    python benchmarks/run.py [--only ace mace_step ...] [--quick] [--list]
    python benchmarks/run.py --environment ace-jax=PYTHON --environment ase-uhal=PYTHON

What a benchmark prints goes to ``benchmarks/results/<name>_<date>.md``; after the last one
docs/benchmarks.md is written: what each measures, its newest figures, ratios to rivals, and what
did not run and why. Rivals, and packages that this environment lacks, run in environments of their
own, named by ``--environment`` or by ASE_BAYESEL_ENVIRONMENTS (``name=PYTHON``, commas between).
``--quick`` runs small sizes to see that all runs, and writes no figures. The exit status is 1 if a
benchmark fails.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.util import find_spec
from pathlib import Path

from rivals import RIVALS, environments

HERE = Path(__file__).resolve().parent
RESULTS, PAGE = HERE / "results", HERE.parent / "docs" / "benchmarks.md"
TABLE = "<!-- table: written by benchmarks/run.py -->\n", "<!-- end of the table -->\n"
LAST = "<!-- last run: written by benchmarks/run.py -->\n", "<!-- end of the last run -->\n"
TINY = "--channels 2 --cutoff 3"


@dataclass(frozen=True)
class Benchmark:
    """A script and how it is run.

    Attributes
    ----------
    measures
        What the page says of it.
    arguments
        Of a whole run; None where a flag of this script must say more.
    quick
        Of a look at whether it runs; None where it has no small form.
    packages
        What it needs beyond the package; the first may be in an environment of its own.
    data
        Option for the folder of the silicon set.
    device
        Whether it needs a GPU.
    script
        Name of the script where it is another.
    """

    measures: str
    arguments: str | None = ""
    quick: str | None = None
    packages: tuple[str, ...] = ()
    data: str = ""
    device: bool = False
    script: str = ""


FOUNDATION = {
    "chgnet": ("CHGNet", "chgnet"),
    "sevennet": ("SevenNet", "sevenn"),
    "pet": ("PET", "metatrain"),
    "orb": ("ORB", "orb_models"),
    "mattersim": ("MatterSim", "mattersim"),
    "uma": ("UMA", "fairchem"),
}
"""Name and package by what `foundation_step.py` calls a family."""

BESIDE = ("two_checkouts", "small_cells", "compiled_ace", "startup", "assembly")
"""Those that run beside another checkout where one is given."""
BENCHMARKS = {
    "mace_step": Benchmark(
        "what a biased MACE step costs over a plain step of mace's own calculator",
        quick=f"{TINY} --atoms 8 --rounds 1 --slot 0",
        packages=("mace",),
    ),
    "mace_uncertainty": Benchmark(
        "force uncertainties, lazy triggers and picks on top, and how far off they are",
        quick="--atoms 8 --channels 2 --training 1 --md-steps 2 --chunks 1 --pilot 10 --seeds 1",
        packages=("mace",),
    ),
    "mace_batch": Benchmark(
        "walkers in lock-step",
        quick="--irreps 2x0e --cutoff 3 --atoms 8 --walkers 1 2 --rounds 1 --slot 0",
        packages=("mace",),
    ),
    "mace_chunks": Benchmark(
        "rows of MACE features: time and memory by the size of a batch",
        "--device cpu --channels 32 --chunks 64 128 256",
        f"--device cpu {TINY} --chunks 64",
        packages=("mace",),
    ),
    "mace_selection": Benchmark(
        "selection with MACE features of a GPU beside the CPU",
        quick="--device cpu --pool 4 --labelled-pool 4 --picks 2 --irreps 2x0e --cutoff 3",
        packages=("mace",),
        device=True,
    ),
    "gpu": Benchmark(
        "all of MACE on a GPU: steps, walkers in batch, rows, force uncertainties, selection; "
        "and linear ACE, which stays on the CPU, beside it",
        quick="--device cpu --small",
        packages=("mace",),
        device=True,
    ),
    **{
        f"{family}_step": Benchmark(
            f"a biased step with features of {name}",
            family,
            f"{family} --atoms 8 --rounds 1",
            packages=(package,),
            script="foundation_step",
        )
        for family, (name, package) in FOUNDATION.items()
    },
    "rivals": Benchmark(
        "linear ACE beside ace-jax, biased MACE beside ase-uhal",
        quick="--repeats 1 --turns 1 --totaldegree 6 --channels 2",
    ),
    "ace": Benchmark(
        "linear ACE, its design matrix and an MD step",
        quick="--sizes 8 --totaldegree 6 --rounds 1 --slot 0 --no-mace",
        data="--data-dir",
    ),
    "many_elements": Benchmark(
        "linear ACE of two and five elements, with an embedding and without "
        "([many elements](how-to/many_elements.md)); fits that are on file are shown",
        "table",
        "table",
    ),
    "five_elements": Benchmark(
        "campaigns of five and of two elements from `bayesel init` to a report: time and errors "
        "([many elements](how-to/many_elements.md))",
        quick="--steps 20",
    ),
    "element_cost": Benchmark(
        "steps of linear ACE of five elements with an embedding beside one element",
        quick="--totaldegree 6 --channels 1 --rounds 1",
    ),
    "shared_passes": Benchmark(
        "what small walkers of linear ACE would save if they shared a pass",
        quick="--walkers 2 --totaldegree 6 --rounds 1",
    ),
    "assembly": Benchmark(
        "the design matrix of linear ACE on one core beside another checkout, and in two processes",
        quick="--structures 4 --totaldegree 6 --repeats 1",
        data="--data",
    ),
    "small_cells": Benchmark(
        "linear ACE in cells of 8 to 216 atoms, beside another checkout where one is given",
        quick="--sizes 8 --totaldegree 6 --repeats 1",
    ),
    "compiled_ace": Benchmark(
        "linear ACE with the extra `fast`, beside the way without and another checkout",
        arguments=None,
        packages=("numba",),
    ),
    "exploration": Benchmark(
        "steps to the first trigger and information gained, with and without bias "
        "([exploration](exploration.md))",
        "--only-print",
        "--only-print --seeds 2 --steps 20",
    ),
    "fits": Benchmark(
        "fits of a training set that grows, with and without what was kept of the last",
        quick="--large 12 --small 12 --repeats 1",
        packages=("mace",),
    ),
    "pools": Benchmark(
        "reading structures, selection with labels of many rows, stored pools",
        quick="--rounds 1 --labels 12 --sizes 50 100",
    ),
    "lockstep": Benchmark(
        "what blocks and barriers cost walkers in processes", packages=("distributed",)
    ),
    "selection": Benchmark("selection from large pools against plain ways", data="--data"),
    "two_checkouts": Benchmark(
        "the hot path beside that of another checkout, in one interleaved run", arguments=None
    ),
    "startup": Benchmark(
        "start-up of the command line: help, status, a resume, and what they load",
        quick="--repeats 1",
    ),
    "label_store": Benchmark("status and resume of a campaign with 10,000 labels"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--list", action="store_true", help="show what there is, run nothing")
    parser.add_argument("--table", action="store_true", help="the page's table only, run nothing")
    parser.add_argument("--only", nargs="+", choices=list(BENCHMARKS), default=list(BENCHMARKS))
    parser.add_argument("--quick", action="store_true", help="small sizes; figures are not kept")
    parser.add_argument("--other", type=Path, help="another checkout, for two_checkouts")
    parser.add_argument("--data", type=Path, default=os.environ.get("ASE_BAYESEL_SI2018"))
    parser.add_argument("--environment", action="append", default=[], metavar="NAME=PYTHON")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the figures")
    parser.add_argument("--page", type=Path, default=PAGE, help="page of the docs")
    options = parser.parse_args(arguments)
    found = environments(options.environment)
    if options.list:
        for name, benchmark in BENCHMARKS.items():
            reason = missing(name, benchmark, options, found)
            print(f"{name:17} {f'skipped: {reason}' if reason else benchmark.measures}")
        return 0
    if options.table:
        put(options.page, TABLE, table(options.results))
        return 0
    outcomes = {}
    with tempfile.TemporaryDirectory() as dropped:
        if options.quick:
            options.results = Path(dropped)
        for name in options.only:
            outcomes[name] = run(name, options, found)
            print(f"{name}: {outcomes[name]}", flush=True)
    if not options.quick:
        put(options.page, LAST, last_run(outcomes))
        put(options.page, TABLE, table(options.results))
    return int(any(outcome.startswith("failed") for outcome in outcomes.values()))


def missing(
    name: str, benchmark: Benchmark, options: argparse.Namespace, found: Mapping[str, str]
) -> str:
    """Why a benchmark cannot run; nothing if it can."""
    absent = [package for package in benchmark.packages if find_spec(package) is None]
    if absent and absent[0] not in found:
        return f"needs {', '.join(absent)} (or --environment {absent[0]}=PYTHON)"
    if options.quick and benchmark.quick is None:
        return "has no quick form"
    if benchmark.arguments is None and options.other is None:
        return "needs --other CHECKOUT"
    if name == "rivals" and not {*RIVALS} & found.keys():
        options_of = ", ".join(f"--environment {rival}=PYTHON" for rival in RIVALS)
        return f"no environment of a rival ({options_of})"
    if benchmark.device and not options.quick:
        import torch

        if not torch.cuda.is_available():
            return "needs a CUDA device"
    return ""


def command(name: str, options: argparse.Namespace, found: Mapping[str, str]) -> list[str]:
    """The interpreter, the script and its arguments."""
    benchmark = BENCHMARKS[name]
    inside = next((found[p] for p in benchmark.packages if p in found), sys.executable)
    line = benchmark.quick if options.quick else benchmark.arguments
    parts = [inside, str(HERE / f"{benchmark.script or name}.py"), *(line or "").split()]
    if options.other is not None and name in BESIDE:
        parts.append(str(options.other.resolve()))
    if benchmark.data and options.data is not None and not options.quick:
        parts += [benchmark.data, str(options.data)]
    if name == "rivals":
        parts += [f"--environment={rival}={found[rival]}" for rival in RIVALS if rival in found]
    if name == "gpu":  # which writes its own page
        parts += ["--output", str(options.results)]
    return parts


def run(name: str, options: argparse.Namespace, found: Mapping[str, str]) -> str:
    """Run a benchmark, keep what it prints; how it ended, in words."""
    if reason := missing(name, BENCHMARKS[name], options, found):
        return f"skipped: {reason}"
    searched = os.pathsep.join([str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    parts, start = command(name, options, found), time.perf_counter()
    ended = subprocess.run(
        parts, env=os.environ | {"PYTHONPATH": searched}, stdout=subprocess.PIPE, text=True
    )
    seconds = f"{time.perf_counter() - start:.0f} s"
    if ended.returncode:
        return f"failed: exit status {ended.returncode} after {seconds}"
    if not ended.stdout.strip() and name != "gpu":
        return f"failed: printed nothing in {seconds}"
    if not options.quick and name != "gpu":  # which writes its own page
        places = _places(options, found)
        told = ["python", f"benchmarks/{Path(parts[1]).name}"]
        for part in parts[2:]:
            head, equals, value = part.rpartition("=")  # of an option, or nothing
            told.append(head + equals + places.get(value, value))
        shown = " ".join(told)
        page = f"# {name}\n\n`{shown}`\n\n{ended.stdout.strip()}\n"
        options.results.mkdir(parents=True, exist_ok=True)
        (options.results / f"{name}_{date.today().isoformat()}.md").write_text(page)
    without = " without the silicon set (--data FOLDER)"
    return f"ran in {seconds}" + (without if BENCHMARKS[name].data and not options.data else "")


def _places(options: argparse.Namespace, found: Mapping[str, str]) -> dict[str, str]:
    """Paths of this machine, and what stands for them."""
    places = dict.fromkeys(found.values(), "PYTHON")
    if options.other is not None:
        places[str(options.other.resolve())] = "CHECKOUT"
    if options.data is not None:
        places[str(options.data)] = "FOLDER"
    return places


def newest(name: str, results: Path) -> list[Path]:
    """The newest page of a benchmark on each kind of machine, that without a name first.

    Or the file to which it adds lines.
    """
    pages: dict[str, Path] = {}
    for path in sorted(results.glob(f"{name}_*.md"), key=lambda path: path.stem[-10:]):
        if match := re.fullmatch(rf"{name}_(?:(\w+)_)?\d{{4}}-\d\d-\d\d", path.stem):
            pages[match[1] or ""] = path
    lines = results / f"{name}.jsonl"
    return [pages[kind] for kind in sorted(pages)] or [lines] * lines.exists()


def table(results: Path) -> str:
    """All benchmarks and their newest figures, and the ratios to rivals."""
    lines = ["| script | what it measures | newest figures |", "|---|---|---|"]
    for name, benchmark in BENCHMARKS.items():
        pages = [path for n in {name, benchmark.script} - {""} for path in newest(n, results)]
        files = ", ".join(sorted(f"`{path.name}`" for path in pages)) or "none yet"
        script = benchmark.script or name
        lines.append(f"| `benchmarks/{script}.py` | {benchmark.measures} | {files} |")
    ratios = newest("rivals", results)
    text = ratios[-1].read_text().partition("`\n\n")[2] if ratios else "No figures yet.\n"
    return "\n".join(["", *lines, "", "## Beside other packages", "", text, ""])


def last_run(outcomes: Mapping[str, str]) -> str:
    """What was asked for, and each that did not run, or not all of it."""
    whole = re.compile(r"ran in \d+ s")
    left = [f"* {n}: {outcome}" for n, outcome in outcomes.items() if not whole.fullmatch(outcome)]
    told = f"{date.today().isoformat()}: {len(outcomes)} of {len(BENCHMARKS)} benchmarks asked for"
    ran = sum(outcome.startswith("ran") for outcome in outcomes.values())
    parts = ["", "## The last run", "", f"{told}, {ran} ran.", ""]
    return "\n".join([*parts, *left, *([""] if left else []), ""])


def put(page: Path, marks: tuple[str, str], text: str) -> None:
    """Replace what stands between two marks of a page."""
    before, begin, rest = page.read_text().partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not end:
        raise SystemExit(f"{page}: has no {marks[0].strip()} ... {marks[1].strip()}")
    page.write_text(before + begin + text + end + after)


if __name__ == "__main__":
    sys.exit(main())
