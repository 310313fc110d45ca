"""What the tests of whole campaigns share: their results compared, their calculations counted."""

import numpy as np
from ase.io import read

from ase_bayesel import Surrogate
from ase_bayesel.structures.identity import structure_id
from helpers.systems import label_of, write_campaign


def reports(store):
    return [store.read_report(k) for k in range(store.completed_rounds())]


def picks(store):
    """The picks of all rounds in order."""
    return [pick for k in range(1, store.completed_rounds() + 1) for pick in store.read_batch(k)]


def pick_ids(store):
    return [pick.info["bayesel_id"] for pick in picks(store)]


def final_model(store):
    return Surrogate.load(store.model_path(store.completed_rounds() - 1))


def assert_same_campaign(one, other):
    """Picks and walkers bit for bit, the same labels, and the same final model."""
    assert reports(one) == reports(other)
    assert pick_ids(one) == pick_ids(other)
    assert len(pick_ids(one)) > 0
    for ours, theirs in zip(picks(one), picks(other), strict=True):
        np.testing.assert_array_equal(ours.positions, theirs.positions)
        assert ours.info == theirs.info
        label, expected = label_of(one.directory, ours), label_of(other.directory, theirs)
        assert label.info["REF_energy"] == expected.info["REF_energy"]
        np.testing.assert_array_equal(label.arrays["REF_forces"], expected.arrays["REF_forces"])
    for number in range(1, one.completed_rounds()):
        np.testing.assert_array_equal(
            one.exploration(number).read_trace(), other.exploration(number).read_trace()
        )
    ours, theirs = final_model(one).posterior, final_model(other).posterior
    scale = np.abs(theirs.mean).max()
    np.testing.assert_allclose(ours.mean, theirs.mean, rtol=0, atol=1e-12 * scale)


def counted(folder, changes=None):
    """A campaign whose labels take a while, and are counted."""
    parameters = {"log": str(folder / "calls.log"), "delay_s": 0.05}
    labelling = {
        "kind": "import",
        "factory": "helpers.systems:CountingEMT",
        "parameters": parameters,
    }
    return write_campaign(folder, {"labelling": labelling, **(changes or {})})


def calls(config):
    log = config.with_name("calls.log")
    return log.read_text().split() if log.exists() else []


def settled(directory):
    return {path.stem for path in directory.glob("labels/*/*.extxyz")}


def by_positions(directory):
    """Identity of every pick by what `CountingEMT` notes of it."""
    files = directory.glob("round_*/picks/[0-9]*.extxyz")
    found = [read(path) for path in files]
    return {atoms.positions.tobytes().hex(): structure_id(atoms) for atoms in found}
