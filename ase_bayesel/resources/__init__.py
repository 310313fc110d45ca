"""Where tasks run: this process, processes, a Dask cluster, jobs of a batch system.

A resource is a value; `open_executor` and `open_client` make it real for a while.
"""

from .base import (
    RESOURCES,
    BatchJobs,
    Here,
    LocalCluster,
    ProcessPool,
    Resource,
    RunningCluster,
    TaskExecutor,
)
from .opening import open_client, open_executor

__all__ = [
    "RESOURCES",
    "BatchJobs",
    "Here",
    "LocalCluster",
    "ProcessPool",
    "Resource",
    "RunningCluster",
    "TaskExecutor",
    "open_client",
    "open_executor",
]
