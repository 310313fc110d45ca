"""The torch-sim model against `BiasedCalculator`."""

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms, units
from ase.md.verlet import VelocityVerlet
from ase.stress import voigt_6_to_full_3x3_stress
from helpers.differences import assert_close
from helpers.structures import cluster, copper, copper_training, silicon, with_pbc

from ase_bayesel import (
    BiasedCalculator,
    Deviation,
    MACEDescriptor,
    Posterior,
    Surrogate,
    Variance,
    fit_surrogate,
)
from ase_bayesel.errors import DescriptorError, StructureError
from ase_bayesel.surrogate.design import Noise

pytest.importorskip("mace")
pytest.importorskip("torch_sim")

import torch
import torch_sim
from helpers.mace_models import DEVICES, mace_calculator, needs_cuda, tiny_mace
from torch_sim.models.interface import validate_model_outputs

from ase_bayesel.bias.torchsim import BiasedModel
from ase_bayesel.bias.torchsim_releases import (
    PER_AXIS,
    MDState,
    periodicity,
)

pytestmark = pytest.mark.optional("mace", "torch_sim")

PERIODIC = [copper(21, 0.1), copper(22, 0.1, a=3.7, repeat=(1, 1, 2)), Atoms("Cu", cell=[2.5] * 3)]
PERIODIC[2].pbc = True
MOLECULES = [cluster("Cu5", 4), Atoms("Cu2", [[0, 0, 0], [0.3, 0.2, 2.3]]), Atoms("Cu")]
TAU = 0.7


@pytest.fixture(scope="module")
def network():
    return tiny_mace()


@pytest.fixture(scope="module")
def surrogate(network):
    return fit_surrogate(copper_training(), MACEDescriptor(mace_calculator(network)), e0s="average")


def prior_surrogate(calculator, **options):
    descriptor = MACEDescriptor(calculator, **options)
    return Surrogate(descriptor, Posterior.isotropic(descriptor.n_features, 0.3), {}, Noise())


def state_of(frames, dtype=torch.float64, device="cpu"):
    return torch_sim.io.atoms_to_state(frames, torch.device(device), dtype)


def assert_equals_calculator(model, frames, calculator, relative=1e-8):
    state = state_of(frames, model.dtype, model.device)
    found = {name: value.cpu().numpy() for name, value in model(state).items()}
    ends = np.cumsum([len(atoms) for atoms in frames])
    for k, (atoms, end) in enumerate(zip(frames, ends, strict=True)):
        energy = calculator.get_potential_energy(atoms)
        assert found["energy"][k] == pytest.approx(energy, rel=relative)
        energy_std = calculator.prediction.energy_std
        assert found["energy_std"][k] == pytest.approx(energy_std, rel=relative)
        assert_close(
            found["forces"][end - len(atoms) : end], calculator.get_forces(atoms), relative
        )
        if "stress" in found:
            stress = voigt_6_to_full_3x3_stress(calculator.get_stress(atoms))
            assert_close(found["stress"][k], stress, relative)


def test_equals_the_calculator_on_periodic_systems(network, surrogate):
    calculator = BiasedCalculator(mace_calculator(network), surrogate, tau=TAU)
    assert_equals_calculator(BiasedModel(surrogate, TAU), PERIODIC, calculator)


def test_equals_the_calculator_with_the_variance(network, surrogate):
    calculator = BiasedCalculator(mace_calculator(network), surrogate, tau=3.0, bias=Variance())
    assert_equals_calculator(BiasedModel(surrogate, 3.0, bias=Variance()), PERIODIC, calculator)


@pytest.mark.parametrize("bias", [Deviation("Cu"), Variance(energy_limit=0.1)])
def test_biases_that_need_the_calculator(surrogate, bias):
    with pytest.raises(DescriptorError, match="BiasedCalculator"):
        BiasedModel(surrogate, TAU, bias=bias)


def test_equals_the_calculator_on_molecules(network, surrogate):
    calculator = BiasedCalculator(mace_calculator(network), surrogate, tau=TAU)
    model = BiasedModel(surrogate, TAU, compute_stress=False)
    assert_equals_calculator(model, MOLECULES, calculator)
    with pytest.raises(DescriptorError, match="compute_stress=False"):
        BiasedModel(surrogate, TAU)(state_of(MOLECULES))


