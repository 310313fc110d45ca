"""Trajectories and logs of walkers: what they hold, and that a resume is exact."""

from itertools import islice

import numpy as np
import pytest
from ase import units
from ase.io import read, write
from helpers.structures import copper
from hypothesis import given
from hypothesis import strategies as st

from ase_bayesel import BiasedCalculator, ForceTrigger, WalkerStep, run_walker
from ase_bayesel.dynamics.recording import (
    LOG_DTYPE,
    Recorder,
    StepLog,
    TrajectoryFile,
    log_row,
    read_log,
    recorded,
    recorded_frame,
)
from ase_bayesel.errors import StoreError

START = copper(1, 0.05)


def walker(surrogate, n_steps=20, atoms=START, rng=None, first_step=0, **options):
    """A biased walker that evaluates a trigger at every second step."""
    calculator = BiasedCalculator(surrogate.calculator(), surrogate, tau=0.5, separate=True)
    return run_walker(
        atoms,
        calculator,
        n_steps=n_steps,
        temperature_K=600.0,
        rng=rng or np.random.default_rng(3),
        triggers=[ForceTrigger(1e9)],
        check_interval=2,
        first_step=first_step,
        **options,
    )


@pytest.fixture(scope="module")
def steps(cu_surrogate):
    return list(walker(cu_surrogate))


def rows_of(numbers, walker=0):
    rows = np.zeros(len(numbers), LOG_DTYPE)
    rows["step"], rows["walker"] = numbers, walker
    return rows


def test_the_log_holds_every_step(tmp_path, steps, cu_surrogate):
    assert len(list(recorded(walker(cu_surrogate), Recorder(log=tmp_path / "log")))) == 21
    rows = read_log(tmp_path / "log")
    assert rows.dtype == LOG_DTYPE
    np.testing.assert_array_equal(rows["step"], np.arange(21))
    for row, step in zip(rows, steps, strict=True):
        assert row["energy"] == step.prediction.energy
        assert row["energy_std"] == step.prediction.energy_std
        assert row["bias_energy"] == -0.5 * row["energy_std"]
        assert row["temperature_K"] == step.temperature_K
        assert row["volume"] == pytest.approx(step.atoms.get_volume())
        assert row["status"] == b"running"
        assert np.isnan(row["trigger_value"]) == (not step.reports)
        if step.reports:
            assert row["trigger_value"] == step.reports[0].value


def test_the_pressure_is_that_of_the_unbiased_surface(steps, cu_surrogate):
    """Against ASE's own stress with its kinetic part."""
    calculator = BiasedCalculator(cu_surrogate.calculator(), cu_surrogate, tau=0.5, separate=True)
    atoms = steps[7].atoms.copy()
    atoms.calc = calculator
    atoms.get_stress()
    step = WalkerStep(7, atoms, calculator.prediction, atoms.get_temperature())
    plain = atoms.copy()
    plain.calc = cu_surrogate.calculator()
    expected = -plain.get_stress(include_ideal_gas=True)[:3].mean() / units.GPa
    assert log_row(step)["pressure_GPa"][0] == pytest.approx(expected, rel=1e-9)


def test_nothing_is_evaluated_for_the_record(tmp_path, cu_surrogate, monkeypatch):
    calls = []
    compute = type(cu_surrogate.descriptor).compute
    linearize = type(cu_surrogate.descriptor).linearize

    def counted(function):
        return lambda *given, **options: calls.append(1) or function(*given, **options)

    monkeypatch.setattr(type(cu_surrogate.descriptor), "compute", counted(compute))
    monkeypatch.setattr(type(cu_surrogate.descriptor), "linearize", counted(linearize))
    counts = []
    for recorder in (Recorder(), Recorder(tmp_path / "t.xyz", 1, tmp_path / "log")):
        calls.clear()
        for _ in recorded(walker(cu_surrogate), recorder):
            pass
        counts.append(len(calls))
    assert counts[0] == counts[1] > 20


