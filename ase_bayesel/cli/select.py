"""Selection from files to files: the work of ``bayesel select``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from ase import Atoms

from ..campaign.inputs import check_elements
from ..descriptors.base import Descriptor
from ..errors import BayeselError, SelectionError
from ..io.atomic import write_atomically
from ..selection.arguments import BAYESIAN, USERS, check_arguments, check_core
from ..selection.feature_store import FeatureStore, pool_features
from ..selection.guide import methods_text, reasons_of
from ..selection.methods import Selection
from ..selection.remaining import (
    HalvesTest,
    Left,
    error_floor,
    error_left,
    halves_test,
    looked_at,
)
from ..selection.select import FORCE_PROJECTIONS, fit_core, select, with_properties
from ..structures.frames import check_output, extxyz_bytes, iterate_frames, read_frames
from ..structures.labels import PropertyKeys, keys_in
from ..structures.survey import survey_labels
from ..surrogate.calibration import calibrating
from ..surrogate.steps import OnProgress, finished
from ..surrogate.surrogate import SURROGATE_SUFFIX, Surrogate
from .select_report import MethodPicks, PickedPool, enough_in_words, page, record
from .stages import OnStage

INDEX, SCORE, REASON = "bayesel_pool_index", "bayesel_score", "bayesel_reason"
"""Keys of ``atoms.info`` of a pick; the score is missing where the method gives none."""


@dataclass(frozen=True)
class SelectionRequest:
    """A selection as it is asked for; see `ase_bayesel.select` for the fields of the same name.

    ``pool``, ``core`` and ``targets`` are files of structures; a ``core`` that ends in ``.npz`` is
    a saved surrogate of the same descriptor, and ``keys`` and ``e0s`` are not used; ``keys`` are
    None to look for labels as `keys_in` does. ``store`` is the folder that keeps features, a
    temporary one by default. Of several ``methods`` each picks ``n`` on its own. ``curve`` is
    whether to tell what is left over the pool after each pick.
    """

    pool: Path
    n: int
    methods: tuple[str, ...]
    descriptor: Descriptor
    output: Path
    core: Path | None = None
    keys: PropertyKeys | None = None
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
    curve: bool = True


@dataclass(frozen=True)
class Written:
    """The files that a selection ends in, how many picks each holds, doubts and answers."""

    n_picked: Sequence[int]
    picks: Sequence[Path]
    page: Path
    record: Path
    notes: Sequence[str] = ()
    enough: Sequence[str] = ()


def select_from_file(
    request: SelectionRequest, on_stage: OnStage = lambda stage, done, total: None
) -> Written:
    """Select from a file; write the picks in pick order and, beside them, HTML and JSON.

    Each pick carries its place in the pool, score and reason (`INDEX`, `SCORE`, `REASON`).
    ``on_stage`` is told how far it is.

    Raises
    ------
    SelectionError, StructureError
        As `ase_bayesel.select`; also where an input would be overwritten, or another file and
        ``overwrite`` is not set, and where the ending of the output is not that of its format.
    PosteriorError
        If the core is no saved surrogate, or one of another descriptor.
    """
    _check_methods(request)
    inputs = [path for path in (request.pool, request.core, request.targets) if path is not None]
    files = [_file(request, method) for method in request.methods]
    outputs = [request.output.with_suffix(suffix) for suffix in (".html", ".json")]
    for path in (*files, *outputs):
        if path.resolve() in [source.resolve() for source in inputs]:
            raise SelectionError(f"{path}: would be overwritten; choose another output")
    if request.output in outputs:
        raise SelectionError(f"{request.output}: the picks need another ending, such as .xyz")
    check_output(request.output)
    for path in (*files, *outputs):
        if path.exists() and not request.overwrite:
            raise SelectionError(f"{path}: exists already; choose another output, or --overwrite")
    with TemporaryDirectory() as scratch:
        store = FeatureStore(request.store or scratch, request.descriptor)
        core = _core(request)
        fitted, notes = _fitted(request, core, on_stage)
        found = [_select(request, m, core, fitted, store, on_stage) for m in request.methods]
        for method, own in zip(request.methods, found, strict=True):
            if not len(own):
                raise SelectionError(
                    f"budget: {method} picks nothing, for all structures cost more"
                )
        picked, frames = _described(request, store, core, fitted, found, on_stage)
        contents = [extxyz_bytes(own, str(path)) for own, path in zip(frames, files, strict=True)]
    for path, content in zip(files, contents, strict=True):
        write_atomically(path, content)
    text = page(picked, f"Picks from {request.pool.name}", notes, request.curve)
    write_atomically(outputs[0], text.encode())
    write_atomically(outputs[1], (json.dumps(record(picked), indent=1) + "\n").encode())
    curves = [(own.method, own.left) for own in picked.methods if own.left is not None]
    words = [f"{method}: {enough_in_words(left)}" for method, left in curves]
    return Written([*map(len, found)], files, outputs[0], outputs[1], tuple(notes), words)


def _check_methods(request: SelectionRequest) -> None:
    """Every method's name and arguments, before any work."""
    for name, least in (("n", 1), ("seed", 0)):
        if getattr(request, name) < least:
            raise SelectionError(f"{name}: must be at least {least}, got {getattr(request, name)}")
    if not request.methods:
        raise SelectionError(f"method: name one;\n{methods_text()}")
    for method in request.methods:
        if request.methods.count(method) > 1:
            raise SelectionError(f"method: {method} is named twice")
        check_arguments(method, **_arguments(request, method))
        check_core(method, request.core is not None, _is_surrogate(request.core))


