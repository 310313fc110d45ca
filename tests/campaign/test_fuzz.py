"""Damaged and hostile input: every case is valid by a stated rule or ends in a named error.

A case has passed if the call returns or raises a `BayeselError` with a message, and has changed
no file. Warnings are errors here as everywhere.
"""

import copy
import io
import json
import tracemalloc
import zipfile
from collections import Counter
from functools import partial

import numpy as np
import pytest
import yaml
from ase import Atoms
from helpers.campaigns import write_campaign, write_config
from helpers.files import hashes
from helpers.structures import alloy_cells, reference
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from ase_bayesel import ACEDescriptor, Posterior, Surrogate
from ase_bayesel.campaign.build.walkers import build_tau_rule
from ase_bayesel.campaign.campaign import Campaign
from ase_bayesel.campaign.config.loading import load_config, validate_config
from ase_bayesel.campaign.inputs import check_inputs
from ase_bayesel.campaign.store import Store
from ase_bayesel.cli.main import app
from ase_bayesel.dynamics.triggers import with_thresholds
from ase_bayesel.errors import BayeselError, ConfigError, PosteriorError, StoreError
from ase_bayesel.labelling.by_hand import read_labels_by_hand
from ase_bayesel.labelling.store import Label, LabelStore
from ase_bayesel.resources.threads import cpu_threads
from ase_bayesel.selection.feature_store import FeatureStore, pool_features
from ase_bayesel.structures.checks import check_structure
from ase_bayesel.structures.frames import extxyz_bytes, iterate_frames, read_frames, write_frames
from ase_bayesel.structures.identity import canonical, structure_id
from ase_bayesel.structures.labels import PropertyKeys, targets

KEYS = PropertyKeys("REF_energy", "REF_forces", "REF_virial")
ACE = ACEDescriptor(["Cu", "Al"], order=2, totaldegree=6, cutoff=4.5)
FEW_OR_ALL = pytest.mark.parametrize("share", [0.1, pytest.param(1.0, marks=pytest.mark.slow)])
"""Of the cases that can be counted."""
FEW_OR_MANY = pytest.mark.parametrize("share", [0.1, pytest.param(0.4, marks=pytest.mark.slow)])
"""Of random damage, of which there is no end, and of many thousand cases."""

WORDS = (
    *("nan", "inf", "-inf", "1e400", "1e12", "-1e300", "1e-300", "0", "-1", "999999999999"),
    *("Xx", "X", "é", "\x00", "T", "F", '"', "[1,2]", "{", "_JSON [1]", "=", "\t", "--1", "0x10"),
    *('Lattice="1 0 0"', "Properties=species:S:1:pos:R:99", "forces=1", "R", "I", "L", "S"),
    *("Properties=species:S:1:pos:R:3:species:R:3", 'Lattice="0 0 0 0 0 0 0 0 0"', "1e5000"),
    *("Properties=species:S:1:pos:R:1000000000", "species:R:3", ":", "pbc=1", 'pbc="T"'),
    *("&a", "*a", "!!python/x", "- ", ": ", "? ", "{a", "|", ">", "%", "@", "!!set", "<<:"),
)
NASTY = (
    *(None, True, -1, 0, 1, 10**30, 0.5, -2.5, float("nan"), float("inf"), "", "x", "../x"),
    *("$NOTHING/x", "\x00", "é" * 300, [], [1], ["x"], [[0, 300], [1, -1]], [None], {}),
    *({"a": 1}, {1: 2}, {"kind": "npt"}, {"kind": []}, b"\xff", [[[[]]]]),
)


def outcome(call):
    """``"valid"``, or the name of the error; anything but a `BayeselError` passes through."""
    try:
        call()
    except BayeselError as error:
        return type(error).__name__ if str(error).strip() else "an error without a message"
    return "valid"


def damaged(content, rng):
    """Bytes cut off, flipped, lost, repeated, blanked or put in."""
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


