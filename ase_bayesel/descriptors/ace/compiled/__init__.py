"""An optional compiled way through linear ACE for one structure at a time, as in MD.

It comes with the extra ``fast`` (numba). The feature row and its gradients agree with those of
the other way up to rounding; features of training sets and Jacobians always take that one.
"""

from __future__ import annotations

import os
from importlib.util import find_spec

SWITCH = "BAYESEL_COMPILED"
"""Environment variable: 0 for the other way even where this one is installed."""
INSTALLED = find_spec("numba") is not None
"""Whether there is a compiler."""


def wanted() -> bool:
    """Whether structures are evaluated by compiled passes."""
    return INSTALLED and os.environ.get(SWITCH) != "0"