@pytest.mark.parametrize(
    ("heads", "options"),
    [
        (("one", "two"), {"head": "two"}),
        (("Default",), {"elements": ["Au", "Cu"]}),
        (("Default",), {"components": "all", "num_layers": 1}),
    ],
    ids=["heads", "cut", "all components"],
)
def test_several_elements(heads, options):
    calculator = mace_calculator(tiny_mace(("Cu", "Au", "Al"), heads=heads), head=heads[-1])
    frames = [copper(1, 0.1), copper(2, 0.1, a=3.8)]
    frames[1].symbols[:2] = "Au"
    surrogate = prior_surrogate(calculator, **options)
    biased = BiasedCalculator(calculator, surrogate, tau=TAU)
    assert_equals_calculator(BiasedModel(surrogate, TAU), frames, biased)


@pytest.mark.parametrize("device", DEVICES)
def test_single_precision_with_a_posterior_in_double(surrogate, device):
    calculator = mace_calculator(tiny_mace(dtype="float32"), "float32")
    single = replace(surrogate, descriptor=MACEDescriptor(calculator))
    on_device = replace(single, descriptor=MACEDescriptor(calculator, device=device))
    model = BiasedModel(on_device, TAU)
    assert (model.dtype, model.device.type) == (torch.float32, device)
    out = model(state_of(PERIODIC, device=device))
    assert all(value.dtype == torch.float32 for value in out.values())
    biased = BiasedCalculator(calculator, single, tau=TAU)
    assert_equals_calculator(model, PERIODIC, biased, 1e-3)


def test_a_new_surrogate_and_tau_count_at_once(network, surrogate):
    model = BiasedModel(surrogate, 0.0)
    plain = mace_calculator(network)
    assert_close(model(state_of(PERIODIC))["forces"][:4], plain.get_forces(PERIODIC[0]), 1e-10)
    model.tau, model.surrogate = TAU, surrogate.condition(PERIODIC[0])
    calculator = BiasedCalculator(plain, model.surrogate, tau=TAU)
    assert_equals_calculator(model, PERIODIC, calculator)


def test_the_state_is_left_alone_and_may_be_a_dict(surrogate):
    state = state_of(PERIODIC)
    before = {name: getattr(state, name).clone() for name in ("positions", "cell", "system_idx")}
    model = BiasedModel(surrogate, TAU)
    found = model(state)
    assert not state.positions.requires_grad
    for name, tensor in before.items():
        assert torch.equal(getattr(state, name), tensor)
    names = ("positions", "cell", "pbc", "atomic_numbers", "system_idx")
    again = model({name: getattr(state, name) for name in names})
    assert torch.equal(found["forces"], again["forces"])


def test_torch_sims_own_validation():
    """It asks for a molecule too, which has no stress."""
    calculator = mace_calculator(tiny_mace(("H", "C", "Mg", "Si", "Fe")))
    model = BiasedModel(prior_surrogate(calculator), TAU, compute_stress=False)
    validate_model_outputs(model, torch.device("cpu"), torch.float64)


def test_each_system_has_a_tau(network, surrogate):
    frames, taus = PERIODIC[:2], [0.0, TAU]
    found = BiasedModel(surrogate, torch.tensor(taus, dtype=torch.float64))(state_of(frames))
    for k, (atoms, tau) in enumerate(zip(frames, taus, strict=True)):
        alone = BiasedModel(surrogate, tau)(state_of([atoms]))
        assert_close(found["forces"].split(list(map(len, frames)))[k], alone["forces"], 1e-10)
        assert float(found["energy"][k]) == pytest.approx(float(alone["energy"][0]))


def test_periodicity_along_some_axes(network, surrogate):
    slab = with_pbc(copper(24, 0.1), (True, True, False))
    if not PER_AXIS:
        with pytest.raises(StructureError, match=r"torch-sim 0\.6"):
            periodicity(slab.pbc)
        return
    calculator = BiasedCalculator(mace_calculator(network), surrogate, tau=TAU)
    model = BiasedModel(surrogate, TAU, compute_stress=False)
    assert_equals_calculator(model, [slab], calculator)
    with pytest.raises(DescriptorError, match="compute_stress=False"):
        BiasedModel(surrogate, TAU)(state_of([slab]))


