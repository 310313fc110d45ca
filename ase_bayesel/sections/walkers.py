"""Where the walkers of a round run."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from .base import Section


class WorkersConfig(Section):
    """What advances walkers in lock-step; the picks are the same up to rounding.

    ``batched``: this process, where small structures share each pass through a network.
    ``processes``: ``n_workers`` processes of this machine, one thread each. ``dask``: the
    workers of a running Dask cluster, by its ``scheduler``'s address; they need this package
    and the campaign directory under the same path.
    """

    kind: Literal["batched", "processes", "dask"] = "batched"
    n_workers: PositiveInt | None = None
    scheduler: Annotated[str, Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _fields_of_the_kind(self) -> WorkersConfig:
        owners = {"n_workers": "processes", "scheduler": "dask"}
        for name, kind in owners.items():
            if (getattr(self, name) is not None) != (self.kind == kind):
                verb = "is missing for" if self.kind == kind else "belongs to"
                raise ValueError(f"{name} {verb} kind: {kind}")
        return self
