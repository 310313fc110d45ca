import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from helpers.campaigns import campaign_settings, write_campaign, write_config
from helpers.mace_models import needs_mace
from pydantic import ValidationError

from ase_bayesel import Campaign, Ramp, RelativeForceTrigger
from ase_bayesel.campaign.config import WorkersConfig
from ase_bayesel.campaign.config.campaign import CampaignConfig
from ase_bayesel.campaign.config.loading import load_config, validate_config
from ase_bayesel.campaign.inputs import check_inputs
from ase_bayesel.cli.init import init
from ase_bayesel.dynamics.trust import TrustBound
from ase_bayesel.errors import ConfigError, DescriptorError
from ase_bayesel.surrogate.fitting import Weights


def written(folder, text):
    path = folder / "config.yaml"
    path.write_text(text)
    return path


def keys(tree, prefix=()):
    """Dotted names of all leaves of nested mappings."""
    if not isinstance(tree, dict):
        return {".".join(prefix)}
    return {name for key, value in tree.items() for name in keys(value, (*prefix, key))}


def refusal(changes):
    """Message of the error that a changed config brings."""
    with pytest.raises(ConfigError) as caught:
        validate_config(campaign_settings(changes), "here.yaml")
    message = str(caught.value)
    assert message.startswith("here.yaml: ")
    return message


def test_template_of_init_is_valid(tmp_path):
    path = tmp_path / "mine.yaml"
    init(path)
    config = load_config(path)
    assert config.data.train == tmp_path.resolve() / "train.extxyz"
    assert config.labelling == "none"
    assert "bayesel validate mine.yaml" in path.read_text()


def test_template_shows_every_key(tmp_path):
    init(tmp_path / "template.yaml")
    shown = yaml.safe_load((tmp_path / "template.yaml").read_text())
    full = load_config(tmp_path / "template.yaml").model_dump(mode="json")

    assert keys(full) - keys(shown) == {"explore.tau"}  # given as tau_rel there


@pytest.mark.parametrize(
    "name",
    [
        "sede",
        "descriptor.degree",
        "data.force_key",
        "explore.temperature",
        "explore.trigger.treshold",
        "explore.guards.max_forces",
        "labelling.facotry",
        "stop.rounds",
    ],
)
def test_unknown_keys_are_refused_and_named(name):
    changes = {"explore.guards": {}} if "guards" in name else {}
    message = refusal(changes | {name: 1})
    parts = name.split(".")
    assert any(parts[0] in line and parts[-1] in line for line in message.splitlines()), message
    assert "no such key" in message


def test_unknown_key_of_the_weights():
    assert "weights.stress" in refusal({"weights": {"stress": 30.0}})


def test_every_wrong_field_is_listed():
    message = refusal({"seed": -1, "explore.walkers": 0, "descriptor.order": 4})
    for field in ("seed", "explore.walkers", "descriptor.order"):
        assert field in message


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seed", "one"),
        ("seed", 1.5),
        ("descriptor.elements", []),
        ("descriptor.elements", "Cu"),
        ("descriptor.cutoff", -5.0),
        ("descriptor.totaldegree", 1),
        ("data.train", 3),
        ("data.e0s", "isolate"),
        ("data.e0s", {"Cu": "low"}),
        ("explore.steps", 0),
        ("explore.picks", 2.5),
        ("explore.temperature_K", "hot"),
        ("explore.temperature_K", 0),
        ("explore.temperature_K", [[0, 300], [0, 400]]),
        ("explore.temperature_K", [[0, 300], [10, 0]]),
        ("explore.temperature_K", [[0, 300, 1]]),
        ("explore.pressure_GPa", "high"),
        ("explore.max_rollbacks", -1),
        ("explore.ensemble", "nve"),
        ("explore.ensemble.kind", "berendsen"),
        ("explore.ensemble", {"kind": "npt"}),
        ("explore.tau_rel", -0.1),
        ("explore.bias", {"kind": "entropy"}),
        ("explore.bias", {"elements": {}}),
        ("explore.bias", {"elements": {"Xx": 1.0}}),
        ("explore.bias", {"elements": {"Cu": -1.0}}),
        ("explore.bias", {"elements": {"Cu": 0.0}}),
        ("explore.bias", {"energy_limit": 0.0}),
        ("explore.trigger.kind", "entropy"),
        ("explore.trigger.threshold", 0),
        ("explore.trigger", 0.2),
        ("labelling", "dft"),
        ("labelling.kind", "vasp"),
        ("labelling.factory", "no_colon"),
        ("labelling.parameters", [1]),
        ("stop.max_labels", 0),
        ("weights", {"energy": -1}),
        ("explore", None),
    ],
)
def test_wrong_values_are_named(field, value):
    section = field.split(".")[0]
    changes = {field: value}
    assert section in refusal(changes)