def misspelt(content, rng):
    """Text in which a word is another, or a line is lost or there twice."""
    lines = content.decode().split("\n")
    place = int(rng.integers(len(lines)))
    kind = rng.integers(5)
    if kind == 0:
        del lines[place]
    elif kind == 1:
        lines.insert(place, lines[place])
    else:
        words = lines[place].split(" ")
        words[int(rng.integers(len(words)))] = WORDS[rng.integers(len(WORDS))]
        lines[place] = " ".join(words)
    return "\n".join(lines).encode()


def leaves(tree, prefix=()):
    """Places of all values below a nested one."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in items:
        yield (*prefix, key)
        if isinstance(value, dict | list):
            yield from leaves(value, (*prefix, key))


def replaced(tree, place, value):
    """A copy with another value in a place."""
    tree = copy.deepcopy(tree)
    inner = tree
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return tree


# structures


def use_structures(path, picks):
    """All that is done with a file of structures before it costs anything."""
    read_frames(path)
    for atoms in iterate_frames(path):
        structure_id(atoms), canonical(atoms), targets(atoms, KEYS)
        extxyz_bytes([atoms])
    read_labels_by_hand(path, picks, KEYS)
    pool_features(path, ACE)


@FEW_OR_MANY
@pytest.mark.parametrize("how", [damaged, misspelt])
def test_structure_files(tmp_path, how, share):
    picks = [reference(atoms) for atoms in alloy_cells(2, 0.1, 0)]
    path, rng, found = tmp_path / "pool.extxyz", np.random.default_rng(0), Counter()
    write_frames(path, picks)
    content = path.read_bytes()
    assert outcome(lambda: use_structures(path, picks)) == "valid"
    for _ in range(int(1500 * share)):
        bad = how(content, rng)
        path.write_bytes(bad)
        found[outcome(lambda: use_structures(path, picks))] += 1
        assert path.read_bytes() == bad
    assert set(found) == {"valid", "StructureError", "LabellingError"}


NUMBERS = st.sampled_from(
    [
        *(0.0, 0.0, 0.0, 3.6, 3.6, 7.2, -3.6, 0.5, 1e-300, 1e-12, 1e-3, 1e3, 1e6, -1e12, 1e300),
        *(float("inf"), float("nan")),
    ]
)
VECTORS = st.tuples(NUMBERS, NUMBERS, NUMBERS)
DIAGONAL = st.tuples(*[st.sampled_from([3.6, 3.6, 5.0, 40.0, -3.6, 0.5, 1e-6, 1e3, 1e5])] * 3)
STRUCTURES = st.builds(
    lambda numbers, positions, cell, pbc: Atoms(
        numbers, positions=positions[: len(numbers)], cell=cell, pbc=pbc
    ),
    st.lists(st.sampled_from([13, 29, 29, 0, 118]), max_size=4),
    st.lists(VECTORS, min_size=4, max_size=4),
    st.one_of(DIAGONAL.map(np.diag), st.tuples(VECTORS, VECTORS, VECTORS)),
    st.tuples(*[st.booleans()] * 3) | st.just(True),
)


@settings(max_examples=400)
@given(STRUCTURES)
def test_structures(atoms):
    """Cells that are huge, tiny, singular or left-handed; atoms far away, equal or unknown."""

    def use():
        check_structure(atoms, "here")
        structure_id(atoms), canonical(atoms), extxyz_bytes([atoms])
        pool_features([atoms], ACE)
        (features,) = ACE.compute(atoms, derivatives=True)
        assert np.isfinite(features.jacobian).all()

    outcome(use)


@pytest.mark.parametrize(
    ("cell", "valid"),
    [
        (np.diag([3.6, 3.6, -3.6]), True),  # left-handed
        (np.diag([1000.0, 1000.0, 900.0]), True),
        (np.diag([1e5, 1e5, 1e5]), False),
        (np.diag([0.5, 3.6, 3.6]), True),
        (np.diag([0.01, 3.6, 3.6]), False),
        (np.ones((3, 3)), False),
    ],
)
def test_rules_of_cells(cell, valid):
    atoms = Atoms("Cu", cell=cell, pbc=True)
    assert (outcome(lambda: check_structure(atoms, "here")) == "valid") == valid


# configs

FULL = {
    "potential": {"kind": "import", "factory": "ase.calculators.emt:EMT", "parameters": {"a": [1]}},
    "explore.trigger": {
        "kind": "any",
        "members": [
            {"kind": "force", "threshold": 0.3},
            {"kind": "stress", "threshold": {"calibrate": "training"}},
        ],
    },
    "explore.moves": [{"kind": "swap", "interval": 10}, {"kind": "cell", "interval": 5}],
    "explore.pressure_GPa": 1.0,
    "explore.ensemble": {"kind": "npt"},
    "explore.temperature_K": [[0, 300], [10, 400]],
    "explore.bias": {"elements": {"Cu": 1.0}},
}
MERGES = [f"a{k}: &a{k} {{<<: [{', '.join([f'*a{k - 1}'] * 20)}]}}" for k in range(1, 20)]
HOSTILE = (
    "a0: &a0 {x: 1}\n" + "\n".join(MERGES),
    "a: &a [" + "*a, " * 5000 + "]",
    *(
        "!!python/object/apply:os.mkdir [ran]",
        "!!python/name:os.system",
        "a: &a [*a]",
        "&a {b: *a}",
    ),
    "\n".join(["a0: &a0 [x]", *(f"a{k}: &a{k} [{f'*a{k - 1}, ' * 10}]" for k in range(1, 40))]),
    *("[" * 1500, "{" * 1500, "- " * 1500 + "x", "seed: 2026-13-45", "seed: !!timestamp x"),
    *("seed: !!float ''", "seed: !!bool x", "seed: " + "1" * 5000, "seed: 1:99:99", "? [a]\n: b"),
    *("<<: 1", "<<: [1]", "a: *b", "%YAML 9.9\n---\nseed: 1", "--- 1\n--- 2", "seed: !!binary x"),
    *("seed: !!set {a}", "!!omap 1", "!!pairs [1]", "\ufeffseed: 1", "a: !!int x", "!!str 1"),
    *("? !!set {x}\n: 1", "seed: 0x", "seed: !<tag> 1", "a: 0o9", "a: !!merge x"),
)


@FEW_OR_ALL
def test_fields(tmp_path, share):
    """Each field of a config in turn holds what it should not."""
    config = load_config(write_campaign(tmp_path, FULL)).model_dump(mode="json")
    check_inputs(validate_config(config, "here", tmp_path))
    cases = [(place, value) for place in leaves(config) for value in NASTY]
    chosen = np.random.default_rng(0).permutation(len(cases))[: int(share * len(cases))]
    before, found = hashes(tmp_path), Counter()

    def use(raw):
        checked = validate_config(raw, "here", tmp_path)
        yaml.safe_dump(checked.model_dump(mode="json"))
        check_inputs(checked)
        with_thresholds(checked.explore.trigger, [1.0]), build_tau_rule(checked.explore)
        with cpu_threads(checked.threads):
            np.random.SeedSequence((checked.seed, 1))

    for place, value in (cases[k] for k in chosen):
        found[outcome(partial(use, replaced(config, place, value)))] += 1
    assert found["ConfigError"] > 10 * share
    assert found["valid"] > 10 * share
    assert hashes(tmp_path) == before


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_yaml(tmp_path, text, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"config\.yaml: "):
        load_config("config.yaml")
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


@FEW_OR_MANY
@pytest.mark.parametrize("how", [damaged, misspelt])
def test_config_files(tmp_path, how, share):
    path, rng, found = write_config(tmp_path, FULL), np.random.default_rng(0), Counter()
    content = path.read_bytes()
    for _ in range(int(700 * share)):
        bad = how(content, rng)
        path.write_bytes(bad)
        found[outcome(lambda: load_config(path))] += 1
        assert path.read_bytes() == bad
    assert set(found) <= {"valid", "ConfigError"}


# what is saved


@pytest.fixture(scope="module")
def campaign(tmp_path_factory):
    """The config of a finished campaign with all that one can keep."""
    changes = {
        "stop.max_rounds": 1,
        "explore.log": True,
        "explore.trigger": {
            "kind": "relative_force",
            "threshold": {"calibrate": "training", "factor": 0.1},
        },
        "explore.picks": 2,
        "explore.steps": 30,
        "explore.moves": [{"kind": "swap", "interval": 10}],
    }
    path = write_campaign(tmp_path_factory.mktemp("campaign"), changes)
    list(Campaign(load_config(path), path.parent / "config_campaign").run())
    return path


def store_of(path):
    return Store(path.parent / "config_campaign")


def starts_of(path):
    return read_frames(path.parent / "starts.extxyz")


def array_bytes(array):
    """An npy file, with pickle where numpy wants it."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asarray(array), allow_pickle=True)
    return buffer.getvalue()


