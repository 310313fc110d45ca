"""Names and attributes of mace-torch that this package relies on, one by one.

A failure says what is missing and in which version: the uses are all in
``descriptors/mace/internals.py``.
"""

import subprocess
import sys
from importlib.metadata import version

import numpy as np
import pytest

pytest.importorskip("mace")

import torch
from ase import Atoms
from helpers.mace_models import mace_calculator, needs_mace, tiny_mace
from helpers.structures import cluster, copper, with_pbc

from ase_bayesel import MACEDescriptor
from ase_bayesel.descriptors.mace import internals
from ase_bayesel.descriptors.mace.graphs import batched_graphs
from ase_bayesel.descriptors.torch.runtime import default_dtype, quiet
from ase_bayesel.errors import DescriptorError

pytestmark = needs_mace

VERSION = f"mace-torch {version('mace-torch')}"


@pytest.fixture(scope="module")
def model():
    return tiny_mace(("Cu", "Au"))


@pytest.fixture(scope="module")
def calculator(model):
    return mace_calculator(model)


@pytest.fixture(scope="module")
def names():
    return internals.import_mace()


def members(protocol):
    """Attributes and methods that a protocol declares."""
    methods = {name for name, value in vars(protocol).items() if callable(value)}
    return {*protocol.__annotations__, *(name for name in methods if not name.startswith("_"))}


def parts(model, calculator):
    """One real object for each protocol of `internals`."""
    interaction, product = model.interactions[1], model.products[0]
    irreps = product.linear.irreps_out
    hidden = internals.radial_layers(interaction.conv_tp_weights)[0]
    return {
        internals.Model: model,
        internals.AtomicEnergies: model.atomic_energies_fn,
        internals.InteractionBlock: interaction,
        internals.ProductBlock: product,
        internals.Linear: product.linear,
        internals.SymmetricContraction: product.symmetric_contractions,
        internals.Contraction: product.symmetric_contractions.contractions[0],
        internals.TensorProduct: interaction.conv_tp,
        internals.Instruction: interaction.conv_tp.instructions[0],
        internals.Irreps: irreps,
        internals.MulIrrep: irreps[0],
        internals.Irrep: irreps[0].ir,
        internals.RadialLayer: hidden,
        internals.Activation: hidden.act,
        internals.ModelCalculator: calculator,
    }


PROTOCOLS = sorted(
    (value for value in vars(internals).values() if getattr(value, "_is_protocol", False)),
    key=lambda protocol: protocol.__name__,
)
PROTOCOLS = [protocol for protocol in PROTOCOLS if protocol.__module__ == internals.__name__]


def test_every_protocol_is_compared(model, calculator):
    assert set(PROTOCOLS) == set(parts(model, calculator))


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.__name__)
def test_attributes(protocol, model, calculator):
    real = parts(model, calculator)[protocol]
    assert members(protocol)
    missing = sorted(name for name in members(protocol) if not hasattr(real, name))
    assert not missing, f"{VERSION}: {type(real).__name__} has no {', '.join(missing)}"


def test_classes_by_name(names, model):
    interaction, product = model.interactions[1], model.products[0]
    kinds = {
        "TensorProduct": interaction.conv_tp,
        "FullyConnectedNet": interaction.conv_tp_weights,
        "SymmetricContraction": product.symmetric_contractions,
        "ScaleShiftMACE": model,
        "MACECalculator": mace_calculator(model),
    }
    for name, real in kinds.items():
        assert type(real).__name__ == name, f"{VERSION}: {name} is now a {type(real).__name__}"
    for name in internals.LEAN_INTERACTIONS:
        assert name in names.interaction_classes, f"{VERSION}: no interaction {name}"
    for name, kind in names.model_classes.items():
        path = f"{kind.__module__}.{kind.__qualname__}"
        assert path == f"{internals.MODEL_PATH}.{name}", f"{VERSION}: {name} is now {path}"


def test_shapes_of_the_blocks(model):
    block = internals.interaction_parts(model.interactions[1])
    product, layers = block.conv_tp, internals.radial_layers(block.conv_tp_weights)
    assert {path.connection_mode for path in product.instructions} == {"uvu"}, VERSION
    assert not product.shared_weights, VERSION
    n_weights = sum(product.irreps_in1[path.i_in1].mul for path in product.instructions)
    assert layers[-1].weight.shape == (12, n_weights), f"{VERSION}: other radial weights"
    assert layers[-1].act is None, VERSION
    assert layers[0].act.f is torch.nn.functional.silu, f"{VERSION}: other activation"
    assert layers[0].h_in == len(layers[0].weight), VERSION
    basis = internals.product_parts(model.products[0])
    irreps = basis.linear.irreps_out
    assert (irreps.dim, irreps.lmax, len(irreps.slices())) == (24, 1, 2), VERSION
    assert [(entry.mul, entry.ir.l, entry.ir.p) for entry in irreps] == [(6, 0, 1), (6, 1, -1)]
    contraction = basis.symmetric_contractions.contractions[0]
    n_paths = contraction.U_tensors(2).shape[-1]
    assert contraction.weights_max.shape == (2, n_paths, 6), f"{VERSION}: other contraction"
    assert len(contraction.weights) == 1, f"{VERSION}: other contraction"


