"""Answers as Julia's bridge gives them, from our own linear ACE: tests/data/julip_exchange.npz.

    python scripts/record_julip_exchange.py

The functions have the order and signs of ace-jax, ACEsuit's port of ACEpotentials
(tests/data/ace_jax.json). Pair functions come first, as in ``ACE1x.ace_basis``, and the
normalisation is that of ACE1x v0.1. The numbers are ours: no Julia runs.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from helpers import julip_playback
from helpers.ace_models import MODELS, RECORDED, structures

from ase_bayesel import ACEDescriptor
from ase_bayesel.descriptors.ace.basis import many_body_basis
from ase_bayesel.descriptors.base import VOIGT
from ase_bayesel.descriptors.julip.descriptor import probe

CASES = ("one element", "two elements")


def rearrangement(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Places and signs: function k of the recording is sign[k] times function place[k] of ours."""
    elements, order, totaldegree = MODELS[name]
    recorded = json.loads(RECORDED.read_text())["cases"][name]
    functions = list(many_body_basis(len(elements), order, totaldegree).functions)
    place = {function: k for k, function in enumerate(functions)}
    n_pair = len(elements) * (len(elements) + 1) // 2 * totaldegree
    labels = [tuple(map(tuple, label)) for label in recorded["functions"]]
    theirs = [(place[label], column) for column, label in enumerate(labels) if label in place]
    first = np.array(recorded["values"])[0]
    places, signs = list(range(n_pair)), [1.0] * n_pair
    for centre in range(len(elements)):
        start = n_pair + centre * len(functions)
        places += [start + ours for ours, _ in theirs]
        signs += [float(np.sign(first[column]) or 1.0) for _, column in theirs]
    return np.array(places), np.array(signs)


def record(name: str) -> dict[str, np.ndarray]:
    """The answers of one basis."""
    elements, order, totaldegree = MODELS[name]
    descriptor = ACEDescriptor(elements, order, totaldegree)
    places, signs = rearrangement(name)
    frames = [*structures(elements), probe(elements, descriptor.cutoff)]
    settings = [",".join(elements), str(order), str(totaldegree), str(descriptor.cutoff)]
    found = {
        "settings": np.array(settings),
        "penalty": 1.0 / descriptor.prior_std()[places],
        "n_structures": np.array(len(frames)),
    }
    for number, atoms in enumerate(frames):
        features = descriptor.compute([atoms], derivatives=True)[0]
        tensors = np.zeros((len(places), 3, 3))
        for component, (a, b) in enumerate(VOIGT):
            tensors[:, a, b] = tensors[:, b, a] = features.strain[places, component]
        found[f"{number}/distances"] = atoms.get_all_distances(mic=False)
        found[f"{number}/values"] = features.values[:, places] * signs
        found[f"{number}/forces"] = -features.jacobian[places] * signs[:, None, None]
        found[f"{number}/virial"] = -tensors * signs[:, None, None]
    return found


if __name__ == "__main__":
    arrays = {f"{name}/{key}": array for name in CASES for key, array in record(name).items()}
    np.savez_compressed(julip_playback.RECORDED, **arrays)
