"""Files state their format and version: those of a later version are refused, by both names."""

import json
import re

import numpy as np
import pytest
from ase.build import bulk
from helpers.files import hashes
from helpers.structures import copper

from ase_bayesel.dynamics.recording import LOG_DTYPE, StepLog, read_log
from ase_bayesel.errors import BayeselError, GenerationError, PosteriorError, StoreError
from ase_bayesel.generation import Strain, generate_pool
from ase_bayesel.io.formats import CAMPAIGN, Format
from ase_bayesel.labelling.engines import ReferenceResult
from ase_bayesel.labelling.store import Label, LabelStore
from ase_bayesel.selection.feature_store import FeatureStore, pool_features
from ase_bayesel.structures.identity import structure_id
from ase_bayesel.surrogate.posterior import Posterior
from ase_bayesel.surrogate.surrogate import Surrogate

MODEL = Format("model", 3, oldest=2, unstated=2)


@pytest.mark.parametrize("stated", [None, "ase_bayesel.model/2", "ase_bayesel.model/3"])
def test_versions_that_can_be_read(stated):
    assert MODEL.refusal(stated, "file") is None
    MODEL.check(stated, "file")


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ("ase_bayesel.model/4", ["version 4", "reads version 3", "a newer"]),
        ("ase_bayesel.model/1", ["version 1", "reads version 2 or later", "an older"]),
        (
            "ase_bayesel.label/3",
            ["not a model", "ase_bayesel.model/3", "ase_bayesel.label/3"],
        ),
        ("ase_bayesel.model/0", ["not a model"]),
        ("ase_bayesel.model/x", ["not a model"]),
        (7, ["not a model", "'7'"]),
    ],
)
def test_versions_that_cannot_be_read(stated, said):
    with pytest.raises(StoreError) as caught:
        MODEL.check(stated, "some/file")
    assert all(part in str(caught.value) for part in ["some/file", *said])
    with pytest.raises(PosteriorError):
        MODEL.check(stated, "some/file", PosteriorError)


def test_what_must_state_its_format():
    assert Format("model").refusal(None, "file") == (
        "file: not a model of format ase_bayesel.model/1 (it states nothing)"
    )


def test_campaigns_state_a_later_version_than_those_that_stated_none():
    assert CAMPAIGN.version_of(None) < CAMPAIGN.oldest == CAMPAIGN.version


# files of each kind, and of the versions before and after


def label(folder, ok=True):
    values = ReferenceResult(-1.5, np.zeros((4, 3)), None, "EMT 1") if ok else None
    store = LabelStore(folder)
    store.save(Label(copper(1), "e1", "EMT", values, "" if ok else "too hot"))
    return store, structure_id(copper(1))


def a_label(folder):
    store, identity = label(folder)
    return store.path(identity, "e1"), lambda: store.load(identity, "e1").energy


def a_failure(folder):
    store, identity = label(folder, ok=False)
    return store.failure_path(identity, "e1"), lambda: store.reason(identity, "e1")


def a_log(folder):
    log = StepLog(folder)
    log.append(np.zeros(3, LOG_DTYPE))
    log.flush()
    return folder / "000000.npz", lambda: len(read_log(folder))


def a_posterior(folder):
    path = folder / "posterior.npz"
    Posterior.isotropic(3, 0.5).save(path)
    return path, lambda: Posterior.load(path).mean.tolist()


def with_version(path, version):
    """Let a file state another version; None for nothing, as files before there were versions."""
    name = rb"ase_bayesel\.(\w+)/1"
    if path.suffix == ".npz":
        with np.load(path) as data:
            arrays = {key: data[key] for key in data.files}
        stated = str(arrays.pop("format"))
        if version is not None:
            arrays["format"] = f"{stated[:-1]}{version}"
        np.savez(path, **arrays)
        return
    content = path.read_bytes()
    assert len(re.findall(name, content)) == 1
    if version is None:
        key = rb' bayesel_format="?' if path.suffix == ".extxyz" else rb'"format": "'
        end = rb'"?' if path.suffix == ".extxyz" else rb'",?'
        new = re.sub(key + name + end, b"", content)
    else:
        new = re.sub(name, rb"ase_bayesel.\g<1>/%d" % version, content)
    path.write_bytes(new)


@pytest.mark.parametrize("make", [a_label, a_failure, a_log])
def test_files_without_a_version_are_read(make, tmp_path):
    path, read = make(tmp_path)
    expected = read()
    with_version(path, None)
    assert b"ase_bayesel." not in path.read_bytes()
    assert read() == expected


@pytest.mark.parametrize("make", [a_label, a_failure, a_log, a_posterior])
def test_files_of_a_later_version_are_refused(make, tmp_path):
    path, read = make(tmp_path)
    with_version(path, 2)
    before = path.read_bytes()
    with pytest.raises(BayeselError) as caught:
        read()
    message = str(caught.value)
    assert message.startswith(f"{path}: is of version 2 of the format ase_bayesel.")
    assert "reads version 1; use a newer ase_bayesel" in message
    assert path.read_bytes() == before


def test_a_surrogate_of_a_later_version(cu_surrogate, tmp_path):
    path = tmp_path / "model.npz"
    cu_surrogate.save(path)
    with np.load(path) as data:
        meta, posterior = json.loads(str(data["meta"])), data["posterior"]
    assert meta["format"] == "ase_bayesel.surrogate/1"
    np.savez(
        path, meta=json.dumps(meta | {"format": "ase_bayesel.surrogate/2"}), posterior=posterior
    )
    with pytest.raises(PosteriorError, match=r"version 2 .*reads version 1"):
        Surrogate.load(path)


def test_features_of_earlier_and_later_versions(cu_ace, tmp_path):
    store = FeatureStore(tmp_path, cu_ace)
    pool_features([copper(1)], cu_ace, store)
    header = store.path.with_suffix(".json")
    assert json.loads(header.read_text())["format"] == "ase_bayesel.features/1"
    header.write_text(json.dumps(cu_ace.spec()))  # as it was before there were versions
    assert len(FeatureStore(tmp_path, cu_ace)) == 1
    assert json.loads(header.read_text())["format"] == "ase_bayesel.features/1"
    with_version(header, 2)
    before = hashes(tmp_path)
    with pytest.raises(StoreError, match=r"version 2 .*reads version 1"):
        FeatureStore(tmp_path, cu_ace)
    assert hashes(tmp_path) == before


def test_a_pool_of_a_later_version(tmp_path):
    path, start = tmp_path / "pool.xyz", bulk("Cu", cubic=True)
    generate_pool(path, [Strain(0.05, 2)], [start])
    journal = path.with_suffix(".jsonl")
    with_version(journal, 2)
    before = hashes(tmp_path)
    with pytest.raises(GenerationError, match=r"jsonl, line 1: .*version 2 .*reads version 1"):
        generate_pool(path, [Strain(0.05, 2)], [start])
    assert hashes(tmp_path) == before
