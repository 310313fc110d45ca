"""Damaged and hostile input: every case is valid by a stated rule or ends in a named error.

A case counts as passed if the call returns, or raises a `BayeselError` with a message. Warnings
are errors here as everywhere, and no file may have changed.
"""

import copy
import io
import json
import warnings

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.build import bulk
from hypothesis import given, settings
from hypothesis import strategies as st
from systems import (
    alloy_cells,
    campaign_settings,
    hashes,
    reference,
    write_campaign,
    write_config,
)
from typer.testing import CliRunner

from ase_bayesel import ACEDescriptor, Posterior, Surrogate
from ase_bayesel.answers import read_answers
from ase_bayesel.campaign import Campaign
from ase_bayesel.cli import app
from ase_bayesel.config import CampaignConfig, load_config, validate_config
from ase_bayesel.errors import BayeselError
from ase_bayesel.feature_store import FeatureStore, pool_features
from ase_bayesel.inputs import check_inputs
from ase_bayesel.store import Store
from ase_bayesel.structures import (
    PropertyKeys,
    canonical,
    check_structure,
    iterate_frames,
    read_frames,
    structure_id,
    targets,
    write_frames,
)

KEYS = PropertyKeys("REF_energy", "REF_forces", "REF_virial")
ACE = ACEDescriptor(["Cu", "Al"], order=2, totaldegree=6, cutoff=4.5)
WORDS = (
    *("nan", "inf", "-inf", "1e400", "1e12", "-1e300", "1e-300", "0", "-1", "999999999999"),
    *("Xx", "X", "é", "\x00", "T", "F", '"', "[1,2]", "{", "_JSON [1]", "=", "\t", "--1", "0x10"),
    *('Lattice="1 0 0"', "Properties=species:S:1:pos:R:99", "forces=1", "R", "I", "L", "S"),
    *("Properties=species:S:1:pos:R:3:species:R:3", 'Lattice="0 0 0 0 0 0 0 0 0"', "1e5000"),
    *("pos:R:1000000000", "pos:I:3", "species:R:3", "numbers:I:1", ":", "pbc=1", 'pbc="T"'),
)


def outcome(call):
    """``"valid"``, or the name of the error; anything but a `BayeselError` passes through."""
    try:
        call()
    except BayeselError as error:
        assert str(error).strip()
        return type(error).__name__
    return "valid"


def damaged(content: bytes, rng) -> bytes:
    """Bytes cut off, flipped, lost, repeated or put in."""
    kind = rng.integers(6)
    start = int(rng.integers(len(content)))
    end = min(len(content), start + int(rng.integers(1, 40)))
    if kind == 0:
        return content[:start]
    if kind == 1:
        array = bytearray(content)
        for place in rng.integers(len(content), size=rng.integers(1, 6)):
            array[place] ^= 1 << int(rng.integers(8))
        return bytes(array)
    middle = (b"", content[start:end] * 2, bytes(end - start), rng.bytes(end - start))[kind - 2]
    return content[:start] + middle + content[end:]


def misspelt(content: bytes, rng) -> bytes:
    """Text in which a few words are others, or a line is lost or there twice."""
    lines = content.decode().split("\n")
    place = int(rng.integers(len(lines)))
    kind = rng.integers(4)
    if kind == 0:
        del lines[place]
    elif kind == 1:
        lines.insert(place, lines[place])
    else:
        place = place if kind == 2 else int(rng.choice([k for k in range(len(lines)) if "=" in lines[k]]))
        words = lines[place].split(" ")
        words[int(rng.integers(len(words)))] = WORDS[rng.integers(len(WORDS))]
        lines[place] = " ".join(words)
    return "\n".join(lines).encode()


def use_structures(path, picks):
    """All that is done with a file of structures before it costs anything."""
    read_frames(path)
    for atoms in iterate_frames(path):
        structure_id(atoms), canonical(atoms), targets(atoms, KEYS)
        write_frames(io.StringIO(), [atoms])
    read_answers(path, picks, KEYS)
    pool_features(path, ACE)


@pytest.mark.parametrize("how", [damaged, misspelt])
def test_structure_files(tmp_path, how, n=2000):
    picks = [reference(atoms) for atoms in alloy_cells(2, 0.1, 0)]
    path, rng, found = tmp_path / "pool.extxyz", np.random.default_rng(0), []
    write_frames(path, picks)
    content = path.read_bytes()
    assert outcome(lambda: use_structures(path, picks)) == "valid"
    for case in range(n):
        mutated = how(content, rng)
        path.write_bytes(mutated)
        try:
            found.append(outcome(lambda: use_structures(path, picks)))
        except Exception as e:
            import traceback; tb=traceback.extract_tb(e.__traceback__)
            fr=[f"{f.filename.split('site-packages/')[-1].split('/wt/sec/')[-1]}:{f.lineno}" for f in tb][-6:]
            print("FAIL", case, type(e).__name__, str(e)[:150], fr)
        assert path.read_bytes() == mutated
    from collections import Counter
    print(Counter(found))
    assert {"valid", "StructureError"} <= set(found)
