"""Guards that look at a frame beside the start, and deliberate explosions."""

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, fcc111, molecule
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.io import read, write
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import thermalize_momenta
from helpers.campaigns import write_campaign
from helpers.structures import copper, sheared, with_pbc
from hypothesis import given
from hypothesis import strategies as st

from ase_bayesel import BiasedCalculator, Campaign, Guards, TauRule, run_walker
from ase_bayesel.campaign.config.loading import load_config
from ase_bayesel.campaign.events import Ended
from ase_bayesel.errors import StructureError

CRYSTAL = bulk("Cu", cubic=True) * (2, 2, 2)
PAIR = Atoms("Cu2", [[0, 0, 0], [0, 0, 2.5]])
NAMED = {
    "nan",
    "volume",
    "close_contact",
    "force",
    "temperature",
    "lost_atoms",
    "melted",
    "calculator_error",
}


def scaled(atoms, factor):
    """A copy with ``factor`` times the volume."""
    out = atoms.copy()
    out.set_cell(out.cell.array * factor ** (1 / 3), scale_atoms=True)
    return out


def shifted(atoms, atom, vector):
    out = atoms.copy()
    out.positions[atom] += vector
    return out


@pytest.mark.parametrize(
    ("factor", "broken"), [(0.49, True), (0.51, False), (1.99, False), (2.01, True)]
)
def test_volume_both_ways(factor, broken):
    guards = Guards(volume_ratio=2.0, close_contact=None)
    assert guards.violated(scaled(CRYSTAL, factor)) is None
    found = guards.against(CRYSTAL).violated(scaled(CRYSTAL, factor))
    assert found == ("volume" if broken else None)


def test_volume_without_a_cell_or_periodicity():
    assert Guards().against(PAIR).violated(PAIR) is None
    free = with_pbc(CRYSTAL, False)
    assert Guards(close_contact=None).against(free).violated(scaled(free, 9.0)) is None


def test_a_collapsed_cell_is_told_by_its_volume():
    flat = CRYSTAL.copy()
    flat.set_cell(CRYSTAL.cell.array * 1e-3, scale_atoms=True)
    assert Guards().against(CRYSTAL).violated(flat) == "volume"


@pytest.mark.parametrize("name", ["volume_ratio", "lost_atoms"])
@pytest.mark.parametrize("value", [1.0, 0.5, float("nan")])
def test_ratios_that_make_no_sense_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name}: must be above 1"):
        Guards(**{name: value})


# lost atoms


def test_a_lost_atom():
    """2 (1.32 + 1.32) A = 5.28 A between neighbours."""
    guards = Guards(lost_atoms=2.0).against(PAIR)
    assert guards.violated(shifted(PAIR, 1, [0, 0, 2.77])) is None
    assert guards.violated(shifted(PAIR, 1, [0, 0, 2.79])) == "lost_atoms"
    assert Guards(lost_atoms=2.2).against(PAIR).violated(shifted(PAIR, 1, [0, 0, 2.79])) is None


def test_a_lost_fragment_has_neighbours_of_its_own():
    chain = Atoms("Cu4", [[0, 0, 2.5 * k] for k in range(4)])
    broken = chain.copy()
    broken.positions[2:, 2] += 3.0
    assert Guards(lost_atoms=2.0).against(chain).violated(broken) == "lost_atoms"


def test_what_was_apart_may_stay_apart_or_meet():
    """Two molecules: they may fly off as wholes, meet, but not break."""
    pair = molecule("H2O")
    other = pair.copy()
    other.positions += [8.0, 0.0, 0.0]
    start = pair + other
    guards = Guards(lost_atoms=2.0, close_contact=None).against(start)
    for vector, found in (([30.0, 0, 0], None), ([-6.5, 0, 0], None)):
        moved = start.copy()
        moved.positions[3:] += vector
        assert guards.violated(moved) == found
    assert guards.violated(shifted(start, 4, [0, 4.0, 4.0])) == "lost_atoms"


def test_neighbours_across_the_boundary_count():
    guards = Guards(lost_atoms=2.0).against(CRYSTAL)
    across = CRYSTAL.copy()
    across.positions += CRYSTAL.cell.array[0]
    assert guards.violated(across) is None
    assert guards.violated(shifted(CRYSTAL, 0, CRYSTAL.cell.array.sum(axis=0))) is None


