"""Biased MD in LAMMPS: forces, steps, picks and campaigns as those of ASE."""

import re
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.md.velocitydistribution import thermalize_momenta
from ase.md.verlet import VelocityVerlet
from helpers.campaigns import assert_same_campaign, campaign, ended, write_campaign
from helpers.lockstep import explored, setup_for, started
from helpers.structures import cluster, copper, sheared, with_pbc

from ase_bayesel import (
    NVE,
    BiasedCalculator,
    Bussi,
    CellMove,
    Distance,
    ForceTrigger,
    Guards,
    Harmonic,
    Langevin,
    TrustBound,
    run_walker,
)
from ase_bayesel.dynamics.engines import engine_of
from ase_bayesel.dynamics.ensembles import IntegratorStart
from ase_bayesel.dynamics.lammps import CalculatorFix, lammps_of, session
from ase_bayesel.dynamics.lammps.integrators import LammpsLangevin
from ase_bayesel.dynamics.recording import read_log
from ase_bayesel.errors import CommandError, StructureError
from ase_bayesel.structures.identity import structure_id

pytestmark = pytest.mark.optional("lammps")

START = copper(1, 0.05, repeat=(1, 1, 2))
CELLS = {
    "cubic": copper(1),
    "sheared": sheared(copper(1)),
    "left-handed": sheared(copper(1)),
    "slab": with_pbc(sheared(copper(1)), (True, True, False)),
    "wire": with_pbc(sheared(copper(1)), (False, True, False), False),
    "cluster": cluster(["Cu"] * 6),
}
CELLS["left-handed"].cell[:] = CELLS["left-handed"].cell.array[[1, 0, 2]]


@pytest.fixture
def calculator(cu_surrogate):
    return BiasedCalculator(cu_surrogate.calculator(), cu_surrogate, tau=0.5)


def moving(atoms, temperature_K=600.0):
    atoms = atoms.copy()
    thermalize_momenta(atoms, temperature_K=temperature_K, rng=np.random.default_rng(3))
    return atoms


def walk(calculator, atoms=START, seed=0, dynamics="lammps", **options):
    defaults = {"n_steps": 12, "temperature_K": 600.0, "ensemble": NVE(), "timestep_fs": 2.0}
    rng = np.random.default_rng(seed)
    return run_walker(atoms, calculator, dynamics=dynamics, **({"rng": rng} | defaults | options))


def both(cu_surrogate, atoms=START, **options):
    """The steps of two walkers that differ in nothing but what makes the steps."""
    for dynamics in ("ase", "lammps"):
        calculator = BiasedCalculator(cu_surrogate.calculator(), cu_surrogate, tau=0.5)
        yield list(walk(calculator, atoms, dynamics=dynamics, **options))


def assert_same_steps(ours, theirs):
    """Up to rounding."""
    assert [s.step for s in ours] == [s.step for s in theirs]
    assert [(s.status, s.fired, s.rolled_back) for s in ours] == [
        (s.status, s.fired, s.rolled_back) for s in theirs
    ]
    for one, other in zip(ours, theirs, strict=True):
        assert (one.atoms.numbers == other.atoms.numbers).all()
        for name in ("positions", "momenta"):
            values = (s.atoms.arrays[name] for s in (one, other))
            np.testing.assert_allclose(*values, rtol=0, atol=1e-8)
        np.testing.assert_allclose(one.atoms.cell, other.atoms.cell, rtol=0, atol=1e-8)


@pytest.mark.parametrize("name", CELLS)
def test_energy_forces_and_virial_are_those_of_the_calculator(calculator, name):
    atoms = CELLS[name].copy()
    lmp = lammps_of(atoms)
    fix = CalculatorFix(lmp, calculator, ["Cu"])
    for command in ("thermo_style custom step pe pxx pyy pzz pxy pxz pyz", "run 0"):
        lmp.command(command)
    atoms.calc = calculator
    assert lmp.get_thermo("pe") == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
    lengths = np.linalg.norm(lmp.numpy.extract_atom("f")[: len(atoms)], axis=1)
    np.testing.assert_allclose(lengths, np.linalg.norm(atoms.get_forces(), axis=1), atol=1e-9)
    if atoms.pbc.all():
        turned = fix.atoms.copy()  # LAMMPS's axes
        turned.calc = calculator
        expected = -turned.get_stress()[[0, 1, 2, 5, 4, 3]] / units.bar
        names = ("pxx", "pyy", "pzz", "pxy", "pxz", "pyz")
        found = [lmp.get_thermo(n) for n in names]
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-2)


