"""Where the tasks of a config run."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ...resources import BatchJobs, Here, LocalCluster, ProcessPool, Resource, RunningCluster
from ..config import (
    BatchConfig,
    DaskConfig,
    LocalConfig,
    ProcessesConfig,
    ResourceConfig,
)


def build_resource(workers: ResourceConfig, threads: int, directory: Path) -> Resource:
    """Where tasks run that use so many threads; ``directory`` is the campaign's."""
    match workers:
        case ProcessesConfig():
            return ProcessPool(workers.n_workers or _n_workers(threads), threads)
        case LocalConfig():
            return LocalCluster(workers.n_workers or _n_workers(threads))
        case DaskConfig():
            return RunningCluster(workers.scheduler)
        case BatchConfig():
            given = workers.model_dump(exclude={"kind"}, exclude_none=True)
            for name in ("directives", "directives_skip", "prologue"):
                given[name] = tuple(given[name])
            given.setdefault("log_directory", directory.resolve() / "jobs")
            return BatchJobs(workers.kind, **given)
        case _:
            return Here()


def _n_workers(threads: int) -> int:
    """How many processes of so many threads the cores take that this process may use."""
    usable = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return max(1, usable // threads)
