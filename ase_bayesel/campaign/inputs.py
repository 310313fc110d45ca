"""Everything that a config names, read and checked before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ase import Atoms

from ..descriptors.base import Descriptor
from ..descriptors.states import check_states
from ..dynamics.triggers import StressTrigger, probes
from ..errors import ConfigError, StructureError
from ..io.fields import MODEL_NAME
from ..io.words import listed
from ..labelling.engines import ENGINES, Engine, ImportedEngine
from ..structures.frames import read_frames
from ..structures.labels import WHOLE
from ..structures.neighbours import fresh_pairs
from ..structures.reference_energies import reference_energies
from ..structures.survey import LabelSurvey, survey_labels
from ..surrogate.energy_weights import weights_of
from ..surrogate.surrogate import Surrogate
from .build.models import build_descriptor, build_refitter
from .build.potentials import initial_potential
from .build.walkers import check_start
from .config import (
    ACEConfig,
    AnyPotential,
    ExploreConfig,
    ImportedFeaturesConfig,
    MACEFeaturesConfig,
    PoolConfig,
)
from .config.campaign import CampaignConfig
from .config.models import given_model
from .exploration import Targets
from .first_labels import FIRST, first_structures
from .label_checks import check_test_labels, check_training_labels
from .occupied import check_folders
from .refit import MACERefitter
from .round_properties import CRYSTAL, check_properties


def check_inputs(config: CampaignConfig, run_code: bool = True) -> dict[str, list[Atoms]]:
    """Read and check every structure file of a config, its descriptor and its engine.

    Parameters
    ----------
    config
        The config.
    run_code
        Also import what the config names, unpickle the models that it trusts, and download those
        that it names.

    Returns
    -------
    The structures under ``"train"``, ``"starts"`` and, if given, ``"test"``, ``"prior"``,
    ``"targets"`` and ``"crystal"``. Where a recipe makes the training structures they have no
    labels yet, and are under `FIRST` instead.

    Raises
    ------
    BayeselError
        Naming the file and the frame, or the field of the config.
    """
    if not run_code:
        config = without_trust(config)
        _check_models_are_here(config)
    check_folders(config.labels)
    descriptor = None
    if run_code or not isinstance(config.descriptor, ImportedFeaturesConfig):
        descriptor = build_descriptor(config, initial_potential(config))
    refitter = build_refitter(config)
    if isinstance(refitter, MACERefitter):
        model = initial_potential(config)
        assert not isinstance(model, tuple)  # of mace's there is one file
        refitter.check(model)
    engine, data = config.engine, config.data
    paths = {"starts": config.explore.starts}
    if data.train_file is not None:
        paths["train"] = data.train_file
    if data.test is not None:
        paths["test"] = data.test
    if data.prior is not None and data.prior_is_surrogate:
        if descriptor is not None:
            Surrogate.load(data.prior, descriptor)
    elif data.prior is not None:
        paths["prior"] = data.prior
    if data.targets is not None:
        paths["targets"] = data.targets
    if config.properties is not None and config.properties.crystal.file is not None:
        paths[CRYSTAL] = config.properties.crystal.file
    frames = {name: read_frames(path) for name, path in paths.items()}
    if engine is not None and (run_code or not _imports_code(engine)):
        elements = {symbol for atoms in frames["starts"] for symbol in atoms.symbols}
        for problem in engine.missing(sorted(elements)):
            raise ConfigError(f"labelling: {problem}")
    for k, atoms in enumerate(frames.get("prior", ())):
        weights_of(atoms, f"{data.prior}, frame {k}")
    if descriptor is not None:
        for name, path in paths.items():
            check_elements(frames[name], path, descriptor.elements, knower(config))
    if isinstance(config.descriptor, ACEConfig):
        told = [name for name in ("train", "starts") if name in frames]
        _check_reach({paths[n]: frames[n] for n in told}, config.descriptor.cutoff)
    if config.properties is not None:
        crystal = check_properties(config.properties, frames)
        if descriptor is not None:
            path = Path("properties.crystal")
            check_elements([crystal], path, descriptor.elements, knower(config))
    for name, made in first_structures(config, frames["starts"], run_code).items():
        frames[name], paths[name] = made, Path(f"data.train: {name}")
    if descriptor is not None:
        _check_states(frames, paths, descriptor, engine if run_code else None)
    e0s = _known_e0s(config, frames)
    for name in ("starts", "test"):
        check_e0s(frames.get(name, ()), paths.get(name), e0s, data.e0s)
    _check_shift(frames, paths, config.potential)
    if data.test is not None:
        check_test_labels(frames["test"], data.test, data.keys)
    try:
        _ = Targets(frames=tuple(frames.get("targets", ()))).coefficients
    except StructureError as error:
        raise StructureError(f"{data.targets}: {error}") from None
    _check_starts(frames["starts"], config.explore)
    if config.cut_out is not None:
        for k, atoms in enumerate(frames["starts"]):
            config.cut_out.cut(atoms, 0, f"{config.explore.starts}, frame {k} (explore.cut_out)")
    if isinstance(refitter, MACERefitter):
        for k, atoms in enumerate(frames.get("train", ())):
            if WHOLE in atoms.arrays:
                raise ConfigError(
                    f"{data.train}, frame {k}: is a cut-out ({WHOLE!r}), and refit: {{kind: mace}} "
                    "leaves no atoms of a structure out"
                )
    return frames


def _known_e0s(
    config: CampaignConfig, frames: Mapping[str, Sequence[Atoms]]
) -> Mapping[str, float]:
    """Reference energies of the training set; where it has no labels yet, zeros in their place."""
    data = config.data
    if data.train_file is None:
        elements = {symbol for atoms in frames["starts"] for symbol in atoms.symbols}
        return dict.fromkeys(elements, 0.0) if isinstance(data.e0s, str) else data.e0s
    check_training_labels(frames["train"], data.train_file, data.keys)
    try:
        return reference_energies(frames["train"], data.e0s, data.energy_key)
    except StructureError as error:
        raise ConfigError(f"{data.train_file}: {error} (data.e0s)") from error


def label_survey(
    config: CampaignConfig, inputs: Mapping[str, Sequence[Atoms]] | None = None
) -> LabelSurvey | None:
    """What the labels of the training set are taken for; None where there are none yet.

    ``inputs`` are the structures of `check_inputs`, if they were read.

    Raises
    ------
    StructureError
        As `survey_labels`.
    """
    data = config.data
    if data.train_file is None:
        return None
    given = inputs or {}
    frames = given["train"] if "train" in given else read_frames(data.train_file)
    test = given.get("test", ()) if inputs or data.test is None else read_frames(data.test)
    return survey_labels(frames, data.keys, data.e0s, str(data.train_file), test)


def _check_states(
    frames: Mapping[str, Sequence[Atoms]],
    paths: Mapping[str, Path],
    descriptor: Descriptor,
    engine: Engine | None,
) -> None:
    """Whether the engine takes the charges and multiplicities, and the descriptor sees them.

    Picks have those of their starts, and are trained on.
    """
    for name in ("starts", *FIRST):
        for k, atoms in enumerate(frames.get(name, ())):
            refusal = None if engine is None else engine.refusal(atoms)
            if refusal is not None:
                raise ConfigError(f"{paths[name]}, frame {k}: {refusal}")
    trains = ("train", *FIRST, "prior", "starts")
    places = [(name, k) for name in trains for k in range(len(frames.get(name, ())))]
    trained = [frames[name][k] for name, k in places]
    check_states(trained, descriptor, lambda k: f"{paths[places[k][0]]}, frame {places[k][1]}")


def _check_starts(frames: Sequence[Atoms], explore: ExploreConfig) -> None:
    """Whether triggers, guards and what drives a walker make sense for every start.

    A start must not break a guard itself: its walker would end where it begins.
    """
    stress = any(isinstance(probe, StressTrigger) for probe in probes(explore.trigger))
    for k, atoms in enumerate(frames):
        where = f"{explore.starts}, frame {k}"
        if WHOLE in atoms.arrays:
            raise ConfigError(
                f"{where}: is a cut-out ({WHOLE!r}), in which atoms are not to move; start from "
                "the structure that it was cut out of, or remove the array"
            )
        if stress and not atoms.pbc.all():
            raise ConfigError(f"{where}: a stress trigger needs three periodic directions")
        try:
            broken = explore.guards.against(atoms).violated(atoms)
        except StructureError as error:
            raise ConfigError(f"{where}: {error}") from error
        if broken is not None:
            raise ConfigError(
                f"{where}: breaks the guard {broken} before the first step (explore.guards)"
            )
        check_start(explore, atoms, where)


def check_e0s(
    frames: Sequence[Atoms],
    path: Path | None,
    e0s: Mapping[str, float],
    source: Mapping[str, float] | str,
) -> None:
    """Refuse structures with elements that have no reference energy.

    Parameters
    ----------
    frames, path
        The structures, and their file for the error.
    e0s, source
        Reference energies, and what the config says of them; ``"given"`` those of a saved
        surrogate.

    Raises
    ------
    ConfigError
        Naming the file, the frame and the element.
    """
    ways = {
        "isolated": "add an isolated atom of it to the training set, or give data.e0s",
        "given": "fit the surrogate with it",
        "average": "it is not in the training set: add structures with it, or give data.e0s",
    }
    for k, atoms in enumerate(frames):
        unknown = sorted(set(atoms.symbols) - set(e0s))
        if unknown:
            way = ways[source] if isinstance(source, str) else "add it to data.e0s"
            raise ConfigError(
                f"{path}, frame {k}: element {', '.join(unknown)} has no reference energy; {way}"
            )


def _check_shift(
    frames: Mapping[str, Sequence[Atoms]], paths: Mapping[str, Path], potential: AnyPotential | None
) -> None:
    """Whether all elements have an energy shift, where there is one."""
    shift = "none" if potential is None else potential.energy_shift
    if shift == "none":
        return
    train = frames["train"] if "train" in frames else frames[FIRST[0]]
    known = {symbol for atoms in train for symbol in atoms.symbols}
    way = "it is not in the training set, to which the shift is fitted: give it by element"
    if not isinstance(shift, str):
        known, way = set(shift), "add it there"
    for name in ("train", "starts", "test"):
        for k, atoms in enumerate(frames.get(name, ())):
            unknown = sorted(set(atoms.symbols) - known)
            if unknown:
                raise ConfigError(
                    f"{paths[name]}, frame {k}: element {', '.join(unknown)} has no energy shift "
                    f"(potential.energy_shift); {way}"
                )


def _imports_code(engine: Engine) -> bool:
    """Whether an engine is, or imports, code that the config names."""
    return isinstance(engine, ImportedEngine) or type(engine) not in ENGINES


def without_trust(config: CampaignConfig) -> CampaignConfig:
    """The config, in which no model is unpickled."""
    parts = {"potential": config.potential, "descriptor": config.descriptor}
    parts["labelling"] = config.labelling  # type: ignore[assignment]
    trusting = {k: part for k, part in parts.items() if getattr(part, "trust", False)}
    changes = {k: replace(part, trust=False) for k, part in trusting.items()}  # type: ignore[type-var]
    return config.model_copy(update=changes)


def _check_models_are_here(config: CampaignConfig) -> None:
    """Refuse models by a name that would have to be downloaded."""
    for part in (config.potential, config.descriptor, config.labelling):
        model = getattr(part, "model", None)
        if isinstance(model, str) and MODEL_NAME.fullmatch(model):
            from ..descriptors.mace.loading import locate

            locate(model, download=False)


def knower(config: CampaignConfig | PoolConfig) -> str:
    """What knows the elements, as a user has named it: a model and its file, or the descriptor."""
    features = config.descriptor
    model = getattr(features, "model", None)
    if model is None and isinstance(features, MACEFeaturesConfig):
        model = given_model(config.potential)
    cut = getattr(features, "elements", None) is not None
    return "the descriptor" if model is None or cut else f"the model {model}"


def check_elements(
    frames: Sequence[Atoms], path: Path, elements: Sequence[str], of: str = "the descriptor"
) -> None:
    """Refuse structures of a file with elements that a descriptor does not know.

    Parameters
    ----------
    frames, path
        The structures, and their file for the error.
    elements, of
        What is known, and to what (`knower`).

    Raises
    ------
    ConfigError
        Naming the file, the frame and the element.
    """
    for k, atoms in enumerate(frames):
        unknown = sorted(set(atoms.symbols) - set(elements))
        if unknown:
            raise ConfigError(
                f"{path}, frame {k}: element {', '.join(unknown)} is not among those that {of} "
                f"knows: {listed(elements)}"
            )


def _check_reach(files: Mapping[Path, Sequence[Atoms]], cutoff: float) -> None:
    """Refuse a cutoff within which no atom of any file has a neighbour: all features would be 0."""
    structures = [atoms for frames in files.values() for atoms in frames]
    if not any(len(fresh_pairs(atoms, cutoff).lengths) for atoms in structures):
        raise ConfigError(
            f"{', '.join(map(str, files))}: no two atoms are within descriptor.cutoff, "
            f"{cutoff:g} A, in any structure, so that all features are zero; take a larger one"
        )
