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


import traceback, collections
def probe(found, label, call):
    try:
        found[outcome(call)] += 1
    except Exception as e:
        tb=traceback.extract_tb(e.__traceback__)
        fr=[f"{f.filename.split('site-packages/')[-1].split('/wt/sec/')[-1]}:{f.lineno}" for f in tb][-5:]
        found["FAIL"] += 1
        print("FAIL", label, type(e).__name__, str(e)[:200].replace("\n"," "), fr, flush=True)


@pytest.mark.parametrize("how", [damaged, misspelt])
def test_structure_files(tmp_path, how, n=50):
    picks = [reference(atoms) for atoms in alloy_cells(2, 0.1, 0)]
    path, rng = tmp_path / "pool.extxyz", np.random.default_rng(0)
    found=collections.Counter()
    write_frames(path, picks)
    content = path.read_bytes()
    assert outcome(lambda: use_structures(path, picks)) == "valid"
    for case in range(n):
        mutated = how(content, rng)
        path.write_bytes(mutated)
        probe(found, case, lambda: use_structures(path, picks))
        assert path.read_bytes() == mutated
    print(found)


NUMBERS = st.sampled_from([0.0, 1e-300, 1e-12, 1e-3, 0.5, 1.0, -3.6, 3.6, 7.2, 1e3, 1e6, -1e12, 1e300, np.inf, np.nan])
VECTORS = st.tuples(NUMBERS, NUMBERS, NUMBERS)
STRUCTURES = st.builds(
    lambda numbers, positions, cell, pbc: Atoms(
        numbers, positions=positions[: len(numbers)], cell=cell, pbc=pbc
    ),
    st.lists(st.sampled_from([13, 29, 0, 118]), max_size=4),
    st.lists(VECTORS, min_size=4, max_size=4),
    st.tuples(VECTORS, VECTORS, VECTORS) | st.sampled_from([np.eye(3) * a for a in (3.6, -3.6, 1e-6, 40.0, 1e5)]),
    st.tuples(*[st.booleans()] * 3) | st.just(True),
)
C=collections.Counter()

@settings(max_examples=1000)
@given(STRUCTURES)
def test_structures(atoms):
    def use():
        check_structure(atoms, "here")
        structure_id(atoms), canonical(atoms), write_frames(io.StringIO(), [atoms])
        pool_features([atoms], ACE)
        ACE.compute(atoms, derivatives=True)
    probe(C, repr(atoms), use)

def test_zz(): print(C)


NASTY = (None, True, -1, 0, 1, 10**30, 0.5, -2.5, float("nan"), float("inf"), "", "x", "../x", "$NOTHING/x", "\x00", "é" * 300,
    [], [1], ["x"], [[0, 300], [1, -1]], [None], {}, {"a": 1}, {1: 2}, {"kind": "npt"}, {"kind": []}, b"\xff", [[[[]]]])


def leaves(tree, prefix=()):
    yield prefix
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from leaves(value, (*prefix, key))
    elif isinstance(tree, list):
        for k, value in enumerate(tree):
            yield from leaves(value, (*prefix, k))


def replaced(tree, place, value):
    if not place:
        return value
    tree = copy.deepcopy(tree)
    inner = tree
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return tree


FULL = {
    "potential": {"kind": "import", "factory": "ase.calculators.emt:EMT", "parameters": {"a": [1]}},
    "explore.trigger": {"kind": "any", "members": [{"kind": "force", "threshold": 0.3}, {"kind": "stress", "threshold": {"calibrate": "training"}}]},
    "explore.moves": [{"kind": "swap", "interval": 10}, {"kind": "cell", "interval": 5}],
    "explore.pressure_GPa": 1.0,
    "explore.ensemble": {"kind": "npt"},
    "explore.temperature_K": [[0, 300], [10, 400]],
    "explore.bias": {"elements": {"Cu": 1.0}},
}


def test_fields(tmp_path):
    found = collections.Counter()
    config = load_config(write_config(tmp_path, FULL)).model_dump(mode="json")
    n = 0
    for place in leaves(config):
        if not place: continue
        for value in NASTY:
            n += 1
            raw = replaced(config, place, value)
            def use():
                c = validate_config(raw, "here", tmp_path)
                yaml.safe_dump(c.model_dump(mode="json"))
            probe(found, (place, value), use)
    print(n, found)


YAMLS = [
    "!!python/object/apply:os.system ['touch /tmp/sec/ran']", "!!python/name:os.system", "seed: !!python/object:builtins.dict {}", "a: &a [*a]", "&a {b: *a}",
    "\n".join([f"a{k}: &a{k} [" + ", ".join([f"*a{k-1}"] * 10) + "]" if k else "a0: &a0 [x]" for k in range(40)]),
    "[" * 5000, "{" * 5000, "- " * 20000 + "x", "seed: 2026-13-45", "seed: !!timestamp x", "seed: !!float ''", "seed: !!bool x", "seed: " + "1" * 5000, "seed: 1:99:99",
    "? [a]\n: b", "<<: 1", "<<: [1]", "a: *b", "%YAML 9.9\n---\nseed: 1", "--- 1\n--- 2", "seed: !!binary x", "seed: !!set {a}", "!!omap 1", "!!pairs [1]", "\ufeffseed: 1", "seed: \ud800" if False else "x", "a: !!int x", "a: !!null x", "!!str 1", "? !!set {x}\n: 1", "seed: 0x", "seed: !<tag> 1", "a: 0o9", "a: !!merge x",
]


def test_yaml(tmp_path):
    path, rng, found = write_config(tmp_path, FULL), np.random.default_rng(1), collections.Counter()
    content = path.read_bytes()
    for k, text in enumerate(YAMLS):
        path.write_text(text)
        probe(found, text[:60], lambda: load_config(path))
    for case in range(600):
        mutated = (damaged, misspelt_yaml)[case % 2](content, rng)
        path.write_bytes(mutated)
        probe(found, case, lambda: load_config(path))
        assert path.read_bytes() == mutated
    print(found)

def misspelt_yaml(content, rng):
    words = content.decode().split(" ")
    words[int(rng.integers(len(words)))] = (*WORDS, "&a", "*a", "!!python/x", "- ", ": ", "? ", "{a", "|", ">", "%", "@", "!", "!!set", "!!timestamp", "<<:")[rng.integers(len(WORDS)+15)]
    return " ".join(words).encode()
