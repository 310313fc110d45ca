"""What `validate` accepts, `run` can do: a wrong setup fails before round 0, naming its place."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import read, write
from helpers.campaigns import campaign, campaign_settings, copy_campaign, ended, write_campaign
from helpers.command_line import assert_refused, call
from helpers.faulty import HARMLESS, NOT_FINITE, RAISED, UNITS, WRONG, FaultyEMT, NoStress
from helpers.structures import alloy_cells, cluster, reference

from ase_bayesel import ACEDescriptor, fit_surrogate
from ase_bayesel.bias.consistency import disagreements
from ase_bayesel.campaign.changes import edited_files
from ase_bayesel.campaign.config.loading import validate_config
from ase_bayesel.campaign.inputs import without_trust
from ase_bayesel.campaign.trial import covering

BOTH = ("validate", "run")


def refused(config, *named, commands=BOTH):
    for command in commands:
        assert_refused(call(command, config), *named)
    assert not config.with_name("config_campaign").exists()


def faulty(**parameters):
    return {
        "potential": {
            "kind": "import",
            "factory": "helpers.faulty:FaultyEMT",
            "parameters": parameters,
        }
    }


def gold(atoms):
    out = atoms.copy()
    out.symbols[0] = "Au"
    return out


# reference energies


@pytest.mark.parametrize("name", ["starts", "test"])
@pytest.mark.parametrize(
    ("e0s", "way"),
    [
        ("average", "not in the training set"),
        ({"Cu": 0.0, "Al": 0.0}, "add it to data.e0s"),
        ("isolated", "isolated atom"),
    ],
)
def test_elements_without_a_reference_energy(tmp_path, name, e0s, way):
    changes = {"descriptor.elements": ["Cu", "Al", "Au"], "data.e0s": e0s}
    config = write_campaign(tmp_path, changes)
    if e0s == "isolated":
        atoms = [bulk(s, cubic=True)[:1] for s in ("Cu", "Al")]
        for one in atoms:
            one.set_cell([20.0] * 3)
        train = [*map(reference, atoms), *read(tmp_path / "train.extxyz", ":")]
        write(tmp_path / "train.extxyz", train)
    path = tmp_path / f"{name}.extxyz"
    frames = [a if name == "starts" else reference(a) for a in alloy_cells(2, 0.05, 1)]
    frames[1] = gold(frames[1]) if name == "starts" else reference(gold(frames[1]))
    write(path, frames)
    refused(config, path, "frame 1", "Au", "data.e0s", way)


def test_a_given_reference_energy_is_enough(tmp_path):
    changes = {
        "descriptor.elements": ["Cu", "Al", "Au"],
        "data.e0s": {"Cu": 0.0, "Al": 0.0, "Au": 0.0},
        "stop.max_rounds": 1,
    }
    config = write_campaign(tmp_path, changes)
    write(tmp_path / "starts.extxyz", [gold(a) for a in alloy_cells(2, 0.02, 200)])
    assert call("validate", config).exit_code == 0
    ended(config)


@pytest.mark.parametrize("cutoff", [0.1, 1.5])
def test_a_cutoff_that_reaches_no_neighbour(tmp_path, cutoff):
    config = write_campaign(tmp_path, {"descriptor.cutoff": cutoff})
    refused(config, ".extxyz: no two atoms are within descriptor.cutoff, ", f"{cutoff} A")


@pytest.mark.parametrize("field", ["store", "scratch"])
@pytest.mark.parametrize("place", ["train.extxyz", "train.extxyz/labels", "/dev/null/labels"])
def test_folders_that_cannot_be(tmp_path, field, place):
    config = write_campaign(tmp_path, {"labels": {field: place}})
    refused(config, f"labels.{field}: ", place, "can be no folder")


# weights of frames


@pytest.mark.parametrize("name", ["train", "prior"])
@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf"), "high", [1.0, 2.0]])
@pytest.mark.parametrize("key", ["config_weight", "config_forces_weight"])
def test_weights_that_are_none(tmp_path, name, value, key):
    config = write_campaign(tmp_path, {"data.prior": "prior.extxyz"} if name == "prior" else {})
    frames = [reference(atoms) for atoms in alloy_cells(4, 0.05, 0)]
    frames[2].info[key] = value
    write(tmp_path / f"{name}.extxyz", frames)
    refused(config, tmp_path / f"{name}.extxyz", "frame 2", key)


def test_weights_that_leave_no_label(tmp_path):
    config = write_campaign(tmp_path)
    frames = [reference(atoms) for atoms in alloy_cells(4, 0.05, 0)]
    for atoms in frames:
        atoms.info["config_weight"] = 0.0
    write(tmp_path / "train.extxyz", frames)
    refused(config, tmp_path / "train.extxyz", "all labels have the weight 0")


# labels beyond all that is possible


@pytest.mark.parametrize("name", ["train", "test"])
@pytest.mark.parametrize(("key", "size"), [("REF_energy", 1e300), ("REF_forces", 1e200)])
def test_absurd_labels(tmp_path, name, key, size):
    config = write_campaign(tmp_path)
    frames = [reference(atoms) for atoms in alloy_cells(4, 0.05, 0)]
    if key == "REF_energy":
        frames[2].info[key] = size
    else:
        frames[2].arrays[key][0] = size
    write(tmp_path / f"{name}.extxyz", frames)
    refused(config, tmp_path / f"{name}.extxyz", "frame 2", key, "more than any calculation")


# guards


def close(atoms):
    atoms.positions[1] = atoms.positions[0] + [0.0, 0.0, 0.9]


def hot(atoms):
    atoms.set_momenta(np.full((len(atoms), 3), 500.0))


@pytest.mark.parametrize(
    ("spoil", "guard"), [(close, "close_contact"), (hot, "temperature")], ids=["close", "hot"]
)
def test_starts_that_break_a_guard(tmp_path, spoil, guard):
    config = write_campaign(tmp_path)
    starts = alloy_cells(2, 0.02, 200)
    spoil(starts[1])
    write(tmp_path / "starts.extxyz", starts)
    refused(config, tmp_path / "starts.extxyz", "frame 1", guard, "explore.guards")

    free = {"explore.guards": {"close_contact": None, "max_temperature_K": None}}
    config = write_campaign(tmp_path, free)
    write(tmp_path / "starts.extxyz", starts)
    assert call("validate", config).exit_code == 0


# factories


@pytest.mark.parametrize(
    ("factory", "told"),
    [
        ("no.such:Name", "No module named"),
        ("helpers.faulty:NoSuchName", "NoSuchName"),
        ("helpers.faulty:AN_INSTANCE", "no callable"),
        ("helpers.faulty:returns_none", "NoneType"),
        ("helpers.faulty:returns_a_class", "the class EMT"),
        ("helpers.faulty:returns_text", "str"),
        ("helpers.faulty:wants_a_model", "TypeError"),
        ("helpers.faulty:ends_the_process", "SystemExit: no licence"),
        ("helpers.ends_when_imported:EMT", "SystemExit: not here"),
        ("helpers.fails_when_imported:EMT", "ZeroDivisionError"),
    ],
)
@pytest.mark.parametrize("section", ["potential", "labelling"])
def test_factories_that_make_nothing(tmp_path, section, factory, told):
    config = write_campaign(tmp_path, {section: {"kind": "import", "factory": factory}})
    # an engine's calculator is made by `validate` alone: it may want another machine
    only = ("validate",) if section == "labelling" else BOTH
    refused(config, f"{section}.factory", factory, told, commands=only)


def test_kinds_that_make_nothing(tmp_path):
    for kind in ("no.such:Engine", "helpers.ends_when_imported:Engine", "helpers.faulty:NoStress"):
        config = write_campaign(tmp_path, {"labelling": {"kind": kind}})
        refused(config, "labelling.kind", kind)


# potentials


@pytest.mark.parametrize("fault", [*RAISED, *WRONG, *NOT_FINITE])
def test_potentials_that_fail_on_a_start(tmp_path, fault):
    changes = {"explore.ensemble": {"kind": "npt"}, "explore.pressure_GPa": 0.0}
    config = write_campaign(tmp_path, {**faulty(fault=fault), **changes})
    refused(config, "potential.factory", "starts.extxyz, frame", commands=("validate",))


def test_only_a_start_with_that_element_fails(tmp_path):
    elements = ["Cu", "Al", "Au"]
    known = {"data.e0s": dict.fromkeys(elements, 0.0), "descriptor.elements": elements}
    config = write_campaign(tmp_path, {**faulty(fault="key", symbol="Au"), **known})
    *starts, last = alloy_cells(4, 0.02, 200)
    write(tmp_path / "starts.extxyz", [*starts, gold(last)])
    refused(config, "starts.extxyz, frame 3", "KeyError: 'no licence'")


def test_a_stress_that_is_needed(tmp_path):
    no_stress = {"potential": {"kind": "import", "factory": "helpers.faulty:NoStress"}}
    config = write_campaign(tmp_path, no_stress)
    assert call("validate", config).exit_code == 0
    npt = {"explore.ensemble": {"kind": "npt"}, "explore.pressure_GPa": 0.0}
    config = write_campaign(tmp_path, {**no_stress, **npt})
    refused(config, "potential.factory", "stress", "explore.ensemble")


@pytest.mark.parametrize("fault", UNITS)
def test_units(tmp_path, fault):
    what, unit = fault.split("-", 1)
    found = disagreements(FaultyEMT(fault), alloy_cells(1, 0.05, 0)[0])
    assert len(found) == 1 or what == "energy"
    assert all(one.wrong for one in found)
    said = {
        "sign": "its sign is wrong",
        "virial": "a virial and its sign is wrong",
        "minus-GPa": "the stress is in GPa and its sign is wrong",
        "Hartree": f"the {what} {'is in Hartree' if what == 'energy' else 'are in Hartree/A'}",
        "zero": "0 times",
    }.get(unit, f"in {unit}")
    assert said in str(found[0])


@pytest.mark.parametrize("fault", ["stress-GPa", "forces-sign", "energy-Hartree", "forces-zero"])
def test_wrong_units_are_refused(tmp_path, fault):
    config = write_campaign(tmp_path, faulty(fault=fault))
    refused(config, "potential.factory", "starts.extxyz, frame", "differences of its energy")


def test_a_stress_that_nobody_needs_is_only_doubtful(tmp_path):
    config = write_campaign(tmp_path, faulty(fault="stress-zero"))
    result = call("validate", config)
    assert result.exit_code == 0
    assert "its stress is 0 times what differences of its energy say" in result.output
    npt = {"explore.ensemble": {"kind": "npt"}, "explore.pressure_GPa": 0.0}
    config = write_campaign(tmp_path, {**faulty(fault="stress-zero"), **npt})
    refused(config, "potential.factory", "its stress is 0 times")


@pytest.mark.parametrize("fault", ["", *HARMLESS])
@pytest.mark.parametrize(
    "atoms",
    [
        alloy_cells(1, 0.05, 0)[0],
        bulk("Cu"),
        bulk("Cu", cubic=True),
        cluster(["Cu"] * 5 + ["Al"] * 3),
        cluster(["Cu"]),
    ],
    ids=["alloy", "primitive", "at-rest", "cluster", "atom"],
)
def test_right_units(fault, atoms):
    before = atoms.copy()
    assert disagreements(FaultyEMT(fault), atoms) == []
    assert atoms == before


class Rough(EMT):
    """Forces that are near, but no derivatives, as of models that predict them directly."""

    def calculate(self, *arguments, **named):
        super().calculate(*arguments, **named)
        self.results["forces"] = 1.3 * self.results["forces"]


class Single(EMT):
    """An energy in single precision, about 1e4 eV below."""

    def calculate(self, *arguments, **named):
        super().calculate(*arguments, **named)
        self.results["energy"] = float(np.float32(self.results["energy"] - 1e4))


def test_forces_that_are_near_are_noted():
    (found,) = disagreements(Rough(), alloy_cells(1, 0.05, 0)[0])
    assert not found.wrong
    assert found.ratio == pytest.approx(1.3, rel=0.02)


def test_energies_in_single_precision():
    assert not [d for d in disagreements(Single(), alloy_cells(1, 0.05, 0)[0]) if d.wrong]


def test_no_stress_is_no_matter():
    assert disagreements(NoStress(), alloy_cells(1, 0.05, 0)[0]) == []


def test_few_frames_hold_all_elements():
    frames = [bulk("Cu"), bulk("Cu", cubic=True), bulk("NaCl", "rocksalt", a=5.6), bulk("Na")]
    assert covering(frames) == [0, 3, 2]
    assert covering([]) == []


# files only


@pytest.mark.parametrize(
    "changes",
    [
        {"labelling.factory": "helpers.imports_are_noted:EMT"},
        {"potential": {"kind": "import", "factory": "helpers.imports_are_noted:EMT"}},
    ],
)
def test_files_only_runs_nothing(tmp_path, monkeypatch, changes):
    note = tmp_path / "imported"
    monkeypatch.delitem(sys.modules, "helpers.imports_are_noted", raising=False)
    monkeypatch.setenv("NOTE_OF_IMPORT", str(note))
    config = write_campaign(tmp_path, changes)
    result = call("validate", config, "--files")
    assert result.exit_code == 0, result.output
    assert not note.exists()
    call("validate", config)
    assert note.exists()


def test_files_only_and_kinds_from_elsewhere(tmp_path, monkeypatch):
    note = tmp_path / "imported"
    monkeypatch.setenv("NOTE_OF_IMPORT", str(note))
    kind = "helpers.imports_are_noted:Engine"
    config = write_campaign(tmp_path, {"labelling": {"kind": kind}})
    assert_refused(call("validate", config, "--files"), kind, "imported to be checked")
    assert not note.exists()


def test_files_only_trusts_no_model():
    model = {"kind": "mace", "model": "m.model", "trust": True}
    changes = {"potential": model, "descriptor": model, "labelling": model}
    config = validate_config(campaign_settings(changes), "here.yaml")
    harmless = without_trust(config)
    parts = (harmless.potential, harmless.descriptor, harmless.labelling)
    assert [part.trust for part in parts] == [False] * 3
    assert replace(harmless.potential, trust=True) == config.potential


def test_files_only_reads_files(tmp_path):
    config = write_campaign(tmp_path)
    (tmp_path / "starts.extxyz").write_text("nothing\n")
    assert_refused(call("validate", config, "--files"), "starts.extxyz")


# files that were edited


def edited(config):
    """What is told when a campaign is taken up."""
    running = campaign(config)
    return edited_files(running.config, running.store)


def longer(path):
    frames = read(path, ":")
    write(path, [*frames, frames[0]])


def shorter(path):
    write(path, read(path, ":")[1:])


def moved(path):
    frames = read(path, ":")
    frames[0].positions[0, 0] += 1e-3
    write(path, frames)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The config of a campaign that has ended."""
    config = write_campaign(tmp_path_factory.mktemp("finished"), {"stop.max_rounds": 1})
    ended(config)
    return config


