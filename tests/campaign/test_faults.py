"""A campaign that is killed at random moments, again and again, ends as if nothing had been.

Each life is a process of its own, forked from a server that has imported everything, and
dies by SIGKILL.
"""

import hashlib
import time
from collections import Counter
from multiprocessing import get_context

import numpy as np
import pytest
from helpers.campaigns import assert_same_campaign, by_positions, calls, counted

from ase_bayesel import Campaign
from ase_bayesel.campaign.config.loading import load_config
from ase_bayesel.campaign.store import Store
from ase_bayesel.resources.threads import cpu_threads

PROCESSES = get_context("forkserver")
PROCESSES.set_forkserver_preload(
    ["ase_bayesel.campaign.campaign", "ase_bayesel.descriptors.ace", "helpers.structures"]
)


def live(config):
    """A campaign to its end."""
    with cpu_threads(1):
        for _ in Campaign(load_config(config), config.with_name("campaign")).run():
            pass


def started(config):
    process = PROCESSES.Process(target=live, args=[config])
    process.start()
    return process


def labels(directory):
    """Content hash of every label on disk, by the structure."""
    paths = directory.glob("labels/*/*.extxyz")
    return {path.stem: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def lives(config, rng, mean_s):
    """Live, with a kill after a random time, until a life comes to its end; counts the kills.

    Whatever is labelled stays as it is, and is never computed again.
    """
    directory, kills = config.with_name("campaign"), 0
    while True:
        known, before = labels(directory), len(calls(config))
        process = started(config)
        process.join(rng.exponential(mean_s))
        ended = process.exitcode is not None
        process.kill()
        process.join()
        found = labels(directory)
        assert known.items() <= found.items()
        computed = {by_positions(directory).get(line) for line in calls(config)[before:]}
        assert not computed & known.keys()
        if ended:
            assert process.exitcode == 0
            return kills
        kills += 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "least_kills"),
    [
        ({}, 40),
        ({"explore.mode": "turns"}, 20),
        ({"labels": {"start": "batch"}, "explore.walkers": 4}, 20),
    ],
    ids=["lockstep", "turns", "batch"],
)
def test_random_kills(tmp_path, changes, least_kills):
    """Eighty kills in all."""
    undisturbed = counted(tmp_path / "undisturbed", changes)
    begin = time.monotonic()
    live(undisturbed)
    mean_s = (time.monotonic() - begin) / 6
    rng = np.random.default_rng(6)
    kills = 0
    for k in range(100):
        config = counted(tmp_path / f"killed_{k}", changes)
        own = lives(config, rng, mean_s)
        kills += own
        assert_same_campaign(*(Store(c.with_name("campaign")) for c in (config, undisturbed)))
        repeats = Counter(calls(config))
        assert len(repeats) == len(set(calls(undisturbed)))
        assert sum(repeats.values()) - len(repeats) <= own
        if kills >= least_kills:
            return
    pytest.fail(f"only {kills} kills struck")
