"""Tables of the reproduction, and the page that holds them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from paper_figures import figures
from paper_methods import CATALOGUE, EVERYTHING
from paper_outcome import (
    BY_DESCRIPTOR,
    ENERGY,
    G100,
    G111,
    METRICS,
    PAPER_METHODS,
    POOLS,
    Metric,
    Outcome,
    mean,
)
from paper_refit import SiliconSet

from ase_bayesel.descriptors import Descriptor
from ase_bayesel.io.atomic import write_atomically

PAPER_LENGTHS = {"ACE (S)": 211, "ACE (M)": 668, "ACE (L)": 1429}
PAPER_FACTOR = 4.3
BAYESIAN = ("variance", "variance_efv", "force", "logdet", "i_opt", "i_opt_mixed", "i_opt_efv")
TARGETED = ("c_100", "c_111", "c_opt", "c_opt_mixed", "c_i_opt", "c_opt_efv")


def write_report(folder, plan, structures, descriptors, results) -> None:
    """Write results.md and its figures into a folder."""
    outcome = Outcome(plan.reference, plan.numbers, results.records)
    parts = [
        f"# Results of the reproduction\n\nWritten by scripts/reproduce_paper.py. Picks and refits "
        f"with {plan.reference} unless said otherwise. Errors of surface energies are distances "
        "to DFT. Cells are means, with the standard deviation over seeds or pools where there "
        "are several. [reproduction.md](../reproduction.md) says what to make of it.",
        "## Table 1: descriptor lengths\n\n" + lengths_table(descriptors),
        "## Table 2: the sets\n\n" + sets_table(structures),
        "## The paper's statements\n\n" + statements_table(outcome),
    ]
    for title, pools in POOLS.items():
        if outcome.where(pools):
            parts.append(f"## {title}\n\n" + methods_tables(outcome, pools))
    parts.append("## Other descriptors, all 186 structures\n\n" + descriptors_table(outcome))
    parts.append(f"## Side by side on the sub-pools\n\n{pairs_table(outcome)}")
    for name, (caption, figure) in figures(outcome).items():
        folder.mkdir(parents=True, exist_ok=True)
        figure.savefig(folder / f"{name}.png", dpi=110)
        parts.append(f"## {caption}\n\n![{caption}]({name}.png)")
    write_atomically(folder / "results.md", ("\n\n".join(parts) + "\n").encode())


def markdown(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; the first column is text."""
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return "\n".join(lines)


def lengths_table(descriptors: Mapping[str, Descriptor]) -> str:
    """Table 1."""
    rows = [
        (name, descriptor.n_features, PAPER_LENGTHS.get(name, "-"))
        for name, descriptor in descriptors.items()
    ]
    return markdown(["descriptor", "length", "paper"], rows)


def sets_table(structures: SiliconSet) -> str:
    """Table 2."""
    rows = []
    for part, frames in (("core", structures.core), ("pool", structures.pool)):
        kinds = Counter(atoms.info.get("config_type", "") for atoms in frames)
        for kind, count in kinds.items():
            atoms = sum(len(a) for a in frames if a.info.get("config_type", "") == kind)
            rows.append((f"{part}: {kind}", count, atoms))
        rows.append((f"**{part}**", len(frames), sum(map(len, frames))))
    return markdown(["set", "structures", "atoms"], rows)


def cell(values: np.ndarray) -> str:
    """Mean and spread; refits without the value are counted."""
    good = values[np.isfinite(values)]
    if not len(good):
        return "-" if not len(values) else "failed"
    text = f"{good.mean():.3g}"
    text += f" ± {good.std(ddof=1):.2g}" if len(good) > 1 else ""
    return text + (f" ({len(values) - len(good)} failed)" if len(good) < len(values) else "")


def methods_tables(outcome: Outcome, pools: str) -> str:
    """One table a metric, one line a method."""
    head = ["method", *(f"N = {n}" for n in outcome.numbers)]
    if pools != "full":
        head.append("pools")
    tables, everything = [], outcome.where("full", method=EVERYTHING)
    for metric in METRICS:
        rows = []
        for method in outcome.methods(pools):
            cells = [cell(outcome.values(metric, pools, n, method=method)) for n in outcome.numbers]
            counted = {r["task"]["pool"] for r in outcome.where(pools, method=method)}
            extra = [] if pools == "full" else [str(len(counted))]
            rows.append([CATALOGUE[method].title, *cells, *extra])
        ends = [f"; {metric.of(r):.3g} with all {r['n']} structures" for r in everything]
        tables.append(f"{metric.title}{''.join(ends)}\n\n{markdown(head, rows)}")
    return "\n\n".join(tables)


