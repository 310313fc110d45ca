"""Properties of crystals against direct calculations, ASE's phonons, and other members."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.dft.kpoints import monkhorst_pack
from ase.phonons import Phonons
from ase.units import GPa, _amu, _e
from helpers.structures import copper as copper_cell
from helpers.structures import strained
from hypothesis import given
from hypothesis import strategies as st

from ase_bayesel import select
from ase_bayesel.errors import ValidationError
from ase_bayesel.validation import (
    EnergyFunctional,
    Facet,
    Quantity,
    build_slab,
    crystal_quantities,
    draw_bands,
    elastic_constants,
    evaluate,
    force_constants,
    members,
    relax,
    surface_functional,
)

COPPER = Facet((1, 1, 1), 4)


class Springs(Calculator):
    """Harmonic bonds of length ``length`` (A) to atoms within 1.2 lengths; energy and forces."""

    implemented_properties = ["energy", "forces"]

    def __init__(self, stiffness: float, length: float) -> None:
        super().__init__()
        self.stiffness, self.length = stiffness, length

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        # one dimension: images along x only
        x, period = self.atoms.positions[:, 0], self.atoms.cell[0, 0]
        energy, forces = 0.0, np.zeros((len(x), 3))
        for i in range(len(x)):
            for image in (-1, 0, 1):
                for j in range(len(x)):
                    d = x[j] + image * period - x[i]
                    if 1e-6 < abs(d) < 1.2 * self.length:
                        stretch = abs(d) - self.length
                        energy += 0.25 * self.stiffness * stretch**2
                        forces[i, 0] += self.stiffness * stretch * np.sign(d)
        self.results = {"energy": energy, "forces": forces}


@pytest.fixture(scope="module")
def copper():
    return relax(bulk("Cu"), EMT(), cell=True)


@pytest.fixture(scope="module")
def ace_copper(cu_surrogate):
    return relax(bulk("Cu"), cu_surrogate.calculator(), cell=True)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


# lattice and elastic constants


def named(quantities):
    return {quantity.name: quantity.value for quantity in quantities}


def energy_curvature(crystal, first, second, step=2e-3):
    """d^2 E / d e_i d e_j / V by differences of energies."""

    def energy(a, b):
        moved = strained(strained(crystal, first, a), second, b)
        return EMT().get_potential_energy(moved)

    corners = [sa * sb * energy(sa * step, sb * step) for sa in (1, -1) for sb in (1, -1)]
    return sum(corners) / (4 * step**2) / crystal.get_volume()


@pytest.mark.parametrize(("i", "j"), [(0, 1), (3, 3), (0, 0)])
def test_elastic_constants_are_second_derivatives_of_the_energy(copper, i, j):
    stiffness = elastic_constants(copper, EMT())
    if i != j:
        assert stiffness[i, j] == pytest.approx(energy_curvature(copper, i, j), rel=2e-3)
        return
    energies = [EMT().get_potential_energy(strained(copper, i, s)) for s in (-2e-3, 2e-3)]
    curvature = (sum(energies) - 2 * copper.get_potential_energy()) / 4e-6 / copper.get_volume()
    assert stiffness[i, i] == pytest.approx(curvature, rel=2e-3)


def test_atoms_relax_in_the_strained_crystal():
    """The basis of an hcp crystal shifts under strain in the plane, which softens it."""
    crystal = relax(bulk("Cu", "hcp", a=2.55, c=4.16), EMT(), cell=True)
    moved = [strained(crystal, 0, s) for s in (-2e-3, 2e-3)]

    def curvature(frames):
        energies = [EMT().get_potential_energy(atoms) for atoms in frames]
        return (sum(energies) - 2 * crystal.get_potential_energy()) / 4e-6 / crystal.get_volume()

    stiffness = elastic_constants(crystal, EMT())[0, 0]
    assert stiffness == pytest.approx(curvature([relax(atoms, EMT()) for atoms in moved]), rel=2e-3)
    assert curvature(moved) > 1.02 * stiffness


def test_cubic_crystal(copper):
    found = named(crystal_quantities(bulk("Cu"), EMT()))
    stiffness = elastic_constants(copper, EMT()) / GPa
    assert found["a"] == pytest.approx(np.cbrt(4 * copper.get_volume()), rel=1e-6)
    assert found["C11"] == pytest.approx(stiffness[1, 1], rel=1e-6)
    assert found["bulk modulus"] == pytest.approx((found["C11"] + 2 * found["C12"]) / 3)


def test_bulk_modulus_is_the_slope_of_the_pressure(copper):
    a, step = copper.cell.get_bravais_lattice().a, 1e-4
    pressures = []
    for scale in (1 - step, 1 + step):
        atoms = bulk("Cu", a=a * scale)
        atoms.calc = EMT()
        pressures.append(-atoms.get_stress()[:3].mean())
    modulus = (pressures[0] - pressures[1]) / (6 * step) / GPa
    found = named(crystal_quantities(copper, EMT()))
    assert found["bulk modulus"] == pytest.approx(modulus, rel=1e-4)


def test_other_lattices_have_all_their_constants():
    found = crystal_quantities(bulk("Cu", "hcp", a=2.55, c=4.16), EMT())
    units = {quantity.name: quantity.unit for quantity in found}
    assert list(units)[:2] == ["a", "c"]
    assert len(found) == 2 + 21 + 1
    assert units["a"] == units["c"] == "A"
    values = named(found)
    assert values["C66"] == pytest.approx((values["C11"] - values["C12"]) / 2, rel=1e-2)


def test_lattice_constants_alone():
    assert [q.name for q in crystal_quantities(bulk("Cu"), EMT(), elastic=False)] == ["a"]


def test_turned_cubic_crystal_is_refused():
    turned = bulk("Cu", a=3.6)
    turned.rotate(30, "z", rotate_cell=True)
    with pytest.raises(ValidationError, match="along x, y, z"):
        crystal_quantities(turned, EMT())
    with pytest.raises(ValidationError, match="along x, y, z"):
        build_slab(turned, COPPER)


def test_what_does_not_come_to_rest_is_named(monkeypatch):
    monkeypatch.setattr("ase_bayesel.validation.crystal.MAX_STEPS", 1)
    with pytest.raises(ValidationError, match="Cu: not at rest"):
        relax(bulk("Cu", a=3.2), EMT(), cell=True)


def test_relax_leaves_its_argument():
    atoms = bulk("Cu", a=3.5)
    relax(atoms, EMT(), cell=True)
    assert atoms == bulk("Cu", a=3.5)
    assert atoms.calc is None


# surfaces


def test_surface_energy_against_a_direct_calculation(copper, rng):
    functional = surface_functional(copper, EMT(), COPPER, rng)
    a = copper.cell.get_bravais_lattice().a
    slab = fcc111("Cu", (1, 1, 4), a=a, vacuum=5.0)
    slab = relax(slab, EMT(), 3e-3)
    area = a**2 * np.sqrt(3) / 4
    direct = (slab.get_potential_energy() - 4 * copper.get_potential_energy()) / 2 / area
    assert functional.value(EMT()) == pytest.approx(direct, rel=1e-5)


@given(
    miller=st.tuples(*[st.integers(-3, 3)] * 3).filter(any),
    cubic=st.booleans(),
    layers=st.integers(1, 3),
)
def test_slabs_are_bulk_with_a_gap(miller, cubic, layers):
    crystal = bulk("Si", a=5.43, cubic=cubic)
    slab = build_slab(crystal, Facet(miller, layers, vacuum=7.0))
    assert len(slab) == layers * len(crystal)
    assert slab.pbc.all()
    heights = np.sort(slab.positions[:, 2])
    assert slab.cell[2, 2] - (heights[-1] - heights[0]) == pytest.approx(7.0)
    area = np.linalg.norm(np.cross(slab.cell[0], slab.cell[1]))
    indices = np.array(miller) // np.gcd.reduce(miller)
    # the area of a lattice plane's cell is volume over spacing; primitive where possible
    spacing = crystal.get_volume() / area
    period = 5.43 / np.linalg.norm(indices)
    halves = 2 * spacing / period
    assert halves == pytest.approx(round(halves))
    assert round(halves) in ((2,) if cubic else (1, 2))


def test_diamond_111_is_cut_through_single_bonds():
    slab = build_slab(bulk("Si", a=5.43), Facet((1, 1, 1), 3))
    bonds = slab.repeat((3, 3, 1)).get_all_distances(mic=True)
    neighbours = ((bonds > 0.1) & (bonds < 2.5)).sum(axis=1)
    assert neighbours.min() == 3
    assert (neighbours == 3).sum() == 2 * 9


def test_rattle_comes_from_the_generator(copper):
    facet = replace(COPPER, rattle=0.05)
    slabs = [
        surface_functional(copper, EMT(), facet, np.random.default_rng(seed)).frames[0]
        for seed in (1, 1, 2)
    ]
    assert slabs[0] == slabs[1] != slabs[2]


def test_surface_std_is_that_of_members_at_the_same_structures(cu_surrogate, ace_copper, rng):
    functional = surface_functional(ace_copper, cu_surrogate.calculator(), COPPER, rng)
    sampled = [functional.value(m.calculator()) for m in members(cu_surrogate, 200, rng)]
    assert functional.std(cu_surrogate) == pytest.approx(np.std(sampled), rel=0.15)


def test_surface_members_relax_to_what_the_functional_says(cu_surrogate, ace_copper, rng):
    """Lattice constant and slab relaxed anew for each member, against the mean's structures."""
    functional = surface_functional(ace_copper, cu_surrogate.calculator(), COPPER, rng)
    at_the_mean, relaxed = [], []
    for member in members(cu_surrogate, 6, rng):
        calculator = member.calculator()
        crystal = relax(ace_copper, calculator, cell=True)
        at_the_mean.append(functional.value(calculator))
        relaxed.append(surface_functional(crystal, calculator, COPPER, rng).value(calculator))
    assert np.std(np.subtract(relaxed, at_the_mean)) < 0.1 * functional.std(cu_surrogate)