def header_bytes(shape, descr="<f8"):
    """An npy file that ends where its data should begin."""
    buffer = io.BytesIO()
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue()


def with_member(content, name, member):
    """An npz file in which one array is another; checksums are right."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w") as new:
        for info in old.infolist():
            own = old.read(info)
            new.writestr(info.filename, member if info.filename == f"{name}.npy" else own)
    return out.getvalue()


def wrong_members(array):
    """Arrays that should not be in the place of this one."""
    yield from (header_bytes(shape) for shape in ((10**12,), (10**6, 10**6), (-1,)))
    yield header_bytes(array.shape, "|O")
    yield from (b"", array_bytes(array)[:-3], array_bytes(array) + b"x")
    yield b"\x93NUMPY\x01\x00\x76\x00" + b"(" * 118
    for other in (
        *(np.zeros(0), np.array(None, object), np.array([None, 1], object), np.array("x")),
        *(np.zeros(array.shape, complex), np.zeros(array.shape, "U3"), np.zeros((2, 2, 2))),
        *(np.zeros((*array.shape, 1)), np.zeros(()), np.zeros(3, [("a", "f8"), ("b", "U2")])),
        *(np.array(7), np.array("{}"), np.array("[1]"), np.array("null"), np.zeros(2, "M8[s]")),
    ):
        yield array_bytes(other)
    if array.dtype.kind == "f":
        yield array_bytes(np.full(array.shape, np.nan))
        yield array_bytes(-array)
    if str(array).startswith("{"):
        meta = json.loads(str(array))
        for place in leaves(meta):
            for value in (None, [], {}, "x", -1, 0.5, True, 10**30, [1, 2, 3], float("nan")):
                yield array_bytes(np.array(json.dumps(replaced(meta, place, value))))


ARCHIVES = {
    "round_0001/explore.npz": (
        lambda path: store_of(path).exploration(1).load(starts_of(path)),
        lambda path: store_of(path).exploration(1).count_picks(),
        lambda path: store_of(path).exploration(1).read_trace(),
    ),
    "round_0001/model.npz": (
        lambda path: Surrogate.load(store_of(path).model_path(1)),
        lambda path: Surrogate.load(store_of(path).model_path(1), ACE),
    ),
    "round_0001/parity.npz": (lambda path: store_of(path).read_parity(1).forces_rmse,),
    "round_0001/log/000000.npz": (lambda path: store_of(path).read_log(1),),
}


@FEW_OR_MANY
@pytest.mark.parametrize("name", ARCHIVES)
def test_archives(campaign, name, share):
    path, rng = store_of(campaign).directory / name, np.random.default_rng(0)
    content, found = path.read_bytes(), Counter()
    with np.load(path) as data:
        arrays = {key: data[key] for key in data.files}
    cases = [(key, member) for key, array in arrays.items() for member in wrong_members(array)]
    chosen = rng.permutation(len(cases))[: max(40, int(share * len(cases)))]
    try:
        wrong = [with_member(content, *cases[k]) for k in chosen]
        for bad in wrong + [damaged(content, rng) for _ in range(int(300 * share))]:
            path.write_bytes(bad)
            for call in ARCHIVES[name]:
                found[outcome(partial(call, campaign))] += 1
            assert path.read_bytes() == bad
    finally:
        path.write_bytes(content)
    assert set(found) <= {"valid", "StoreError", "PosteriorError", "StructureError"}
    assert found["StoreError"] + found["PosteriorError"] > 20


def read_records(store):
    store.read_thresholds()
    store.read_report(1)
    store.read_labelled(1)


@FEW_OR_MANY
def test_label_store(campaign, share):
    """A label is what was written, or an error: half a number would be worse than none."""
    store, rng, found = store_of(campaign), np.random.default_rng(0), Counter()
    (identity, settings, _), *_ = store.read_labelled(1)
    labels, path = store.labels, store.labels.path(identity, settings)
    expected, content = labels.load(identity, settings), path.read_bytes()
    half = len(content) // 2
    try:
        for k in range(int(400 * share)):
            bad = (damaged, misspelt)[k % 2](content, rng) if k else content[:half]
            path.write_bytes(bad)
            found[outcome(lambda: labels.load(identity, settings))] += 1
            assert path.read_bytes() == bad
    finally:
        path.write_bytes(content)
    assert set(found) <= {"valid", "StoreError"}
    assert found["StoreError"] > found["valid"] / 2
    assert labels.load(identity, settings).energy == expected.energy


@FEW_OR_MANY
def test_failures(tmp_path, share):
    labels, rng = LabelStore(tmp_path), np.random.default_rng(0)
    atoms = alloy_cells(1, 0.1, 0)[0]
    labels.save(Label(atoms, "e1", "EMT", reason="no convergence"))
    identity = structure_id(atoms)
    path = labels.failure_path(identity, "e1")
    content, found = path.read_bytes(), Counter()
    for _ in range(int(300 * share)):
        path.write_bytes(damaged(content, rng))
        found[outcome(lambda: labels.reasons(identity))] += 1
    assert set(found) <= {"valid", "StoreError"}


@FEW_OR_ALL
@pytest.mark.parametrize(
    "name", ["thresholds.json", "round_0001/report.json", "round_0001/labelled.json"]
)
def test_records(campaign, name, share):
    store, rng, found = store_of(campaign), np.random.default_rng(0), Counter()
    path = store.directory / name
    content = path.read_bytes()
    raw = json.loads(content)
    cases = [
        json.dumps(replaced(raw, place, value)).encode()
        for place in leaves(raw)
        for value in NASTY
        if not isinstance(value, bytes)
    ]
    chosen = rng.permutation(len(cases))[: max(40, int(share * len(cases)))]
    try:
        for bad in [cases[k] for k in chosen] + [damaged(content, rng) for _ in range(40)]:
            path.write_bytes(bad)
            found[outcome(lambda: read_records(store))] += 1
            assert path.read_bytes() == bad
    finally:
        path.write_bytes(content)
    assert set(found) <= {"valid", "StoreError"}


def test_no_memory_for_what_a_header_claims(campaign):
    """Neither for a header without data, nor for a bomb of compressed zeros."""
    content = store_of(campaign).model_path(1).read_bytes()
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mean.npy", header_bytes((10**7,)) + bytes(8 * 10**7))
    tracemalloc.start()
    for bad in (
        with_member(content, "posterior", header_bytes((10**12,))),
        with_member(content, "meta", header_bytes((), "<U1000000000")),
        bomb.getvalue(),
        header_bytes((10**12,)),
    ):
        with pytest.raises(PosteriorError):
            Posterior.load(io.BytesIO(bad))
        with pytest.raises(PosteriorError):
            Surrogate.load(io.BytesIO(bad))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6


def test_a_posterior_of_another_descriptor(campaign, tmp_path):
    surrogate = Surrogate.load(store_of(campaign).model_path(1))
    other = ACEDescriptor(["Cu", "Al"], order=2, totaldegree=7, cutoff=4.5)
    with pytest.raises(PosteriorError, match="belongs to another descriptor"):
        Surrogate.load(store_of(campaign).model_path(1), other)
    with pytest.raises(PosteriorError, match="coefficients but the descriptor"):
        Surrogate(other, surrogate.posterior, surrogate.e0s, surrogate.noise)
    with pytest.raises(PosteriorError, match="another descriptor"):
        surrogate.posterior.variance(np.ones((2, other.n_features)))


@FEW_OR_MANY
def test_feature_stores(tmp_path, share):
    frames, rng, found = alloy_cells(4, 0.1, 0), np.random.default_rng(0), Counter()
    store = FeatureStore(tmp_path, ACE)
    expected = pool_features(frames, ACE, store).rows.copy()
    content = store.path.read_bytes()
    for _ in range(int(400 * share)):
        store.path.write_bytes(damaged(content, rng))
        found[outcome(lambda: pool_features(frames, ACE, FeatureStore(tmp_path, ACE)))] += 1
    assert set(found) <= {"valid", "StoreError"}
    store.path.write_bytes(content[:-3])
    again = pool_features(frames, ACE, FeatureStore(tmp_path, ACE)).rows
    np.testing.assert_allclose(again, expected, rtol=1e-12)
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot keep features"):
        FeatureStore(tmp_path / "file", ACE)


# the command line


def refused(*arguments):
    """Whether a command ends with exit code 2 and one message; it must not crash."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code in (0, 2), result.exception
    assert "Traceback" not in result.output
    if result.exit_code == 2:
        assert result.output.count("error: ") >= 1
    return result.exit_code == 2