@pytest.mark.parametrize("name", ["walker.xyz", "walker.traj"])
def test_frames_of_the_trajectory(name, tmp_path, steps, cu_surrogate):
    for _ in recorded(walker(cu_surrogate), Recorder(tmp_path / name, 4, walker=2)):
        pass
    frames = read(tmp_path / name, ":")
    assert [frame.info["bayesel_step"] for frame in frames] == [0, 4, 8, 12, 16, 20]
    for frame in frames:
        step = steps[frame.info["bayesel_step"]]
        np.testing.assert_allclose(frame.positions, step.atoms.positions, atol=1e-8)
        np.testing.assert_allclose(frame.get_momenta(), step.atoms.get_momenta(), atol=1e-7)
        found = step.prediction
        assert frame.info["bayesel_walker"] == 2
        assert frame.info["bayesel_energy"] == pytest.approx(found.energy)
        biased = found.energy + found.bias_energy
        assert frame.info["bayesel_biased_energy"] == pytest.approx(biased)
        assert frame.info["bayesel_energy_std"] == pytest.approx(found.energy_std)
        force_std = frame.arrays.get("bayesel_force_std", frame.info.get("bayesel_force_std"))
        assert (force_std is None) == (not step.reports)
        if step.reports:
            np.testing.assert_allclose(force_std, found.force_std, atol=1e-7)
            assert frame.info["bayesel_value_force"] == pytest.approx(step.reports[0].value)


def test_no_frame_can_be_taken_for_a_label(steps):
    frame = recorded_frame(steps[4])
    assert all(key.startswith("bayesel_") for key in frame.info)
    assert frame.calc is None
    labelled = steps[4].atoms.copy()
    labelled.info["energy"] = 1.0
    step = WalkerStep(4, labelled, None, 300.0)
    assert "energy" not in recorded_frame(step).info


def test_a_stopped_walker(tmp_path, cu_surrogate):
    start = copper(1, 0.05)
    start.positions[1] = start.positions[0] + [0.0, 0.0, 0.5]
    recorder = Recorder(tmp_path / "t.xyz", 1, tmp_path / "log")
    (step,) = recorded(walker(cu_surrogate, atoms=start), recorder)
    (row,) = read_log(tmp_path / "log")
    assert row["status"].decode() == step.status == "close_contact"
    assert np.isnan(row["energy"])
    assert not (tmp_path / "t.xyz").exists()


@pytest.mark.parametrize("name", ["walker.xyz", "walker.traj"])
@pytest.mark.parametrize("saved_at", [0, 6, 7])
def test_a_resume_neither_repeats_nor_leaves_gaps(name, saved_at, tmp_path, cu_surrogate):
    """Run past the saved state, lose the process, take it up from there; against one go."""
    for _ in recorded(
        walker(cu_surrogate), Recorder(tmp_path / f"whole_{name}", 3, tmp_path / "whole")
    ):
        pass
    trajectory, log = tmp_path / name, tmp_path / "log"
    rng = np.random.default_rng(3)
    recorder, saved = Recorder(trajectory, 3, log), None
    for step in islice(walker(cu_surrogate, rng=rng), 12):
        if step.step == saved_at:
            saved = step.atoms.copy(), rng.bit_generator.state
        recorder.add(step)
        if step.step in (saved_at, 9):
            recorder.flush()  # what comes after 9 is lost
    rng.bit_generator.state = saved[1]
    resumed = Recorder(trajectory, 3, log, resume_at=saved_at)
    if saved_at == 0:
        saved = START, np.random.default_rng(3).bit_generator.state
        rng.bit_generator.state = saved[1]
    for _ in recorded(walker(cu_surrogate, atoms=saved[0], rng=rng, first_step=saved_at), resumed):
        pass
    rows, whole = read_log(log), read_log(tmp_path / "whole")
    np.testing.assert_array_equal(rows["step"], np.arange(21))
    for column in ("energy", "temperature_K", "energy_std"):
        np.testing.assert_array_equal(rows[column], whole[column])
    ours, theirs = read(trajectory, ":"), read(tmp_path / f"whole_{name}", ":")
    assert [frame.info for frame in ours] == [frame.info for frame in theirs]
    if name.endswith("xyz"):
        assert trajectory.read_bytes() == (tmp_path / f"whole_{name}").read_bytes()


