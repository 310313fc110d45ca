"""Recipes, screening and the file of a pool; against plain geometry and brute force."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.io import read
from helpers.command_line import ENVIRONMENT
from helpers.slow_pools import ALLOY, CRYSTAL, slow_pool
from helpers.structures import copper
from hypothesis import given
from hypothesis import strategies as st

from ase_bayesel import ACEDescriptor, generate_pool, select
from ase_bayesel.dynamics.ensembles import NPT, Langevin
from ase_bayesel.dynamics.schedules import Ramp
from ase_bayesel.dynamics.triggers import Guards
from ase_bayesel.errors import DescriptorError, GenerationError, StructureError
from ase_bayesel.generation import (
    Bulk,
    Chain,
    Context,
    Dynamics,
    NearCopies,
    Rattle,
    Recipe,
    Rejected,
    Screen,
    Slab,
    StandardSlab,
    Strain,
    Swaps,
    Vacancies,
    VolumeScan,
)
from ase_bayesel.generation.recipe import origin
from ase_bayesel.generation.screening import SPREAD_FLOOR
from ase_bayesel.selection.candidates import NEAR_CORE
from ase_bayesel.selection.methods.distances import standardised
from ase_bayesel.structures.identity import structure_id

RECIPES = [
    Rattle((0.05, 0.1), copies=3),
    Strain(0.03, copies=2),
    VolumeScan(0.9, 1.1, 3),
    Vacancies((1, 2), copies=2),
    Dynamics(600.0, steps=20, interval=5, timestep_fs=2.0),
]


def made(recipe, start=CRYSTAL, context=None, seed=0):
    """All candidates of a recipe on one start."""
    rng = np.random.default_rng(seed)
    return list(recipe.frames(origin(start), context or Context(EMT()), rng))


def content(path):
    return path.read_bytes(), path.with_suffix(".jsonl").read_bytes()


# recipes


@pytest.mark.parametrize(
    ("recipe", "start"),
    [
        *((recipe, CRYSTAL) for recipe in RECIPES),
        (Swaps((1, 2), 2), ALLOY),
        (Slab((1, 1, 0), (2, 3)), CRYSTAL),
        (Bulk("Si", a=5.43, cubic=True), None),
        (StandardSlab("hcp0001", "Ti", (3,)), None),
        (Chain((Bulk("Cu", cubic=True), Slab((1, 0, 0), (2,)), Rattle((0.1,), 3))), None),
        (Chain((Vacancies((1,), 2), Rattle((0.1,), 3))), CRYSTAL),
        (Strain(0.1, 2), molecule("H2O")),
        (Chain((Swaps((1, 5), 1), Rattle((0.1,), 3))), ALLOY),
    ],
    ids=lambda value: value.name if isinstance(value, Recipe) else "",
)
def test_candidates_are_as_many_as_announced_and_repeatable(recipe, start):
    before = None if start is None else start.copy()
    frames, again, other = made(recipe, start), made(recipe, start), made(recipe, start, seed=1)
    assert len(frames) == len(again) == len(other) == recipe.size
    assert frames == again
    assert start == before
    for frame in frames:
        if isinstance(frame, Rejected):
            continue
        parent = None if start is None else structure_id(start)
        assert frame.info.get("bayesel_parent") == parent
        assert frame.info["bayesel_recipe"] == recipe.name


def test_rattles_have_their_amplitude():
    frames = made(Rattle((0.02, 0.1), copies=40))
    for amplitude in (0.02, 0.1):
        mine = [f for f in frames if f.info["bayesel_amplitude_A"] == amplitude]
        moves = np.concatenate([f.positions - CRYSTAL.positions for f in mine])
        assert moves.std() == pytest.approx(amplitude, rel=0.1)
        assert abs(moves.mean()) < 0.2 * amplitude


def test_constraints_hold():
    start = CRYSTAL.copy()
    start.set_constraint(FixAtoms([0, 3]))
    for frame in made(Rattle((0.1,))) + made(Rattle((0.1,)), start):
        held = np.flatnonzero((frame.positions == np.round(CRYSTAL.positions, 8)).all(axis=1))
        assert held.tolist() == ([0, 3] if frame.constraints else [])


def test_strains_are_symmetric_and_take_the_atoms_along():
    sizes = []
    for frame in made(Strain(0.04, copies=20)):
        deformation = np.linalg.solve(CRYSTAL.cell.array, frame.cell.array)
        np.testing.assert_allclose(deformation, deformation.T, atol=1e-7)
        strain = np.abs(deformation - np.eye(3)).max()
        assert strain == pytest.approx(frame.info["bayesel_max_strain"], abs=1e-7)
        assert strain <= 0.04
        sizes.append(strain)
        np.testing.assert_allclose(
            frame.get_scaled_positions(wrap=False), CRYSTAL.get_scaled_positions(), atol=1e-7
        )
    assert max(sizes) > 0.03


def test_a_slab_is_strained_in_its_plane():
    (slab,) = made(Slab((1, 1, 1), (3,), periodic=False))
    assert slab.pbc.tolist() == [True, True, False]
    for frame in made(Strain(0.05, copies=4), slab):
        np.testing.assert_allclose(frame.cell[2], slab.cell[2], atol=1e-7)
        np.testing.assert_allclose(frame.positions[:, 2], slab.positions[:, 2], atol=1e-7)
        assert not np.allclose(frame.cell[:2], slab.cell[:2], atol=1e-3)


def test_volumes_of_a_scan():
    frames = made(VolumeScan(0.8, 1.2, 5))
    ratios = [frame.get_volume() / CRYSTAL.get_volume() for frame in frames]
    np.testing.assert_allclose(ratios, [0.8, 0.9, 1.0, 1.1, 1.2], atol=1e-6)
    angles = [frame.cell.cellpar()[3:] for frame in frames]
    np.testing.assert_allclose(angles, 90.0)


def test_vacancies_leave_the_other_atoms():
    for frame in made(Vacancies((1, 3), copies=4)):
        count = frame.info["bayesel_vacancies"]
        assert len(frame) == len(CRYSTAL) - count
        kept = {tuple(p) for p in np.round(CRYSTAL.positions, 8)}
        assert {tuple(p) for p in frame.positions} < kept
    assert made(Vacancies((8, 1)), CRYSTAL)[0] == Rejected("too_few_atoms")


@given(st.lists(st.sampled_from([1, 6, 8]), min_size=1, max_size=9), st.integers(1, 3))
def test_swaps_exchange_unlike_atoms(numbers, count):
    start = Atoms(numbers, positions=np.arange(3 * len(numbers)).reshape(-1, 3))
    (frame,) = made(Swaps((count,)), start)
    if isinstance(frame, Rejected):
        # only where no choice of disjoint unlike pairs can be completed from some first choices
        assert frame.reason == "too_few_unlike_atoms"
        counts = Counter(numbers).most_common()
        assert len(numbers) - counts[0][1] < 2 * count
        return
    assert Counter(frame.numbers.tolist()) == Counter(numbers)
    assert (frame.numbers != start.numbers).sum() == 2 * count
    np.testing.assert_array_equal(frame.positions, start.positions)


def test_slabs_against_ase():
    from ase.build import fcc111, surface

    frames = made(Slab((1, 1, 0), (2, 4), vacuum_A=7.0, repeat=(2, 1)))
    for frame, layers in zip(frames, (2, 4), strict=True):
        expected = surface(CRYSTAL, (1, 1, 0), layers, vacuum=7.0) * (2, 1, 1)
        assert len(frame) == len(expected)
        np.testing.assert_allclose(frame.cell[:2], expected.cell[:2], atol=1e-7)
        height = np.ptp(frame.positions[:, 2])
        assert height == pytest.approx(np.ptp(expected.positions[:, 2]), abs=1e-6)
        assert frame.cell[2, 2] == pytest.approx(height + 14.0, abs=1e-6)
        assert frame.pbc.all()
        assert frame.info["bayesel_miller"] == "(1 1 0)"
    (frame,) = made(StandardSlab("fcc111", "Cu", (4,), 7.0, (2, 1), a=3.7), None)
    expected = fcc111("Cu", (2, 1, 4), a=3.7, vacuum=7.0)
    np.testing.assert_allclose(frame.positions, expected.positions, atol=1e-7)
    assert made(Slab((1, 0, 0), (2,)), molecule("CO")) == [Rejected("not_periodic")]


def test_dynamics_are_those_of_a_walker():
    """Plain MD of any calculator against ASE's own integrator with the same numbers."""
    from ase import units
    from ase.md.langevin import Langevin as ASELangevin
    from ase.md.velocitydistribution import thermalize_momenta

    recipe = Dynamics(500.0, 30, 10, equilibration=10, timestep_fs=2.0, ensemble=Langevin(0.02))
    frames = made(recipe)
    assert [frame.info["bayesel_step"] for frame in frames] == [20, 30]
    rng, atoms = np.random.default_rng(0), CRYSTAL.copy()
    atoms.calc = EMT()
    thermalize_momenta(atoms, temperature_K=500.0, rng=rng)
    friction = 0.02 / units.fs
    dynamics = ASELangevin(
        atoms, 2 * units.fs, temperature_K=500.0, friction=friction, rng=rng, fixcm=False
    )
    dynamics.run(30)
    np.testing.assert_allclose(frames[-1].positions, atoms.positions, atol=1e-7)
    assert not frames[-1].has("momenta")


