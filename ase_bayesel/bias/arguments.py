"""What a biased calculator is made of: the right things in the right places."""

from __future__ import annotations

from ..descriptors.base import Descriptor
from ..io.importing import kind_of
from ..surrogate.surrogate import Surrogate

ORDER = (
    "the order is BiasedCalculator(calculator, surrogate), and surrogate.calculator() is the "
    "surrogate's own calculator"
)


def check_arguments(
    mlip: object, surrogate: object, tau: object, tau_rel: object, bias: object
) -> None:
    """Refuse arguments of `BiasedCalculator` that cannot be meant.

    Parameters
    ----------
    mlip, surrogate, tau, tau_rel, bias
        As they are given.

    Raises
    ------
    TypeError
        If the first two are not an ASE calculator and a `Surrogate`.
    ValueError
        If both kinds of tau are given, or a bias without any.
    """
    if isinstance(mlip, Surrogate | Descriptor):
        raise TypeError(f"mlip: got {kind_of(mlip)}; {ORDER}")
    if not hasattr(mlip, "get_potential_energy"):
        raise TypeError(f"mlip: expected an ASE calculator, got {kind_of(mlip)}; {ORDER}")
    if not isinstance(surrogate, Surrogate):
        advice = "; fit_surrogate makes a surrogate of it and training structures"
        hint = advice if isinstance(surrogate, Descriptor) else ""
        raise TypeError(f"surrogate: expected a Surrogate, got {kind_of(surrogate)}{hint}; {ORDER}")
    if tau is not None and tau_rel is not None:
        raise ValueError("give either tau or tau_rel, or neither for no bias")
    if bias is not None and tau is None and tau_rel is None:
        raise ValueError("bias: it needs a tau or tau_rel, which say how strong it is")
