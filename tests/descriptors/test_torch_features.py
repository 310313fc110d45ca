"""Features of a network that the package does not know, by the adapter of examples/adapter."""

import json

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.emt import EMT
from ase.io import read
from helpers.adapter_example import FACTORY, FeaturesOnly, Mirrored, PairNetDescriptor, made_example
from helpers.adapter_example import pairnet as package
from helpers.calculators import Opaque
from helpers.differences import assert_close
from helpers.structures import cluster, copper, with_pbc

from ase_bayesel import BiasedCalculator, ForceSearch, Surrogate, fit_surrogate, run_walker
from ase_bayesel.bias.evaluators import NetworkEvaluator, SeparateEvaluator
from ase_bayesel.descriptors import KINDS, descriptor_from_spec
from ase_bayesel.descriptors.importing import imported_descriptor
from ase_bayesel.descriptors.text import descriptor_from_text
from ase_bayesel.descriptors.torch import Graph, rows, strained
from ase_bayesel.errors import ConfigError, DescriptorError, PosteriorError
from ase_bayesel.structures.labels import WHOLE, whole_atoms
from ase_bayesel.surrogate.design import iterate_sketches, property_rows
from ase_bayesel.surrogate.force_uncertainty import leading_force_rows
from ase_bayesel.testing import (
    ConformanceError,
    check_calculator,
    check_descriptor,
    check_joint_descriptor,
)

ALLOY = copper(7, 0.15)
ALLOY.symbols[1] = "Al"
FRAMES = [ALLOY, cluster(["Cu", "Cu", "Al"], 3), with_pbc(copper(2, 0.1), (True, True, False))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return made_example(tmp_path_factory.mktemp("example"))


@pytest.fixture(scope="module")
def model(folder):
    return str(folder / "pairnet.pt")


@pytest.fixture(scope="module")
def descriptor(model):
    return PairNetDescriptor(model)


@pytest.fixture(scope="module")
def calculator(descriptor):
    return package.PairNetCalculator(descriptor.module)


@pytest.fixture(scope="module")
def surrogate(descriptor, folder):
    frames = read(folder / "train.extxyz", ":")
    return fit_surrogate(frames, descriptor, "REF_energy", "REF_forces", e0s="average")


# conformance


def test_the_adapter_conforms(descriptor, calculator):
    check_descriptor(descriptor, FRAMES)
    check_joint_descriptor(descriptor, FRAMES, calculator)
    check_joint_descriptor(descriptor, FRAMES)
    check_calculator(descriptor.calculator(), ALLOY)
    check_calculator(calculator, ALLOY)


def test_it_conforms_in_single_precision(model):
    single = PairNetDescriptor(model, "float32")
    check_descriptor(single, FRAMES)
    check_joint_descriptor(single, FRAMES, package.PairNetCalculator(single.module))


def test_models_without_energies_or_second_derivatives(model, descriptor):
    plain = FeaturesOnly(model)
    check_descriptor(plain, FRAMES)
    moves = np.random.default_rng(0).standard_normal((3, len(ALLOY), 3))
    passed = plain.forward_batch(FRAMES)
    assert np.isnan(passed.energies).all()
    expected = descriptor.forward_batch(FRAMES)
    assert_close(passed.pushforward(0, moves), expected.pushforward(0, moves), 1e-12)
    one, two = (d.sketch(FRAMES, 3, np.random.default_rng(1)) for d in (plain, descriptor))
    for ours, theirs in zip(one, two, strict=True):
        assert_close(ours.slopes, theirs.slopes, 1e-12)
        assert_close(ours.strain, theirs.strain, 1e-12)
    with pytest.raises(DescriptorError, match="features only"):
        plain.calculator().get_potential_energy(ALLOY)
    with pytest.raises(ConformanceError, match="energy"):
        check_joint_descriptor(plain, FRAMES)


def test_a_model_that_tells_left_from_right(model):
    cell = cluster(["Cu"] * 5, 4)
    check_descriptor(Mirrored(model), cell, reflections=False)
    with pytest.raises(ConformanceError, match="reflection"):
        check_descriptor(Mirrored(model), cell)


def test_another_calculator_is_noticed(descriptor, calculator):
    other = package.PairNetCalculator(package.PairNet(["Cu", "Al"]).double())
    with pytest.raises(ConformanceError, match="serves"):
        check_joint_descriptor(descriptor, ALLOY, other)

    class Lenient(PairNetDescriptor):
        def is_model_of(self, calculator):
            return True

    lenient = Lenient.__new__(Lenient)
    lenient.__dict__.update(descriptor.__dict__, _known=None)
    with pytest.raises(ConformanceError, match="energies of a pass and of the calculator"):
        check_joint_descriptor(lenient, ALLOY, other)


def test_extra_results_are_allowed_by_name():
    class Chatty(EMT):
        def calculate(self, *arguments, **options):
            super().calculate(*arguments, **options)
            self.results["node_energy"] = np.zeros(len(self.atoms))

    with pytest.raises(ConformanceError, match=r"node_energy.*extra_results"):
        check_calculator(Chatty(), ALLOY)
    check_calculator(Chatty(), ALLOY, extra_results=["node_energy"])


# against autograd without any of this


@pytest.mark.parametrize("price", [1e9, 0.0])
def test_derivatives_are_those_of_autograd(monkeypatch, descriptor, price):
    monkeypatch.setattr(rows, "TANGENT_PRICE", price)
    net = descriptor.module
    data = package.collate(net, [ALLOY])
    data["positions"].requires_grad_(True)
    totals = net(data)["state"].sum(dim=0)
    (found,) = descriptor.compute([ALLOY], derivatives=True)
    for k, total in enumerate(totals):
        (slope,) = torch.autograd.grad(total, data["positions"], retain_graph=True)
        assert_close(found.jacobian[k], slope.numpy(), 1e-12)
    assert_close(found.total, totals.detach().numpy(), 1e-12)


def test_batches_of_any_size(monkeypatch, descriptor):
    monkeypatch.setattr(PairNetDescriptor, "chunk_atoms", {"cpu": 5})
    together = descriptor.compute(FRAMES * 2, derivatives=True)
    for atoms, features in zip(FRAMES * 2, together, strict=True):
        (alone,) = descriptor.compute([atoms], derivatives=True)
        assert_close(features.values, alone.values, 1e-12)
        assert_close(features.jacobian, alone.jacobian, 1e-11)
        assert_close(features.strain, alone.strain, 1e-11)


def test_an_atom_alone(descriptor):
    lone = Atoms("Cu")
    (features,) = descriptor.compute([lone], derivatives=True)
    assert np.abs(features.jacobian).max() == 0.0
    assert descriptor.forward(lone).pushforward(np.ones((1, 1, 3))).tolist() == [[0.0] * 16]
    assert np.abs(descriptor.calculator().get_forces(lone)).max() == 0.0


def test_vectors_between_atoms():
    leaves = strained([ALLOY, ALLOY], torch.float64)
    first, second = torch.tensor([0, 5]), torch.tensor([1, 4])
    crossed = torch.tensor([[0, 0, 1], [-1, 0, 0]])
    found = leaves.vectors(first, second, crossed).detach().numpy()
    expected = [
        ALLOY.positions[1] - ALLOY.positions[0] + ALLOY.cell[2],
        ALLOY.positions[0] - ALLOY.positions[1] - ALLOY.cell[0],
    ]
    assert_close(found, np.array(expected), 1e-14)


# what a wrong adapter is told


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g: g._replace(features=g.features[:, 1:]), r"features must have the shape \(4, 16"),
        (lambda g: g._replace(energies=g.energies[:, None]), r"energies must have the shape \(1,"),
        (lambda g: g._replace(strain=g.strain.detach()), "strain is no leaf"),
    ],
)
def test_a_wrong_graph_is_named(descriptor, change, message):
    class Wrong(PairNetDescriptor):
        def graph(self, frames) -> Graph:
            return change(super().graph(frames))

    wrong = Wrong.__new__(Wrong)
    wrong.__dict__.update(descriptor.__dict__)
    with pytest.raises(DescriptorError, match=message):
        wrong.forward(ALLOY)


