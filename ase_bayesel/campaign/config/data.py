"""Where structures and labels come from, and when to stop."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from ...generation import Bootstrap
from ...io.fields import InputPath, ValueOrMapping
from ...io.kinds import VALUE
from ...io.magnitudes import AtomEnergy, Positive
from ...structures.labels import PropertyKeys
from ...structures.symbols import SYMBOLS, no_element
from ...surrogate.surrogate import SURROGATE_SUFFIX
from .base import Section

Key = Annotated[str, Field(pattern=r"^[A-Za-z_][\w.-]*$")]
"""Of a frame."""
NO_LABELS = {
    *("positions", "pos", "numbers", "species", "momenta", "masses", "tags", "charge", "spin"),
    *("initial_magmoms", "initial_charges", "cell", "pbc", "Lattice", "Properties"),
}
"""Keys of what a frame holds beside labels."""


class Bootstrapped(Section):
    """Training structures that are not given, but made of the starts and labelled as round 0."""

    bootstrap: Annotated[Bootstrap, VALUE]


class DataConfig(Section):
    """Where structures and labels come from.

    Paths are relative to the config file; environment variables are expanded.

    ``train`` is a file, or ``{bootstrap: {...}}``, see `Bootstrap`.

    ``prior`` names data behind the potential that are not in ``train`` and have no labels at hand:
    structures, or a saved surrogate (``.npz``) of the same descriptor. The covariance of every
    round knows them, the mean does not. ``targets`` are structures that batches are to make known
    (``explore.targets: file``).
    """

    train: Annotated[Path | Bootstrapped, ValueOrMapping(InputPath, Bootstrapped)]
    test: InputPath | None = None
    prior: InputPath | None = None
    targets: InputPath | None = None
    energy_key: Key = "REF_energy"
    forces_key: Key | None = "REF_forces"
    virial_key: Key | None = None
    e0s: Annotated[
        Literal["isolated", "average"] | Mapping[str, float],
        ValueOrMapping(Literal["isolated", "average"], dict[str, AtomEnergy]),
    ] = "isolated"

    @property
    def train_file(self) -> Path | None:
        """The file of the training structures; None where a recipe makes them."""
        return self.train if isinstance(self.train, Path) else None

    @property
    def bootstrap(self) -> Bootstrap | None:
        """The recipe of the training structures; None where a file holds them."""
        return None if isinstance(self.train, Path) else self.train.bootstrap

    @model_validator(mode="after")
    def _keys_of_labels(self) -> DataConfig:
        keys = {name: getattr(self, name) for name in ("energy_key", "forces_key", "virial_key")}
        first: dict[str, str] = {}
        for name, key in keys.items():
            if key in NO_LABELS:
                raise ValueError(f"{name}: {key!r} is no label, but part of the structure")
            if key is not None and first.setdefault(key, name) != name:
                raise ValueError(f"{name}: {key!r} is the {first[key]} already")
        return self

    @model_validator(mode="after")
    def _e0s_of_elements(self) -> DataConfig:
        named = [] if isinstance(self.e0s, str) else list(self.e0s)
        for name in named:
            if name not in SYMBOLS:
                raise ValueError(f"e0s: {no_element(name)}")
        return self

    @model_validator(mode="after")
    def _bootstrap_fits(self) -> DataConfig:
        recipe = self.bootstrap
        if recipe is None:
            return self
        if self.e0s == "isolated" and not recipe.isolated:
            raise ValueError(
                "e0s: isolated needs the isolated atoms of data.train.bootstrap (isolated: true); "
                "or e0s: average"
            )
        if recipe.test and self.test is not None:
            raise ValueError("test: give a file, or a number in data.train.bootstrap, not both")
        return self

    @property
    def prior_is_surrogate(self) -> bool:
        """Whether ``prior`` is a saved surrogate; else it is a file of structures, or none."""
        return self.prior is not None and self.prior.suffix == SURROGATE_SUFFIX

    @property
    def keys(self) -> PropertyKeys:
        """Where the labels are in a frame."""
        return PropertyKeys(self.energy_key, self.forces_key, self.virial_key)


class LabelsConfig(Section):
    """When structures are labelled, and where labels are kept.

    ``start`` is ``at_once``, while the walkers look for the next pick, or ``batch``, when the
    round's exploration has ended. ``store`` is a directory that campaigns share: what one has
    computed the others take. Without it labels lie in the campaign directory. The directory
    of a failed calculation is kept; ``keep_output`` keeps that of all. ``scratch`` is where
    calculations run, on the machine that runs them; by default beside the labels.

    A label with a force beyond ``max_force`` (eV/A) counts less in the fit, the noise of all its
    rows growing as (F / max_force)^2. That of a pick is set aside beyond ``set_aside_force``: it
    stays in the store, but no fit takes it. The covariance knows both in full. None for no limit.
    """

    start: Literal["at_once", "batch"] = "at_once"
    store: InputPath | None = None
    keep_output: bool = False
    scratch: InputPath | None = None
    max_force: Positive | None = 30.0
    set_aside_force: Positive | None = 100.0

    @model_validator(mode="after")
    def _less_weight_first(self) -> LabelsConfig:
        first, second = self.max_force, self.set_aside_force
        if first is not None and second is not None and second <= first:
            raise ValueError("set_aside_force must be larger than max_force")
        return self
