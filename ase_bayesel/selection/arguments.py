"""The methods of `select`, and what each needs: checked before any work."""

from __future__ import annotations

from typing import Any

from ..errors import SelectionError
from .candidates import TARGETED
from .guide import methods_text

BAYESIAN = ("energy_variance", "force_variance", "information_gain", "weighted_sum", *TARGETED)
BY_FEATURES = ("fps", "max_volume", "entropy", "k_medoids", "cur", "atomic_cur", "direct", "random")
METHODS = (*BAYESIAN, *BY_FEATURES)
NEEDED = {
    "weights": ("weighted_sum",),
    "targets": ("c_optimal",),
    "coefficients": ("c_optimal",),
}
USERS = NEEDED | {"targets": TARGETED, "scored": TARGETED, "costs": BAYESIAN, "budget": BAYESIAN}
"""Which methods need, and which use, the arguments that not all of them share."""


def check_arguments(method: str, **arguments: Any) -> None:
    """Raise a `SelectionError` unless a method is known and has what it needs, and no more.

    Parameters
    ----------
    method, arguments
        Its name, and those of `select` that not all methods share; None for one not given.
    """
    if method not in METHODS:
        raise SelectionError(f"method: unknown {method!r}; known:\n{methods_text()}")
    for name, value in arguments.items():
        if value is not None and method not in USERS[name]:
            raise SelectionError(f"{name}: not used by {method}")
        if value is None and method in NEEDED.get(name, ()):
            raise SelectionError(f"{name}: {method} needs it")


def check_core(method: str, given: bool, fitted: bool) -> None:
    """Raise a `SelectionError` unless a method has the core that it needs.

    Parameters
    ----------
    method
        Its name.
    given, fitted
        Whether there is a core, and whether it is a surrogate.
    """
    if method in BAYESIAN and not given:
        raise SelectionError(
            f"core: {method} needs labelled structures or a surrogate (option --core); without any "
            f"label take {', '.join(BY_FEATURES[:-1])} or {BY_FEATURES[-1]}"
        )
    if method in BY_FEATURES and fitted:
        raise SelectionError(f"core: {method} needs structures; a surrogate does not hold its own")
