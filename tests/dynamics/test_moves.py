"""Cell and swap moves against exact ensembles, and what a rejected move leaves behind."""

import re
from itertools import pairwise, permutations

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.constraints import FixAtoms, FixCom, FixSymmetry
from ase.md.velocitydistribution import thermalize_momenta
from helpers.structures import alloy, alloy_cells, emt_labelled, sheared
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from ase_bayesel import ACEDescriptor, BiasedCalculator, Guards, TauRule, fit_surrogate
from ase_bayesel.dynamics.moves import CellMove, MoveState, SwapMove, swap
from ase_bayesel.dynamics.moves.base import metropolis
from ase_bayesel.dynamics.moves.cell import relative_width, strained
from ase_bayesel.errors import StructureError

FREE = Guards(close_contact=None, max_force=None, max_temperature_K=None)
TEMPERATURE_K, PRESSURE_GPA = 600.0, 2.0
KT, PRESSURE = units.kB * TEMPERATURE_K, PRESSURE_GPA * units.GPa


class Surface(Calculator):
    """Any energy function of the atoms behind what moves ask of a calculator."""

    implemented_properties = ["energy"]

    def __init__(self, energy=lambda atoms: 0.0):
        super().__init__()
        self.function = energy

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": self.function(atoms)}

    def energy_change(self, atoms):
        return self.function(atoms) - self.results["energy"]


def gas(n=3, cell=None, energy=lambda atoms: 0.0):
    """Atoms at random places of a cell near the equilibrium volume of an ideal gas."""
    edge = ((n + 1) * KT / PRESSURE) ** (1 / 3)
    cell = np.eye(3) * edge if cell is None else cell
    atoms = Atoms("Ar" * n, cell=cell, pbc=True)
    atoms.set_scaled_positions(np.random.default_rng(0).random((n, 3)))
    atoms.calc = Surface(energy)
    return atoms


def chain(atoms, move, n, seed=0, observe=Atoms.get_volume, state=MoveState()):
    """Observations after each attempt, and the last state."""
    rng, seen = np.random.default_rng(seed), []
    for _ in range(n):
        state = move.attempt(
            atoms,
            temperature_K=TEMPERATURE_K,
            pressure_GPa=PRESSURE_GPA,
            rng=rng,
            state=state,
            guards=FREE,
        )
        seen.append(observe(atoms))
    return np.array(seen), state


def assert_mean(samples, expected, precision=0.05):
    """Within four standard errors, estimated from twenty blocks, and these are small."""
    blocks = np.array([block.mean(axis=0) for block in np.array_split(samples, 20)])
    error = blocks.std(axis=0, ddof=1) / np.sqrt(len(blocks))
    assert (np.abs(blocks.mean(axis=0) - expected) < 4 * error).all()
    assert (error <= precision * np.abs(expected)).all()


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["volume", "full"])
def test_volume_of_an_ideal_gas(shape):
    """V is gamma distributed: <V> = (N + 1) kT / P, and the variance (N + 1) (kT / P)^2."""
    n, unit = 3, KT / PRESSURE
    move = CellMove(shape=shape, max_strain=0.2, adaptation=0)
    volumes, state = chain(gas(n), move, 5000)
    assert state.acceptance > 0.3
    assert_mean(volumes / unit, n + 1)
    assert_mean((volumes / unit - (n + 1)) ** 2, n + 1, precision=0.2)


@pytest.mark.parametrize("shape", ["volume", "full"])
def test_harmonic_cell_against_quadrature(shape):
    n, v0, stiffness = 2, 60.0, 1.5
    atoms = gas(n, energy=lambda atoms: stiffness * np.log(atoms.get_volume() / v0) ** 2)
    volumes, _ = chain(atoms, CellMove(shape=shape, max_strain=0.08, adaptation=0), 4000)
    v = np.linspace(5.0, 300.0, 20001)
    log_weight = n * np.log(v) - (stiffness * np.log(v / v0) ** 2 + PRESSURE * v) / KT
    weight = np.exp(log_weight - log_weight.max())
    for power in (1, 2):
        assert_mean((volumes / v0) ** power, np.sum(weight * (v / v0) ** power) / weight.sum())