def own_verlet(model, dt):
    """A step of torch-sim's velocity Verlet, as either release has it."""
    from torch_sim import integrators

    if PER_AXIS:
        return lambda state: integrators.nve_step(state, model, dt=dt)
    return integrators.nve(model, dt=dt, kT=torch.zeros_like(dt))[1]


@pytest.mark.parametrize("device", DEVICES)
def test_trajectory_equals_that_of_ase(network, surrogate, device):
    """Velocity Verlet, two unequal systems in one batch; torch-sim wraps, so differences count."""
    frames = [copper(1, 0.05), copper(2, 0.05, repeat=(1, 1, 2))]
    rng, timestep, n_steps = np.random.default_rng(0), 2.0 * units.fs, 40
    for atoms in frames:
        atoms.set_momenta(rng.normal(0, 1.5, (len(atoms), 3)))
    calculator = BiasedCalculator(mace_calculator(network), surrogate, tau=TAU)
    on_device = MACEDescriptor(mace_calculator(network), device=device)
    model = BiasedModel(replace(surrogate, descriptor=on_device), TAU)
    state = state_of(frames, device=device)
    dt = torch.tensor(timestep, dtype=torch.float64, device=device)
    momenta = np.concatenate([atoms.get_momenta() for atoms in frames])
    found = model(state)
    names = ("positions", "masses", "cell", "pbc", "atomic_numbers", "system_idx")
    state = MDState(
        **{name: getattr(state, name) for name in names},
        momenta=torch.tensor(momenta, device=device),
        energy=found["energy"],
        forces=found["forces"],
    )
    step = own_verlet(model, dt)
    for _ in range(n_steps):
        state = step(state)
    for atoms, ours in zip(frames, state.split(), strict=True):
        before = atoms.positions.copy()
        atoms.calc = calculator
        VelocityVerlet(atoms, timestep).run(n_steps)
        assert_close(ours.momenta.cpu().numpy(), atoms.get_momenta(), 1e-8)
        moved = ours.positions.cpu().numpy() - atoms.positions
        moved -= np.round(moved @ np.linalg.inv(atoms.cell)) @ atoms.cell
        assert np.abs(moved).max() < 1e-8
        assert np.abs(atoms.positions - before).max() > 0.1


def test_what_it_cannot_use(surrogate, cu_surrogate):
    with pytest.raises(DescriptorError, match="MACEDescriptor"):
        BiasedModel(cu_surrogate, TAU)
    with pytest.raises(DescriptorError, match="atomic number 14"):
        BiasedModel(surrogate, TAU)(state_of([silicon()]))


@pytest.mark.gpu
@needs_cuda
def test_cuda(network, surrogate):
    on_gpu = MACEDescriptor(mace_calculator(network), device="cuda")
    model = BiasedModel(replace(surrogate, descriptor=on_gpu), TAU)
    state = torch_sim.io.atoms_to_state(PERIODIC, torch.device("cuda"), torch.float64)
    expected = BiasedModel(surrogate, TAU)(state_of(PERIODIC))
    for name, value in model(state).items():
        assert value.device.type == "cuda"
        assert_close(value.cpu().numpy(), expected[name].numpy(), 1e-8)


def test_any_adapter(tmp_path):
    """An adapter that knows nothing of torch-sim gets the systems as ASE structures."""
    from helpers.adapter_example import PairNetDescriptor, made_example

    descriptor = PairNetDescriptor(str(made_example(tmp_path) / "pairnet.pt"))
    prior = Posterior.isotropic(descriptor.n_features, 0.1)
    surrogate = Surrogate(descriptor, prior, {}, Noise())
    model = BiasedModel(surrogate, tau=0.5)
    out = model(torch_sim.io.atoms_to_state(PERIODIC[:2], torch.device("cpu"), torch.float64))
    biased, first = BiasedCalculator(descriptor.calculator(), surrogate, tau=0.5), 0
    for k, atoms in enumerate(PERIODIC[:2]):
        assert float(out["energy"][k]) == pytest.approx(biased.get_potential_energy(atoms))
        rows = slice(first, first + len(atoms))
        assert_close(out["forces"][rows].numpy(), biased.get_forces(atoms), 1e-9)
        stress = voigt_6_to_full_3x3_stress(biased.get_stress(atoms))
        assert_close(out["stress"][k].numpy(), stress, 1e-9)
        first += len(atoms)
