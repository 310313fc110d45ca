"""Tables and figures of docs/nshot.md and docs/nshot_tables.md, from the file of finished runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from . import figures
from .arms import ARMS, FLOOR
from .refits import REFITS
from .summary import DEFAULT, summary
from .tables import (
    AT_ONCE,
    DFT_S,
    Record,
    at_labels,
    by_seed,
    labels_to_floor,
    latest,
    markdown,
    median_range,
    pair,
    paired_ratio,
    present_arms,
    ratio,
    wall_hours,
)

BEGIN, END = "<!-- written by scripts/prove_nshot.py report -->\n", "<!-- end -->\n"
WHAT = ("energy", "forces")
UNIT = {"butane": "meV per molecule", "adatom": "meV per cell"}
INTRODUCTION = "# Does N-shot pay?\n\n"
TABLES = "nshot_tables.md"
ABOUT_TABLES = """# N-shot: all tables

What the arms and materials are, and how to read the numbers, is said in [nshot.md](nshot.md).

"""
COMMANDS = """```bash
python scripts/prove_nshot.py run --system SYSTEM --start START --arms ARMS --seeds SEEDS
python scripts/prove_nshot.py refit --system SYSTEM --start START
python scripts/prove_nshot.py report
```
"""


def write_report(
    records: Sequence[Record], refits: Sequence[Record], page: Path, constants: str = ""
) -> None:
    """Write both pages between their markers, what is around them stays, and the figures.

    Parameters
    ----------
    records
        Finished runs.
    refits
        Kept picks fitted again, of `refits.refit_records`.
    page
        The markdown file of the summary; that of all tables and the figures lie beside it.
    constants
        ``SYSTEM:SEED SEED,...``: runs on which constants were chosen, left out.
    """
    left_out = _seeds(constants)
    kept = [r for r in latest(records) if (r["system"], r["seed"]) not in left_out]
    short = [COMMANDS, _provenance(kept, constants)]
    long = [_descriptions(kept)]
    for system, start in sorted({(r["system"], r["start"]) for r in kept}):
        own = [r for r in kept if (r["system"], r["start"]) == (system, start)]
        title, name = f"## {system}, {start} start", f"nshot_{system}_{start}.png"
        figures.draw(own, page.parent / name)
        short += [title, summary(own, _unit(system)), f"![{system}, {start}]({name})"]
        long += [title, _errors(own, system), _ratios(own), _policy(own), _costs(own)]
        long.append(_refits([r for r in refits if (r["system"], r["start"]) == (system, start)]))
    _write(page, INTRODUCTION, short)
    _write(page.parent / TABLES, ABOUT_TABLES, long)


def _write(page: Path, introduction: str, parts: Sequence[str]) -> None:
    """Put the parts between the page's markers."""
    text = "\n\n".join(part for part in parts if part) + "\n"
    old = page.read_text() if page.exists() else introduction + BEGIN + END
    head, rest = old.split(BEGIN)
    page.write_text(f"{head}{BEGIN}{text}{END}{rest.split(END)[1]}")


def _unit(system: str) -> str:
    return UNIT.get(system, "meV/atom")


def _descriptions(records: Sequence[Record]) -> str:
    rows = [(name, ARMS[name].description) for name in present_arms(records) if name != FLOOR]
    floor = (FLOOR, "the same student fitted to frames of the test's own ensembles")
    return f"The arms:\n\n{markdown(['arm', ''], [floor, *rows])}"


def _seeds(constants: str) -> set[tuple[str, int]]:
    pairs = [part.split(":") for part in constants.split(",") if part]
    return {(system, int(seed)) for system, seeds in pairs for seed in seeds.split()}


def _provenance(records: Sequence[Record], constants: str) -> str:
    versions = sorted({r["version"] for r in records})
    kept_out = f" Left out, constants were chosen on them: {constants}." if constants else ""
    return (
        f"{len(records)} runs, versions {', '.join(versions)}.{kept_out} Median over seeds (least "
        "to most). Ratios are geometric means over common seeds with a 95% paired bootstrap "
        "interval. A run in which nothing triggered keeps its last errors."
    )


def _columns(records: Sequence[Record]) -> list[int]:
    limit = max((r["max_labels"] for r in records), default=0)
    return list(range(0, limit + 1, 10))


def _kinds(records: Sequence[Record]) -> list[str]:
    return list(records[0]["rounds"][0]["errors"])


def _errors(records: Sequence[Record], system: str) -> str:
    """Errors over all frames against labels, and by kind at the end."""
    labels, kinds = _columns(records), _kinds(records)
    rows, last = [], []
    for arm in present_arms(records):
        own = [r for r in records if r["arm"] == arm]
        cells = [arm, len(own), f"{np.median([r['rounds'][-1]['refits'] for r in own]):.0f}"]
        for n in labels if arm != FLOOR else ():
            pairs = [e for r in own if (e := at_labels(r, n)) is not None]
            cells.append(pair(pairs))
        if arm == FLOOR:
            floor = pair([r["rounds"][-1]["errors"]["all"] for r in own])
            cells += [""] * (len(labels) - 1) + [floor]
        rows.append(cells)
        by_kind = [pair([r["rounds"][-1]["errors"][kind] for r in own]) for kind in kinds]
        ended = np.median([r["rounds"][-1]["labels"] for r in own])
        last.append([arm, f"{ended:.0f}", *by_kind])
    header = ["arm", "seeds", "refits", *(f"{n} labels" for n in labels)]
    all_frames = f"Energy RMSE ({_unit(system)}) / force RMSE (meV/A), all test frames:"
    kinds_last = markdown(["arm", "labels", *kinds], last)
    return (
        f"{all_frames}\n\n{markdown(header, rows)}\n\nBy kind of frame, last model:\n\n{kinds_last}"
    )


