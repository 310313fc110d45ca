"""Go on, stop or enlarge the model; and what a campaign records for it."""

from dataclasses import replace

import pytest
from helpers.campaigns import write_campaign

from ase_bayesel import Campaign, Surrogate, load_config
from ase_bayesel.campaign.events import RoundReport
from ase_bayesel.campaign.round_outlook import intended_structures
from ase_bayesel.campaign.stopping import (
    advice,
    bound_rate,
    leading,
    prospects,
    told,
    trigger_rate,
)
from ase_bayesel.campaign.store import Store
from ase_bayesel.surrogate.foresight import outlooks
from ase_bayesel.surrogate.outlook import Outlook
from ase_bayesel.surrogate.scales import Scale, Scales

GAINFUL, NOISY, USELESS = Outlook(2.0, 1.0, 0.1), Outlook(2.0, 1.0, 9.0), Outlook(1.001, 1.0, 0.1)


def reports(errors=(None, None, None), outlook=None, picks=3):
    """A round for each error of forces."""
    scales = Scales(forces=Scale(3.0)).to_json()
    found = {} if outlook is None else {"forces": outlook}
    return [
        RoundReport(k, 5, 3 * k, picks if k else 0, scales=scales, forces_rmse=error, outlook=found)
        for k, error in enumerate(errors)
    ]


@pytest.mark.parametrize(
    ("errors", "outlook", "picks", "what"),
    [
        ((None,) * 3, GAINFUL, 3, "go on"),
        ((0.1, 0.1, 0.1), GAINFUL, 3, "go on"),
        ((0.4, 0.2, 0.1), NOISY, 3, "enlarge the model, or stop if the errors suffice"),
        ((None,) * 3, USELESS, 3, "stop, or explore elsewhere"),
        ((0.1, 0.1, 0.2), GAINFUL, 3, "look at the last labels before going on"),
        ((0.4, 0.2, 0.1), GAINFUL, 0, "stop, or explore elsewhere"),
        ((0.4, 0.2, 0.1), None, 3, "go on"),
        ((0.1, 0.1, 0.1), None, 3, "stop, if the errors suffice"),
        ((None,) * 3, None, 3, "go on while labels can be paid for"),
        ((0.1,), GAINFUL, 3, "go on"),
    ],
)
def test_advice(errors, outlook, picks, what):
    assert advice(reports(errors, outlook, picks), waiting=False, linear=True).what == what


@pytest.mark.parametrize(("paid", "what"), [(10, "stop, or explore elsewhere"), (100, "go on")])
def test_the_more_labels_the_less_a_batch_has_to_bring(paid, what):
    """Ten labels that lower the error by 9%."""
    found = reports(outlook=Outlook(1.0, 0.888, 0.0), picks=10)
    assert found[-1].outlook["forces"].gain == pytest.approx(0.09, abs=0.01)
    found[-1] = replace(found[-1], n_labels=paid)
    assert advice(found, waiting=False, linear=True).what == what


def test_labels_come_first_and_networks_go_by_their_errors():
    found = reports((0.4, 0.2, 0.1), NOISY)
    assert advice(found, waiting=True, linear=True).what == "label the batch"
    assert advice(found, waiting=False, linear=False).what == "go on"


def test_walkers_that_were_stopped_are_no_reason_to_stop():
    found = reports(picks=0)
    found[-1] = replace(found[-1], stopped=("walker 1 stopped at step 5 (lost_atoms)",))
    told_next = advice(found, waiting=False, linear=True)
    assert told_next.what == "look at what stopped the walkers"
    assert "walker 1 stopped at step 5" in told_next.why


def test_prospects_are_calibrated():
    (last,) = reports((0.1,), GAINFUL)
    found = prospects(last)["forces"]
    assert (found.error, found.deviation, found.noise) == (3.0, 1.0, 0.1)
    assert found.gain == GAINFUL.gain
    assert leading(last) == found
    assert f"({100 * found.gain:.1f}%)" in told(found)
    assert leading(replace(last, outlook={})) is None


def test_rates():
    report = RoundReport(1, 5, 5, returns=2, checks=8, fires=4)
    assert (trigger_rate(report), bound_rate(report)) == (0.5, 0.25)
    assert trigger_rate(RoundReport(0, 5, 5)) is None


def test_all_of_the_checks_are_100_percent():
    found = reports((0.1, 0.1), GAINFUL)
    found[-1] = replace(found[-1], checks=8, fires=8)
    why = advice(found, waiting=False, linear=True).why
    assert "100% of its checks fired and 0% met the bound" in why
    assert "e+" not in why


def test_a_campaign_records_them(tmp_path):
    config = load_config(write_campaign(tmp_path, {"stop.max_rounds": 1}))
    for _ in Campaign(config, tmp_path / "campaign").run():
        pass
    store = Store(tmp_path / "campaign")
    first, last = store.read_report(0), store.read_report(1)
    assert (first.checks, first.outlook, first.intended) == (0, {}, "")
    trace = store.exploration(1).read_trace()
    assert last.checks == len(trace) >= last.fires >= last.picks
    assert last.intended == "test"
    campaign = Campaign.open(store.directory)
    picks = campaign._training_set(1)[-last.picks :]
    model = Surrogate.load(store.model_path(1))
    again = outlooks(model, store.read_input("test"), picks)
    assert again["forces"].now == pytest.approx(last.outlook["forces"].now, rel=1e-6)
    assert again["forces"].before == pytest.approx(last.outlook["forces"].before, rel=1e-6)
    state, _ = store.exploration(1).load(campaign._starts_of(1))
    name, frames = intended_structures(config, store, state)
    assert (name, len(frames)) == ("test", len(store.read_input("test")))
    for path in store.directory.glob("inputs/test.*"):
        path.unlink()
    name, frames = intended_structures(config, store, state)
    assert name == "walkers"
    assert frames == [walker.atoms for walker in state.walkers]
    stopped = replace(state.walkers[0], status="nan")
    state = replace(state, walkers=(stopped, *state.walkers[1:]))
    assert intended_structures(config, store, state)[1] == frames[1:]