def _arguments(request: SelectionRequest, method: str) -> dict[str, Any]:
    """Those that not all methods share; one that others use is kept from those that do not."""
    return {
        name: getattr(request, name)
        for name, users in USERS.items()
        if hasattr(request, name)
        and (method in users or not any(other in users for other in request.methods))
    }


def _file(request: SelectionRequest, method: str) -> Path:
    """Where a method's picks go: the output, and of several ``<output>_<method>``."""
    output = request.output
    return output if len(request.methods) == 1 else output.with_stem(f"{output.stem}_{method}")


def _is_surrogate(core: Path | None) -> bool:
    return core is not None and core.suffix == SURROGATE_SUFFIX


def _core(request: SelectionRequest) -> Surrogate | list[Atoms] | None:
    if request.core is None:
        return None
    if _is_surrogate(request.core):
        return Surrogate.load(request.core, request.descriptor)
    return _frames_of(request.core, request)


def _frames_of(path: Path, request: SelectionRequest) -> list[Atoms]:
    """The structures of a file, which the descriptor knows."""
    frames = read_frames(path)
    check_elements(frames, path, request.descriptor.elements)
    return frames


def _fitted(
    request: SelectionRequest, core: Surrogate | list[Atoms] | None, on_stage: OnStage
) -> tuple[Surrogate | None, list[str]]:
    """The surrogate with its scales, which methods that need none can do without, and doubts."""
    if core is None:
        return None, []
    if isinstance(core, Surrogate):
        return with_properties(core, request.properties), []
    needed = any(method in BAYESIAN for method in request.methods)
    if not (needed or request.curve):
        return None, []
    keys, told = keys_in(core, request.keys, str(request.core))
    try:
        survey = survey_labels(core, keys, request.e0s, str(request.core))
        fit = partial(on_stage, "fit of the core")
        fitted = fit_core(core, request.descriptor, keys, request.e0s, fit)
        if request.curve:  # whose errors are deviations times the scales
            steps = calibrating(fitted, core, keys, FORCE_PROJECTIONS)
            fitted = finished(steps, len(core), partial(on_stage, "core left out in turn"))
        return with_properties(fitted, request.properties), [*told, *survey.notes()]
    except BayeselError as error:
        if needed:
            raise
        return None, [f"what is left over the pool cannot be told: {error}"]


