import sys

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.emt import EMT
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from helpers.calculators import Opaque
from helpers.differences import assert_close, position_differences, strain_differences
from helpers.mace_models import (
    mace_calculator,
    needs_cuda,
    needs_mace,
    save_model,
    tiny_mace,
    trained_mace,
)
from helpers.structures import cluster, copper, copper_training, with_pbc

from ase_bayesel import (
    BiasedCalculator,
    Guards,
    MACEDescriptor,
    Posterior,
    RelativeForceTrigger,
    Surrogate,
    TauRule,
    fit_surrogate,
    run_walker,
)
from ase_bayesel.bias.evaluators import NetworkEvaluator, SeparateEvaluator
from ase_bayesel.descriptors import descriptor_from_spec
from ase_bayesel.descriptors.mace import internals, network
from ase_bayesel.descriptors.torch import rows
from ase_bayesel.errors import DescriptorError
from ase_bayesel.surrogate.design import Noise
from ase_bayesel.testing import check_calculator, check_descriptor

pytestmark = needs_mace

BULK, CLUSTER, DIMER = (
    copper(21, 0.2),
    cluster("Cu5", 4),
    Atoms("Cu2", [[0, 0, 0], [0.3, 0.2, 2.3]]),
)
SLAB = with_pbc(copper(22, 0.2), (True, True, False))
FRAMES = [BULK, CLUSTER, Atoms("Cu"), DIMER, SLAB]
STRUCTURES = pytest.mark.parametrize(
    "atoms", [BULK, CLUSTER, SLAB, Atoms("Cu")], ids=["bulk", "cluster", "slab", "atom"]
)
PATH = [copper(k, 0.15) for k in range(12)]


@pytest.fixture(scope="session")
def model():
    return tiny_mace()


@pytest.fixture(scope="session")
def ternary_model():
    return tiny_mace(("Cu", "Au", "Al"), seed=3)


@pytest.fixture(scope="session")
def descriptor(model):
    return MACEDescriptor(mace_calculator(model))


@pytest.fixture(scope="session")
def surrogate(descriptor):
    return fit_surrogate(copper_training(), descriptor, e0s="average")


@pytest.fixture(scope="session")
def trained():
    return trained_mace(copper_training(), n_steps=60)