@pytest.mark.parametrize("name", CELLS)
def test_a_trajectory_is_that_of_ase(cu_surrogate, name):
    start = CELLS[name].copy()
    ours, theirs = both(cu_surrogate, start, n_steps=15, timestep_fs=1.0)
    assert_same_steps(ours, theirs)
    assert ours[-1].step == 15
    energies = [[s.prediction.energy for s in steps] for steps in (ours, theirs)]
    np.testing.assert_allclose(*energies, rtol=0, atol=1e-8)


def test_the_first_pick_is_that_of_ase(cu_surrogate):
    """From the same seed and state, by velocity Verlet; the run ends there."""
    first = []
    for dynamics in ("ase", "lammps"):
        calculator = BiasedCalculator(cu_surrogate.calculator(), cu_surrogate, tau_rel=0.3)
        steps = walk(
            calculator,
            dynamics=dynamics,
            n_steps=400,
            temperature_K=1500.0,
            triggers=[ForceTrigger(0.1)],
            check_interval=5,
        )
        first.append(next(step for step in steps if step.fired))
    ours, theirs = first
    assert 5 < ours.step == theirs.step < 400
    assert structure_id(ours.atoms) == structure_id(theirs.atoms)
    np.testing.assert_allclose(ours.atoms.positions, theirs.atoms.positions, rtol=0, atol=1e-8)
    assert ours.reports[0].value == pytest.approx(theirs.reports[0].value, rel=1e-6)


HELD = START.copy()
HELD.set_constraint(FixAtoms([0, 3]))
WAYS = {
    "bussi": {"ensemble": Bussi(20.0)},
    "restraint": {"restraints": [Harmonic(Distance((0, 1)), at=3.0, k=5.0)]},
    "guard": {"guards": Guards(max_force=3.0), "temperature_K": 4000.0, "n_steps": 60},
    "rollback": {
        "guards": Guards(max_force=3.0),
        "temperature_K": 3000.0,
        "n_steps": 30,
        "max_rollbacks": 3,
    },
    "cell move": {"moves": [CellMove(interval=4, max_strain=0.02)], "pressure_GPa": 0.0},
}


@pytest.mark.parametrize("way", WAYS)
def test_all_that_a_walker_does_is_the_same(cu_surrogate, way):
    ours, theirs = both(cu_surrogate, **WAYS[way])
    assert_same_steps(ours, theirs)
    assert ours[-1].status == theirs[-1].status
    if way == "guard":
        assert ours[-1].status == "force"
    if way == "rollback":
        assert ours[-1].driver.rollbacks > 0


def test_fixed_atoms_stay_where_they_are(cu_surrogate):
    ours, theirs = both(cu_surrogate, HELD)
    assert_same_steps(ours, theirs)
    for step in theirs:
        np.testing.assert_array_equal(step.atoms.positions[[0, 3]], START.positions[[0, 3]])


def test_a_walker_returns_at_its_bound_of_trust(cu_surrogate):
    trust = TrustBound(absolute=0.033, factor=None, energy=None).against(cu_surrogate, START)
    ours, theirs = both(
        cu_surrogate, trust=trust, n_steps=60, temperature_K=1500.0, check_interval=2
    )
    assert_same_steps(ours, theirs)
    returned = [step.step for step in ours if step.beyond is not None]
    assert returned == [step.step for step in theirs if step.beyond is not None] != []


class Harmonics(Calculator):
    """Each atom bound to the origin; 1 eV/A^2."""

    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=(), system_changes=()):
        x = atoms.positions
        self.results = {"energy": 0.5 * (x**2).sum(), "forces": -x}