def _ratios(records: Sequence[Record]) -> str:
    """Errors over the default's at the end."""
    labels = max(_columns(records), default=0)
    kinds = _kinds(records)
    rows = []
    for arm in present_arms(records):
        if arm in (DEFAULT, FLOOR):
            continue
        cells = []
        for kind in kinds:
            for column in (0, 1):
                found = paired_ratio(
                    by_seed(records, arm, labels, kind, column),
                    by_seed(records, DEFAULT, labels, kind, column),
                )
                cells.append(ratio(found))
        rows.append([arm, *cells])
    if not rows:
        return ""
    header = ["arm", *(f"{kind}, {what}" for kind in kinds for what in WHAT)]
    return f"Errors over those of the default, {labels} labels:\n\n{markdown(header, rows)}"


def _refits(records: Sequence[Record]) -> str:
    """Errors of other fits to kept picks, over those of the default's fit to the same picks."""
    found: dict[str, dict[tuple[str, int], dict[str, list[float]]]] = {}
    for r in records:
        found.setdefault(r["refit"], {})[r["arm"], r["seed"]] = r["errors"]
    if not found:
        return ""
    kinds = list(records[0]["errors"])
    rows = []
    for name, errors in found.items():
        cells: list[object] = [name, REFITS[name].description, len(errors)]
        for kind in kinds:
            for column in (0, 1):
                ours, theirs = (
                    {run: e[kind][column] for run, e in found[way].items()}
                    for way in (name, next(iter(REFITS)))
                )
                cells.append(ratio(paired_ratio(ours, theirs)))
        rows.append(cells)
    header = ["fit", "", "sets", *(f"{kind}, {what}" for kind in kinds for what in WHAT)]
    return (
        "Picks of the telling arms fitted again (`prove_nshot.py refit`), errors over those of "
        f"the default's weights:\n\n{markdown(header, rows)}"
    )


def _policy(records: Sequence[Record]) -> str:
    """MD on the fitted potentials."""
    own = [r for r in records if r["on_policy"]]
    if not own:
        return ""
    factors = list(own[0]["on_policy"])
    rows = []
    for arm in present_arms(own):
        cells: list[str] = []
        for factor in factors:
            found = [r["on_policy"][factor] for r in own if r["arm"] == arm]
            median = np.median([_value(f["median"]) for f in found])
            worst = np.median([_value(f["worst"]) for f in found])
            good = 100 * np.mean([f["good"] for f in found])
            failed = 100 * np.mean([f["failed"] / f["frames"] for f in found])
            cells += [f"{median:.0f} / {worst:.0f}", f"{good:.0f}%", f"{failed:.0f}%"]
        rows.append([arm, *cells])
    columns = ("median / worst force RMSE, meV/A", "below 100 meV/A", "failed")
    header = ["arm", *(f"{factor}: {column}" for factor in factors for column in columns)]
    length = own[0]["policy_ps"]
    return f"MD of {length:g} ps on the last model, by temperature:\n\n{markdown(header, rows)}"


def _value(number: float | None) -> float:
    return np.inf if number is None else float(number)


def _costs(records: Sequence[Record]) -> str:
    """Labels to the floor, steps, picks and wall time."""
    floors = [r["rounds"][-1]["errors"]["all"] for r in records if r["arm"] == FLOOR]
    floor = np.median(floors, axis=0) if floors else None
    rows = []
    for arm in present_arms(records):
        own = [r for r in records if r["arm"] == arm]
        if arm == FLOOR:
            continue
        cells = [_to_floor(own, floor, column) for column in (0, 1)]
        cells.append(f"{np.median([sum(e['steps'] for e in r['rounds']) for r in own]):.0f}")
        steps = [step for r in own for step in r["pick_steps"]]
        cells.append(f"{np.median(steps):.0f}" if steps else "")
        for name in ("returns", "rollbacks"):
            cells.append(
                f"{np.median([sum(e.get(name, 0) for e in r['rounds']) for r in own]):.0f}"
            )
        spread = [r["redundancy"] for r in own if r["redundancy"] is not None]
        cells.append(median_range(spread, 2))
        for seconds in DFT_S.values():
            for at_once in AT_ONCE:
                cells.append(f"{np.median([wall_hours(r, seconds, at_once) for r in own]):.1f}")
        rows.append([arm, *cells])
    header = [
        "arm",
        "labels to floor, energy",
        "forces",
        "MD steps",
        "median pick",
        "returns",
        "rollbacks",
        "distance of picks",
        *(f"h at {cost}, {n} at once" for cost in DFT_S for n in AT_ONCE),
    ]
    return f"Labels to within 10% of the floor, and costs:\n\n{markdown(header, rows)}"


def _to_floor(records: Sequence[Record], floor: np.ndarray | None, column: int) -> str:
    if floor is None:
        return ""
    middle = np.median([labels_to_floor(r, floor[column], column) for r in records])
    return f"{middle:.0f}" if np.isfinite(middle) else f"> {records[0]['max_labels']}"
