"""The adapter to Julia, with recorded answers in the place of Julia.

No proof of Julia's numbers: the answers are values of our own linear ACE, see
helpers/julip_playback.py. What Julia itself gives is in the tests of the real thing beside this.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from helpers.ace_models import MODELS, structures
from helpers.julip_playback import Playback
from helpers.structures import silicon

from ase_bayesel import ACEDescriptor, Posterior, Surrogate
from ase_bayesel.campaign.build.models import build_descriptor
from ase_bayesel.campaign.config import JulipConfig
from ase_bayesel.descriptors import Descriptor, julip
from ase_bayesel.descriptors.julip import JulipCalculator, JulipDescriptor
from ase_bayesel.descriptors.julip.bridge import SOURCE, LiveBridge
from ase_bayesel.descriptors.julip.descriptor import boxed, probe
from ase_bayesel.errors import DescriptorError
from ase_bayesel.surrogate.design import Noise
from ase_bayesel.surrogate.exchange import in_functions_of


@pytest.fixture(params=["one element", "two elements"])
def name(request):
    return request.param


@pytest.fixture
def ours(name):
    return ACEDescriptor(*MODELS[name])


@pytest.fixture
def adapter(name):
    return JulipDescriptor(*MODELS[name], bridge=Playback(name))


def surrogates(ours, adapter, frames):
    std = ours.prior_std()
    mean = std * np.cos(1.0 + np.arange(len(std)))
    e0s = dict.fromkeys(ours.elements, -2.0)
    model = Surrogate(ours, Posterior(np.diag(1 / std), mean), e0s, Noise())
    return model, in_functions_of(model, adapter, frames)


def test_it_is_a_descriptor(adapter, ours):
    assert isinstance(adapter, Descriptor)
    assert adapter.n_features == ours.n_features
    np.testing.assert_allclose(np.sort(adapter.prior_std()), np.sort(ours.prior_std()))


def test_energies_forces_stress_and_uncertainties_are_ours(name, ours, adapter):
    frames = structures(MODELS[name][0])
    model, other = surrogates(ours, adapter, [*frames, probe(ours.elements, ours.cutoff)])
    model, other = model.condition(frames), other.condition(frames)
    for atoms in frames:
        assert other.energy(atoms) == pytest.approx(model.energy(atoms), rel=1e-12)
        expected, found = model.uncertainty(atoms), other.uncertainty(atoms)
        assert found.energy == pytest.approx(expected.energy, rel=1e-6)
        np.testing.assert_allclose(found.forces, expected.forces, rtol=1e-6)
        atoms.calc = model.calculator()
        forces, stress = atoms.get_forces(), atoms.get_stress() if atoms.pbc.all() else None
        atoms.calc = other.calculator()
        np.testing.assert_allclose(atoms.get_forces(), forces, atol=1e-12)
        if stress is not None:
            np.testing.assert_allclose(atoms.get_stress(), stress, atol=1e-12)


def test_design_rows_are_ours(name, ours, adapter):
    frames = structures(MODELS[name][0])
    model, other = surrogates(ours, adapter, [*frames, probe(ours.elements, ours.cutoff)])
    for atoms in frames:
        rows, others = model.rows(atoms), other.rows(atoms)
        np.testing.assert_allclose(
            others @ other.posterior.mean, rows @ model.posterior.mean, atol=1e-10
        )
        sizes = np.sort(abs(rows), axis=1), np.sort(abs(others), axis=1)
        np.testing.assert_allclose(*sizes, rtol=1e-7, atol=1e-10)


def test_one_evaluation_serves_gradients(name, adapter):
    atoms = structures(MODELS[name][0])[0]
    phi, pullback = adapter.linearize(atoms)
    features = adapter.compute([atoms], derivatives=True)[0]
    np.testing.assert_array_equal(phi, features.total)
    np.testing.assert_array_equal(pullback.features().jacobian, features.jacobian)
    cotangent = np.cos(np.arange(len(phi)))
    gradient = adapter.vjp(atoms, cotangent)
    np.testing.assert_array_equal(gradient.strain, cotangent @ features.strain)
    with pytest.raises(DescriptorError, match="cotangent: expected shape"):
        pullback(cotangent[1:])
    with pytest.raises(DescriptorError, match="no bias over a region"):
        adapter.linearize(atoms, np.ones((1, len(atoms))))


def test_spec_holds_the_signs(name, adapter):
    spec = json.loads(json.dumps(adapter.spec()))
    again = JulipDescriptor.from_spec(spec, adapter.n_features, Playback(name))
    assert again.spec() == spec

    class Flipped(Playback):
        def basis_values(self, basis, atoms):
            return super().basis_values(basis, atoms) * np.where(
                np.arange(len(self.penalty(""))) == 20, -1, 1
            )

    with pytest.raises(DescriptorError, match="other signs or another order"):
        JulipDescriptor.from_spec(spec, None, Flipped(name))
    with pytest.raises(DescriptorError, match="n_features: "):
        JulipDescriptor.from_spec(spec, 3, Playback(name))
    with pytest.raises(DescriptorError, match="convention: this version evaluates"):
        JulipDescriptor.from_spec({**spec, "convention": "ACE2"}, None, Playback(name))


def test_what_it_refuses(adapter):
    with pytest.raises(DescriptorError, match="element 'Pb' is not one of"):
        adapter.compute([bulk("Pb")])
    atoms = probe(adapter.elements, adapter.cutoff)
    atoms.positions[0] = np.nan
    with pytest.raises(DescriptorError, match="not finite"):
        adapter.compute([atoms])

    class Transposed(Playback):
        def basis_forces(self, basis, atoms):
            return super().basis_forces(basis, atoms).swapaxes(0, 1)

    wrong = JulipDescriptor(*MODELS["one element"], bridge=Transposed("one element"))
    with pytest.raises(DescriptorError, match="basis_forces: gives the shape"):
        wrong.compute(structures(["Si"]), derivatives=True)


def test_calculator(name, ours, adapter, tmp_path):
    frames = structures(MODELS[name][0])
    _, other = surrogates(ours, adapter, [*frames, probe(ours.elements, ours.cutoff)])
    np.savetxt(tmp_path / "model.json", other.posterior.mean)
    calculator = JulipCalculator(tmp_path / "model.json", Playback(name))
    for atoms in frames:
        expected = other.calculator()
        atoms.calc = calculator
        energy = expected.get_potential_energy(atoms) - other.baseline(atoms)
        assert atoms.get_potential_energy() == pytest.approx(energy)
        np.testing.assert_allclose(atoms.get_forces(), expected.get_forces(atoms), atol=1e-12)
        if atoms.pbc.all():
            np.testing.assert_allclose(atoms.get_stress(), expected.get_stress(atoms), atol=1e-12)
    with pytest.raises(DescriptorError, match="no such file"):
        JulipCalculator(tmp_path / "other.json", Playback(name))


def test_fit_asks_with_the_smoothness_prior(adapter):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(30, adapter.n_features)) / adapter.prior_std()
    truth = adapter.prior_std() * rng.normal(size=adapter.n_features)
    found = adapter.acefit(1e3 * rows, 1e3 * rows @ truth)
    np.testing.assert_allclose(rows @ found, rows @ truth, atol=1e-3)


@pytest.mark.parametrize("pbc", [(0, 0, 0), (1, 1, 0), (1, 1, 1)])
def test_boxes(pbc):
    atoms = silicon()
    atoms.pbc = pbc
    if not any(pbc):
        atoms.cell = None
    out = boxed(atoms, 5.0)
    assert out.get_volume() > 0
    np.testing.assert_allclose(
        out.get_all_distances(mic=False), atoms.get_all_distances(mic=False), atol=1e-12
    )
    if all(pbc):
        np.testing.assert_array_equal(out.positions, atoms.positions)


def test_config_builds_it(monkeypatch):
    monkeypatch.setattr(julip.descriptor, "live_bridge", lambda: Playback("one element"))
    elements, order, totaldegree = MODELS["one element"]

    class Config:
        descriptor = JulipConfig(tuple(elements), order, totaldegree)
        potential = None

    assert build_descriptor(Config, None).n_features == ACEDescriptor(elements, 3, 8).n_features


def test_without_juliacall(monkeypatch):
    monkeypatch.setitem(sys.modules, "juliacall", None)
    with pytest.raises(DescriptorError, match="juliacall is not installed"):
        LiveBridge()


class FakeJulia:
    """juliacall's Main: the only way to see what is asked of it where there is no Julia."""

    def __init__(self, failing=False):
        self.asked, self.failing = [], failing
        self.BayeselBridge = self

    def include(self, path):
        assert Path(path) == SOURCE

    def __getattr__(self, name):
        def answer(*arguments):
            if self.failing:
                raise RuntimeError("DomainError")
            self.asked.append((name, arguments))
            return (1.0, np.zeros((2, 3)), np.eye(3)) if name == "evaluate" else np.ones(3)

        return answer