@pytest.fixture
def copy(finished, tmp_path):
    """A copy of it to be changed."""
    return copy_campaign(finished, tmp_path)


@pytest.mark.parametrize("edit", [longer, shorter, moved])
@pytest.mark.parametrize("name", ["train", "test", "starts"])
def test_inputs_edited_after_the_start(copy, name, edit):
    field = {"starts": "explore.starts"}.get(name, f"data.{name}")
    path = copy.with_name(f"{name}.extxyz")
    assert edited(copy) == []
    edit(path)
    kept = copy.with_name("campaign") / "inputs" / path.name
    assert edited(copy) == [
        f"{field}: {path} holds other structures than those of the start; "
        f"the campaign goes on with {kept}"
    ]


def test_what_the_commands_say_of_an_edited_file(copy):
    longer(copy.with_name("train.extxyz"))
    directory = copy.with_name("campaign")
    for command in BOTH:
        result = call(command, copy, "-d", directory)
        assert result.exit_code == 0
        assert "note: data.train" in result.output
        assert "holds other structures than those of the start" in result.output


def gone(path):
    path.unlink()


def nonsense(path):
    path.write_text("nonsense")


def no_text(path):
    path.write_bytes(b"\xff\xfe")


def folder(path):
    path.unlink()
    path.mkdir()


