"""The canary: a training structure calculated again before anything is paid for."""

import json
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.io import write
from helpers.campaigns import (
    assert_same_campaign,
    calls,
    campaign,
    counted,
    ended,
    reports,
    settled,
    write_campaign,
)
from helpers.structures import alloy_cells, reference

from ase_bayesel.campaign.canary import canary_of, differences, likely_cause
from ase_bayesel.campaign.config.loading import load_config
from ase_bayesel.campaign.events import Progress
from ase_bayesel.errors import LabellingError
from ase_bayesel.labelling.engines import ImportedEngine, ReferenceResult
from ase_bayesel.structures.identity import structure_id
from ase_bayesel.structures.labels import PropertyKeys

KEYS = PropertyKeys("REF_energy", "REF_forces")
E0S = {"Cu": -1.5, "Al": -3.0}
KCAL, KJ = units.kcal / units.mol, units.kJ / units.mol
HARTREE, BOHR = units.Hartree, units.Bohr


@pytest.fixture(scope="module")
def pair():
    """A canary and what an engine says that is right."""
    frames = [reference(atoms) for atoms in alloy_cells(2, 0.1, 0)]
    canary = canary_of(frames, KEYS, frames)
    return canary, ReferenceResult(canary.labels.energy, canary.labels.forces)


def test_only_what_the_engine_can_calculate_as_the_starts_is_asked_for():
    cell, apart = (reference(atoms) for atoms in alloy_cells(2, 0.1, 0))
    apart.pbc = False
    del apart[1:]
    charged = cell.copy()
    charged.info["charge"], charged.info["spin"] = 1, 2
    frames = [apart, charged, cell * (2, 1, 1), cell]
    for frame in frames:
        frame.info["REF_energy"], frame.arrays["REF_forces"] = -1.0, np.zeros((len(frame), 3))
    starts = [cell.copy()]
    assert canary_of(frames, KEYS, starts).number == 3
    refusal = EMT_ENGINE.refusal
    assert canary_of(frames[:2], KEYS, starts).number == 1
    assert canary_of(frames[:2], KEYS, starts, refusal) is None
    assert canary_of(frames[:1], KEYS, starts) is None
    assert canary_of(frames[:1], KEYS, [apart]).number == 0


EMT_ENGINE = ImportedEngine("ase.calculators.emt:EMT")
BASELINE = 3 * E0S["Cu"] + E0S["Al"]
FAULTS = {
    "Hartree": (lambda e, f: (e / HARTREE, f), "the energy is in Hartree"),
    "Rydberg": (lambda e, f: (e / units.Rydberg, f), "the energy is in Rydberg"),
    "kcal": (lambda e, f: (e / KCAL, f), "the energy is in kcal/mol"),
    "kJ": (lambda e, f: (e / KJ, f), "the energy is in kJ/mol"),
    "sign": (lambda e, f: (e, -f), "the forces have the wrong sign"),
    "Hartree/Bohr": (lambda e, f: (e, f * BOHR / HARTREE), "the forces are in Hartree/Bohr"),
    "Rydberg/Bohr": (lambda e, f: (e, f * BOHR / units.Rydberg), "the forces are in Rydberg/Bohr"),
    "eV/Bohr": (lambda e, f: (e, f * 0.5), "or in eV/Bohr"),
    "atomic units": (lambda e, f: (e / HARTREE, f * BOHR / HARTREE), "in Hartree/Bohr, in the "),
    "no E0": (lambda e, f: (e - BASELINE, f), "reference energies (E0) are taken off already"),
    "shift": (lambda e, f: (e + 4.0, f), "shifted by -1 eV/atom, with the same forces"),
    "functional": (lambda e, f: (e + 0.4, 1.2 * f), "another functional"),
}