def test_functional_is_a_target_of_selection(cu_surrogate, ace_copper, rng):
    """The first c-optimal pick leaves the least variance of the surface energy."""
    functional = surface_functional(ace_copper, cu_surrogate.calculator(), COPPER, rng)
    pool = [copper_cell(seed) for seed in range(6)]
    found = select(
        pool,
        1,
        "c_optimal",
        core=cu_surrogate,
        properties=["energy"],
        targets=functional.frames,
        coefficients=functional.coefficients,
    )
    energies = replace(cu_surrogate, properties=("energy",))
    left = [functional.std(energies.condition(atoms)) for atoms in pool]
    assert found.indices[0] == np.argmin(left)


def test_functional_is_linear_in_energies():
    frames = (bulk("Cu"), bulk("Cu", a=3.7))
    energies = [EMT().get_potential_energy(atoms) for atoms in frames]
    value = EnergyFunctional(frames, (2.0, -0.5)).value(EMT())
    assert value == pytest.approx(2.0 * energies[0] - 0.5 * energies[1])


# members


def test_spread_is_that_of_members_recomputed_one_by_one(cu_surrogate):
    check = partial(crystal_quantities, bulk("Cu"), elastic=False)
    found = evaluate(check, cu_surrogate, 8, np.random.default_rng(3))
    assert found[0].value == check(cu_surrogate.calculator())[0].value
    lattice = []
    for coefficients in cu_surrogate.posterior.sample(8, np.random.default_rng(3)):
        posterior = replace(cu_surrogate.posterior, mean=coefficients)
        calculator = replace(cu_surrogate, posterior=posterior).calculator()
        lattice.append(relax(bulk("Cu"), calculator, cell=True).cell.get_bravais_lattice().a)
    assert found[0].std == pytest.approx(np.std(lattice, ddof=1))