def test_an_interaction_hands_its_edges_over(names, model):
    """The attribute that the lean copy sets changes what ``conv_tp`` is called with."""
    block = model.interactions[1]
    assert not hasattr(block, internals.EDGES_TO_CONVOLUTION), VERSION
    calls = []

    class Watched(torch.nn.Module):
        def forward(self, *arguments):
            calls.append([tuple(argument.shape) for argument in arguments])
            raise StopIteration

    kept = block.conv_tp
    try:
        block.conv_tp = Watched()
        block.conv_fusion = True
        with pytest.raises(StopIteration):
            internals.run_model(model, graphs_of(names, model))
    finally:
        block.conv_tp = kept
        del block.conv_fusion
    (shapes,) = calls
    n_edges = shapes[1][0]
    assert [shape[0] for shape in shapes] == [4, n_edges, n_edges, 2], f"{VERSION}: other arguments"


def graphs_of(names, model):
    atoms = copper()
    keys = names.KeySpecification(dict(internals.INFO_KEYS), dict(internals.ARRAYS_KEYS))
    with quiet(), default_dtype("float64"):
        config = names.config_from_atoms(atoms, key_specification=keys, head_name="Default")
        graph = names.AtomicData.from_config(
            config, z_table=names.ElementTable([29, 79]), cutoff=4.0, heads=["Default"]
        )
    batch = names.Batch.from_data_list([graph]).to_dict()
    batch["positions"].requires_grad_(True)
    return batch


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_graphs_are_those_of_mace(names, dtype):
    """All that a model reads, bit for bit."""
    slab = with_pbc(copper(2, 0.1, repeat=(1, 2, 1)), (True, True, False))
    frames = [copper(1, 0.1), cluster("CuAu3Cu", 3), slab, Atoms("Au"), Atoms("Cu", cell=[2] * 3)]
    frames[-1].pbc = True
    keys = names.KeySpecification(dict(internals.INFO_KEYS), dict(internals.ARRAYS_KEYS))
    graphs = []
    with quiet(), default_dtype(dtype):
        for atoms in frames:
            config = names.config_from_atoms(atoms, key_specification=keys, head_name="two")
            graphs.append(
                names.AtomicData.from_config(
                    config,
                    z_table=names.ElementTable([29, 47, 79]),
                    cutoff=4.0,
                    heads=["one", "two"],
                )
            )
    theirs = names.Batch.from_data_list(graphs).to_dict()
    before = [atoms.copy() for atoms in frames]
    ours = batched_graphs(frames, [29, 47, 79], 4.0, 1, dtype, names.get_neighborhood)
    assert frames == before
    for name, tensor in ours.items():
        assert tensor.dtype == theirs[name].dtype, name
        assert torch.equal(tensor, theirs[name]), name


def test_a_model_with_further_inputs_gets_them():
    model = tiny_mace()
    network = MACEDescriptor(mace_calculator(model))._full
    charged = copper()
    charged.info["charge"] = 2.0
    assert "total_charge" not in network.graphs([charged])
    model.embedding_specs = {"total_charge": {}}
    assert network.graphs([charged])["total_charge"].tolist() == [2.0]


def test_a_pass(names, model):
    out = internals.run_model(model, graphs_of(names, model))
    assert out.energy.shape == (1,), VERSION
    assert out.node_features.shape == (4, 24 + 6), VERSION
    assert out.displacement.shape == (1, 3, 3), VERSION
    assert out.displacement.requires_grad, VERSION


def test_numbers_of_a_model(model):
    assert internals.known_numbers(model) == [29, 79]
    assert internals.cutoff_of(model) == 4.0
    assert internals.heads_of(model) == ["Default"]
    assert np.allclose(internals.atomic_energies_of(model), [[-1.5, -1.5]])


def test_arguments_of_the_constructor(names, model):
    with quiet(), default_dtype("float64"):
        config = names.extract_config(model)
    needed = {
        *("interaction_cls", "interaction_cls_first", "readout_cls", "gate"),
        *("atomic_energies", "atomic_numbers", "num_elements"),
        *("atomic_inter_scale", "atomic_inter_shift"),
    }
    assert needed <= set(config), f"{VERSION}: no {', '.join(sorted(needed - set(config)))}"
    assert config["gate"].__name__ in names.gates, VERSION


def test_named_models(names):
    for name in ("mace_mp_urls", "mace_off_urls"):
        assert getattr(names.foundations, name), f"{VERSION}: no {name}"
    for name in ("get_cache_dir", "download_mace_mp_checkpoint"):
        assert callable(getattr(names.foundations, name)), f"{VERSION}: no {name}"


def test_the_training_command_has_a_parser(names):
    options = {name for action in names.parser()._actions for name in action.option_strings}
    assert {"--foundation_model", "--train_file", "--E0s"} <= options, VERSION


def test_values_in_a_pickle():
    assert len(internals.pickled_values()) == 4, VERSION


def test_the_calculator_and_its_default_keys(calculator):
    assert internals.is_mace_calculator(calculator)
    assert dict(calculator.info_keys) == internals.INFO_KEYS, f"{VERSION}: other keys"
    keys = {**calculator.arrays_keys, calculator.charges_key: "charges"}
    assert internals.ARRAYS_KEYS.items() <= keys.items(), f"{VERSION}: other keys"
    assert calculator.energy_units_to_eV == calculator.length_units_to_A == 1.0


def test_a_part_that_is_gone_is_named(monkeypatch):
    monkeypatch.delattr("mace.tools.scripts_utils.extract_config_mace_model")
    with pytest.raises(DescriptorError, match="extract_config_mace_model"):
        internals.import_mace()


@pytest.mark.slow
def test_importing_mace_prints_nothing():
    code = "from ase_bayesel.descriptors.mace.internals import import_mace; import_mace()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
