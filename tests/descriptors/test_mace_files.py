"""Model files of MACE: what is read from them, and what is not run."""

import contextlib
import io
import pickle
import zipfile

import numpy as np
import pytest
import torch
from helpers.campaigns import write_campaign
from helpers.mace_models import mace_calculator, needs_mace, save_model, tiny_mace, trained_mace
from helpers.structures import alloy, copper, copper_training

from ase_bayesel import MACEDescriptor, Surrogate, fit_surrogate
from ase_bayesel.campaign.config.loading import load_config
from ase_bayesel.descriptors import descriptor_from_spec
from ase_bayesel.descriptors.mace import pickled
from ase_bayesel.descriptors.mace.loading import load_module, module_bytes, weights_sha256
from ase_bayesel.descriptors.text import descriptor_from_text
from ase_bayesel.descriptors.torch.runtime import quiet
from ase_bayesel.errors import DescriptorError, PosteriorError, RefitError

pytestmark = needs_mace

BLOCKS = (
    "RealAgnosticInteractionBlock",
    "RealAgnosticDensityInteractionBlock",
    "RealAgnosticDensityResidualInteractionBlock",
    "RealAgnosticResidualNonLinearInteractionBlock",
)


@pytest.fixture(scope="module")
def plain():
    return tiny_mace()


def stock(path):
    """The model as torch unpickles it."""
    with quiet():
        return torch.load(path, map_location="cpu", weights_only=False)


def assert_same(ours, theirs, atoms):
    """Equal weights, and energies, forces and stresses bit for bit."""
    assert weights_sha256(ours) == weights_sha256(theirs)
    dtype = str(next(ours.parameters()).dtype).removeprefix("torch.")
    one, other = (mace_calculator(m, dtype, head=m.heads[0]) for m in (ours, theirs))
    for prop in ("energy", "forces", "stress"):
        np.testing.assert_array_equal(
            one.get_property(prop, atoms), other.get_property(prop, atoms)
        )


@pytest.fixture(autouse=True)
def _usual_dtype():
    """mace's calculators leave theirs behind as the default of the process."""
    torch.set_default_dtype(torch.float32)


def stirred(model, seed=0):
    """The model with all parameters changed, so that nothing in it is what a new one has."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        parameter.data += 0.05 * noise
    return model


def test_a_trained_model_is_the_same_without_unpickling(tmp_path):
    model, _ = trained_mace(copper_training(), n_steps=3)
    save_model(model, tmp_path / "m.model")
    assert_same(load_module(tmp_path / "m.model"), stock(tmp_path / "m.model"), copper())


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "MACE", "elements": ("Cu", "Au", "Al")},
        {"dtype": "float32", "elements": ("Cu", "Au", "Al"), "heads": ("one", "two")},
        {"elements": ("Cu", "Au", "Al"), "correlation": 3, "irreps": "4x0e+4x1o+4x2e"},
        *(
            pytest.param(
                {"elements": ("Cu", "Au", "Al"), "first": block, "second": block},
                marks=pytest.mark.slow,
            )
            for block in BLOCKS
        ),
    ],
)
def test_architectures(tmp_path, options):
    path = tmp_path / "m.model"
    save_model(stirred(tiny_mace(**options)), path)
    assert_same(load_module(path), stock(path), alloy())


def test_a_model_of_an_older_mace(tmp_path, plain):
    """Attributes that newer versions added are not in old files."""
    old = load_old(tmp_path, plain)
    module = load_module(old)
    assert_same(module, stock(old), copper())
    assert not hasattr(stock(old), "apply_cutoff")


def load_old(tmp_path, plain):
    save_model(plain, tmp_path / "old.model")
    old = stock(tmp_path / "old.model")
    for name in ("apply_cutoff", "edge_irreps", "use_reduced_cg", "use_so3", "lammps_mliap"):
        del old.__dict__[name]
    save_model(old, tmp_path / "old.model")
    return tmp_path / "old.model"


def test_what_is_written_again_is_the_same(tmp_path, plain):
    save_model(plain, tmp_path / "m.model")
    (tmp_path / "again.model").write_bytes(module_bytes(load_module(tmp_path / "m.model")))
    assert_same(stock(tmp_path / "again.model"), plain, copper())


def test_the_state_of_torch_is_left_alone(tmp_path, plain):
    save_model(plain, tmp_path / "m.model")
    (tmp_path / "torn.model").write_bytes((tmp_path / "m.model").read_bytes()[:5000])
    random, allowed = torch.get_rng_state(), torch.serialization.get_safe_globals()
    load_module(tmp_path / "m.model")
    with pytest.raises(DescriptorError):
        load_module(tmp_path / "torn.model")
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.get_default_dtype() == torch.float32
    assert set(torch.serialization.get_safe_globals()) == set(allowed)


# files that would run code


class Calls:
    """Unpickling it calls a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def hostile(kind, plain, mark, path):
    """A model file that creates ``mark`` when it is unpickled, or when the model runs."""
    import functools
    import os

    save_model(plain, path)
    code = f"open({str(mark)!r}, 'w').close()"
    touch = {
        "system": lambda: Calls(os.system, f"touch {mark}"),
        "eval": lambda: Calls(eval, code),
        "exec": lambda: Calls(exec, code),
        "partial": lambda: Calls(functools.partial(open, str(mark), "w")),
    }
    model = stock(path)
    if kind == "graph":
        modules = model.products[0].symmetric_contractions.contractions[0]._modules
        make, (body, imports) = modules["graph_opt_main"].__reduce__()
        modules["graph_opt_main"] = Wrap(Calls(make, body, f"{code}\n{imports}"))
    else:
        model.__dict__["extra"] = touch[kind]()
    save_model(model, path)


