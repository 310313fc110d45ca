"""A model of metatrain with LLPR uncertainties as a surrogate, against its own outputs."""

import numpy as np
import pytest
from ase.build import bulk
from helpers.foundation import llpr_model, pet_model
from helpers.structures import jittered

from ase_bayesel.descriptors.importing import imported_descriptor
from ase_bayesel.errors import DescriptorError
from ase_bayesel.io.importing import imported
from ase_bayesel.surrogate.exchange import surrogate_of_llpr

pytestmark = [pytest.mark.slow, pytest.mark.optional("metatrain")]
FACTORY = "ase_bayesel.descriptors.foundation.metatomic:MetatomicDescriptor"


def frames(number, seed=0):
    """Rock salt of two of three elements, expanded and distorted."""
    rng = np.random.default_rng(seed)
    made = []
    for k in range(number):
        atoms = jittered(bulk("NaCl", "rocksalt", rng.uniform(4.5, 6.0)), 0.2, k)
        atoms.symbols[:] = rng.choice(["Na", "Cl", "Cu"], 2)
        made.append(atoms)
    return made


def test_the_models_own_uncertainties(tmp_path):
    from metatomic.torch import ModelOutput
    from metatomic_ase import MetatomicCalculator

    llpr_model(tmp_path / "llpr.pt")
    descriptor = imported_descriptor(FACTORY, {}, str(tmp_path / "llpr.pt"))
    surrogate = surrogate_of_llpr(descriptor, frames(60))
    theirs = MetatomicCalculator(tmp_path / "llpr.pt", device="cpu")
    names = ("energy", "energy_uncertainty")
    wanted = {name: ModelOutput(unit="eV", sample_kind="system") for name in names}
    for atoms in frames(3, seed=9):
        found = theirs.run_model(atoms, wanted)
        energy, std = (found[name].block().values.item() for name in names)
        assert surrogate.energy_std(atoms) == pytest.approx(std, rel=1e-5)
        assert surrogate.energy(atoms) == pytest.approx(energy, abs=0.05)


def test_a_model_without_them():
    descriptor = imported(FACTORY, "factory")(pet_model("float64"))
    with pytest.raises(DescriptorError, match="no cholesky_energy_uncertainty"):
        surrogate_of_llpr(descriptor, frames(2))
