"""What a further batch would bring, against posteriors that know it."""

import numpy as np
import pytest
from helpers.structures import copper, copper_training

from ase_bayesel.surrogate.design import property_rows
from ase_bayesel.surrogate.energy_weights import EnergyWeights
from ase_bayesel.surrogate.outlook import Outlook, outlooks


def deviations(surrogate, frames):
    """Root mean square, per atom of energies."""
    found = {"energy": [], "forces": []}
    for atoms in frames:
        features = surrogate.features(atoms)
        for prop, own in found.items():
            size = len(atoms) if prop == "energy" else 1
            rows = property_rows(features, prop) / size
            own.append(np.mean(surrogate.posterior.variance(rows)))
    return {prop: np.sqrt(np.mean(own)) for prop, own in found.items()}


@pytest.mark.parametrize("scale", [None, 2.0])
@pytest.mark.parametrize("n_picks", [1, 3])
def test_before_and_now(cu_surrogate, n_picks, scale):
    """One pick has fewer rows than there are coefficients, three have more."""
    weights = None if scale is None else EnergyWeights(scale, {})
    surrogate = type(cu_surrogate)(
        **{**vars(cu_surrogate), "energy_weights": weights, "properties": ("energy", "forces")}
    )
    picks, intended = [copper(k) for k in range(40, 40 + n_picks)], copper_training()[:3]
    after = surrogate.condition(picks)
    before, now = deviations(surrogate, intended), deviations(after, intended)
    for prop, found in outlooks(after, intended, picks).items():
        assert found.before == pytest.approx(before[prop], rel=1e-6)
        assert found.now == pytest.approx(now[prop], rel=1e-9)
        assert found.now <= found.before
    sizes = [len(atoms) for atoms in intended]
    found = outlooks(after, intended, picks)
    assert found["forces"].noise == pytest.approx(surrogate.noise.forces)
    per_atom = surrogate.noise.energy * np.sqrt(np.mean(1 / np.array(sizes)))
    assert found["energy"].noise == pytest.approx(per_atom)


def test_nothing_without_structures(cu_surrogate):
    assert outlooks(cu_surrogate, [], [copper(1)]) == {}
    assert outlooks(cu_surrogate, [copper(1)], []) == {}


def test_information_adds_up():
    """Precision 1, then 4: the next batch takes it to 7."""
    found = Outlook(1.0, 0.5, 0.0)
    assert found.next == pytest.approx(7**-0.5)
    assert found.gain == pytest.approx(1 - 2 * 7**-0.5)
    assert Outlook(1.0, 0.5, 10.0).gain == pytest.approx((0.25 - 1 / 7) / 200, rel=0.01)
    assert Outlook(0.5, 0.5, 0.1).gain == 0.0
    assert Outlook(0.0, 0.0, 0.0).gain == 0.0


@pytest.mark.parametrize("values", [(1.0, -0.5, 0.1), (np.nan, 0.5, 0.1), (1.0, 0.5, np.inf)])
def test_numbers_that_cannot_be(values):
    with pytest.raises(ValueError, match="outlook"):
        Outlook(*values)
