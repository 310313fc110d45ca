"""From `BatchJobs` to the jobs of dask-jobqueue, which writes their scripts and submits them."""

from __future__ import annotations

import math
import shlex
import sys
from typing import Any

from distributed.security import Security

from ..errors import WorkerError
from .base import BatchJobs

try:
    import dask_jobqueue
    from dask_jobqueue.core import Job
except ModuleNotFoundError as error:
    raise WorkerError(
        "batch jobs need dask-jobqueue: pip install 'ase_bayesel[distributed]'"
    ) from error
CLUSTERS: dict[str, Any] = {
    "slurm": dask_jobqueue.SLURMCluster,
    "pbs": dask_jobqueue.PBSCluster,
    "lsf": dask_jobqueue.LSFCluster,
    "sge": dask_jobqueue.SGECluster,
    "oar": dask_jobqueue.OARCluster,
    "htcondor": dask_jobqueue.HTCondorCluster,
    "moab": dask_jobqueue.MoabCluster,
}
WITH_PROJECT = ("lsf", "sge", "oar")
DEATH_TIMEOUT_S = 60
"""A worker that finds no scheduler for so long ends."""


def submit_program(resource: BatchJobs) -> str:
    """The command with which jobs are submitted."""
    return shlex.split(CLUSTERS[resource.kind].job_cls.submit_command)[0]


def new_job(resource: BatchJobs, scheduler: str, key: Security, name: str, worker: str) -> Job:
    """A job that has not been submitted.

    Parameters
    ----------
    scheduler
        Address of the Dask scheduler.
    key
        The files with which its workers are let in.
    name
        Of the job, for the batch system.
    worker
        Name of its worker; several are numbered.
    """
    leave_s = _leave_s(resource.walltime_h)
    arguments = ["--nthreads", "1", "--memory-limit", "0", "--no-dashboard"]
    arguments += ["--lifetime", f"{3600 * resource.walltime_h - 1.5 * leave_s:.0f}s"]
    arguments += ["--lifetime-stagger", f"{0.5 * leave_s:.0f}s"]
    files = key.get_tls_config_for_role("worker")
    for option in ("ca_file", "cert", "key"):
        arguments += [f"--tls-{option.replace('_', '-')}", shlex.quote(files[option])]
    options: dict[str, Any] = {
        "cores": resource.cores,
        "memory": f"{resource.memory_GB} GiB",
        "processes": resource.processes,
        "interface": resource.interface,
        "python": shlex.quote(resource.python or sys.executable),
        "death_timeout": DEATH_TIMEOUT_S,
        "worker_extra_args": arguments,
        "job_name": name,
        "job_script_prologue": list(resource.prologue),
        "job_directives_skip": list(resource.directives_skip),
        "job_extra_directives": list(resource.directives),
    }
    if resource.local_directory is not None:
        options["local_directory"] = shlex.quote(str(resource.local_directory))
    if resource.log_directory is not None:
        options["log_directory"] = str(resource.log_directory)
    options |= _own_options(resource)
    return CLUSTERS[resource.kind].job_cls(scheduler, worker, **options)


def _own_options(resource: BatchJobs) -> dict[str, Any]:
    """What one batch system takes and another does not."""
    if resource.kind == "htcondor":
        pairs = (line.partition("=")[::2] for line in resource.directives)
        return {
            "disk": "1 GB",
            "job_extra_directives": {key.strip(): value.strip() for key, value in pairs},
        }
    account = "project" if resource.kind in WITH_PROJECT else "account"
    options = {
        "walltime": _walltime(resource),
        "queue": resource.queue,
        account: resource.account,
    }
    if resource.kind == "oar":
        options["memory_per_core_property_name"] = "not_applicable"
    return options


def _walltime(resource: BatchJobs) -> str:
    minutes = math.ceil(60 * resource.walltime_h)
    clock = f"{minutes // 60:02d}:{minutes % 60:02d}"
    return clock if resource.kind == "lsf" else f"{clock}:00"


def _leave_s(walltime_h: float) -> float:
    """Workers leave between one and two times so long before the walltime."""
    return min(300.0, 180.0 * walltime_h)
