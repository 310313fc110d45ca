"""What a potential was trained on is never taken for new to it."""

import numpy as np
import pytest
from ase.io import read
from helpers.campaigns import ended, reports, write_campaign
from helpers.mace_models import needs_mace, save_model, tiny_mace
from helpers.refits import weights

from ase_bayesel.campaign import round_model
from ase_bayesel.campaign.held_out import FILE, held_out, keep_held_out, never_trained
from ase_bayesel.campaign.refit import CommandRefitter, MACERefitter
from ase_bayesel.campaign.store import Store
from ase_bayesel.errors import StoreError

COMMAND = CommandRefitter(("train", "{output}"))
TENTH, FIFTH = MACERefitter(valid_fraction=0.1), MACERefitter(valid_fraction=0.2)


def after(tmp_path, *rounds):
    """A store whose refits have each held out what its refitter holds out of so many structures."""
    store = Store(tmp_path)
    for number, refitted in enumerate(rounds, start=1):
        store.round_directory(number).mkdir(parents=True)
        if refitted is not None:
            refitter, n_frames = refitted
            places = held_out(store, number, refitter, n_frames)
            keep_held_out(store, number, n_frames, places)
    return store


@pytest.mark.parametrize(
    ("rounds", "refitter", "n_frames", "expected"),
    [
        ([], TENTH, 25, [9, 19]),
        ([], COMMAND, 25, []),
        ([], None, 4, [0, 1, 2, 3]),
        ([(TENTH, 20)], TENTH, 30, [9, 19, 29]),
        ([(TENTH, 20), (TENTH, 30)], TENTH, 40, [9, 19, 29, 39]),
        ([(COMMAND, 20)], TENTH, 40, [29, 39]),  # a command trains on all
        ([(TENTH, 20)], COMMAND, 40, []),
        ([(TENTH, 20)], FIFTH, 30, [9, 19, 24, 29]),  # 4 and 14 have been trained on
        ([(FIFTH, 20)], TENTH, 30, [9, 19, 29]),
        ([(FIFTH, 20), (TENTH, 30)], FIFTH, 30, [9, 19, 29]),
        ([(TENTH, 20)], None, 23, [9, 19, 20, 21, 22]),  # refits are switched off
        ([None, (TENTH, 20), None], TENTH, 30, [9, 19, 29]),  # rounds without a refit
    ],
)
def test_places(tmp_path, rounds, refitter, n_frames, expected):
    store = after(tmp_path, *rounds)
    assert never_trained(store, len(rounds), refitter, n_frames) == expected
    if refitter is not None:
        assert held_out(store, len(rounds) + 1, refitter, n_frames) == expected


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"n_frames": "x", "places": []}'])
def test_a_damaged_record(tmp_path, content):
    store = after(tmp_path, (TENTH, 20))
    (store.round_directory(1) / FILE).write_text(content)
    with pytest.raises(StoreError, match=rf"{FILE}: is damaged"):
        never_trained(store, 1, TENTH, 20)


@needs_mace
@pytest.mark.slow
@pytest.mark.parametrize("picks", [1, 2])
def test_a_campaign_without_replay(tmp_path, monkeypatch, picks):
    """Of the frames in calibrations none is in a file that mace has trained on."""
    save_model(tiny_mace(("Al", "Cu"), "4x0e"), tmp_path / "start.model")
    changes = {
        "potential": {"kind": "mace", "model": "start.model"},
        "descriptor": {"kind": "mace", "force_projections": 2},
        "refit": {"kind": "mace", "max_epochs": 1, "replay": False, "valid_fraction": 0.5},
        "explore.walkers": 1,
        "explore.steps": 6,
        "explore.picks": picks,
        "explore.trigger": {"kind": "relative_force", "threshold": 1e-4},
        "stop.max_rounds": 3,
    }
    asked = []
    calibrating = round_model.calibrating

    def noted(surrogate, frames, keys, projections, potential, unseen, chosen):
        asked.append([frames[k].positions for k in unseen])
        return calibrating(surrogate, frames, keys, projections, potential, unseen, chosen)

    monkeypatch.setattr(round_model, "calibrating", noted)
    store, _ = ended(write_campaign(tmp_path, changes))
    assert [report.picks for report in reports(store)] == [0, *[picks] * 3]
    trained = []
    for number in range(1, 4):
        files = list(store.round_directory(number).glob("refit/**/train.extxyz"))
        trained += [atoms.positions for path in files for atoms in read(path, ":")]
        assert len(asked[number]) == (6 + picks * number) // 2
        for positions in asked[number]:
            assert not any(np.allclose(positions, seen, atol=1e-6) for seen in trained)
        refitted = bool(files)
        assert refitted == (picks == 2 or number % 2 == 1)
        before, now = (store.potential_path(k) for k in (number - 1, number))
        assert (weights(before) != weights(now)) == refitted
