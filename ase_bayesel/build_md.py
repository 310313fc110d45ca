"""From the config to what drives a walker."""

from __future__ import annotations

from .ensembles import NPT, NVE, Bussi, Ensemble, Langevin, NoseHooverChain
from .sections import EnsembleConfig

ENSEMBLES: dict[str, type[Ensemble]] = {
    "nve": NVE,
    "langevin": Langevin,
    "bussi": Bussi,
    "nose_hoover_chain": NoseHooverChain,
    "npt": NPT,
}


def build_ensemble(config: EnsembleConfig) -> Ensemble:
    """The ensemble that a config describes."""
    return ENSEMBLES[config.kind](**config.model_dump(exclude={"kind"}))
