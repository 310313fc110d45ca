"""Foundation models by their packages, as the adapters take them."""

import atexit
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

import numpy as np
import pytest
import torch
from ase.data import atomic_numbers

from ase_bayesel.io.importing import imported

NARROW_PET = {"d_pet": 8, "d_node": 8, "d_head": 8, "d_feedforward": 8, "num_heads": 2}
NARROW_PET |= {"num_gnn_layers": 2}
NARROW_UMA = {"sphere_channels": 16, "hidden_channels": 16, "edge_channels": 16}
NARROW_UMA |= {"num_experts": 4, "num_distance_basis": 16}
ELEMENTS = ("H", "C", "O", "Na", "Al", "Si", "Cl", "Cu")


@dataclass(frozen=True)
class Family:
    """An adapter, and how its package makes a calculator.

    ``make_model(dtype)`` gives a model with random weights, the same each time, and
    ``write_model(path)`` a file of it; without them the package brings real ones. ``rotations``
    and ``reflections`` say whether they leave the features as they are. ``parameters`` are what
    the adapter is told beside model and dtype.
    """

    name: str
    package: str
    adapter: str
    make_calculator: Callable[[], Any]
    make_model: Callable[[str], Any] | None = None
    write_model: Callable[[Path], None] | None = None
    rotations: bool = True
    reflections: bool = True
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def factory(self) -> str:
        return f"ase_bayesel.descriptors.foundation.{self.adapter}"

    def descriptor(self, dtype="float32"):
        make = imported(self.factory, "factory")
        if self.make_model is None:
            return make(dtype=dtype)
        given = {} if self.package in ("nequip", "metatrain") else {"dtype": dtype}
        return make(self.make_model(dtype), **given, **self.parameters)

    def parameter(self):
        """Itself, for tests that are skipped where the package is missing."""
        return pytest.param(self, marks=pytest.mark.optional(self.package), id=self.name)


def chgnet_calculator():
    from chgnet.model.dynamics import CHGNetCalculator

    return CHGNetCalculator(use_device="cpu")


def sevennet_calculator():
    from sevenn.calculator import SevenNetCalculator

    return SevenNetCalculator("7net-0", device="cpu")


@cache
def matgl_potential(kind):
    from matgl import models
    from matgl.apps.pes import Potential

    torch.manual_seed(0)
    net = getattr(models, kind)(element_types=ELEMENTS, is_intensive=False, units=16)
    refs = np.linspace(-7.0, -1.0, len(ELEMENTS))
    return Potential(net, data_mean=0.1, data_std=2.0, element_refs=refs).eval()


def matgl_calculator(kind):
    from matgl.ext.ase import PESCalculator

    return PESCalculator(matgl_potential(kind), stress_unit="eV/A3")


def nequip_model(dtype):
    from nequip.model import NequIPGNNModel
    from nequip.utils.global_state import set_global_state

    set_global_state()
    made = {"type_names": list(ELEMENTS), "r_max": 4.5, "num_layers": 2, "num_features": 8}
    narrow, model = (
        NequIPGNNModel(seed=0, model_dtype=one, avg_num_neighbors=20.0, **made)
        for one in ("float32", dtype)
    )
    model.load_state_dict(narrow.state_dict())
    return model.eval()


def nequip_calculator():
    from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform
    from nequip.integrations.ase import NequIPCalculator

    steps = [ChemicalSpeciesToAtomTypeMapper(list(ELEMENTS)), NeighborListTransform(r_max=4.5)]
    return NequIPCalculator(nequip_model("float32"), "cpu", transforms=steps)


@cache
def orb_model():
    from orb_models.forcefield.atomic_system import SystemConfig
    from orb_models.forcefield.pretrained import orb_v3_conservative_architecture

    torch.manual_seed(0)
    narrow = {"latent_dim": 16, "base_mlp_hidden_dim": 24, "head_mlp_hidden_dim": 16}
    return orb_v3_conservative_architecture(
        **narrow,
        num_message_passing_steps=2,
        device="cpu",
        system_config=SystemConfig(radius=6.0, max_num_neighbors=120),
    ).eval()


def orb_calculator():
    from orb_models.forcefield.calculator import ORBCalculator

    return ORBCalculator(orb_model(), device="cpu")


def write_mattersim(path):
    net = mattersim_model()
    content = {"model_name": "m3gnet", "model_args": net.model_args, "model": net.state_dict()}
    torch.save(content, path)


@cache
def mattersim_model():
    from mattersim.forcefield.m3gnet.m3gnet import M3Gnet

    torch.manual_seed(0)
    return M3Gnet(num_blocks=2, units=16, max_l=3, max_n=3, device="cpu").eval()


def mattersim_calculator():
    from mattersim.forcefield.potential import MatterSimCalculator, Potential

    return MatterSimCalculator(Potential(mattersim_model(), device="cpu"), device="cpu")


@cache
def pet_model(dtype):
    from metatomic.torch import load_atomistic_model

    with TemporaryDirectory() as folder:
        write_pet(Path(folder) / "pet.pt", dtype)
        return load_atomistic_model(Path(folder) / "pet.pt")


def write_pet(path, dtype="float32", narrow=NARROW_PET):
    network, _ = pet(dtype, narrow)
    network.export().save(path)


def llpr_model(path):
    """Its factor stands for one of a training set; written to a file."""
    from metatrain.llpr import LLPRUncertaintyModel

    network, info = pet("float64")
    model = LLPRUncertaintyModel({"num_ensemble_members": {}}, info)
    model.set_wrapped_model(network)
    rows = torch.randn(40, model.ll_feat_size, dtype=torch.float64)
    model.covariance_energy_uncertainty = rows.T @ rows
    model.cholesky_energy_uncertainty = torch.linalg.cholesky(rows.T @ rows)
    model.multiplier_energy_uncertainty = torch.tensor([1.7], dtype=torch.float64)
    model.eval().export().save(path)