def test_biased_dynamics_differ_and_need_a_surrogate(cu_surrogate):
    context = Context(cu_surrogate.calculator(), cu_surrogate)
    plain, biased = (made(Dynamics(500.0, 20, 20, tau=t), context=context)[0] for t in (None, 2.0))
    assert plain.info["bayesel_recipe"] == "md_500K"
    assert biased.info["bayesel_recipe"] == "biased_md_500K"
    assert np.abs(plain.positions - biased.positions).max() > 1e-4
    with pytest.raises(GenerationError, match="surrogate"):
        Dynamics(500.0, 20, 20, tau=2.0).check(Context(EMT()), [CRYSTAL])
    with pytest.raises(GenerationError, match="potential"):
        Chain((Rattle((0.1,)), Dynamics(500.0, 20, 20))).check(Context(), [CRYSTAL])
    with pytest.raises(ValueError, match="not both"):
        Dynamics(500.0, 20, 20, tau=1.0, tau_rel=0.1)


def test_dynamics_under_pressure_and_along_a_ramp():
    heating = Ramp(((0, 100.0), (20, 300.0)))
    recipe = Dynamics(heating, 20, 10, ensemble=NPT(), pressures_GPa=20.0, timestep_fs=2.0)
    assert recipe.name == "md_100-300K_20GPa"
    start = CRYSTAL * (1, 2, 2)
    frames = made(recipe, start)
    assert [f.info["bayesel_temperature_K"] for f in frames] == [200.0, 300.0]
    assert [f.info["bayesel_pressure_GPa"] for f in frames] == [20.0, 20.0]
    assert frames[1].get_volume() < frames[0].get_volume() < start.get_volume()


