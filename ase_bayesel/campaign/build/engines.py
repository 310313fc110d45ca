"""How a config has structures labelled."""

from __future__ import annotations

from ...labelling.reference import Reference, properties_of
from ..config.campaign import CampaignConfig
from ..store import Store


def build_reference(config: CampaignConfig, store: Store) -> Reference | None:
    """How a campaign's structures are labelled; None where the user labels by hand."""
    if config.engine is None:
        return None
    labels = config.labels
    directory = labels.store or store.labels.directory
    return Reference(
        config.engine,
        properties_of(config.data.keys),
        directory.resolve(),
        labels.keep_output,
        labels.scratch,
    )