@pytest.mark.parametrize(
    "field", ["explore.tau", "explore.tau_rel", "explore.temperature_K", "explore.timestep_fs"]
)
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_numbers_that_are_not_finite_are_refused(field, value):
    changes = {"explore.tau_rel": None} if field == "explore.tau" else {}
    assert field in refusal(changes | {field: value})


@pytest.mark.parametrize(
    ("ensemble", "field"),
    [
        ({"kind": "nve", "friction_per_fs": 0.1}, "explore.ensemble.friction_per_fs:"),
        ({"kind": "npt", "cell": "isotropic"}, "explore.ensemble.cell:"),
        ({"friction_per_fs": 0.1}, "explore.ensemble:"),
    ],
)
def test_fields_of_the_ensemble_are_named_without_its_kind(ensemble, field):
    assert field in refusal({"explore.ensemble": ensemble, "explore.pressure_GPa": 0})


def test_ramps_are_read_and_written(tmp_path):
    ramp = [[0, 300], [100, 900.5]]
    changes = {"explore.temperature_K": ramp, "explore.tau_rel": ramp, "explore.pressure_GPa": -2}
    config = validate_config(campaign_settings(changes), "here")
    assert config.explore.temperature_K == Ramp(((0, 300.0), (100, 900.5)))
    assert config.explore.pressure_GPa == -2.0
    dumped = yaml.safe_load(yaml.safe_dump(config.model_dump(mode="json")))
    assert dumped["explore"]["tau_rel"] == [[0, 300.0], [100, 900.5]]
    assert validate_config(dumped, "again") == config


@pytest.mark.parametrize("missing", ["descriptor", "data", "explore", "labelling"])
def test_missing_sections_are_named(missing):
    settings = campaign_settings()
    del settings[missing]
    with pytest.raises(ConfigError, match=f"{missing}: Field required"):
        validate_config(settings, "here.yaml")


def test_one_strength_of_the_bias_at_most():
    message = refusal({"explore.tau": 0.5})
    assert "one of tau and tau_rel, not both" in message
    assert "explore" in message


def test_strength_and_trigger_where_none_is_given():
    settings = campaign_settings({"explore.tau_rel": None})
    del settings["explore"]["trigger"]
    explore = validate_config(settings, "").explore
    assert (explore.tau, explore.tau_rel) == (None, 0.2)
    assert explore.trigger == RelativeForceTrigger(0.2, eps=0.5, calibrated=True)


def test_fixed_strength():
    config = validate_config(campaign_settings({"explore.tau_rel": None, "explore.tau": 0.0}), "")
    assert (config.explore.tau, config.explore.tau_rel) == (0.0, None)


@pytest.mark.parametrize("kind", ["force", "energy_per_atom"])
def test_eps_belongs_to_the_relative_trigger(kind):
    trigger = {"kind": kind, "threshold": 0.1, "eps": 0.2}
    assert "explore.trigger.eps: no such key" in refusal({"explore.trigger": trigger})
    del trigger["eps"]
    settings = campaign_settings({"explore.trigger": trigger})
    assert validate_config(settings, "").explore.trigger.kind == kind


def test_labelling_by_hand():
    assert validate_config(campaign_settings({"labelling": "none"}), "").labelling == "none"


