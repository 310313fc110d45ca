"""Linear ACE in the files of other packages, against what ace-jax recorded of basis and models."""

import json
from dataclasses import replace

import numpy as np
import pytest
import yaml
from ase import Atoms
from helpers.ace_models import MODELS, RECORDED, structures, surrogate

from ase_bayesel.descriptors.ace.basis import many_body_basis
from ase_bayesel.descriptors.base import Features
from ase_bayesel.errors import DescriptorError, StoreError
from ase_bayesel.surrogate.exchange import (
    in_functions_of,
    read_ace_model,
    same_functions,
    write_ace_model,
)
from ase_bayesel.surrogate.exchange.radials import base_functions, expand_radials
from ase_bayesel.surrogate.exchange.tables import LinearACE

RESULTS = json.loads(RECORDED.read_text())["cases"]


@pytest.fixture(params=MODELS)
def name(request):
    return request.param


@pytest.fixture
def model(name):
    return surrogate(*MODELS[name])


def many_body(model, atoms, n_atoms):
    """``(n_atoms, K)``: the block of each atom's own element."""
    descriptor = model.descriptor
    values = descriptor.compute([atoms])[0].values[:n_atoms]
    n = len(LinearACE.of(model).basis.functions)
    species = [descriptor.elements.index(symbol) for symbol in atoms.symbols[:n_atoms]]
    start = descriptor.n_features - n * len(descriptor.elements)
    return np.array(
        [row[start + s * n : start + (s + 1) * n] for row, s in zip(values, species, strict=True)]
    )


def test_functions_are_those_of_ace_jax_up_to_sign_and_normalisation(name, model):
    """Its own functions, those of order 1 times our purification: a scale of each is free.

    Its radial functions have norm 1 where ours have the square root of 2.
    """
    recorded = RESULTS[name]
    values = np.array(recorded["values"])
    place = {tuple(map(tuple, f)): k for k, f in enumerate(recorded["functions"])}
    ours = many_body(model, structures(MODELS[name][0])[0], len(values))
    basis = LinearACE.of(model).basis
    linear = basis.factors[:, 1] < 0
    assert linear.any()
    singles = [(0, z, n + 1) for z in range(basis.n_channels[0]) for n in range(basis.nmax[0])]
    one_particle = np.sqrt(2.0) * values[:, [place[(single,)] for single in singles]]
    for feature, factor, value in zip(
        basis.feature[linear], basis.factors[linear, 0], basis.value[linear], strict=True
    ):
        ours[:, feature] -= value * one_particle[:, factor]
    theirs = values[:, [place[function] for function in basis.functions]]
    scales = (ours * theirs).sum(axis=0) / (theirs**2).sum(axis=0)
    differences = np.abs(ours - scales * theirs).max(axis=0)
    assert (differences <= 1e-8 * np.abs(ours).max(axis=0)).all()


def test_ace_jax_has_all_of_our_functions(name):
    elements, order, totaldegree = MODELS[name]
    recorded = {tuple(map(tuple, f)) for f in RESULTS[name]["functions"] if len(f) > 1}
    ours = set(many_body_basis(len(elements), order, totaldegree).functions)
    # its degree counts a species as a fraction, so that it has more with several elements
    assert ours == recorded if len(elements) == 1 else ours < recorded


@pytest.mark.parametrize("suffix", [".npz", ".yace"])
def test_ace_jax_evaluated_what_was_written(name, model, suffix):
    calculator = model.calculator()
    for atoms, result in zip(
        structures(MODELS[name][0]), RESULTS[name]["models"][suffix], strict=True
    ):
        atoms.calc = calculator
        assert abs(atoms.get_potential_energy() - result["energy"]) < 1e-8
        assert np.abs(atoms.get_forces() - result["forces"]).max() < 1e-8


def test_a_model_comes_back(name, model, tmp_path):
    write_ace_model(model, tmp_path / "model.npz")
    again = read_ace_model(tmp_path / "model.npz")
    np.testing.assert_allclose(again.posterior.mean, model.posterior.mean, rtol=1e-15)
    assert again.e0s == model.e0s
    assert again.descriptor.spec() == model.descriptor.spec()
    prior = 1.0 / model.descriptor.prior_std()
    np.testing.assert_array_equal(np.diag(again.posterior.precision_factor), prior)


def change(path, **arrays):
    with np.load(path) as data:
        content = {key: data[key] for key in data.files}
    np.savez(path, **{**content, **arrays})


def test_bonds_that_a_fit_sees_otherwise_from_each_end(tmp_path):
    """ace-jax has coefficients of each centre: only their sum over both ends of a bond counts."""
    model = surrogate(*MODELS["two elements"])
    write_ace_model(model, path := tmp_path / "model.npz")
    with np.load(path) as data:
        pair = data["Wpair"].copy()
    pair[1, 0], pair[0, 1] = pair[1, 0] + 0.3, pair[0, 1] - 0.3
    change(path, Wpair=pair)
    np.testing.assert_allclose(
        read_ace_model(path).posterior.mean, model.posterior.mean, rtol=1e-12, atol=1e-12
    )


