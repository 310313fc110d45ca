"""Potentials of ML-PACE read back into linear ACE, and those that are none of ours refused."""

import numpy as np
import pytest
import yaml
from helpers.ace_models import MODELS, structures, surrogate

from ase_bayesel import ACEDescriptor, Posterior, Surrogate
from ase_bayesel.errors import DescriptorError, StoreError
from ase_bayesel.surrogate.design import Noise
from ase_bayesel.surrogate.exchange import read_ace_model, write_ace_model, yace_reading
from ase_bayesel.surrogate.exchange.yace_reading import _Loader


def assert_same(model, again, elements):
    assert again.e0s == model.e0s
    assert again.descriptor.spec() == model.descriptor.spec()
    for atoms in structures(elements):
        atoms.calc = model.calculator()
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        atoms.calc = again.calculator()
        assert abs(atoms.get_potential_energy() - energy) < 1e-10
        np.testing.assert_allclose(atoms.get_forces(), forces, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_comes_back(name, tmp_path):
    model = surrogate(*MODELS[name])
    write_ace_model(model, path := tmp_path / "model.yace")
    again = read_ace_model(path)
    assert_same(model, again, MODELS[name][0])
    np.testing.assert_allclose(again.posterior.mean, model.posterior.mean, rtol=0, atol=1e-10)
    prior = 1.0 / model.descriptor.prior_std()
    np.testing.assert_array_equal(np.diag(again.posterior.precision_factor), prior)


def test_length_scales_and_a_far_beginning_are_found(tmp_path):
    scales = {("Cu", "Cu"): 2.31, ("Cu", "Au"): 3.0625}
    descriptor = ACEDescriptor(["Cu", "Au"], 2, 6, 5.5, scales)
    std = descriptor.prior_std()
    posterior = Posterior(np.diag(1.0 / std), std * np.sin(1.0 + np.arange(len(std))))
    model = Surrogate(descriptor, posterior, {"Cu": -1.0, "Au": -2.0}, Noise())
    write_ace_model(model, path := tmp_path / "model.yace", r_min=1.5)
    again = read_ace_model(path)
    assert_same(model, again, ["Cu", "Au"])


@pytest.fixture
def tree(tmp_path):
    write_ace_model(surrogate(*MODELS["order 2"]), path := tmp_path / "model.yace")
    return yaml.load(path.read_text(), _Loader)


def refused(tree, tmp_path, match):
    tree["bonds"] = {str(list(pair)): bond for pair, bond in tree["bonds"].items()}
    text = yaml.safe_dump(tree, default_flow_style=None, width=10**6)
    (tmp_path / "other.yace").write_text(text.replace("'[0, 0]'", "[0, 0]"))
    with pytest.raises(DescriptorError, match=match):
        read_ace_model(tmp_path / "other.yace")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"FS_parameters": [1.0, 0.5]}, "embeddings: that of 0 is not linear"),
        ({"ndensity": 2, "FS_parameters": [1.0, 1.0, 1.0, 0.5]}, "is not linear"),
    ],
)
def test_a_nonlinear_embedding(tree, tmp_path, change, match):
    tree["embeddings"][0].update(change)
    refused(tree, tmp_path, match)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"radbasename": "SBessel"}, r"\[0, 0\] has radial functions SBessel"),
        ({"radparameters": [5.25]}, r"ChebPow \[5.25\], not ChebPow \[1.0\]"),
        ({"prehc": 100.0}, "a core repulsion"),
    ],
)
def test_other_radial_functions(tree, tmp_path, change, match):
    tree["bonds"][0, 0].update(change)
    refused(tree, tmp_path, match)


def test_other_expansions(tree, tmp_path):
    tree["bonds"][0, 0]["radcoefficients"][1][2][3] += 0.1
    refused(tree, tmp_path, r"bonds: the radial functions of \[0, 0\] are others")


def test_other_functions(tree, tmp_path):
    function = next(f for f in tree["functions"][0] if f["rank"] == 2 and f["ls"] == [1, 1])
    function["ctildes"][0] += 0.1
    refused(tree, tmp_path, r"the couplings of \[\(1, 0, \d\), \(1, 0, \d\)\] are others")


def test_other_pair_functions(tree, tmp_path):
    function = next(f for f in tree["functions"][0] if f["rank"] == 1 and f["ns"] == [20])
    function["ctildes"][0] += 0.1
    refused(tree, tmp_path, "the pair functions of .* are others")


BILLION = 10**9


@pytest.mark.parametrize("value", [BILLION, -1, 0, 1.5, True, "many", [1], None, 1e300])
@pytest.mark.parametrize("key", ["nradbasemax", "nradmax", "lmax"])
def test_sizes_that_the_file_does_not_hold(tree, tmp_path, key, value, monkeypatch):
    """None of them is built."""
    monkeypatch.setattr(yace_reading, "base_functions", lambda *_: pytest.fail("built"))
    tree["bonds"][0, 0][key] = value
    refused(tree, tmp_path, r"other\.yace: .*(nradbasemax are|TypeError)")


