"""Where the tasks of a config run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ...resources import BatchJobs, LocalCluster, ProcessPool, Resource
from ...resources.threads import usable_processes


def build_resource(workers: Resource, threads: int, directory: Path) -> Resource:
    """Where tasks run that use so many threads, with all that a config may leave open.

    Parameters
    ----------
    workers
        As the config has it.
    threads
        Of each task.
    directory
        The campaign's.
    """
    match workers:
        case ProcessPool():
            n_workers = workers.n_workers or usable_processes(threads)
            return replace(workers, n_workers=n_workers, threads=threads)
        case LocalCluster():
            return replace(workers, n_workers=workers.n_workers or usable_processes(threads))
        case BatchJobs():
            logs = workers.log_directory or directory.resolve() / "jobs"
            return replace(workers, log_directory=logs)
        case _:
            return workers