def test_snapshots_lost_to_a_guard_are_counted():
    context = Context(EMT(), guards=Guards(max_temperature_K=1500.0))
    frames = made(Dynamics(1200.0, 400, 10, ensemble=Langevin(0.05)), context=context, seed=2)
    assert len(frames) == 40
    lost = [frame for frame in frames if isinstance(frame, Rejected)]
    assert lost
    assert set(lost) == {Rejected("md_temperature")}
    assert all(isinstance(frame, Atoms) for frame in frames[: -len(lost)])


# screening


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda a: a.positions.__setitem__((0, 0), np.nan), "not_a_structure"),
        (lambda a: a.cell.__setitem__(2, [0.0, 0.0, 0.0]), "not_a_structure"),
        (lambda a: a.cell.__setitem__(0, [np.inf, 0.0, 0.0]), "not_a_structure"),
        (lambda a: a.positions.__setitem__(1, a.positions[0] + 0.5), "close_contact"),
        (lambda a: a.set_cell(1.4 * a.cell, scale_atoms=True), "volume"),
        (lambda a: a.set_cell(0.7 * a.cell, scale_atoms=True), "volume"),
        (lambda a: a.set_cell(1.2 * a.cell, scale_atoms=True), None),
        (lambda a: None, None),
    ],
)
def test_what_is_not_sane(spoil, reason):
    atoms = CRYSTAL.copy()
    spoil(atoms)
    assert Screen().broken(atoms, CRYSTAL) == reason
    if reason == "volume":
        assert Screen().broken(atoms, None) is None


def brute_force(rows, row):
    """The rule of `NearCopies` as it is stated, from all rows at once."""
    known = np.array(rows)
    spread = np.maximum(known.std(axis=0), SPREAD_FLOOR * np.sqrt(np.mean(known**2, axis=0)))
    used = spread > 1e-12 * spread.max()
    distances = [np.sqrt(np.mean(((row - x) / spread)[used] ** 2)) for x in known]
    return np.min(distances), int(np.argmin(distances))