class Wrap(torch.nn.Module):
    """Stands for a module whose pickle is another object's."""

    def __init__(self, call):
        super().__init__()
        self.call = call

    def __reduce__(self):
        return self.call.__reduce__()


@pytest.mark.parametrize("kind", ["system", "eval", "exec", "partial"])
def test_code_in_a_model_is_refused_and_does_not_run(tmp_path, plain, kind):
    path, mark = tmp_path / "m.model", tmp_path / "ran"
    hostile(kind, plain, mark, path)
    with pytest.raises(DescriptorError, match=r"m\.model: .* refers to .*trust: true"):
        MACEDescriptor(path)
    assert not mark.exists()


@pytest.mark.parametrize("kind", ["system", "eval", "exec"])
def test_code_in_a_trusted_model_runs(tmp_path, plain, kind):
    path, mark = tmp_path / "m.model", tmp_path / "ran"
    hostile(kind, plain, mark, path)
    MACEDescriptor(path, trust=True)
    assert mark.exists()


def test_source_in_a_graph_is_not_run(tmp_path, plain):
    """Every MACE file holds Python source of torch.fx; it is left alone."""
    path, mark = tmp_path / "m.model", tmp_path / "ran"
    hostile("graph", plain, mark, path)
    assert_same(load_module(path), plain, copper())
    assert not mark.exists()
    stock(path)
    assert mark.exists()


def test_torchscript_is_not_loaded(tmp_path, plain, monkeypatch):
    save_model(plain, tmp_path / "m.model")
    monkeypatch.setattr(torch.jit, "load", lambda *_: pytest.fail("TorchScript of the file"))
    load_module(tmp_path / "m.model")


def test_hooks_and_methods_in_a_file_are_dropped(tmp_path, plain):
    save_model(plain, tmp_path / "m.model")
    model = stock(tmp_path / "m.model")
    model.products[0]._forward_hooks[0] = torch.nn.functional.silu
    model.products[0].__dict__["forward"] = torch.nn.Tanh()
    save_model(model, tmp_path / "m.model")
    found = load_module(tmp_path / "m.model")
    assert not found.products[0]._forward_hooks
    assert_same(found, plain, copper())


def test_a_bare_pickle_is_refused(tmp_path):
    import os

    mark = tmp_path / "ran"
    torch.save(Calls(os.system, f"touch {mark}"), tmp_path / "zip.model")
    (tmp_path / "old.model").write_bytes(pickle.dumps(Calls(os.system, f"touch {mark}")))
    torch.save(
        {"model": Calls(os.system, f"touch {mark}")},
        tmp_path / "legacy.model",
        _use_new_zipfile_serialization=False,
    )
    for name in ("zip", "old", "legacy"):
        with pytest.raises(DescriptorError, match=rf"{name}\.model: cannot be read"):
            MACEDescriptor(tmp_path / f"{name}.model")
    assert not mark.exists()


def test_names_that_are_allowed_are_inert_objects_only():
    """Even a call of an allowed name makes nothing but an inert object."""
    buffer = io.BytesIO()
    torch.save(Calls(torch.nn.Linear, 3, 2), buffer)
    found = pickled.read_pickled(buffer.getvalue())
    assert isinstance(found, pickled.PickledObject)
    assert found.args == (3, 2)
    assert found.path == "torch.nn.modules.linear.Linear"


@pytest.mark.parametrize(
    "name",
    ["os.system", "builtins.eval", "torch.jit.load", "torch.hub.load", "mace.cli.x", "torch.fx.x"],
)
def test_names_that_no_model_needs(name):
    assert not pickled.NAMES.fullmatch(name)


def test_a_model_that_comes_out_different_is_refused(tmp_path, plain):
    def changed(change):
        save_model(plain, tmp_path / "m.model")
        model = stock(tmp_path / "m.model")
        change(model)
        save_model(model, tmp_path / "m.model")
        with pytest.raises(DescriptorError, match="trust: true"):
            load_module(tmp_path / "m.model")
        load_module(tmp_path / "m.model", trust=True)

    def other_activation(model):
        model.readouts[-1].non_linearity.acts[0].f = torch.tanh
        model.interactions[0].conv_tp_weights.layer0.act.f = torch.tanh

    def other_neighbours(model):
        model.interactions[1].avg_num_neighbors = 5.0

    def another_parameter(model):
        model.products[0].own = torch.nn.Parameter(torch.zeros(3))

    def another_part(model):
        model.products[0].own = torch.nn.Linear(2, 2)

    def no_part(model):
        del model.products[1]

    for change in (other_activation, other_neighbours, another_parameter, another_part, no_part):
        changed(change)


