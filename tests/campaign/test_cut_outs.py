"""Campaigns whose walkers run in cells that are cut for their labels."""

from dataclasses import replace

import numpy as np
import pytest
from ase.calculators.emt import EMT
from ase.io import write
from helpers.campaigns import (
    assert_same_campaign,
    campaign,
    copy_campaign,
    ended,
    final_model,
    label_of,
    picks,
    write_campaign,
)
from helpers.structures import alloy_cells, reference

from ase_bayesel import CutOut, Surrogate
from ase_bayesel.campaign.config.loading import load_config
from ase_bayesel.campaign.exploration.picks import AtomDeviations, Pick
from ase_bayesel.campaign.inputs import check_inputs
from ase_bayesel.campaign.prequential import read_pick_errors
from ase_bayesel.campaign.refit.base import RefitTask, write_training_frames
from ase_bayesel.campaign.refit.mace_data import write_data
from ase_bayesel.dynamics.triggers import TriggerReport
from ase_bayesel.errors import ConfigError, RefitError, StructureError
from ase_bayesel.labelling.by_hand import read_labels_by_hand
from ase_bayesel.structures.frames import read_frames, write_frames
from ase_bayesel.structures.labels import WHOLE, PropertyKeys
from ase_bayesel.surrogate.energy_weights import EnergyWeights, composition_of

CUT = {
    "descriptor.cutoff": 3.0,
    "explore.cut_out": {"size_A": 6.5, "stretch": 0.0},
    "explore.picks": 2,
    "explore.steps": 10,
    "explore.temperature_K": 600.0,
    "explore.offers": "always",
    "explore.trigger": {"kind": "relative_force", "threshold": 0.001},
    "labels": {"set_aside_force": 50.0},
}


def large_starts():
    return [atoms * (3, 3, 3) for atoms in alloy_cells(2, 0.02, 200)]


def written(folder, changes=None):
    config = write_campaign(folder, {**CUT, **(changes or {})})
    write(folder / "starts.extxyz", large_starts())
    return config


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    config = written(tmp_path_factory.mktemp("cut_outs"))
    store, _ = ended(config)
    return config, store


def test_picks_are_cut_out_of_the_walkers_cells(done):
    _, store = done
    found = picks(store)
    assert len(found) == 4
    for frame in found:
        whole = frame.arrays[WHOLE]
        assert 10 < len(frame) < 30
        assert whole[0]
        assert 1 <= whole.sum() < len(frame) / 2
        assert frame.info["bayesel_atom"] == 0
        assert frame.info["bayesel_reason"].endswith("of 108, cut out")
        assert not frame.info.keys() & {"bayesel_energy", "bayesel_energy_std"}  # of 108 atoms
    for pick in (*store.exploration(1).read_picks(), *store.exploration(2).read_picks()):
        assert pick.energies is None
    trace = store.exploration(1).read_trace()
    assert set(trace[:, 0]) == {0, 1}


def test_labels_are_of_the_cut_out_and_fitted_where_it_is_whole(done):
    config, store = done
    running = campaign(config)
    frames = running._training_set(2)
    assert len(frames) == 10
    for frame, pick in zip(frames[6:], picks(store), strict=True):
        label = label_of(store.directory, pick)
        atoms = label.copy()
        atoms.calc = EMT()
        np.testing.assert_allclose(label.arrays["REF_forces"], atoms.get_forces(), atol=1e-6)
        assert label.info["REF_energy"] == pytest.approx(atoms.get_potential_energy(), abs=1e-6)
        assert WHOLE not in label.arrays
        whole, forces = pick.arrays[WHOLE], frame.arrays["REF_forces"]
        np.testing.assert_array_equal(forces[whole], label.arrays["REF_forces"][whole])
        assert np.isnan(forces[~whole]).all()
        assert "REF_energy" not in frame.info
    errors = read_pick_errors(store, 1).fitted
    assert errors.keys() == {"forces"}
    n_whole = sum(pick.arrays[WHOLE].sum() for pick in store.read_batch(1))
    assert len(errors["forces"].errors) == 3 * n_whole


def test_the_posterior_knows_what_was_cut_out(done):
    """Walkers go on with the rows of the cut-outs, not of their frames."""
    _, store = done
    before = Surrogate.load(store.model_path(0))
    _, posterior = store.exploration(1).load(large_starts())
    knows = before.condition([pick.structure for pick in store.exploration(1).read_picks()])
    rows = before.rows(picks(store)[0])
    np.testing.assert_allclose(posterior.variance(rows), knows.posterior.variance(rows), rtol=1e-9)