def test_lattice_std_is_the_linear_response(cu_surrogate, ace_copper):
    """At rest p(a, c) = 0, so da = -dp / (dp/da); the pressure is linear in c."""
    check = partial(crystal_quantities, bulk("Cu"), elastic=False)
    found = evaluate(check, cu_surrogate, 10, np.random.default_rng(0))[0].std
    a, step = ace_copper.cell.get_bravais_lattice().a, 1e-4
    stresses = [
        cu_surrogate.calculator().get_stress(bulk("Cu", a=a + s))[:3].mean() for s in (step, -step)
    ]
    slope = (stresses[0] - stresses[1]) / (2 * step)
    strain = cu_surrogate.descriptor.compute([ace_copper], derivatives=True)[0].strain
    row = strain[:, :3].mean(axis=1) / ace_copper.get_volume()
    sampled = cu_surrogate.posterior.sample(10, np.random.default_rng(0)) @ row
    assert found == pytest.approx(np.std(sampled, ddof=1) / slope, rel=0.02)


def test_a_member_that_fails_is_named(cu_surrogate, rng):
    calls = []

    def check(calculator):
        calls.append(calculator)
        if len(calls) == 3:
            raise ValidationError("not at rest")
        return [Quantity("x", 1.0, "eV")]

    with pytest.raises(ValidationError, match="member 2 of 4: not at rest"):
        evaluate(check, cu_surrogate, 4, rng)


