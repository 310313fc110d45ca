"""Tables and figures of the reproduction, from its records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from paper_methods import CATALOGUE, EVERYTHING
from paper_refit import SiliconSet
from silicon_fit import DFT

from ase_bayesel.descriptors import Descriptor
from ase_bayesel.files import write_atomically

PAPER_METHODS = ("random", "k_medoids", "fps", "cur", "atomic_cur", "variance")
PAPER_LENGTHS = {"ACE (S)": 211, "ACE (M)": 668, "ACE (L)": 1429}
PAPER_FACTOR = 4.3
BAYESIAN = ("variance", "variance_efv", "force", "logdet", "i_opt", "i_opt_efv")
TARGETED = ("c_100", "c_111", "c_opt", "c_opt_efv")


@dataclass(frozen=True)
class Metric:
    """How a value of a refit is shown: times ``factor``, or its distance to the reference."""

    key: str
    title: str
    factor: float = 1.0
    reference: float = 0.0

    def of(self, record: Mapping[str, Any]) -> float:
        """NaN where the refit has no such value."""
        value = record["values"][self.key]
        return np.nan if value is None else abs(self.factor * value - self.reference)


METRICS = (
    Metric("energy_rmse", "energy RMSE (meV/atom)", 1e3),
    Metric("forces_rmse", "force RMSE (meV/A)", 1e3),
    Metric("gamma_100", "(100) error (J/m^2)", 1.0, DFT["gamma (100) (J/m^2)"]),
    Metric("gamma_111", "(111) error (J/m^2)", 1.0, DFT["gamma (111) (J/m^2)"]),
)
ENERGY, _, G100, G111 = METRICS
Rows = list[Mapping[str, Any]]


@dataclass(frozen=True)
class Outcome:
    """All records of a run; ``reference`` is the descriptor of the refits."""

    reference: str
    numbers: Sequence[int]
    records: Rows

    def where(self, pools: str, n: int | None = None, **task: str) -> Rows:
        """Records of a task's method or descriptor on ``full``, ``sub``, ``with`` or ``without``.

        The last two are the sub-pools that may, and cannot, hold the clean (001) slabs.
        """
        accepts: dict[str, Callable[[int | None], bool]] = {
            "full": lambda pool: pool is None,
            "sub": lambda pool: pool is not None,
            "with": lambda pool: pool is not None and pool % 2 == 0,
            "without": lambda pool: pool is not None and pool % 2 == 1,
        }
        task = {"descriptor": self.reference} | task
        return [
            r
            for r in self.records
            if accepts[pools](r["task"]["pool"])
            and n in (None, r["n"])
            and all(r["task"][key] == value for key, value in task.items())
        ]

    def values(self, metric: Metric, pools: str, n: int, **task: str) -> np.ndarray:
        """One number per pool and seed."""
        return np.array([metric.of(r) for r in self.where(pools, n, **task)])

    def per_pool(self, metric: Metric, method: str, n: int) -> dict[int, float]:
        """Mean over the seeds on each sub-pool."""
        found: dict[int, list[float]] = {}
        for record in self.where("sub", n, method=method):
            found.setdefault(record["task"]["pool"], []).append(metric.of(record))
        return {pool: float(np.mean(values)) for pool, values in found.items()}

    def methods(self, pools: str) -> list[str]:
        """Those that have records, in the order of the catalogue."""
        known = {r["task"]["method"] for r in self.where(pools)}
        return [method for method in CATALOGUE if method in known]


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


POOLS = {
    "Picks from all 186 structures": "full",
    "Picks from random sub-pools": "sub",
    "Picks from sub-pools that may hold the clean (001) slabs": "with",
    "Picks from sub-pools without the clean (001) slabs": "without",
}


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


def mean(values: np.ndarray) -> float:
    """Over the finite ones; NaN without any."""
    good = values[np.isfinite(values)]
    return float(good.mean()) if len(good) else np.nan


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
    for name in _descriptors(outcome):
        for method in ("k_medoids", "variance", "variance_efv"):
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
    pairs += [(metric, own, None) for own in ("c_opt", "c_opt_efv") for metric in (G100, G111)]
    rows = []
    for metric, own, other in pairs:
        if own not in outcome.methods("sub"):
            continue
        cells = []
        for n in outcome.numbers:
            mine = outcome.per_pool(metric, own, n)
            versus = other or _best(outcome, metric, n, rest, mine)
            theirs = outcome.per_pool(metric, versus, n)
            both = np.array([mine[pool] - theirs[pool] for pool in mine if pool in theirs])
            both = both[np.isfinite(both)]
            error = both.std(ddof=1) / np.sqrt(len(both)) if len(both) > 1 else np.nan
            name = "" if other else f" ({versus})"
            cells.append(f"{both.mean():+.2g} ± {error:.1g}{name}" if len(both) else "-")
        against = CATALOGUE[other].title if other else "the best general method"
        rows.append([f"{CATALOGUE[own].title} less {against}, {metric.title}", *cells])
    return markdown(["difference", *(f"N = {n}" for n in outcome.numbers)], rows)


def _best(
    outcome: Outcome, metric: Metric, n: int, methods: Sequence[str], pools: Iterable[int]
) -> str:
    """The method of the smallest mean over the sub-pools that it shares with ``pools``."""

    def average(method: str) -> float:
        found = outcome.per_pool(metric, method, n)
        values = [found[pool] for pool in pools if pool in found]
        return float(np.mean(values)) if values and np.isfinite(values).all() else np.inf

    return min(methods, key=average)


def figures(outcome: Outcome) -> dict[str, tuple[str, Figure]]:
    """All figures that there are records for: file name to caption and figure."""
    by_method = [m for m in PAPER_METHODS if m in outcome.methods("full")]
    rest = [m for m in outcome.methods("full") if m not in PAPER_METHODS]
    drawn = {
        "fig1": ("Fig. 1: errors, six methods", _panels(outcome, "full", METRICS[:2], by_method)),
        "fig2": ("Fig. 2: surface energies", _panels(outcome, "full", METRICS[2:], by_method)),
    }
    if len(_descriptors(outcome)) > 1:
        drawn["fig3"] = ("Fig. 3: errors by descriptor", _by_descriptor(outcome, METRICS[:2]))
        drawn["fig4"] = ("Fig. 4: surfaces by descriptor", _by_descriptor(outcome, METRICS[2:]))
    if rest:
        lines = ["random", "k_medoids", *rest]
        drawn["fig5"] = ("Other methods", _panels(outcome, "full", METRICS, lines))
    for name, pools in (("fig6", "with"), ("fig7", "without")):
        if outcome.where(pools):
            caption = next(title for title, key in POOLS.items() if key == pools)
            drawn[name] = (caption, _panels(outcome, pools, METRICS, outcome.methods(pools)))
    return drawn


def _descriptors(outcome: Outcome) -> list[str]:
    return list(dict.fromkeys(r["task"]["descriptor"] for r in outcome.records))


def _panels(
    outcome: Outcome, pools: str, metrics: Sequence[Metric], methods: Sequence[str]
) -> Figure:
    """One panel a metric, one line a method; dotted the fit to everything."""
    figure, panels = _figure(metrics)
    for metric, panel in zip(metrics, panels, strict=True):
        for place, method in enumerate(methods):
            style = {"color": f"C{place % 10}", "ls": "-" if place < 10 else "--"}
            found = [outcome.values(metric, pools, n, method=method) for n in outcome.numbers]
            _line(panel, outcome.numbers, found, CATALOGUE[method].title, style)
            if method == "random":
                low, high = np.transpose([np.nanpercentile(v, BAND) for v in found])
                panel.fill_between(outcome.numbers, low, high, alpha=0.15, lw=0)
        for record in outcome.where("full", method=EVERYTHING):
            panel.axhline(metric.of(record), color="0.5", ls=":", lw=1)
    figure.legend(*panels[0].get_legend_handles_labels(), **LEGEND)
    return figure


def _by_descriptor(outcome: Outcome, metrics: Sequence[Metric]) -> Figure:
    """k-medoids dashed, Bayesian full lines; one colour a descriptor."""
    figure, panels = _figure(metrics)
    for metric, panel in zip(metrics, panels, strict=True):
        for place, name in enumerate(_descriptors(outcome)):
            for method, ls in (("k_medoids", "--"), ("variance", "-"), ("variance_efv", ":")):
                task = {"descriptor": name, "method": method}
                found = [outcome.values(metric, "full", n, **task) for n in outcome.numbers]
                label = f"{name}, {CATALOGUE[method].title}"
                _line(panel, outcome.numbers, found, label, {"color": f"C{place}", "ls": ls})
    figure.legend(*panels[0].get_legend_handles_labels(), **LEGEND)
    return figure


BAND = (16, 84)
"""Percentiles of the random picks between which the band lies."""

LEGEND = {"loc": "outside lower center", "ncols": 3, "fontsize": "x-small"}


def _figure(metrics: Sequence[Metric]) -> tuple[Figure, np.ndarray]:
    height = 3.6 * len(metrics) / 2 + 0.8
    figure = Figure(figsize=(8.0, height), layout="constrained")
    panels = figure.subplots(len(metrics) // 2, 2).ravel()
    for metric, panel in zip(metrics, panels, strict=True):
        panel.set(xlabel="picks N", ylabel=metric.title, xscale="log", yscale="log")
        panel.xaxis.set_minor_locator(NullLocator())
        panel.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        panel.yaxis.set_minor_locator(NullLocator())
    return figure, panels


def _line(panel, numbers, found: Sequence[np.ndarray], label: str, style: dict) -> None:
    means = np.array([mean(values) for values in found])
    panel.plot(numbers, means, marker="o", ms=3, lw=1.2, label=label, **style)
    panel.set_xticks(numbers, [str(n) for n in numbers])