# potential and features from one pass


def test_one_pass_serves_both(descriptor, calculator, surrogate):
    for mlip in (calculator, descriptor.calculator()):
        fused = BiasedCalculator(mlip, surrogate, tau=0.5)
        apart = BiasedCalculator(Opaque(mlip), surrogate, tau=0.5)
        assert isinstance(fused._evaluator, NetworkEvaluator)
        assert isinstance(apart._evaluator, SeparateEvaluator)
        for atoms in FRAMES:
            energy = fused.get_potential_energy(atoms)
            assert energy == pytest.approx(apart.get_potential_energy(atoms), rel=1e-10)
            assert_close(fused.get_forces(atoms), apart.get_forces(atoms), 1e-9)
    check_calculator(fused, ALLOY)


def test_what_is_served(descriptor, model, tmp_path):
    same = PairNetDescriptor(model)
    assert descriptor.serves(same.calculator())
    assert not descriptor.serves(PairNetDescriptor(model, "float32").calculator())
    assert not descriptor.serves(FeaturesOnly(model).calculator())
    assert not descriptor.serves(EMT())
    package.save(package.PairNet(["Cu", "Al"]), tmp_path / "other.pt")
    assert not descriptor.serves(PairNetDescriptor(tmp_path / "other.pt").calculator())


def test_force_uncertainty_without_the_jacobian(descriptor, surrogate):
    atoms = copper(4, 0.1, repeat=(1, 1, 4))
    exact = surrogate.uncertainty(atoms).forces
    search = ForceSearch(n_probes=15, n_candidates=16)
    leading = search(descriptor, surrogate.posterior, atoms, np.ones(len(atoms)))
    assert leading.atom == np.argmax(exact)
    assert leading.force_std == pytest.approx(exact.max(), rel=1e-8)
    few = ForceSearch(n_probes=15, n_candidates=2)
    leading = few(descriptor, surrogate.posterior, atoms, np.ones(len(atoms)))
    assert leading.force_std == pytest.approx(exact[leading.atom], rel=1e-8)
    found = leading_force_rows(descriptor, surrogate.posterior, atoms, 16)
    assert np.isfinite(found).all()
    assert surrogate.condition(atoms, force_rows=16).energy_std(atoms) < surrogate.energy_std(atoms)