def unknown_element(path):
    write(path, [gold(atoms) for atoms in read(path, ":")])


def other_structures(path):
    write(path, [bulk("Cu", a=2.0)])


@pytest.mark.parametrize(
    ("name", "edit"),
    [
        *(("train", folder), ("test", no_text), ("starts", unknown_element), ("starts", gone)),
        *(("train", nonsense), ("test", other_structures)),
    ],
)
def test_validate_and_run_say_the_same_of_a_campaign_that_has_begun(copy, name, edit):
    """Both go on with the campaign's own copies, whatever has become of the files."""
    edit(copy.with_name(f"{name}.extxyz"))
    notes = []
    for command in BOTH:
        result = call(command, copy, "-d", copy.with_name("campaign"))
        assert result.exit_code == 0, result.output
        notes.append({line for line in result.output.splitlines() if "goes on with" in line})
    assert notes[0] == notes[1]
    assert len(notes[0]) == (edit not in (gone, folder))


def half(path):
    """Cut where a frame ends."""
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[: len(lines) // 2]))


@pytest.mark.parametrize(
    ("name", "edit"), [("train", half), ("starts", half), ("test", moved), ("train", gone)]
)
def test_a_copy_of_the_campaign_that_has_changed_is_refused(copy, name, edit):
    """Else it would go on with other data, and say nothing."""
    kept = copy.with_name("campaign") / "inputs" / f"{name}.extxyz"
    edit(kept)
    for command in BOTH:
        assert_refused(call(command, copy, "-d", kept.parents[1]), kept, "restore it")


@pytest.mark.parametrize(("edit", "several"), [(gone, False), (nonsense, True)])
def test_the_copy_of_a_model_is_what_is_tried(tmp_path, edit, several):
    model = tmp_path / "scale.txt"
    model.write_text("0.9")
    (tmp_path / "of_my_own.py").write_text(
        "from helpers.calculators import ScaledEMT\n"
        "def made(model):\n"
        "    return ScaledEMT(model if isinstance(model, str) else model[0])\n"
    )
    given = [model.name] if several else model.name
    potential = {"kind": "import", "factory": "of_my_own:made", "model": given}
    config = write_campaign(tmp_path, {"potential": potential, "stop.max_rounds": 1})
    ended(config)
    edit(model)
    for command in BOTH:
        result = call(command, config, "-d", config.with_name("campaign"))
        assert result.exit_code == 0, result.output


def test_validate_refuses_an_engine_that_has_changed_as_run_does(tmp_path):
    """And so where compiled passes are gone."""
    models = [tmp_path / f"{k}.npz" for k in range(2)]
    for k, model in enumerate(models):
        frames = [reference(a) for a in alloy_cells(4, 0.05, k)]
        descriptor = ACEDescriptor(["Cu", "Al"], 2, 4, 4.0)
        fit_surrogate(frames, descriptor, "REF_energy", "REF_forces", e0s="average").save(model)
    teacher = {"labelling": {"kind": "surrogate", "model": "0.npz"}, "stop.max_rounds": 1}
    config = write_campaign(tmp_path, teacher)
    ended(config)
    directory = config.with_name("campaign")
    assert call("validate", config, "-d", directory).exit_code == 0
    kept = models[0].read_bytes()
    models[0].write_bytes(models[1].read_bytes())
    for command in BOTH:
        assert_refused(call(command, config, "-d", directory), "files of the engine")
    models[0].write_bytes(kept)
    (directory / "ace_passes").write_text("other\n")
    for command in BOTH:
        assert_refused(call(command, config, "-d", directory), "ace_passes", "is damaged")


def test_other_bytes_of_the_same_structures(copy):
    path = copy.with_name("train.extxyz")
    path.write_text(path.read_text() + "\n\n")
    assert edited(copy) == []


def test_inputs_that_are_gone_or_unreadable(copy):
    copy.with_name("train.extxyz").unlink()
    copy.with_name("test.extxyz").write_text("nonsense")
    (told,) = edited(copy)
    assert told.startswith(f"data.test: {copy.with_name('test.extxyz')} cannot be read")


def test_the_model_of_a_potential(tmp_path):
    (tmp_path / "scale.txt").write_text("0.9")
    potential = {"kind": "import", "factory": "helpers.calculators:ScaledEMT", "model": "scale.txt"}
    refit = {"kind": "command", "command": ["cp", "{model}", "{output}"]}
    changes = {"potential": potential, "refit": refit, "stop.max_rounds": 1}
    config = write_campaign(tmp_path, changes)
    store, _ = ended(config)
    assert store.potential_path(0) is not None
    assert edited(config) == []
    (tmp_path / "scale.txt").write_text("0.8")
    (told,) = edited(config)
    assert told.startswith("potential.model: ")
