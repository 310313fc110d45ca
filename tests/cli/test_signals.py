"""Signals to commands that run no campaign: they end at once and leave nothing by halves."""

import signal

import pytest
import yaml
from helpers.campaigns import campaign_settings
from helpers.command_line import BAYESEL, bayesel, launched
from helpers.processes import catches, has_loaded, wait_for
from helpers.structures import alloy_cells, reference

from ase_bayesel import fit_surrogate
from ase_bayesel.descriptors.ace import ACEDescriptor
from ase_bayesel.structures.frames import write_frames

SLOW_ACE = "ace:Cu+Al,3,16,6.5"
KEYS = ("--energy-key", "REF_energy", "--forces-key", "REF_forces")
BOTH = [signal.SIGTERM, signal.SIGINT]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Structures, a surrogate, a pool's config, and many large cells that take a while."""
    folder = tmp_path_factory.mktemp("inputs")
    train = [reference(a) for a in alloy_cells(6, 0.05, 0)]
    write_frames(folder / "train.extxyz", train)
    write_frames(folder / "many.extxyz", [a * (3, 3, 3) for a in train] * 40)
    descriptor = ACEDescriptor(["Cu", "Al"], 3, 12, cutoff=6.5)
    surrogate = fit_surrogate(train, descriptor, "REF_energy", "REF_forces", e0s="average")
    surrogate.save(folder / "model.npz")
    for name, copies in (("pool", 3000), ("small", 80)):
        settings = {
            "starts": str(folder / "train.extxyz"),
            "descriptor": campaign_settings()["descriptor"],
            "recipes": [{"kind": "rattle", "amplitudes_A": [0.05, 0.1], "copies": copies}],
        }
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(settings))
    return folder


def command(name, inputs, output):
    """The command, which takes much longer than a signal to come, and what it writes."""
    arguments = {
        "pool": ["pool", inputs / "pool.yaml", "-o", output],
        "small": ["pool", inputs / "small.yaml", "-o", output],
        "select": [
            *("select", inputs / "many.extxyz", "-n", 5, "-o", output, "--descriptor", SLOW_ACE),
            *("--core", inputs / "train.extxyz", "--e0s", "average", *KEYS),
        ],
        "calibrate": [
            *("calibrate", inputs / "model.npz", inputs / "many.extxyz", "-o", output, *KEYS),
        ],
    }
    return [BAYESEL, *arguments[name]]


def begun(name, process, output):
    """It knows signals, has loaded what it needs, and works."""
    wait_for(lambda: catches(process.pid, signal.SIGTERM))
    if name in ("pool", "small"):
        wait_for(output.with_suffix(".jsonl").exists)
    else:
        wait_for(lambda: has_loaded(process.pid, "/scipy/"))


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("number", BOTH, ids=lambda number: number.name)
@pytest.mark.parametrize("name", ["pool", "select", "calibrate"])
def test_a_command_ends_at_once(inputs, tmp_path, name, number, times):
    output = tmp_path / ("model.npz" if name == "calibrate" else "pool.extxyz")
    process = launched(command(name, inputs, output))
    begun(name, process, output)
    for _ in range(times):
        process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 75, errors
    assert f"stopped on {number.name}: run again" in errors
    assert "Traceback" not in errors
    assert name == "pool" or not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_pool_goes_on(inputs, tmp_path):
    whole, output = tmp_path / "whole" / "pool.extxyz", tmp_path / "stopped" / "pool.extxyz"
    for path in (whole, output):
        path.parent.mkdir()
    assert bayesel(*command("small", inputs, whole)[1:]).returncode == 0
    process = launched(command("small", inputs, output))
    begun("small", process, output)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=30)
    assert "run again to go on" in errors
    assert bayesel(*command("small", inputs, output)[1:]).returncode == 0
    assert output.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("number", BOTH, ids=lambda number: number.name)
def test_a_command_that_still_loads(inputs, tmp_path, number):
    output = tmp_path / "pool.extxyz"
    process = launched(command("select", inputs, output))
    wait_for(lambda: catches(process.pid, signal.SIGTERM))
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (75, f"stopped on {number.name}: run again\n")