@given(st.integers(0, 10**6), st.integers(2, 400), st.integers(1, 7))
def test_distances_against_brute_force(seed, n, n_features):
    rng = np.random.default_rng(seed)
    scales = 10.0 ** rng.integers(-3, 4, n_features)
    rows = list((rng.normal(size=(n, n_features)) + rng.normal(size=n_features)) * scales)
    near = NearCopies(n_features)
    assert near.nearest(rows[0]) == (np.inf, -1)
    for row in rows[:-1]:
        near.add(row)
    distance, closest = near.nearest(rows[-1])
    expected, index = brute_force(rows[:-1], rows[-1])
    assert distance == pytest.approx(expected, rel=1e-7)
    assert closest == index


def test_scales_become_those_of_the_whole_pool():
    rng = np.random.default_rng(0)
    pool = rng.normal(size=(500, 4)) * [1.0, 10.0, 0.1, 3.0] + [0.0, 5.0, 1.0, 9.0]
    near = NearCopies(4)
    for row in pool:
        near.add(row)
    probe = pool[7] + 0.001
    features, (scaled,) = standardised(pool, probe[None])
    expected = np.linalg.norm(features - scaled, axis=1).min() / 2.0
    assert near.nearest(probe)[0] == pytest.approx(expected, rel=1e-2)


def test_what_varies_by_rounding_alone_is_the_same():
    """Equivalent vacancies of a perfect crystal: one is kept, however few frames there are."""
    near = NearCopies(2)
    near.add(np.array([1.0, 1e-17]))
    assert near.nearest(np.array([1.0 + 1e-9, -1e-17]))[0] < NEAR_CORE
    assert near.nearest(np.array([1.0 + 1e-4, 0.0]))[0] > NEAR_CORE


# a pool


@pytest.fixture(scope="module")
def pool(tmp_path_factory, cu_surrogate):
    """Path and summary of a pool with uncertainties."""
    path = tmp_path_factory.mktemp("pool") / "pool.xyz"
    starts = [CRYSTAL, copper(3, 0.05)]
    return path, generate_pool(path, RECIPES, starts, seed=4, surrogate=cu_surrogate)