def _select(
    request: SelectionRequest,
    method: str,
    core: Surrogate | list[Atoms] | None,
    fitted: Surrogate | None,
    store: FeatureStore,
    on_stage: OnStage,
) -> Selection:
    arguments = _arguments(request, method)
    if arguments.get("targets") is not None:
        arguments["targets"] = _frames_of(arguments["targets"], request)
    return select(
        request.pool,
        request.n,
        method,
        request.descriptor,
        core,
        np.random.default_rng(request.seed),
        properties=request.properties,
        store=store,
        on_progress=lambda done: on_stage(f"{method}: features", done, 0),
        fitted=fitted,
        on_picking=lambda what, done, total: on_stage(f"{method}: {what}", done, total),
        **arguments,
    )


def _described(
    request: SelectionRequest,
    store: FeatureStore,
    core: Surrogate | list[Atoms] | None,
    fitted: Surrogate | None,
    found: Sequence[Selection],
    on_stage: OnStage,
) -> tuple[PickedPool, list[list[Atoms]]]:
    """The pool's features and kinds, and the picked structures, in one more pass of the file."""
    chosen = {k: Atoms() for selection in found for k in selection.indices.tolist()}
    kinds: list[str] = []

    def watched() -> Iterator[Atoms]:
        for number, atoms in enumerate(iterate_frames(request.pool)):
            kinds.append(str(atoms.info.get("config_type", "")))
            if number in chosen:
                chosen[number] = atoms
            yield atoms

    known = pool_features(watched(), request.descriptor, store)
    picks = [[chosen[k] for k in selection.indices.tolist()] for selection in found]
    curves: list[Left | None] = [None] * len(found)
    if fitted is not None and request.curve:
        some = looked_at(len(known.ids))
        seen = known.rows[some], known.n_atoms[some]
        floor = error_floor(fitted, list(chosen.values()), *seen)
        tested = _tested(request, core, fitted, seen, partial(on_stage, "fit of half the core"))
        curves = [
            error_left(
                *(fitted, frames, *seen, floor, partial(on_stage, f"{method}: what is left")),
                tested,
            )
            for method, frames in zip(request.methods, picks, strict=True)
        ]
    costs = request.budget is not None
    methods = []
    for method, selection, left in zip(request.methods, found, curves, strict=True):
        by_costs, file = costs and method in BAYESIAN, _file(request, method).name
        reasons = reasons_of(method, selection, by_costs)
        methods.append(MethodPicks(method, selection, reasons, file, left, by_costs))
    picked = PickedPool(
        methods,
        request.descriptor.spec(),
        request.seed,
        known.ids,
        kinds,
        known.n_atoms,
        known.rows / known.n_atoms[:, None],
        _means(core, request.descriptor, store),
    )
    return picked, [_told(own, frames) for own, frames in zip(methods, picks, strict=True)]


def _tested(
    request: SelectionRequest,
    core: Surrogate | list[Atoms] | None,
    fitted: Surrogate,
    seen: tuple[np.ndarray, np.ndarray],
    on_progress: OnProgress,
) -> HalvesTest | None:
    """How forecasts do within a core of structures."""
    if core is None or isinstance(core, Surrogate):
        return None
    keys, _ = keys_in(core, request.keys, str(request.core))

    def fit(frames: Sequence[Atoms]) -> Surrogate:
        own = fit_core(frames, request.descriptor, keys, fitted.e0s, on_progress)
        own = finished(calibrating(own, frames, keys, FORCE_PROJECTIONS))
        return with_properties(own, request.properties)

    return halves_test(fit, fitted, core, *seen)


def _means(
    core: Surrogate | list[Atoms] | None, descriptor: Descriptor, store: FeatureStore
) -> np.ndarray | None:
    if core is None or isinstance(core, Surrogate):
        return None
    known = pool_features(core, descriptor, store, where="core")
    return known.rows / known.n_atoms[:, None]


def _told(own: MethodPicks, frames: Sequence[Atoms]) -> list[Atoms]:
    """Copies of picks that say where they come from and why they were picked."""
    told = []
    selection = own.selection
    for k, score, reason, atoms in zip(
        *(selection.indices.tolist(), selection.scores.tolist(), own.reasons, frames), strict=True
    ):
        out = atoms.copy()
        out.calc = atoms.calc
        out.info = {key: value for key, value in out.info.items() if key != SCORE}
        out.info |= {INDEX: k, REASON: reason}
        if np.isfinite(score):
            out.info[SCORE] = score
        told.append(out)
    return told