@given(st.integers(0, 2**32 - 1), st.sampled_from([True, False, (True, True, False)]))
def test_coming_apart_against_brute_force(seed, pbc):
    """Random walks of sparse gases; all pairs by minimum images, fragments by hand."""

    def parts(atoms, limit):
        near = atoms.get_all_distances(mic=bool(any(atoms.pbc))) < limit * 2 * 1.32
        labels = np.arange(len(atoms))
        for _ in range(len(atoms)):
            labels = np.array([labels[row].min() for row in near])
        return labels

    rng = np.random.default_rng(seed)
    start = Atoms("Cu12", rng.uniform(0, 10, (12, 3)), cell=[10, 10, 10], pbc=pbc)
    guards = Guards(None, None, None, lost_atoms=1.4).against(start)
    before, moved = parts(start, 1.3), start.copy()
    for _ in range(4):
        moved.positions += rng.normal(0, 0.3, (12, 3))
        now = parts(moved, 1.4)
        apart = any(len(set(now[before == number])) > 1 for number in set(before))
        assert guards.violated(moved) == ("lost_atoms" if apart else None)


def test_molecules_may_part_though_hydrogen_bonds_are_shorter_than_the_limit():
    dimer = Atoms(
        "OHHOHH",
        [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0], [2.85, 0, 0], [3.2, 0.9, 0], [3.2, -0.9, 0]],
    )
    assert dimer.get_distance(1, 3) < 2.0 * (0.66 + 0.31)
    guards = Guards(lost_atoms=2.0).against(dimer)
    parted = dimer.copy()
    parted.positions[3:] += [3.0, 0, 0]
    assert guards.violated(parted) is None
    assert guards.violated(shifted(parted, 1, [1.5, 0, 0])) == "lost_atoms"


def test_an_atom_that_leaves_a_slab():
    slab = fcc111("Cu", (2, 2, 3), vacuum=8.0)
    slab.pbc = (True, True, False)
    guards = Guards(lost_atoms=2.0).against(slab)
    top = int(np.argmax(slab.positions[:, 2]))
    assert guards.violated(shifted(slab, top, [0, 0, 2.5])) is None
    assert guards.violated(shifted(slab, top, [0, 0, 6.0])) == "lost_atoms"


@pytest.mark.parametrize("pbc", [False, (True, True, False)])
def test_atoms_far_outside(pbc):
    """Along directions without periodicity; drift does not count, nor do periodic directions."""
    start = with_pbc(CRYSTAL, pbc)
    guards = Guards(escape_A=10.0).against(start)
    drifted = start.copy()
    drifted.positions += [0, 0, 500.0]
    assert guards.violated(drifted) is None
    n = len(start)
    for distance, found in ((9.0, None), (12.0, "lost_atoms")):
        atom = int(np.argmax(start.positions[:, 2]))
        vector = np.array([0, 0, distance * n / (n - 1)])
        assert guards.violated(shifted(start, atom, vector)) == found
        atom = int(np.argmin(start.positions[:, 2]))
        assert guards.violated(shifted(start, atom, -vector)) == found
    sideways = guards.violated(shifted(start, 0, [-50.0, 0, 0]))
    assert sideways == (None if any(start.pbc) else "lost_atoms")
    assert Guards(escape_A=1.0).against(CRYSTAL).violated(shifted(CRYSTAL, 0, [99, 0, 0])) is None


# melted


def test_displacement_in_units_of_the_spacing():
    """A brute-force rms: every atom by the same length in a random direction, drift taken off."""
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(len(CRYSTAL), 3))
    directions -= directions.mean(axis=0)
    directions /= np.sqrt(np.mean(np.sum(directions**2, axis=1)))
    spacing = CRYSTAL.get_all_distances(mic=True)[0, 1:].min()
    guards = Guards(melted=0.3, close_contact=None).against(CRYSTAL)
    for factor, found in ((0.299, None), (0.301, "melted")):
        moved = CRYSTAL.copy()
        moved.positions += factor * spacing * directions + [3.0, -1.0, 2.0]
        assert guards.violated(moved) == found