def test_the_cell_that_was_cut_does_not_weigh_its_cut_outs(done):
    """By the energy of 108 atoms a cut-out would be far above what is known of its composition."""
    _, store = done
    pick = store.exploration(1).read_picks()[0]
    lowest = {composition_of(pick.structure): -50.0}
    weighing = replace(
        Surrogate.load(store.model_path(0)), energy_weights=EnergyWeights(0.1, lowest)
    )
    same = replace(weighing, energy_weights=None)
    rows = weighing.rows(pick.structure)
    found, expected = (
        one.condition(pick.structure, energies=pick.energies).posterior.variance(rows)
        for one in (weighing, same)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_an_interrupted_campaign_goes_on_with_the_same_cut_outs(done, tmp_path):
    config, store = done
    again = written(tmp_path / "again")
    for event in campaign(again).run():
        if getattr(event, "stage", "") == "explore" and event.round_number == 1 and event.done >= 4:
            break
    assert_same_campaign(ended(again)[0], store)
    copied = copy_campaign(config, tmp_path / "copied")
    assert final_model(campaign(copied).store).noise == final_model(store).noise


def test_labels_by_hand_need_no_energies(done, tmp_path):
    _, store = done
    pick = store.exploration(1).read_picks()[0].structure
    frame = pick[::-1]
    forces = np.random.default_rng(0).normal(size=(len(pick), 3))
    frame.arrays["REF_forces"] = forces[::-1]
    write_frames(tmp_path / "labelled.extxyz", [frame])
    keys = PropertyKeys("REF_energy", "REF_forces")
    (label,) = read_labels_by_hand(tmp_path / "labelled.extxyz", [pick], keys)
    assert label.values.energy is None
    np.testing.assert_allclose(label.values.forces, forces, atol=1e-7)


def test_a_frame_that_fits_is_a_pick_as_it_is():
    (start, _) = large_starts()
    deviations = AtomDeviations(np.arange(108.0))
    report = TriggerReport("energy", 2.0, 1.0, True, None)
    pick = Pick(start, "s", 0, 3, report, "why", -7.0, 1.0, deviations, 300.0, 0.1)
    assert pick.cut_out(CutOut(20.0, reach_A=4.0)) is pick
    assert pick.energies == [-7.0]
    cut = pick.cut_out(CutOut(6.5, reach_A=3.0))
    assert cut.energies is None
    assert np.isnan(cut.energy_std)
    assert cut.reason == "why; atom 107 of 108, cut out"
    assert cut.deviations.local_energy_std[0] == 107.0
    assert cut.report.atom_index is None


def test_trainings_that_leave_nothing_out_refuse_cut_outs(done, tmp_path):
    config, _store = done
    frames = campaign(config)._training_set(2)[6:]
    keys = PropertyKeys("REF_energy", "REF_forces")
    task = RefitTask(frames, 4, keys, {"Cu": 0.0, "Al": 0.0}, tmp_path / "m", tmp_path, 0)
    with pytest.raises(RefitError, match="training frame 0 is a cut-out"):
        write_data(task, (), True, False)
    write_training_frames(tmp_path / "train.extxyz", frames, task)
    for one, other in zip(frames, read_frames(tmp_path / "train.extxyz"), strict=True):
        assert (other.arrays[WHOLE] == one.arrays[WHOLE]).all()
        np.testing.assert_allclose(
            other.arrays["REF_forces"], one.arrays["REF_forces"], atol=1e-7, equal_nan=True
        )


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"explore.batch": "joint"}, "cut_out: batch: joint chooses among whole frames"),
        ({"explore.start_energy": 0.01}, "start_energy: energies of a cut_out are no labels"),
        (
            {
                "explore.cut_out": {"size_A": 12.0, "method": "cluster"},
                "explore.ensemble": {"kind": "npt"},
                "explore.pressure_GPa": 0.0,
            },
            "cut_out.method: a cluster needs a cell wider than itself, and this one may shrink",
        ),
        ({"explore.cut_out": {"size_A": 5.0}}, "explore.cut_out.size_A: .*take at least twice"),
        (
            {
                "explore.cut_out": {"size_A": 6.5, "method": "cluster"},
                "labelling": {
                    "kind": "espresso",
                    "pseudopotentials": {"Cu": "a", "Al": "b"},
                    "pseudo_dir": ".",
                    "parameters": {},
                    "kpts": [1, 1, 1],
                },
            },
            "explore.cut_out.method: espresso computes nothing without periodicity",
        ),
        ({"data.forces_key": None}, "explore.cut_out: only forces of cut-outs are labels"),
        (
            {"descriptor": {"kind": "import", "factory": "some:thing"}},
            "explore.cut_out.reach_A: only features of linear ACE tell it",
        ),
    ],
)
def test_configs_that_cannot_be_are_refused(tmp_path, changes, told):
    with pytest.raises(ConfigError, match=told):
        load_config(written(tmp_path, changes))


def test_structures_that_cannot_be_cut_are_refused(tmp_path):
    config = written(tmp_path, {"explore.cut_out": {"size_A": 12.0, "method": "cluster"}})
    with pytest.raises(
        StructureError, match=r"frame 0 \(explore.cut_out\): is periodic and narrower"
    ):
        check_inputs(load_config(config))
    cut = CutOut(6.5, reach_A=3.0).cut(large_starts()[0], 0).atoms
    write_frames(tmp_path / "starts.extxyz", [cut])
    with pytest.raises(ConfigError, match="in which atoms are not to move"):
        check_inputs(load_config(config))


def test_a_user_may_give_cut_outs(tmp_path):
    config = write_campaign(tmp_path, {"stop.max_rounds": 1})
    frames = read_frames(tmp_path / "train.extxyz")
    cut = reference(large_starts()[0])
    cut.set_array(WHOLE, np.arange(108) < 3)
    for name in ("train", "test"):
        write(tmp_path / f"{name}.extxyz", [*frames, cut])
    store, _ = ended(config)
    report = store.read_report(0)
    assert report.n_train == 7
    assert np.isfinite(report.forces_rmse)
    assert replace(final_model(store)).posterior.n_features > 0
