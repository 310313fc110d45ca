"""Settings of Dask's schedulers and workers."""

from __future__ import annotations

from .base import MAX_DEATHS

SCHEDULER_SETTINGS = {
    "distributed.scheduler.allowed-failures": MAX_DEATHS - 1,
    "distributed.scheduler.worker-ttl": None,  # a task may hold the interpreter for hours
    "distributed.scheduler.worker-saturation": 1.0,  # tasks wait here, not behind another
}
PAGES = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}
"""A scheduler's web pages: what is left of them is on a free port, and for this machine alone."""
NO_WARNING = {"distributed.admin.large-graph-warning-threshold": "1 TB"}