def test_other_models_are_refused(tmp_path):
    model = surrogate(*MODELS["order 2"])
    write_ace_model(model, path := tmp_path / "model.npz")
    with np.load(path) as data:
        weights, readout = data["rnl_Wnlq"].copy(), data["WB"]
    change(path, rnl_Wnlq=weights + 0.1)
    with pytest.raises(DescriptorError, match="rnl_Wnlq is not that of"):
        read_ace_model(path)
    change(path, rnl_Wnlq=weights, WB=readout[1:])
    with pytest.raises(DescriptorError, match="WB: expected finite numbers in the shape"):
        read_ace_model(path)
    change(path, meta_json=np.frombuffer(b'{"schema_version": 1}', np.uint8))
    with pytest.raises(DescriptorError, match="no model that ase_bayesel wrote"):
        read_ace_model(path)
    path.write_bytes(b"torn")
    with pytest.raises(StoreError, match="is damaged"):
        read_ace_model(path)
    with pytest.raises(DescriptorError, match=r"must end in \.npz"):
        write_ace_model(model, tmp_path / "model.json")
    with pytest.raises(DescriptorError, match="no reference energy of Si"):
        write_ace_model(replace(model, e0s={}), path)


@pytest.mark.parametrize("r_min", [0.0, 6.0])
def test_a_distance_that_makes_no_sense(r_min, tmp_path):
    with pytest.raises(DescriptorError, match="r_min: must be between"):
        write_ace_model(surrogate(*MODELS["order 2"]), tmp_path / "m.yace", r_min)


def test_too_near(tmp_path):
    with pytest.raises(DescriptorError, match="take a larger r_min"):
        write_ace_model(surrogate(*MODELS["order 2"]), tmp_path / "m.yace", r_min=0.001)


def test_what_ml_pace_reads(tmp_path):
    """The keys and sizes that ML-PACE's load_yaml asks for, with the radials that it knows."""
    model = surrogate(*MODELS["two elements"])
    write_ace_model(model, path := tmp_path / "model.yace")
    text = path.read_text().replace("[0, 0]:", "p00:").replace("[0, 1]:", "p01:")
    tree = yaml.safe_load(text.replace("[1, 0]:", "p10:").replace("[1, 1]:", "p11:"))
    assert tree["elements"] == ["Cu", "Au"]
    assert tree["E0"] == [-1.5, -2.5]
    assert set(tree["bonds"]) == {"p00", "p01", "p10", "p11"}
    for bond in tree["bonds"].values():
        shape = (bond["nradmax"], bond["lmax"] + 1, bond["nradbasemax"])
        assert np.array(bond["radcoefficients"]).shape == shape
        assert bond["radbasename"] == "ChebPow"
        assert bond["radparameters"] == [1.0]
        assert bond["rcut"] == model.descriptor.cutoff
    for centre, functions in tree["functions"].items():
        for function in functions:
            assert function["mu0"] == centre
            assert len(function["ctildes"]) == function["num_ms_combs"]
            ms = np.reshape(function["ms_combs"], (-1, function["rank"]))
            assert (ms.sum(axis=1) == 0).all()
            assert (np.abs(ms) <= function["ls"]).all()


@pytest.mark.parametrize("r", [0.6, 1.1, 2.4, 3.9, 4.99])
def test_expansions_of_pair_functions(r):
    """The energy of two atoms is that of the pair functions alone: all else is purified."""
    model = surrogate(*MODELS["one element"])
    linear = LinearACE.of(model)
    pairs = np.where(np.arange(model.descriptor.n_features) < 8, linear.coefficients, 0.0)
    expanded = expand_radials(replace(linear, coefficients=pairs), 0.5)[0, 0].pair
    dimer = Atoms("Si2", [[0, 0, 0], [0, 0, r]])
    energy = model.energy(dimer) - model.baseline(dimer)
    base = base_functions(np.array([r]), model.descriptor.cutoff, len(expanded))[:, 0]
    assert 2 * expanded @ base == pytest.approx(energy, rel=1e-8, abs=1e-9)


def test_the_same_functions_in_another_order():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(20, 7))
    places, scales = rng.permutation(7), rng.choice([-2.0, 0.5, 3.0], 7)
    found = same_functions(values, values[:, places] * scales)
    np.testing.assert_array_equal(found.places, places)
    np.testing.assert_allclose(found.scales, scales, rtol=1e-12)


def test_other_functions_are_told():
    values = np.random.default_rng(0).normal(size=(20, 4))
    with pytest.raises(DescriptorError, match="4 and 3 functions"):
        same_functions(values, values[:, :3])
    with pytest.raises(DescriptorError, match="the first is number 2"):
        same_functions(values, values + np.array([0, 0, 1.0, 0]) * values[:, [0]])
    with pytest.raises(DescriptorError, match="have the same partner"):
        same_functions(values, values[:, [0, 0, 1, 2]])
    with pytest.raises(DescriptorError, match="is 0 at all of these atoms"):
        same_functions(values, values * [1, 1, 0, 1])


class Rearranged:
    """A descriptor whose functions are those of another in reverse order, times -2."""

    def __init__(self, descriptor):
        self._descriptor = descriptor
        self.n_features = descriptor.n_features

    def compute(self, frames):
        return [Features(f.values[:, ::-1] * -2.0) for f in self._descriptor.compute(frames)]


def test_a_surrogate_in_other_functions():
    model = surrogate(*MODELS["two elements"]).condition(structures(["Cu", "Au"]))
    frames = [atoms for seed in range(6) for atoms in structures(["Cu", "Au"])]
    for seed, atoms in enumerate(frames):
        atoms.rattle(0.1, seed=seed)
    other = in_functions_of(model, Rearranged(model.descriptor), frames)
    probe = frames[-2]
    assert other.energy(probe) == pytest.approx(model.energy(probe), rel=1e-10)
    assert other.energy_std(probe) == pytest.approx(model.energy_std(probe), rel=1e-8)
    assert other.posterior.logdet == pytest.approx(
        model.posterior.logdet + 2 * model.descriptor.n_features * np.log(2.0), rel=1e-10
    )