@pytest.mark.slow
def test_full_shape_samples_the_measure_of_all_cells():
    """The metric G = h h^T has the weight V^(N - 3) in dG; importance sampling is the oracle."""
    n, width = 6, 0.3
    centre = np.array([[1.0, 0.2, 0.0], [0.2, 1.1, -0.1], [0.0, -0.1, 0.9]])
    upper = np.triu_indices(3)

    def energy(atoms):
        metric = atoms.cell.array @ atoms.cell.array.T / 16.0
        return 0.5 * KT * np.sum((metric - centre)[upper] ** 2) / width**2

    atoms = gas(n, cell=4.0 * np.linalg.cholesky(centre), energy=energy)
    move = CellMove(shape="full", max_strain=0.2, adaptation=0, min_width=0.0)
    seen, _ = chain(
        atoms, move, 4000, observe=lambda a: (a.cell.array @ a.cell.array.T / 16.0)[upper]
    )
    draws = np.random.default_rng(1).normal(centre[upper], width, (400000, 6))
    metrics = np.zeros((len(draws), 3, 3))
    metrics[:, upper[0], upper[1]] = metrics[:, upper[1], upper[0]] = draws
    good = np.linalg.eigvalsh(metrics)[:, 0] > 0
    volumes = 64.0 * np.sqrt(np.where(good, np.linalg.det(metrics), 1.0))
    weights = good * np.exp((n - 3) * np.log(volumes) - PRESSURE * volumes / KT)
    assert_mean(2.0 + seen, 2.0 + weights @ draws / weights.sum())


class Scripted:
    """A generator for one attempt of a cell move: the strain and the fortune are given."""

    def __init__(self, strain, fortune):
        self.strain, self.fortune = strain, fortune

    def uniform(self, low, high, size=None):
        return self.strain[0, 0] if size is None else self.strain[np.triu_indices(3)]

    def random(self):
        return self.fortune


@given(st.integers(0, 10**6), st.sampled_from(["volume", "full"]))
def test_cell_moves_obey_detailed_balance(seed, shape):
    """Ratio of the acceptances there and back against that of the weights in d ln V."""
    rng = np.random.default_rng(seed)
    stiffness, n = rng.uniform(0, 2), 4
    atoms = gas(n, energy=lambda a: stiffness * (np.sum(a.cell.array**2) / 80.0 - 1) ** 2)
    move = CellMove(shape=shape, adaptation=0)
    strain = move._strain(0.1, rng)
    back = strained(strained(atoms, strain), -strain)
    np.testing.assert_allclose(back.cell, atoms.cell, atol=1e-12)
    np.testing.assert_allclose(back.positions, atoms.positions, atol=1e-12)

    def log_weight(a):
        enthalpy = atoms.calc.function(a) + PRESSURE * a.get_volume()
        return (n + 1) * np.log(a.get_volume()) - enthalpy / KT

    other = strained(atoms, strain)
    other.calc = Surface(atoms.calc.function)
    difference = log_weight(other) - log_weight(atoms)
    for start, sign in ((atoms, 1), (other, -1)):
        limit = np.exp(min(0.0, sign * difference))
        for fortune in (limit * (1 - 1e-9), limit * (1 + 1e-9)):
            moved = start.copy()
            moved.calc = Surface(atoms.calc.function)
            rng = Scripted(sign * strain, fortune)
            state = move.attempt(
                moved,
                temperature_K=TEMPERATURE_K,
                pressure_GPa=PRESSURE_GPA,
                rng=rng,
                guards=FREE,
            )
            assert state.accepted == (fortune < limit)


def test_step_size_adapts_and_then_stays():
    atoms = gas(50)
    move = CellMove(max_strain=1e-3, adaptation=150, target_acceptance=0.4)
    _, state = chain(atoms, move, 150)
    assert state.step > 5e-3
    _, later = chain(atoms, move, 2000, seed=1, state=state)
    assert later.step == state.step
    assert (later.accepted - state.accepted) / 2000 == pytest.approx(0.4, abs=0.1)


def test_flat_cells_are_refused_and_left():
    assert relative_width(bulk("Cu", cubic=True)) == pytest.approx(1.0)
    move = CellMove(shape="full", max_strain=0.1, adaptation=0, min_width=0.6)
    widths, state = chain(gas(), move, 500, observe=relative_width)
    assert widths.min() >= 0.6
    assert state.accepted > 50
    flat = gas(cell=np.diag([2.0, 4.0, 8.0]))
    widths, _ = chain(flat, move, 500, observe=relative_width)
    first = np.argmax(widths >= 0.6)
    assert (np.diff(widths[:first]) >= 0).all()
    assert widths[first:].min() >= 0.6


