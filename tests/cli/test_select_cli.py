import json

import numpy as np
import pytest
from ase.build import bulk
from ase.io import read, write
from helpers.command_line import assert_refused, call
from helpers.mace_models import needs_mace
from helpers.pages import Page, assert_drawn
from helpers.structures import copper, copper_training

from ase_bayesel import ACEDescriptor, fit_surrogate, select
from ase_bayesel.descriptors.text import descriptor_from_text
from ase_bayesel.errors import DescriptorError
from ase_bayesel.plots import principal_components
from ase_bayesel.selection.arguments import METHODS
from ase_bayesel.selection.guide import IN_WORDS
from ase_bayesel.structures.frames import read_frames, write_frames
from ase_bayesel.structures.labels import PropertyKeys, keys_in

ACE = "ace:Cu,3,8"
CURVE = "Predicted error left over the pool"
FIGURES = [CURVE, "The pool, and the picks in their order", "Score of each pick"]
TITLES = [CURVE, "Kinds of structures", "Maps and scores", "Picks"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A core with labels, and a pool of two config_types and unequal sizes."""
    folder = tmp_path_factory.mktemp("select")
    write(folder / "core.xyz", copper_training())
    pool = [copper(k, std=0.05 * k, repeat=(1, 1, 1 + k % 2)) for k in range(1, 11)]
    for number, atoms in enumerate(pool):
        atoms.calc = None
        atoms.info |= {"config_type": "large" if len(atoms) > 4 else "small", "number": number}
    write(folder / "pool.xyz", pool)
    return folder


def options(folder, **changes):
    """Arguments of ``bayesel select``; a change to None leaves an option out."""
    given = {"core": folder / "core.xyz", "n": 3, "descriptor": ACE, "output": folder / "out.xyz"}
    words = [folder / "pool.xyz"]
    for key, value in (given | changes).items():
        if value is not None:
            words += ["-n" if key == "n" else f"--{key.replace('_', '-')}", value]
    return words


def test_picks_are_those_of_select(folder, cu_ace):
    result = call("select", *options(folder, properties="energy"))
    assert result.exit_code == 0, result.output
    assert result.output.startswith("3 picks")
    core, pool = read(folder / "core.xyz", ":"), read(folder / "pool.xyz", ":")
    expected = select(pool, 3, "energy_variance", cu_ace, core, properties=["energy"])
    picks = read(folder / "out.xyz", ":")
    assert [atoms.info["number"] for atoms in picks] == expected.indices.tolist()
    written = json.loads((folder / "out.json").read_text())
    assert [pick["index"] for pick in written["picks"]] == expected.indices.tolist()
    assert np.allclose([pick["score"] for pick in written["picks"]], expected.scores)
    chosen = [atoms.info["config_type"] for atoms in picks]
    for name in ("small", "large"):
        assert written["config_types"][name] == {"pool": 5, "picked": chosen.count(name)}
    page = Page((folder / "out.html").read_text())
    assert page.titles == TITLES
    assert list(page.figures) == FIGURES
    for figure in page.figures.values():
        assert_drawn(figure)
    assert [row[1] for row in page.rows[-3:]] == [str(k) for k in expected.indices]


def test_without_curve_the_picks_are_the_same(folder, tmp_path):
    words = {"properties": "energy", "method": "i_optimal"}
    whole, short = tmp_path / "whole.xyz", tmp_path / "short.xyz"
    assert call("select", *options(folder, output=whole, **words)).exit_code == 0
    result = call("select", *options(folder, output=short, **words), "--no-curve")
    assert result.exit_code == 0, result.output
    assert "enough" not in result.output
    assert whole.read_text() == short.read_text()
    assert json.loads(short.with_suffix(".json").read_text())["left"] is None
    page = Page(short.with_suffix(".html").read_text())
    assert CURVE not in page.titles
    assert "Without --no-curve the page tells" in page.text


def own_labels(folder, path):
    """The core as ``bayesel label`` would write it."""
    core = read_frames(folder / "core.xyz")
    for atoms in core:
        atoms.info["REF_energy"] = atoms.get_potential_energy()
        atoms.arrays["REF_forces"] = atoms.get_forces()
        atoms.calc = None
    write_frames(path, core)
    return core


def test_labels_of_this_package_are_found_without_their_keys(folder, tmp_path, cu_ace):
    core = own_labels(folder, tmp_path / "own.xyz")
    words = {"properties": "energy", "core": tmp_path / "own.xyz", "output": tmp_path / "o.xyz"}
    result = call("select", *options(folder, **words), "--no-curve")
    assert result.exit_code == 0, result.output
    told = f"note: {tmp_path / 'own.xyz'}: labels are taken from 'REF_energy' and 'REF_forces'"
    assert told in result.output
    given = ["--energy-key", "REF_energy", "--forces-key", "REF_forces", "--overwrite"]
    picks = (tmp_path / "o.xyz").read_bytes()
    again = call("select", *options(folder, **words), "--no-curve", *given)
    assert "labels are taken" not in again.output
    assert (tmp_path / "o.xyz").read_bytes() == picks
    keys = PropertyKeys("REF_energy", "REF_forces")
    assert keys_in(core, None, "") == (
        keys,
        [": labels are taken from 'REF_energy' and 'REF_forces'"],
    )
    fit_surrogate(core, cu_ace, keys.energy, keys.forces).save(tmp_path / "model.npz")
    found = call("calibrate", tmp_path / "model.npz", tmp_path / "own.xyz")
    assert found.exit_code == 0, found.output
    assert "labels are taken from 'REF_energy'" in " ".join(found.output.split())
    core[0].info["energy"] = 1.0
    assert keys_in(core, None, "") == (PropertyKeys(), [])


def test_what_is_wrong_with_a_core_names_the_option(folder, tmp_path):
    core, path = own_labels(folder, tmp_path / "own.xyz"), tmp_path / "other.xyz"
    words = options(folder, core=path, output=tmp_path / "o.xyz")
    del core[0].info["REF_energy"]
    write_frames(path, core)
    assert_refused(call("select", *words), f"{path}", "'REF_energy'", "option --energy-key")
    write_frames(path, [atoms for atoms in read_frames(tmp_path / "own.xyz") if len(atoms) > 1])
    assert_refused(call("select", *words), "reference energy for Cu", "option --e0s average")
    write_frames(path, read_frames(folder / "pool.xyz"))
    assert_refused(call("select", *words), f"{path}: no structure", "bayesel label", "--energy-key")


def test_a_method_without_its_core_is_named_before_any_work(tmp_path):
    """The pool is not even looked for."""
    words = {"core": None, "method": "k_medoids, i_optimal", "output": tmp_path / "o.xyz"}
    result = call("select", *options(tmp_path, **words))
    assert_refused(result, "core: i_optimal needs", "option --core", "take fps, ")


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "random", "seed": 3},
        {"method": "fps", "core": None},
        {"method": "i_optimal", "properties": "energy", "budget": 1000},
        {"method": "weighted_sum", "weights": "energy_variance=1, force_variance=0.5"},
    ],
    ids=lambda changes: changes["method"],
)
def test_other_methods(changes, folder, tmp_path):
    result = call("select", *options(folder, **changes, output=tmp_path / "o.xyz"))
    assert result.exit_code == 0, result.output
    assert len(read(tmp_path / "o.xyz", ":")) <= 3
    scores = [pick["score"] for pick in json.loads((tmp_path / "o.json").read_text())["picks"]]
    assert (None in scores) == (changes["method"] == "random")


def test_picks_tell_their_place_and_why(folder, tmp_path):
    given = options(folder, method="fps", core=None, output=tmp_path / "o.xyz")
    assert call("select", *given).exit_code == 0
    written = json.loads((tmp_path / "o.json").read_text())
    page = Page((tmp_path / "o.html").read_text())
    assert CURVE not in page.titles
    rows = page.tables["picks1"][1:]
    for atoms, pick, row in zip(read(tmp_path / "o.xyz", ":"), written["picks"], rows, strict=True):
        assert atoms.info["number"] == atoms.info["bayesel_pool_index"] == pick["index"]
        assert np.isclose(atoms.info["bayesel_score"], pick["score"])
        assert atoms.info["bayesel_reason"] == pick["reason"] == row[-1]
        assert pick["reason"].startswith("largest distance to the nearest before: ")
    assert written["left"] is None


def test_several_methods_on_one_page(folder, tmp_path, cu_ace):
    core, pool = read_frames(folder / "core.xyz"), read_frames(folder / "pool.xyz")
    changes = {"method": "i_optimal, random", "properties": "energy", "scored": "energy"}
    changes |= {"targets": folder / "pool.xyz", "output": tmp_path / "o.xyz"}
    result = call("select", *options(folder, **changes))
    assert result.exit_code == 0, result.output
    assert result.output.count("Are 3 enough?") == 2
    first = json.loads((tmp_path / "o.json").read_text())
    (second,) = first["compared"]
    chosen = []
    for method, found in (("i_optimal", first), ("random", second)):
        assert (found["method"], found["file"]) == (method, f"o_{method}.xyz")
        alone = select(
            pool, 3, method, cu_ace, core, np.random.default_rng(0), properties=["energy"]
        )
        chosen.append([pick["index"] for pick in found["picks"]])
        assert chosen[-1] == alone.indices.tolist()
        frames = read(tmp_path / found["file"], ":")
        assert [atoms.info["number"] for atoms in frames] == chosen[-1]
        assert ["bayesel_score" in atoms.info for atoms in frames] == [method != "random"] * 3
    common = len({*chosen[0]} & {*chosen[1]})
    page = Page((tmp_path / "o.html").read_text())
    assert [row[1:3] for row in page.tables["methods"][1:]] == [
        ["3", str(common)],
        [str(common), "3"],
    ]
    left = [found["left"]["error_eV_per_atom"] for found in (first, second)]
    for found in (first, second):
        most = found["left"]["most_eV_per_atom"]
        assert most[0] == found["left"]["error_eV_per_atom"][0]
        assert (np.array(most) >= found["left"]["error_eV_per_atom"]).all()
    assert left[0][0] == left[1][0] > left[0][3] > first["left"]["floor_eV_per_atom"] > 0
    assert len(page.tables["left"]) == 1 + 4
    for figure in page.figures.values():
        assert_drawn(figure)
    assert len(page.figures) == 4


def test_a_core_without_labels_has_no_curve(folder, tmp_path):
    frames = read_frames(folder / "core.xyz")
    for atoms in frames:
        atoms.calc = None
        atoms.info.clear()
    write_frames(tmp_path / "core.xyz", frames)
    changes = {"core": tmp_path / "core.xyz", "method": "fps", "output": tmp_path / "o.xyz"}
    result = call("select", *options(folder, **changes))
    assert result.exit_code == 0, result.output
    assert "note: what is left over the pool cannot be told: " in result.output
    assert "A core with labels would tell" in (tmp_path / "o.html").read_text()


def test_the_methods_are_told():
    result = call("select", "--methods")
    assert result.exit_code == 0
    for name in METHODS:
        assert f"  {name} " in result.output
    assert list(IN_WORDS) == list(METHODS)
    assert all(bool(told.score) != bool(told.reason) for told in IN_WORDS.values())


def test_a_named_property(folder, tmp_path, cu_ace):
    pool, core = read(folder / "pool.xyz", ":"), read(folder / "core.xyz", ":")
    write(tmp_path / "targets.xyz", pool[:2])
    changes = {"targets": tmp_path / "targets.xyz", "coefficients": "1,-0.5", "n": 2}
    given = options(folder, method="c_optimal", **changes, output=tmp_path / "o.xyz")
    assert call("select", *given).exit_code == 0
    surrogate = fit_surrogate(core, cu_ace, force_projections=32)
    found = select(pool, 2, "c_optimal", None, surrogate, targets=pool[:2], coefficients=[1, -0.5])
    picks = read(tmp_path / "o.xyz", ":")
    assert [atoms.info["number"] for atoms in picks] == found.indices.tolist()


def test_a_saved_surrogate_as_the_core(folder, tmp_path, cu_ace):
    surrogate = fit_surrogate(read(folder / "core.xyz", ":"), cu_ace)
    surrogate.save(tmp_path / "core.npz")
    given = options(folder, core=tmp_path / "core.npz", output=tmp_path / "o.xyz")
    result = call("select", *given)
    assert result.exit_code == 0, result.output
    expected = select(read(folder / "pool.xyz", ":"), 3, core=surrogate)
    picks = read(tmp_path / "o.xyz", ":")
    assert [atoms.info["number"] for atoms in picks] == expected.indices.tolist()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"method": "fps"}, ["core", "fps needs structures"]),
        ({"descriptor": "ace:Cu,3,7"}, ["core.npz", "another descriptor", "totaldegree"]),
        ({"core": "absent.npz"}, ["absent.npz"]),
        ({"core": "other.npz"}, ["other.npz", "cannot be read as a saved surrogate"]),
        ({"output": "core.npz"}, ["core.npz", "overwritten"]),
    ],
)
def test_a_core_that_is_no_surrogate_for_this(changes, named, folder, tmp_path, cu_surrogate):
    cu_surrogate.save(tmp_path / "core.npz")
    np.savez(tmp_path / "other.npz", numbers=np.arange(3))
    before = sorted(tmp_path.iterdir())
    given = {"core": "core.npz", "output": "o.xyz"} | changes
    paths = {key: tmp_path / given[key] for key in ("core", "output")}
    assert_refused(call("select", *options(folder, **given | paths)), *named)
    assert sorted(tmp_path.iterdir()) == before


def test_a_store_keeps_the_features(folder, tmp_path, monkeypatch):
    changes = {"method": "random", "core": None, "store": tmp_path / "kept"}
    given = options(folder, **changes, output=tmp_path / "o.xyz")
    assert call("select", *given).exit_code == 0
    before = (tmp_path / "o.json").read_bytes()
    frames_computed = []
    compute = ACEDescriptor.compute

    def watched(self, frames, derivatives=False):
        frames_computed.extend(frames)
        return compute(self, frames, derivatives)

    monkeypatch.setattr(ACEDescriptor, "compute", watched)
    assert call("select", *given, "--overwrite").exit_code == 0
    assert frames_computed == []
    assert (tmp_path / "o.json").read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"descriptor": "soap:Cu"}, ["soap:Cu"]),
        ({"descriptor": "ace:Cu,three"}, ["order", "three"]),
        pytest.param({"descriptor": "mace:absent.model"}, ["absent.model"], marks=needs_mace),
        ({"method": "guess"}, ["method", "guess", "k_medoids  ", "With a labelled core"]),
        ({"method": "fps,guess"}, ["method", "guess"]),
        ({"method": "fps,random,fps"}, ["fps is named twice"]),
        ({"method": "fps,random", "scored": "energy"}, ["scored", "not used by fps"]),
        ({"n": 11}, ["n = 11"]),
        ({"core": "absent.xyz"}, ["absent.xyz"]),
        ({"energy_key": "dft_energy"}, ["dft_energy"]),
        ({"method": "c_optimal"}, ["targets"]),
        ({"coefficients": "1,x"}, ["coefficients", "x"]),
        ({"weights": "energy_variance"}, ["weights"]),
        ({"properties": "charge"}, ["properties"]),
        ({"descriptor": "ace:Si"}, ["core.xyz, frame 0", "Cu"]),
        ({"n": 0}, ["n: must be at least 1"]),
        ({"n": -3}, ["n: must be at least 1"]),
        ({"seed": -1, "method": "random"}, ["seed: must be at least 0"]),
        ({"budget": 1e-9}, ["budget: energy_variance picks nothing"]),
        ({"weights": "energy_variance=1,energy_variance=2"}, ["weights: 'energy_variance' is"]),
        ({"weights": "energy_variance=nan"}, ["weights: expected finite numbers"]),
        ({"method": "c_optimal", "coefficients": "1,inf"}, ["coefficients: expected finite"]),
    ],
)
def test_bad_input(changes, named, folder, tmp_path):
    changes = {"output": tmp_path / "o.xyz"} | changes
    assert_refused(call("select", *options(folder, **changes)), *named)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["pool.xyz", "core.xyz", "o.json"])
def test_inputs_are_never_overwritten(name, folder):
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert_refused(call("select", *options(folder, output=folder / name)), name)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    "text",
    [
        "ace:Si+O,2,7,4.5",
        "ace:elements=Si+O,order=2,totaldegree=7,cutoff=4.5",
        "ace:cutoff=4.5,order=2,elements=Si+O,totaldegree=7",
    ],
)
def test_a_descriptor_in_a_word(text):
    expected = ACEDescriptor(["Si", "O"], order=2, totaldegree=7, cutoff=4.5)
    assert descriptor_from_text(text).spec() == expected.spec()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ace",
        "ace:",
        "mace:",
        "ace:Si,3,12,5.0,1,1",
        "ace:order=3",
        "ace:Si,elements=Si",
        "ace:x=1",
    ],
)
def test_words_that_are_no_descriptor(text):
    with pytest.raises(DescriptorError, match="descriptor: "):
        descriptor_from_text(text)


def test_elements_in_one_word_are_told_apart():
    with pytest.raises(DescriptorError, match=r"'CuAuO' is no element; did you mean Cu\+Au\+O\?"):
        descriptor_from_text("ace:CuAuO,3,8")
    assert descriptor_from_text("ace:Co,2,5").elements == ("Co",)  # a symbol, not two


def test_principal_components_against_an_svd():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(20, 6)) @ np.diag([9, 5, 1, 1, 1, 1]) @ rng.normal(size=(6, 6))
    points, explained = principal_components(features)
    scaled = (features - features.mean(axis=0)) / features.std(axis=0)
    left, spread, _ = np.linalg.svd(scaled, full_matrices=False)
    assert np.allclose(np.abs(points), np.abs(left * spread)[:, :2])
    assert np.allclose(explained, (spread**2 / np.sum(spread**2))[:2])
    equal, _ = principal_components(np.ones((3, 2)))
    assert (equal == 0).all()


@pytest.mark.parametrize("name", ["o.traj", "o.xyz.gz", "o.db", "o.cif", "POSCAR", "o"])
def test_endings_of_other_formats_are_refused(folder, tmp_path, name):
    result = call("select", *options(folder, method="random", output=tmp_path / name))
    assert_refused(result, tmp_path / name, "extended XYZ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", [".xyz", ".html", ".json"])
def test_nothing_is_overwritten_without_a_word(folder, tmp_path, ending):
    (tmp_path / f"o{ending}").write_text("mine")
    given = options(folder, method="random", output=tmp_path / "o.xyz")
    assert_refused(call("select", *given), tmp_path / f"o{ending}", "exists already", "--overwrite")
    assert (tmp_path / f"o{ending}").read_text() == "mine"
    assert call("select", *given, "--overwrite").exit_code == 0
    assert (tmp_path / f"o{ending}").read_text() != "mine"


def test_names_of_kinds_are_no_formulas(folder, tmp_path):
    frames = read_frames(folder / "pool.xyz")
    kinds = ["$", "$x", "$\\frac{$", "_hidden", "a_b", "", "two\nlines", "<b>", "100%"]
    for atoms, kind in zip(frames, kinds, strict=False):
        atoms.info["config_type"] = kind
    write_frames(tmp_path / "pool.xyz", frames)
    given = [*options(folder, method="random", output=tmp_path / "o.xyz")]
    given[0] = tmp_path / "pool.xyz"
    result = call("select", *given)
    assert result.exit_code == 0, result.output
    kept = json.loads((tmp_path / "o.json").read_text())["config_types"]
    assert set(kinds) <= set(kept)


@pytest.mark.parametrize("name", ["pool", "core", "targets"])
def test_elements_that_the_descriptor_does_not_know(folder, tmp_path, name):
    frames = [*read_frames(folder / "pool.xyz")[:3], bulk("Au")]
    write_frames(tmp_path / "gold.xyz", frames)
    arguments = options(folder, output=tmp_path / "o.xyz", method="i_optimal")
    if name == "pool":
        arguments[0] = tmp_path / "gold.xyz"
    elif name == "core":
        write_frames(tmp_path / "gold.xyz", [*copper_training()[:3], bulk("Au")])
        arguments += ["--core", tmp_path / "gold.xyz"]
    else:
        arguments += ["--targets", tmp_path / "gold.xyz"]
    assert_refused(call("select", *arguments), f"{tmp_path / 'gold.xyz'}, frame 3", "Au")


def test_faults_of_pool_and_core_are_named_with_their_files(folder, tmp_path):
    frames = read_frames(folder / "core.xyz")
    frames[1].calc = None
    frames[1].info["energy"] = "many"
    write_frames(tmp_path / "core.xyz", frames)
    output = tmp_path / "picks.xyz"
    result = call("select", *options(folder, core=tmp_path / "core.xyz", output=output))
    assert_refused(result, f"{tmp_path / 'core.xyz'}, frame 1", "not numeric")
