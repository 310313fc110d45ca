"""Model files that earlier releases of mace-torch wrote (scripts/old_mace_models.py)."""

import importlib.util
import lzma
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from helpers.mace_models import mace_calculator, needs_mace, save_model, tiny_mace

from ase_bayesel import MACEDescriptor
from ase_bayesel.descriptors.mace.loading import load_module, module_bytes
from ase_bayesel.descriptors.torch.runtime import quiet
from ase_bayesel.errors import DescriptorError

pytestmark = needs_mace

FOLDER = Path(__file__).parent.parent / "data" / "old_mace"
FILES = sorted(path.name.removesuffix(".model.xz") for path in FOLDER.glob("*.xz"))


@pytest.fixture(autouse=True)
def _usual_dtype():
    """mace's calculators leave theirs behind as the default of the process."""
    yield
    torch.set_default_dtype(torch.float32)


def unpacked(name, folder):
    path = folder / f"{name}.model"
    path.write_bytes(lzma.decompress((FOLDER / f"{name}.model.xz").read_bytes()))
    return path


def recorded(name):
    """Structures, and what the old release computed of them."""
    values = np.load(FOLDER / f"{name}.npz")
    for number in range(2):
        of = {key[:-2]: values[key] for key in values if key.endswith(f"_{number}")}
        yield Atoms(of["numbers"], of["positions"], cell=of["cell"], pbc=True), of


def test_all_releases_are_there():
    assert {name.split("_")[1] for name in FILES} == {f"0.3.{n}" for n in range(4, 10)}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * n.endswith("_large")) for n in FILES]
)
def test_gives_what_the_old_release_gave(tmp_path, name):
    module = load_module(unpacked(name, tmp_path))
    dtype = str(next(module.parameters()).dtype).removeprefix("torch.")
    calculator = mace_calculator(module, dtype)
    descriptor = MACEDescriptor(calculator, components="all")
    precision = 1e-10 if dtype == "float64" else 1e-5
    for atoms, old in recorded(name):
        atoms.calc = calculator
        found = {
            "energy": atoms.get_potential_energy(),
            "forces": atoms.get_forces(),
            "stress": atoms.get_stress(),
            "features": descriptor.compute([atoms])[0].values,
        }
        for key, value in found.items():
            size = np.abs(old[key]).max()
            assert size > 0
            np.testing.assert_allclose(value, old[key], rtol=0, atol=precision * size, err_msg=key)


def test_written_again_it_is_a_file_of_the_installed_mace(tmp_path):
    """A fine-tuning starts from such a copy, which mace_run_train unpickles."""
    path = unpacked("mace_0.3.4_medium", tmp_path)
    (tmp_path / "new.model").write_bytes(module_bytes(load_module(path)))
    with quiet():
        again = torch.load(tmp_path / "new.model", weights_only=False)
    assert not again.radial_embedding.cutoff_fn.p.is_floating_point()
    for atoms, old in recorded("mace_0.3.4_medium"):
        atoms.calc = mace_calculator(again)
        np.testing.assert_allclose(atoms.get_forces(), old["forces"], rtol=1e-10, atol=1e-14)


def changed(tmp_path, change):
    """A file of the installed mace with its notation changed."""
    model = tiny_mace()
    change(model)
    save_model(model, tmp_path / "m.model")
    return tmp_path / "m.model"


def test_a_power_that_is_no_whole_number_is_refused(tmp_path):
    def set_power(value):
        def change(model):
            model.radial_embedding.cutoff_fn.p = torch.tensor(value)

        return change

    load_module(changed(tmp_path, set_power(5.0)))
    with pytest.raises(DescriptorError, match=r"cutoff_fn\.p .*trust: true"):
        load_module(changed(tmp_path, set_power(5.5)))


def test_the_number_of_neighbours_may_be_a_tensor(tmp_path):
    def as_tensors(model):
        for block in model.interactions:
            block.avg_num_neighbors = torch.tensor(block.avg_num_neighbors, dtype=torch.float64)

    module = load_module(changed(tmp_path, as_tensors))
    assert [block.avg_num_neighbors for block in module.interactions] == [12.0, 12.0]


def test_neighbouring_inputs_written_as_one(tmp_path):
    """As before 0.3.9; with another factor of the output it is another model."""

    def merge(factor):
        def change(model):
            linear = model.interactions[1].linear
            merged = linear.irreps_in.simplify()
            assert len(merged) < len(linear.irreps_in)
            first = {entry.i_out: entry for entry in linear.instructions}
            linear.irreps_in = merged
            linear.instructions = [
                entry._replace(path_weight=factor * entry.path_weight) for entry in first.values()
            ]

        return change

    load_module(changed(tmp_path, merge(1.0)))
    with pytest.raises(DescriptorError, match=r"linear\.\w+ is not that of a new model"):
        load_module(changed(tmp_path, merge(2.0)))


def test_the_example_writes_an_old_file(tmp_path):
    """What CI runs a campaign from."""
    example = Path(__file__).parents[2] / "examples" / "mace_silicon" / "prepare.py"
    spec = importlib.util.spec_from_file_location("prepare_mace_silicon", example)
    prepare = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(prepare)
    model = tiny_mace()
    save_model(model, tmp_path / "new.model")
    prepare.write_as_before(tmp_path / "new.model", tmp_path / "old.model")
    with quiet():
        raw = torch.load(tmp_path / "old.model", weights_only=False)
    assert raw.radial_embedding.cutoff_fn.p.is_floating_point()
    assert len(raw.interactions[1].linear.irreps_in) < len(model.interactions[1].linear.irreps_in)
    atoms = next(recorded("mace_0.3.4_medium"))[0]
    atoms.symbols[:] = "Cu"
    found = [
        mace_calculator(m).get_forces(atoms) for m in (model, load_module(tmp_path / "old.model"))
    ]
    np.testing.assert_array_equal(*found)
