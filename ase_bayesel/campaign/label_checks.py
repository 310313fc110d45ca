"""Whether training and test structures have the labels that a config names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ase import Atoms

from ..errors import ConfigError
from ..structures.labels import PROPERTIES, WHOLE, PropertyKeys, lookalikes, raw_label, targets
from ..structures.survey import WEIGHTS
from ..surrogate.energy_weights import weights_of


def check_training_labels(frames: Sequence[Atoms], path: Path, keys: PropertyKeys) -> None:
    """Refuse a training set whose labels are none, or count nothing.

    Raises
    ------
    ConfigError
        Naming the file and the key; `StructureError` for a frame whose label or weight is none.
    """
    for prop in PROPERTIES:
        key = getattr(keys, prop)
        if key is not None and all(raw_label(atoms, key, prop) is None for atoms in frames):
            others = {name for atoms in frames for name in lookalikes(atoms, prop)}
            told = f"; there is {', '.join(map(repr, sorted(others)))}" if others else ""
            raise ConfigError(f"{path}: no frame has {key!r} (data.{prop}_key){told}")
    labelled = [targets(atoms, keys, f"{path}, frame {k}") for k, atoms in enumerate(frames)]
    weights = [weights_of(atoms, f"{path}, frame {k}") for k, atoms in enumerate(frames)]
    if not any(
        own[prop]
        for own, labels in zip(weights, labelled, strict=True)
        for prop in labels.properties
    ):
        raise ConfigError(f"{path}: all labels have the weight 0 ({', '.join(WEIGHTS)})")
    if keys.virial is not None and all(labels.virial is None for labels in labelled):
        raise ConfigError(
            f"{path}: no frame with three periodic directions has {keys.virial!r} (data.virial_key)"
        )


def check_test_labels(frames: Sequence[Atoms], path: Path, keys: PropertyKeys) -> None:
    """Refuse a test set in which a frame lacks a label that errors are told of; as above."""
    for k, atoms in enumerate(frames):
        where = f"{path}, frame {k}"
        labels = targets(atoms, keys, where)
        for prop in ("energy", "forces"):
            key = getattr(keys, prop)
            if prop == "energy" and WHOLE in atoms.arrays:
                continue
            if key is not None and getattr(labels, prop) is None:
                raise ConfigError(f"{where}: has no {key!r} (data.{prop}_key)")
