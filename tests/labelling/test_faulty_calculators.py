"""Whatever a calculator or an engine does wrong is the record of a failure, with a short reason."""

import json
import re
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from helpers.command_line import ENVIRONMENT
from helpers.faulty import ABSURD, HARMLESS, NOT_FINITE, RAISED, WRONG
from helpers.processes import alive, pids_in, wait_for
from helpers.structures import alloy_cells

from ase_bayesel.errors import ConfigError
from ase_bayesel.io.failures import MOST_CHARACTERS
from ase_bayesel.labelling.engines import Engine, ImportedEngine, ReferenceResult
from ase_bayesel.labelling.reference import Reference
from ase_bayesel.labelling.task import compute, label_task
from ase_bayesel.resources import Here, LocalCluster, ProcessPool, open_executor

PROPERTIES = ("energy", "forces", "stress")


def structure():
    return alloy_cells(1, 0.1, 0)[0]


def faulty(fault):
    return ImportedEngine({"fault": fault}, factory="helpers.faulty:FaultyEMT")


@pytest.mark.parametrize("fault", [*RAISED, *WRONG, *ABSURD, *NOT_FINITE])
def test_failures_are_records(tmp_path, fault):
    atoms = structure()
    reference = Reference(faulty(fault), PROPERTIES, tmp_path / "labels")
    names = reference.settings(atoms.symbols)
    result = label_task(atoms, reference, names)

    assert not result.ok
    assert 0 < len(result.reason) <= MOST_CHARACTERS
    stored = json.loads(next(tmp_path.glob("labels/*/*.failed.json")).read_text())
    assert stored["reason"] == result.reason
    assert reference.store.reason(result.structure_id, names[0]) == result.reason
    if fault in RAISED:
        assert "no licence" in result.reason or fault in ("mute", "exit-code"), result.reason
    elif fault.split("-")[0] in PROPERTIES:
        assert fault.split("-")[0] in result.reason
    else:
        assert "has changed the" in result.reason or fault == "removed"


@pytest.mark.parametrize("fault", HARMLESS)
def test_what_is_certain_is_taken(fault):
    atoms = structure()
    label = compute(atoms, faulty(fault), PROPERTIES)

    assert label.ok, label.reason
    atoms.calc = EMT()
    tolerance = 1e-5 if "32" in fault else 1e-12
    assert label.values.energy == pytest.approx(atoms.get_potential_energy(), rel=tolerance)
    np.testing.assert_allclose(label.values.forces, atoms.get_forces(), atol=tolerance)
    np.testing.assert_allclose(label.values.stress, atoms.get_stress(), atol=1e-12)
    assert label.values.forces.dtype == label.values.stress.dtype == np.float64


@pytest.mark.parametrize("resource", [Here(), ProcessPool(1)], ids=["here", "processes"])
def test_an_interruption_of_a_library_in_a_worker(tmp_path, resource, pythons_handler):
    """It is a failed calculation there; here it may be the user's, and goes on its way."""
    atoms, engine = structure(), faulty("interrupt")
    reference = Reference(engine, PROPERTIES, tmp_path / "labels")
    with open_executor(resource) as executor:
        if isinstance(resource, Here):
            with pytest.raises(KeyboardInterrupt):
                executor.submit(label_task, atoms, reference, reference.settings(atoms.symbols))
            return
        task = executor.submit(label_task, atoms, reference, reference.settings(atoms.symbols))
        assert task.result().reason == "KeyboardInterrupt: of a library"


@dataclass(frozen=True)
class Returning(Engine):
    """An engine of a third party that returns what it is told."""

    kind: ClassVar[str] = "returning"
    result: object = None
    moves: bool = False

    def missing(self, elements):
        return []

    def evaluate(self, atoms, directory, attempt, properties):
        if self.moves:
            atoms.positions += 1.0
        return self.result


GOOD = {"energy": 1.0, "forces": np.zeros((4, 3)), "stress": np.zeros(6)}


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (None, "no ReferenceResult but NoneType"),
        ((1.0, GOOD["forces"]), "no ReferenceResult but tuple"),
        (ReferenceResult(**GOOD | {"energy": None}), "energy: is missing"),
        (ReferenceResult(**GOOD | {"energy": 1j}), "energy: expected real numbers"),
        (ReferenceResult(**GOOD | {"energy": np.zeros(4)}), "energy: expected a number"),
        (ReferenceResult(**GOOD | {"forces": None}), "forces: is missing"),
        (ReferenceResult(**GOOD | {"forces": np.zeros((1, 3))}), r"shape \(4, 3\), got \(1, 3\)"),
        (ReferenceResult(**GOOD | {"stress": None}), "stress: is missing"),
        (ReferenceResult(**GOOD | {"stress": np.zeros((6, 1))}), "stress: expected shape"),
        (ReferenceResult(**GOOD | {"stress": np.full(6, np.nan)}), "stress that is not finite"),
        (ReferenceResult(**GOOD | {"energy": 1e300}), r"energy of 2.5e\+299 eV/atom, more"),
        (ReferenceResult(**GOOD | {"forces": np.full((4, 3), -2e6)}), r"forces of 2e\+06 eV/A, m"),
        (ReferenceResult(**GOOD | {"stress": np.full(6, 1e7)}), "a stress whose virial is .*eV/at"),
    ],
)
def test_results_of_engines(result, reason):
    label = compute(structure(), Returning(result=result), PROPERTIES)
    assert not label.ok
    assert re.search(reason, label.reason)