def test_what_goes_to_julia(monkeypatch):
    julia = FakeJulia()
    monkeypatch.setitem(sys.modules, "juliacall", type("juliacall", (), {"Main": julia}))
    bridge = LiveBridge()
    bridge.make_basis(["Si", "O"], 3, 8, 5.0, {("Si", "O"): 1.6})
    atoms = Atoms("SiO", [[0, 0, 0], [0, 0, 1.6]], cell=[9, 9, 9])
    bridge.basis_forces("basis", atoms)
    assert bridge.evaluate("model", atoms).energy == 1.0
    made, forces, evaluated = julia.asked
    assert made[0] == "make_basis"
    assert made[1][:5] == ("Si,O", 3, 8, 5.0, "Si-O")
    assert forces[1][0] == "basis"
    np.testing.assert_array_equal(forces[1][1], atoms.positions)
    assert evaluated[0] == "evaluate"
    julia.failing = True
    with pytest.raises(DescriptorError, match=r"Julia: penalty: .*DomainError"):
        bridge.penalty("basis")


@pytest.mark.optional("tree_sitter", "tree_sitter_julia")
def test_the_julia_file_parses():
    import tree_sitter
    import tree_sitter_julia

    parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_julia.language()))
    tree = parser.parse(SOURCE.read_bytes())
    assert not tree.root_node.has_error
    assert parser.parse(b"function f(x\nend").root_node.has_error


def test_the_julia_file_has_what_the_bridge_asks():
    text = SOURCE.read_text()
    for function in ("make_basis", "basis_values", "basis_forces", "basis_virial", "load_model"):
        assert f"\nfunction {function}(" in text
    assert "\nfunction evaluate(" in text
    assert "\nfunction fit(" in text
    assert "\npenalty(basis) = " in text