def test_rows_of_a_cut_out_are_exact_and_of_whole_atoms(descriptor, surrogate):
    """Neither projections nor leading combinations mix them with those of other atoms."""
    atoms = copper(4, 0.1, repeat=(1, 1, 2))
    atoms.set_array(WHOLE, np.arange(8) < 2)
    (features,) = iterate_sketches([atoms], descriptor, 3)
    rows = property_rows(features, "forces", whole_atoms(atoms))
    found = leading_force_rows(descriptor, surrogate.posterior, atoms, 20)
    assert found.shape == rows.shape == (6, descriptor.n_features)
    scale = np.abs(rows.T @ rows).max()
    np.testing.assert_allclose(found.T @ found, rows.T @ rows, rtol=0, atol=1e-9 * scale)
    few, all_rows = surrogate.condition(atoms, force_rows=20), surrogate.condition(atoms)
    assert few.energy_std(atoms) == pytest.approx(all_rows.energy_std(atoms), rel=1e-8)


def test_biased_dynamics(descriptor, surrogate):
    biased = BiasedCalculator(descriptor.calculator(), surrogate, tau=0.2)
    steps = list(
        run_walker(ALLOY, biased, n_steps=5, temperature_K=300, rng=np.random.default_rng(0))
    )
    assert steps[-1].step == 5
    assert np.isfinite(steps[-1].atoms.positions).all()


# saved surrogates


def test_a_saved_surrogate_imports_nothing_unasked(model, surrogate, tmp_path):
    path, descriptor = tmp_path / "model.npz", imported_descriptor(FACTORY, {}, model)
    Surrogate(
        descriptor, surrogate.posterior, surrogate.e0s, surrogate.noise, surrogate.properties
    ).save(path)
    expected = surrogate.energy_std(ALLOY)
    with pytest.raises(PosteriorError, match=r"PairNetDescriptor.*trust=True"):
        Surrogate.load(path)
    for loaded in (
        Surrogate.load(path, trust=True),
        Surrogate.load(path, PairNetDescriptor(model)),
    ):
        assert loaded.energy_std(ALLOY) == pytest.approx(expected, rel=1e-12)
    with pytest.raises(PosteriorError, match="other dtype"):
        Surrogate.load(path, PairNetDescriptor(model, "float32"))


def test_other_weights_are_refused(model, surrogate, tmp_path):
    mine, path = tmp_path / "mine.pt", tmp_path / "model.npz"
    package.save(package.load(model), mine)
    descriptor = imported_descriptor(FACTORY, None, mine)
    Surrogate(
        descriptor, surrogate.posterior, surrogate.e0s, surrogate.noise, surrogate.properties
    ).save(path)
    net = package.load(model)
    net.readout.bias.data += 1.0
    package.save(net, mine)
    with pytest.raises(PosteriorError, match="other weights"):
        Surrogate.load(path, trust=True)
    with pytest.raises(PosteriorError, match="other weights"):
        Surrogate.load(path, PairNetDescriptor(mine))


def test_a_descriptor_made_by_hand_is_given_by_hand(descriptor, surrogate, tmp_path):
    path = tmp_path / "model.npz"
    surrogate.save(path)
    with pytest.raises(PosteriorError, match="made by hand"):
        Surrogate.load(path, trust=True)
    assert Surrogate.load(path, descriptor).posterior.n_features == 16


def test_settings_belong_to_the_spec(model):
    one, other = PairNetDescriptor(model), PairNetDescriptor(model)
    other.settings = {"layer": 1}
    assert one.spec() != other.spec()
    assert not one.serves(other.calculator())
    assert json.loads(json.dumps(other.spec())) == other.spec()


def test_kinds_are_one_list():
    assert set(KINDS) == {"ace", "julip", "mace", "import"}
    with pytest.raises(DescriptorError, match="'ace', 'julip', 'mace', 'import'"):
        descriptor_from_spec({"kind": "other"})


# by its name


def test_descriptors_by_name(model):
    text = f"import:{FACTORY},model={model},dtype=float32"
    found = descriptor_from_text(text)
    assert found.spec() == imported_descriptor(FACTORY, {"dtype": "float32"}, model).spec()
    assert found.origin.parameters == {"dtype": "float32"}
    method = FACTORY.replace("PairNetDescriptor", "Makers.small")
    assert descriptor_from_text(f"import:{method},model={model}").dtype == torch.float32


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("import:nowhere:Thing", ConfigError, "cannot import 'nowhere:Thing'"),
        (f"import:{FACTORY}", ConfigError, r"fails with these parameters.*model"),
        ("import:helpers.adapter_example:Makers.nothing", ConfigError, "no descriptor but int"),
        (f"import:{FACTORY},file", DescriptorError, "not key=value"),
        ("import:", DescriptorError, "cannot read"),
    ],
)
def test_names_that_give_no_descriptor(text, error, message):
    with pytest.raises(error, match=message):
        descriptor_from_text(text)