@pytest.mark.parametrize(("fault", "cause"), FAULTS.values(), ids=FAULTS)
def test_the_likely_cause_is_named(pair, fault, cause):
    """In the training set; and the other way round by the engine."""
    canary, right = pair
    energy, forces = fault(right.energy, right.forces)
    labels = replace(canary.labels, energy=energy, forces=forces)
    wrong = replace(canary, labels=labels)
    told = differences(wrong, right)
    assert len(told) == (energy != right.energy) + (forces is not right.forces)
    assert cause in likely_cause(wrong, right, E0S)
    found = ReferenceResult(energy, forces)
    assert len(differences(canary, found)) == len(told)
    named = likely_cause(canary, found, E0S)
    if cause.startswith("the energy") or "E0) are" in cause:
        assert named.endswith("by the engine")


def test_both_values_are_told(pair):
    canary, right = pair
    forces = right.forces.copy()
    forces[2, 1] += 0.06
    told = "; ".join(differences(canary, ReferenceResult(right.energy + 0.03, forces)))
    assert f"{canary.labels.energy:.6f} eV in the training set" in told
    assert f"{right.energy + 0.03:.6f} eV from the engine" in told
    assert "along y on atom 2" in told
    assert f"{forces[2, 1]:.4f} eV/A from the engine" in told


def test_small_differences_are_none(pair):
    canary, right = pair
    assert differences(canary, ReferenceResult(right.energy + 0.0199, right.forces + 0.049)) == []
    assert len(differences(canary, ReferenceResult(right.energy + 0.0201, right.forces))) == 1
    assert differences(canary, ReferenceResult(right.energy, None)) == []
    no_energy = replace(canary, labels=replace(canary.labels, energy=None))
    assert differences(no_energy, ReferenceResult(0.0, right.forces)) == []


def labelled(atoms, forces=True, **info):
    out = reference(atoms)
    out.info.update(info)
    if not forces:
        del out.arrays["REF_forces"]
    return out


ISOLATED, BULK = Atoms("Cu", cell=[12.0] * 3), bulk("Cu", a=3.7)
SMALL, LARGE = bulk("Cu", a=3.6) * (2, 1, 1), bulk("Cu", a=3.6) * (2, 2, 1)
CHOICES = {
    "smallest": ([labelled(LARGE), labelled(SMALL), labelled(LARGE)], 1),
    "the first of these": ([labelled(SMALL), labelled(SMALL)], 0),
    "no isolated atom": ([labelled(ISOLATED), labelled(LARGE)], 1),
    "but a crystal of one": ([labelled(LARGE), labelled(BULK)], 1),
    "no atom for crystals": ([labelled(ISOLATED)], None),
    "no ion": ([labelled(SMALL, charge=1), labelled(LARGE)], 1),
    "with forces": ([labelled(SMALL, forces=False), labelled(LARGE)], 1),
    "else with an energy": ([SMALL, labelled(LARGE, forces=False)], 1),
    "of the elements asked for": ([labelled(bulk("Al")), labelled(LARGE)], 1),
    "none without labels": ([SMALL, LARGE], None),
    "none of others": ([labelled(bulk("Al"))], None),
}


@pytest.mark.parametrize(("train", "number"), CHOICES.values(), ids=CHOICES)
def test_which_it_is(train, number):
    chosen = canary_of(train, KEYS, [LARGE])
    assert (None if chosen is None else chosen.number) == number
    if chosen is not None:
        assert structure_id(chosen.structure) == structure_id(train[number])


# in a campaign


WITH = {"labelling.canary": True}


def wrong_training_set(config, change):
    """All labels of the training set changed."""
    frames = [reference(atoms) for atoms in alloy_cells(6, 0.05, 0)]
    for atoms in frames:
        change(atoms)
    write(config.with_name("train.extxyz"), frames)


def in_hartree(atoms):
    atoms.info["REF_energy"] /= HARTREE