def test_only_what_was_asked_for_is_kept():
    label = compute(structure(), Returning(result=ReferenceResult(**GOOD)), ("energy",))
    assert label.ok
    assert label.values.forces is None
    assert label.values.stress is None


def test_a_stress_needs_three_periodic_directions():
    atoms = structure()
    atoms.pbc = (True, True, False)
    label = compute(atoms, Returning(result=ReferenceResult(**GOOD)), PROPERTIES)
    assert label.ok
    assert label.values.stress is None


def test_an_engine_that_moves_atoms():
    label = compute(structure(), Returning(result=ReferenceResult(**GOOD), moves=True), PROPERTIES)
    assert "has changed the positions" in label.reason


@pytest.mark.parametrize("name", ["returns_none", "returns_a_class", "returns_text"])
def test_factories_that_return_no_calculator(name):
    """It would be so for every structure: no failure of one."""
    engine = ImportedEngine(factory=f"helpers.faulty:{name}")
    with pytest.raises(ConfigError, match=rf"labelling\.factory: .*{name}.* no ASE calculator"):
        compute(structure(), engine, PROPERTIES)


def test_a_calculator_of_other_atoms():
    """ASE's own refusal, as of any calculator."""
    atoms = structure()
    engine = ImportedEngine(factory="helpers.faulty:of_other_atoms")
    assert "PropertyNotImplementedError" in compute(atoms, engine, PROPERTIES).reason
    assert isinstance(engine.make({}), SinglePointCalculator)


# a time limit


def limited(hours, factory, **parameters):
    return ImportedEngine(parameters, factory=f"helpers.{factory}", time_limit_h=hours)


def test_within_its_time():
    atoms, engine = structure(), limited(1.0, "faulty:FaultyEMT")
    label = compute(atoms, engine, PROPERTIES)
    expected = compute(atoms, replace(engine, time_limit_h=None), PROPERTIES)
    assert label.ok
    assert label.settings == expected.settings
    assert label.values.energy == expected.values.energy
    np.testing.assert_array_equal(label.values.forces, expected.values.forces)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("resource", "busy"),
    [(Here(), True), (ProcessPool(1), False)],
    ids=["busy-here", "asleep-processes"],
)
def test_when_its_time_is_up(tmp_path, resource, busy):
    """The child and what it has started are gone."""
    atoms, note = structure(), tmp_path / "pids"
    engine = limited(30.0 / 3600.0, "faulty:EndlessEMT", note=str(note), busy=busy)
    reference = Reference(engine, PROPERTIES, tmp_path / "labels")
    with open_executor(resource) as executor:
        names = reference.settings(atoms.symbols)
        result = executor.submit(label_task, atoms, reference, names).result()
    assert result.reason == "TimeLimitError: stopped after 30 s"
    pids = pids_in(tmp_path, 2)
    assert note.exists()
    wait_for(lambda: not any(map(alive, pids)))


@pytest.mark.parametrize("fault", ["runtime", "exit", "forces-row"])
def test_failures_within_a_limit(fault):
    label = compute(structure(), limited(1.0, "faulty:FaultyEMT", fault=fault), PROPERTIES)
    assert not label.ok
    assert "no licence" in label.reason or "forces" in label.reason


@pytest.mark.slow
def test_an_engine_that_kills_its_process():
    """It costs a child, and not the worker."""
    engine = limited(1.0, "calculators:DeadlyEMT", log="/dev/null")
    assert compute(structure(), engine, PROPERTIES).reason.startswith("LostTaskError")


# what it has started

DRIVER = """
import sys
from pathlib import Path
from ase_bayesel.labelling.engines import ImportedEngine
from ase_bayesel.labelling.reference import Reference
from ase_bayesel.labelling.task import label_task
from ase_bayesel.resources import Here, LocalCluster, open_executor
from helpers.structures import alloy_cells

if __name__ == "__main__":
    (atoms,) = alloy_cells(1, 0.1, 0)
    parameters = {{"note": "pids", "hangs": {hangs}}}
    engine = ImportedEngine(parameters, factory="helpers.faulty:LeavingEMT")
    reference = Reference(engine, ("energy",), Path("labels").absolute())
    with open_executor({resource}) as executor:
        task = executor.submit(label_task, atoms, reference, reference.settings(atoms.symbols))
        assert task.result().ok
"""


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.skipif(sys.platform != "linux", reason="uses a Linux facility")
@pytest.mark.parametrize(
    ("resource", "number"),
    [
        slow(Here(), None),
        (Here(), signal.SIGKILL),
        slow(LocalCluster(1), None),
        slow(LocalCluster(1), signal.SIGKILL),
    ],
)
def test_what_a_calculator_has_started_ends_with_the_campaign(tmp_path, resource, number):
    """Where no supervisor is above it; those of `ProcessPool` are tested with the pool."""
    hangs = number is not None
    (tmp_path / "driver.py").write_text(DRIVER.format(resource=resource, hangs=hangs))
    command = [sys.executable, "driver.py"]
    with subprocess.Popen(command, cwd=tmp_path, env=ENVIRONMENT) as driver:
        (pid,) = pids_in(tmp_path, 1)
        if hangs:
            assert alive(pid)
            driver.send_signal(number)
        assert (driver.wait(60) == 0) == (not hangs)
    wait_for(lambda: not alive(pid))
