"""Where the parts of a campaign run."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from .base import InputPath, Section


class HereConfig(Section):
    """This process."""

    kind: Literal["here"] = "here"


class ProcessesConfig(Section):
    """Processes of this machine; null takes one for each of its usable cores / ``threads``."""

    kind: Literal["processes"] = "processes"
    n_workers: PositiveInt | None = None


class LocalConfig(Section):
    """The same as a Dask cluster."""

    kind: Literal["local"]
    n_workers: PositiveInt | None = None


class DaskConfig(Section):
    """The workers of a running Dask cluster, by its scheduler's address.

    They need this package and the campaign directory under the same path.
    """

    kind: Literal["dask"]
    scheduler: str = Field(min_length=1)


class BatchConfig(Section):
    """Jobs of a batch system, under the same conditions; see `resources.BatchJobs`.

    The jobs' output goes to ``jobs`` in the campaign directory, unless ``log_directory`` is given.
    """

    kind: Literal["slurm", "pbs", "lsf", "sge", "oar", "htcondor", "moab"]
    jobs: PositiveInt = 1
    cores: PositiveInt = 1
    memory_GB: PositiveFloat = 4.0
    processes: PositiveInt = 1
    walltime_h: PositiveFloat = 1.0
    queue: str | None = None
    account: str | None = None
    directives: list[str] = []
    directives_skip: list[str] = []
    prologue: list[str] = []
    interface: str | None = None
    python: str | None = None
    local_directory: InputPath | None = None
    log_directory: InputPath | None = None


ResourceConfig = Annotated[
    HereConfig | ProcessesConfig | LocalConfig | DaskConfig | BatchConfig,
    Field(discriminator="kind"),
]


class WorkersConfig(Section):
    """Where reference calculations, walkers, refits and the rows of a fit are computed.

    The picks do not depend on it but for rounding. Only walkers in lock-step can leave this
    process; ``here`` small structures share each pass through a network.
    """

    labelling: ResourceConfig = ProcessesConfig()
    walkers: ResourceConfig = HereConfig()
    refit: ResourceConfig = HereConfig()
    features: ResourceConfig = HereConfig()
