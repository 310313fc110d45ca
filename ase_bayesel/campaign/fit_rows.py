"""The rows of a round's fit: assembled here, or in tasks on whatever the campaign names."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from itertools import islice

from ase import Atoms

from ..descriptors import Descriptor
from ..resources import Here, open_executor
from ..resources.threads import cpu_threads
from ..structures.labels import PropertyKeys
from ..surrogate.assembly import assembling
from ..surrogate.design import chunks
from ..surrogate.energy_weights import EnergyWeights
from ..surrogate.row_factors import DesignFactors
from ..surrogate.row_store import RowStore
from ..surrogate.steps import finished
from ..surrogate.training_rows import TrainingRows
from .build.models import build_descriptor, force_projections
from .build.resources import build_resource
from .config.campaign import CampaignConfig
from .store import Store

CHUNKS_AHEAD = 64
"""So many parts of a fit wait, run or are to be combined at a time: memory is theirs."""


def assembling_rows(
    config: CampaignConfig,
    store: Store,
    number: int,
    frames: Sequence[Atoms],
    descriptor: Descriptor,
    keys: PropertyKeys,
    e0s: Mapping[str, float],
    energy_weights: EnergyWeights | None,
) -> Generator[int, None, DesignFactors]:
    """The rows of all structures, here or in tasks of `chunks` that are combined in order.

    Both give the same least-squares problem; its triangular factors differ by rounding.

    Parameters
    ----------
    config, store, number
        The campaign and its round; rows are kept in its directory, where the tasks see it.
    frames, descriptor, keys, e0s, energy_weights
        As in `surrogate.assembly.assembling`.
    """
    projections, max_force = force_projections(config.descriptor), config.labels.max_force
    resource = build_resource(config.workers.features, config.threads, store.directory)
    if isinstance(resource, Here):
        scale = descriptor.prior_std()
        return (
            yield from assembling(
                *(frames, descriptor, keys, e0s, scale, projections),
                energy_weights=energy_weights,
                max_force=max_force,
                store=store.rows,
            )
        )
    rows = TrainingRows(frames, descriptor, projections, store=store.rows)
    kept = {batch.where.stop for batch, _ in rows.planned() if batch.kept}
    potential = store.potential_path(number)
    make = partial(build_descriptor, config, None if potential is None else potential.resolve())
    whole: DesignFactors | None = None
    parts, running = iter(chunks(frames)), deque[tuple[slice, Future[DesignFactors]]]()
    with open_executor(resource) as executor:
        while True:
            for part in islice(parts, CHUNKS_AHEAD - len(running)):
                task = (
                    make,
                    config.threads,
                    frames[part],
                    keys,
                    e0s,
                    projections,
                    part.start,
                    energy_weights,
                    max_force,
                    store.rows if part.stop in kept else None,
                )
                running.append((part, executor.submit(assemble_chunk, *task)))
            if not running:
                break
            part, future = running.popleft()
            factors = future.result()
            if whole is None:
                whole = factors
            else:
                whole.absorb(factors)
            yield part.stop
    assert whole is not None
    return whole


def assemble_chunk(
    make_descriptor: Callable[[], Descriptor],
    threads: int,
    frames: Sequence[Atoms],
    keys: PropertyKeys,
    e0s: Mapping[str, float],
    force_projections: int | None,
    first: int,
    energy_weights: EnergyWeights | None,
    max_force: float | None,
    rows: RowStore | None = None,
) -> DesignFactors:
    """The task: `surrogate.assembly.assembling` for one chunk, with a descriptor of its own.

    Parameters
    ----------
    make_descriptor
        Makes the descriptor in the process of the task.
    threads
        Threads of that process.
    frames, keys, e0s, force_projections, first, energy_weights, max_force
        As in `surrogate.assembly.assembling`.
    rows
        Its ``store``.
    """
    with cpu_threads(threads):
        descriptor = make_descriptor()
        scale = descriptor.prior_std()
        steps = assembling(
            *(frames, descriptor, keys, e0s, scale, force_projections, first),
            energy_weights=energy_weights,
            max_force=max_force,
            store=rows,
        )
        return finished(steps)
