"""The arms: overrides of one campaign config, and pools that are no campaigns.

`BASE` is all that the arms share besides the system's use; it holds what a config has to name and
today has no default for. An arm whose fields this version does not know is skipped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ase_bayesel.campaign.config import CampaignConfig
from ase_bayesel.campaign.config.loading import validate_config
from ase_bayesel.labelling.engines.base import merged

from .systems import KEYS, System

N = 10
WALKERS = 4
TRIGGER = {"kind": "relative_force", "threshold": 0.2, "eps": 0.5}
ALWAYS = {"kind": "relative_force", "threshold": 1e-9}
BASE: dict[str, Any] = {"explore": {"walkers": WALKERS, "picks": N, "offers": "always"}}


@dataclass(frozen=True)
class Arm:
    """One way to come to labels.

    Attributes
    ----------
    name, description
        A word, and one line.
    overrides
        Sections of the campaign config over `BASE` and the system's own.
    hotter
        Factor of the walkers' temperature.
    snapshots
        Plain MD that picks frames evenly over the walk, whatever the trigger says.
    pool
        Not a campaign: where its candidates come from.
    select
        How a pool's picks are chosen; None for the first ones.
    """

    name: str
    description: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    hotter: float = 1.0
    snapshots: bool = False
    pool: Literal["rattles", "md"] | None = None
    select: str | None = None


def config_of(
    arm: Arm, system: System, start: str, seed: int, labels: int, folder: Path
) -> CampaignConfig:
    """The campaign of an arm; its inputs lie in ``folder``.

    Raises
    ------
    ConfigError
        Where this version does not know a field.
    """
    return validate_config(settings_of(arm, system, start, seed, labels), arm.name, folder)


def settings_of(arm: Arm, system: System, start: str, seed: int, labels: int) -> dict[str, Any]:
    """`config_of` as a mapping, before it is validated."""
    settings: dict[str, Any] = {
        "seed": seed,
        "descriptor": dict(system.descriptor),
        "data": {
            "train": "train.extxyz",
            "energy_key": KEYS.energy,
            "forces_key": KEYS.forces,
            "e0s": system.e0s,
        },
        "explore": {
            "starts": "starts.extxyz",
            "steps": system.steps,
            "temperature_K": arm.hotter * system.temperature_K[start],
            "timestep_fs": system.timestep_fs,
            **system.explore,
        },
        "labelling": dict(system.settings),
        "workers": {"labelling": {"kind": "here"}},
        "stop": {"max_rounds": 10 * labels, "max_labels": labels},
    }
    settings = _over(_over(settings, BASE), arm.overrides)
    if arm.snapshots:
        explore = settings["explore"]
        each = -(-explore["picks"] // explore["walkers"])
        plain = {
            "tau_rel": 0.0,
            "trigger": ALWAYS,
            "trust_bound": None,
            "check_interval": max(1, system.steps // each),
        }
        settings = _over(settings, {"explore": plain})
    return settings


def _over(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with changes, section by section; a trigger is replaced as a whole."""
    result = merged(settings, changes)
    if "trigger" in changes.get("explore", {}):
        result["explore"]["trigger"] = changes["explore"]["trigger"]
    return result


def explore(**values: Any) -> dict[str, Any]:
    """Overrides of that section."""
    return {"explore": values}


BOUND = {"factor": 3.0, "energy": 3.0}
NO_WEIGHTS = {"weights": {"high_energy": None}}
NO_BIAS = {"tau_rel": 0.0}
TRUST: dict[str, tuple[str, dict[str, Any]]] = {
    "bound": ("bound of trust with restart there", {"trust_bound": BOUND, "after_pick": "go_on"}),
    "restart": (
        "no bound, restart after each pick",
        {"trust_bound": None, "after_pick": "restart"},
    ),
    "neither": ("neither bound nor restart", {"trust_bound": None, "after_pick": "go_on"}),
}
BATCH = {"first": "the covariance takes up each pick", "stale": "it does not"}


def _grid() -> list[Arm]:
    """{update, stale} x {bound, restart, neither} x {bias, none}, with and without weights."""
    arms = []
    for batch, of_batch in BATCH.items():
        for trust, (of_trust, values) in TRUST.items():
            for biased in (True, False):
                name = f"{batch}_{trust}" + ("" if biased else "_nobias")
                told = f"{of_batch}; {of_trust}; {'bias' if biased else 'no bias'}"
                section = {"batch": batch, **values, **({} if biased else NO_BIAS)}
                arms.append(Arm(name, told, explore(**section)))
                arms.append(
                    Arm(f"{name}_noW", f"{told}; no weights", {**explore(**section), **NO_WEIGHTS})
                )
    return arms


def _joint() -> list[Arm]:
    """Joint choice over each kind of targets, with and without weights."""
    arms = []
    for targets in ("candidates", "unbiased", "both"):
        section = explore(batch="joint", targets=targets)
        told = f"batch chosen together, targets: {targets}"
        arms.append(Arm(f"joint_{targets}", told, section))
        arms.append(Arm(f"joint_{targets}_noW", f"{told}; no weights", {**section, **NO_WEIGHTS}))
    return arms


ONE_SHOT = explore(walkers=1, picks=1)
NO_SETTLING = {"pick": {"settling_fs": 0.0}}


