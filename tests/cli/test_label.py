"""``bayesel label``: a file of structures through a config's engine and store."""

import signal
import time
from collections import Counter

import numpy as np
import pytest
import yaml
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import read, write
from helpers.campaigns import calls, write_campaign
from helpers.command_line import BAYESEL, assert_refused, call, kill_when, launched
from helpers.processes import catches, wait_for

from ase_bayesel.structures.frames import read_frames


def counting(folder, delay_s=0.0):
    parameters = {"log": str(folder / "calls.log"), "delay_s": delay_s}
    factory = "helpers.calculators:CountingEMT"
    return {"kind": "import", "factory": factory, "parameters": parameters}


def prepared(folder, n=6, labelling=None, changes=None):
    """A config, and a file of rattled copper; returns both paths."""
    labelling = labelling or counting(folder)
    config = write_campaign(folder, {"labelling": labelling, **(changes or {})})
    frames = [bulk("Cu", cubic=True) for _ in range(n)]
    for k, atoms in enumerate(frames):
        atoms.rattle(0.1, seed=k)
        atoms.info["source"] = f"number{k}"
    write(folder / "frames.xyz", frames)
    return config, folder / "frames.xyz"


def test_all_structures_get_labels_and_keep_what_they_have(tmp_path):
    config, frames = prepared(tmp_path, changes={"data.virial_key": "REF_virial"})
    result = call("label", frames, "-c", config, "-o", tmp_path / "out.xyz")
    assert result.exit_code == 0, result.output
    assert "out.xyz: 6 labelled, 0 failed" in result.output
    made = read_frames(tmp_path / "out.xyz")
    assert [atoms.info["source"] for atoms in made] == [f"number{k}" for k in range(6)]
    for atoms in made:
        bare = atoms.copy()
        bare.calc = EMT()
        assert atoms.info["REF_energy"] == pytest.approx(bare.get_potential_energy(), abs=1e-6)
        np.testing.assert_allclose(atoms.arrays["REF_forces"], bare.get_forces(), atol=1e-6)
        virial = -atoms.get_volume() * bare.get_stress(voigt=False)
        np.testing.assert_allclose(atoms.info["REF_virial"], virial.ravel(), atol=1e-6)
    assert "_JSON" not in (tmp_path / "out.xyz").read_text()  # which only ASE reads
    assert [theirs.info["REF_virial"].shape for theirs in read(tmp_path / "out.xyz", ":")] == [
        (9,)
    ] * 6


def test_nothing_is_computed_twice_or_replaced(tmp_path):
    config, frames = prepared(tmp_path)
    for name in ("one.xyz", "two.xyz"):
        assert call("label", frames, "-c", config, "-o", tmp_path / name).exit_code == 0
        made = call("label", frames, "-c", config, "-o", tmp_path / f"again_{name}")
        assert "no calculation was left to make\nwrote" in made.output
        assert "labels 0/" not in made.output
    assert len(calls(config)) == 6
    assert (tmp_path / "one.xyz").read_bytes() == (tmp_path / "two.xyz").read_bytes()
    result = call("label", frames, "-c", config, "-o", tmp_path / "one.xyz")
    assert_refused(result, "one.xyz", "exists already")
    assert_refused(call("label", frames, "-c", config, "-o", frames), "frames.xyz", "exists")


def test_failed_frames_are_named_and_left_out(tmp_path):
    fails = {"kind": "import", "factory": "helpers.calculators:EMTButFor"}
    config, frames = prepared(tmp_path, 2, {**fails, "parameters": {"fails": [8]}})
    write(frames, [*read_frames(frames), bulk("Cu", cubic=True) * (2, 1, 1)])
    result = call("label", frames, "-c", config, "-o", tmp_path / "out.xyz")
    assert result.exit_code == 0
    assert "frames.xyz, frame 2 failed: RuntimeError: 8 atoms are too many" in result.output
    assert "2 labelled, 1 failed" in result.output
    assert len(read_frames(tmp_path / "out.xyz")) == 2


