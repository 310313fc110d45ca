"""A MACE model on a GPU against the same one on the CPU."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from helpers.differences import assert_close
from helpers.mace_models import mace_calculator, needs_cuda, needs_mace, save_model, tiny_mace
from helpers.structures import cluster, copper, copper_training, with_pbc

from ase_bayesel import (
    BiasedCalculator,
    Guards,
    MACEDescriptor,
    Posterior,
    RelativeForceTrigger,
    Surrogate,
    fit_surrogate,
    run_walker,
    run_walkers,
)
from ase_bayesel.bias.evaluators import NetworkEvaluator
from ase_bayesel.descriptors import descriptor_from_spec
from ase_bayesel.descriptors.torch import rows
from ase_bayesel.descriptors.torch.runtime import default_dtype, quiet
from ase_bayesel.surrogate.design import Noise
from ase_bayesel.surrogate.force_uncertainty import ForceSearch

pytestmark = [needs_mace, pytest.mark.gpu, needs_cuda]

SLAB = with_pbc(copper(22, 0.2), (True, True, False))
LARGE = copper(23, 0.1, repeat=(2, 2, 2))
FRAMES = [copper(21, 0.2), cluster("Cu5", 4), Atoms("Cu"), SLAB, LARGE]
IDS = ["bulk", "cluster", "atom", "slab", "large"]
BLOCKS = [
    "RealAgnosticResidualInteractionBlock",
    "RealAgnosticDensityInteractionBlock",
    "RealAgnosticDensityResidualInteractionBlock",
]


def both(model, dtype="float64", **options):
    """Calculators on the CPU and on the GPU, each with a model of its own."""
    with quiet():
        models = copy.deepcopy(model), model
    return [
        mace_calculator(model, dtype, device, **options)
        for model, device in zip(models, ("cpu", "cuda"), strict=True)
    ]


@pytest.fixture(scope="module")
def calculators():
    return both(tiny_mace())


@pytest.fixture(scope="module")
def descriptors(calculators):
    return [MACEDescriptor(calculator) for calculator in calculators]


@pytest.fixture(scope="module")
def surrogates(descriptors):
    """One posterior, on features of the CPU and of the GPU."""
    fitted = fit_surrogate(copper_training(), descriptors[0], e0s="average")
    return [replace(fitted, descriptor=descriptor) for descriptor in descriptors]


def prior_surrogate(descriptor):
    return Surrogate(descriptor, Posterior.isotropic(descriptor.n_features, 0.3), {}, Noise())


def assert_same_bias(calculators, surrogates, atoms, relative=1e-8, **options):
    cpu, gpu = (
        BiasedCalculator(mlip, surrogate, tau=0.7, **options)
        for mlip, surrogate in zip(calculators, surrogates, strict=True)
    )
    assert isinstance(gpu._evaluator, NetworkEvaluator)
    assert gpu.get_potential_energy(atoms) == pytest.approx(
        cpu.get_potential_energy(atoms), rel=relative
    )
    assert_close(gpu.get_forces(atoms), cpu.get_forces(atoms), relative)
    names = ["energy_std", "forces", "bias_forces"]
    if atoms.pbc.all():
        assert_close(gpu.get_stress(atoms), cpu.get_stress(atoms), relative)
        names += ["stress", "bias_stress"]
    for name in names:
        assert_close(getattr(gpu.prediction, name), getattr(cpu.prediction, name), relative)


@pytest.mark.parametrize("atoms", FRAMES, ids=IDS)
@pytest.mark.parametrize("separate", [False, True])
def test_biased_calculator(calculators, surrogates, atoms, separate):
    assert_same_bias(calculators, surrogates, atoms, separate=separate)


def test_the_lean_blocks_are_used(descriptors):
    assert [descriptor.network.lean for descriptor in descriptors] == [True, True]


def test_single_precision():
    with default_dtype("float32"):  # mace's calculator sets it for good
        single = both(tiny_mace(dtype="float32"), "float32")
        descriptors = [MACEDescriptor(calculator) for calculator in single]
        assert descriptors[1].network.lean
        surrogates = [prior_surrogate(descriptor) for descriptor in descriptors]
        for atoms in FRAMES:
            assert_same_bias(single, surrogates, atoms, 1e-3)


@pytest.mark.parametrize("first", BLOCKS)
def test_heads_elements_and_blocks(first):
    model = tiny_mace(("Cu", "Au"), heads=("one", "two"), first=first, second=first)
    found = both(model, head="two")
    atoms = copper(1, 0.1, repeat=(1, 1, 2))
    atoms.symbols[:3] = "Au"
    descriptors = [MACEDescriptor(calculator, components="all") for calculator in found]
    assert descriptors[1].network.lean
    assert_same_bias(found, [prior_surrogate(descriptor) for descriptor in descriptors], atoms)


def test_cut_to_elements():
    found = both(tiny_mace(("Cu", "Au", "Al"), seed=3))
    descriptors = [MACEDescriptor(calculator, elements=["Cu"]) for calculator in found]
    assert descriptors[1].elements == ["Cu"]
    assert_same_bias(found, [prior_surrogate(descriptor) for descriptor in descriptors], LARGE)


def test_the_model_of_a_calculator_stays_where_it_is(calculators):
    def place(descriptor):
        return next(descriptor.network.module.parameters()).device.type

    cpu, gpu = calculators
    assert MACEDescriptor(gpu)._full.module is gpu.models[0]
    there, back = MACEDescriptor(cpu, device="cuda"), MACEDescriptor(gpu, device="cpu")
    assert (place(there), place(back)) == ("cuda", "cpu")
    assert next(cpu.models[0].parameters()).device.type == "cpu"
    assert next(gpu.models[0].parameters()).device.type == "cuda"
    assert [there.serves(calculator) for calculator in calculators] == [False, True]
    assert [back.serves(calculator) for calculator in calculators] == [True, False]
    assert_close(there.compute(LARGE)[0].values, back.compute(LARGE)[0].values, 1e-10)


@pytest.mark.parametrize("price", [0.01, 1e3], ids=["tangents", "cotangents"])
def test_rows(monkeypatch, descriptors, price):
    monkeypatch.setattr(rows, "TANGENT_PRICE", price)
    expected, found = (d.compute(FRAMES, derivatives=True) for d in descriptors)
    for one, two in zip(found, expected, strict=True):
        for name in ("values", "jacobian", "strain"):
            assert_close(getattr(one, name), getattr(two, name), 1e-8)


def test_sketches(descriptors):
    expected, found = (d.sketch(FRAMES, 3, np.random.default_rng(0)) for d in descriptors)
    for one, two in zip(found, expected, strict=True):
        for ours, theirs in zip(vars(one).values(), vars(two).values(), strict=True):
            assert_close(ours, theirs, 1e-8)


def test_force_uncertainties_and_picks(surrogates):
    cpu, gpu = surrogates
    scales = np.ones(len(LARGE))
    expected, found = (ForceSearch()(s.descriptor, s.posterior, LARGE, scales) for s in surrogates)
    assert found.atom == expected.atom
    assert found.force_std == pytest.approx(expected.force_std, rel=1e-8)
    for options in ({}, {"force_rows": 4}):
        ours, theirs = (s.condition(LARGE, **options) for s in (gpu, cpu))
        assert ours.energy_std(FRAMES[0]) == pytest.approx(theirs.energy_std(FRAMES[0]), rel=1e-6)


def test_fit(surrogates, descriptors):
    fitted = fit_surrogate(copper_training(), descriptors[1], e0s="average")
    for atoms in FRAMES:
        assert fitted.energy(atoms) == pytest.approx(surrogates[0].energy(atoms), rel=1e-5)
        assert fitted.energy_std(atoms) == pytest.approx(surrogates[0].energy_std(atoms), rel=1e-3)


def test_walkers_in_lockstep(calculators, surrogates):
    """The same trajectories on both, checked by a trigger at every third step."""
    found = []
    for mlip, surrogate in zip(calculators, surrogates, strict=True):
        biased = [BiasedCalculator(mlip, surrogate, tau=0.3) for _ in range(4)]
        walkers = [
            run_walker(
                copper(seed, 0.05, repeat=(1, 1, 1 + seed % 2)),
                calculator,
                n_steps=7,
                temperature_K=300.0,
                rng=np.random.default_rng(seed),
                triggers=[RelativeForceTrigger(1e3)],
                guards=Guards(max_force=1e3),
                check_interval=3,
            )
            for seed, calculator in enumerate(biased)
        ]
        found.append(list(run_walkers(walkers, biased)))
    for expected, ours in zip(*found, strict=True):
        for number, step in ours.items():
            assert step.status == expected[number].status == "running"
            assert_close(step.atoms.positions, expected[number].atoms.positions, 1e-8)
            for one, two in zip(step.reports, expected[number].reports, strict=True):
                assert one.value == pytest.approx(two.value, rel=1e-6)


def test_saved_and_loaded(surrogates, tmp_path):
    save_model(tiny_mace(), tmp_path / "tiny.model")
    descriptor = MACEDescriptor(tmp_path / "tiny.model", device="cuda")
    assert descriptor.spec()["device"] == "cuda"
    assert descriptor_from_spec(descriptor.spec()).network.device.type == "cuda"
    replace(surrogates[0], descriptor=descriptor).save(tmp_path / "surrogate.npz")
    again = Surrogate.load(tmp_path / "surrogate.npz")
    assert again.descriptor.network.device.type == "cuda"
    assert again.energy_std(LARGE) == pytest.approx(surrogates[0].energy_std(LARGE), rel=1e-8)


def test_memory_is_given_back(calculators, surrogates):
    """No step keeps the graph of an earlier one."""
    biased = BiasedCalculator(calculators[1], surrogates[1], tau=0.3)
    atoms, held = LARGE.copy(), []
    for _ in range(4):
        atoms.positions[0, 0] += 1e-3
        biased.get_forces(atoms)
        held.append(torch.cuda.memory_allocated())
    assert held[3] == held[2] == held[1]
