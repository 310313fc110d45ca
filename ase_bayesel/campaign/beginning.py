"""How a campaign directory begins: everything is checked and tried, then copied."""

from __future__ import annotations

from pathlib import Path

from .config.campaign import CampaignConfig
from .inputs import check_inputs
from .occupied import check_unoccupied
from .own_modules import keep_modules
from .round_properties import CRYSTAL
from .store import Store
from .trial import to_train_on, try_potential


def begin(config: CampaignConfig, store: Store) -> None:
    """Set up the directory of a campaign, unless another process is faster.

    Raises
    ------
    BayeselError
        If a file or the potential cannot be used (`check_inputs`, `try_potential`), or the
        directory holds what the campaign has not made (`check_unoccupied`).
    """
    check_unoccupied(store.directory)
    inputs = check_inputs(config)
    try_potential(config, inputs["starts"], to_train_on(config, inputs))
    with store.lock():
        if not store.exists:
            keep_modules(config, store)
            prior = config.data.prior if config.data.prior_is_surrogate else None
            store.create(config.model_dump(mode="json"), inputs, prior)


def input_files(config: CampaignConfig) -> dict[str, Path]:
    """The files that are copied at the start, by the names of the copies."""
    data = config.data
    paths = {
        "train": data.train_file,
        "test": data.test,
        "prior": data.prior,
        "targets": data.targets,
        "starts": config.explore.starts,
        CRYSTAL: None if config.properties is None else config.properties.crystal.file,
    }
    return {name: path for name, path in paths.items() if path is not None}


def round_0(config: CampaignConfig) -> list[str]:
    """What the first round is where walkers move on a potential that was not fitted here.

    Nothing for the linear model, which round 0 fits.
    """
    potential = config.potential
    if potential is None:
        return []
    shift = (
        "" if potential.energy_shift == "none" else ", with a constant by element (energy_shift)"
    )
    model = getattr(potential, "model", None)
    named = f" {model}" if isinstance(model, str | Path) else ""
    return [
        f"round 0 is the given potential{named} as it is{shift}; errors on the test set are those "
        "of the potential, uncertainties those of the linear model beside it"
    ]