def test_every_candidate_is_accounted_for(pool):
    path, summary = pool
    frames = read(path, ":")
    assert summary.kept == len(frames)
    assert [r.recipe for r in summary.recipes] == [r.name for r in RECIPES]
    assert [r.candidates for r in summary.recipes] == [2 * r.size for r in RECIPES]
    kept = Counter(frame.info["config_type"] for frame in frames)
    assert {r.recipe: r.kept for r in summary.recipes} == dict(kept)
    assert summary.recipes[3].left_out["near_copy"] > 0  # equivalent vacancies
    lines = path.with_suffix(".jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    ids = [entry["kept"] for entry in entries if "kept" in entry]
    assert ids == [frame.info["bayesel_id"] for frame in frames]
    assert sum("left_out" in entry for entry in entries) == sum(
        sum(r.left_out.values()) for r in summary.recipes
    )


def test_uncertainties_are_those_of_the_surrogate(pool, cu_surrogate):
    for frame in read(pool[0], "::7"):
        found = cu_surrogate.uncertainty(frame)
        per_atom = found.energy / len(frame)
        assert frame.info["bayesel_energy_std_per_atom"] == pytest.approx(per_atom, rel=1e-6)
        assert frame.info["bayesel_max_force_std"] == pytest.approx(found.forces.max(), rel=1e-6)
        assert frame.info["bayesel_id"] == structure_id(frame)


def test_no_two_frames_are_near_by_the_stated_rule(pool, cu_ace):
    frames = read(pool[0], ":")
    rows = [features.total / len(features.values) for features in cu_ace.compute(frames)]
    for number in range(1, len(rows)):
        assert brute_force(rows[:number], rows[number])[0] >= NEAR_CORE


def test_the_same_seed_gives_the_same_file(pool, tmp_path, cu_surrogate):
    starts = [CRYSTAL, copper(3, 0.05)]
    generate_pool(tmp_path / "p.xyz", RECIPES, starts, seed=4, surrogate=cu_surrogate)
    assert content(tmp_path / "p.xyz") == content(pool[0])
    generate_pool(tmp_path / "q.xyz", RECIPES[:1], starts, seed=5, surrogate=cu_surrogate)
    assert (tmp_path / "q.xyz").read_bytes()[:4000] != pool[0].read_bytes()[:4000]


def test_once_finished_nothing_is_done_again(pool, cu_surrogate):
    before, events = content(pool[0]), []
    starts = [CRYSTAL, copper(3, 0.05)]
    options = {"seed": 4, "surrogate": cu_surrogate, "on_progress": events.append}
    again = generate_pool(pool[0], RECIPES, starts, **options)
    assert again == pool[1]
    assert content(pool[0]) == before
    assert events == []


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("after", [1, 7, 13, 21, 30])
@pytest.mark.parametrize("torn", [0, 30, 700])
def test_taken_up_again(pool, tmp_path, cu_surrogate, after, torn):
    """Interrupted after some candidates, the end of the files lost; then run to the end."""
    path, starts = tmp_path / "p.xyz", [CRYSTAL, copper(3, 0.05)]

    def interrupt(progress):
        if progress.done == after:
            raise Interrupted

    options = {"seed": 4, "surrogate": cu_surrogate}
    with pytest.raises(Interrupted):
        generate_pool(path, RECIPES, starts, **options, on_progress=interrupt)
    os.truncate(path, max(path.stat().st_size - torn, 0))
    journal = path.with_suffix(".jsonl")
    os.truncate(journal, journal.stat().st_size - min(torn, 40))
    assert generate_pool(path, RECIPES, starts, **options).recipes == pool[1].recipes
    assert content(path) == content(pool[0])


def test_recipes_may_be_added_at_the_end(pool, tmp_path, cu_surrogate):
    path, starts = tmp_path / "p.xyz", [CRYSTAL, copper(3, 0.05)]
    for recipes in (RECIPES[:2], RECIPES):
        summary = generate_pool(path, recipes, starts, seed=4, surrogate=cu_surrogate)
    assert summary.recipes == pool[1].recipes
    assert path.read_bytes() == pool[0].read_bytes()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": 5}, "seed"),
        ({"surrogate": None}, "descriptor, surrogate"),
        ({"core": [CRYSTAL]}, "core"),
        ({"screen": Screen(near=0.1)}, "screen"),
        ({"recipes": [Rattle((0.3,)), *RECIPES[1:]]}, "recipe 0"),
        ({"starts": [copper(9), CRYSTAL]}, "start 0"),
    ],
)
def test_another_request_is_refused(pool, cu_surrogate, changes, named):
    given = {"recipes": RECIPES, "starts": [CRYSTAL, copper(3, 0.05)], "seed": 4}
    given |= {"surrogate": cu_surrogate, "calculator": EMT()}
    before = content(pool[0])
    with pytest.raises(GenerationError, match=named):
        generate_pool(pool[0], **(given | changes))
    assert content(pool[0]) == before


def test_a_pool_without_frames_is_begun_anew(tmp_path):
    """Of a first attempt with a wrong descriptor, say, nothing is in the way."""
    path = tmp_path / "p.xyz"
    given = {"starts": [CRYSTAL], "descriptor": ACEDescriptor(["Si"], totaldegree=6)}
    with pytest.raises(DescriptorError):
        generate_pool(path, RECIPES[:1], **given)
    assert generate_pool(path, RECIPES[1:2], [CRYSTAL]).kept == 2
    path.unlink()
    assert generate_pool(path, RECIPES[:1], [CRYSTAL]).kept == 6
    other = tmp_path / "notes.jsonl"
    other.write_text('{"mine": 1}\n')
    with pytest.raises(GenerationError, match="no journal"):
        generate_pool(tmp_path / "notes.xyz", RECIPES[:1], [CRYSTAL])
    assert other.read_text() == '{"mine": 1}\n'


def test_files_of_others_are_left_alone(tmp_path, pool):
    path = tmp_path / "mine.xyz"
    path.write_bytes(pool[0].read_bytes())
    with pytest.raises(GenerationError, match="journal"):
        generate_pool(path, RECIPES[:1], [CRYSTAL])
    ours = tmp_path / "ours.xyz"
    generate_pool(ours, RECIPES[:1], [CRYSTAL])
    with open(ours, "ab") as handle:
        handle.write(pool[0].read_bytes())
    before = ours.read_bytes()
    with pytest.raises(GenerationError, match="does not know"):
        generate_pool(ours, RECIPES[:1], [CRYSTAL])
    assert ours.read_bytes() == before
    assert path.read_bytes() == pool[0].read_bytes()
    for text in ("no journal\n", '{"format": "x"}\n', "[1]\n"):
        ours.with_suffix(".jsonl").write_text(text)
        with pytest.raises(GenerationError, match="line 1"):
            generate_pool(ours, RECIPES[:1], [CRYSTAL])
    with pytest.raises(GenerationError, match="ending"):
        generate_pool(tmp_path / "pool.jsonl", RECIPES[:1], [CRYSTAL])