def pet(dtype, narrow=NARROW_PET):
    """The network, and what it was made for."""
    from metatrain.pet import PET
    from metatrain.utils.architectures import get_default_hypers
    from metatrain.utils.data import DatasetInfo
    from metatrain.utils.data.target_info import get_energy_target_info

    torch.manual_seed(0)
    target = get_energy_target_info("energy", {"quantity": "energy", "unit": "eV"})
    info = DatasetInfo("angstrom", [atomic_numbers[one] for one in ELEMENTS], {"energy": target})
    hypers = get_default_hypers("pet")["model"] | narrow
    return PET(hypers, info).to(getattr(torch, dtype)).eval(), info


def pet_calculator():
    from metatomic_ase import MetatomicCalculator

    return MetatomicCalculator(pet_model("float32"), device="cpu")


@cache
def uma_file():
    """Random weights, in a folder that lives as long as the tests."""
    path = Path(mkdtemp()) / "uma.pt"
    atexit.register(rmtree, path.parent)
    write_uma(path)
    return path


def write_uma(path, narrow=NARROW_UMA):
    """A checkpoint of a UMA with two tasks, experts and all."""
    import hydra
    from fairchem.core.units.mlip_unit.api.inference import MLIPInferenceCheckpoint

    torch.manual_seed(0)
    tasks = {"omat": "omat", "omol": "omol"}
    uma = "fairchem.core.models.uma"
    backbone = narrow | {
        "model": f"{uma}.escn_moe.eSCNMDMoeBackbone",
        "use_composition_embedding": True,
        "cutoff": 6.0,
        "direct_forces": False,
        "regress_stress": True,
        "chg_spin_emb_type": "rand_emb",
        "charge_balanced_channels": [0],
        "spin_balanced_channels": [1],
        "dataset_mapping": tasks,
    }
    head = {
        "module": f"{uma}.escn_moe.DatasetSpecificMoEWrapper",
        "head_cls": f"{uma}.escn_md.MLP_EFS_Head",
        "head_kwargs": {"wrap_property": False},
        "dataset_mapping": tasks,
    }
    config = {
        "_target_": "fairchem.core.models.base.HydraModel",
        "model_id": "UMA-S-1.2.1",
        "pass_through_head_outputs": True,
        "backbone": backbone,
        "heads": {"energyandforcehead": head},
    }
    net = hydra.utils.instantiate(config)
    averaged = torch.optim.swa_utils.AveragedModel(net).state_dict()
    made = [uma_task(task, name) for task in tasks for name in ("energy", "forces", "stress")]
    torch.save(MLIPInferenceCheckpoint(config, net.state_dict(), averaged, made), path)


def uma_task(task, quantity):
    """What a checkpoint says of one quantity of one task."""
    unit, norm = "fairchem.core.units.mlip_unit.mlip_unit", "fairchem.core.modules.normalization"
    references = {"_target_": "torch.DoubleTensor", "_args_": [np.linspace(0, -9, 100).tolist()]}
    own = {
        "_target_": f"{norm}.element_references.ElementReferences",
        "element_references": references,
    }
    return {
        "_target_": f"{unit}.Task",
        "name": f"{task}_{quantity}",
        "level": "atom" if quantity == "forces" else "system",
        "property": quantity,
        "datasets": [task],
        "out_spec": {"_target_": f"{unit}.OutputSpec", "dim": [1], "dtype": "float32"},
        "normalizer": {"_target_": f"{norm}.normalizer.Normalizer", "mean": 0.0, "rmsd": 1.5},
        "element_references": own if quantity == "energy" else None,
    }


def uma_calculator(task="omol", **settings):
    from fairchem.core.calculate.ase_calculator import FAIRChemCalculator
    from fairchem.core.units.mlip_unit.api.inference import InferenceSettings

    chosen = InferenceSettings(activation_checkpointing=False, **settings)
    return FAIRChemCalculator.from_model_checkpoint(str(uma_file()), task, chosen, device="cpu")


REAL = [
    Family("chgnet", "chgnet", "chgnet:CHGNetDescriptor", chgnet_calculator),
    Family(
        "sevennet", "sevenn", "sevennet:SevenNetDescriptor", sevennet_calculator, reflections=False
    ),
]
RANDOM = [
    Family(
        kind.lower(),
        "matgl",
        "matgl:MatGLDescriptor",
        partial(matgl_calculator, kind),
        lambda _, kind=kind: matgl_potential(kind),
    )
    for kind in ("M3GNet", "TensorNet")
]
RANDOM += [Family("nequip", "nequip", "nequip:NequIPDescriptor", nequip_calculator, nequip_model)]
RANDOM += [
    Family(
        "orb",
        "orb_models",
        "orb:ORBDescriptor",
        orb_calculator,
        lambda _: orb_model(),
        rotations=False,
        reflections=False,
    ),
    Family(
        "mattersim",
        "mattersim",
        "mattersim:MatterSimDescriptor",
        mattersim_calculator,
        lambda _: mattersim_model(),
        write_mattersim,
    ),
    Family(
        "pet",
        "metatrain",
        "metatomic:MetatomicDescriptor",
        pet_calculator,
        pet_model,
        write_pet,
        rotations=False,
        reflections=False,
    ),
    Family(
        "uma",
        "fairchem",
        "fairchem:FAIRChemDescriptor",
        uma_calculator,
        lambda _: uma_file(),
        write_uma,
        rotations=False,
        reflections=False,
        parameters={"task_name": "omol"},
    ),
]
