"""From the config, and what a start structure has different, to what drives a walker."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from ase import Atoms

from ...bias.kinds import Bias, Deviation, Variance
from ...bias.tau import TauRule
from ...dynamics.driver import check_moves
from ...dynamics.ensembles import (
    NPT,
    NVE,
    Bussi,
    Ensemble,
    Langevin,
    NoseHooverChain,
    check_ensemble,
)
from ...dynamics.moves import CellMove, Move, SwapMove
from ...dynamics.schedules import value_at
from ...dynamics.triggers import (
    AllOf,
    AnyOf,
    EnergyTrigger,
    ForceTrigger,
    Guards,
    InformationTrigger,
    LocalEnergyTrigger,
    PickRule,
    RelativeForceTrigger,
    StressTrigger,
    Trigger,
)
from ...errors import ConfigError
from ...surrogate.force_uncertainty import ForceSearch
from ..config import (
    BiasConfig,
    CalibrationConfig,
    CellMoveConfig,
    CombinedConfig,
    EnsembleConfig,
    ExploreConfig,
    MoveConfig,
    Overrides,
    SingleConfig,
    TriggerConfig,
    single_triggers,
)
from ..config.loading import validate_config


def build_tau_rule(explore: ExploreConfig) -> TauRule | None:
    """The rule behind ``tau_rel``; None if tau is fixed."""
    if explore.tau_rel is None:
        return None
    return TauRule(
        value_at(explore.tau_rel, 0),
        explore.tau_delay,
        explore.tau_max,
        bias_force_max=explore.bias.force_max,
        max_excess_temperature=explore.bias.max_excess_temperature,
    )


def build_bias(bias: BiasConfig) -> Bias:
    """The kind of bias, its region and its energy limit."""
    kind = {"deviation": Deviation, "variance": Variance}[bias.kind]
    return kind(bias.elements, bias.energy_limit)


def build_trigger(explore: ExploreConfig, calibrated: Sequence[float] = ()) -> Trigger:
    """The criterion for a pick.

    ``calibrated`` are the thresholds that the config does not give as numbers, from left to
    right (see `thresholds.calibrating`).
    """
    return _trigger(explore.trigger, iter(calibrated))


def build_probes(explore: ExploreConfig) -> list[Trigger]:
    """The single triggers whose thresholds are to be calibrated; theirs are 0."""
    singles = single_triggers(explore.trigger)
    return [_single(one, 0.0) for one in singles if isinstance(one.threshold, CalibrationConfig)]


def uncalibrated(explore: ExploreConfig) -> list[tuple[str, CalibrationConfig]]:
    """Kind and calibration of the single triggers whose thresholds are not given as numbers."""
    pairs = [(one.kind, one.threshold) for one in single_triggers(explore.trigger)]
    return [(kind, how) for kind, how in pairs if isinstance(how, CalibrationConfig)]


def _trigger(config: TriggerConfig, calibrated: Iterator[float]) -> Trigger:
    if isinstance(config, CombinedConfig):
        kind = AnyOf if config.kind == "any" else AllOf
        return kind(tuple(_trigger(member, calibrated) for member in config.members))
    if not isinstance(config.threshold, CalibrationConfig):
        return _single(config, config.threshold)
    number = next(calibrated, None)
    if number is None:
        raise ConfigError(f"trigger {config.kind}: its threshold has not been calibrated")
    return _single(config, number)


def _single(config: SingleConfig, threshold: float) -> Trigger:
    if config.kind == "relative_force":
        return RelativeForceTrigger(threshold, config.eps)
    kinds = {
        "force": ForceTrigger,
        "energy_per_atom": EnergyTrigger,
        "stress": StressTrigger,
        "local_energy": LocalEnergyTrigger,
        "information": InformationTrigger,
    }
    return kinds[config.kind](threshold)


def build_force_search(explore: ExploreConfig) -> ForceSearch | None:
    """How force triggers search; None where one of them wants all deviations exactly."""
    exact = any(getattr(one, "exact", False) for one in single_triggers(explore.trigger))
    return None if exact else ForceSearch()


def build_pick_rule(explore: ExploreConfig) -> PickRule:
    """Which frame is picked."""
    return PickRule(**explore.pick.model_dump())


def build_guards(explore: ExploreConfig) -> Guards:
    """Limits of a sane trajectory."""
    return Guards(**explore.guards.model_dump())


ENSEMBLES: dict[str, type[Ensemble]] = {
    "nve": NVE,
    "langevin": Langevin,
    "bussi": Bussi,
    "nose_hoover_chain": NoseHooverChain,
    "npt": NPT,
}
OVERRIDES_KEY = "bayesel"
"""Where ``atoms.info`` holds a structure's own settings."""


def build_ensemble(config: EnsembleConfig) -> Ensemble:
    """The ensemble that a config describes."""
    return ENSEMBLES[config.kind](**config.model_dump(exclude={"kind"}))


def build_moves(moves: Sequence[MoveConfig]) -> tuple[Move, ...]:
    """The Monte Carlo moves that a config describes."""
    return tuple(_build_move(move) for move in moves)


def _build_move(move: MoveConfig) -> Move:
    options = move.model_dump(exclude={"kind"})
    if isinstance(move, CellMoveConfig):
        return CellMove(**options)
    elements = None if move.elements is None else tuple(move.elements)
    return SwapMove(**{**options, "elements": elements})


def overrides_of(atoms: Atoms, where: str = "structure") -> dict[str, Any]:
    """Keyword arguments of `run_walker` from ``atoms.info["bayesel"]``.

    A mapping, or its JSON text, with any of ``temperature_K``, ``pressure_GPa``, ``steps``
    (the walker's last step), ``tau_rel``, ``trigger`` and ``ensemble``, as in a config's
    explore section: ``{"temperature_K": [[0, 300], [1000, 900]], "ensemble": {"kind": "nve"}}``.

    Raises
    ------
    ConfigError
        Beginning with ``where`` and naming every key that is unknown or wrong.
    """
    given = _overrides(atoms, where)
    plain = {
        "temperature_K": given.temperature_K,
        "pressure_GPa": given.pressure_GPa,
        "n_steps": given.steps,
        "tau_rel": given.tau_rel,
        "ensemble": None if given.ensemble is None else build_ensemble(given.ensemble),
        "triggers": None if given.trigger is None else [build_trigger(given)],
    }
    return {key: value for key, value in plain.items() if value is not None}


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

    ``triggers`` are those of the campaign (`build.build_trigger`).
    """
    return {
        "n_steps": explore.steps,
        "temperature_K": explore.temperature_K,
        "pressure_GPa": explore.pressure_GPa,
        "tau_rel": explore.tau_rel,
        "timestep_fs": explore.timestep_fs,
        "ensemble": build_ensemble(explore.ensemble),
        "moves": build_moves(explore.moves),
        "triggers": list(triggers),
        "guards": build_guards(explore).against(start),
        "max_rollbacks": explore.max_rollbacks,
        "check_interval": explore.check_interval,
        **overrides_of(start, where),
    }


def check_start(explore: ExploreConfig, start: Atoms, where: str) -> None:
    """Check that a start's own settings, constraints, ensemble and moves go together.

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