def test_swaps_bring_other_masses():
    atoms = moving(Atoms("CuAl", [[0.1, 0, 0], [0, 0.2, 0]]))
    other = atoms.copy()
    for each, integrator in ((atoms, "lammps"), (other, "ase")):
        each.calc = Harmonics()
        for _ in range(2):
            make(integrator, NVE(), each).run(5)
            each.symbols = each.get_chemical_symbols()[::-1]
    np.testing.assert_allclose(atoms.positions, other.positions, rtol=0, atol=1e-10)


def make(dynamics, ensemble, atoms, seed=0):
    start = IntegratorStart(2.0 * units.fs, 300.0, 0.0, np.random.default_rng(seed))
    return engine_of(dynamics).integrator(ensemble, atoms, start)


def test_langevin_dynamics_has_the_temperature_and_the_amplitudes():
    """Of harmonic oscillators with unequal masses, against equipartition."""
    atoms = Atoms("CuAl" * 60, positions=np.zeros((120, 3)))
    atoms.calc = Harmonics()
    steps = make("lammps", Langevin(0.1), atoms)
    assert isinstance(steps, LammpsLangevin)
    kinetic, potential = [], []
    for k, _ in enumerate(islice(steps.irun(1000), 900)):
        if k > 300:
            kinetic.append(atoms.get_kinetic_energy())
            potential.append(atoms.get_potential_energy())
    expected = 1.5 * units.kB * 300.0 * len(atoms)
    assert np.mean(kinetic) == pytest.approx(expected, rel=0.05)
    assert np.mean(potential) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("ensemble", [NVE(), Langevin(0.05), Bussi(20.0)], ids=lambda e: e.kind)
@pytest.mark.parametrize("start", [START, sheared(START)], ids=["cubic", "sheared"])
def test_two_runs_equal_one_bit_for_bit(cu_surrogate, ensemble, start):
    def fresh():
        session._free.clear()  # another process has none
        return BiasedCalculator(cu_surrogate.calculator(), cu_surrogate, tau=0.5)

    whole = list(walk(fresh(), start, ensemble=ensemble))
    rng = np.random.default_rng(0)
    *_, last = islice(walk(fresh(), start, ensemble=ensemble, rng=rng), 6)
    options = {"rng": rng, "first_step": last.step, "state": last.driver}
    rest = list(walk(fresh(), last.atoms.copy(), ensemble=ensemble, **options))
    for ours, theirs in zip(rest, whole[5:], strict=True):
        np.testing.assert_array_equal(ours.atoms.positions, theirs.atoms.positions)
        np.testing.assert_array_equal(ours.atoms.get_momenta(), theirs.atoms.get_momenta())


class Failing(EMT):
    """Fails at its fifth structure."""

    calls = 0

    def calculate(self, *args, **kwargs):
        self.calls += 1
        if self.calls == 5:
            raise ArithmeticError("lost all sense")
        super().calculate(*args, **kwargs)


def test_what_a_calculator_raises_ends_the_run(cu_surrogate):
    fix = CalculatorFix(lammps_of(moving(START)), Failing(), ["Cu"])
    fix._fix.lmp.command("fix move all nve")
    with pytest.raises(ArithmeticError, match="lost all sense"):
        fix.run(50)
    assert fix._fix.lmp.extract_global("ntimestep") < 6
    fix.run(3)  # and it can be taken up again
    walker = walk(BiasedCalculator(Failing(), cu_surrogate, tau=0.0))
    *_, last = walker
    assert (last.status, last.message) == ("calculator_error", "ArithmeticError: lost all sense")


def test_a_script_of_ones_own_stops_where_a_trigger_fires(cu_surrogate, calculator):
    """And goes on from there; what comes back is ASE's trajectory."""
    trigger, start = ForceTrigger(0.04), moving(START, 1500.0)
    lmp = lammps_of(start)

    def fires(atoms):
        return trigger(calculator.prediction, atoms).fired

    fix = CalculatorFix(lmp, calculator, ["Cu"], stop=fires)
    for command in ("fix move all nve", "timestep 0.002"):
        lmp.command(command)
    found = fix.run(400)
    step = lmp.extract_global("ntimestep")
    assert fix.stopped
    assert 0 < step < 400
    start.calc = BiasedCalculator(cu_surrogate.calculator(), cu_surrogate, tau=0.5)
    VelocityVerlet(start, 2.0 * units.fs).run(step)
    np.testing.assert_allclose(found.positions, start.positions, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.get_momenta(), start.get_momenta(), rtol=0, atol=1e-5)
    calculator.set_surrogate(cu_surrogate.condition(found))
    fix.run(2)
    assert lmp.extract_global("ntimestep") > step