def test_a_calculator_has_no_error_bars(rng):
    found = evaluate(lambda calculator: [Quantity("x", 1.0, "eV")], EMT(), 5, rng)
    assert found == (Quantity("x", 1.0, "eV"),)


# phonons


def test_chain_of_springs(rng):
    """omega = 2 sqrt(k / m) |sin(q a / 2)|."""
    chain = Atoms("Ar", cell=[2.0, 8.0, 8.0], pbc=True)
    found = force_constants(chain, Springs(3.0, 2.0), (8, 1, 1), 0, rng)
    q = np.linspace(0, 0.5, 9)
    values = found.frequencies(np.outer(q, [1, 0, 0])).values
    omega = 2 * np.sqrt(3.0 * _e * 1e20 / (chain.get_masses()[0] * _amu)) * np.sin(np.pi * q)
    np.testing.assert_allclose(values[:, 2], omega / (2e12 * np.pi), atol=1e-4)
    np.testing.assert_allclose(values[:, :2], 0.0, atol=1e-4)
    assert found.frequencies([[0.1, 0, 0]]).std is None


def test_phonons_of_copper_against_ase(copper, rng, tmp_path):
    found = force_constants(copper, EMT(), (5, 5, 5), 0, rng)
    phonons = Phonons(copper, EMT(), supercell=(5, 5, 5), delta=0.01, name=str(tmp_path / "ph"))
    phonons.run()
    phonons.read(acoustic=True)
    commensurate = monkhorst_pack((5, 5, 5))[::13]
    expected = phonons.band_structure(commensurate) * _e / 6.62607015e-34 / 1e12
    np.testing.assert_allclose(found.frequencies(commensurate).values, expected, atol=0.02)


def test_phonon_members_are_those_of_calculators(cu_surrogate, ace_copper):
    """Shared forward passes against one calculator and one phonopy run a member."""
    found = force_constants(ace_copper, cu_surrogate, (3, 3, 3), 3, np.random.default_rng(5))
    q = [[0.5, 0.0, 0.5], [0.3, 0.1, 0.2]]
    each = [
        force_constants(ace_copper, member.calculator(), (3, 3, 3), 0, np.random.default_rng(0))
        for member in members(cu_surrogate, 3, np.random.default_rng(5))
    ]
    np.testing.assert_allclose(found.members, [one.mean for one in each], atol=1e-8)
    std = np.std([one.frequencies(q).values for one in each], axis=0, ddof=1)
    np.testing.assert_allclose(found.frequencies(q).std, std, atol=1e-8)
    mean = force_constants(ace_copper, cu_surrogate.calculator(), (3, 3, 3), 0, None)
    np.testing.assert_allclose(found.mean, mean.mean, atol=1e-10)


def test_bands_are_drawn(cu_surrogate, ace_copper, rng):
    constants = force_constants(ace_copper, cu_surrogate, (2, 2, 2), 3, rng)
    path = ace_copper.cell.bandpath("GX,KGL", npoints=20)
    figure = draw_bands(path, constants.frequencies(path.kpts))
    spread = figure.axes[1]
    assert [t.get_text() for t in spread.get_xticklabels()] == ["Γ", "X|K", "Γ", "L"]
    drawn = sum(len(line.get_xdata()) for line in spread.lines if len(line.get_xdata()) > 2)
    assert drawn == 3 * 20
    assert len(draw_bands(path, replace(constants.frequencies(path.kpts), std=None)).axes) == 1
