"""Saved surrogates of a stranger: what they ask for is bounded, and nothing is downloaded."""

import io
import json
import socket

import numpy as np
import pytest
from helpers.structures import copper_training

from ase_bayesel import ACEDescriptor, Surrogate, fit_surrogate
from ase_bayesel.descriptors import descriptor_from_spec
from ase_bayesel.descriptors.ace import descriptor as ace
from ase_bayesel.descriptors.ace.arguments import LARGEST_FEATURES
from ase_bayesel.descriptors.ace.basis import count_functions
from ase_bayesel.errors import DescriptorError, PosteriorError

ELEMENTS = [
    *("H", "He", "Li", "Be", "B", "C", "N", "O", "F", "Ne", "Na", "Mg", "Al", "Si", "P", "S"),
    *("Cl", "Ar", "K", "Ca", "Sc", "Ti", "V", "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Zn", "Ga"),
]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "model.npz"
    fit_surrogate(copper_training(), ACEDescriptor("Cu", 2, 4, 4.0)).save(path)
    return path


def with_spec(saved, path, **changes):
    """A copy of a saved surrogate whose file describes another descriptor."""
    with np.load(saved) as data:
        arrays = dict(data)
    meta = json.loads(str(arrays["meta"]))
    meta["descriptor"] |= changes
    np.savez(path, **(arrays | {"meta": json.dumps(meta)}))
    return path


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"totaldegree": 60}, "totaldegree: must be from 2 to 50"),
        ({"order": 3, "totaldegree": 50}, "gives more than 8 features"),
        ({"order": 3, "totaldegree": 30, "elements": ELEMENTS}, "gives more than 8 features"),
        ({"order": 3, "totaldegree": 12}, "gives more than 8 features"),
        ({"elements": [f"X{k}" for k in range(5000)]}, "elements: .*'X7', ..."),
        ({"elements": ["Cu"] * 5000}, "elements: expected different"),
        ({"order": 10**9}, "order: must be 2 or 3"),
        ({"cutoff": 1e6}, "cutoff: must be positive and at most 30"),
        ({"cutoff": float("nan")}, "cutoff: must be positive"),
        ({"totaldegree": 1e300}, "totaldegree: must be"),
        ({"kind": "soap"}, "unknown descriptor"),
        ({"embedding": {"channels": 10**9, "cost": 0, "weights": []}}, "channels must be from 1"),
        ({"embedding": {"channels": 1, "cost": 0, "weights": [[0.5]]}}, "not orthogonal"),
        ({"embedding": {"channels": 1, "cost": 0, "weights": [["x"]]}}, "could not convert"),
        ({"embedding": 3}, "cannot be read as a saved surrogate"),
    ],
)
def test_what_is_too_large_is_refused_before_it_is_built(
    changes, told, saved, tmp_path, monkeypatch
):
    path = with_spec(saved, tmp_path / "hostile.npz", **changes)
    built = []
    monkeypatch.setattr(ace, "many_body_basis", lambda *asked: built.append(asked))
    with pytest.raises(PosteriorError, match=rf"hostile\.npz: .*({told})"):
        Surrogate.load(path)
    assert built == []


@pytest.mark.parametrize("content", ["torn", "text", "not finite", "singular", "flat"])
def test_a_posterior_inside_a_file_is_named_by_the_file(content, saved, tmp_path):
    with np.load(saved) as data:
        arrays = dict(data)
    with np.load(io.BytesIO(arrays["posterior"].tobytes())) as data:
        inner = dict(data)
    changes = {
        "not finite": {"mean": np.full_like(inner["mean"], np.nan)},
        "singular": {"precision_factor": np.zeros_like(inner["precision_factor"])},
        "flat": {"mean": inner["mean"][:, None]},
    }
    np.savez(buffer := io.BytesIO(), **(inner | changes.get(content, {})))
    raw = {"torn": buffer.getvalue()[:-40], "text": b"hello"}.get(content, buffer.getvalue())
    path = tmp_path / "hostile.npz"
    np.savez(path, **(arrays | {"posterior": np.frombuffer(raw, np.uint8)}))
    with pytest.raises(PosteriorError, match=r"hostile\.npz: "):
        Surrogate.load(path)


def test_what_was_saved_is_read(saved):
    assert Surrogate.load(saved).descriptor.n_features == ACEDescriptor("Cu", 2, 4, 4.0).n_features


@pytest.mark.parametrize(("n", "order", "degree"), [(1, 2, 6), (1, 3, 10), (2, 3, 7), (3, 2, 5)])
def test_features_are_counted_as_they_are(n, order, degree):
    made = ACEDescriptor(ELEMENTS[:n], order, degree, 4.0)
    total = made.n_features
    assert ACEDescriptor.from_spec(made.spec(), total).n_features == total
    with pytest.raises(DescriptorError, match=f"gives more than {total - 1} features"):
        ACEDescriptor.from_spec(made.spec(), total - 1)
    functions = (total - n * (n + 1) // 2 * degree) // n
    assert count_functions((0.0,) * n, order, degree, 10**6) == functions
    assert count_functions((0.0,) * n, order, degree, 3) == 4


def test_a_config_may_not_ask_for_more_than_memory_holds():
    with pytest.raises(DescriptorError, match=f"more than {LARGEST_FEATURES} features"):
        ACEDescriptor(ELEMENTS, 3, 40, 5.0)


@pytest.mark.parametrize("model", ["mace_mp:medium", "mace_off:small"])
def test_a_file_that_names_a_model_downloads_nothing(model, saved, tmp_path, monkeypatch):
    def refuse(*_):
        raise AssertionError("something was to be downloaded")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    spec = {
        "kind": "mace",
        "model": model,
        "sha256": "0" * 64,
        "components": "invariant",
        "num_layers": 1,
        "head": "default",
        "dtype": "float64",
        "device": "cpu",
        "elements": None,
    }
    with pytest.raises(DescriptorError, match="no such MACE model file"):
        descriptor_from_spec(spec)
    path = with_spec(saved, tmp_path / "named.npz", **spec)
    with pytest.raises(PosteriorError, match=r"named\.npz: .*no such MACE model file"):
        Surrogate.load(path)