def test_labelling_by_tblite():
    labelling = {"kind": "tblite", "parameters": {"electronic_temperature": 8000.0}}
    found = validate_config(campaign_settings({"labelling": labelling}), "").labelling
    assert found.method == "GFN1-xTB"
    assert found.parameters == {"electronic_temperature": 8000.0}
    assert "labelling" in refusal({"labelling": labelling | {"factory": "a:b"}})


def test_labelling_by_an_imported_calculator():
    labelling = {"kind": "import", "factory": "package.module:maker"}
    found = validate_config(campaign_settings({"labelling": labelling}), "").labelling
    assert (found.factory, found.parameters) == ("package.module:maker", {})
    assert "labelling" in refusal({"labelling": {"kind": "import"}})


def test_paths_are_relative_to_the_config(tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    absolute = str(tmp_path / "elsewhere" / "starts.xyz")
    path = write_config(
        tmp_path, {"data.train": "sub/train.xyz", "data.test": None, "explore.starts": absolute}
    )
    config = load_config(path)
    assert config.data.train == tmp_path.resolve() / "sub" / "train.xyz"
    assert config.data.test is None
    assert config.explore.starts == Path(absolute)


def test_config_named_relative_to_the_working_directory(tmp_path, monkeypatch):
    write_config(tmp_path)
    monkeypatch.chdir(tmp_path)
    config = load_config("config.yaml")
    assert config.data.train == tmp_path.resolve() / "train.extxyz"
    assert config.data.test == tmp_path.resolve() / "test.extxyz"


def test_environment_variables_in_paths(tmp_path, monkeypatch):
    monkeypatch.setenv("BAYESEL_TEST_DATA", "/some/where")
    monkeypatch.delenv("BAYESEL_TEST_NOTHING", raising=False)
    path = write_config(tmp_path, {"data.train": "${BAYESEL_TEST_DATA}/core.extxyz"})
    assert load_config(path).data.train == Path("/some/where/core.extxyz")
    path = write_config(tmp_path, {"data.train": "$BAYESEL_TEST_NOTHING/core.extxyz"})
    with pytest.raises(ConfigError, match=r"data\.train: .*\$BAYESEL_TEST_NOTHING/core"):
        load_config(path)


@pytest.mark.parametrize("text", ["seed: [1", "a: b: c", "\tseed: 1", "key: \x00"])
def test_not_yaml(tmp_path, text):
    path = written(tmp_path, text)
    with pytest.raises(ConfigError, match=r"config\.yaml: is not valid YAML"):
        load_config(path)


def test_not_text(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_bytes(b"\xff\xfe\x80seed")
    with pytest.raises(ConfigError, match=r"config\.yaml: is not valid YAML"):
        load_config(path)


@pytest.mark.parametrize("text", ["", "- seed\n- 1\n", "just words", "3"])
def test_not_a_mapping(tmp_path, text):
    with pytest.raises(ConfigError, match=r"config\.yaml: expected a mapping"):
        load_config(written(tmp_path, text))


def test_keys_that_are_no_names(tmp_path):
    text = yaml.safe_dump(campaign_settings()) + "\n1: 2\n"
    with pytest.raises(ConfigError, match=r"config\.yaml: "):
        load_config(written(tmp_path, text))


def test_no_such_file(tmp_path):
    with pytest.raises(ConfigError, match=r"nothing\.yaml: cannot be read"):
        load_config(tmp_path / "nothing.yaml")


def test_frozen(tmp_path):
    config = load_config(write_config(tmp_path))
    for section, field in (
        (config, "seed"),
        (config.explore, "picks"),
        (config.stop, "max_labels"),
    ):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(section, field, 1)


def test_what_is_written_reads_back_the_same(tmp_path):
    config = load_config(write_config(tmp_path, {"weights": None, "stop.max_labels": 7}))
    text = yaml.safe_dump(config.model_dump(mode="json"))
    assert CampaignConfig.model_validate(yaml.safe_load(text)) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"walkers": {"kind": "dask"}}, r"workers\.walkers\.scheduler: Field required"),
        ({"labelling": {"n_workers": 2}}, r"workers\.labelling: needs a kind, one of here"),
        ({"refit": {"kind": "slurm", "job": 2}}, r"workers\.refit\.job: no such key"),
        ({"features": {"kind": "local", "n_workers": 0}}, r"workers\.features\.n_workers: "),
    ],
)
def test_wrong_workers(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        load_config(write_config(tmp_path, {"workers": changes}))


def test_a_calculation_fits_into_its_job(tmp_path):
    labelling = {"kind": "orca", "parameters": {"simple": "PBE def2-SVP"}, "time_limit_h": 2.0}
    workers = {"labelling": {"kind": "slurm", "walltime_h": 2.0}}
    changes = {"labelling": labelling, "workers": workers}
    with pytest.raises(ConfigError, match=r"2\.0 h does not fit into a job of 2\.0 h"):
        load_config(write_config(tmp_path, changes))
    workers["labelling"]["walltime_h"] = 2.5
    assert load_config(write_config(tmp_path, changes)).labelling.time_limit_h == 2.0


def test_turns_run_on_workers_too(tmp_path):
    changes = {"workers": {"walkers": {"kind": "processes"}}, "explore.mode": "turns"}
    assert load_config(write_config(tmp_path, changes)).explore.mode == "turns"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"explore.targets": "both"}, "targets belongs to batch: joint, not to batch: first"),
        (
            {"explore.batch": "stale", "explore.targets": "candidates"},
            "targets belongs to batch: joint, not to batch: stale",
        ),
        (
            {
                "explore.batch": "joint",
                "explore.targets": "unbiased",
                "explore.tau_rel": None,
                "explore.tau": 0.5,
            },
            "targets: unbiased needs tau_rel, which unbiased MD sets to 0",
        ),
        ({"explore.batch": "last"}, r"explore\.batch"),
        ({"explore.after_pick": "stop"}, r"explore\.after_pick"),
        ({"explore.candidate_interval": 0}, r"explore\.candidate_interval"),
        ({"explore.early_refit": {"min_picks": 0}}, r"explore\.early_refit\.min_picks"),
        ({"explore.early_refit": {"soon_fs": 0}}, r"explore\.early_refit\.soon_fs"),
        ({"explore.pick": {"settling_fs": -1}}, r"explore\.pick\.settling_fs"),
        (
            {"explore.trust_bound": {"factor": None, "energy": None}},
            "give at least one limit: factor, energy, relative or absolute",
        ),
    ],
)
def test_wrong_batches(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        load_config(write_config(tmp_path, changes))


def test_a_joint_batch_may_aim_at_its_candidates_under_a_fixed_tau(tmp_path):
    changes = {"explore.batch": "joint", "explore.tau_rel": None, "explore.tau": 0.5}
    for targets in (None, "candidates"):
        given = changes | {"explore.targets": targets}
        explore = load_config(write_config(tmp_path, given)).explore
        assert not explore.unbiased_walkers


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, Weights(high_energy="auto")),
        ({"energy": 10.0}, Weights(10.0, high_energy="auto")),
        ({"high_energy": None}, Weights()),
        ({"high_energy": 0.2}, Weights(high_energy=0.2)),
        (None, None),
    ],
)
def test_weights_have_the_automatic_scale_unless_it_is_given(tmp_path, given, expected):
    ramp = [[0, 300], [20, 1400], [40, 900]]
    changes = {"weights": given, "explore.temperature_K": ramp}
    config = load_config(write_config(tmp_path, changes))
    assert config.weights == expected
    assert config.hottest_K == 1400.0