def _rivals() -> list[Arm]:
    """Rules of other packages in our library: their criteria, not their code or descriptors."""
    raw = {**TRIGGER, "calibrated": False}
    alone = {"batch": "first", "absorb_heat": False, "start_energy": None, **NO_SETTLING}
    window = {"factor": 5.0, "energy": None}
    return [
        Arm(
            "rule_grace",
            "GRACE's HAL: a window of the criterion, update, heat taken out; no weights",
            {**explore(trust_bound=window, **{**alone, "absorb_heat": True}), **NO_WEIGHTS},
        ),
        Arm(
            "rule_acehal",
            "ACEHAL: one walker, raw criterion, refit and restart after each pick; no weights",
            {
                **explore(
                    walkers=1,
                    picks=1,
                    trigger=raw,
                    trust_bound=None,
                    after_pick="restart",
                    **alone,
                ),
                **NO_WEIGHTS,
            },
        ),
        Arm(
            "rule_ase_uhal",
            "ase_uhal: several walkers, raw criterion, update, no refit before N; no weights",
            {**explore(trigger=raw, trust_bound=None, **alone), **NO_WEIGHTS},
        ),
    ]


_ALL = [
    Arm("default", "N-shot with today's defaults"),
    Arm(
        "stale",
        "the default without update: walks are independent, restart after each pick",
        explore(batch="stale", after_pick="restart"),
    ),
    Arm("nobias", "the default without bias", explore(**NO_BIAS)),
    Arm("nobound", "the default without bound of trust", explore(trust_bound=None)),
    Arm("noW", "the default without weights by energy", NO_WEIGHTS),
    Arm("one_shot", "HAL: one walker, one pick, refit", ONE_SHOT),
    Arm("one_shot_noW", "HAL without weights", {**ONE_SHOT, **NO_WEIGHTS}),
    Arm("plain", "snapshots of plain MD", snapshots=True),
    Arm("plain_noW", "snapshots of plain MD, no weights", NO_WEIGHTS, snapshots=True),
    Arm("plain_1.4T", "snapshots of plain MD at 1.4 T", hotter=1.4, snapshots=True),
    Arm("plain_2T", "snapshots of plain MD at 2 T", hotter=2.0, snapshots=True),
    Arm("turns", "the default, walkers in turns", explore(mode="turns")),
    Arm("lockstep", "the default, walkers in lock-step", explore(mode="lockstep")),
    Arm("settling", "no pick within 50 fs of a start", explore(pick={"settling_fs": 50.0})),
    Arm("restart", "the default, restart after each pick", explore(after_pick="restart")),
    Arm(
        "fixed_bound",
        "bound of trust by fixed numbers",
        explore(trust_bound={"relative": 0.6, "absolute": 5.0, "eps": 0.5}),
    ),
    Arm(
        "fixed_bound_W",
        "bound of trust and weights by fixed numbers",
        {
            **explore(trust_bound={"relative": 0.6, "absolute": 5.0, "eps": 0.5}),
            "weights": {"high_energy": 0.12},
        },
    ),
    *(
        Arm(
            f"trigger_{t}",
            f"the default with the threshold {t}",
            explore(trigger={**TRIGGER, "threshold": t, "calibrated": True}),
        )
        for t in (0.1, 0.4)
    ),
    Arm(
        "nostart",
        "the default without a look at the energies of starts",
        explore(start_energy=None),
    ),
    *(
        Arm(
            f"start_{limit:g}",
            f"the default, starts picked whose energy is uncertain by {limit:g} meV/atom",
            explore(start_energy=limit / 1e3),
        )
        for limit in (1.0, 10.0)
    ),
    *(
        Arm(
            f"bound_{f:g}",
            f"the default with the bound at {f:g} times the trigger",
            explore(trust_bound={"factor": f}),
        )
        for f in (2.0, 5.0)
    ),
    Arm(
        "bound_energy", "the default, bound by energy alone", explore(trust_bound={"factor": None})
    ),
    Arm(
        "bound_sigma",
        "the default, bound by uncertainty alone",
        explore(trust_bound={"energy": None}),
    ),
    Arm("absorb_heat", "the default, heat of an update taken out", explore(absorb_heat=True)),
    Arm("early", "the default, batches may close early", explore(early_refit={})),
    *(Arm(f"N{n}", f"the default with N = {n}", explore(picks=n)) for n in (5, 20, 50)),
    *_joint(),
    *_grid(),
    *_rivals(),
    Arm("rattles", "rattled and strained starts", pool="rattles"),
    Arm("pool_i_optimal", "pool of plain MD, i_optimal by energies", pool="md", select="i_optimal"),
    Arm("pool_k_medoids", "pool of plain MD, k_medoids", pool="md", select="k_medoids"),
    Arm("pool_random", "pool of plain MD, at random", pool="md", select="random"),
]
ARMS: dict[str, Arm] = {arm.name: arm for arm in _ALL}
TELLING = ("default", "stale", "nobias", "one_shot", "plain", "joint_candidates")
"""The six most telling."""
QUICK = ("default", "stale", "plain")
FLOOR = "floor"
"""The student fitted to the test's own ensemble; not an arm, but kept with the results."""
SUMMARY = (FLOOR, *TELLING, "nobound", "noW", "nostart", "plain_2T", "joint_unbiased")
"""Of docs/nshot.md; docs/nshot_tables.md has all."""


def arms_named(words: str) -> list[str]:
    """Names of arms: ``telling``, ``all``, or a list with commas.

    Raises
    ------
    ValueError
        Naming those that do not exist.
    """
    if words == "all":
        return [FLOOR, *ARMS]
    if words == "telling":
        return [FLOOR, *TELLING]
    names = [word.strip() for word in words.split(",") if word.strip()]
    unknown = [name for name in names if name not in ARMS and name != FLOOR]
    if unknown:
        raise ValueError(f"no such arms: {', '.join(unknown)}; known: {FLOOR}, {', '.join(ARMS)}")
    return names
