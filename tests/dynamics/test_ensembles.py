from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, fcc111
from ase.constraints import (
    FixAtoms,
    FixBondLengths,
    FixCartesian,
    FixCom,
    FixedLine,
    FixedPlane,
    FixSymmetry,
    Hookean,
)
from helpers.lennard_jones import FixedNeighbours, argon, block_average, moving
from helpers.structures import copper

from ase_bayesel import NPT, NVE, BiasedCalculator, Bussi, Langevin, NoseHooverChain
from ase_bayesel.dynamics.ensembles import (
    IntegratorStart,
    bring_to_rest,
    check_ensemble,
    conserved_directions,
    degrees_of_freedom,
)
from ase_bayesel.errors import StructureError

T = 30.0
PRESSURE = 0.05
FIXED_CELL = [NVE(), Langevin(0.002), Bussi(500.0), NoseHooverChain(300.0)]
BAROSTATS = [
    NPT("volume", thermostat_fs=300.0),
    NPT("axes", thermostat_fs=300.0),
    NPT("axes", (False, False, True), thermostat_fs=300.0),
    NPT("full", thermostat_fs=300.0),
]
ALL = FIXED_CELL + BAROSTATS


def name_of(ensemble):
    if isinstance(ensemble, NPT):
        return f"{ensemble.cell}{sum(ensemble.axes)}"
    return type(ensemble).__name__


def each(ensembles):
    return pytest.mark.parametrize("ensemble", ensembles, ids=name_of)


def pressure_tensor(atoms):
    """Virial and kinetic part, eV/A^3."""
    return -atoms.get_stress(voigt=False, include_ideal_gas=True)


# what an ensemble keeps


