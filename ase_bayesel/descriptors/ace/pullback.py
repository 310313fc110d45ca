"""Pullbacks of linear ACE: from cotangents of feature rows to gradients."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...errors import DescriptorError
from ..base import Features, Gradient, LinearizedFeatures


class Linearized(LinearizedFeatures):
    """The pullback of a structure's feature row, or of several: a `LinearizedFeatures`.

    Parameters
    ----------
    gradient
        From cotangents ``(G, D)`` of the rows to the gradient.
    features
        Features with derivatives.
    shape
        Of the row or rows.
    """

    def __init__(
        self,
        gradient: Callable[[np.ndarray], Gradient],
        features: Callable[[], Features],
        shape: tuple[int, ...],
    ) -> None:
        self._gradient, self._form, self._shape = gradient, features, shape

    def __call__(self, cotangent: np.ndarray) -> Gradient:
        cotangent = np.asarray(cotangent, float)
        if cotangent.shape != self._shape:
            raise DescriptorError(f"cotangent: expected shape {self._shape}, got {cotangent.shape}")
        return self._gradient(np.atleast_2d(cotangent))

    def features(self) -> Features:
        """Features with derivatives."""
        return self._form()
