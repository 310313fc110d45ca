"""A surrogate as one npz file without pickle, and its parts from one."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from os import PathLike
from typing import Any, BinaryIO

import numpy as np

from ..descriptors import descriptor_from_spec
from ..descriptors.base import Descriptor
from ..descriptors.importing import differing
from ..errors import PosteriorError
from ..io.bounded_npz import checked_npz
from ..io.formats import KEY, SURROGATE
from ..structures.labels import PROPERTIES
from .design import Noise
from .energy_weights import EnergyWeights
from .posterior import Posterior, opened
from .scales import Scales
from .support import Support


def write_parts(parts: Mapping[str, Any], file: str | PathLike | BinaryIO) -> None:
    """Write the attributes of a surrogate, by their names."""
    weights, support = parts["energy_weights"], parts["support"]
    meta = {
        KEY: str(SURROGATE),
        "descriptor": parts["descriptor"].spec(),
        "e0s": dict(parts["e0s"]),
        "noise": vars(parts["noise"]),
        "properties": list(parts["properties"]),
        "energy_weights": weights and weights.to_json(),
        "scales": parts["scales"].to_json(),
    }
    parts["posterior"].save(buffer := io.BytesIO())
    posterior = np.frombuffer(buffer.getvalue(), dtype=np.uint8)
    known: dict[str, Any] = {} if support is None else support.to_arrays()
    with opened(file, "wb") as handle:
        np.savez(handle, meta=json.dumps(meta), posterior=posterior, **known)


def read_parts(
    path: str | PathLike, descriptor: Descriptor | None = None, trust: bool = False
) -> dict[str, Any]:
    """What `write_parts` wrote, by name; parameters and errors as of `Surrogate.load`.

    Raises
    ------
    PosteriorError
        Naming the file.
    """
    try:
        with opened(path, "rb") as handle, np.load(checked_npz(handle), allow_pickle=False) as data:
            meta: dict[str, Any] = json.loads(str(data["meta"]))
            posterior = data["posterior"].tobytes()
            arrays = {name: data[name] for name in data.files if name.startswith("support.")}
        SURROGATE.check(meta[KEY], path, PosteriorError)
        known = Posterior.load(io.BytesIO(posterior), path)
        if descriptor is None:
            descriptor = descriptor_from_spec(meta["descriptor"], trust, known.n_features)
        elif changed := differing(descriptor.spec(), meta["descriptor"]):
            raise PosteriorError(
                f"{path}: belongs to another descriptor than {descriptor}: "
                f"other {', '.join(changed)}"
            )
        properties = tuple(meta["properties"])
        if not properties or not set(properties) <= set(PROPERTIES):
            raise PosteriorError(f"{path}: names unknown properties of labels: {list(properties)}")
        weights = meta.get("energy_weights")
        return {
            "descriptor": descriptor,
            "posterior": known,
            "e0s": _numbers(meta["e0s"]),
            "noise": Noise(**_numbers(meta["noise"])),
            "properties": properties,
            "energy_weights": EnergyWeights.from_json(weights) if weights else None,
            "scales": Scales.from_json(meta.get("scales", {})),
            "support": Support.from_arrays(arrays, descriptor.n_features),
        }
    except PosteriorError:
        raise
    except FileNotFoundError as error:
        raise PosteriorError(f"{path}: no such file") from error
    except Exception as error:
        raise PosteriorError(f"{path}: cannot be read as a saved surrogate ({error})") from error


def _numbers(raw: Mapping[str, Any]) -> dict[str, float]:
    numbers = {key: float(value) for key, value in raw.items()}
    if not np.isfinite(list(numbers.values())).all():
        raise ValueError("holds numbers that are not finite")
    return numbers
