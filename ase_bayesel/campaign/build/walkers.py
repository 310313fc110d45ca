"""From the config, and what a start structure has different, to what drives a walker."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ase import Atoms

from ...bias.kinds import BIASES, Bias
from ...bias.tau import TauRule
from ...dynamics.driver import check_moves
from ...dynamics.engines import engine_of
from ...dynamics.ensembles import check_ensemble
from ...dynamics.restraints import check_restraints
from ...dynamics.schedules import value_at
from ...dynamics.triggers import Trigger, with_thresholds
from ...errors import ConfigError
from ..config import BiasConfig, ExploreConfig, Overrides
from ..config.loading import validate_config

OVERRIDES_KEY = "bayesel"
"""Where ``atoms.info`` holds a structure's own settings."""


def build_tau_rule(explore: ExploreConfig) -> TauRule | None:
    """The rule behind ``tau_rel``; None if tau is fixed."""
    if explore.tau_rel is None:
        return None
    return TauRule(
        value_at(explore.tau_rel, 0),
        explore.tau_delay,
        explore.tau_max,
        force_max=explore.bias.force_max,
        max_excess_temperature=explore.bias.max_excess_temperature,
    )


def build_bias(bias: BiasConfig) -> Bias:
    """The kind of bias, its region and its energy limit."""
    kinds = {kind.kind: kind for kind in BIASES}
    return kinds[bias.kind](bias.elements, bias.energy_limit)


def overrides_of(atoms: Atoms, where: str = "structure") -> dict[str, Any]:
    """Keyword arguments of `run_walker` from ``atoms.info["bayesel"]``.

    A mapping, or its JSON text, with any of ``temperature_K``, ``pressure_GPa``, ``steps``
    (the walker's last step), ``tau_rel``, ``trigger``, ``ensemble`` and ``restraints``, as in a
    config's explore section:
    ``{"temperature_K": [[0, 300], [1000, 900]], "ensemble": {"kind": "nve"}}``.

    Raises
    ------
    ConfigError
        Beginning with ``where`` and naming every key that is unknown or wrong.
    """
    settings = _overrides(atoms, where)
    trigger = settings.trigger
    plain = {
        "temperature_K": settings.temperature_K,
        "pressure_GPa": settings.pressure_GPa,
        "n_steps": settings.steps,
        "tau_rel": settings.tau_rel,
        "ensemble": settings.ensemble,
        "triggers": None if trigger is None else [_with_numbers(trigger, where)],
        "restraints": settings.restraints,
    }
    return {key: value for key, value in plain.items() if value is not None}


def _with_numbers(trigger: Trigger, where: str) -> Trigger:
    try:
        return with_thresholds(trigger, ())
    except ConfigError as error:
        raise ConfigError(
            f"{where}, info[{OVERRIDES_KEY!r}]: {error}; give a number, since only the trigger of "
            "the campaign is calibrated"
        ) from None


def _overrides(atoms: Atoms, where: str) -> Overrides:
    where = f"{where}, info[{OVERRIDES_KEY!r}]"
    raw = atoms.info.get(OVERRIDES_KEY, {})
    if isinstance(raw, str):
        try:
            raw = json.loads(raw)
        except ValueError as error:
            raise ConfigError(f"{where}: is not valid JSON ({error})") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{where}: expected a mapping, got {raw!r}")
    return validate_config(raw, where, schema=Overrides)


def walker_options(
    explore: ExploreConfig,
    start: Atoms,
    where: str = "structure",
    triggers: Sequence[Trigger] = (),
) -> dict[str, Any]:
    """Keyword arguments of `run_walker` for a start, its own settings included.

    Parameters
    ----------
    explore
        The config's section.
    start
        The structure.
    where
        What an error begins with.
    triggers
        Those of the campaign, with their thresholds (`triggers.with_thresholds`).

    Raises
    ------
    BayeselError
        If a setting of the start's own is wrong, or a guard makes no sense for it.
    """
    return {
        "n_steps": explore.steps,
        "temperature_K": explore.temperature_K,
        "pressure_GPa": explore.pressure_GPa,
        "tau_rel": explore.tau_rel,
        "timestep_fs": explore.timestep_fs,
        "ensemble": explore.ensemble,
        "dynamics": explore.dynamics,
        "moves": explore.moves,
        "restraints": explore.restraints,
        "triggers": list(triggers),
        "guards": explore.guards.against(start),
        "max_rollbacks": explore.max_rollbacks,
        "check_interval": explore.check_interval,
        **overrides_of(start, where),
    }


def check_start(explore: ExploreConfig, start: Atoms, where: str) -> None:
    """Check that a start's own settings, constraints, ensemble, engine, moves and restraints fit.

    Raises
    ------
    BayeselError
        Beginning with ``where``.
    """
    options = walker_options(explore, start, where)
    if explore.tau is not None and options["tau_rel"] is not None:
        raise ConfigError(
            f"{where}, info[{OVERRIDES_KEY!r}]: tau_rel has no effect on a fixed explore.tau; "
            "give explore.tau_rel instead"
        )
    pressure_given = options["pressure_GPa"] is not None
    check_ensemble(options["ensemble"], start, pressure_given, where)
    check_moves(options["moves"], options["ensemble"], start, pressure_given, where)
    check_restraints(options["restraints"], options["ensemble"], options["moves"], start, where)
    engine = engine_of(explore.dynamics, explore.check_interval)
    engine.check(options["ensemble"], start, where, options["moves"], options["restraints"])
    if options["n_steps"] % engine.stride:
        raise ConfigError(
            f"{where}, info[{OVERRIDES_KEY!r}]: steps: explore.dynamics: {engine.name} needs a "
            f"multiple of check_interval, {explore.check_interval}"
        )