def test_a_campaign_with_wrong_training_data_stops_before_its_first_label(tmp_path):
    config = counted(tmp_path, WITH)
    wrong_training_set(config, in_hartree)
    for _ in range(2):  # and is not calculated twice
        with pytest.raises(LabellingError, match=r"train\.extxyz, frame 0: the engine gives ano"):
            ended(config)
    assert len(calls(config)) == 1
    assert campaign(config).store.completed_rounds() == 1
    with pytest.raises(LabellingError, match="energy is in Hartree, in the training set"):
        ended(config)
    with pytest.raises(LabellingError, match=r"labelling\.canary: false goes on"):
        ended(config)


def test_it_goes_on_where_it_is_told_to(tmp_path):
    config = write_campaign(tmp_path, {"stop.max_rounds": 1})
    wrong_training_set(config, in_hartree)
    with pytest.raises(LabellingError):
        ended(config)
    without = "labelling:\n  canary: false\n"
    config.write_text(config.read_text().replace("labelling:\n", without, 1))
    assert load_config(config).engine.canary is False
    store, _ = ended(config)
    text = (store.directory / "changes.jsonl").read_text()
    noted = [json.loads(line) for line in text.splitlines()]
    assert [change["field"] for change in noted] == ["labelling.canary"]
    assert store.completed_rounds() == 2


def test_it_is_calculated_once_and_not_counted(tmp_path):
    config = counted(tmp_path, WITH)
    running = campaign(config)
    events = list(running.run())
    told = [event for event in events if isinstance(event, Progress) and event.stage == "canary"]
    assert [event.round_number for event in told] == [1] * len(told)
    assert told[-1].detail == "training frame 0: the same label"
    labels = [event for event in events if isinstance(event, Progress) and event.stage == "label"]
    assert max(event.total for event in labels if event.round_number == 1) == 3
    canary = structure_id(alloy_cells(1, 0.05, 0)[0])
    assert canary in settled(running.store.directory)
    assert len(calls(config)) == len(settled(running.store.directory)) == 1 + 6
    assert [report.n_labels for report in reports(running.store)] == [0, 3, 6]


def test_a_run_that_was_left_after_it_goes_on_with_it(tmp_path):
    whole, _ = ended(counted(tmp_path / "whole", WITH))
    config = counted(tmp_path / "left", WITH)
    events = campaign(config).run()
    for event in events:
        if isinstance(event, Progress) and event.stage == "canary" and event.done:
            break
    events.close()
    assert len(calls(config)) == 1
    store, _ = ended(config)
    assert len(calls(config)) == 1 + 6
    assert_same_campaign(store, whole)


def test_the_budget_does_not_pay_for_it(tmp_path):
    store, _ = ended(write_campaign(tmp_path, {"stop.max_labels": 3, "stop.max_rounds": 5}))
    assert [report.n_labels for report in reports(store)] == [0, 3]


def test_one_that_fails_is_an_error_with_its_reason(tmp_path):
    there = tmp_path / "there"
    labelling = {
        "kind": "import",
        "factory": "helpers.calculators:emt_once_there_is",
        "parameters": {"file": str(there)},
    }
    config = write_campaign(tmp_path, {"labelling": labelling, "stop.max_rounds": 1})
    for _ in range(2):
        with pytest.raises(LabellingError, match=rf"frame 0: .*cannot calculate.*no file {there}"):
            ended(config)
    there.touch()
    with pytest.raises(LabellingError, match="--retry-failed"):
        ended(config)
    running = campaign(config)
    list(running.run(retry_failed=True))
    assert running.store.completed_rounds() == 2


def test_there_is_none_for_labels_by_hand(tmp_path):
    store, _ = ended(write_campaign(tmp_path, {"labelling": "none"}))
    assert store.batch_path(1).exists()
    assert not settled(store.directory)


def test_it_is_no_part_of_the_settings(tmp_path):
    engine = load_config(write_campaign(tmp_path)).engine
    assert engine.canary
    assert replace(engine, canary=False).identity() == engine.identity()
    assert replace(engine, canary=False) != engine