# swaps


def lattice(symbols, spacing=3.0):
    """Atoms on a chain of sites, without periodicity."""
    return Atoms("".join(symbols), positions=[[k * spacing, 0, 0] for k in range(len(symbols))])


def arrangement(atoms):
    """The symbols site by site."""
    return "".join(atoms.get_chemical_symbols())


def site_energies(fields, bond=0.0):
    """An energy by species and site, and one for each unlike pair of neighbours."""

    def energy(atoms):
        found = re.findall("[A-Z][a-z]", arrangement(atoms))
        unlike = sum(a != b for a, b in pairwise(found))
        return float(sum(fields[symbol][k] for k, symbol in enumerate(found)) + bond * unlike)

    return energy


def boltzmann(start, energy):
    """Probability of each arrangement, by enumeration."""
    states = {}
    for order in permutations(start.get_chemical_symbols()):
        atoms = lattice(order)
        states[arrangement(atoms)] = np.exp(-energy(atoms) / KT)
    return {key: weight / sum(states.values()) for key, weight in states.items()}


def test_occupation_of_two_sites():
    """A gold atom on the better site, by the ratio of two Boltzmann factors."""
    atoms = lattice(["Cu", "Au"])
    atoms.calc = Surface(site_energies({"Cu": [0.0, 0.0], "Au": [0.0, 0.8 * KT]}))
    seen, state = chain(atoms, SwapMove(), 3000, observe=arrangement)
    assert_mean((seen == "AuCu").astype(float), 1 / (1 + np.exp(-0.8)))
    assert 0 < state.accepted < state.attempts


class Enumerating:
    """A generator that takes its choices from a script and notes how many it had."""

    def __init__(self, script):
        self.script, self.sizes = script, []

    def integers(self, n):
        depth = len(self.sizes)
        self.sizes.append(n)
        return self.script[depth] if depth < len(self.script) else 0

    def choice(self, values):
        return values[self.integers(len(values))]

    def random(self):
        return 0.5


def transitions(atoms, move, energy, monkeypatch):
    """Chance of each proposal times that of its acceptance, by the arrangement it leads to."""
    found, script = {}, []
    while script is not None:
        proposed = []

        def spy(atoms, trial, *rest, seen=proposed):
            decision = metropolis(atoms, trial, *rest)
            seen.append((arrangement(trial), decision.probability))
            return decision

        monkeypatch.setattr(swap, "metropolis", spy)
        rng, start = Enumerating(script), atoms.copy()
        start.calc = Surface(energy)
        move.attempt(start, temperature_K=TEMPERATURE_K, rng=rng, guards=FREE)
        (key, probability) = proposed[0]
        found[key] = found.get(key, 0.0) + probability / np.prod(rng.sizes)
        taken = script + [0] * (len(rng.sizes) - len(script))
        while taken and taken[-1] + 1 == rng.sizes[len(taken) - 1]:
            taken.pop()
        script = [*taken[:-1], taken[-1] + 1] if taken else None
    return found


@pytest.mark.parametrize("cutoff", [None, 3.5])
def test_swaps_leave_the_boltzmann_distribution_as_it_is(cutoff, monkeypatch):
    """All transitions among 12 arrangements, where the number of near pairs varies."""
    rng = np.random.default_rng(3)
    energy = site_energies({s: rng.normal(0, KT, 4) for s in ("Cu", "Au", "Al")}, 0.5 * KT)
    weights = boltzmann(lattice(["Cu", "Au", "Al", "Cu"]), energy)
    assert len(weights) == 12
    after = dict(weights)
    for key, weight in weights.items():
        atoms = lattice(re.findall("[A-Z][a-z]", key))
        moves = transitions(atoms, SwapMove(cutoff=cutoff), energy, monkeypatch)
        assert sum(moves.values()) <= 1 + 1e-12
        for other, probability in moves.items():
            after[key] -= weight * probability
            after[other] += weight * probability
    assert after == pytest.approx(weights, rel=1e-10)