@pytest.mark.parametrize("pbc", [True, (True, True, False)])
def test_a_deformed_cell_is_no_melt(pbc):
    start = with_pbc(CRYSTAL, pbc)
    if not all(start.pbc):
        start.cell[2] = 0.0
    guards = Guards(melted=0.05).against(start)
    assert guards.violated(sheared(start)) is None
    assert guards.violated(shifted(start, 3, [0, 0, 1.0])) == "melted"


@given(st.integers(0, 2**32 - 1), st.floats(0, 0.2))
def test_sane_frames_break_nothing(seed, std):
    rng = np.random.default_rng(seed)
    moved = sheared(CRYSTAL)
    moved.positions += rng.normal(0, std, moved.positions.shape) + rng.normal(size=3)
    guards = Guards(lost_atoms=2.0, escape_A=1.0, melted=0.25)
    assert guards.against(CRYSTAL).violated(moved) is None


def test_a_start_without_neighbours_cannot_melt():
    with pytest.raises(StructureError, match="melted: no atom"):
        Guards(melted=0.3).against(Atoms("Cu"))


def test_lennard_jones_melts_where_it_should():
    """Argon at 30 K stays; at 1500 K and the same volume it is a liquid."""
    start = bulk("Ar", cubic=True, a=5.3) * (2, 2, 2)
    guards = Guards(melted=0.3).against(start)
    found = {}
    for temperature in (30.0, 1500.0):
        atoms, rng = start.copy(), np.random.default_rng(0)
        atoms.calc = LennardJones(epsilon=0.0104, sigma=3.4, rc=6.0, smooth=True)
        thermalize_momenta(atoms, temperature_K=2 * temperature, rng=rng)
        dynamics = Langevin(
            atoms,
            5 * units.fs,
            temperature_K=temperature,
            friction=0.01 / units.fs,
            fixcm=False,
            rng=rng,
        )
        dynamics.run(250)
        found[temperature] = guards.violated(atoms)
    assert found == {30.0: None, 1500.0: "melted"}


# in walkers


@pytest.fixture
def calculator(cu_surrogate):
    return BiasedCalculator(cu_surrogate.calculator(), cu_surrogate, tau=0.5)


def walk(calculator, atoms, **options):
    defaults = {"n_steps": 200, "temperature_K": 300.0, "rng": np.random.default_rng(0)}
    return run_walker(atoms, calculator, **(defaults | options))


def test_a_walker_binds_guards_to_its_start(calculator):
    """A crystal as hot as a gas melts before anything else goes wrong."""
    start = copper(1, 0.02, repeat=(1, 1, 2))
    guards = Guards(max_temperature_K=None, max_force=None, melted=0.15)
    *_, last, end = walk(calculator, start, temperature_K=6000.0, timestep_fs=2.0, guards=guards)
    assert end.status == "melted"
    bound = guards.against(start)
    assert bound.violated(last.atoms) is None
    np.testing.assert_array_equal(end.atoms.positions, last.atoms.positions)


def test_taken_up_again_with_the_same_start(cu_surrogate):
    """Where it ends depends on the first frame, not on that of the resume."""
    start = copper(1, 0.02, repeat=(1, 1, 2))
    guards = Guards(max_temperature_K=None, max_force=None, melted=0.15).against(start)

    def fresh():
        return BiasedCalculator(cu_surrogate.calculator(), cu_surrogate, tau=0.5)

    options = {"temperature_K": 6000.0, "timestep_fs": 2.0, "guards": guards}
    whole = list(walk(fresh(), start, **options))
    rng, half, steps = np.random.default_rng(0), len(whole) // 2, []
    for step in walk(fresh(), start, rng=rng, **options):
        steps.append(step)
        if step.step == half:
            break
    again = {**options, "rng": rng, "first_step": half}
    rest = list(walk(fresh(), steps[-1].atoms.copy(), **again))
    assert (rest[-1].step, rest[-1].status) == (whole[-1].step, "melted")


