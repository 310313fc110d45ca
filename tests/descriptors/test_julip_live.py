"""ACEpotentials itself, in Julia, against our linear ACE: .github/workflows/julia.yml runs this."""

import numpy as np
import pytest
from helpers.ace_models import MODELS, structures
from helpers.campaigns import ended, reports, write_campaign
from helpers.structures import copper_training

from ase_bayesel import ACEDescriptor, Posterior, Surrogate, fit_surrogate
from ase_bayesel.descriptors.ace.radial import bond_length
from ase_bayesel.descriptors.julip import JulipDescriptor
from ase_bayesel.surrogate.design import Noise
from ase_bayesel.surrogate.exchange import in_functions_of

pytestmark = [pytest.mark.julia, pytest.mark.slow]


def made(name):
    elements, order, totaldegree = MODELS[name]
    # bond lengths of other elements than Si are not ACE1x's here: give both the same
    r0 = {(a, b): bond_length(a, b) for a in elements for b in elements if a <= b}
    return ACEDescriptor(elements, order, totaldegree, r0=r0), JulipDescriptor(
        elements, order, totaldegree, r0=r0
    )


def surrogate_of(descriptor):
    std = descriptor.prior_std()
    mean = std * np.cos(1.0 + np.arange(len(std)))
    e0s = dict.fromkeys(descriptor.elements, -2.0)
    return Surrogate(descriptor, Posterior(np.diag(1 / std), mean), e0s, Noise())


@pytest.mark.parametrize("name", MODELS)
def test_basis_energies_and_forces(name):
    ours, julia = made(name)
    frames = []
    for seed in range(4):
        for atoms in structures(MODELS[name][0]):
            atoms.rattle(0.05, seed=seed)
            frames.append(atoms)
    model = surrogate_of(ours)
    other = in_functions_of(model, julia, frames)
    for atoms in frames[:2]:
        assert other.energy(atoms) == pytest.approx(model.energy(atoms), rel=1e-6)
        atoms.calc = model.calculator()
        forces = atoms.get_forces()
        atoms.calc = other.calculator()
        np.testing.assert_allclose(atoms.get_forces(), forces, atol=1e-6)
        if atoms.pbc.all():
            stress = atoms.get_stress()
            atoms.calc = model.calculator()
            np.testing.assert_allclose(atoms.get_stress(), stress, atol=1e-7)
    np.testing.assert_allclose(np.sort(julia.prior_std()), np.sort(ours.prior_std()), rtol=1e-6)


def test_acefit_fits():
    descriptor = JulipDescriptor(["Cu"], 3, 6)
    frames = copper_training()
    model = fit_surrogate(frames, descriptor)
    rows, targets = [], []
    for atoms in frames:
        std = model.noise.std("energy", len(atoms))
        energy = (atoms.info["energy"] - model.baseline(atoms)) / std
        rows.append(model.rows(atoms))
        targets += [energy, *(atoms.arrays["forces"].ravel() / model.noise.forces)]
    found = descriptor.acefit(np.concatenate(rows), np.array(targets))
    predicted = np.concatenate(rows) @ found
    assert np.corrcoef(predicted, targets)[0, 1] > 0.99


def test_one_campaign_round(tmp_path):
    changes = {
        "descriptor": {"kind": "julip", "elements": ["Cu", "Al"], "order": 2, "totaldegree": 4},
        "stop.max_rounds": 1,
    }
    store, last = ended(write_campaign(tmp_path, changes))
    assert last.reason
    assert len(reports(store)) == 2
    assert store.read_report(1).picks > 0
