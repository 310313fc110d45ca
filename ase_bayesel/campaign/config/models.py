"""Descriptor and potential: values that `build.models` makes real."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, ValidationInfo

from ...io.fields import Count, Factory, InputPath, Json, ModelFile, Several, absolute
from ...io.kinds import OneOf

OWN = "potential"
"""In place of a model file: that of the potential."""


def _file_or_potential(given: str, info: ValidationInfo) -> str:
    return given if given == OWN else str(absolute(Path(given), info))


FileOrPotential = Annotated[str, AfterValidator(_file_or_potential)]


@dataclass(frozen=True)
class ACEConfig:
    """Linear ACE features; see `ACEDescriptor`."""

    kind: ClassVar[str] = "ace"

    elements: Annotated[tuple[str, ...], Several]
    order: Literal[2, 3] = 3
    totaldegree: Annotated[int, Field(ge=2, le=100)] = 12
    cutoff: Annotated[float, Field(gt=0, le=100)] = 5.0


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
    """

    kind: ClassVar[str] = "mace"

    model: ModelFile
    head: str | None = None
    dtype: Literal["float32", "float64"] = "float64"
    device: str = "cpu"
    trust: bool = False


@dataclass(frozen=True)
class ImportedPotentialConfig:
    """Any importable callable that returns an ASE calculator.

    With a ``model`` it is called with ``model=<path>`` and these parameters, and
    again after each refit with the path of the new model.
    """

    kind: ClassVar[str] = "import"

    factory: Factory
    parameters: Mapping[str, Json] = field(default_factory=dict)
    model: InputPath | None = None


@dataclass(frozen=True)
class ImportedFeaturesConfig:
    """Any importable callable that returns a descriptor, such as a `TorchDescriptor`.

    It is called with these parameters, and with ``model=<path>`` where a ``model`` is given: a
    file, or the word ``potential`` for that of the potential, which is another one after each
    refit. ``force_projections`` is that of `fit_surrogate`; descriptors that cannot project
    take all force rows.
    """

    kind: ClassVar[str] = "import"

    factory: Factory
    parameters: Mapping[str, Json] = field(default_factory=dict)
    model: FileOrPotential | None = None
    force_projections: Count | None = 32


@dataclass(frozen=True)
class DescriptorPotentialConfig:
    """The energies of the model that the imported descriptor takes its features from.

    One forward pass then gives both. The descriptor's factory is called with this ``model``.
    """

    kind: ClassVar[str] = "descriptor"

    model: InputPath | None = None


DESCRIPTORS = (ACEConfig, MACEFeaturesConfig, ImportedFeaturesConfig)
POTENTIALS = (MACEPotentialConfig, ImportedPotentialConfig, DescriptorPotentialConfig)
AnyDescriptor = Annotated[
    ACEConfig | MACEFeaturesConfig | ImportedFeaturesConfig, OneOf(DESCRIPTORS, default="ace")
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
        if descriptor.model == OWN and model_file(potential) is None:
            raise ValueError("descriptor.model: potential has no model file")
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


def model_file(potential: AnyPotential | None) -> Path | str | None:
    """What a potential is read from, where it is read from a file."""
    return None if potential is None else potential.model