def test_a_file_of_failures_is_not_written(tmp_path):
    fails = {"kind": "import", "factory": "helpers.calculators:EMTButFor"}
    config, frames = prepared(tmp_path, 2, {**fails, "parameters": {"fails": [4]}})
    result = call("label", frames, "-c", config, "-o", tmp_path / "out.xyz")
    assert result.exit_code == 1
    assert "2 structures have all failed; bayesel check-engine" in result.output
    assert not (tmp_path / "out.xyz").exists()
    settings = yaml.safe_load(config.read_text())
    settings["labelling"]["parameters"]["fails"] = []
    config.write_text(yaml.safe_dump(settings))
    assert call("label", frames, "-c", config, "-o", tmp_path / "out.xyz").exit_code == 0


@pytest.mark.parametrize("at_rest", [False, True])
def test_an_engine_that_repeats_itself_is_told(tmp_path, at_rest):
    parameters = {"note": str(tmp_path / "first.npz"), "at_rest": at_rest}
    stuck = {"kind": "import", "factory": "helpers.faulty:StuckEMT", "parameters": parameters}
    config, frames = prepared(tmp_path, 3, stuck)
    result = call("label", frames, "-c", config, "-o", tmp_path / "out.xyz")
    told = [line for line in result.output.splitlines() if line.startswith("warning: ")]
    assert all(f"{frames}: " in line and "what it computed before" in line for line in told)
    if at_rest:
        assert len(told) == 1
        assert "all 3 energies are the same" in told[0]
    else:
        assert ["frame 1 has" in told[0], "frame 2 has" in told[1]] == [True, True]
        assert all("of frame 0 to the last digit" in line for line in told)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
@pytest.mark.parametrize("times", [1, 2])
def test_a_signal_while_it_loads_says_run_again(tmp_path, number, times):
    config, frames = prepared(tmp_path)
    process = launched([BAYESEL, "label", frames, "-c", config, "-o", tmp_path / "out.xyz"])
    wait_for(lambda: catches(process.pid, signal.SIGTERM))
    for _ in range(times):
        process.send_signal(number)
    process.communicate(timeout=120)
    assert process.returncode == 75
    assert call("label", frames, "-c", config, "-o", tmp_path / "out.xyz").exit_code == 0


@pytest.mark.slow
def test_killed_it_goes_on_with_what_it_has(tmp_path):
    config, frames = prepared(tmp_path, 8, counting(tmp_path, 0.2))
    command = [BAYESEL, "label", frames, "-c", config, "-o", tmp_path / "out.xyz"]
    directory = tmp_path / "config_campaign"
    assert kill_when(launched(command), directory, "labels/e*/*.extxyz", 2, 0.0)
    labels = {path: path.stat().st_mtime_ns for path in directory.glob("labels/e*/*.extxyz")}
    assert 2 <= len(labels) < 8
    assert not (tmp_path / "out.xyz").exists()
    time.sleep(0.01)
    assert call(*command[1:]).exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in labels} == labels
    times = Counter(calls(config))
    have = {read_frames(path)[0].positions.tobytes().hex() for path in labels}
    assert {times[positions] for positions in have} == {1}
    assert len(read_frames(tmp_path / "out.xyz")) == 8


def test_what_cannot_be_labelled_is_refused(tmp_path):
    config, frames = prepared(tmp_path, 1, "none")
    result = call("label", frames, "-c", config, "-o", tmp_path / "out.xyz")
    assert_refused(result, "labelling: none labels nothing")
    result = call("label", tmp_path / "no.xyz", "-c", config, "-o", tmp_path / "out.xyz")
    assert_refused(result, "no.xyz: no such file")
    result = call("label", frames, "-c", config, "-o", tmp_path / "out.cif")
    assert_refused(result, "out.cif", "extended XYZ")
