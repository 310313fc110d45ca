"""When a campaign ends."""

from __future__ import annotations

from ...io.magnitudes import Count
from .base import Section


class StopConfig(Section):
    """When the campaign ends, besides a round in which nothing triggers.

    When all structures of a round have failed, or their labels are set aside, and with rounds
    before it the last ``max_failures``, it is the engine that is wrong, and the campaign stops with
    an error.
    """

    max_rounds: Count = 10
    max_labels: Count | None = None
    max_failures: Count | None = 5
