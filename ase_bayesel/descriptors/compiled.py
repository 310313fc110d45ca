"""Whether structures are evaluated by compiled passes, which come with the extra ``fast``."""

from __future__ import annotations

import os
from importlib.util import find_spec

SWITCH = "BAYESEL_COMPILED"
"""Environment variable: 0 for the other way even where numba is installed."""
INSTALLED = find_spec("numba") is not None
"""Whether there is a compiler."""


def wanted() -> bool:
    """Whether compiled passes are taken where a descriptor has them."""
    return INSTALLED and os.environ.get(SWITCH) != "0"