@pytest.mark.parametrize(
    ("rank", "change", "match"),
    [
        (1, {"ns": [BILLION]}, "n = 1000000000 of .* is not among the radial functions"),
        (1, {"ns": [0]}, "n = 0 of .* is not among"),
        (1, {"ls": [BILLION]}, "l = 1000000000"),
        (2, {"ns": [BILLION, 1]}, "n = 1000000000"),
        (2, {"ns": [-1, 1]}, "n = -1"),
        (2, {"ls": [BILLION, BILLION]}, "l = 1000000000"),
        (2, {"mus": [BILLION, 0]}, "KeyError"),
        (2, {"rank": BILLION}, "ValueError"),
        (2, {"rank": 0}, "no potential of ML-PACE"),
        (1, {"ctildes": [float("nan")]}, "must be finite"),
        (2, {"ctildes": [float("inf")] * 9}, "ValueError"),
        (1, {"ctildes": []}, "IndexError"),
    ],
)
def test_functions_that_the_bonds_do_not_hold(tree, tmp_path, rank, change, match):
    next(f for f in tree["functions"][0] if f["rank"] == rank).update(change)
    refused(tree, tmp_path, rf"other\.yace: .*{match}")


def test_a_basis_far_larger_than_the_file(tree, tmp_path, monkeypatch):
    """One function of a high degree and rank 3 asks for all below it."""
    bond = tree["bonds"][0, 0]
    row = np.zeros((45, bond["lmax"] + 1, bond["nradbasemax"])).tolist()
    bond.update(radcoefficients=row, nradmax=45)
    large = {"rank": 3, "mus": [0] * 3, "ns": [45, 1, 1], "ls": [0] * 3}
    small = {"num_ms_combs": 1, "ms_combs": [0] * 3, "ctildes": [0.1]}
    tree["functions"][0].append(tree["functions"][0][0] | large | small)
    monkeypatch.setattr(yace_reading, "ACEDescriptor", lambda *_: pytest.fail("built"))
    refused(tree, tmp_path, "totaldegree: 47 with order 3 .* more than 1000 features")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"E0": [float("nan")]}, "must be finite"),
        ({"E0": []}, "other.yace"),
        ({"E0": [0.0, 0.0]}, "other.yace"),
        ({"elements": ["Xx"]}, "expected different chemical symbols"),
        ({"elements": []}, "other.yace"),
        ({"elements": BILLION}, "TypeError"),
        ({"bonds": []}, "AttributeError"),
    ],
)
def test_other_parts_that_make_no_sense(tree, tmp_path, change, match):
    text = yaml.dump(tree, default_flow_style=None, width=10**6)
    again = yaml.load(text.replace("!!python/tuple", ""), _Loader) | change
    if isinstance(again["bonds"], dict):
        refused(again, tmp_path, match)
        return
    (tmp_path / "other.yace").write_text(yaml.safe_dump(again))
    with pytest.raises(DescriptorError, match=match):
        read_ace_model(tmp_path / "other.yace")


@pytest.mark.parametrize("cutoff", [0.0, -4.0, 1e6, float("nan"), float("inf"), "far"])
def test_cutoffs(tree, tmp_path, cutoff):
    tree["bonds"][0, 0]["rcut"] = cutoff
    refused(tree, tmp_path, r"other\.yace: .*(cutoff|ValueError)")


def test_functions_of_higher_rank(tree, tmp_path):
    function = next(f for f in tree["functions"][0] if f["rank"] == 2)
    tree["functions"][0].append(
        function
        | {"rank": 4, "mus": [0] * 4, "ns": [1] * 4, "ls": [0] * 4}
        | {"num_ms_combs": 1, "ms_combs": [0] * 4, "ctildes": [0.1]}
    )
    refused(tree, tmp_path, "of rank up to 4")


def test_files_that_are_none(tmp_path):
    path = tmp_path / "model.yace"
    path.write_text("elements: [Si\n")
    with pytest.raises(StoreError, match=r"model\.yace: is damaged"):
        read_ace_model(path)
    for text in ("? {a: 1}\n", "when: 2026-13-45\n"):
        path.write_text(text)
        with pytest.raises(StoreError, match=r"model\.yace: is damaged"):
            read_ace_model(path)
    with pytest.raises(StoreError, match=r"other\.yace: "):
        read_ace_model(tmp_path / "other.yace")
    path.write_text("elements: [Si]\n")
    with pytest.raises(DescriptorError, match="no potential of ML-PACE"):
        read_ace_model(path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[" * 200_000, "line 1: more than 50 lists inside one another"),
        ("- " * 100_000 + "1\n", "line 1: more than 50 lists inside one another"),
        ("{a: " * 100_000, "line 1: more than 50 lists inside one another"),
        ("a: &a [1, 1]\nE0: [*a, *a]\n", r"line 2: an alias, \*a; write its value out"),
        ("a: &a\n  - *a\n", r"line 2: an alias, \*a"),
        ("a: &a {b: 1}\nc:\n  <<: *a\n", r"line 3: an alias, \*a"),
        ("a: !!python/object/apply:os.system [exit]\n", "python/object/apply"),
        ("a: 1" + ":59" * 10_000 + "\n", "line 1: a value of more than 1000 characters"),
    ],
    ids=["lists", "rows", "mappings", "aliases", "itself", "merge", "python", "sixties"],
)
def test_hostile_yaml_is_refused_before_it_is_built(tmp_path, text, told):
    (tmp_path / "model.yace").write_text(text)
    with pytest.raises(StoreError, match=rf"model\.yace: is damaged \((.|\n)*{told}"):
        read_ace_model(tmp_path / "model.yace")
