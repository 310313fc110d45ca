"""Descriptor and potential: values that `build.models` and `build.potentials` make real."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from ...descriptors.embedding import Embedding
from ...io.fields import (
    MODEL_NAME,
    Argument,
    Factory,
    GivenModel,
    InputPath,
    Json,
    ModelFile,
    ModelName,
    Several,
    ValueOrMapping,
    absolute,
)
from ...io.kinds import VALUE, OneOf
from ...io.magnitudes import AtomEnergy, Count, Cutoff
from ...structures.symbols import SYMBOLS, no_element

OWN = "potential"
"""In place of a model: that of the potential."""


def _path_or_potential(given: str, info: ValidationInfo) -> str:
    return given if given == OWN else str(absolute(given, info))


PathOrPotential = Annotated[str, AfterValidator(_path_or_potential)]
GivenShift = Annotated[
    Literal["none", "fitted"] | Mapping[str, float],
    ValueOrMapping(Literal["none", "fitted"], dict[str, AtomEnergy]),
]
"""What is added to the energy of a potential for each atom of an element, eV."""


def _channels(given: Any) -> Any:
    """A number alone is that of channels."""
    is_number = isinstance(given, int) and not isinstance(given, bool)
    return {"channels": given} if is_number else given


@dataclass(frozen=True)
class ACEConfig:
    """Linear ACE features; see `ACEDescriptor`.

    ``embedding`` is a number of channels, or a mapping; see `Embedding`.

    Raises
    ------
    DescriptorError
        If the embedding does not fit the elements.
    """

    kind: ClassVar[str] = "ace"

    elements: Annotated[tuple[str, ...], Several]
    order: Literal[2, 3] = 3
    totaldegree: Annotated[int, Field(ge=2, le=100)] = 12
    cutoff: Cutoff = 5.0
    embedding: Annotated[Annotated[Embedding, VALUE] | None, BeforeValidator(_channels)] = None

    def __post_init__(self) -> None:
        if self.embedding is not None:
            self.embedding.check(self.elements)


@dataclass(frozen=True)
class JulipConfig:
    """Linear ACE features of ACEpotentials, computed by Julia; see `JulipDescriptor`."""

    kind: ClassVar[str] = "julip"

    elements: Annotated[tuple[str, ...], Several]
    order: Annotated[int, Field(ge=2, le=6)] = 3
    totaldegree: Annotated[int, Field(ge=2, le=100)] = 12
    cutoff: Cutoff = 5.0


@dataclass(frozen=True)
class MACEFeaturesConfig:
    """Node features of a MACE model; see `MACEDescriptor`.

    Without a ``model`` they are those of the potential itself, and change with it.
    ``force_projections`` is that of `fit_surrogate`, ``trust`` that of `MACEDescriptor`.
    """

    kind: ClassVar[str] = "mace"

    model: ModelFile | None = None
    components: Literal["invariant", "all"] = "invariant"
    num_layers: Count | None = None
    elements: Annotated[tuple[str, ...], Several] | None = None
    force_projections: Count | None = 32
    trust: bool = False


@dataclass(frozen=True)
class MACEPotentialConfig:
    """A MACE model as the potential: a file, or a name such as ``mace_mp:medium``.

    ``trust`` is that of `MACEDescriptor`: unpickle the file, which runs code that it holds.
    ``energy_shift`` is that of `ImportedPotentialConfig`.
    """

    kind: ClassVar[str] = "mace"

    model: ModelFile
    head: str | None = None
    dtype: Literal["float32", "float64"] = "float64"
    device: str = "cpu"
    trust: bool = False
    energy_shift: GivenShift = "none"

    def __post_init__(self) -> None:
        _check_shift(self.energy_shift)


@dataclass(frozen=True)
class ImportedPotentialConfig:
    """Any callable that returns an ASE calculator.

    It is called with ``arguments``, ``parameters`` and the ``model``, and again after each refit
    with the new model in its place.

    Attributes
    ----------
    factory
        The callable.
    arguments, parameters
        Its positional and its keyword arguments, without the model.
    model
        A file or a folder, which the factory gets as a path; several files, as a list of paths; or
        a name, as it is. Paths are those of the campaign's own copy.
    argument
        Where the factory takes the model: the name of a keyword, or a place among the positional
        arguments, counted from 0.
    energy_shift
        Added to the energy for each atom of an element, eV, so that it can be compared with labels
        of another reference: fitted to the training set, given by element, or none.

    Raises
    ------
    ValueError
        For a place or a keyword that does not fit the other arguments.
    """

    kind: ClassVar[str] = "import"

    factory: Factory
    arguments: tuple[Json, ...] = ()
    parameters: Mapping[str, Json] = field(default_factory=dict)
    model: GivenModel | None = None
    argument: Argument = "model"
    energy_shift: GivenShift = "none"

    def __post_init__(self) -> None:
        _check_shift(self.energy_shift)
        if self.model is None:
            return
        if isinstance(self.argument, int) and self.argument > len(self.arguments):
            raise ValueError(
                f"argument: place {self.argument} of the model follows {self.argument} arguments, "
                f"and there are {len(self.arguments)}"
            )
        if self.argument in self.parameters:
            raise ValueError(
                f"parameters: {self.argument} is given twice, here and by model (see argument)"
            )


@dataclass(frozen=True)
class ImportedFeaturesConfig:
    """Any importable callable that returns a descriptor, such as a `TorchDescriptor`.

    It is called with these parameters, and with ``model=<path>`` where a ``model`` is given: a
    file or a folder, or the word ``potential`` for that of the potential, which is another one
    after each refit. ``force_projections`` is that of `fit_surrogate`; descriptors that cannot
    project take all force rows.
    """

    kind: ClassVar[str] = "import"

    factory: Factory
    parameters: Mapping[str, Json] = field(default_factory=dict)
    model: PathOrPotential | None = None
    force_projections: Count | None = 32


@dataclass(frozen=True)
class DescriptorPotentialConfig:
    """The energies of the model that the imported descriptor takes its features from.

    One forward pass then gives both. The descriptor's factory is called with this ``model``.
    ``energy_shift`` is that of `ImportedPotentialConfig`.
    """

    kind: ClassVar[str] = "descriptor"

    model: InputPath | None = None
    energy_shift: GivenShift = "none"

    def __post_init__(self) -> None:
        _check_shift(self.energy_shift)


def _check_shift(shift: GivenShift) -> None:
    for name in () if isinstance(shift, str) else shift:
        if name not in SYMBOLS:
            raise ValueError(f"energy_shift: {no_element(name)}")


DESCRIPTORS = (ACEConfig, MACEFeaturesConfig, JulipConfig, ImportedFeaturesConfig)
POTENTIALS = (MACEPotentialConfig, ImportedPotentialConfig, DescriptorPotentialConfig)
AnyDescriptor = Annotated[
    ACEConfig | MACEFeaturesConfig | JulipConfig | ImportedFeaturesConfig,
    OneOf(DESCRIPTORS, default="ace"),
]
AnyPotential = Annotated[
    MACEPotentialConfig | ImportedPotentialConfig | DescriptorPotentialConfig, OneOf(POTENTIALS)
]


def check_models(potential: AnyPotential | None, descriptor: AnyDescriptor | None) -> None:
    """Refuse a potential and a descriptor that leave open whose model is whose.

    Raises
    ------
    ValueError
        Naming the field.
    """
    if isinstance(potential, DescriptorPotentialConfig):
        if not isinstance(descriptor, ImportedFeaturesConfig):
            raise ValueError("potential: kind descriptor needs a descriptor of kind import")
        if descriptor.model not in (None, OWN):
            raise ValueError(
                "descriptor.model: with a potential of kind descriptor it is potential.model; "
                "leave it out"
            )
    elif isinstance(descriptor, ImportedFeaturesConfig):
        if descriptor.model == OWN and not isinstance(given_model(potential), Path):
            raise ValueError("descriptor.model: the potential has no model that is one path")
    elif not isinstance(potential, MACEPotentialConfig) and follows_potential(
        potential, descriptor
    ):
        raise ValueError("descriptor.model is missing: the potential is no MACE model")


def follows_potential(potential: AnyPotential | None, descriptor: AnyDescriptor | None) -> bool:
    """Whether the features are those of the potential's model, and change with each refit."""
    if isinstance(descriptor, ImportedFeaturesConfig):
        own = isinstance(potential, DescriptorPotentialConfig)
        return own or descriptor.model == OWN
    return isinstance(descriptor, MACEFeaturesConfig) and descriptor.model is None


def given_model(potential: AnyPotential | None) -> Path | tuple[Path, ...] | ModelName | None:
    """The model that a potential begins from, and that a refit can replace."""
    if isinstance(potential, MACEPotentialConfig):
        named = MODEL_NAME.fullmatch(potential.model)
        return ModelName(potential.model) if named else Path(potential.model)
    return None if potential is None else potential.model