def test_copies_of_the_core_are_left_out(tmp_path, cu_surrogate):
    first = generate_pool(tmp_path / "a.xyz", RECIPES[:2], [CRYSTAL], surrogate=cu_surrogate)
    core = read(tmp_path / "a.xyz", ":")
    summary = generate_pool(
        tmp_path / "b.xyz", RECIPES[:2], [CRYSTAL], surrogate=cu_surrogate, core=core
    )
    assert (first.kept, summary.kept) == (8, 0)
    assert [dict(r.left_out) for r in summary.recipes] == [{"copy_of_core": 6}, {"copy_of_core": 2}]
    moved = CRYSTAL.copy()
    moved.rattle(1e-7, seed=0)
    near = generate_pool(
        tmp_path / "c.xyz",
        [VolumeScan(1.0, 1.0, 1)],
        [moved],
        surrogate=cu_surrogate,
        core=[CRYSTAL],
    )
    assert dict(near.recipes[0].left_out) == {"near_copy_of_core": 1}


def test_without_a_descriptor_only_exact_copies_are_left_out(tmp_path):
    summary = generate_pool(tmp_path / "p.xyz", [VolumeScan(1.0, 1.0, 2)], [CRYSTAL])
    assert dict(summary.recipes[0].left_out) == {"copy": 1}
    moved = CRYSTAL.copy()
    moved.rattle(1e-6, seed=0)
    summary = generate_pool(tmp_path / "q.xyz", [VolumeScan(1.0, 1.0, 1)], [CRYSTAL, moved])
    assert summary.kept == 2
    assert "bayesel_max_force_std" not in read(tmp_path / "q.xyz", "0").info


@pytest.mark.parametrize(
    ("recipes", "starts", "named"),
    [
        ([], [CRYSTAL], "no recipe"),
        ([Rattle((0.1,))], [], "rattle: needs starts"),
        ([Dynamics(300.0, 10, 5)], [CRYSTAL], "md_300K: needs a potential"),
        ([Bulk("Xx")], [], "bulk"),
        ([StandardSlab("fcc999", "Cu", (3,))], [], "fcc999"),
        ([StandardSlab("fcc111", "Si", (3,))], [], "fcc111"),
        ([Chain((Rattle((0.1,)), Bulk("Cu")))], [CRYSTAL], "only its first"),
        ([Rattle((0.1,))], [Atoms()], "start 0"),
        ([Dynamics(9.0, 5, 5, ensemble=NPT(), pressures_GPa=1.0)], [molecule("CO")], "start 0"),
    ],
)
def test_bad_requests_leave_nothing_behind(tmp_path, recipes, starts, named):
    calculator = EMT() if "start" in named else None
    with pytest.raises((GenerationError, StructureError), match=named):
        generate_pool(tmp_path / "p.xyz", recipes, starts, calculator=calculator)
    assert list(tmp_path.iterdir()) == []


def test_from_a_pool_to_picks(pool, cu_surrogate):
    found = select(pool[0], 4, "information_gain", core=cu_surrogate)
    frames = read(pool[0], ":")
    rows = [cu_surrogate.rows(frame) for frame in frames]
    first = np.argmax([cu_surrogate.posterior.information_gain(r) for r in rows])
    assert found.indices[0] == first
    assert len(set(found.indices.tolist())) == 4


@pytest.mark.slow
def test_killed_and_run_again(tmp_path):
    """SIGKILL at several moments, each time taken up where it was; against an undisturbed run."""
    whole, path = tmp_path / "whole.xyz", tmp_path / "p.xyz"
    expected = slow_pool(whole)
    command = [
        sys.executable,
        "-c",
        f"from helpers.slow_pools import slow_pool; slow_pool({str(path)!r})",
    ]
    environment = ENVIRONMENT | {"SLOW": "0.005"}
    kills = 0
    for fraction in (0.1, 0.4, 0.8):
        process = subprocess.Popen(command, env=environment)
        while process.poll() is None:
            if path.exists() and path.stat().st_size > fraction * whole.stat().st_size:
                process.send_signal(signal.SIGKILL)
                process.wait()
                kills += process.returncode == -signal.SIGKILL
            time.sleep(0.001)
    assert kills == 3
    assert slow_pool(path).recipes == expected.recipes
    assert content(path) == content(whole)