def sampled(ensemble, atoms, n_steps, pressure_GPa=PRESSURE):
    """Temperatures, pressures (GPa) along the free directions, and (P - P0) V / kT of each."""
    dynamics = moving(ensemble, atoms, T, pressure_GPa=pressure_GPa)
    dof = degrees_of_freedom(atoms, ensemble)
    free = list(getattr(ensemble, "axes", (True,) * 3))
    temperatures, pressures, works = [], [], []
    for _ in islice(dynamics.irun(10**9), n_steps // 10, n_steps):
        temperatures.append(2 * atoms.get_kinetic_energy() / (dof * units.kB))
        if isinstance(ensemble, NPT):
            pressures.append(pressure_tensor(atoms).diagonal()[free].mean() / units.GPa)
            excess = (pressures[-1] - pressure_GPa) * units.GPa
            works.append(excess * atoms.get_volume() / (units.kB * T))
    return temperatures, pressures, works


def assert_mean(values, expected, most):
    """Within four standard errors, and these at most ``most``."""
    mean, error = block_average(values)
    assert abs(mean - expected) < 4 * error
    assert error < most


@each(FIXED_CELL[1:])
def test_thermostats_keep_their_temperature(ensemble):
    """Eight atoms: a wrong number of degrees of freedom is an error of 14 per cent."""
    temperatures, *_ = sampled(ensemble, argon(), 5000)
    assert_mean(temperatures, T, 0.06 * T)


def repeated(ensemble):
    """Sheared, two cells soon lose their shape."""
    return (2, 2, 2) if getattr(ensemble, "cell", "") == "full" else (2, 1, 1)


@pytest.mark.slow
@each(ALL[1:])
def test_thermostats_and_barostats_keep_their_targets(ensemble):
    """For the pressure there is an exact statement: <(P - P0) V> = -kT in each free direction."""
    temperatures, pressures, works = sampled(ensemble, argon(repeated(ensemble)), 15000)
    assert_mean(temperatures, T, 0.04 * T)
    if isinstance(ensemble, NPT):
        assert_mean(works, -1.0, 0.25)
        assert block_average(pressures)[0] == pytest.approx(PRESSURE, abs=0.005)


@each(BAROSTATS)
def test_barostats_reach_their_pressure(ensemble):
    atoms, quick = argon(repeated(ensemble)), replace(ensemble, barostat_fs=300.0)
    before, start = atoms.cell.copy(), pressure_tensor(atoms)[2, 2] / units.GPa
    _, pressures, _ = sampled(quick, atoms, 1500, pressure_GPa=0.25)
    assert start < 0.1
    assert np.mean(pressures[500:]) == pytest.approx(0.25, abs=0.03)
    changes = atoms.cell.lengths() / before.lengths()
    assert (np.abs(changes - 1) > 1e-4).tolist() == list(ensemble.axes)
    if ensemble.cell == "volume":
        assert np.ptp(changes) < 1e-12
    tilt = np.abs(atoms.cell.angles() - 90).max()
    assert tilt > 0.01 if ensemble.cell == "full" else tilt < 1e-10


def conserved_range(ensemble, atoms, timestep_fs, duration_fs, seed=1):
    """Range of the conserved quantity of a trajectory."""
    dynamics = moving(ensemble, atoms, T, seed, timestep_fs, PRESSURE)
    kept = getattr(dynamics, "get_conserved_energy", atoms.get_total_energy)
    values = [kept() for _ in islice(dynamics.irun(10**9), round(duration_fs / timestep_fs))]
    return np.ptp(values)


@each(
    [
        NVE(),
        NoseHooverChain(100.0),
        *(NPT(c, thermostat_fs=100.0, barostat_fs=500.0) for c in ("volume", "axes", "full")),
    ]
)
def test_conserved_quantity_to_second_order(ensemble):
    repeat = repeated(ensemble)
    coarse, fine = (conserved_range(ensemble, argon(repeat), dt, 1600.0) for dt in (16.0, 8.0))
    assert 3.0 < coarse / fine < 5.5


@each(FIXED_CELL[2:] + BAROSTATS + [NVE()])
def test_total_momentum_stays_zero(ensemble):
    atoms = argon()
    dynamics = moving(ensemble, atoms, T)
    list(islice(dynamics.irun(10**9), 100))
    assert np.abs(atoms.get_momenta().sum(axis=0)).max() < 1e-11
    assert np.abs(atoms.get_momenta()).max() > 0.1


def test_langevin_moves_the_centre_of_mass():
    atoms = argon()
    list(islice(moving(Langevin(0.01), atoms, T).irun(10**9), 50))
    assert np.abs(atoms.get_momenta().sum(axis=0)).max() > 0.1


@each(ALL)
def test_one_evaluation_per_step(ensemble):
    atoms = argon()
    list(islice(moving(ensemble, atoms, T).irun(10**9), 31))
    assert atoms.calc.evaluations == 31


# on the biased surface


class Biased:
    """A copper crystal on a biased surface at fixed tau."""

    def __init__(self, surrogate, tau=3.0):
        self.atoms = copper(1, 0.05, repeat=(2, 1, 1))
        self.atoms.calc = BiasedCalculator(surrogate.calculator(), surrogate, tau=tau)

    def conserved_range(self, ensemble, timestep_fs):
        rng = np.random.default_rng(0)
        self.atoms.set_momenta(rng.normal(size=(len(self.atoms), 3)))
        bring_to_rest(self.atoms, ensemble)
        start = IntegratorStart(timestep_fs * units.fs, 300.0, 1.0 * units.GPa, rng)
        dynamics = ensemble.dynamics(self.atoms, start)
        values = []
        for _ in islice(dynamics.irun(10**9), round(60 / timestep_fs) + 1):
            kept = self.atoms.get_kinetic_energy()
            prediction = self.atoms.calc.prediction
            kept += prediction.energy - prediction.tau * prediction.energy_std
            if not isinstance(ensemble, NVE):
                kept += dynamics.get_conserved_energy() - self.atoms.get_total_energy()
            values.append(kept)
        return np.ptp(values)


@each(
    [NVE(), NoseHooverChain(50.0), NPT("volume", barostat_fs=100.0), NPT("full", barostat_fs=100.0)]
)
def test_energy_with_the_bias_is_conserved_to_second_order(cu_surrogate, ensemble):
    """E - tau sigma_E plus kinetic energy, baths and P V; needs the bias in the stress too."""
    coarse, fine = (Biased(cu_surrogate).conserved_range(ensemble, dt) for dt in (2.0, 1.0))
    assert 2.8 < coarse / fine < 5.5
    assert fine < 0.01


# thermostats alone: the timestep vanishes, the thermostat does not


def test_langevin_alone_is_an_ornstein_uhlenbeck_process():
    """<p(t) p(0)> and the variance of what is new, over 256 atoms, from four times the target."""
    atoms = argon((4, 4, 4))
    positions, masses = atoms.get_positions(), atoms.get_masses()[:, None]
    timestep_fs, friction = 1e-5, 1e3
    rng = np.random.default_rng(0)
    atoms.set_momenta(rng.normal(size=(256, 3)) * np.sqrt(masses * units.kB * 4 * T))
    start = atoms.get_momenta()
    begun = IntegratorStart(timestep_fs * units.fs, T, 0.0, rng)
    dynamics = Langevin(friction).dynamics(atoms, begun)
    for k, _ in enumerate(islice(dynamics.irun(10**9), 151)):
        if k % 50 == 0:
            decay = np.exp(-friction * timestep_fs * k)
            momenta = atoms.get_momenta()
            overlap = np.sum(momenta * start) / np.sum(start**2)
            new = (momenta - decay * start) ** 2 / (masses * units.kB * T)
            assert overlap == pytest.approx(decay, abs=4 / np.sqrt(768))
            assert new.mean() == pytest.approx(1 - decay**2, abs=4 * np.sqrt(2 / 768) + 0.005)
    np.testing.assert_allclose(atoms.positions, positions, atol=5e-5)


def alone(ensemble, n_steps, seed):
    """Kinetic energies over the target's, from three times it, at a vanishing timestep."""
    atoms = argon()
    target = 0.5 * degrees_of_freedom(atoms, ensemble) * units.kB * T
    rng = np.random.default_rng(seed)
    atoms.set_momenta(rng.normal(size=(len(atoms), 3)))
    bring_to_rest(atoms, ensemble)
    atoms.set_momenta(atoms.get_momenta() * np.sqrt(3 * target / atoms.get_kinetic_energy()))
    dynamics = ensemble.dynamics(atoms, IntegratorStart(1e-5 * units.fs, T, 0.0, rng))
    direction = atoms.get_momenta() / np.sqrt(atoms.get_kinetic_energy())
    values = []
    for _ in islice(dynamics.irun(10**9), n_steps):
        values.append(atoms.get_kinetic_energy() / target)
        expected = direction * np.sqrt(atoms.get_kinetic_energy())
        np.testing.assert_allclose(atoms.get_momenta(), expected, atol=1e-5)
    return np.array(values), dynamics


def test_bussi_alone_relaxes_the_kinetic_energy_exponentially():
    """Bussi et al. (2007): the mean over trajectories relaxes with the time constant."""
    runs = np.array([alone(Bussi(15e-5), 31, seed)[0] for seed in range(100)])
    expected = 1 + 2 * np.exp(-np.arange(31) / 15)
    error = runs.std(axis=0) / np.sqrt(100)
    assert (np.abs(runs.mean(axis=0) - expected) < 4 * error + 1e-12).all()
    assert error.max() < 0.08


def test_a_chain_alone_conserves_its_energy():
    """Only the first bath feels the atoms: K'' follows from the chain's own equations."""
    values, dynamics = alone(NoseHooverChain(20e-5), 101, 0)
    atoms = dynamics.atoms
    thermostat = dynamics.get_conserved_energy() - atoms.get_total_energy()
    target = 0.5 * degrees_of_freedom(atoms, NoseHooverChain()) * units.kB * T
    assert thermostat == pytest.approx((values[0] - values[-1]) * target, rel=1e-3)
    assert values.min() < 1 < values.max()


# constraints and degrees of freedom


HELD = {
    "atoms": FixAtoms([0, 3]),
    "cartesian": FixCartesian([1], [True, False, True]),
    "line": FixedLine([2], [1, 1, 0]),
    "plane": FixedPlane([2], [1, 1, 0]),
    "com": FixCom(),
    "bond": FixBondLengths([(0, 1)]),
    "two": [FixAtoms([0]), FixedLine([5], [0, 1, 2])],
}


@pytest.mark.parametrize("ensemble", [NVE(), Langevin()], ids=name_of)
@pytest.mark.parametrize("name", HELD)
def test_degrees_of_freedom_are_the_rank_of_what_momenta_can_be(name, ensemble):
    atoms, rng, samples = argon(constraint=HELD[name]), np.random.default_rng(0), []
    for _ in range(40):
        atoms.set_momenta(rng.normal(size=(8, 3)))
        bring_to_rest(atoms, ensemble)
        samples.append(atoms.get_momenta().ravel())
    rank = np.linalg.matrix_rank(samples, tol=1e-8)
    assert degrees_of_freedom(atoms, ensemble) == rank < 24


def test_a_spring_to_a_point_leaves_no_momentum_conserved():
    atoms = argon(constraint=Hookean(0, (0.0, 0.0, 0.0), k=1.0, rt=0.1))
    assert degrees_of_freedom(atoms, NVE()) == 24
    assert len(conserved_directions(atoms)) == 0


def test_the_momentum_that_a_plane_leaves_is_removed():
    atoms = argon(constraint=FixedPlane([2], [1, 1, 0]))
    np.testing.assert_allclose(conserved_directions(atoms) @ [1, 1, 0], 0, atol=1e-9)
    atoms.set_momenta(np.random.default_rng(0).normal(size=(8, 3)))
    bring_to_rest(atoms, NVE())
    total = atoms.get_momenta().sum(axis=0)
    np.testing.assert_allclose(np.cross(total, [1, 1, 0]), 0, atol=1e-12)
    assert np.abs(total).max() > 0.1


@each(FIXED_CELL)
@pytest.mark.parametrize("name", HELD)
def test_constraints_hold(name, ensemble):
    if name == "bond" and isinstance(ensemble, NoseHooverChain):
        pytest.skip("refused, see below")
    atoms = argon((2, 2, 2), HELD[name])
    check_ensemble(ensemble, atoms, False, "here")
    start = atoms.copy()
    list(islice(moving(ensemble, atoms, T).irun(10**9), 60))
    allowed = atoms.get_positions()
    assert np.abs(allowed - start.positions).max() > 0.05
    for constraint in start.constraints:
        constraint.adjust_positions(start, allowed)
    np.testing.assert_allclose(allowed, atoms.positions, atol=1e-10)


@each(FIXED_CELL[1:])
def test_temperature_of_the_few_atoms_that_move(ensemble):
    """Nine degrees of freedom: three too many or too few are an error of a third."""
    temperatures, *_ = sampled(ensemble, argon(constraint=FixAtoms([0, 2, 3, 5, 6])), 3000)
    assert_mean(temperatures, T, 0.12 * T)


@pytest.mark.parametrize("name", ["atoms", "cartesian", "line", "plane", "com", "two"])
def test_a_chain_conserves_its_energy_with_constraints(name):
    ensemble = NoseHooverChain(100.0)
    coarse, fine = (
        conserved_range(ensemble, argon(constraint=HELD[name]), dt, 1600.0) for dt in (16.0, 8.0)
    )
    assert 2.8 < coarse / fine < 5.5


# what is refused


@pytest.mark.parametrize(
    ("ensemble", "atoms", "words"),
    [
        (NPT(), argon(constraint=FixAtoms([0])), "NVE, Langevin, Bussi and Nose-Hoover chains"),
        (NPT(), fcc111("Cu", (1, 1, 3), vacuum=5.0), "pbc is [True, True, False]"),
        (NPT("axes"), bulk("Cu"), "cell: full, or volume"),
        (NPT("axes", (True, False, False)), bulk("Mg"), "normal to the others"),
        (NoseHooverChain(), argon(constraint=HELD["bond"]), "NVE, Langevin and Bussi take it"),
        (Langevin(), argon(constraint=FixSymmetry(argon())), "FixSymmetry"),
        (Bussi(), Atoms("Cu"), "no degree of freedom"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_does_not_go_together_is_refused(ensemble, atoms, words):
    with pytest.raises(StructureError) as caught:
        check_ensemble(ensemble, atoms, True, "starts.xyz, frame 3")
    assert str(caught.value).startswith("starts.xyz, frame 3: ")
    assert words in str(caught.value)


def test_npt_needs_a_pressure():
    with pytest.raises(StructureError, match="pressure_GPa"):
        check_ensemble(NPT(), argon(), False, "here")


def test_one_hexagonal_axis_may_vary():
    check_ensemble(NPT("axes", (False, False, True)), bulk("Mg"), True, "here")


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Langevin(0.0),
        lambda: Bussi(float("nan")),
        lambda: NoseHooverChain(-1.0),
        lambda: NPT("isotropic"),
        lambda: NPT(axes=(False, False, False)),
        lambda: NPT(barostat_fs=float("inf")),
    ],
)
def test_wrong_parameters(wrong):
    with pytest.raises(ValueError, match=r"must|expected"):
        wrong()


@each([NPT("full", thermostat_fs=300.0), Langevin(0.002)])
def test_a_left_handed_cell_moves_as_its_twin(ensemble):
    """Two vectors exchanged are the same crystal."""
    right, left = argon(), argon()
    left.set_cell(left.cell.array[[1, 0, 2]])
    left.calc = FixedNeighbours(left)
    assert np.linalg.det(left.cell.array) < 0
    for atoms in (right, left):
        moving(ensemble, atoms, T, pressure_GPa=PRESSURE).run(30)
    np.testing.assert_allclose(left.positions, right.positions, atol=1e-9)
    np.testing.assert_allclose(left.cell.array, right.cell.array[[1, 0, 2]], atol=1e-9)
