"""Foundation models by their packages, as the adapters take them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
import torch

from ase_bayesel.io.importing import imported

ELEMENTS = ("H", "C", "O", "Na", "Si", "Cl", "Cu")


@dataclass(frozen=True)
class Family:
    """An adapter, and how its package makes a calculator.

    ``make_model(dtype)`` gives a model with random weights, the same each time; without it the
    package brings real ones. ``reflections`` says whether they leave the features as they are.
    """

    name: str
    package: str
    adapter: str
    make_calculator: Callable[[], Any]
    make_model: Callable[[str], Any] | None = None
    reflections: bool = True

    @property
    def factory(self) -> str:
        return f"ase_bayesel.descriptors.foundation.{self.adapter}"

    def descriptor(self, dtype="float32"):
        make = imported(self.factory, "factory")
        if self.make_model is None:
            return make(dtype=dtype)
        return make(
            self.make_model(dtype), **({} if self.package == "nequip" else {"dtype": dtype})
        )

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