def test_what_is_on_by_default(tmp_path):
    settings = campaign_settings()
    del settings["weights"], settings["explore"]["trust_bound"], settings["explore"]["pick"]
    path = write_config(tmp_path)
    path.write_text(yaml.safe_dump(settings))
    config = load_config(path)
    explore = config.explore
    assert config.weights == Weights(high_energy="auto")
    assert explore.trust_bound == TrustBound(factor=3.0, energy=3.0)
    assert explore.pick.settling_fs == 50.0
    assert (explore.batch, explore.after_pick, explore.early_refit) == ("first", "go_on", None)
    with pytest.raises(ConfigError, match="weights"):
        load_config(write_config(tmp_path, {"weights": {"high_energy": "automatic"}}))


def test_relative_paths_stay_in_the_folder_of_the_config(tmp_path, monkeypatch):
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    for folder in (inside / "sub", outside):
        folder.mkdir(parents=True)
    (inside / "link").symlink_to(outside)
    (inside / "loop").symlink_to(inside / "loop")
    monkeypatch.setenv("BAYESEL_TEST_UP", "..")
    monkeypatch.setenv("BAYESEL_TEST_DATA", str(outside))
    away = ("../outside/a.xyz", "link/a.xyz", "sub/../../a.xyz", "$BAYESEL_TEST_UP/a.xyz", "..")
    for given in away:
        for field in ("data.train", "explore.starts"):
            message = rf"{field}: .*leads out of the config's folder; give an absolute path"
            with pytest.raises(ConfigError, match=message):
                load_config(write_config(inside, {field: given}))
        model = {"kind": "mace", "model": given}
        with pytest.raises(ConfigError, match=r"potential\.model: .*give an absolute path"):
            load_config(write_config(inside, {"potential": model}))
    for given in ("sub/../a.xyz", "$BAYESEL_TEST_DATA/a.xyz", str(outside / "a.xyz"), "loop/a"):
        config = load_config(write_config(inside, {"data.train": given}))
        assert config.data.train.is_absolute()
        again = yaml.safe_dump(config.model_dump(mode="json"))
        assert load_config(written(outside, again)).data.train == config.data.train