def test_a_torn_frame_is_removed(tmp_path, steps):
    path = tmp_path / "t.xyz"
    trajectory = TrajectoryFile(path)
    trajectory.append([recorded_frame(step) for step in steps[:5]])
    trajectory.flush()
    whole = path.read_bytes()
    for lost in (1, 40, 200, len(whole) // 5 - 2):
        path.write_bytes(whole[:-lost])
        TrajectoryFile(path, 100)
        assert [frame.info["bayesel_step"] for frame in read(path, ":")] == [0, 1, 2, 3]


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 5), st.booleans()), max_size=12),
    st.tuples(*[st.integers(-1, 12)] * 3),
)
def test_cutting_a_log_of_several_walkers(tmp_path_factory, blocks, last):
    """Blocks of steps of three walkers, flushed or not, against plain filtering."""
    folder = tmp_path_factory.mktemp("log")
    log, at, written, waiting = StepLog(folder), [0, 0, 0], [], []
    for walker_number, length, flush in blocks:
        numbers = list(range(at[walker_number], at[walker_number] + length))
        at[walker_number] += length
        log.append(rows_of(numbers, walker_number))
        waiting += [(walker_number, number) for number in numbers]
        if flush:
            log.flush()
            written, waiting = written + waiting, []
    again = StepLog(folder, dict(enumerate(last)))
    kept = sorted((w, n) for w, n in written if n <= last[w])
    assert [(row["walker"], row["step"]) for row in read_log(folder)] == kept
    again.append(rows_of([99], 1))
    again.flush()
    assert len(read_log(folder)) == len(kept) + 1


def test_picks_are_marked_before_and_after_they_are_written(tmp_path):
    log = StepLog(tmp_path / "log")
    log.append(rows_of(range(5)))
    log.append(rows_of(range(5), walker=1))
    log.mark_picked(1, 3)
    log.flush()
    log.append(rows_of([5]))
    log.flush()
    log.mark_picked(0, 2)
    rows = read_log(tmp_path / "log")
    assert [(r["walker"], r["step"]) for r in rows[rows["picked"]]] == [(0, 2), (1, 3)]


def test_chunks_are_written_on_the_way(tmp_path, monkeypatch):
    monkeypatch.setattr("ase_bayesel.dynamics.recording.log.CHUNK_ROWS", 4)
    log = StepLog(tmp_path / "log")
    for number in range(10):
        log.append(rows_of([number]))
    assert read_log(tmp_path / "log")["step"].tolist() == list(range(8))


def test_what_is_there_is_never_overwritten(tmp_path, steps):
    StepLog(tmp_path / "log").append(rows_of([0]))
    log = StepLog(tmp_path / "log")
    log.append(rows_of([0]))
    log.flush()
    with pytest.raises(StoreError, match="log"):
        StepLog(tmp_path / "log")
    trajectory = TrajectoryFile(tmp_path / "t.xyz")
    trajectory.append([recorded_frame(steps[0])])
    trajectory.flush()
    with pytest.raises(StoreError, match=r"t\.xyz"):
        TrajectoryFile(tmp_path / "t.xyz")
    foreign = tmp_path / "foreign.xyz"
    write(foreign, START)
    before = foreign.read_bytes()
    with pytest.raises(StoreError, match="no recorded"):
        TrajectoryFile(foreign, 10)
    assert foreign.read_bytes() == before
    (tmp_path / "log" / "000000.npz").write_bytes(b"no archive")
    with pytest.raises(StoreError, match=r"000000\.npz"):
        read_log(tmp_path / "log")
