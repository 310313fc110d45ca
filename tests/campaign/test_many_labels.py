"""Status and resume with 10,000 labels: no label is read, and memory does not grow with them.

benchmarks/label_store.py measures how long they take.
"""

import sys
import tracemalloc
from itertools import islice

import pytest
from helpers.campaigns import write_campaign, write_config
from helpers.many_labels import grown
from typer.testing import CliRunner

from ase_bayesel import Campaign
from ase_bayesel.campaign.config.loading import load_config
from ase_bayesel.cli.main import app

OPENED: list[str] | None = None


def _note(event, arguments):
    if OPENED is not None and event == "open":
        OPENED.append(str(arguments[0]))


sys.addaudithook(_note)


def resume(config):
    """Up to the third event of the next round."""
    events = Campaign(load_config(config), config.with_name("campaign")).run()
    found = list(islice(events, 3))
    events.close()
    assert {event.stage for event in found} <= {"explore", "label"}


def status(config):
    directory = str(config.with_name("campaign"))
    result = CliRunner().invoke(app, ["status", str(config), "-d", directory])
    assert result.exit_code == 0, result.output


@pytest.fixture(scope="module")
def campaigns(tmp_path_factory):
    """Two configs, of campaigns with few and with many labels."""
    folder = tmp_path_factory.mktemp("many")
    config = write_campaign(folder / "first", {"stop.max_rounds": 1})
    list(Campaign(load_config(config), config.with_name("campaign")).run())
    configs = [grown(config, folder, n) for n in (100, 10_000)]
    for one in configs:
        stop = {"max_rounds": 10_000, "max_labels": 20_000}
        write_config(one.parent, {"stop": stop, "labelling.canary": False})
    return configs


@pytest.mark.slow
@pytest.mark.parametrize("action", [status, resume])
def test_no_label_is_read(campaigns, action):
    global OPENED
    OPENED = []
    try:
        action(campaigns[1])
    finally:
        opened, OPENED = OPENED, None
    read = [path for path in opened if path.endswith(".extxyz") and "/labels/" in path]
    assert read == []
    assert len(opened) < 3_000


@pytest.mark.slow
@pytest.mark.parametrize("action", [status, resume])
def test_memory_does_not_grow_with_the_labels(campaigns, action):
    action(campaigns[0])
    peaks = []
    for config in campaigns:
        tracemalloc.start()
        action(config)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    few, many = peaks
    assert many < few + 3e6