@pytest.fixture(scope="session")
def model_file(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "tiny.model"
    save_model(model, path)
    return path


def total(descriptor):
    return lambda atoms: descriptor.compute([atoms])[0].total


def pair_of(model, surrogate, **options):
    """The same evaluation fused and unfused."""
    calculators = [
        BiasedCalculator(mlip, surrogate, **options)
        for mlip in (mace_calculator(model), Opaque(mace_calculator(model)))
    ]
    assert isinstance(calculators[0]._evaluator, NetworkEvaluator)
    assert isinstance(calculators[1]._evaluator, SeparateEvaluator)
    return calculators


def count_passes(monkeypatch, descriptor):
    """Lists that grow with every forward and backward pass of the model."""
    forwards, backwards = [], []
    forward, grad = network.Network.forward, torch.autograd.grad

    def counted_forward(self, frames):
        forwards.append(len(frames))
        return forward(self, frames)

    def counted_grad(*arguments, **options):
        backwards.append(1)
        return grad(*arguments, **options)

    monkeypatch.setattr(network.Network, "forward", counted_forward)
    monkeypatch.setattr(torch.autograd, "grad", counted_grad)
    return forwards, backwards


# features


def test_invariant_features_of_both_layers(model, descriptor):
    """Against mace's own extraction, which assumes the same layout."""
    calculator = mace_calculator(model)
    assert descriptor.n_features == 12
    for atoms in (BULK, CLUSTER):
        ours = descriptor.compute([atoms])[0].values
        np.testing.assert_allclose(ours, calculator.get_descriptors(atoms), rtol=1e-12, atol=1e-14)
        every = MACEDescriptor(calculator, components="all")
        theirs = calculator.get_descriptors(atoms, invariants_only=False)
        np.testing.assert_allclose(every.compute(atoms)[0].values, theirs, rtol=1e-12, atol=1e-14)
    assert every.n_features == 6 + 18 + 6


def test_layers(model, descriptor):
    calculator = mace_calculator(model)
    first = MACEDescriptor(calculator, num_layers=1)
    assert first.n_features == 6
    values = first.compute([BULK])[0].values
    np.testing.assert_array_equal(values, descriptor.compute([BULK])[0].values[:, :6])
    assert MACEDescriptor(calculator, components="all", num_layers=1).n_features == 24


def test_conformance(descriptor):
    check_descriptor(descriptor, FRAMES)


def test_conformance_of_several_elements(ternary_model):
    frames = [cluster("Cu2AuAl", 5), cluster("Al3", 6), copper(2, 0.1)]
    check_descriptor(MACEDescriptor(mace_calculator(ternary_model)), frames)


def test_all_components_turn_with_the_structure(model):
    every = MACEDescriptor(mace_calculator(model), components="all")
    check_descriptor(every, [CLUSTER], rotations=False, reflections=False)
    with pytest.raises(AssertionError, match="rotation"):
        check_descriptor(every, [CLUSTER])


def test_single_precision(model):
    calculator = mace_calculator(model)
    single = MACEDescriptor(calculator, dtype="float32")
    assert calculator.models[0] is model
    assert next(model.parameters()).dtype == torch.float64
    double = MACEDescriptor(calculator)
    features, expected = (d.compute([BULK], derivatives=True)[0] for d in (single, double))
    for name in ("values", "jacobian", "strain"):
        assert getattr(features, name).dtype == np.float64
        assert_close(getattr(features, name), getattr(expected, name), 1e-4)
    check_descriptor(single, [BULK, CLUSTER], tolerance=2e-2, step_A=1e-2)


@pytest.mark.gpu
@needs_cuda
def test_cuda(model_file, descriptor):
    on_gpu = MACEDescriptor(model_file, device="cuda")
    ours, expected = (d.compute(FRAMES, derivatives=True) for d in (on_gpu, descriptor))
    for one, two in zip(ours, expected, strict=True):
        assert_close(one.jacobian, two.jacobian, 1e-8)
        assert_close(one.strain, two.strain, 1e-8)
    check_descriptor(on_gpu, FRAMES)


# rows


@STRUCTURES
@pytest.mark.parametrize("price", [0.01, 1e3], ids=["tangents", "cotangents"])
def test_rows_against_differences(monkeypatch, descriptor, atoms, price):
    monkeypatch.setattr(rows, "TANGENT_PRICE", price)
    features = descriptor.compute([atoms], derivatives=True)[0]
    jacobian = features.jacobian.transpose(1, 2, 0)
    assert_close(jacobian, position_differences(total(descriptor), atoms), 1e-6)
    assert_close(features.strain.T, strain_differences(total(descriptor), atoms), 1e-6)


def test_tangents_and_cotangents_agree_on_unequal_structures(monkeypatch, ternary_model):
    descriptor = MACEDescriptor(mace_calculator(ternary_model), components="all")
    frames = [cluster("Cu2AuAl", 5), Atoms("Al"), copper(3, 0.2)]
    found = []
    for price in (1e3, 0.01):
        monkeypatch.setattr(rows, "TANGENT_PRICE", price)
        found.append(descriptor.compute(frames, derivatives=True))
    for one, two in zip(*found, strict=True):
        assert_close(one.jacobian, two.jacobian, 1e-12)
        assert_close(one.strain, two.strain, 1e-12)
        np.testing.assert_array_equal(one.values, two.values)


# the fused path


@STRUCTURES
@pytest.mark.parametrize("separate", [False, True])
def test_fused_equals_unfused(model, surrogate, atoms, separate):
    calculators = pair_of(model, surrogate, tau=0.7, separate=separate)
    fused, unfused = calculators
    assert fused.get_potential_energy(atoms) == pytest.approx(
        unfused.get_potential_energy(atoms), rel=1e-10
    )
    assert_close(fused.get_forces(atoms), unfused.get_forces(atoms), 1e-8)
    assert fused.prediction.separated is separate
    if atoms.pbc.all():
        assert_close(fused.get_stress(atoms), unfused.get_stress(atoms), 1e-8)
    names = ["energy", "bias_energy", "energy_std", "forces", "bias_forces", "biased_forces"]
    names += ["stress", "bias_stress"] if atoms.pbc.all() else []
    for name in names:
        ours, theirs = (getattr(calculator.prediction, name) for calculator in calculators)
        assert_close(ours, theirs, 1e-8)
    assert fused.prediction.separated
    if not atoms.pbc.all():
        assert fused.prediction.stress is None
        assert fused.prediction.bias_stress is None


@pytest.mark.parametrize("atoms", [BULK, CLUSTER], ids=["bulk", "cluster"])
def test_biased_forces_and_stress_against_differences(model, surrogate, atoms):
    calculator = BiasedCalculator(mace_calculator(model), surrogate, tau=2.0)
    check_calculator(calculator, atoms)
    atoms = atoms.copy()
    atoms.calc = calculator
    assert_close(atoms.get_forces(), calculate_numerical_forces(atoms, eps=1e-4), 2e-6)
    if atoms.pbc.all():
        assert_close(atoms.get_stress(), calculate_numerical_stress(atoms, eps=1e-5), 2e-5)


def test_no_bias_is_the_model(model, surrogate):
    fused = BiasedCalculator(mace_calculator(model), surrogate, tau=0.0)
    plain = mace_calculator(model)
    assert fused.get_potential_energy(BULK) == pytest.approx(plain.get_potential_energy(BULK))
    assert_close(fused.get_forces(BULK), plain.get_forces(BULK), 1e-12)
    assert_close(fused.get_stress(BULK), plain.get_stress(BULK), 1e-12)
    assert_close(fused.prediction.forces, plain.get_forces(BULK), 1e-12)


def test_number_of_passes(monkeypatch, model, descriptor, surrogate):
    calculator = BiasedCalculator(mace_calculator(model), surrogate, tau=0.5)
    forwards, backwards = count_passes(monkeypatch, descriptor)
    calculator.get_forces(BULK)
    calculator.get_stress(BULK)
    assert (len(forwards), len(backwards)) == (1, 1)
    _ = calculator.prediction.forces, calculator.prediction.bias_forces
    _ = calculator.prediction.stress
    assert (len(forwards), len(backwards)) == (1, 2)
    separate = BiasedCalculator(mace_calculator(model), surrogate, tau=0.5, separate=True)
    separate.get_forces(BULK)
    _ = separate.prediction.forces
    assert (len(forwards), len(backwards)) == (2, 4)


def test_forces_of_an_older_prediction(model, surrogate):
    """The graph of its pass is gone; the structure is evaluated again."""
    fused = BiasedCalculator(mace_calculator(model), surrogate, tau=0.5)
    atoms = BULK.copy()
    fused.get_forces(atoms)
    older = fused.prediction
    atoms.positions += 0.1 * np.random.default_rng(0).normal(size=atoms.positions.shape)
    newer = fused.get_forces(atoms)
    fused.surrogate = surrogate.condition(BULK)
    expected = BiasedCalculator(mace_calculator(model), surrogate, tau=0.5, separate=True)
    expected.get_forces(BULK)
    assert_close(older.forces, expected.prediction.forces, 1e-10)
    assert_close(older.bias_forces, expected.prediction.bias_forces, 1e-10)
    assert_close(older.stress, expected.prediction.stress, 1e-10)
    assert np.abs(newer - older.biased_forces).max() > 1e-3
    assert "energy_std" in repr(older)


def test_tau_is_sampled_at_an_interval(monkeypatch, model, descriptor, surrogate):
    rule = TauRule(0.3, delay=2)
    calculator = BiasedCalculator(mace_calculator(model), surrogate, tau_rel=rule)
    predictions = []
    forwards, backwards = count_passes(monkeypatch, descriptor)
    for atoms in PATH:
        calculator.get_forces(atoms)
        predictions.append(calculator.prediction)
    assert [p.separated for p in predictions] == [True] + 9 * [False] + [True, False]
    assert (len(forwards), len(backwards)) == (12, 14)
    taus = [p.tau for p in predictions]
    assert taus[:2] == [0.0, 0.0]
    assert len(set(taus[2:11])) == 1
    assert taus[11] != taus[10] > 0


@pytest.mark.parametrize("interval", [1, 3])
def test_fused_equals_unfused_with_running_averages(model, surrogate, interval):
    rule = TauRule(0.3, delay=2, interval=interval)
    fused, unfused = pair_of(model, surrogate, tau_rel=rule)
    for atoms in PATH[:8]:
        for calculator in (fused, unfused):
            calculator.get_forces(atoms)
        assert fused.prediction.tau == pytest.approx(unfused.prediction.tau, rel=1e-9)
        assert_close(fused.results["forces"], unfused.results["forces"], 1e-8)
    assert fused.prediction.tau > 0


def test_walker_with_trigger(model, surrogate):
    """The same trajectory fused and unfused; the guards need no separate forces."""
    found = []
    for calculator in pair_of(model, surrogate, tau=0.3):
        steps = run_walker(
            copper(1, 0.05),
            calculator,
            n_steps=6,
            temperature_K=300.0,
            rng=np.random.default_rng(1),
            triggers=[RelativeForceTrigger(0.1)],
            guards=Guards(max_force=1e3),
            check_interval=3,
        )
        found.append(list(steps))
    fused, unfused = found
    assert [k for k, step in enumerate(fused) if step.prediction.separated] == [3, 6]
    for one, two in zip(fused, unfused, strict=True):
        assert one.status == two.status == "running"
        assert_close(one.atoms.positions, two.atoms.positions, 1e-8)
        for ours, theirs in zip(one.reports, two.reports, strict=True):
            assert ours.value == pytest.approx(theirs.value, rel=1e-8)


def test_which_calculators_are_served(model, model_file, descriptor, surrogate, ternary_model):
    from_file = MACEDescriptor(model_file)
    assert descriptor.serves(mace_calculator(model))
    assert from_file.serves(mace_calculator(model))
    assert not descriptor.serves(mace_calculator(tiny_mace(seed=5)))
    assert not descriptor.serves(mace_calculator(ternary_model))
    assert not descriptor.serves(EMT())
    assert not descriptor.serves(Opaque(mace_calculator(model)))
    assert not descriptor.serves(mace_calculator(model, energy_units_to_eV=2.0))
    assert not MACEDescriptor(model_file, dtype="float32").serves(mace_calculator(model))
    other = BiasedCalculator(EMT(), surrogate, tau=0.1)
    assert isinstance(other._evaluator, SeparateEvaluator)
    check_calculator(other, BULK)


def test_a_new_descriptor_changes_the_evaluator(model, surrogate, cu_surrogate):
    calculator = BiasedCalculator(mace_calculator(model), surrogate, tau=0.1)
    calculator.surrogate = cu_surrogate
    assert isinstance(calculator._evaluator, SeparateEvaluator)
    calculator.surrogate = surrogate.condition(BULK)
    assert isinstance(calculator._evaluator, NetworkEvaluator)


def test_a_model_with_heads_is_not_cut():
    model = tiny_mace(["Cu", "Au"], heads=("one", "two"))
    with pytest.raises(DescriptorError, match="leave elements out"):
        MACEDescriptor(mace_calculator(model, head="one"), elements=["Cu"])


def test_heads():
    model = tiny_mace(heads=("one", "two"))
    calculator = mace_calculator(model, head="two")
    descriptor = MACEDescriptor(calculator)
    energy = descriptor.forward(BULK).energy
    assert energy == pytest.approx(calculator.get_potential_energy(BULK), rel=1e-12)
    first = MACEDescriptor(calculator, head="one")
    assert first.forward(BULK).energy != pytest.approx(energy)
    np.testing.assert_array_equal(first.forward(BULK).phi, descriptor.forward(BULK).phi)
    assert descriptor.serves(calculator)
    assert not first.serves(calculator)
    with pytest.raises(DescriptorError, match="three"):
        MACEDescriptor(calculator, head="three")


# cutting down to some elements


@pytest.mark.parametrize("elements", [["Cu"], ["Au", "Cu"]])
def test_cut_to_elements(ternary_model, elements):
    calculator = mace_calculator(ternary_model)
    full, cut = MACEDescriptor(calculator), MACEDescriptor(calculator, elements=elements)
    assert len(cut.network.numbers) == len(elements)
    for atoms in (copper(1, 0.2), cluster("Cu5", 3)):
        atoms.symbols[: len(elements)] = elements
        one, two = cut.compute([atoms], derivatives=True)[0], full.compute([atoms], True)[0]
        assert_close(one.values, two.values, 1e-12)
        assert_close(one.jacobian, two.jacobian, 1e-10)
        biased = BiasedCalculator(calculator, _prior_surrogate(cut), tau=0.3)
        assert isinstance(biased._evaluator, NetworkEvaluator)
        expected = BiasedCalculator(Opaque(calculator), _prior_surrogate(full), tau=0.3)
        assert_close(biased.get_forces(atoms), expected.get_forces(atoms), 1e-8)
    with pytest.raises(DescriptorError, match="'Al' is not one of"):
        cut.compute([Atoms("Al")])


def _prior_surrogate(descriptor):
    prior = Posterior.isotropic(descriptor.n_features, 0.1)
    return Surrogate(descriptor, prior, {}, Noise())


def test_a_wrong_cut_is_refused(monkeypatch, ternary_model):
    right = network.cut_to_elements

    def wrong(module, numbers):
        smaller = right(module, numbers)
        smaller.node_embedding.linear.weight.data *= 1.001
        return smaller

    monkeypatch.setattr(network, "cut_to_elements", wrong)
    with pytest.raises(DescriptorError, match="is off by"):
        MACEDescriptor(mace_calculator(ternary_model), elements=["Cu"])


def test_cut_to_unknown_elements(model):
    for elements, message in ((["Si"], "knows"), (["Xx"], "chemical symbols"), ("Cu", "symbols")):
        with pytest.raises(DescriptorError, match=message):
            MACEDescriptor(mace_calculator(model), elements=elements)


# files


def test_spec_round_trip(model_file, ternary_model, tmp_path):
    path = tmp_path / "ternary.model"
    save_model(ternary_model, path)
    for descriptor in (
        MACEDescriptor(model_file, num_layers=1),
        MACEDescriptor(path, components="all", elements=["Cu"], dtype="float32"),
        MACEDescriptor(mace_calculator(ternary_model), model_file=path),
    ):
        again = descriptor_from_spec(descriptor.spec())
        assert again.spec() == descriptor.spec()
        ours, theirs = (d.compute([BULK])[0].values for d in (again, descriptor))
        np.testing.assert_array_equal(ours, theirs)
    assert "MACEDescriptor" in repr(again)


def test_a_saved_surrogate(model_file, tmp_path):
    surrogate = fit_surrogate(copper_training(), MACEDescriptor(model_file), e0s="average")
    surrogate.save(tmp_path / "surrogate.npz")
    again = Surrogate.load(tmp_path / "surrogate.npz")
    assert again.energy(BULK) == surrogate.energy(BULK)
    assert again.energy_std(BULK) == surrogate.energy_std(BULK)


def test_files_that_do_not_fit(model, model_file, descriptor, tmp_path):
    with pytest.raises(DescriptorError, match="model_file"):
        descriptor.spec()
    spec = MACEDescriptor(model_file).spec()
    other = tmp_path / "other.model"
    save_model(tiny_mace(seed=9), other)
    with pytest.raises(DescriptorError, match="SHA-256"):
        descriptor_from_spec(spec | {"model": str(other)})
    with pytest.raises(DescriptorError, match="no such MACE model file"):
        descriptor_from_spec(spec | {"model": str(tmp_path / "gone.model")})
    with pytest.raises(DescriptorError, match="another model"):
        MACEDescriptor(mace_calculator(model), model_file=other)
    (tmp_path / "torn.model").write_bytes(model_file.read_bytes()[:1000])
    with pytest.raises(DescriptorError, match="cannot be read"):
        MACEDescriptor(tmp_path / "torn.model")
    torch.save({"a": 1}, tmp_path / "dict.model")
    with pytest.raises(DescriptorError, match="found dict"):
        MACEDescriptor(tmp_path / "dict.model")


def test_named_models(monkeypatch, model_file):
    foundations = internals.import_mace().foundations
    with pytest.raises(DescriptorError, match="known: small, medium"):
        MACEDescriptor("mace_mp:huge")

    def offline(*arguments, **options):
        raise OSError("no network")

    monkeypatch.setattr(foundations, "_urlretrieve_with_timeout", offline)
    monkeypatch.setattr(foundations, "get_cache_dir", lambda: "/nowhere")
    monkeypatch.setattr(foundations.os, "makedirs", lambda *_, **__: None)
    for name in ("mace_mp:medium", "mace_off:small"):
        with pytest.raises(DescriptorError, match=r"fetch https.*give the path of that file"):
            MACEDescriptor(name)
    monkeypatch.setattr(foundations, "download_mace_mp_checkpoint", lambda name: str(model_file))
    assert MACEDescriptor("mace_mp:medium").n_features == 12


def test_wrong_arguments(model, model_file, cu_surrogate):
    for options, message in (
        ({"components": "scalars"}, "components"),
        ({"dtype": "float16"}, "dtype"),
        ({"num_layers": 3}, "num_layers"),
        ({"num_layers": 0}, "num_layers"),
    ):
        with pytest.raises(DescriptorError, match=message):
            MACEDescriptor(model_file, **options)
    if not torch.cuda.is_available():
        with pytest.raises(DescriptorError, match="CUDA"):
            MACEDescriptor(model_file, device="cuda")
    with pytest.raises(DescriptorError, match="MACECalculator"):
        MACEDescriptor(EMT())
    with pytest.raises(DescriptorError, match="committee"):
        MACEDescriptor(mace_calculator([model, tiny_mace(seed=2)]))
    descriptor = MACEDescriptor(model_file)
    with pytest.raises(DescriptorError, match="cotangent"):
        descriptor.vjp(BULK, np.ones(3))
    assert descriptor.compute([]) == []


def test_without_mace(monkeypatch, model_file):
    monkeypatch.setitem(sys.modules, "mace", None)
    monkeypatch.setitem(sys.modules, "mace.calculators", None)
    with pytest.raises(DescriptorError, match="pip install"):
        MACEDescriptor(model_file)


# a trained model


@pytest.mark.slow
def test_trained_model(trained):
    """Features of a model that learned something: the surrogate on them learns too."""
    model, losses = trained
    assert losses[-1] < 0.1 * losses[0]
    calculator = mace_calculator(model)
    surrogate = fit_surrogate(copper_training(), MACEDescriptor(calculator), e0s="average")
    biased = BiasedCalculator(calculator, surrogate, tau=1.0)
    check_calculator(biased, BULK)
    for near, far in zip(copper_training()[1:4], (CLUSTER, DIMER, copper(1, 0.5)), strict=True):
        ratio = surrogate.energy_std(far) / len(far) / (surrogate.energy_std(near) / len(near))
        assert ratio > 1
