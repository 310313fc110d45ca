"""Data behind a potential that have no labels at hand: what a round's covariance knows of them."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

import numpy as np

from ..structures.labels import whole_atoms
from ..surrogate.design import property_rows, training_features, usable_properties
from ..surrogate.energy_weights import frame_weight
from ..surrogate.posterior import Posterior
from ..surrogate.row_factors import DesignFactors
from ..surrogate.surrogate import Surrogate
from ..surrogate.triangular import append_rows
from .build.models import force_projections
from .config.campaign import CampaignConfig
from .events import Progress
from .store import Store


def knowing_prior(
    config: CampaignConfig,
    store: Store,
    number: int,
    surrogate: Surrogate,
    factors: DesignFactors,
) -> Generator[Progress, None, Surrogate]:
    """The surrogate whose covariance also knows ``data.prior``; the mean stays.

    Of structures all rows that a label would hold enter, with the noise of the fit and their
    weights: those of their file, and those by their predicted energy. Of a saved surrogate the
    precision takes the place of the fit's prior.

    Parameters
    ----------
    config, store, number
        The campaign and its round; the data are read from the store's copy.
    surrogate, factors
        What was fitted to the training set, and its rows.

    Raises
    ------
    PosteriorError
        If the copy of the saved surrogate is damaged.
    """
    if config.data.prior_is_surrogate:
        known = Surrogate.load(store.prior_path, surrogate.descriptor)
        return _with_prior(surrogate, factors, known.posterior)
    frames = store.read_input("prior")
    stream = training_features(frames, surrogate.descriptor, force_projections(config.descriptor))
    posterior = surrogate.posterior
    for k, (atoms, features) in enumerate(zip(frames, stream, strict=True)):
        (growth,) = surrogate.noise_growth([atoms], property_rows(features, "energy"))
        rows = [
            property_rows(features, prop, whole_atoms(atoms))
            * frame_weight(atoms, prop, f"data.prior, frame {k}")
            / (growth * surrogate.noise.std(prop, len(atoms)))
            for prop in usable_properties(atoms, surrogate.properties)
        ]
        if rows:
            posterior = posterior.condition(np.concatenate(rows))
        yield Progress(number, "fit", k + 1, len(frames), "prior data")
    return replace(surrogate, posterior=posterior)


def _with_prior(surrogate: Surrogate, factors: DesignFactors, prior: Posterior) -> Surrogate:
    """The surrogate of a fit, its covariance with another prior; mean and noise stay.

    Sigma^-1 = Phi^T Lambda Phi + R^T R with R of ``prior``, in place of the independent
    coefficients of the fit: what is known of other data is the posterior that they gave, which
    has a prior of its own, and two priors would count twice where there are no data.

    Parameters
    ----------
    surrogate
        Made from ``factors`` by `surrogate_from_factors`.
    factors
        All rows Phi of the fit.
    prior
        Of the same descriptor; none of the fit's structures is behind it.
    """
    factor, scale = prior.precision_factor, surrogate.descriptor.prior_std()
    for kind in (factors.labelled, factors.unlabelled):
        for prop, rows in kind.items():
            if rows.n_rows:
                noise = getattr(surrogate.noise, prop)
                factor = append_rows(factor, rows.triangle[:-1, :-1] / noise / scale)
    return replace(surrogate, posterior=Posterior(factor, surrogate.posterior.mean))
