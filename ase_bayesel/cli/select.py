"""Selection from files to files: the work of ``bayesel select``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from ase import Atoms

from ..descriptors.base import Descriptor
from ..errors import SelectionError
from ..io.atomic import write_atomically
from ..selection.feature_store import FeatureStore, pool_features
from ..selection.methods import Selection
from ..selection.select import BAYESIAN, select
from ..structures.frames import check_output, extxyz_bytes, iterate_frames, read_frames
from ..structures.labels import PropertyKeys
from ..structures.survey import survey_labels
from ..surrogate.surrogate import SURROGATE_SUFFIX, Surrogate
from .select_report import PickedPool, page, record


@dataclass(frozen=True)
class SelectionRequest:
    """A selection as it is asked for; see `ase_bayesel.select` for the fields of the same name.

    ``pool``, ``core`` and ``targets`` are files of structures; a ``core`` that ends in ``.npz`` is
    a saved surrogate of the same descriptor, and ``keys`` and ``e0s`` are not used. ``store`` is
    the folder that keeps features, a temporary one by default.
    """

    pool: Path
    n: int
    method: str
    descriptor: Descriptor
    output: Path
    core: Path | None = None
    keys: PropertyKeys = field(default_factory=PropertyKeys)
    e0s: str = "isolated"
    properties: tuple[str, ...] | None = None
    scored: tuple[str, ...] | None = None
    weights: Mapping[str, float] | None = None
    targets: Path | None = None
    coefficients: tuple[float, ...] | None = None
    budget: float | None = None
    seed: int = 0
    store: Path | None = None
    overwrite: bool = False


@dataclass(frozen=True)
class Written:
    """The files that a selection ends in, how many structures were picked, and doubts."""

    n_picked: int
    picks: Path
    page: Path
    record: Path
    notes: tuple[str, ...] = ()


def select_from_file(
    request: SelectionRequest, on_progress: Callable[[int], None] | None = None
) -> Written:
    """Select from a file; write the picks in pick order and, beside them, HTML and JSON.

    ``on_progress`` is called with the number of structures whose features are done.

    Raises
    ------
    SelectionError, StructureError
        As `ase_bayesel.select`; also where an input would be overwritten, or another file and
        ``overwrite`` is not set, and where the ending of the output is not that of its format.
    PosteriorError
        If the core is no saved surrogate, or one of another descriptor.
    """
    inputs = [path for path in (request.pool, request.core, request.targets) if path is not None]
    outputs = [request.output.with_suffix(suffix) for suffix in (".html", ".json")]
    for path in (request.output, *outputs):
        if path.resolve() in [source.resolve() for source in inputs]:
            raise SelectionError(f"{path}: would be overwritten; choose another output")
    if request.output in outputs:
        raise SelectionError(f"{request.output}: the picks need another ending, such as .xyz")
    check_output(request.output)
    for path in (request.output, *outputs):
        if path.exists() and not request.overwrite:
            raise SelectionError(f"{path}: exists already; choose another output, or --overwrite")
    with TemporaryDirectory() as scratch:
        store = FeatureStore(request.store or scratch, request.descriptor)
        core = _core(request)
        notes = _notes(request, core)
        selection = _select(request, core, store, on_progress)
        picked, frames = _described(request, store, selection)
        write_atomically(request.output, extxyz_bytes(frames, str(request.output)))
        text = page(picked, f"Picks from {request.pool.name}")
    write_atomically(outputs[0], text.encode())
    write_atomically(outputs[1], (json.dumps(record(picked), indent=1) + "\n").encode())
    return Written(len(selection), request.output, outputs[0], outputs[1], notes)


def _core(request: SelectionRequest) -> Surrogate | list[Atoms] | None:
    if request.core is None:
        return None
    if request.core.suffix == SURROGATE_SUFFIX:
        return Surrogate.load(request.core, request.descriptor)
    return read_frames(request.core)


def _notes(request: SelectionRequest, core: Surrogate | list[Atoms] | None) -> tuple[str, ...]:
    """What may be wrong with the labels of the core, where they were fitted."""
    if core is None or isinstance(core, Surrogate) or request.method not in BAYESIAN:
        return ()
    return tuple(survey_labels(core, request.keys, request.e0s, str(request.core)).notes())


def _select(
    request: SelectionRequest,
    core: Surrogate | list[Atoms] | None,
    store: FeatureStore,
    on_progress: Callable[[int], None] | None,
) -> Selection:
    return select(
        request.pool,
        request.n,
        request.method,
        request.descriptor,
        core,
        np.random.default_rng(request.seed),
        keys=request.keys,
        e0s=request.e0s,
        properties=request.properties,
        scored=request.scored,
        weights=request.weights,
        targets=None if request.targets is None else read_frames(request.targets),
        coefficients=request.coefficients,
        budget=request.budget,
        store=store,
        on_progress=on_progress,
    )


def _described(
    request: SelectionRequest, store: FeatureStore, selection: Selection
) -> tuple[PickedPool, list[Atoms]]:
    """The pool's features and kinds, and the picked structures, in one more pass of the file."""
    chosen: dict[int, Atoms] = dict.fromkeys(selection.indices.tolist(), Atoms())
    kinds: list[str] = []

    def watched() -> Iterator[Atoms]:
        for number, atoms in enumerate(iterate_frames(request.pool)):
            kinds.append(str(atoms.info.get("config_type", "")))
            if number in chosen:
                chosen[number] = atoms
            yield atoms

    known = pool_features(watched(), request.descriptor, store)
    spec: dict[str, Any] = request.descriptor.spec()
    means = known.rows / known.n_atoms[:, None]
    picked = PickedPool(
        request.method, spec, request.seed, selection, known.ids, kinds, known.n_atoms, means
    )
    return picked, list(chosen.values())


def parse_words(text: str | None) -> tuple[str, ...] | None:
    """The words of a list with commas; None for None."""
    return None if text is None else tuple(word.strip() for word in text.split(","))


def parse_numbers(name: str, text: str | None) -> tuple[float, ...] | None:
    """The numbers of a list with commas, or a `SelectionError` that begins with ``name``."""
    try:
        return None if text is None else tuple(float(word) for word in text.split(","))
    except ValueError as error:
        raise SelectionError(f"{name}: {error} in {text!r}") from None


def parse_named_numbers(name: str, text: str | None) -> dict[str, float] | None:
    """The same for a list of key=number."""
    pairs = [] if text is None else [word.partition("=") for word in text.split(",")]
    by_name = {key.strip(): parse_numbers(name, value) for key, _, value in pairs}
    return None if text is None else {key: value[0] for key, value in by_name.items() if value}