def test_trust_is_not_taken_from_a_saved_surrogate(tmp_path, plain):
    path, mark = tmp_path / "m.model", tmp_path / "ran"
    save_model(plain, path)
    fitted = fit_surrogate(copper_training(), MACEDescriptor(path, trust=True), e0s="average")
    hostile("system", plain, mark, path)
    spec = MACEDescriptor(path, trust=True).spec()
    assert mark.exists()
    mark.unlink()
    assert "trust" not in spec
    with pytest.raises(DescriptorError, match="trust"):
        descriptor_from_spec(spec)
    fitted.descriptor.model_file = path
    fitted.save(tmp_path / "surrogate.npz")
    with pytest.raises(PosteriorError, match="trust"):
        Surrogate.load(tmp_path / "surrogate.npz")
    assert not mark.exists()
    Surrogate.load(tmp_path / "surrogate.npz", trust=True)
    assert mark.exists()


def test_trust_in_a_config_and_on_the_command_line(tmp_path, plain):
    from typer.testing import CliRunner

    from ase_bayesel.campaign.build.models import build_descriptor, build_refitter
    from ase_bayesel.campaign.inputs import check_inputs
    from ase_bayesel.cli.main import app

    path, mark = tmp_path / "m.model", tmp_path / "ran"
    hostile("system", plain, mark, path)
    for section in ("potential", "descriptor"):
        descriptor = {"kind": "mace"} | ({"model": "m.model"} if section == "descriptor" else {})
        changes = {"descriptor": descriptor}
        if section == "potential":
            changes["potential"] = {"kind": "mace", "model": "m.model"}
            changes["refit"] = {"kind": "mace"}
        config = load_config(write_campaign(tmp_path, changes))
        with pytest.raises(DescriptorError, match="trust"):
            check_inputs(config)
        assert not mark.exists()
        changes[section]["trust"] = True
        config = load_config(write_campaign(tmp_path, changes))
        build_descriptor(config, path)
        assert mark.exists()
        mark.unlink()
    assert not build_refitter(load_config(write_campaign(tmp_path, changes)))
    command = ["select", str(tmp_path / "train.extxyz"), "-n", "1", "-o", str(tmp_path / "o.xyz")]
    command += ["--descriptor", f"mace:{path}", "--method", "random"]
    refused = CliRunner().invoke(app, command)
    assert refused.exit_code == 2
    assert "trust" in refused.output
    assert not mark.exists()
    CliRunner().invoke(app, [*command, "--trust"])
    assert mark.exists()
    assert descriptor_from_text(f"mace:{path}", trust=True).n_features == 12


def test_the_refit_gets_a_copy_made_here(tmp_path, plain):
    """mace_run_train unpickles what it is given."""
    from ase_bayesel.campaign.refit import MACERefitter, RefitTask
    from ase_bayesel.structures.labels import PropertyKeys

    path, mark = tmp_path / "m.model", tmp_path / "ran"
    hostile("graph", plain, mark, path)
    task = RefitTask(copper_training(), 2, PropertyKeys(), {"Cu": 0.0}, path, tmp_path / "refit", 0)
    steps = MACERefitter(max_epochs=1, checkpoint_epochs=1, time_limit_h=1e-6).refit(task)
    with pytest.raises(RefitError, match="were up before the first"):
        list(steps)
    assert not mark.exists()
    assert_same(stock(tmp_path / "refit" / "foundation.model"), plain, copper())
    settings = MACERefitter()._settings(task, 1, 1, False, {29: 0.0})
    assert settings["foundation_model"] == str(tmp_path / "refit" / "foundation.model")
    trusted = MACERefitter(trust=True)._settings(task, 1, 1, False, {29: 0.0})
    assert trusted["foundation_model"] == str(path)


def test_zip_of_something_else(tmp_path):
    with zipfile.ZipFile(tmp_path / "z.model", "w") as archive:
        archive.writestr("z/data.pkl", b"garbage")
    with pytest.raises(DescriptorError, match="cannot be read"):
        MACEDescriptor(tmp_path / "z.model")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_damaged_files(tmp_path, plain, seed):
    """Cut, or with a few flipped bits: refused, or a flip that nothing depends on."""
    path, rng = tmp_path / "m.model", np.random.default_rng(seed)
    save_model(plain, path)
    content = path.read_bytes()
    for _ in range(10):
        bad = bytearray(content[: rng.integers(len(content))] if rng.random() < 0.3 else content)
        for place in rng.integers(len(bad), size=3):
            bad[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(bad)
        with contextlib.suppress(DescriptorError):
            load_module(path)
        assert path.read_bytes() == bad