def test_the_workers_in_the_docs():
    text = (Path(__file__).parents[2] / "docs" / "resources.md").read_text()
    (block,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    workers = WorkersConfig.model_validate(yaml.safe_load(block)["workers"])
    assert workers.labelling.directives[0] == "--ntasks=32"
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == f"{[2**n for n in range(8)]}\n"


@pytest.mark.parametrize("name", ["../../etc/passwd", "pbe/../../Si.UPF", "/etc/passwd"])
def test_names_of_potentials_stay_in_their_folder(name):
    espresso = {"kind": "espresso", "parameters": {}, "kpts": [1, 1, 1], "pseudo_dir": "pseudo"}
    vasp = {"kind": "vasp", "pp_path": "pseudo", "potentials": {"Si": name}}
    for engine in (espresso | {"pseudopotentials": {"Si": name}}, vasp):
        with pytest.raises(ConfigError, match=r"potentials.*leads out of the folder"):
            validate_config(campaign_settings({"labelling": engine}), "config.yaml")


@needs_mace
@pytest.mark.parametrize("model", ["mace_mp:medium", "mace_off:small"])
def test_reading_files_alone_downloads_no_model(model, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(socket.socket, "connect", None)
    parts = (
        {"potential": {"kind": "mace", "model": model}},
        {"descriptor": {"kind": "mace", "model": model}},
        {"labelling": {"kind": "mace", "model": model}},
    )
    for part in parts:
        config = load_config(write_config(tmp_path, part), run_code=False)
        with pytest.raises(DescriptorError, match=f"{model}: not in .*nothing is downloaded here"):
            check_inputs(config, run_code=False)


def test_a_directory_in_place_of_a_config(tmp_path):
    """That of a campaign has a copy of the config, with which nothing is started."""
    config = write_campaign(tmp_path)
    Campaign(load_config(config), tmp_path / "config_campaign")
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "config_campaign")
    assert str(caught.value).endswith(f"is a directory; name a config, a YAML file: {config}")
    with pytest.raises(ConfigError, match=rf"a YAML file: {config}$"):
        load_config(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"a YAML file$"):
        load_config(tmp_path / "empty")
