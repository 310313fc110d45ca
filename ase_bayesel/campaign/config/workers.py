"""Where the parts of a campaign run."""

from __future__ import annotations

from typing import Annotated

from ...io.kinds import OneOf
from ...resources import RESOURCES, Here, ProcessPool, Resource
from .base import Section

AnyResource = Annotated[Resource, OneOf(RESOURCES)]


class WorkersConfig(Section):
    """Where reference calculations, walkers, refits and the rows of a fit are computed.

    The picks do not depend on it but for rounding. Only walkers in lock-step can leave this
    process; ``here`` small structures share each pass through a network. Output of batch jobs
    goes to ``jobs`` in the campaign directory, unless ``log_directory`` is given.
    """

    labelling: AnyResource = ProcessPool()
    walkers: AnyResource = Here()
    refit: AnyResource = Here()
    features: AnyResource = Here()