def test_what_goes_with_an_atom_and_what_stays():
    atoms = alloy("CuAuAlCu")
    atoms.set_tags([1, 2, 3, 4])
    thermalize_momenta(atoms, temperature_K=300, rng=np.random.default_rng(0))
    before = atoms.copy()
    atoms.calc = Surface()
    state = SwapMove(elements=("Cu", "Al")).attempt(
        atoms, temperature_K=300, rng=np.random.default_rng(1)
    )
    assert state == MoveState(attempts=1, accepted=1)
    moved = np.flatnonzero(atoms.numbers != before.numbers)
    assert len(moved) == 2
    assert set(atoms.symbols[moved]) == {"Cu", "Al"}
    order = np.arange(4)
    order[moved] = moved[::-1]
    for name in ("numbers", "momenta"):
        assert_array_equal(atoms.arrays[name], before.arrays[name][order])
    for name in ("positions", "tags"):
        assert_array_equal(atoms.arrays[name], before.arrays[name])
    assert atoms.get_kinetic_energy() == pytest.approx(before.get_kinetic_energy(), rel=1e-14)


def test_held_atoms_are_not_swapped():
    atoms = bulk("Cu", cubic=True, a=3.8) * (2, 1, 1)
    atoms.symbols = "Cu4Au4"
    atoms.set_constraint([FixAtoms([0, 1, 4]), FixCom()])
    atoms.calc = Surface()
    seen, state = chain(atoms, SwapMove(), 50, observe=lambda atoms: atoms.numbers.copy())
    assert state.accepted == 50
    assert np.ptp(seen[:, [0, 1, 4]], axis=0).max() == 0
    assert np.ptp(seen[:, [2, 3, 5, 6, 7]], axis=0).min() > 0


# on a biased calculator


@pytest.fixture(scope="module")
def surrogate():
    frames = [emt_labelled(atoms) for atoms in alloy_cells(6, 0.05, 0)]
    ace = ACEDescriptor(["Cu", "Al"], order=2, totaldegree=6, cutoff=4.5)
    return fit_surrogate(frames, ace, e0s="average")


class Counting(BiasedCalculator):
    evaluations = 0

    def calculate(self, *args, **kwargs):
        self.evaluations += 1
        super().calculate(*args, **kwargs)


@pytest.fixture
def walker(surrogate):
    atoms = sheared(alloy_cells(1, 0.05, 7)[0])
    thermalize_momenta(atoms, temperature_K=300, rng=np.random.default_rng(0))
    atoms.calc = Counting(surrogate.calculator(), surrogate, tau_rel=0.5)
    for _ in range(25):
        atoms.rattle(0.01, rng=np.random.default_rng(1))
        atoms.get_forces()
    assert atoms.calc.prediction.tau > 0
    return atoms


MOVES = [CellMove(), CellMove(shape="full"), SwapMove()]


def attempt(move, atoms, fortune=None, guards=FREE, pressure_GPa=1.0, **state):
    rng = np.random.default_rng(0)
    if fortune is not None:
        chance = rng

        class Fortune:
            def __getattr__(self, name):
                return (lambda: fortune) if name == "random" else getattr(chance, name)

        rng = Fortune()
    return move.attempt(
        atoms,
        temperature_K=300,
        pressure_GPa=pressure_GPa,
        rng=rng,
        state=MoveState(**state),
        guards=guards,
    )


def momenta_by_element(atoms):
    momenta = map(tuple, atoms.get_momenta().tolist())
    return sorted(zip(atoms.numbers.tolist(), momenta, strict=True))


def everything(atoms):
    arrays = {key: array.copy() for key, array in atoms.arrays.items()}
    return {"cell": atoms.cell.array.copy(), **arrays}


@pytest.mark.parametrize("move", MOVES, ids=str)
def test_a_rejected_move_leaves_no_trace(walker, move):
    calculator, before = walker.calc, everything(walker)
    known = calculator.prediction, calculator.tau_state, calculator.evaluations
    forces = walker.get_forces()
    state = attempt(move, walker, fortune=1.0)
    assert (state.attempts, state.accepted, state.failed) == (1, 0, 0)
    assert_array_equal(walker.get_forces(), forces)
    after = everything(walker)
    assert before.keys() == after.keys()
    for key, array in before.items():
        assert_array_equal(after[key], array)
    assert (calculator.prediction, calculator.tau_state, calculator.evaluations) == known