@pytest.mark.parametrize("how", [damaged, misspelt])
def test_commands_on_damaged_inputs(tmp_path, how):
    path, rng = write_campaign(tmp_path), np.random.default_rng(0)
    picks = tmp_path / "out" / "picks.xyz"
    codes = Counter()
    for name in ("config.yaml", "train.extxyz", "test.extxyz", "starts.extxyz"):
        content = (tmp_path / name).read_bytes()
        for _ in range(4):
            (tmp_path / name).write_bytes(how(content, rng))
            before = hashes(tmp_path)
            codes[refused("validate", path)] += 1
            assert hashes(tmp_path) == before
        (tmp_path / name).write_bytes(content)
    content = (tmp_path / "train.extxyz").read_bytes()
    for _ in range(6):
        (tmp_path / "train.extxyz").write_bytes(how(content, rng))
        arguments = ["select", tmp_path / "train.extxyz", "-n", 2, "-o", picks]
        arguments += ["--descriptor", "ace:Cu+Al,2,6,4.5", "--method", "farthest"]
        codes[refused(*arguments)] += 1
    assert codes[True] > 5


@pytest.mark.parametrize(
    "name",
    [
        *("round_0001/report.json", "thresholds.json", "round_0001/parity.npz", "config.yaml"),
        "round_0001/explore.npz",
        pytest.param("round_0001/log/000000.npz", marks=pytest.mark.slow),  # reports are made
    ],
)
def test_commands_on_a_damaged_campaign(campaign, name):
    path, rng = store_of(campaign).directory / name, np.random.default_rng(1)
    content = path.read_bytes()
    try:
        for bad in (b"", content[:-20], damaged(content, rng), b"null", b"[1]", b"{}"):
            path.write_bytes(bad)
            refused("status", campaign)
            refused("report", campaign)
            assert path.read_bytes() == bad
    finally:
        path.write_bytes(content)
    assert not refused("status", campaign)


def test_check_and_pool_on_damaged_files(campaign, tmp_path):
    config = tmp_path / "check.yaml"
    config.write_text(yaml.safe_dump({"crystal": {"name": "Cu"}, "elastic": False}))
    content = store_of(campaign).model_path(1).read_bytes()
    for bad in (b"", content[:-100], header_bytes((10**12,))):
        (tmp_path / "model.npz").write_bytes(bad)
        assert refused("check", tmp_path / "model.npz", "-c", config, "-o", tmp_path / "out")
        (tmp_path / "pool.yaml").write_text(
            "surrogate: model.npz\nrecipes: [{kind: bulk, element: Cu}]"
        )
        assert refused("pool", tmp_path / "pool.yaml", "-o", tmp_path / "pool.xyz")
