"""What a round's report says of a fit that looks wrong."""

from dataclasses import replace

import numpy as np
import pytest
from ase.io import write
from helpers.campaigns import ended, reports, write_campaign
from helpers.command_line import call
from helpers.structures import alloy_cells, reference

from ase_bayesel import fit_surrogate
from ase_bayesel.campaign.fit_warnings import MOST_NAMED, fit_warnings, large_residuals
from ase_bayesel.cli.report import write_report
from ase_bayesel.descriptors.ace import ACEDescriptor
from ase_bayesel.structures.identity import structure_id
from ase_bayesel.structures.labels import PropertyKeys
from ase_bayesel.surrogate import design
from ase_bayesel.surrogate.design import Noise
from ase_bayesel.surrogate.evidence import maximise_evidence
from ase_bayesel.surrogate.hyperparameters import Hyperparameters
from ase_bayesel.surrogate.mean import SurrogateCalculator
from ase_bayesel.surrogate.row_store import SHARE_OF_ROWS, RowStore
from ase_bayesel.surrogate.steps import finished
from ase_bayesel.surrogate.training_rows import TrainingRows

KEYS = PropertyKeys("REF_energy", "REF_forces")
DESCRIPTOR = ACEDescriptor(["Cu", "Al"], order=2, totaldegree=6, cutoff=4.5)


def training(wrong=(), off_eV=20.0):
    frames = [reference(atoms) for atoms in alloy_cells(40, 0.08, 0)]
    for k in wrong:
        frames[k].info["REF_energy"] += off_eV
    return frames


def fitted(frames):
    return fit_surrogate(frames, DESCRIPTOR, "REF_energy", "REF_forces", e0s="average")


@pytest.mark.parametrize(("wrong", "named"), [((), 0), ((7,), 1), ((7, 30), 2)])
def test_training_structures_far_from_the_fit_are_named(wrong, named):
    frames = training(wrong)
    told = finished(large_residuals(fitted(frames), frames, KEYS, 20, None))
    assert len(told) == (named > 0)
    if named:
        assert ("training frame 7 (" in told[0], told[0].count("(")) == (True, named)
        assert (f"{structure_id(frames[30])} (" in told[0]) == (30 in wrong)


def test_forces_too():
    frames = training()
    surrogate = fitted(frames)
    frames[3].arrays["REF_forces"] = -20.0 * frames[3].arrays["REF_forces"]
    (told,) = finished(large_residuals(surrogate, frames, KEYS, 40, None))
    assert "training frame 3 (" in told


def test_kept_rows_tell_the_same(monkeypatch):
    """Without an evaluation of the mean, but for what is not kept."""
    frames = training([7])
    surrogate, size = fitted(frames), 8 * DESCRIPTOR.n_features * (4 * len(training()[0]) + 6)
    told = finished(large_residuals(surrogate, frames, KEYS, 20, None))
    evaluate, evaluated = SurrogateCalculator.evaluate, []

    def counted(self, atoms):
        evaluated.append(atoms)
        return evaluate(self, atoms)

    monkeypatch.setattr(SurrogateCalculator, "evaluate", counted)
    monkeypatch.setattr(design, "BATCH_ATOMS", 1)
    for room, left in ((40, 0), (30, 10)):
        evaluated.clear()
        store = RowStore(limit_bytes=int(room * size / SHARE_OF_ROWS) + 1)
        rows = TrainingRows(frames, DESCRIPTOR, store=store)
        assert finished(large_residuals(surrogate, frames, KEYS, 20, None, rows)) == told
        assert len(evaluated) == left


def test_extreme_labels_count_less():
    """As in the fit, with the square of the force over its limit."""
    frames = training()
    surrogate = fitted(frames)
    frames[3].arrays["REF_forces"] = -20.0 * frames[3].arrays["REF_forces"]
    largest = np.linalg.norm(frames[3].arrays["REF_forces"], axis=1).max()
    assert finished(large_residuals(surrogate, frames, KEYS, 40, largest / 100)) == []


def test_at_most_a_handful_is_named():
    frames = training()
    surrogate = replace(fitted(frames), noise=Noise(1e-9, 1e-9, 1e-9))
    few = [*frames[:30], *training(range(30, 40), off_eV=1e4)[30:]]
    (told,) = finished(large_residuals(surrogate, few, KEYS, 40, None))
    assert told.count("training frame") == MOST_NAMED
    assert f"and {10 - MOST_NAMED} more" in told


JUMPS = [
    (None, 0.1, 98, ""),
    (0.1, 0.25, 98, ""),
    (0.1, 0.31, 98, "rose from 100 to 310 meV/A in one round: either the model describes the new"),
    (0.1, 0.03, 98, "fell from 100 to 30 meV/A in one round: either the model follows its labels"),
    (0.1, 0.31, 97, ""),  # fewer rows than features
]


@pytest.mark.parametrize(("before", "now", "n_rows", "told"), JUMPS)
def test_noise_that_jumps(before, now, n_rows, told):
    surrogate = replace(fitted(training()[:4]), noise=Noise(0.01, now, 0.01))
    old = None if before is None else {"energy": 0.01, "forces": before, "virial": 0.01}
    lines = fit_warnings(Hyperparameters(1.0, surrogate.noise), surrogate, old, n_rows)
    assert len(lines) == bool(told)
    assert all("noise of forces" in line and told in line for line in lines)


def test_noise_of_energies_has_the_unit_of_a_structure():
    surrogate = replace(fitted(training()[:4]), noise=Noise(0.0006384, 0.1, 0.01))
    old = {"energy": 0.000063, "forces": 0.1, "virial": 0.01}
    (line,) = fit_warnings(Hyperparameters(1.0, surrogate.noise), surrogate, old, 98)
    assert "rose from 0.063 to 0.638 meV/sqrt(atom)" in line


def test_hyperparameters_at_a_bound_are_told():
    surrogate = fitted(training()[:4])
    found = Hyperparameters(1.0, surrogate.noise, ("the noise is at the lower end of its range",))
    (line,) = fit_warnings(found, surrogate, None, 0)
    assert line.startswith("fit: the noise is at the lower end of its range; look at")


def triangle(values, targets):
    return np.linalg.qr(np.vstack([np.column_stack([values, targets]), np.zeros((9, 3))]), "r")


BOUNDS = {
    "exact": (lambda a: a @ [1.0, 2.0], "the noise of forces is at the lower end of its range"),
    "nothing": (lambda a: 0 * a[:, 0], "the prior is at the lower end of its range"),
}


@pytest.mark.parametrize(("target", "told"), BOUNDS.values(), ids=BOUNDS)
def test_the_evidence_says_what_lies_at_an_end_of_its_range(target, told):
    values = np.random.default_rng(0).normal(size=(30, 2))
    known = {"forces": 30}, {"forces": 0.1}, {"forces": (1e-4, 1e2)}
    found = maximise_evidence({"forces": triangle(values, target(values))}, *known)
    assert told in found.at_bounds
    noisy = target(values) + values[:, 0] + np.random.default_rng(1).normal(size=30)
    inner = maximise_evidence({"forces": triangle(values, noisy)}, *known)
    assert inner.at_bounds == ()


# in a campaign


def test_report_status_and_page_say_so(tmp_path):
    config = write_campaign(tmp_path, {"labelling": "none", "stop.max_rounds": 1})
    write(tmp_path / "train.extxyz", training([7]))
    store, _ = ended(config)
    told = reports(store)[0].warnings[-1]
    assert "training frame 7 (" in told
    assert f"round 0: {told}" in call("status", config, "--dir", store.directory).stdout
    assert told in write_report(store).read_text()