@pytest.mark.parametrize("move", MOVES, ids=str)
def test_an_accepted_move_is_evaluated_anew(walker, surrogate, move):
    before, forces = walker.copy(), walker.get_forces()
    state = attempt(move, walker, fortune=-1.0)
    assert (state.attempts, state.accepted) == (1, 1)
    assert momenta_by_element(walker) == momenta_by_element(before)
    fresh = walker.copy()
    tau = walker.calc.tau
    fresh.calc = BiasedCalculator(surrogate.calculator(), surrogate, tau=tau)
    assert np.abs(walker.get_forces() - forces).max() > 1e-3
    np.testing.assert_allclose(walker.get_forces(), fresh.get_forces(), rtol=1e-12, atol=1e-12)


def test_both_energies_are_of_one_tau(walker, surrogate):
    calculator = walker.calc
    calculator.tau = tau = 0.7
    walker.get_forces()
    calculator.rule = TauRule(0.5)
    assert calculator.tau != tau
    trial = strained(walker, 0.02 * np.eye(3))
    fixed = BiasedCalculator(surrogate.calculator(), surrogate, tau=tau)
    expected = fixed.get_potential_energy(trial) - fixed.get_potential_energy(walker)
    assert calculator.energy_change(trial) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("move", MOVES, ids=str)
def test_failures_are_rejected_and_counted(walker, move, monkeypatch):
    def fails(atoms):
        raise ValueError("no such energy")

    before = everything(walker)
    for change in (fails, lambda atoms: np.nan, lambda atoms: -np.inf):
        monkeypatch.setattr(walker.calc, "energy_change", change)
        assert attempt(move, walker).failed == 1
    monkeypatch.undo()
    state = attempt(move, walker, guards=Guards(close_contact=1.5), attempts=3, failed=1)
    assert (state.attempts, state.accepted, state.failed) == (4, 0, 2)
    assert_array_equal(walker.positions, before["positions"])


def test_no_unlike_pair_within_reach_is_a_rejection(walker):
    assert attempt(SwapMove(cutoff=0.5), walker) == MoveState(attempts=1)


# what is refused


@pytest.mark.parametrize(
    ("move", "change", "message"),
    [
        (CellMove(), {"pbc": (True, True, False)}, "three periodic directions"),
        (CellMove(), {"constraint": FixAtoms([0])}, "FixAtoms"),
        (SwapMove(), {"chemical_symbols": "Al4"}, "found Al"),
        (SwapMove(elements=("Au", "Ag")), {}, "found none"),
        (SwapMove(), {"masses": [1.0, 2.0, 3.0, 4.0]}, "have masses"),
        (SwapMove(), {"constraint": FixAtoms([0, 1, 2, 3])}, "found none"),
    ],
)
def test_atoms_that_do_not_serve(move, change, message):
    atoms = alloy("CuAlAlCu")
    atoms.calc = Surface()
    for name, value in change.items():
        getattr(atoms, f"set_{name}")(value)
    for call in (lambda: move.check(atoms, True), lambda: attempt(move, atoms)):
        with pytest.raises(StructureError, match=message):
            call()


def test_a_constraint_that_names_no_atoms_forbids_swaps():
    atoms = bulk("Cu", cubic=True)
    atoms.symbols = "CuAuCuAu"
    atoms.set_constraint(FixSymmetry(atoms))
    with pytest.raises(StructureError, match="FixSymmetry"):
        SwapMove().check(atoms)


def test_a_cell_move_needs_a_pressure():
    for call in (
        lambda: CellMove().check(alloy(), False),
        lambda: attempt(CellMove(), gas(), pressure_GPa=None),
    ):
        with pytest.raises(StructureError, match="pressure"):
            call()


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (CellMove, {"interval": 0}),
        (CellMove, {"shape": "round"}),
        (CellMove, {"max_strain": 1.0}),
        (CellMove, {"target_acceptance": 1.0}),
        (CellMove, {"min_width": 1.0}),
        (CellMove, {"adaptation": -1}),
        (SwapMove, {"interval": 0}),
        (SwapMove, {"elements": ("Cu", "Cu")}),
        (SwapMove, {"cutoff": 0.0}),
    ],
)
def test_settings_out_of_range(kind, options):
    with pytest.raises(ValueError, match="move: "):
        kind(**options)