def test_an_insane_start_is_not_measured(calculator):
    broken = copper(1, 0.02)
    broken.positions[0] = np.nan
    guards = Guards(lost_atoms=2.0, melted=0.3)
    assert [step.status for step in walk(calculator, broken, guards=guards)] == ["nan"]


# deliberate explosions


UNLIMITED = TauRule(50.0, delay=1, force_max=1e6, max_excess_temperature=1e6)
OVERLAPPING = copper(1, 0.02, repeat=(1, 1, 2))
OVERLAPPING.positions[1] = OVERLAPPING.positions[0] + [0.0, 0.0, 0.3]
GUARDS = Guards(lost_atoms=2.0, escape_A=20.0, melted=0.4)


@pytest.mark.parametrize(
    ("start", "options"),
    [
        (copper(1, 0.02), {"timestep_fs": 1e3}),
        (copper(1, 0.02), {"timestep_fs": 1e8}),
        (with_pbc(copper(1, 0.02), False), {"timestep_fs": 100.0}),
        (OVERLAPPING, {}),
        (copper(1, 0.1, repeat=(1, 1, 2)), {"tau_rel": UNLIMITED}),
    ],
    ids=["huge timestep", "absurd timestep", "cluster", "overlap", "tau_rel = 50"],
)
@pytest.mark.parametrize("guards", [Guards(), GUARDS], ids=["default", "all"])
def test_explosions_end_as_named_statuses(cu_surrogate, start, options, guards):
    options = dict(options)
    tau_rel = options.pop("tau_rel", None)
    strength = {"tau": 0.5} if tau_rel is None else {"tau_rel": tau_rel}
    calculator = BiasedCalculator(cu_surrogate.calculator(), cu_surrogate, **strength)
    *sane, end = walk(calculator, start, guards=guards, n_steps=400, **options)
    assert end.status in NAMED
    assert {step.status for step in sane} <= {"running"}
    if sane:
        assert guards.against(start).violated(end.atoms, end.prediction) is None


NO_LIMITS = {"force_max": 1e6, "max_excess_temperature": 1e6}
EVERY_GUARD = {"lost_atoms": 2.0, "escape_A": 20.0, "melted": 0.4}


@pytest.mark.parametrize(
    "changes",
    [
        {"explore.timestep_fs": 100.0},
        {"explore.tau_rel": 50.0, "explore.bias": NO_LIMITS, "explore.timestep_fs": 4.0},
        {"explore.pick": {"at": "peak"}, "explore.timestep_fs": 60.0},
    ],
    ids=["huge timestep", "tau_rel = 50", "peak"],
)
def test_a_campaign_of_explosions_completes(tmp_path, changes):
    """Its picks, if any, are sane structures that get labels."""
    config = write_campaign(tmp_path, {"explore.guards": EVERY_GUARD, **changes})
    campaign = Campaign(load_config(config), tmp_path / "campaign")
    *_, last = campaign.run()
    assert isinstance(last, Ended)
    reports = [campaign.store.read_report(k) for k in range(campaign.store.completed_rounds())]
    statuses = {status for report in reports for status in report.walkers}
    assert statuses & NAMED
    assert statuses <= NAMED | {"running", "finished"}
    assert sum(report.failed for report in reports) == 0
    for number in range(1, len(reports)):
        for pick in campaign.store.read_batch(number):
            pick.calc = EMT()
            assert Guards().violated(pick) is None
            assert np.isfinite(pick.get_forces()).all()


def test_a_campaign_with_an_overlapping_start_completes(tmp_path):
    config = write_campaign(tmp_path, {"explore.guards": {**EVERY_GUARD, "close_contact": None}})
    starts = read(tmp_path / "starts.extxyz", ":")
    starts[0].positions[1] = starts[0].positions[0] + [0.0, 0.0, 0.4]
    write(tmp_path / "starts.extxyz", starts)
    campaign = Campaign(load_config(config), tmp_path / "campaign")
    *_, last = campaign.run()
    assert last.reason == "all 2 rounds are done"
    for number in (1, 2):
        report = campaign.store.read_report(number)
        assert report.walkers[0] == "force"
        assert {p.info["bayesel_walker"] for p in campaign.store.read_batch(number)} == {1}