def descriptors_table(outcome: Outcome) -> str:
    """Picks by other descriptors, refits always by the reference."""
    head = ["descriptor and method", "metric", *(f"N = {n}" for n in outcome.numbers)]
    rows = []
    for name in outcome.descriptors():
        for method in BY_DESCRIPTOR:
            task = {"descriptor": name, "method": method}
            if not outcome.where("full", **task):
                continue
            for metric in METRICS:
                cells = [cell(outcome.values(metric, "full", n, **task)) for n in outcome.numbers]
                rows.append([f"{name}, {CATALOGUE[method].title}", metric.title, *cells])
    return markdown(head, rows)


def ratio_to_random(outcome: Outcome, method: str, pools: str, n: int) -> str:
    """How many times larger the root mean square (100) error of random picks is."""
    own, random = (outcome.values(G100, pools, n, method=name) for name in (method, "random"))
    if not len(own) or not len(random):
        return "-"
    return f"{np.sqrt(mean(random**2) / mean(own**2)):.2g}"


def statements_table(outcome: Outcome) -> str:
    """What the paper says, and what this run says."""
    rows: list[list[str]] = []
    few = outcome.numbers[:2]
    for method in ("variance", "variance_efv"):
        for title, pools in POOLS.items():
            if pools != "sub":
                found = [f"N = {n}: {ratio_to_random(outcome, method, pools, n)}" for n in few]
                rows.append(
                    [
                        f"(100) error of random picks over {CATALOGUE[method].title} (root mean "
                        f"square): {PAPER_FACTOR} at few picks. {title}",
                        "; ".join(found),
                    ]
                )
    known = [m for m in PAPER_METHODS if m in outcome.methods("full")]
    for metric in METRICS:
        places = []
        for n in outcome.numbers:
            means = {m: mean(outcome.values(metric, "full", n, method=m)) for m in known}
            order = sorted(means, key=means.__getitem__)
            places.append(f"N = {n}: {order.index('variance') + 1}")
        text = f"Bayesian is competitive: place of its {metric.title} among {len(known)} methods"
        rows.append([text, "; ".join(places)])
    return markdown(["statement of the paper", "this run"], rows)


def pairs_table(outcome: Outcome) -> str:
    """Differences on the same sub-pool, mean and standard error; negative is better."""
    pairs = [(ENERGY, own, other) for own in BAYESIAN for other in ("k_medoids", "random")]
    rest = [m for m in outcome.methods("sub") if m not in TARGETED]
    pairs += [(metric, own, None) for own in TARGETED for metric in (G100, G111)]
    rows = []
    for metric, own, other in pairs:
        if own not in outcome.methods("sub"):
            continue
        cells = []
        for n in outcome.numbers:
            mine = outcome.per_pool(metric, own, n)
            if not mine:
                cells.append("-")
                continue
            versus = other or _best(outcome, metric, n, rest, mine)
            theirs = outcome.per_pool(metric, versus, n)
            both = np.array([mine[pool] - theirs[pool] for pool in mine if pool in theirs])
            both = both[np.isfinite(both)]
            error = f" ± {both.std(ddof=1) / np.sqrt(len(both)):.1g}" if len(both) > 1 else ""
            name = "" if other else f" ({versus})"
            cells.append(f"{both.mean():+.2g}{error}{name}" if len(both) else "-")
        against = CATALOGUE[other].title if other else "the best general method"
        rows.append([f"{CATALOGUE[own].title} less {against}, {metric.title}", *cells])
    return markdown(["difference", *(f"N = {n}" for n in outcome.numbers)], rows)


def _best(
    outcome: Outcome, metric: Metric, n: int, methods: Sequence[str], pools: Iterable[int]
) -> str:
    """The method of the smallest mean over ``pools``, of those that have a value on each."""

    def average(method: str) -> float:
        found = outcome.per_pool(metric, method, n)
        values = [found.get(pool, np.nan) for pool in pools]
        return float(np.mean(values)) if np.isfinite(values).all() else np.inf

    return min(methods, key=average)