def test_a_barostat_of_lammps_moves_the_cell(calculator):
    lmp = lammps_of(moving(copper(1, 0.02, a=3.4, repeat=(1, 1, 2))))
    fix = CalculatorFix(lmp, calculator, ["Cu"])
    lmp.command("fix move all npt temp 300 300 0.05 iso 0 0 0.2")
    before = fix.atoms.get_volume()
    after = fix.run(20)
    assert after.get_volume() > before
    after.calc = calculator
    np.testing.assert_allclose(
        after.get_forces(), lmp.numpy.extract_atom("f")[: len(after)], rtol=0, atol=1e-9
    )


def test_instances_that_do_not_fit_are_refused(calculator):
    lmp = lammps_of(START)
    with pytest.raises(StructureError, match="1 atom types, but 2 symbols"):
        CalculatorFix(lmp, calculator, ["Cu", "Al"])
    lmp.command("group one id 1")
    lmp.command("delete_atoms group one compress no")
    with pytest.raises(StructureError, match="numbers 1 to n"):
        CalculatorFix(lmp, calculator, ["Cu"])
    lmp.command("clear")
    lmp.command("units lj")
    with pytest.raises(StructureError, match="units metal are needed, these are lj"):
        CalculatorFix(lmp, calculator, [])
    with pytest.raises(StructureError, match="without atoms"):
        lammps_of(Atoms())
    fix = CalculatorFix(lammps_of(START), calculator, ["Cu"])
    with pytest.raises(CommandError, match="LAMMPS, 'run 1 nonsense'"):
        fix.run(1, "nonsense")


def test_a_round_in_lammps_picks_as_one_in_ase(cu_surrogate):
    """Four walkers on one posterior, in lock-step, with restarts at picks."""
    found = []
    for dynamics in ("ase", "lammps"):
        driven = {"dynamics": dynamics, "ensemble": Bussi(50.0)}
        setup = setup_for(cu_surrogate, ForceTrigger(0.02), driven=driven, start=START)
        states, _ = explored(setup, started([START] * 4), limit=4)
        found.append(states[-1].picks)
    ours, theirs = found
    assert len(ours) == 4
    for one, other in zip(ours, theirs, strict=True):
        assert (one.walker, one.step, one.structure_id) == (
            other.walker,
            other.step,
            other.structure_id,
        )
        positions = (p.structure.positions for p in (one, other))
        np.testing.assert_allclose(*positions, rtol=0, atol=1e-8)


def test_a_campaign_that_was_left_goes_on_as_if_it_had_not_been(tmp_path):
    """With Langevin dynamics; the instances of the process before are gone."""
    changes = {
        "stop.max_rounds": 1,
        "explore.steps": 16,
        "explore.dynamics": "lammps",
        "explore.log": True,
    }
    whole, _ = ended(write_campaign(tmp_path / "whole", changes))
    config = write_campaign(tmp_path / "parts", changes)
    for _ in range(2):
        events = campaign(config).run()
        list(islice(events, 9))
        events.close()
        session._free.clear()
    parts, _ = ended(config)
    assert_same_campaign(parts, whole)
    ours, theirs = (read_log(store.directory / "round_0001" / "log") for store in (parts, whole))
    assert len(ours) > 10
    for name in theirs.dtype.names:
        np.testing.assert_array_equal(ours[name], theirs[name])


def test_the_page_runs(tmp_path, monkeypatch):
    root = Path(__file__).parents[2]
    page = (root / "docs/how-to/lammps.md").read_text()
    (tmp_path / "examples").symlink_to(root / "examples")
    monkeypatch.chdir(tmp_path)
    found = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(block, "lammps.md", "exec"), found)
    assert found["fix"].stopped
