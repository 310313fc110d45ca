"""Error bars of properties from round to round: computed, kept, shown, and what they advise."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import read, write
from helpers.campaigns import ended, reports, write_campaign
from helpers.structures import copper, reference

from ase_bayesel import Campaign, Surrogate, load_config
from ase_bayesel.campaign.error_bars import error_bars
from ase_bayesel.campaign.events import RoundReport
from ase_bayesel.campaign.history import History
from ase_bayesel.campaign.inputs import check_inputs
from ase_bayesel.campaign.round_properties import round_properties
from ase_bayesel.campaign.stopping import advice
from ase_bayesel.cli.report.tables import property_rows
from ase_bayesel.cli.status import status_lines
from ase_bayesel.cli.status_json import status_values
from ase_bayesel.errors import ConfigError, ValidationError
from ase_bayesel.plots import property_error_bars
from ase_bayesel.surrogate.outlook import Outlook
from ase_bayesel.surrogate.scales import Scale
from ase_bayesel.surrogate.steps import finished
from ase_bayesel.validation import Quantity, relax, vacancy_functional

GAINFUL, USELESS = Outlook(2.0, 1.0, 0.1), Outlook(1.001, 1.0, 0.1)
FOLLOWED = {
    "crystal": {"name": "Cu", "a": 3.6},
    "elastic": False,
    "vacancy": [2, 2, 2],
    "members": 3,
    "wanted": {"a": 1e-9, "vacancy": 50.0},
}


def written(folder, properties=FOLLOWED, **changes):
    """A campaign whose training set holds copper too."""
    changes = {"properties": properties, "stop.max_rounds": 1, **changes}
    config = write_campaign(folder, changes)
    path = folder / "train.extxyz"
    cells = [reference(copper(k, 0.06, a)) for k, a in enumerate(np.linspace(3.45, 3.8, 8))]
    write(path, [*read(path, ":"), *cells])
    return config


@pytest.fixture(scope="module")
def campaign(tmp_path_factory):
    """Two fits, and the config."""
    config = written(tmp_path_factory.mktemp("properties"))
    return ended(config)[0], config


def test_each_round_keeps_them(campaign):
    store, _ = campaign
    for report in reports(store):
        lattice, vacancy = report.properties
        assert (lattice.name, lattice.unit, vacancy.name, vacancy.unit) == (
            "a",
            "A",
            "vacancy",
            "eV",
        )
        model = Surrogate.load(store.model_path(report.round_number))
        crystal = relax(bulk("Cu", a=3.6), model.calculator(), cell=True)
        assert lattice.value == pytest.approx(np.sqrt(2) * crystal.cell.lengths()[0], rel=1e-5)
        again = vacancy_functional(crystal, model.calculator(), (2, 2, 2))
        assert vacancy.value == pytest.approx(again.value(model.calculator()), abs=1e-4)
        scaled = model.scales.energy.value * again.std(model)
        assert vacancy.std == pytest.approx(scaled, rel=1e-3)
        assert lattice.std > 0


def test_a_killed_round_gives_the_same(campaign, tmp_path):
    store, config = campaign
    copy = shutil.copytree(config.parent, tmp_path / "copy")
    (copy / "campaign/round_0001/DONE").unlink()
    (copy / "campaign/round_0001/report.json").unlink()
    again = ended(copy / config.name)[0]
    assert reports(again)[1].properties == reports(store)[1].properties


def test_status_and_report_show_them(campaign):
    store, _ = campaign
    history = History(store)
    last = history.reports[-1].properties
    lines = list(status_lines(store, [1]))
    assert [line for line in lines if line.startswith("property after round 1")] == [
        f"property after round 1: {bar}" for bar in history.error_bars
    ]
    shown = status_values(store, [1])["rounds"][0]["properties"]
    assert shown["a"] == {"value": last[0].value, "std": last[0].std, "unit": "A"}
    heads, (_, (number, cells)) = property_rows(history)
    assert (heads, number) == (["a, A", "vacancy, eV"], 1)
    assert cells[0] == f"{last[0].value:.5g} ± {last[0].std:.2g}"
    axes = property_error_bars(history)
    assert [line.get_label() for line in axes.lines][::2] == ["a", "vacancy"]
    assert axes.lines[0].get_ydata()[1] == last[0].std / last[0].value
    assert "larger than wanted (a " in history.advice.why


def test_a_crystal_from_a_file_is_copied(campaign, tmp_path):
    before, _ = campaign
    write(tmp_path / "cu.extxyz", bulk("Cu", a=3.6))
    config = load_config(written(tmp_path, {**FOLLOWED, "crystal": {"file": "cu.extxyz"}}))
    store = Campaign(config, tmp_path / "campaign").store
    (tmp_path / "cu.extxyz").unlink()
    model = Surrogate.load(before.model_path(0))
    found, failed = finished(round_properties(config, store, 0, model))
    assert not failed
    assert found == before.read_report(0).properties


def test_what_fails_is_told_and_the_campaign_goes_on(campaign, monkeypatch):
    store, config = campaign
    model = Surrogate.load(store.model_path(1))
    place = "ase_bayesel.campaign.round_properties.vacancy_functional"

    def fails(*_):
        raise ValidationError("not at rest")

    monkeypatch.setattr(place, fails)
    found, failed = finished(round_properties(load_config(config), store, 1, model))
    assert [quantity.name for quantity in found] == ["a"]
    assert failed == ("properties: vacancy not computed (not at rest)",)
    scales = replace(model.scales, energy=Scale(np.inf))
    _, failed = finished(
        round_properties(load_config(config), store, 1, replace(model, scales=scales))
    )
    assert failed[0] == "properties: crystal not computed (a is not finite)"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"wanted": {"C11": 1.0}}, "wanted: C11 not computed; known: a, vacancy"),
        ({"crystal": {"name": "Xq"}}, "crystal: ASE cannot build it"),
        ({"crystal": {"name": "Si"}, "vacancy": None}, "properties.crystal, frame 0: element Si"),
        ({"crystal": {"name": "CuAl", "crystalstructure": "cesiumchloride", "a": 3.0}}, "vacancy"),
        ({"vacancy": [1, 1, 1]}, "at least two atoms"),
        ({"crystal": {"file": "slab.extxyz"}}, "slab.extxyz: a crystal is periodic in three"),
    ],
)
def test_what_cannot_be_followed_is_refused(tmp_path, changes, told):
    write(tmp_path / "slab.extxyz", Atoms("Cu", cell=[3, 3, 9], pbc=[True, True, False]))
    properties = {**FOLLOWED, "wanted": {}, **changes}
    with pytest.raises(ConfigError, match=told):
        check_inputs(load_config(written(tmp_path, properties)))


def test_what_is_followed_may_change(campaign, tmp_path):
    _, config = campaign
    copy = shutil.copytree(config.parent, tmp_path / "copy")
    path = copy / config.name
    path.write_text(path.read_text().replace("members: 3", "members: 4"))
    store, last = ended(path)
    assert "the one round is done" in last.reason
    assert store.read_config()["properties"]["members"] == 4


def rounds(*stds, outlook=None, picks=3):
    """Reports whose property ``a`` has these error bars."""
    found = {} if outlook is None else {"forces": outlook}
    return [
        RoundReport(
            *(k, 5, 3 * k, picks if k else 0),
            outlook=found,
            properties=(Quantity("a", 5.0, "A", std),),
        )
        for k, std in enumerate(stds)
    ]


@pytest.mark.parametrize(
    ("stds", "outlook", "what", "why"),
    [
        (
            (0.4, 0.2, 0.05),
            GAINFUL,
            "stop, if the errors suffice",
            "wanted 0.1, 0.4 2 rounds ago). Of the rest",
        ),
        ((0.9, 0.5, 0.2), USELESS, "go on", "error bars fall"),
        (
            (0.21, 0.2, 0.2),
            USELESS,
            "stop, or explore elsewhere",
            "no longer fall",
        ),
        ((0.21, 0.2, 0.2), GAINFUL, "go on", "no longer fall"),
        ((0.9, 0.2), None, "go on while labels can be paid for", "larger than wanted"),
    ],
)
def test_advice(stds, outlook, what, why):
    found = advice(rounds(*stds, outlook=outlook), False, True, {"a": 0.1})
    assert found.what == what
    assert why in found.why
    network = advice(rounds(*stds, outlook=outlook), False, False, {"a": 0.1})
    assert network == advice(rounds(*stds, outlook=outlook), False, False)


@pytest.mark.parametrize("std", [None, np.inf])
def test_a_report_without_an_error_bar_is_damaged(std):
    with pytest.raises(ValueError, match="a: holds numbers"):
        rounds(std)


def test_history_of_an_error_bar():
    (bar,) = error_bars(rounds(0.4, 0.2, 0.1), {})
    assert (bar.std, bar.before, bar.wanted, bar.short, bar.falls) == (0.1, 0.4, None, False, True)
    (bar,) = error_bars(rounds(0.4, 0.2), {"a": 0.1})
    assert (bar.before, bar.short, bar.falls) == (None, True, None)
    assert str(bar) == "a 5 ± 0.2 A, wanted 0.1"
    assert error_bars([], {}) == []


def test_a_crystal_that_swells_is_given_up():
    with pytest.raises(ValidationError, match="volume has changed by more than a factor of 3"):
        relax(bulk("Cu", a=2.2), EMT(), cell=True)


def test_vacancy_of_copper():
    """EMT's own, in a supercell of 27."""
    crystal = relax(bulk("Cu"), EMT(), cell=True)
    functional = vacancy_functional(crystal, EMT(), (3, 3, 3))
    rest, _ = functional.frames
    assert len(rest) == 26
    unrelaxed = crystal.repeat(3)[1:]
    unrelaxed.calc = EMT()
    before = unrelaxed.get_potential_energy() - 26 * crystal.get_potential_energy()
    assert 0.5 < functional.value(EMT()) < before
    with pytest.raises(ValidationError, match="one element"):
        vacancy_functional(bulk("NaCl", "rocksalt", a=5.6), EMT(), (1, 1, 1))
